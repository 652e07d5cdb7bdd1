//! A cell for what one thread uses all the time and others now and then.
//!
//! The looper's queue is used by the looper's own thread, its *owner*, for each post and each message. The owner goes in
//! by one `swap` and out by one store. Other threads, *visitors*, take a lock (the *door*), say that they are visiting,
//! and wait until the owner is out:
//!
//! | the owner | a visitor, behind the door |
//! |---|---|
//! | `inside.swap(true)` | `visiting.swap(true)` |
//! | `visiting`? then it steps back and waits for the visitor; else it is in | waits until `inside` is false; then it is in |
//! | .. | .. |
//! | `inside = false` | `visiting = false`, and the door opens |
//!
//! Each writes its word before it reads the other's, and all four accesses are sequentially consistent, so at least one
//! of the two sees the other. What one did inside is seen by the other through the words: the owner reads `visiting ==
//! false`, which the last visitor has released, and a visitor `inside == false`, which the owner has.
//!
//! Nobody runs user code inside or sleeps there, so waits are short. The owner spins for a moment, and sleeps behind the
//! door if a visitor was preempted inside. A visitor spins, yields, and sleeps for microseconds if the owner was. The
//! door would let one visitor in again and again before the owner gets up, so the owner says that it waits, and no
//! further visitor goes in before it.
//!
//! In a forked child, the owner [shuts](OwnerCell::shut) what it has from its parent, by the word of visitors: so its fast
//! paths need not ask what else they would have to.
//!
//! `tests/unit/models/owner_cell.rs` checks this, with full fences, since the checker takes sequential consistency for less
//! than it is. `docs/performance.md` has what the cell wins over a lock.

#[cfg(not(all(test, alooper_loom)))]
use std::{hint, thread, time::Duration};
use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst},
};

use crate::sys::sync::{AtomicBool, Here, Mutex, MutexGuard, ThreadNumber, UnsafeCell, yield_now};

/// How often the owner looks whether a visitor has left, before it sleeps: ten times as long as a visit takes.
const SPINS: u32 = if cfg!(all(test, alooper_loom)) { 1 } else { 1000 };

#[derive(Debug)]
pub(crate) struct OwnerCell<T> {
    owner: ThreadNumber,
    /// The owner is inside, or about to be. Written by the owner alone.
    inside: AtomicBool,
    /// A visitor is inside, or about to be. Written behind the door.
    visiting: AtomicBool,
    /// The owner waits: no visitor goes in before it. Written by the owner alone.
    pub(crate) owner_waits: AtomicBool,
    door: Mutex<()>,
    value: UnsafeCell<T>,
}

// SAFETY: there is one guard at a time, so a reference to the cell is a way to a `&mut T` on any thread, and no more:
// this is what a mutex asks for.
#[allow(unsafe_code, reason = "the queue's cell: see docs/performance.md")]
unsafe impl<T: Send> Sync for OwnerCell<T> {}

impl<T> OwnerCell<T> {
    pub(crate) fn new(owner: ThreadNumber, value: T) -> OwnerCell<T> {
        OwnerCell {
            owner,
            inside: AtomicBool::new(false),
            visiting: AtomicBool::new(false),
            owner_waits: AtomicBool::new(false),
            door: Mutex::new(()),
            value: UnsafeCell::new(value),
        }
    }

    /// The thread that goes in without a door.
    #[inline(always)]
    pub(crate) fn owner(&self) -> ThreadNumber {
        self.owner
    }

