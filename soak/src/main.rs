//! Runs alooper for long, and accounts for each message: see `--help`.

mod dice;
mod fds;
mod forks;
mod ledger;
mod life;
mod memory;
mod options;
mod plant;
mod process;
mod producer;
mod rest;
mod scale;
mod soak;
mod tally;
mod timers;

use std::{error::Error, process::ExitCode};

use options::Options;
use tally::Sum;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    match options::parse().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Failure> {
    match options {
        Options::Help => print!("{}", options::HELP),
        Options::Soak(soak) => soak::run(&soak)?,
        Options::Sum(files) => {
            let texts = files.iter().map(std::fs::read_to_string).collect::<Result<String, _>>()?;
            let sum = Sum::of(&texts)?;
            println!("{sum}");
            if sum.tally.findings() > 0 {
                return Err("something is amiss".into());
            }
        }
        Options::Idle { seconds } => rest::idle(seconds)?,
        Options::Timers { count } => timers::run(count)?,
        Options::Cancel { count } => scale::cancel(count)?,
        Options::Posts { count } => scale::posts(count)?,
        Options::Drop { count } => scale::drop_queues(count)?,
        Options::Loopers { count } => scale::loopers(count)?,
        Options::Forks { count, seconds } => forks::run(count, seconds)?,
        Options::ForksControl { count } => forks::control(count)?,
    }
    Ok(())
}
