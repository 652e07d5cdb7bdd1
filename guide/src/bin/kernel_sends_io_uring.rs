//! cargo run -p alooper-guide --bin kernel_sends_io_uring
//!
//! Chapter 10 of docs/guide: the kernel adds to an eventfd whenever io_uring completes something, and a looper calls
//! back.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsRawFd,
    process::ExitCode,
};

use alooper::{FdNext, Interest, Looper};
use io_uring::{IoUring, opcode, types};
use nix::{
    errno::Errno,
    sys::{
        eventfd::{EfdFlags, EventFd},
        memfd::{MFdFlags, memfd_create},
    },
};

/// What we ask the kernel for, by the number that comes back with its completion.
const NAMES: [&str; 3] = ["nothing at all", "a read", "a timeout of 20 ms"];

fn main() -> io::Result<ExitCode> {
    let ring = match IoUring::new(8) {
        Ok(ring) => ring,
        // Too old, forbidden by a sandbox or by the system's setting.
        Err(error) if [ErrorKind::Unsupported, ErrorKind::PermissionDenied].contains(&error.kind()) => {
            println!("skipped: this kernel has no io_uring for us: {error}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Err(error),
    };
    three_requests(ring)?;
    Ok(ExitCode::SUCCESS)
}

fn three_requests(mut ring: IoUring) -> io::Result<()> {
    let mut file = File::from(memfd_create(c"guide", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(b"from a file")?;
    // Leaked: whatever happens to us, the kernel may write there until the read is complete.
    let text = Box::leak(Box::new([0; 11]));
    let soon = types::Timespec::new().nsec(20_000_000);

    // [register]
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    ring.submitter().register_eventfd(eventfd.as_raw_fd())?;
    // [/register]

    // [submit]
    let read = opcode::Read::new(types::Fd(file.as_raw_fd()), text.as_mut_ptr(), text.len() as u32);
    let requests = [opcode::Nop::new().build(), read.build(), opcode::Timeout::new(&raw const soon).build()];
    for (number, request) in (0..).zip(requests) {
        // SAFETY: `text` lives for ever, and is looked at only when the read is complete; file and time are needed only
        // until the kernel has taken the requests, which is below.
        unsafe { ring.submission().push(&request.user_data(number)) }.map_err(io::Error::other)?;
    }
    ring.submit()?;
    // [/submit]

    let looper = Looper::prepare()?;
    let (results, arrivals) = std::sync::mpsc::channel();
    // [looper]
    let mut open = NAMES.len();
    looper.add_fd(eventfd, Interest::INPUT, move |looper, eventfd, _| {
        // First the count, then the ring: what completes in between signals again.
        let _ = eventfd.read();
        for completion in ring.completion() {
            let _ = results.send((completion.user_data(), completion.result()));
            open -= 1;
        }
        if open == 0 {
            looper.quit();
        }
        FdNext::Keep
    })?;
    looper.run()?;
    // [/looper]

    let mut arrivals: Vec<(u64, i32)> = arrivals.try_iter().collect();
    arrivals.sort_unstable();
    for (number, result) in arrivals {
        // A negative result is an errno.
        let result = if result < 0 { format!("{:?}", Errno::from_raw(-result)) } else { result.to_string() };
        println!("{}: {result}", NAMES[number as usize]);
    }
    println!("the read has brought {:?}", String::from_utf8_lossy(text));
    Ok(())
}
