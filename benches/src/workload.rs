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
    /// An fd's wait while others flood the loop, and a chain while another thread asks.
    FloodedFd,
    QuestionedChain,
    /// Tasks: one that wakes itself, many that end at once, and two with a pair of sockets.
    TaskWakes,
    TaskSpawns,
    TaskPair,
    /// A chain, a burst of the loop's thread, and a burst of another thread while the loop's is in a callback: what is
    /// counted is system calls.
    BusyChain,
    BusyBurst,
    BusyRemote,
}

/// In what the value of a sample is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Microseconds,
    Bytes,
    Kibibytes,
}

/// What alooper has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At most so many times the floor.
    Ratio(f64),
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

use Kind::*;
use Target::{Ratio, Value};
use Unit::*;

const BURST: &[usize] = &[1_000, 10_000, 50_000, 1_000_000];
const TIMERS: &[usize] = &[1_000, 100_000, 1_000_000];

#[rustfmt::skip]
pub const ALL: &[Workload] = &[
    Workload { id: "W1a-cb", kind: BurstCallbacks, title: "the loop's thread posts N closures, then runs them; per closure",
        size: "N", sizes: BURST, quick: &[1_000, 50_000], unit: Nanoseconds,
        target: |size| Ratio(if size < 1_000_000 { 0.4 } else { 0.8 }) },
    Workload { id: "W1a-msg", kind: BurstMessages, title: "the loop's thread sends N messages, then handles them; per message",
        size: "N", sizes: BURST, quick: &[1_000, 50_000], unit: Nanoseconds, target: |_| Ratio(6.0) },
    Workload { id: "W1b-cb", kind: ChainCallbacks, title: "each closure posts the next one; per closure",
        size: "hops", sizes: &[1_000_000], quick: &[50_000], unit: Nanoseconds, target: |_| Ratio(2.0) },
    Workload { id: "W1b-msg", kind: ChainMessages, title: "handling a message sends the next one; per message",
        size: "hops", sizes: &[1_000_000], quick: &[50_000], unit: Nanoseconds, target: |_| Ratio(6.0) },
    Workload { id: "W2-cb", kind: FloodCallbacks, title: "threads post 250,000 closures each into a running loop; per closure",
        size: "threads", sizes: &[1, 2, 4], quick: &[1, 2], unit: Nanoseconds, target: |_| Ratio(0.4) },
    Workload { id: "W2-msg", kind: FloodMessages, title: "threads send 250,000 messages each into a running loop; per message",
        size: "threads", sizes: &[1, 2, 4], quick: &[1, 2], unit: Nanoseconds, target: |_| Ratio(1.1) },
    Workload { id: "W3", kind: PingPong, title: "a message bounces between two loops on two threads; per round trip",
        size: "trips", sizes: &[2_000], quick: &[500], unit: Nanoseconds, target: |_| Ratio(1.08) },
    Workload { id: "W3-one-core", kind: PingPongOneCore, title: "the same with both threads on one core; per round trip",
        size: "trips", sizes: &[5_000], quick: &[1_000], unit: Nanoseconds, target: |_| Ratio(1.08) },
    Workload { id: "W4a", kind: TimersInsert, title: "insert N timers with random deadlines, far in the future; per timer",
        size: "N", sizes: TIMERS, quick: &[1_000, 100_000], unit: Nanoseconds, target: |_| Ratio(1.3) },
    Workload { id: "W4b", kind: TimersCancel, title: "cancel N timers in random order; per timer",
        size: "N", sizes: TIMERS, quick: &[1_000, 100_000], unit: Nanoseconds, target: |_| Ratio(1.2) },
    Workload { id: "W4c", kind: TimersFire, title: "fire N timers that are due, inserted with random deadlines; per timer",
        size: "N", sizes: TIMERS, quick: &[1_000, 100_000], unit: Nanoseconds, target: |_| Ratio(1.3) },
    Workload { id: "W5", kind: Fds, title: "M eventfds are watched, 100 at most are ready in a turn and are read; per event",
        size: "M", sizes: &[1, 100, 1_000, 10_000], quick: &[1, 100, 1_000], unit: Nanoseconds, target: |_| Ratio(1.1) },
    Workload { id: "W6", kind: FdChurn, title: "add and remove one fd beside others; per pair",
        size: "others", sizes: &[1_000], quick: &[1_000], unit: Nanoseconds, target: |_| Ratio(1.15) },
    Workload { id: "W7", kind: Lateness, title: "lateness of a one-shot timer, median",
        size: "delay, us", sizes: &[250, 1_300, 5_000], quick: &[250, 5_000], unit: Microseconds, target: |_| Ratio(1.2) },
    Workload { id: "W9-timer", kind: TimerBytes, title: "bytes of the heap for a pending delayed closure that captures 16 bytes",
        size: "N", sizes: &[100_000], quick: &[100_000], unit: Bytes, target: |_| Value(110.0) },
    Workload { id: "W9-fd", kind: FdBytes, title: "bytes of the heap for a watched fd whose closure captures 16 bytes",
        size: "M", sizes: &[1_000], quick: &[1_000], unit: Bytes, target: |_| Value(130.0) },
    Workload { id: "W12", kind: TaskWakes, title: "a task wakes itself and is polled; per wake (the target is tokio's LocalSet)",
        size: "wakes", sizes: &[100_000], quick: &[50_000], unit: Nanoseconds, target: |_| Ratio(1.1) },
    Workload { id: "W13", kind: TaskSpawns, title: "N tasks are spawned and end when first polled; per task (the target is calloop's executor)",
        size: "N", sizes: &[1_000, 10_000], quick: &[10_000], unit: Nanoseconds, target: |_| Ratio(1.0) },
    Workload { id: "W14", kind: TaskPair, title: "a byte there and back between two tasks over a pair of sockets; per round trip (the target is the best peer)",
        size: "trips", sizes: &[10_000], quick: &[2_000], unit: Nanoseconds, target: |_| Ratio(1.0) },
    Workload { id: "X1", kind: LargeCallbacks, title: "as W1a-cb, with closures that capture 104 bytes; per closure",
        size: "N", sizes: BURST, quick: &[50_000], unit: Nanoseconds, target: |_| Target::None },
    Workload { id: "X2", kind: ManyHandlers, title: "messages to 10,000 handlers in turn; per message",
        size: "messages", sizes: &[100_000], quick: &[100_000], unit: Nanoseconds, target: |_| Target::None },
    Workload { id: "X3-cb", kind: FloodCallbacks, title: "as W2-cb, with 8 threads; per closure",
        size: "threads", sizes: &[8], quick: &[], unit: Nanoseconds, target: |_| Target::None },
    Workload { id: "X3-msg", kind: FloodMessages, title: "as W2-msg, with 8 threads; per message",
        size: "threads", sizes: &[8], quick: &[], unit: Nanoseconds, target: |_| Target::None },
    Workload { id: "X4", kind: Mix, title: "1000 timers that repeat every 1 to 10 ms, 1000 fds and a posting thread at once; \
         per closure and fd event", size: "closures", sizes: &[200_000], quick: &[100_000], unit: Nanoseconds, target: |_| Target::None },
    Workload { id: "X5-heap", kind: BurstHeap, title: "what the heap keeps after a burst of closures has run",
        size: "N", sizes: &[1_000_000], quick: &[], unit: Kibibytes, target: |_| Target::None },
    Workload { id: "X5-rss", kind: BurstResident, title: "by how much the resident memory has grown after a burst of closures has run",
        size: "N", sizes: &[1_000_000], quick: &[], unit: Kibibytes, target: |_| Target::None },
    Workload { id: "X6", kind: FloodedFd, title: "how long a ready fd waits while 4 threads post 250,000 closures each as fast as they can",
        size: "percentile", sizes: &[50, 99], quick: &[99], unit: Microseconds, target: |_| Target::None },
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
        size: "hops", sizes: &[], quick: &[], unit: Nanoseconds, target: |_| Value(8.0) },
    Workload { id: "W11-burst", kind: BusyBurst, title: "the loop's thread posts closures, then runs them",
        size: "N", sizes: &[], quick: &[], unit: Nanoseconds, target: |_| Value(8.0) },
    Workload { id: "W11-remote", kind: BusyRemote, title: "another thread posts closures while the loop's is in a callback",
        size: "N", sizes: &[], quick: &[], unit: Nanoseconds, target: |_| Value(8.0) },
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
            Nanoseconds | Bytes => value,
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
