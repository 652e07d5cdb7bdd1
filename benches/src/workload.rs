//! The workloads: what is measured, for which sizes, and what alooper has to reach.

use std::fmt::Write;

/// What a contender is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    BurstCallbacks,
    BurstMessages,
    ChainCallbacks,
    ChainMessages,
    FloodCallbacks,
    FloodMessages,
    PingPong,
    PingPongOneCore,
    TimersInsert,
    TimersCancel,
    TimersFire,
    Fds,
    FdChurn,
    Lateness,
    TimerBytes,
    FdBytes,
    LargeCallbacks,
    ManyHandlers,
    Mix,
    /// What is kept after a burst: of the heap, and of the process.
    BurstHeap,
    BurstResident,
    /// A loop that others flood, by what is measured of it; and a chain while another thread asks.
    Flooded {
        what: Flood,
        bounded: bool,
    },
    QuestionedChain,
    /// Of a loop that sleeps, by another thread.
    RemoteQuestion,
    RemoteCancel,
    /// To make a loop, and what one has that rests.
    Made,
    IdleFds,
    IdleBytes,
    /// A burst in a fresh process.
    ColdCallbacks,
    /// Tasks: one that wakes itself, many that end at once, and two with a pair of sockets.
    TaskWakes,
    TaskSpawns,
    TaskPair,
    /// A chain, a burst of the loop's thread, and a burst of another thread while the loop's is in a callback: what is
    /// counted is system calls.
    BusyChain,
    BusyBurst,
    BusyRemote,
    /// As `BurstCallbacks`, watched.
    Watched(Watched),
}

/// Who watches a loop, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    Not,
    Messages,
    /// Messages, and when they begin and end; or when they were posted.
    Times,
    Posts,
    /// All that an observer is told unless it says otherwise.
    Default,
    /// A trace, which is written to /dev/null.
    Trace,
}

/// What is measured of a loop that is flooded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// How long a ready fd and a timer that is due wait.
    Fd,
    Timer,
    /// The time for each closure that runs.
    Ran,
    /// By how much the process grows.
    Memory,
}

/// In what the value of a sample is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Microseconds,
    Bytes,
    Kibibytes,
    Descriptors,
}

/// What alooper has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At most so many times what this contender takes, the floor or a peer.
    Of(&'static str, f64),
    /// At most so many times what the best peer takes.
    OfBest(f64),
    /// At most this value, whatever the floor's is.
    Value(f64),
    /// It is measured only.
    None,
}

#[derive(Debug)]
pub struct Workload {
    pub id: &'static str,
    pub kind: Kind,
    pub title: &'static str,
    /// What the size counts; empty if it means nothing.
    pub size: &'static str,
    pub sizes: &'static [usize],
    /// Those of `--quick`.
    pub quick: &'static [usize],
    pub unit: Unit,
    pub target: fn(usize) -> Target,
}

use Flood::*;
use Kind::*;
use Target::{Of, OfBest, Value};
use Unit::*;

const BURST: &[usize] = &[1_000, 10_000, 50_000, 1_000_000];
const TIMERS: &[usize] = &[1_000, 100_000, 1_000_000];

