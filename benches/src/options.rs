//! The command line.

use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

use crate::{Failure, contenders, meter::Pace, workload};

pub const HELP: &str = "\
Measures alooper against a raw floor and its peers.

Usage: alooper-bench [OPTIONS]                 all workloads, as tables
       alooper-bench charts DIR FILE           cost against size, as SVG charts, of results that were written
       alooper-bench summary FILE              the table of docs/performance.md, of results that were written
       alooper-bench syscalls                  system calls of a busy looper (needs strace)
       alooper-bench instructions [--update]   instructions against the table (needs valgrind)

Options:
  --quick               small sizes, little time: ends within a minute
  --cold                each child measures its first repetition, without warming up
  --rounds N            how often each contender takes its turn
  --only W1a,W5         these workloads alone
  --contenders A,B      these contenders alone, and the floor
  --other NAME=BINARY   another build of this program, whose alooper is a contender too
  --markdown FILE       writes the tables into a file as well
  --results FILE        writes what was measured into a file as well, as CSV
";

#[derive(Debug)]
pub enum Options {
    Help,
    Child { contender: String, workload: String, size: usize, pace: Pace },
    Measure(Measure),
    Charts { directory: PathBuf, results: PathBuf },
    Summary { results: PathBuf },
    Syscalls(Measure),
    Instructions { update: bool },
}

#[derive(Debug, Default)]
pub struct Measure {
    pub pace: Pace,
    pub rounds: Option<usize>,
    pub only: Vec<String>,
    pub contenders: Vec<String>,
    pub others: Vec<(String, PathBuf)>,
    pub markdown: Option<PathBuf>,
    pub results: Option<PathBuf>,
}

impl Measure {
    pub fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| workload::is_meant(id, name))
    }
}

pub fn parse() -> Result<Options, Failure> {
    let mut parser = Parser::from_env();
    let mut words = Vec::new();
    let mut measure = Measure::default();
    let mut update = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Options::Help),
            Arg::Long("quick") => measure.pace = Pace::Quick,
            Arg::Long("cold") => measure.pace = Pace::Cold,
            Arg::Long("count") => measure.pace = Pace::Counted(parser.value()?.parse_with(at_least_one)?),
            Arg::Long("rounds") => measure.rounds = Some(parser.value()?.parse_with(at_least_one)?),
            Arg::Long("only") => measure.only.extend(list(&mut parser)?),
            Arg::Long("contenders") => measure.contenders.extend(list(&mut parser)?),
            Arg::Long("other") => measure.others.push(parser.value()?.parse_with(other)?),
            Arg::Long("markdown") => measure.markdown = Some(parser.value()?.into()),
            Arg::Long("results") => measure.results = Some(parser.value()?.into()),
            Arg::Long("update") => update = true,
            Arg::Value(word) => words.push(word.string()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    for name in &measure.only {
        if !workload::ids().any(|id| workload::is_meant(id, name)) {
            return Err(format!("there is no workload {name}").into());
        }
    }
    for name in &measure.contenders {
        if contenders::find(name).is_none() {
            return Err(format!("there is no contender {name}").into());
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match words[..] {
        [] => Options::Measure(measure),
        ["charts", directory, results] => Options::Charts { directory: directory.into(), results: results.into() },
        ["summary", results] => Options::Summary { results: results.into() },
        ["syscalls"] => Options::Syscalls(measure),
        ["instructions"] => Options::Instructions { update },
        ["child", contender, workload, size] => Options::Child {
            contender: contender.into(),
            workload: workload.into(),
            size: size.parse()?,
            pace: measure.pace,
        },
        _ => return Err("what is wanted is not known: see --help".into()),
    })
}

fn list(parser: &mut Parser) -> Result<Vec<String>, lexopt::Error> {
    Ok(parser.value()?.string()?.split(',').map(str::to_owned).collect())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or("a number from 1 on is needed".into())
}

fn other(text: &str) -> Result<(String, PathBuf), String> {
    let (name, binary) = text.split_once('=').ok_or("NAME=BINARY is needed")?;
    Ok((name.into(), binary.into()))
}
