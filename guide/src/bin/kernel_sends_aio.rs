//! cargo run -p alooper-guide --bin kernel_sends_aio
//!
//! Chapter 10 of docs/guide: the kernel adds to an eventfd whenever a read of Linux AIO is done, and a looper calls
//! back.

use std::{
    ffi::c_long,
    fs::File,
    io::{self, Write},
    mem::MaybeUninit,
    os::fd::{AsRawFd, RawFd},
    process::ExitCode,
    ptr, slice,
};

use alooper::{FdNext, Interest, Looper};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        memfd::{MFdFlags, memfd_create},
    },
};

fn main() -> io::Result<ExitCode> {
    let context = match Context::new(8) {
        Ok(context) => context,
        Err(errno @ (Errno::ENOSYS | Errno::EPERM | Errno::EAGAIN)) => {
            println!("skipped: this kernel has no Linux AIO for us: {errno}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(errno) => return Err(errno.into()),
    };
    let mut file = File::from(memfd_create(c"guide", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(b"one  two  three")?;

    let context = three_reads(context, &file)?;
    full_counter(context, &file)?;
    Ok(ExitCode::SUCCESS)
}

fn three_reads(mut context: Context, file: &File) -> io::Result<Context> {
    println!("Three reads, told by an eventfd to a looper:");
    // [looper]
    let looper = Looper::prepare()?;
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    for (key, offset) in [(1, 0), (2, 5), (3, 10)] {
        context.read(key, file, offset, &eventfd)?;
    }

    let mut done = 0;
    let registration = looper.add_fd(eventfd, Interest::INPUT, move |looper, eventfd, _| {
        // How many more are done. Which ones, and how they went, the context knows.
        done += eventfd.read().unwrap_or(0);
        if done == 3 {
            looper.quit();
        }
        FdNext::Keep
    })?;
    looper.run()?;
    println!("  the eventfd has counted to 3");
    // [/looper]
    drop(registration);

    let mut results = context.results()?;
    results.sort();
    for (key, text) in results {
        println!("  read {key}: {text:?}");
    }
    Ok(context)
}

fn full_counter(mut context: Context, file: &File) -> io::Result<()> {
    println!("One more read, told by an eventfd that is full:");
    // [full]
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    eventfd.write(u64::MAX - 1)?;
    println!("  a write of 1: {:?}", eventfd.write(1).unwrap_err());

    context.read(1, file, 0, &eventfd)?;
    context.results()?;
    println!("  after the kernel has added 1: {:?}", readiness(&eventfd)?);
    println!("  a read gives 2^64 - 1: {}", eventfd.read()? == u64::MAX);
    // [/full]
    Ok(())
}

fn readiness(eventfd: &EventFd) -> nix::Result<PollFlags> {
    let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(eventfd), PollFlags::POLLIN | PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO)?;
    Ok(fds[0].revents().unwrap_or(PollFlags::empty()))
}

/// `struct iocb` of linux/aio_abi.h, on a little-endian machine.
// [iocb]
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    /// The eventfd, if `flags` has `IOCB_FLAG_RESFD`.
    eventfd: u32,
}

const IOCB_CMD_PREAD: u16 = 0;
const IOCB_FLAG_RESFD: u32 = 1;
// [/iocb]

/// `struct io_event` of linux/aio_abi.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct IoEvent {
    data: u64,
    iocb: u64,
    result: i64,
    second_result: i64,
}

/// How much a read asks for.
const LENGTH: usize = 5;
/// How many reads can be under way.
const SLOTS: usize = 4;

/// An AIO context, and the room that the kernel writes into.
struct Context {
    id: libc::c_ulong,
    /// Given to the kernel as an address: never moved, never freed before the context has been destroyed.
    buffers: *mut [[u8; LENGTH]; SLOTS],
    under_way: usize,
}

impl Context {
    fn new(capacity: u32) -> nix::Result<Context> {
        let mut id: libc::c_ulong = 0;
        // SAFETY: `id` is valid for the context that is written there.
        Errno::result(unsafe { libc::syscall(libc::SYS_io_setup, capacity, &raw mut id) })?;
        let buffers = Box::into_raw(Box::new([[0; LENGTH]; SLOTS]));
        Ok(Context { id, buffers, under_way: 0 })
    }

    /// Begins a read of `file`. When it is done, the kernel adds 1 to `eventfd`.
    fn read(&mut self, key: usize, file: &File, offset: i64, eventfd: &EventFd) -> nix::Result<()> {
        assert!(key < SLOTS, "there is no buffer {key}");
        // [submit]
        let mut request = Iocb {
            data: key as u64,
            opcode: IOCB_CMD_PREAD,
            fd: number(file.as_raw_fd()),
            // SAFETY: `key` is within the array.
            buffer: unsafe { self.buffers.cast::<[u8; LENGTH]>().add(key) } as u64,
            length: LENGTH as u64,
            offset,
            flags: IOCB_FLAG_RESFD,
            eventfd: number(eventfd.as_raw_fd()),
            ..Iocb::default()
        };
        let mut requests = [&raw mut request];
        let count: c_long = 1;
        // SAFETY: the request is copied before this returns. Its buffer lives until the context has been destroyed,
        // and is read only after the kernel has said that it is done with it.
        Errno::result(unsafe { libc::syscall(libc::SYS_io_submit, self.id, count, requests.as_mut_ptr()) })?;
        // [/submit]
        self.under_way += 1;
        Ok(())
    }

    /// Waits for all that is under way.
    fn results(&mut self) -> nix::Result<Vec<(u64, String)>> {
        let mut events = [MaybeUninit::<IoEvent>::uninit(); SLOTS];
        let (least, most) = (self.under_way as c_long, SLOTS as c_long);
        let no_timeout = ptr::null_mut::<libc::timespec>();
        // SAFETY: there is room for `most` events.
        let count = Errno::result(unsafe {
            libc::syscall(libc::SYS_io_getevents, self.id, least, most, events.as_mut_ptr(), no_timeout)
        })? as usize;
        self.under_way -= count;
        // SAFETY: the kernel has written `count` events.
        let events = unsafe { slice::from_raw_parts(events.as_ptr().cast::<IoEvent>(), count) };
        events.iter().map(|event| Ok((event.data, self.text(event)?))).collect()
    }

    /// What the read has brought that `event` tells of.
    fn text(&self, event: &IoEvent) -> nix::Result<String> {
        // A negative result is an errno.
        let length = usize::try_from(event.result).map_err(|_| Errno::from_raw(-event.result as i32))?;
        // SAFETY: this read is done, so that nobody writes into its buffer any more.
        let buffer = unsafe { *self.buffers.cast::<[u8; LENGTH]>().add(event.data as usize) };
        Ok(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the id is ours. This waits for all reads, so that the buffers are free afterwards; were it to fail,
        // they would have to stay.
        if unsafe { libc::syscall(libc::SYS_io_destroy, self.id) } == 0 {
            // SAFETY: they come from `Box::into_raw`, and neither we nor the kernel use them any more.
            drop(unsafe { Box::from_raw(self.buffers) });
        }
    }
}

fn number(fd: RawFd) -> u32 {
    fd.try_into().expect("an open fd is not negative")
}
