//! Shows what the loopers of a running program do: a `top` for event loops. See the README.

mod process;
mod screen;
mod text;
mod view;

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use lexopt::{Arg, ValueExt};

use crate::{
    process::Connection,
    view::{Sort, View},
};

const HELP: &str = "\
Shows what the loopers of a running program do.

Usage: looptop                     lists the programs of this user that can be looked into
       looptop [options] PID|PATH  shows one, by its process or its socket

Options:
  --once             prints what happens within one interval, as plain text
  --interval SECONDS how often to look: 1 unless said otherwise, 0.1 at least
  --sort KEY         load, queue, late, rate or name
  --help, --version

Keys: q quits, s sorts by the next column. A program can be looked into if it calls alooper's
`Inspector::spawn`.
";

struct Options {
    target: Option<PathBuf>,
    once: bool,
    interval: Duration,
    sort: Sort,
}

fn main() -> anyhow::Result<()> {
    let Some(Options { target, once, interval, sort }) = parse()? else {
        return Ok(());
    };
    let Some(path) = target else {
        return list();
    };
    let connection = Connection::open(&path)?;
    if once { print_once(connection, interval, sort) } else { screen::show(connection, interval, sort) }
}

/// What was asked for; `None` if that is done already.
fn parse() -> anyhow::Result<Option<Options>> {
    let mut options = Options { target: None, once: false, interval: Duration::from_secs(1), sort: Sort::Load };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("once") => options.once = true,
            Arg::Long("interval") => options.interval = interval(parser.value()?.parse()?)?,
            Arg::Long("sort") => options.sort = parser.value()?.parse()?,
            Arg::Short('h') | Arg::Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            Arg::Short('V') | Arg::Long("version") => {
                println!("looptop {}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            Arg::Value(target) if options.target.is_none() => options.target = Some(process::path_of(&target)),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.once && options.target.is_none() {
        bail!("--once needs a process: `looptop` lists them");
    }
    Ok(Some(options))
}

fn interval(seconds: f64) -> anyhow::Result<Duration> {
    if !(0.1..=3600.0).contains(&seconds) {
        bail!("an interval is between 0.1 and 3600 seconds, not {seconds}");
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn list() -> anyhow::Result<()> {
    let folder = alooper::inspect::folder();
    let paths = process::sockets_in(&folder);
    let mut answers = paths.iter().filter_map(|path| line_of(path).ok()).peekable();
    if answers.peek().is_none() {
        bail!("no program serves in {}: one does that calls alooper's `Inspector::spawn`", folder.display());
    }
    println!("{:>8}  {:<24}  LOOPERS", "PID", "PROGRAM");
    answers.for_each(|line| println!("{line}"));
    Ok(())
}

fn line_of(path: &Path) -> anyhow::Result<String> {
    let mut connection = Connection::open(path)?;
    let count = connection.look()?.loopers.len();
    let (process, program) = (connection.greeting.process, &connection.greeting.program);
    Ok(format!("{process:>8}  {program:<24}  {count}"))
}

fn print_once(mut connection: Connection, interval: Duration, sort: Sort) -> anyhow::Result<()> {
    let before = connection.look()?;
    // Between two looks, the program counts.
    thread::sleep(interval);
    let after = connection.look().context("the program has ended meanwhile")?;
    print!("{}", text::page(&connection.greeting, &View::new(&before, &after, sort)));
    Ok(())
}
