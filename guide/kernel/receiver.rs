//! guide/kernel/run starts it in a virtual machine.
//!
//! Chapter 12 of docs/guide: a looper that a kernel module signals, by the eventfd that it was given.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, RawFd},
    time::Duration,
};

use alooper::{FdNext, Interest, Looper};
use nix::sys::eventfd::{EfdFlags, EventFd};

// [request]
/// `struct ticker_start` of ticker.h.
#[repr(C)]
struct Start {
    eventfd: RawFd,
    period_ms: u32,
    count: u32,
}

nix::ioctl_write_ptr!(ticker_start, b't', 1, Start);
// [/request]

const PERIOD: Duration = Duration::from_millis(100);
const COUNT: u32 = 5;

fn main() -> io::Result<()> {
    let device = File::open("/dev/ticker")?;
    println!("a file is no eventfd: {}", start(&device, device.as_raw_fd()).unwrap_err());
    println!("nothing is open as -1: {}", start(&device, -1).unwrap_err());

    // [looper]
    let looper = Looper::prepare()?;
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let begun = looper.now();
    start(&device, eventfd.as_raw_fd())?;
    println!("a second one: {}", start(&device, eventfd.as_raw_fd()).unwrap_err());

    let mut signals = 0;
    let registration = looper.add_fd(eventfd, Interest::INPUT, move |looper, eventfd, _| {
        // One, or more if this program was kept from running meanwhile.
        for _ in 0..eventfd.read().unwrap_or(0) {
            signals += 1;
            // The timer counts in ticks of the kernel, and may be early by one.
            let is_early = looper.now() + Duration::from_millis(10) < begun + PERIOD * signals;
            println!("signal {signals}{}", if is_early { ", too early" } else { "" });
        }
        if signals == COUNT { FdNext::Remove } else { FdNext::Keep }
    })?;
    while registration.is_registered() {
        looper.poll_once(None)?;
    }
    // [/looper]

    // [close]
    let device = File::open("/dev/ticker")?;
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    start(&device, eventfd.as_raw_fd())?;
    drop(device);
    looper.add_ident(eventfd, Interest::INPUT, 1)?;
    println!("after the device was closed: {:?}", looper.poll_once(3 * PERIOD)?.code());

    let device = File::open("/dev/ticker")?;
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    start(&device, eventfd.as_raw_fd())?;
    drop(eventfd);
    println!("after the eventfd was closed: {:?}", looper.poll_once(3 * PERIOD)?.code());
    // [/close]
    Ok(())
}

fn start(device: &File, eventfd: RawFd) -> nix::Result<i32> {
    let start = Start { eventfd, period_ms: PERIOD.as_millis() as u32, count: COUNT };
    // SAFETY: the module reads the struct, which is the one that it expects, and keeps no pointer to it.
    unsafe { ticker_start(device.as_raw_fd(), &raw const start) }
}
