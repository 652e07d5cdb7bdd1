//! What was counted: of the portion that runs, and of those that are recorded.

use std::{
    fmt::{self, Display, Formatter},
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

/// What is counted. The findings come last: all of them have to be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Accepted by a looper.
    Messages,
    Run,
    Removed,
    Dropped,
    /// Given back by a looper that had quit; not among the messages.
    Refused,
    /// Accepted messages that were due at a time.
    Timers,
    TimersFired,
    Calls,
    Barriers,
    /// Adding, replacing, changing, looking anew, removing.
    FdChanges,
    FdEvents,
    Loopers,

    Lost,
    Duplicated,
    Reordered,
    Early,
    /// Its content was not what was sent.
    Corrupted,
    /// A looper's own report, or what it answered, does not fit what has become of the messages.
    Unbalanced,
    /// What was written into an fd and neither was read by a callback nor is still in it; or ready and not served.
    FdEventsLost,
    /// A source that was not dropped, or twice.
    SourcesLost,
    /// More fds open than before, or more memory in use than allowed.
    Leaked,
}

const NAMES: [&str; 21] = [
    "messages",
    "run",
    "removed",
    "dropped",
    "refused",
    "timers",
    "timers_fired",
    "calls",
    "barriers",
    "fd_changes",
    "fd_events",
    "loopers",
    "lost",
    "duplicated",
    "reordered",
    "early",
    "corrupted",
    "unbalanced",
    "fd_events_lost",
    "sources_lost",
    "leaked",
];

static COUNTS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

pub fn add(count: Count, number: u64) {
    COUNTS[count as usize].fetch_add(number, Ordering::Relaxed);
}

/// Counts what must not happen, and says what it was unless that was said often.
pub fn find(count: Count, what: impl FnOnce() -> String) {
    const SAID: u64 = 10;
    if COUNTS[count as usize].fetch_add(1, Ordering::Relaxed) < SAID {
        eprintln!("{}: {}", NAMES[count as usize], what());
    }
}

/// Numbers of all counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; NAMES.len()]);

impl Tally {
    /// What was counted so far.
    pub fn now() -> Tally {
        Tally(std::array::from_fn(|at| COUNTS[at].load(Ordering::Relaxed)))
    }

    /// What was counted since this was last called.
    pub fn take() -> Tally {
        Tally(std::array::from_fn(|at| COUNTS[at].swap(0, Ordering::Relaxed)))
    }

    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    pub fn add(&mut self, other: &Tally) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, number)| *sum += number);
    }

    pub fn findings(&self) -> u64 {
        self.0[Count::Lost as usize..].iter().sum()
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (name, number) in NAMES.iter().zip(self.0) {
            write!(f, " {name} {number}")?;
        }
        Ok(())
    }
}

/// One finished portion, as a line of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Portion {
    pub seed: u64,
    pub seconds: f64,
    pub fds: u64,
    /// How much more memory was in RAM than at the most while the process was warming up; zero while it does.
    pub grown_kib: u64,
    /// How much more was allocated than after the first portion of the process.
    pub grown_bytes: i64,
    pub tally: Tally,
}

impl Display for Portion {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Portion { seed, seconds, fds, grown_kib, grown_bytes, tally } = self;
        write!(f, "portion seed {seed} seconds {seconds:.1} fds {fds}")?;
        write!(f, " grown_kib {grown_kib} grown_bytes {grown_bytes}{tally}")
    }
}

impl Portion {
    /// `None` if `line` is no whole line of a record.
    fn parse(line: &str) -> Option<Portion> {
        let mut words = line.strip_prefix("portion ")?.split(' ');
        let mut number = |name: &str| {
            (words.next()? == name).then_some(())?;
            words.next()
        };
        let seed = number("seed")?.parse().ok()?;
        let seconds = number("seconds")?.parse().ok()?;
        let fds = number("fds")?.parse().ok()?;
        let grown_kib = number("grown_kib")?.parse().ok()?;
        let grown_bytes = number("grown_bytes")?.parse().ok()?;
        let mut tally = Tally::default();
        for (at, name) in NAMES.iter().enumerate() {
            tally.0[at] = number(name)?.parse().ok()?;
        }
        words.next().is_none().then_some(Portion { seed, seconds, fds, grown_kib, grown_bytes, tally })
    }
}

