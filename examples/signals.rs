//! cargo run --example signals
//!
//! Signals as events of an fd: their callback is ordinary code, where a signal handler may call next to nothing. Ends
//! on SIGINT (Ctrl-C) and SIGTERM.

use std::{io, process};

use alooper::{FdNext, Interest, Looper};
use nix::sys::{
    signal::Signal,
    signalfd::{SfdFlags, SignalFd},
};

fn main() -> io::Result<()> {
    // A signal comes to the fd only while every thread blocks it. Threads inherit what is blocked: so this comes first.
    let taken = Signal::SIGINT | Signal::SIGTERM | Signal::SIGUSR1;
    taken.thread_block()?;
    let signals = SignalFd::with_flags(&taken, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;

    let looper = Looper::prepare()?;
    let mut count = 0;
    looper.add_fd(signals, Interest::INPUT, move |looper, signals, _| {
        for info in signals.by_ref() {
            let Ok(signal) = Signal::try_from(info.ssi_signo as i32) else { continue };
            count += 1;
            println!("{signal} from process {}, number {count}", info.ssi_pid);
            if signal != Signal::SIGUSR1 {
                looper.quit();
            }
        }
        FdNext::Keep
    })?;

    println!("waiting for signals: try `kill -USR1 {}`, end with Ctrl-C", process::id());
    looper.run()?;
    println!("goodbye");
    Ok(())
}
