//! cargo run -p alooper-guide --bin own_4_signals -- JOB..
//!
//! Chapter 13 of docs/guide: Ctrl-C and SIGTERM end the jobs, then the program.

#[path = "own/runner.rs"]
mod runner;
#[path = "own/shell.rs"]
mod shell;

// [main]
use std::{env, io};

use alooper::{FdNext, Interest, Looper};
use nix::sys::{
    signal::Signal,
    signalfd::{SfdFlags, SignalFd},
};

use crate::{runner::Event, shell::Shell};

const SLOTS: usize = 2;

fn main() -> io::Result<()> {
    // First of all: the threads that are started later inherit it.
    let taken = Signal::SIGINT | Signal::SIGTERM;
    taken.thread_block()?;
    let signals = SignalFd::with_flags(&taken, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;

    let looper = Looper::prepare()?;
    let runner = runner::new(&looper, env::args().skip(1), SLOTS, Shell::new(SLOTS)?);
    runner.send(Event::Start)?;
    looper.add_fd(signals, Interest::INPUT, move |_, signals, _| {
        while signals.next().is_some() {
            // Refused only if the looper has quit.
            let _ = runner.send(Event::Stop);
        }
        FdNext::Keep
    })?;
    looper.run()?;
    Ok(())
}
// [/main]
