//! The command line.

use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

use crate::Failure;

pub const HELP: &str = "\
Runs alooper for long, and accounts for each message. Fails if anything is amiss.

Usage: alooper-soak [OPTIONS]             posts to loopers that come and go, until the goal is reached
       alooper-soak sum FILE..            adds up what is recorded
       alooper-soak idle [--seconds N]    a looper with 1000 fds and a timer a day away sleeps
       alooper-soak timers [--count N]    none is early, and none takes more than two waits
       alooper-soak cancel [--count N]    C44: armed and cancelled, again and again
       alooper-soak posts [--count N]     C63: from four producers, each in its order
       alooper-soak drop [--count N]      C79: of a long queue, on a small stack
       alooper-soak loopers [--count N]   C80: made and dropped
       alooper-soak forks [--count N] [--seconds N]
                                          X2: forked children, in busy processes, use loopers; none takes so long
       alooper-soak forks-control [--count N]
                                          children that use parking_lot's locks as they are: one hangs

Options:
  --messages N      how many messages have to be accounted for: 1000000000 unless said
  --timers N        10000000
  --fd-changes N    1000000
  --threads N       how many producers post: 8
  --loopers N       how many loopers there are at a time: 4
  --fds N           how many fds are watched, as far as the limit of open files allows: 10000
  --minutes N       stops after that time, whatever is reached
  --record FILE     adds each finished portion to FILE, and what is recorded there to the goal. A stopped soak goes on
                    there, and several may share a record
  --seed N          of the first portion; unless said, it depends on the time
  --quick           a small soak, which ends within 20 s
  --plant FAULT     commits a fault, which must be found: for tests
";

#[derive(Debug)]
pub enum Options {
    Help,
    Soak(Soak),
    Sum(Vec<PathBuf>),
    Idle { seconds: u64 },
    Timers { count: u64 },
    Cancel { count: u64 },
    Posts { count: u64 },
    Drop { count: u64 },
    Loopers { count: u64 },
    Forks { count: u64, seconds: u32 },
    ForksControl { count: Option<u64> },
}

#[derive(Debug)]
pub struct Soak {
    pub messages: u64,
    pub timers: u64,
    pub fd_changes: u64,
    pub threads: usize,
    pub loopers: usize,
    pub fds: usize,
    pub minutes: Option<u64>,
    pub record: Option<PathBuf>,
    pub seed: Option<u64>,
    pub quick: bool,
}

pub fn parse() -> Result<Options, Failure> {
    let mut parser = Parser::from_env();
    let mut words = Vec::new();
    let mut soak = Soak {
        messages: 1_000_000_000,
        timers: 10_000_000,
        fd_changes: 1_000_000,
        threads: 8,
        loopers: 4,
        fds: 10_000,
        minutes: None,
        record: None,
        seed: None,
        quick: false,
    };
    let (mut seconds, mut count) = (None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Options::Help),
            Arg::Long("messages") => soak.messages = parser.value()?.parse()?,
            Arg::Long("timers") => soak.timers = parser.value()?.parse()?,
            Arg::Long("fd-changes") => soak.fd_changes = parser.value()?.parse()?,
            Arg::Long("threads") => soak.threads = parser.value()?.parse_with(at_least_one)?,
            Arg::Long("loopers") => soak.loopers = parser.value()?.parse_with(at_least_one)?,
            Arg::Long("fds") => soak.fds = parser.value()?.parse()?,
            Arg::Long("minutes") => soak.minutes = Some(parser.value()?.parse()?),
            Arg::Long("record") => soak.record = Some(parser.value()?.into()),
            Arg::Long("seed") => soak.seed = Some(parser.value()?.parse()?),
            Arg::Long("quick") => {
                soak = Soak { quick: true, messages: 3_000_000, timers: 30_000, fd_changes: 30_000, ..soak };
            }
            Arg::Long("plant") => crate::plant::plant(&parser.value()?.string()?)?,
            Arg::Long("seconds") => seconds = Some(parser.value()?.parse()?),
            Arg::Long("count") => count = Some(parser.value()?.parse()?),
            Arg::Value(word) => words.push(word.string()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let count_or = |usual| count.unwrap_or(usual);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match words[..] {
        [] => Options::Soak(soak),
        ["sum", ref files @ ..] if !files.is_empty() => Options::Sum(files.iter().map(PathBuf::from).collect()),
        ["idle"] => Options::Idle { seconds: seconds.unwrap_or(60).into() },
        ["timers"] => Options::Timers { count: count_or(1_000_000) },
        ["cancel"] => Options::Cancel { count: count_or(10_000_000) },
        ["posts"] => Options::Posts { count: count_or(4_000_000) },
        ["drop"] => Options::Drop { count: count_or(10_000_000) },
        ["loopers"] => Options::Loopers { count: count_or(100_000) },
        ["forks"] => Options::Forks { count: count_or(3000), seconds: seconds.unwrap_or(60) },
        ["forks-control"] => Options::ForksControl { count },
        _ => return Err("what is wanted is not known: see --help".into()),
    })
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or("a number from 1 on is needed".into())
}
