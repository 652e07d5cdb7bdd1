//! The queue's cell on its own: the other models have a lock in its place.
//!
//! The checker sees each access to what is inside, and complains of two that no word of the cell puts in an order. It
//! takes sequential consistency for less than it is, and full fences for more: so there are fences for it alone, and the
//! controls weaken the words, one at a time.

use std::sync::{
    Arc,
    atomic::Ordering::{Acquire, Relaxed, Release},
};

use loom::{
    sync::atomic::AtomicBool,
    thread::{self, JoinHandle},
};

use super::check;
use crate::sys::{owner_cell::OwnerCell, sync::ThreadNumber};

/// A cell of the calling thread.
fn cell() -> Arc<OwnerCell<usize>> {
    let owner = ThreadNumber::assign().expect("there are numbers left");
    Arc::new(OwnerCell::new(owner, 0))
}

fn count(cell: &OwnerCell<usize>) {
    *cell.lock() += 1;
}

/// Lets each of `others` threads count `each`.
fn others(cell: &Arc<OwnerCell<usize>>, others: usize, each: usize) -> Vec<JoinHandle<()>> {
    let other = |_| {
        let cell = cell.clone();
        thread::spawn(move || (0..each).for_each(|_| count(&cell)))
    };
    (0..others).map(other).collect()
}

/// Lets the owner count `own` and each of `others` threads `each`, and looks whether all of it has been counted.
fn count_together(own: usize, others_count: usize, each: usize) {
    let cell = cell();
    let threads = others(&cell, others_count, each);

    (0..own).for_each(|_| count(&cell));

    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(*cell.lock(), own + others_count * each, "each has seen what was counted before");
}

#[test]
fn the_owner_and_another_thread_exclude_each_other() {
    check(|| count_together(1, 1, 1));
}

#[test]
fn the_owner_that_comes_again_and_another_thread_exclude_each_other() {
    check(|| count_together(2, 1, 1));
}

#[test]
fn the_owner_and_another_thread_that_comes_again_exclude_each_other() {
    check(|| count_together(1, 1, 2));
}

#[test]
fn the_owner_and_two_other_threads_exclude_each_other() {
    check(|| count_together(1, 2, 1));
}

#[test]
fn the_owner_that_comes_again_and_two_other_threads_exclude_each_other() {
    check(|| count_together(2, 2, 1));
}

/// Nothing but the cell tells the owner what the other thread did.
#[test]
fn the_owner_that_comes_later_sees_what_another_thread_did() {
    check(|| {
        let cell = cell();
        let has_left = Arc::new(AtomicBool::new(false));
        let (others_cell, leaves) = (cell.clone(), has_left.clone());
        let other = thread::spawn(move || {
            *others_cell.lock() = 7;
            leaves.store(true, Relaxed);
        });

        let is_later = has_left.load(Relaxed);
        let seen = *cell.lock();

        assert!(seen == 7 || !is_later);
        other.join().unwrap();
    });
}

/// And the other way round.
#[test]
fn another_thread_that_comes_later_sees_what_the_owner_did() {
    check(|| {
        let cell = cell();
        let has_left = Arc::new(AtomicBool::new(false));
        let (others_cell, leaves) = (cell.clone(), has_left.clone());
        let other = thread::spawn(move || {
            let is_later = leaves.load(Relaxed);
            let seen = *others_cell.lock();
            assert!(seen == 7 || !is_later);
        });

        *cell.lock() = 7;
        has_left.store(true, Relaxed);

        other.join().unwrap();
    });
}

/// No visitor goes in before an owner that waits, however often it comes.
#[test]
fn a_visitor_lets_an_owner_that_waits_go_first() {
    check(|| {
        let cell = cell();
        // As if a visitor had been preempted inside, and the owner waited for it.
        cell.owner_waits.store(true, Release);
        let has_gone = Arc::new(AtomicBool::new(false));
        let (others_cell, gone) = (cell.clone(), has_gone.clone());
        let visitor = thread::spawn(move || {
            drop(others_cell.lock());
            assert!(gone.load(Acquire), "it was let in before the owner");
        });

        thread::yield_now();
        has_gone.store(true, Release);
        cell.owner_waits.store(false, Release);

        visitor.join().unwrap();
    });
}

// Who waits for ever is a deadlock.

#[test]
fn a_visitor_that_waits_comes_in_when_the_owner_leaves() {
    check(|| {
        let cell = cell();
        let entered = cell.lock();
        let threads = others(&cell, 1, 1);
        drop(entered);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn an_owner_that_waits_behind_the_door_comes_in_when_the_visitor_leaves() {
    check(|| {
        let cell = cell();
        let threads = others(&cell, 2, 1);
        count(&cell);
        count(&cell);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*cell.lock(), 4);
    });
}
