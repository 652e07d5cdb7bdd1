//! How a child measures: it repeats a workload for a bounded time and takes the median.

use std::{
    fmt::{self, Display, Formatter},
    ops::Range,
    time::{Duration, Instant},
};

use crate::tally::Round;

/// A repetition that takes longer than this is not repeated.
const SLOW: Duration = Duration::from_secs(2);

/// How long a child measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    #[default]
    Full,
    /// So that all workloads together end within a minute.
    Quick,
    /// One repetition in a fresh process: the allocator and the queues have still to grow.
    Cold,
    /// So many repetitions, and nothing that depends on the clock: instructions or system calls are counted.
    Counted(usize),
}

/// What a child has measured: its line of output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// In nanoseconds for an operation, or what the workload measures instead.
    pub value: f64,
    pub checksum: u64,
    /// Of how many operations a repetition consists.
    pub ops: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Meter {
    pub size: usize,
    pace: Pace,
}

impl Meter {
    pub fn new(size: usize, pace: Pace) -> Meter {
        Meter { size, pace }
    }

    /// Repeats `round`, which does `ops` operations: nanoseconds for one of them, the median of all repetitions.
    ///
    /// The first fifth of the time, at least one repetition, warms up and does not count.
    pub fn repeat(&self, ops: usize, mut round: impl FnMut() -> Round) -> Sample {
        let mut course = Course::new(self.pace);
        while course.goes_on() {
            course.note(round());
        }
        course.sample(ops)
    }

    /// As [`repeat`](Meter::repeat), inside of a runtime.
    pub async fn repeat_async(&self, ops: usize, mut round: impl AsyncFnMut() -> Round) -> Sample {
        let mut course = Course::new(self.pace);
        while course.goes_on() {
            course.note(round().await);
        }
        course.sample(ops)
    }

    /// As with [`Pace::Cold`].
    pub fn cold(&self) -> Meter {
        Meter { pace: Pace::Cold, ..*self }
    }

    /// How long a loop is flooded.
    pub fn flood(&self) -> Duration {
        Duration::from_millis(if self.pace == Pace::Full { 400 } else { 100 })
    }

    /// When timers are to come due that are fired later, counted from the beginning of their insertions.
    ///
    /// None does before the slowest contender has inserted all, lest it fire some before the time is taken.
    pub fn due(&self) -> Range<Duration> {
        let lead = match self.pace {
            // Slower by far, since it is watched instruction by instruction.
            Pace::Counted(_) => Duration::from_millis(500),
            _ => Duration::from_nanos(self.size as u64 * 2_000),
        };
        let lead = lead.max(Duration::from_millis(10));
        lead..lead + Duration::from_nanos(self.size as u64 * 100).max(Duration::from_millis(10))
    }
}

/// How long `work` takes.
///
/// A function of its own, so that a profiler can tell by its name what belongs to the measurement.
#[inline(never)]
pub fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The course of the repetitions: first those that warm up, then those that count.
struct Course {
    budget: Duration,
    /// How many are to count at least.
    least: usize,
    warm_up: bool,
    start: Instant,
    rounds: Vec<Round>,
}

impl Course {
    fn new(pace: Pace) -> Course {
        let (budget, least) = match pace {
            Pace::Full => (Duration::from_millis(80), 3),
            Pace::Quick => (Duration::from_millis(12), 2),
            Pace::Cold => (Duration::ZERO, 1),
            Pace::Counted(repetitions) => (Duration::ZERO, repetitions),
        };
        Course {
            budget,
            least,
            warm_up: matches!(pace, Pace::Full | Pace::Quick),
            start: Instant::now(),
            rounds: Vec::with_capacity(1 << 12),
        }
    }

    fn goes_on(&self) -> bool {
        let least = if self.start.elapsed() > SLOW * 2 { 1 } else { self.least };
        self.warm_up || self.rounds.len() < least || self.start.elapsed() < self.budget
    }

    fn note(&mut self, round: Round) {
        if !self.warm_up {
            self.rounds.push(round);
        } else if round.took > SLOW {
            self.rounds.push(round);
            (self.warm_up, self.least) = (false, 1);
        } else if self.start.elapsed() > self.budget / 5 {
            self.warm_up = false;
            self.start = Instant::now();
        }
    }

    fn sample(mut self, ops: usize) -> Sample {
        self.rounds.sort_by_key(|round| round.took);
        let Round { took, checksum } = self.rounds[self.rounds.len() / 2];
        Sample { value: took.as_nanos() as f64 / ops as f64, checksum, ops }
    }
}

impl Display for Sample {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} {:x} {}", self.value, self.checksum, self.ops)
    }
}

impl Sample {
    /// Reads what `Display` has written.
    pub fn parse(line: &str) -> Option<Sample> {
        let mut words = line.split_whitespace();
        let value = words.next()?.parse().ok()?;
        let checksum = u64::from_str_radix(words.next()?, 16).ok()?;
        Some(Sample { value, checksum, ops: words.next()?.parse().ok()? })
    }

    /// Of a workload that measures something else than time, over `count` things.
    pub fn of(value: f64, count: usize) -> Sample {
        Sample { value, checksum: count as u64, ops: count }
    }
}
