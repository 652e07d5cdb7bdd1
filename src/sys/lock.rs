//! parking_lot's lock and condition variable; in a forked child, with std's before them.
//!
//! All locks of parking_lot queue their threads in one table of the process. A child may have inherited a part of that
//! table locked by a thread that it does not have, and whoever has to queue there waits for ever. So each lock that is
//! made in a forked child has a *gate*, a lock of std's, which is a word for `futex(2)` and nothing else. Whoever has
//! passed the gate finds parking_lot's lock free, and never comes to the table. Locks that are older than the child are
//! never locked there (X2), so it is enough to look when a lock is made.
//!
//! A gate's poison is ignored: no panic of a user's passes a lock here.

use std::{
    fmt::{self, Debug, Formatter},
    ops::{Deref, DerefMut},
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{self, PoisonError},
    time::Instant,
};

use crate::sys::{fork, time::Clock};

pub(crate) struct Mutex<T> {
    /// In a forked child alone. Locked before `inner` and unlocked after it.
    gate: Option<sync::Mutex<()>>,
    inner: parking_lot::Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex::made_in(fork::is_forked_child(), value)
    }

    fn made_in(forked_child: bool, value: T) -> Mutex<T> {
        Mutex { gate: forked_child.then(sync::Mutex::default), inner: parking_lot::Mutex::new(value) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let gate = Passed(self.gate.as_ref().map(pass));
        MutexGuard { inner: self.inner.lock(), gate }
    }

    /// What is locked, for one who needs no lock, since nobody else has this.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

#[cold]
fn pass(gate: &sync::Mutex<()>) -> sync::MutexGuard<'_, ()> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> Debug for Mutex<T> {
    /// Without a look at what is locked.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

// Like std's lock. Without these, errors that hold a lock would not be `UnwindSafe`.
impl<T> UnwindSafe for Mutex<T> {}
impl<T> RefUnwindSafe for Mutex<T> {}

/// What is locked, for as long as this lives.
#[must_use = "what is dropped at once is unlocked at once"]
pub(crate) struct MutexGuard<'a, T> {
    /// Dropped before the gate is.
    inner: parking_lot::MutexGuard<'a, T>,
    gate: Passed<'a>,
}

/// The gate that was passed, if there is one.
struct Passed<'a>(Option<sync::MutexGuard<'a, ()>>);

impl Drop for Passed<'_> {
    /// Only the question is inlined where something is unlocked.
    #[inline]
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            open(gate);
        }
    }
}

#[cold]
fn open(gate: sync::MutexGuard<'_, ()>) {
    drop(gate);
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T> Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexGuard").finish_non_exhaustive()
    }
}

/// Lets threads sleep until they are told that something has changed. They may get up for no reason.
#[derive(Debug)]
pub(crate) struct Condvar(Bell);

/// What threads sleep at: that which goes with the kind of lock that is made at the same time.
#[derive(Debug)]
enum Bell {
    Table(parking_lot::Condvar),
    /// In a forked child.
    Gate(sync::Condvar),
}

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar::made_in(fork::is_forked_child())
    }

    fn made_in(forked_child: bool) -> Condvar {
        Condvar(if forked_child { Bell::Gate(sync::Condvar::new()) } else { Bell::Table(parking_lot::Condvar::new()) })
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_until(guard, None).0
    }

    /// Waits until `deadline` at most; whether it has passed.
    pub(crate) fn wait_until<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, bool) {
        let MutexGuard { inner, gate } = &mut guard;
        match (&self.0, gate.0.take()) {
            (Bell::Table(bell), None) => {
                let has_passed = match deadline {
                    Some(deadline) => bell.wait_until(inner, deadline).timed_out(),
                    None => {
                        bell.wait(inner);
                        false
                    }
                };
                (guard, has_passed)
            }
            (Bell::Gate(bell), Some(gate)) => {
                let mutex = parking_lot::MutexGuard::mutex(inner);
                drop(guard);
                let (gate, has_passed) = wait_at(bell, gate, deadline);
                (MutexGuard { inner: mutex.lock(), gate: Passed(Some(gate)) }, has_passed)
            }
            _ => unreachable!("a lock and its condition variable are made in the same process"),
        }
    }

    pub(crate) fn notify_all(&self) {
        match &self.0 {
            Bell::Table(bell) => _ = bell.notify_all(),
            Bell::Gate(bell) => bell.notify_all(),
        }
    }
}

