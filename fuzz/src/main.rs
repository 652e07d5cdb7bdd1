//! Random histories at full speed, for as long as one likes: counted, and gone on with where the record ends.
//!
//! `alooper-fuzz [--operations N] [--seconds N] [--seed N] [--kernel fake|real] [--record FILE]`. Shards are seeds.
//! `alooper-fuzz --replay FILE [--kernel fake|real]` runs what a fuzz target has found.

use std::{
    error::Error,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use alooper_fuzz::{Difference, Kind, check};

/// After so many histories the record is written.
const NOTE_EACH: u64 = 50_000;

struct Options {
    operations: u64,
    seconds: u64,
    seed: u64,
    kind: Kind,
    record: Option<PathBuf>,
    replay: Option<PathBuf>,
}

fn options() -> Result<Options, Box<dyn Error>> {
    use lexopt::{Arg::Long, ValueExt};
    let mut options = Options {
        operations: u64::MAX,
        seconds: u64::from(u32::MAX),
        seed: 1,
        kind: Kind::Fake,
        record: None,
        replay: None,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("operations") => options.operations = arguments.value()?.parse()?,
            Long("seconds") => options.seconds = arguments.value()?.parse()?,
            Long("seed") => options.seed = arguments.value()?.parse()?,
            Long("replay") => options.replay = Some(arguments.value()?.into()),
            Long("record") => options.record = Some(arguments.value()?.into()),
            Long("kernel") => {
                options.kind = match arguments.value()?.string()?.as_str() {
                    "fake" => Kind::Fake,
                    "real" => Kind::Real,
                    other => return Err(format!("there is no kernel {other:?}: say `fake` or `real`").into()),
                }
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

/// How far a seed has come.
#[derive(Clone, Copy, Default)]
struct Progress {
    histories: u64,
    operations: u64,
}

/// What the record says of a seed last.
fn recorded(record: &Path, kind: Kind, seed: u64) -> Progress {
    let text = fs::read_to_string(record).unwrap_or_default();
    let key = key(kind, seed);
    let last = text.lines().rev().find_map(|line| line.strip_prefix(&key));
    let mut numbers = last.unwrap_or("").split_whitespace().filter_map(|word| word.parse().ok());
    Progress { histories: numbers.next().unwrap_or(0), operations: numbers.next().unwrap_or(0) }
}

fn key(kind: Kind, seed: u64) -> String {
    format!("{kind:?} seed {seed}: ")
}

fn note(options: &Options, progress: Progress) -> Result<(), Box<dyn Error>> {
    let Progress { histories, operations } = progress;
    let Some(record) = &options.record else { return Ok(()) };
    let mut file = fs::OpenOptions::new().create(true).append(true).open(record)?;
    let key = key(options.kind, options.seed);
    writeln!(file, "{key}{histories} histories, {operations} operations, no difference")?;
    Ok(())
}

/// splitmix64, by Vigna and Steele.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The bytes of one history.
fn bytes(seed: u64, history: u64, data: &mut Vec<u8>) {
    let mut state = seed.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ history.wrapping_mul(0x1405_7b7e_f767_814f);
    let words = 5 + mix(&mut state) % 70;
    data.clear();
    data.extend((0..words).flat_map(|_| mix(&mut state).to_le_bytes()));
}

#[expect(clippy::disallowed_methods, reason = "it measures itself")]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = options()?;
    if let Some(path) = &options.replay {
        let result = check(&fs::read(path)?, options.kind);
        println!(
            "{}",
            result.as_ref().map_or_else(Difference::explain, |operations| format!("{operations} operations"))
        );
        return Ok(if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut progress =
        options.record.as_ref().map_or(Progress::default(), |path| recorded(path, options.kind, options.seed));
    let (start, before) = (Instant::now(), progress);
    let mut data = Vec::new();
    while progress.operations < options.operations {
        bytes(options.seed, progress.histories, &mut data);
        match check(&data, options.kind) {
            Ok(operations) => progress.operations += operations,
            Err(difference) => {
                let (history, seed, took) = (progress.histories, options.seed, start.elapsed().as_millis());
                println!("history {history} of seed {seed}, after {took} ms: {}", difference.explain());
                return Ok(ExitCode::FAILURE);
            }
        }
        progress.histories += 1;
        if progress.histories % NOTE_EACH == 0 {
            note(&options, progress)?;
        }
        if progress.histories % 64 == 0 && start.elapsed() >= Duration::from_secs(options.seconds) {
            break;
        }
    }
    note(&options, progress)?;
    let (took, done) = (start.elapsed(), progress.operations - before.operations);
    println!(
        "{:?} kernel, seed {}: {} operations without a difference, {done} of them now, in {took:.1?}: {:.0} each second",
        options.kind,
        options.seed,
        progress.operations,
        done as f64 / took.as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}