#[rustfmt::skip]
pub const ALL: &[Workload] = &[
    Workload { id: "W1a-cb", kind: BurstCallbacks, title: "the loop's thread posts N closures, then runs them; per closure",
        size: "N", sizes: BURST, quick: &[1_000], unit: Nanoseconds,
        target: |_| Of("libuv", 0.8) },
    Workload { id: "W1a-msg", kind: BurstMessages, title: "the loop's thread sends N messages, then handles them; per message",
        size: "N", sizes: BURST, quick: &[1_000], unit: Nanoseconds, target: |_| Of("libuv", 1.0) },
    Workload { id: "W1b-cb", kind: ChainCallbacks, title: "each closure posts the next one; per closure",
        size: "hops", sizes: &[1_000_000], quick: &[50_000], unit: Nanoseconds, target: |_| Of("tokio", 0.35) },
    Workload { id: "W1b-msg", kind: ChainMessages, title: "handling a message sends the next one; per message",
        size: "hops", sizes: &[1_000_000], quick: &[50_000], unit: Nanoseconds, target: |_| Of("tokio", 0.45) },
    Workload { id: "W2-cb", kind: FloodCallbacks, title: "threads post 250,000 closures each into a running loop; per closure",
        size: "threads", sizes: &[1, 2, 4, 8], quick: &[2], unit: Nanoseconds, target: |_| Of("libuv", 1.0) },
    Workload { id: "W2-msg", kind: FloodMessages, title: "threads send 250,000 messages each into a running loop; per message",
        size: "threads", sizes: &[1, 2, 4, 8], quick: &[2], unit: Nanoseconds, target: |_| Of("libuv", 1.0) },
    Workload { id: "W3", kind: PingPong, title: "a message bounces between two loops on two threads; per round trip",
        size: "trips", sizes: &[2_000], quick: &[500], unit: Nanoseconds, target: |_| OfBest(1.0) },
    Workload { id: "W3-one-core", kind: PingPongOneCore, title: "the same with both threads on one core; per round trip",
        size: "trips", sizes: &[5_000], quick: &[1_000], unit: Nanoseconds, target: |_| OfBest(1.0) },
    Workload { id: "W4a", kind: TimersInsert, title: "insert N timers with random deadlines, far in the future; per timer",
        size: "N", sizes: TIMERS, quick: &[1_000], unit: Nanoseconds, target: |_| Of("libuv", 0.8) },
    Workload { id: "W4b", kind: TimersCancel, title: "cancel N timers in random order; per timer",
        size: "N", sizes: TIMERS, quick: &[1_000], unit: Nanoseconds, target: |_| OfBest(0.8) },
    Workload { id: "W4c", kind: TimersFire, title: "fire N timers that are due, inserted with random deadlines; per timer",
        size: "N", sizes: TIMERS, quick: &[1_000], unit: Nanoseconds, target: |_| OfBest(1.0) },
    Workload { id: "W5", kind: Fds, title: "M eventfds are watched, 100 at most are ready in a turn and are read; per event",
        size: "M", sizes: &[1, 100, 1_000, 10_000], quick: &[100], unit: Nanoseconds, target: |_| Of("libuv", 1.0) },
    Workload { id: "W6", kind: FdChurn, title: "add and remove one fd beside others; per pair",
        size: "others", sizes: &[1_000], quick: &[1_000], unit: Nanoseconds, target: |_| Of("floor", 1.15) },
    Workload { id: "W7", kind: Lateness, title: "lateness of a one-shot timer, median",
        size: "delay, us", sizes: &[250, 1_300, 5_000], quick: &[250], unit: Microseconds, target: |_| Of("floor", 1.1) },
    Workload { id: "W9-timer", kind: TimerBytes, title: "bytes of the heap for a pending delayed closure that captures 16 bytes",
        size: "N", sizes: &[100_000], quick: &[100_000], unit: Bytes, target: |_| Value(96.0) },
    Workload { id: "W9-fd", kind: FdBytes, title: "bytes of the heap for a watched fd whose closure captures 16 bytes",
        size: "M", sizes: &[1_000], quick: &[1_000], unit: Bytes, target: |_| Value(120.0) },
    Workload { id: "W12", kind: TaskWakes, title: "a task wakes itself and is polled; per wake",
        size: "wakes", sizes: &[100_000], quick: &[50_000], unit: Nanoseconds, target: |_| Of("tokio", 1.0) },
    Workload { id: "W13", kind: TaskSpawns, title: "N tasks are spawned and end when first polled; per task",
        size: "N", sizes: &[1_000, 10_000], quick: &[10_000], unit: Nanoseconds, target: |_| Of("calloop", 1.0) },
    Workload { id: "W14", kind: TaskPair, title: "a byte there and back between two tasks over a pair of sockets; per round trip",
        size: "trips", sizes: &[10_000], quick: &[2_000], unit: Nanoseconds, target: |_| OfBest(1.0) },
    Workload { id: "W15", kind: RemoteQuestion, title: "another thread asks a loop that sleeps how many are pending (1), whether a certain one is (2); per question",
        size: "kind", sizes: &[1, 2], quick: &[1, 2], unit: Nanoseconds, target: |_| Value(130.0) },
    Workload { id: "W16", kind: RemoteCancel, title: "another thread cancels N timers of a loop that sleeps; per timer",
        size: "N", sizes: &[1_000], quick: &[1_000], unit: Nanoseconds, target: |_| Value(400.0) },
    Workload { id: "W17", kind: Made, title: "a loop is made and looks once whether there is anything to do; per loop",
        size: "-", sizes: &[1], quick: &[1], unit: Nanoseconds, target: |_| OfBest(1.0) },
    Workload { id: "W17-fds", kind: IdleFds, title: "fds of a loop that rests",
        size: "-", sizes: &[1], quick: &[1], unit: Descriptors, target: |_| OfBest(1.0) },
    Workload { id: "W17-bytes", kind: IdleBytes, title: "bytes of the heap for a loop that rests",
        size: "-", sizes: &[1], quick: &[1], unit: Bytes, target: |_| OfBest(1.0) },
    Workload { id: "W18", kind: ColdCallbacks, title: "as W1a-cb, the first time in a fresh process; per closure",
        size: "N", sizes: &[1_000], quick: &[1_000], unit: Nanoseconds, target: |_| Of("tokio", 1.0) },
    Workload { id: "W19-none", kind: Watched(Watched::Not), title: "as W1a-cb, and nobody watches; per closure",
        size: "N", sizes: &[1_000], quick: &[1_000], unit: Nanoseconds, target: |_| Target::None },
    Workload { id: "W19-messages", kind: Watched(Watched::Messages), title: "as W19-none, with an observer that wants messages",
        size: "N", sizes: &[1_000], quick: &[1_000], unit: Nanoseconds, target: |_| Value(58.0) },
    Workload { id: "W19-times", kind: Watched(Watched::Times), title: "as W19-none, with an observer that wants messages and times",
        size: "N", sizes: &[1_000], quick: &[1_000], unit: Nanoseconds, target: |_| Target::None },
    Workload { id: "W19-posts", kind: Watched(Watched::Posts), title: "as W19-none, with an observer that wants messages and posts",
        size: "N", sizes: &[1_000], quick: &[1_000], unit: Nanoseconds, target: |_| Target::None },
    Workload { id: "W19-default", kind: Watched(Watched::Default), title: "as W19-none, with an observer that says nothing of what it wants",
        size: "N", sizes: &[1_000], quick: &[1_000], unit: Nanoseconds, target: |_| Target::None },
    Workload { id: "W19-trace", kind: Watched(Watched::Trace), title: "as W19-none, with a trace to /dev/null",
        size: "N", sizes: &[1_000], quick: &[1_000], unit: Nanoseconds, target: |_| Value(87.0) },
    Workload { id: "X1", kind: LargeCallbacks, title: "as W1a-cb, with closures that capture 104 bytes; per closure",
        size: "N", sizes: &[50_000], quick: &[50_000], unit: Nanoseconds, target: |_| Target::None },
    Workload { id: "X2", kind: ManyHandlers, title: "messages to 10,000 handlers in turn; per message",
        size: "messages", sizes: &[100_000], quick: &[100_000], unit: Nanoseconds, target: |_| Target::None },
    Workload { id: "X4", kind: Mix, title: "1000 timers that repeat every 1 to 10 ms, 1000 fds and a posting thread at once; \
         per closure and fd event", size: "closures", sizes: &[200_000], quick: &[100_000], unit: Nanoseconds, target: |_| Target::None },
    Workload { id: "X5-heap", kind: BurstHeap, title: "what the heap keeps after a burst of closures has run",
        size: "N", sizes: &[1_000_000], quick: &[], unit: Kibibytes, target: |_| Target::None },
    Workload { id: "X5-rss", kind: BurstResident, title: "by how much the resident memory has grown after a burst of closures has run",
        size: "N", sizes: &[1_000_000], quick: &[], unit: Kibibytes, target: |_| Target::None },
    Workload { id: "X6-fd", kind: Flooded { what: Fd, bounded: false }, title: "how long a ready fd waits while 4 threads post as fast as they can",
        size: "percentile", sizes: &[50, 99], quick: &[99], unit: Microseconds, target: |_| OfBest(1.0) },
    Workload { id: "X6-timer", kind: Flooded { what: Timer, bounded: false }, title: "how late a timer of 1 ms is meanwhile",
        size: "percentile", sizes: &[50, 99], quick: &[99], unit: Microseconds, target: |_| OfBest(1.0) },
    Workload { id: "X6-ran", kind: Flooded { what: Ran, bounded: false }, title: "the time for each of those that run meanwhile",
        size: "threads", sizes: &[4], quick: &[4], unit: Nanoseconds, target: |_| Of("calloop", 1.0) },
    Workload { id: "X6-rss", kind: Flooded { what: Memory, bounded: false }, title: "by how much the process grows meanwhile",
        size: "threads", sizes: &[4], quick: &[4], unit: Kibibytes, target: |_| Target::None },
    Workload { id: "X6b-fd", kind: Flooded { what: Fd, bounded: true }, title: "how long a ready fd waits while 4 threads send as fast as a queue with room for 1024 lets them",
        size: "percentile", sizes: &[50, 99], quick: &[99], unit: Microseconds, target: |_| OfBest(1.0) },
    Workload { id: "X6b-timer", kind: Flooded { what: Timer, bounded: true }, title: "how late a timer of 1 ms is meanwhile",
        size: "percentile", sizes: &[50, 99], quick: &[99], unit: Microseconds, target: |_| OfBest(1.0) },
    Workload { id: "X6b-ran", kind: Flooded { what: Ran, bounded: true }, title: "the time for each of those that run meanwhile",
        size: "threads", sizes: &[4], quick: &[4], unit: Nanoseconds, target: |_| Of("calloop", 1.0) },
    Workload { id: "X6b-rss", kind: Flooded { what: Memory, bounded: true }, title: "by how much the process grows meanwhile",
        size: "threads", sizes: &[4], quick: &[4], unit: Kibibytes, target: |_| Target::None },
    Workload { id: "X7", kind: QuestionedChain, title: "as W1b-cb, while another thread without end asks how many are pending (1), \
         or posts with a delay and cancels (2); per closure", size: "kind", sizes: &[1, 2], quick: &[1, 2], unit: Nanoseconds, target: |_| Target::None },
];