    /// Goes in, when nobody else is inside.
    ///
    /// # Panics
    /// If the owner is inside already.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        if self.owner.is_here() { Guard { inside: self.enter(), _door: None } } else { self.visit() }
    }

    /// As [`lock`](OwnerCell::lock), on the owner's thread.
    #[inline(always)]
    pub(crate) fn lock_here(&self, here: Here) -> OwnersGuard<'_, T> {
        assert!(here.number() == self.owner, "it is the owner's thread");
        self.enter()
    }

    /// As [`lock_here`](OwnerCell::lock_here), for a cell that may have been shut: `None` if `is_shut` says so, which is
    /// asked only if a visitor seems to be inside.
    #[inline(always)]
    pub(crate) fn lock_here_unless(&self, here: Here, is_shut: impl Fn() -> bool) -> Option<OwnersGuard<'_, T>> {
        assert!(here.number() == self.owner, "it is the owner's thread");
        self.enter_unless(is_shut)
    }

    /// Lets [`lock_here_unless`](OwnerCell::lock_here_unless) in no more, as if there were a visitor who does not leave: for
    /// the owner, in a forked child, which may have such a visitor of its parent's. All others have to ask before they
    /// come whether it is shut.
    #[cold]
    pub(crate) fn shut(&self) {
        self.visiting.store(true, Relaxed);
    }

    /// What is inside, for one who needs no guard, since nobody else has this.
    #[allow(unsafe_code, reason = "the queue's cell: see docs/performance.md")]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        // SAFETY: this is borrowed mutably, so that there is no guard, for as long as the value is.
        self.value.with_mut(|value| unsafe { &mut *value })
    }

    #[inline(always)]
    fn enter(&self) -> OwnersGuard<'_, T> {
        self.enter_unless(|| false).expect("nobody says that it is shut")
    }

    #[inline(always)]
    fn enter_unless(&self, is_shut: impl Fn() -> bool) -> Option<OwnersGuard<'_, T>> {
        assert!(!self.inside.swap(true, SeqCst), "a looper's queue is not entered twice");
        owners_fence();
        // Acquires what the last visitor did.
        if self.visiting.load(SeqCst) {
            if is_shut() {
                self.inside.store(false, Release);
                return None;
            }
            self.wait_for_visitor(is_shut)?;
        }
        Some(OwnersGuard { cell: self, _leaving: Leaving(&self.inside), not_send: PhantomData })
    }

    /// Steps back, and comes in when the visitor has left; `None` if the cell has been shut meanwhile.
    #[cold]
    fn wait_for_visitor(&self, is_shut: impl Fn() -> bool) -> Option<()> {
        self.owner_waits.store(true, Relaxed);
        self.inside.store(false, Release);
        for _ in 0..SPINS {
            if !self.visiting.load(Acquire) {
                self.inside.swap(true, SeqCst);
                owners_fence();
                if !self.visiting.load(SeqCst) {
                    self.owner_waits.store(false, Release);
                    return Some(());
                }
                // Another one came just then.
                self.inside.store(false, Release);
            }
            spin();
        }
        // A signal handler may have forked just now.
        if is_shut() {
            return None;
        }
        let door = self.door.lock();
        // Nobody is behind the door now, and who comes next sees this.
        self.inside.store(true, Relaxed);
        drop(door);
        self.owner_waits.store(false, Release);
        Some(())
    }

    #[cold]
    fn visit(&self) -> Guard<'_, T> {
        let mut pause = Pause::default();
        let door = loop {
            let door = self.door.lock();
            if !self.owner_waits.load(Acquire) {
                break door;
            }
            drop(door);
            pause.wait();
        };
        self.visiting.swap(true, SeqCst);
        visitors_fence();
        let mut pause = Pause::default();
        // Acquires what the owner did inside.
        while self.inside.load(SeqCst) {
            pause.wait();
        }
        let inside = OwnersGuard { cell: self, _leaving: Leaving(&self.visiting), not_send: PhantomData };
        Guard { inside, _door: Some(door) }
    }
}

/// The checker's fence of the owner, which the language has in the `swap`.
#[inline(always)]
fn owners_fence() {
    checkers_fence();
}

/// Likewise, a visitor's.
fn visitors_fence() {
    checkers_fence();
}

#[inline(always)]
fn checkers_fence() {
    #[cfg(all(test, alooper_loom))]
    crate::sys::sync::fence(SeqCst);
}

/// A moment in which another thread may go on.
#[inline]
fn spin() {
    #[cfg(all(test, alooper_loom))]
    yield_now();
    #[cfg(not(all(test, alooper_loom)))]
    hint::spin_loop();
}