/// The sum of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    pub portions: u64,
    pub seconds: f64,
    /// The fewest fds that a portion had.
    pub fds: u64,
    pub grown_kib: u64,
    pub grown_bytes: i64,
    pub tally: Tally,
}

impl Sum {
    pub fn add(&mut self, portion: &Portion) {
        self.fds = if self.portions == 0 { portion.fds } else { self.fds.min(portion.fds) };
        self.portions += 1;
        self.seconds += portion.seconds;
        self.grown_kib = self.grown_kib.max(portion.grown_kib);
        self.grown_bytes = self.grown_bytes.max(portion.grown_bytes);
        self.tally.add(&portion.tally);
    }

    /// Sums up what is recorded in `text`.
    pub fn of(text: &str) -> Result<Sum, String> {
        let mut sum = Sum::default();
        for (number, line) in text.lines().enumerate() {
            let portion = Portion::parse(line).ok_or_else(|| format!("line {} is no portion: {line}", number + 1))?;
            sum.add(&portion);
        }
        Ok(sum)
    }

    /// Of the record at `path`, which need not exist yet.
    pub fn read(path: &Path) -> Result<Sum, String> {
        match fs::read_to_string(path) {
            Ok(text) => Sum::of(&text).map_err(|error| format!("{}: {error}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Sum::default()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }
}

impl Display for Sum {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>15} portions, {:.0} s", self.portions, self.seconds)?;
        for (name, number) in NAMES.iter().zip(self.tally.0) {
            writeln!(f, "{number:>15} {name}")?;
        }
        writeln!(f, "{:>15} fds at least", self.fds)?;
        writeln!(f, "{:>15} KiB more in RAM than while warming up, at most", self.grown_kib)?;
        write!(f, "{:>15} bytes more allocated than after the first portion, at most", self.grown_bytes)
    }
}

/// Adds `portion` to the record at `path`: in one write, so that several processes may share a record.
pub fn record(path: &Path, portion: &Portion) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{portion}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portion(messages: u64, lost: u64) -> Portion {
        let mut tally = Tally::default();
        tally.0[Count::Messages as usize] = messages;
        tally.0[Count::Lost as usize] = lost;
        Portion { seed: 7, seconds: 1.5, fds: 100, grown_kib: 12, grown_bytes: 34, tally }
    }

    #[test]
    fn a_portion_is_read_as_it_was_recorded() {
        let portion = portion(5, 1);

        assert_eq!(Portion::parse(&portion.to_string()), Some(portion));
    }

    #[test]
    fn a_record_sums_up_findings_included() {
        let text = format!("{}\n{}\n", portion(5, 0), portion(6, 2));

        let sum = Sum::of(&text).unwrap();

        assert_eq!((sum.portions, sum.seconds, sum.fds, sum.grown_kib, sum.grown_bytes), (2, 3.0, 100, 12, 34));
        assert_eq!((sum.tally.get(Count::Messages), sum.tally.findings()), (11, 2));
    }

    #[test]
    fn half_a_line_is_refused() {
        let line = portion(5, 0).to_string();

        assert!(Sum::of(&line[..line.len() - 3]).is_err());
        assert!(Sum::of(&format!("{line} more 1")).is_err());
    }

    #[test]
    fn all_that_comes_after_lost_is_a_finding() {
        for (at, name) in NAMES.iter().enumerate() {
            let mut tally = Tally::default();
            tally.0[at] = 1;
            assert_eq!(tally.findings(), u64::from(at >= Count::Lost as usize), "{name}");
        }
        assert_eq!(Count::Leaked as usize, NAMES.len() - 1);
    }
}
