//! What the floor has for timers: a binary heap beside a slab of closures, or a `BTreeMap`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use slab::Slab;

pub type Callback = Box<dyn FnOnce()>;

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub type When = u64;

pub fn now() -> When {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock can be read");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// One of the two structures.
pub trait Timers: Default {
    type Key;
    fn insert(&mut self, when: When, callback: Callback) -> Self::Key;
    /// Whether it was pending; drops its closure.
    fn cancel(&mut self, key: Self::Key) -> bool;
    /// Runs everything that is due at `now`.
    fn fire(&mut self, now: When);

    fn len(&self) -> usize;
    /// Drops what cancelling has left behind, between two repetitions.
    fn forget_cancelled(&mut self) {}

    fn insert_after(&mut self, delay: Duration, callback: Callback) -> Self::Key {
        self.insert(now() + delay.as_nanos() as u64, callback)
    }
}

/// The closures are in a slab, where a cancelled one leaves at once. Its entry in the heap is skipped when it surfaces:
/// the sequence number tells whether a slot is still that entry's.
#[derive(Default)]
pub struct Heap {
    entries: BinaryHeap<Reverse<(When, u64, usize)>>,
    callbacks: Slab<(u64, Callback)>,
    sequence: u64,
}

impl Timers for Heap {
    type Key = usize;

    fn insert(&mut self, when: When, callback: Callback) -> usize {
        self.sequence += 1;
        let slot = self.callbacks.insert((self.sequence, callback));
        self.entries.push(Reverse((when, self.sequence, slot)));
        slot
    }

    fn cancel(&mut self, slot: usize) -> bool {
        self.callbacks.try_remove(slot).is_some()
    }

    fn len(&self) -> usize {
        self.callbacks.len()
    }

    fn forget_cancelled(&mut self) {
        self.entries.clear();
    }

    fn fire(&mut self, now: When) {
        while let Some(&Reverse((when, sequence, slot))) = self.entries.peek() {
            let is_pending = self.callbacks.get(slot).is_some_and(|(other, _)| *other == sequence);
            if is_pending && when > now {
                return;
            }
            self.entries.pop();
            if is_pending {
                self.callbacks.remove(slot).1();
            }
        }
    }
}

#[derive(Default)]
pub struct Tree {
    callbacks: BTreeMap<(When, u64), Callback>,
    sequence: u64,
}

impl Timers for Tree {
    type Key = (When, u64);

    fn insert(&mut self, when: When, callback: Callback) -> (When, u64) {
        self.sequence += 1;
        self.callbacks.insert((when, self.sequence), callback);
        (when, self.sequence)
    }

    fn cancel(&mut self, key: (When, u64)) -> bool {
        self.callbacks.remove(&key).is_some()
    }

    fn len(&self) -> usize {
        self.callbacks.len()
    }

    fn fire(&mut self, now: When) {
        while let Some(first) = self.callbacks.first_entry() {
            if first.key().0 > now {
                return;
            }
            first.remove()();
        }
    }
}