fn wait_at<'a>(
    bell: &sync::Condvar,
    gate: sync::MutexGuard<'a, ()>,
    deadline: Option<Instant>,
) -> (sync::MutexGuard<'a, ()>, bool) {
    let Some(deadline) = deadline else {
        return (bell.wait(gate).unwrap_or_else(PoisonError::into_inner), false);
    };
    let timeout = deadline.saturating_duration_since(Clock::System.instant());
    let (gate, result) = bell.wait_timeout(gate, timeout).unwrap_or_else(PoisonError::into_inner);
    (gate, result.timed_out())
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        thread,
        time::Duration,
    };

    use super::*;

    /// The kinds of lock that there are: where no fork was, and a forked child's.
    const KINDS: [bool; 2] = [false, true];

    /// X1: nor for those who wait.
    #[test]
    fn x1_a_panic_of_one_who_has_the_lock_is_no_panic_for_the_next() {
        for kind in KINDS {
            let (mut mutex, changed) = (Mutex::made_in(kind, 0), Condvar::made_in(kind));

            let panicked = catch_unwind(AssertUnwindSafe(|| {
                *mutex.lock() = 1;
                let _guard = mutex.lock_and(2);
                panic!("with the lock");
            }));

            assert!(panicked.is_err());
            assert_eq!(*changed.wait_until(mutex.lock(), Some(Clock::System.instant())).0, 2);
            assert_eq!(*mutex.get_mut(), 2);
        }
    }

    impl Mutex<u32> {
        fn lock_and(&self, value: u32) -> MutexGuard<'_, u32> {
            let mut guard = self.lock();
            *guard = value;
            guard
        }
    }

    /// S3: nobody who waits is forgotten, whenever the change comes.
    #[test]
    fn s3_each_who_waits_is_told() {
        const TURNS: u32 = 10_000;
        for kind in KINDS {
            let turn = Mutex::made_in(kind, 0);
            let changed = Condvar::made_in(kind);

            thread::scope(|scope| {
                let both = [0, 1].map(|mine| {
                    let (turn, changed) = (&turn, &changed);
                    scope.spawn(move || {
                        for _ in 0..TURNS {
                            let mut now = turn.lock();
                            while *now % 2 != mine {
                                now = changed.wait(now);
                            }
                            *now += 1;
                            drop(now);
                            changed.notify_all();
                        }
                    })
                });
                // The thread sanitizer sees that a thread is joined, but not that a scope ends.
                for thread in both {
                    thread.join().unwrap();
                }
            });

            assert_eq!(*turn.lock(), 2 * TURNS);
        }
    }

    #[test]
    fn s2_a_wait_ends_when_its_time_has_passed_and_not_before() {
        for kind in KINDS {
            let (mutex, changed) = (Mutex::made_in(kind, ()), Condvar::made_in(kind));
            let start = Clock::System.instant();

            for delay in [Duration::ZERO, Duration::from_millis(3)] {
                let deadline = start + delay;
                let mut guard = mutex.lock();
                loop {
                    let (again, has_passed) = changed.wait_until(guard, Some(deadline));
                    guard = again;
                    if has_passed {
                        break;
                    }
                }
                assert!(Clock::System.instant() >= deadline);
            }
        }
    }

    /// X2: in a forked child nobody comes to the table of parking_lot's locks, where a thread that is not there may
    /// stand.
    #[test]
    fn x2_who_has_not_passed_the_gate_of_a_childs_lock_does_not_try_the_lock() {
        let mutex = Mutex::made_in(true, 0);
        let gate = mutex.gate.as_ref().unwrap();
        let guard = mutex.lock();
        assert!(gate.try_lock().is_err() && mutex.inner.is_locked());

        drop(guard);
        let passed = gate.lock().unwrap();
        assert!(!mutex.inner.is_locked(), "it was unlocked first");

        thread::scope(|scope| {
            let waiter = scope.spawn(|| *mutex.lock() += 1);
            // Long enough to see it try, were it to.
            thread::park_timeout(Duration::from_millis(5));
            assert!(!mutex.inner.is_locked() && !waiter.is_finished());
            drop(passed);
        });
        assert_eq!(*mutex.lock(), 1);
    }

    /// X2: what a child has inherited was never made by it; what this process makes is not a child's.
    #[test]
    fn x2_a_process_that_was_not_forked_has_no_gates() {
        assert_eq!(Mutex::new(()).gate.is_some(), fork::is_forked_child());
        assert_eq!(matches!(Condvar::new().0, Bell::Gate(_)), fork::is_forked_child());
    }
}