/// A wait for somebody who is inside for a moment, or was preempted there and has to be let run.
#[derive(Default)]
struct Pause {
    waits: u32,
}

impl Pause {
    /// So many times it spins.
    #[cfg(not(all(test, alooper_loom)))]
    const SPINS: u32 = 200;
    /// Up to so many times it yields.
    #[cfg(not(all(test, alooper_loom)))]
    const YIELDS: u32 = 220;

    #[cfg(not(all(test, alooper_loom)))]
    #[expect(clippy::disallowed_methods, reason = "who is waited for tells nobody, and may need this CPU")]
    fn wait(&mut self) {
        self.waits = self.waits.saturating_add(1);
        match self.waits {
            0..Pause::SPINS => spin(),
            Pause::SPINS..Pause::YIELDS => yield_now(),
            _ => thread::sleep(Duration::from_micros(20)),
        }
    }

    #[cfg(all(test, alooper_loom))]
    fn wait(&mut self) {
        self.waits += 1;
        spin();
    }
}

/// What is inside, for as long as this lives: the owner's, or a visitor's. Dropped in this order.
#[derive(Debug)]
pub(crate) struct Guard<'a, T> {
    inside: OwnersGuard<'a, T>,
    _door: Option<MutexGuard<'a, ()>>,
}

/// Likewise, the owner's, which has no door to shut.
#[derive(Debug)]
pub(crate) struct OwnersGuard<'a, T> {
    cell: &'a OwnerCell<T>,
    /// A field with a `Drop` of its own: one of the whole guard would add code for unwinding to the owner's fast path.
    _leaving: Leaving<'a>,
    /// It has to be dropped on the thread that it was made on.
    not_send: PhantomData<*const ()>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inside
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inside
    }
}

impl<T> Deref for OwnersGuard<'_, T> {
    type Target = T;

    #[inline]
    #[allow(unsafe_code, reason = "the queue's cell: see docs/performance.md")]
    fn deref(&self) -> &T {
        // SAFETY: there is one guard at a time, and this borrows it.
        self.cell.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for OwnersGuard<'_, T> {
    #[inline]
    #[allow(unsafe_code, reason = "the queue's cell: see docs/performance.md")]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: there is one guard at a time, and this borrows it for as long as the value is.
        self.cell.value.with_mut(|value| unsafe { &mut *value })
    }
}

/// Drops to say that nobody is inside any more.
#[derive(Debug)]
struct Leaving<'a>(&'a AtomicBool);

impl Drop for Leaving<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Releases what was done inside.
        self.0.store(false, Release);
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn cell<T>(value: T) -> OwnerCell<T> {
        OwnerCell::new(ThreadNumber::assign().unwrap(), value)
    }

    /// A second guard would be a second `&mut` to the same.
    #[test]
    fn m9_the_owner_is_not_let_in_twice_and_comes_in_again_after_that() {
        let cell = cell(0);
        let first = cell.lock();

        assert!(catch_unwind(AssertUnwindSafe(|| drop(cell.lock()))).is_err());

        drop(first);
        drop(cell.lock());
    }

    #[test]
    fn m9_one_at_a_time_is_inside_whoever_comes() {
        const EACH: u64 = 100_000;
        let cell = cell([0_u64; 2]);
        let count = |cell: &OwnerCell<[u64; 2]>| {
            let mut guard = cell.lock();
            let [first, second] = *guard;
            assert_eq!(first, second);
            guard[0] = first + 1;
            hint::spin_loop();
            guard[1] = second + 1;
        };

        let mut own = 0;
        thread::scope(|scope| {
            let others: Vec<_> = (0..2).map(|_| scope.spawn(|| (0..EACH).for_each(|_| count(&cell)))).collect();
            while others.iter().any(|other| !other.is_finished()) {
                count(&cell);
                own += 1;
            }
            // Before the next cell takes this one's place: that their scope waits for them, the thread sanitizer
            // does not see.
            others.into_iter().for_each(|other| other.join().unwrap());
        });

        assert_eq!(*cell.lock(), [own + 2 * EACH; 2]);
    }
}
