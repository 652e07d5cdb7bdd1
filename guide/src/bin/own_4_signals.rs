//! cargo run -p alooper-guide --bin own_4_signals -- JOB..
//!
//! Chapter 13 of docs/guide: Ctrl-C and SIGTERM end the jobs, then the program.

#[path = "own/runner.rs"]
mod runner;
#[path = "own/shell.rs"]
mod shell;

// [main]
use std::{env, io};

use alooper::{
    Looper,
    source::{Signal, Signals},
};

use crate::{runner::Event, shell::Shell};

const SLOTS: usize = 2;

fn main() -> io::Result<()> {
    // Before any thread is started: threads inherit which signals are blocked.
    let signals = Signals::block(&[Signal::INT, Signal::TERM])?;

    let looper = Looper::prepare()?;
    let runner = runner::new(&looper, env::args().skip(1), SLOTS, Shell::new(SLOTS)?);
    runner.send(Event::Start)?;
    looper.add_signals(&signals, move |_, _| {
        // Refused only if the looper has quit.
        let _ = runner.send(Event::Stop);
    })?;
    looper.run()?;
    Ok(())
}
// [/main]
