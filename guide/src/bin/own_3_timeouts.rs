//! cargo run -p alooper-guide --bin own_3_timeouts -- JOB..
//!
//! Chapter 13 of docs/guide: jobs that take too long are ended.

#[path = "own/runner.rs"]
#[allow(dead_code, reason = "the next step stops it")]
mod runner;
#[path = "own/shell.rs"]
mod shell;

// [main]
use std::{env, io};

use alooper::Looper;

use crate::{runner::Event, shell::Shell};

const SLOTS: usize = 2;

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let runner = runner::new(&looper, env::args().skip(1), SLOTS, Shell::new(SLOTS)?);
    runner.send(Event::Start)?;
    looper.run()?;
    Ok(())
}
// [/main]
