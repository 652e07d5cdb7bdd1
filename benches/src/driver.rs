//! Runs children in interleaved rounds (A B C A B C ...), so that what disturbs the machine for a while disturbs all.

use std::{
    env, io,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::{
    child::{LIMIT, Outcome, Program},
    contenders,
    meter::Pace,
    options::Measure,
    workload::{Target, Workload, grouped},
};

/// A row that has taken longer than this ends with the round, after three at least.
const LONG: Duration = Duration::from_secs(9);
const LEAST: usize = 3;

/// A peer whose child takes longer than this takes two turns only.
const SLOW: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Driver {
    pub programs: Vec<Program>,
    pub rounds: usize,
    pub pace: Pace,
}

/// What one contender has reached for one workload and size.
#[derive(Clone, Debug)]
pub struct Series {
    pub contender: String,
    /// One for each round; `None` where the child failed.
    pub values: Vec<Option<f64>>,
    /// Why there is no value, or not in each round.
    pub trouble: Option<String>,
    /// Whether it is alooper, or another build of it, and no peer.
    pub is_own: bool,
}

/// The contender that a bar is of, among those that were measured: each with its value.
pub fn rival<'a>(target: Target, all: impl Iterator<Item = (&'a str, f64)>) -> Option<(&'a str, f64)> {
    match target {
        // Of the floors, the better one.
        Target::Of("floor", _) => least(all.filter(|(name, _)| name.starts_with("floor"))),
        Target::Of(wanted, _) => least(all.filter(|(name, _)| *name == wanted)),
        _ => least(all.filter(|(name, _)| contenders::is_peer(name))),
    }
}

fn least<'a>(all: impl Iterator<Item = (&'a str, f64)>) -> Option<(&'a str, f64)> {
    all.min_by(|a, b| a.1.total_cmp(&b.1))
}

impl Driver {
    /// With the contenders of this binary and of other ones.
    pub fn new(measure: &Measure) -> io::Result<Driver> {
        let (wanted, pace) = (&measure.contenders, measure.pace);
        let is_wanted = |name: &str| wanted.is_empty() || name == "floor" || wanted.iter().any(|other| other == name);
        let mut programs = own()?;
        programs.retain(|program| is_wanted(&program.name));
        let others = measure.others.iter().map(|(name, binary)| Program {
            name: name.clone(),
            binary: binary.clone(),
            contender: "alooper".into(),
        });
        // Beside alooper, in time and in the tables.
        let place = programs.iter().position(|program| program.name == "alooper").map_or(programs.len(), |at| at + 1);
        programs.splice(place..place, others);
        let default = match pace {
            Pace::Quick => 3,
            Pace::Cold => 15,
            _ => 7,
        };
        Ok(Driver { programs, rounds: measure.rounds.unwrap_or(default), pace })
    }

    /// Measures one workload and size in all rounds.
    pub fn measure(&self, workload: &Workload, size: usize) -> Vec<Series> {
        let start = Instant::now();
        let mut entrants: Vec<Entrant<'_>> = self.programs.iter().map(Entrant::new).collect();
        for round in 0..self.rounds {
            if round >= LEAST && start.elapsed() > LONG {
                break;
            }
            for entrant in &mut entrants {
                let name = &entrant.program.name;
                progress(&format!("{} {} round {}/{}: {name}", workload.id, grouped(size), round + 1, self.rounds));
                let value = if round < entrant.turns(self) { entrant.take_turn(self, workload, size) } else { None };
                entrant.series.values.push(value);
            }
        }
        progress("");
        let expected = entrants.iter().find_map(|entrant| entrant.checksum);
        for entrant in &mut entrants {
            if entrant.checksum.is_some() && expected.is_some() && entrant.checksum != expected {
                entrant.series.trouble = Some("the checksum is not that of the others".into());
            }
        }
        entrants.into_iter().filter(|entrant| entrant.is_offered).map(|entrant| entrant.series).collect()
    }
}

/// A contender while one workload and size is measured.
struct Entrant<'a> {
    program: &'a Program,
    series: Series,
    is_offered: bool,
    is_slow: bool,
    checksum: Option<u64>,
}

impl Entrant<'_> {
    fn new(program: &Program) -> Entrant<'_> {
        let is_own = program.contender == "alooper";
        let series = Series { contender: program.name.clone(), values: Vec::new(), trouble: None, is_own };
        Entrant { program, series, is_offered: true, is_slow: false, checksum: None }
    }

    /// How many turns it takes: one that has failed takes no more.
    fn turns(&self, driver: &Driver) -> usize {
        let is_peer = !self.program.contender.starts_with("floor") && !self.series.is_own;
        match () {
            () if !self.is_offered || self.series.trouble.is_some() => 0,
            () if is_peer && driver.pace == Pace::Quick => 1,
            () if is_peer && self.is_slow => 2,
            () => driver.rounds,
        }
    }

    /// A contender that fails is tried once more, unless it is alooper, whose failures count.
    fn take_turn(&mut self, driver: &Driver, workload: &Workload, size: usize) -> Option<f64> {
        let mut tries = if self.series.is_own { 1 } else { 2 };
        loop {
            tries -= 1;
            let start = Instant::now();
            let outcome = self.program.run(workload, size, driver.pace);
            self.is_slow |= start.elapsed() > SLOW;
            let trouble = match outcome {
                Outcome::Measured(sample) => {
                    self.checksum = Some(sample.checksum);
                    return Some(workload.unit.scale(sample.value));
                }
                Outcome::NotOffered => {
                    self.is_offered = false;
                    return None;
                }
                Outcome::Killed => format!("killed after {} s", LIMIT.as_secs()),
                Outcome::Failed(how) => how,
            };
            let next = if tries > 0 { "; once more" } else { "" };
            eprintln!("{} {} {}: {trouble}{next}", workload.id, grouped(size), self.program.name);
            if tries == 0 {
                self.series.trouble = Some(trouble);
                return None;
            }
        }
    }
}

/// Shows one line that is written over, to somebody who watches. One that ends is for a log as well.
pub fn progress(text: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{text}");
        let _ = stderr.flush();
    } else if text.ends_with('\n') {
        let _ = write!(stderr, "{text}");
    }
}

/// The contenders of this binary.
pub fn own() -> io::Result<Vec<Program>> {
    let binary = env::current_exe()?;
    let program = |name: &str| Program { name: name.into(), binary: binary.clone(), contender: name.into() };
    Ok(contenders::ALL.iter().map(|(name, _)| program(name)).collect())
}

impl Series {
    pub fn median(&self) -> Option<f64> {
        median(self.values.iter().flatten().copied().collect())
    }

    pub fn minimum(&self) -> Option<f64> {
        self.values.iter().flatten().copied().min_by(f64::total_cmp)
    }

    pub fn maximum(&self) -> Option<f64> {
        self.values.iter().flatten().copied().max_by(f64::total_cmp)
    }

    /// The median over the rounds of the ratio to `floor` in the same round.
    pub fn ratio(&self, floor: &Series) -> Option<f64> {
        let both = self.values.iter().zip(&floor.values);
        median(both.filter_map(|(own, floor)| Some((*own)? / (*floor)?)).collect())
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len.is_multiple_of(2) => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}