impl Workload {
    pub fn find(id: &str) -> Option<&'static Workload> {
        ALL.iter().chain(SYSCALLS).find(|workload| workload.id == id)
    }
}

/// What the workloads of [`SYSCALLS`] are called together.
pub const W11: &str = "W11";

/// Those whose system calls are counted, not timed.
#[rustfmt::skip]
pub const SYSCALLS: &[Workload] = &[
    Workload { id: "W11-chain", kind: BusyChain, title: "each closure posts the next one",
        size: "hops", sizes: &[], quick: &[], unit: Nanoseconds, target: |_| Value(6.0) },
    Workload { id: "W11-burst", kind: BusyBurst, title: "the loop's thread posts closures, then runs them",
        size: "N", sizes: &[], quick: &[], unit: Nanoseconds, target: |_| Value(6.0) },
    Workload { id: "W11-remote", kind: BusyRemote, title: "another thread posts closures while the loop's is in a callback",
        size: "N", sizes: &[], quick: &[], unit: Nanoseconds, target: |_| Value(6.0) },
];

pub fn ids() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|workload| workload.id).chain([W11])
}

/// Whether `name` is `id`, or the beginning of it: `W4` is all of `W4a`, `W4b` and `W4c`, and `W1` is not `W11`.
pub fn is_meant(id: &str, name: &str) -> bool {
    id.strip_prefix(name).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

impl Unit {
    /// Of what a child prints.
    pub fn scale(self, value: f64) -> f64 {
        match self {
            Nanoseconds | Bytes | Descriptors => value,
            Microseconds => value / 1e3,
            Kibibytes => value / 1024.0,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Nanoseconds => "ns",
            Microseconds => "us",
            Bytes => "bytes",
            Kibibytes => "KiB",
            Descriptors => "fds",
        }
    }
}

/// `1000000` as `1,000,000`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        let _ = text.write_char(digit);
    }
    text
}
