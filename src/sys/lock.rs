//! std's lock and condition variable, without their poison: no panic of a user's passes a lock here.
//!
//! On Linux each of them is a word for `futex(2)` and has no other state. That is what lets one that is made in a
//! forked child work there, whatever the threads of the parent did when it forked (X2). Locks that queue their threads
//! in a table which all locks of the process share do not: a child that inherits a part of that table locked waits for
//! ever.

use std::{
    fmt::{self, Debug, Formatter},
    ops::{Deref, DerefMut},
    sync::{self, PoisonError},
    time::Instant,
};

use self::shown::{Showing, Shown};
use crate::time::Clock;

#[derive(Default)]
pub(crate) struct Mutex<T> {
    showing: Showing,
    inner: sync::Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex { showing: Showing::new(), inner: sync::Mutex::new(value) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        MutexGuard { shown: self.showing.show(), inner }
    }

    /// What is locked, for one who needs no lock, since nobody else has this.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Debug for Mutex<T> {
    /// Without a look at what is locked.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

/// What is locked, for as long as this lives.
#[must_use = "what is dropped at once is unlocked at once"]
pub(crate) struct MutexGuard<'a, T> {
    /// Dropped before the lock is.
    shown: Shown<'a>,
    inner: sync::MutexGuard<'a, T>,
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
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Condvar {
        Condvar(sync::Condvar::new())
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let MutexGuard { shown, inner } = guard;
        let showing = shown.hide();
        let inner = self.0.wait(inner).unwrap_or_else(PoisonError::into_inner);
        MutexGuard { shown: showing.show(), inner }
    }

    /// Waits until `deadline` at most; whether it has passed.
    pub(crate) fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, bool) {
        let Some(deadline) = deadline else {
            return (self.wait(guard), false);
        };
        let timeout = deadline.saturating_duration_since(Clock::System.instant());
        let MutexGuard { shown, inner } = guard;
        let showing = shown.hide();
        let (inner, result) = self.0.wait_timeout(inner, timeout).unwrap_or_else(PoisonError::into_inner);
        (MutexGuard { shown: showing.show(), inner }, result.timed_out())
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Nothing: std's locks order what happens under them.
#[cfg(not(alooper_tsan))]
mod shown {
    use std::marker::PhantomData;

    #[derive(Default)]
    pub(super) struct Showing;

    pub(super) struct Shown<'a>(PhantomData<&'a Showing>);

    impl Showing {
        pub(super) const fn new() -> Showing {
            Showing
        }

        #[inline(always)]
        pub(super) fn show(&self) -> Shown<'_> {
            Shown(PhantomData)
        }
    }

    impl<'a> Shown<'a> {
        #[inline(always)]
        pub(super) fn hide(self) -> &'a Showing {
            &Showing
        }
    }
}

/// The order that std's locks make, shown to the thread sanitizer, which does not see into std: a word that is written
/// before each unlocking and read after each locking.
#[cfg(alooper_tsan)]
mod shown {
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    pub(super) struct Showing(AtomicU32);

    pub(super) struct Shown<'a>(&'a Showing);

    impl Showing {
        pub(super) const fn new() -> Showing {
            Showing(AtomicU32::new(0))
        }

        pub(super) fn show(&self) -> Shown<'_> {
            self.0.load(Ordering::Acquire);
            Shown(self)
        }
    }

    impl<'a> Shown<'a> {
        /// Shows that it is unlocked; what it takes to show the next locking.
        pub(super) fn hide(self) -> &'a Showing {
            self.0
        }
    }

    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            self.0.0.store(0, Ordering::Release);
        }
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        thread,
        time::Duration,
    };

    use super::*;

    /// X1: nor for those who wait.
    #[test]
    fn x1_a_panic_of_one_who_has_the_lock_is_no_panic_for_the_next() {
        let (mut mutex, changed) = (Mutex::new(0), Condvar::new());

        let panicked = catch_unwind(AssertUnwindSafe(|| {
            *mutex.lock() = 1;
            let _guard = mutex.lock_and(2);
            panic!("with the lock");
        }));

        assert!(panicked.is_err());
        assert_eq!(*changed.wait_until(mutex.lock(), Some(Clock::System.instant())).0, 2);
        assert_eq!(*mutex.get_mut(), 2);
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
        const TURNS: u32 = 20_000;
        let turn = Mutex::new(0);
        let changed = Condvar::new();

        thread::scope(|scope| {
            for mine in 0..2 {
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
                });
            }
        });

        assert_eq!(*turn.lock(), 2 * TURNS);
    }

    #[test]
    fn s2_a_wait_ends_when_its_time_has_passed_and_not_before() {
        let (mutex, changed) = (Mutex::new(()), Condvar::new());
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
