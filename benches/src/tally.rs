//! The proof that all work was done: what every closure, message and event of every contender does.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Counts what ran, and sums up its values.
///
/// Only the thread of the loop adds to it. It is made of atomics so that closures which hold it are `Send`; they are
/// loaded and stored, not added to, so that it costs what a `Cell` costs.
#[derive(Debug, Default)]
pub struct Tally {
    count: AtomicU64,
    sum: AtomicU64,
}

/// One repetition of a workload, proved to be complete.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub took: Duration,
    /// Agrees between all contenders of a workload and size.
    pub checksum: u64,
}

impl Tally {
    /// Makes one that lives for ever: a closure holds it by a plain pointer.
    pub fn leak() -> &'static Tally {
        Box::leak(Box::default())
    }

    #[inline]
    pub fn add(&self, value: u64) {
        self.count.store(self.count.load(Relaxed) + 1, Relaxed);
        self.sum.store(self.sum.load(Relaxed).wrapping_add(value), Relaxed);
    }

    #[inline]
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// Ends a repetition: checks what ran, and begins anew.
    pub fn settle(&self, took: Duration, count: u64, sum: u64) -> Round {
        assert_eq!((self.count(), self.sum()), (count, sum), "count and sum of what ran");
        self.reset();
        Round { took, checksum: sum ^ count }
    }

    /// As [`settle`](Tally::settle), if the values were `0..count`.
    pub fn settle_below(&self, took: Duration, count: u64) -> Round {
        self.settle(took, count, sum_below(count))
    }

    pub fn reset(&self) {
        self.count.store(0, Relaxed);
        self.sum.store(0, Relaxed);
    }
}

pub fn sum_below(count: u64) -> u64 {
    count * count.saturating_sub(1) / 2
}

/// What a closure captures, in all contenders: 16 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub tally: &'static Tally,
    pub value: u64,
}

impl Work {
    #[inline]
    pub fn run(self) {
        self.tally.add(self.value);
    }
}

/// What a large closure captures: 104 bytes, of which it uses all, so that none can be left out.
#[derive(Clone, Copy, Debug)]
pub struct LargeWork {
    work: Work,
    ballast: [u64; 11],
}

impl LargeWork {
    pub fn new(tally: &'static Tally, value: u64) -> LargeWork {
        LargeWork { work: Work { tally, value }, ballast: [value; 11] }
    }

    #[inline]
    pub fn run(self) {
        assert!(self.ballast.iter().all(|part| *part == self.work.value));
        self.work.run();
    }
}
