//! The queue's lock on its own, with full fences: the other models have an ordinary one in its place.
//!
//! The checker sees each access to what is locked, and complains of two that no word of the lock puts in an order. It
//! takes a full fence to order more than the language promises, so the controls also weaken the words, one at a time.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use loom::{
    sync::atomic::AtomicBool,
    thread::{self, JoinHandle},
};

use super::check;
use crate::sys::{biased::Biased, sync::ThreadNumber};

/// A lock that is cheap for the calling thread.
fn lock() -> Arc<Biased<usize>> {
    let owner = ThreadNumber::assign().expect("there are numbers left");
    Arc::new(Biased::new(owner, 0))
}

fn count(lock: &Biased<usize>) {
    *lock.lock() += 1;
}

/// Lets each of `others` threads count `each`.
fn others(lock: &Arc<Biased<usize>>, others: usize, each: usize) -> Vec<JoinHandle<()>> {
    let other = |_| {
        let lock = lock.clone();
        thread::spawn(move || (0..each).for_each(|_| count(&lock)))
    };
    (0..others).map(other).collect()
}

/// Lets the owner count `own` and each of `others` threads `each`, and looks whether all of it has been counted.
fn count_together(own: usize, others_count: usize, each: usize) {
    let lock = lock();
    let threads = others(&lock, others_count, each);

    (0..own).for_each(|_| count(&lock));

    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(*lock.lock(), own + others_count * each, "each has seen what was counted before");
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

/// Nothing but the lock tells the owner what the other thread did.
#[test]
fn the_owner_that_comes_later_sees_what_another_thread_did() {
    check(|| {
        let lock = lock();
        let has_left = Arc::new(AtomicBool::new(false));
        let (others_lock, leaves) = (lock.clone(), has_left.clone());
        let other = thread::spawn(move || {
            *others_lock.lock() = 7;
            leaves.store(true, Relaxed);
        });

        let is_later = has_left.load(Relaxed);
        let seen = *lock.lock();

        assert!(seen == 7 || !is_later);
        other.join().unwrap();
    });
}

/// And the other way round.
#[test]
fn another_thread_that_comes_later_sees_what_the_owner_did() {
    check(|| {
        let lock = lock();
        let has_left = Arc::new(AtomicBool::new(false));
        let (others_lock, leaves) = (lock.clone(), has_left.clone());
        let other = thread::spawn(move || {
            let is_later = leaves.load(Relaxed);
            let seen = *others_lock.lock();
            assert!(seen == 7 || !is_later);
        });

        *lock.lock() = 7;
        has_left.store(true, Relaxed);

        other.join().unwrap();
    });
}

// Who sleeps for ever is a deadlock.

#[test]
fn another_thread_that_goes_to_sleep_is_told_that_the_owner_leaves() {
    check(|| {
        let lock = lock();
        let entered = lock.lock();
        let threads = others(&lock, 1, 1);
        drop(entered);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn two_other_threads_that_go_to_sleep_are_both_told_that_the_owner_leaves() {
    check(|| {
        let lock = lock();
        let entered = lock.lock();
        let threads = others(&lock, 2, 1);
        drop(entered);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// It has seen the owner inside, which then has seen it and is not.
#[test]
fn another_thread_that_sleeps_is_told_that_the_owner_steps_back() {
    check(|| {
        let lock = lock();
        let threads = others(&lock, 1, 1);
        drop(lock.lock());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn the_owners_way_is_short_again_after_others_have_left() {
    check(|| {
        let lock = lock();
        assert!(lock.lock().is_short(), "nobody else has come");
        let threads = others(&lock, 2, 1);
        count(&lock);
        threads.into_iter().for_each(|thread| thread.join().unwrap());

        assert!(lock.lock().is_short(), "all others have left");
        assert!(lock.lock().is_short(), "and so has the owner");
    });
}

// Without membarrier(2), everybody goes through the door.

#[test]
fn a_lock_whose_fences_the_kernel_does_not_make_is_an_ordinary_one() {
    check(|| {
        let owner = ThreadNumber::assign().expect("there are numbers left");
        let lock = Arc::new(Biased::with(owner, 0, false));
        let threads = others(&lock, 2, 1);

        (0..2).for_each(|_| count(&lock));

        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let counted = lock.lock();
        assert!(*counted == 4 && !counted.is_short());
    });
}
