//! A lock and a condition variable on `futex(2)`, which have no state but their own word.
//!
//! That is what lets one that is made in a forked child work there, whatever the threads of the parent did when it
//! forked. The locks of parking_lot queue their threads in a table that all locks of a process share: a child that
//! inherits a part of it locked waits for ever, and was seen to. std's locks have no such table; but they are compiled
//! without the thread sanitizer, which then sees races wherever somebody had to wait, and each costs a look at whether
//! the thread panics, for the sake of their poison.
//!
//! | word of the lock | means |
//! |---|---|
//! | [`FREE`] | nobody has it |
//! | [`HELD`] | somebody has it, and nobody sleeps |
//! | [`AWAITED`] | somebody has it, and others may sleep: who frees it wakes one of them, who then leaves it so |
//!
//! Whoever takes it acquires what the one before did inside and released with the word.

use std::{
    cell::UnsafeCell,
    fmt::{self, Debug, Formatter},
    hint::spin_loop,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr,
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
    thread::yield_now,
    time::{Duration, Instant},
};

use nix::{errno::Errno, libc};

use crate::clock::Clock;

const FREE: u32 = 0;
const HELD: u32 = 1;
const AWAITED: u32 = 2;

/// How often a lock that is held is tried before its thread sleeps, which costs two system calls: what is locked here
/// is held for less than a microsecond.
const ROUNDS: u32 = 10;
/// In how many of them the thread keeps its CPU. This and the above are parking_lot's figures.
const SPINS: u32 = 3;

pub(crate) struct Mutex<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: `lock` gives out one guard at a time, which stays on its thread, so a reference to the mutex is a way to a
// `&mut T` on any thread, and no more.
#[allow(unsafe_code, reason = "a lock that works in a forked child")]
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex { word: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        if self.word.compare_exchange(FREE, HELD, Acquire, Relaxed).is_err() {
            self.lock_slowly();
        }
        MutexGuard { mutex: self, not_send: PhantomData }
    }

    #[cold]
    fn lock_slowly(&self) {
        for round in 1..=ROUNDS {
            if round <= SPINS {
                (0..1 << round).for_each(|_| spin_loop());
            } else {
                yield_now();
            }
            let is_free = self.word.load(Relaxed) == FREE;
            if is_free && self.word.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok() {
                return;
            }
        }
        // From here on it counts as awaited, also when it is this thread's: others may sleep, too.
        while self.word.swap(AWAITED, Acquire) != FREE {
            wait(&self.word, AWAITED, None);
        }
    }

    #[inline]
    fn unlock(&self) {
        if self.word.swap(FREE, Release) == AWAITED {
            wake(&self.word, 1);
        }
    }

    /// What is locked, for one who needs no lock, since nobody else has this.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> Debug for Mutex<T> {
    /// Without a look at what is locked.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

/// What is locked, for as long as this lives.
#[derive(Debug)]
#[must_use = "what is dropped at once is unlocked at once"]
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// Nor shared: a reference to it would be one to the value, which need not be `Sync`.
    not_send: PhantomData<*const ()>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    #[allow(unsafe_code, reason = "a lock that works in a forked child")]
    fn deref(&self) -> &T {
        // SAFETY: there is one guard at a time, and this borrows it.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    #[allow(unsafe_code, reason = "a lock that works in a forked child")]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: there is one guard at a time, and this borrows it for as long as the value is.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.unlock();
    }
}

/// Lets threads sleep until they are told that something has changed. They may get up for no reason.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    /// How often something was told. Read by who waits while it has the lock: what is told after that is seen to have
    /// changed it. Orders nothing: the lock does.
    told: AtomicU32,
}

impl Condvar {
    pub(crate) const fn new() -> Condvar {
        Condvar { told: AtomicU32::new(0) }
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_for(guard, None).0
    }

    /// Waits until `deadline` at most; whether it has passed.
    pub(crate) fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, bool) {
        self.wait_for(guard, deadline.map(|deadline| deadline.saturating_duration_since(Clock::System.instant())))
    }

    fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Option<Duration>) -> (MutexGuard<'a, T>, bool) {
        let mutex = guard.mutex;
        let told = self.told.load(Relaxed);
        drop(guard);
        let has_passed = wait(&self.told, told, timeout);
        (mutex.lock(), has_passed)
    }

    /// To be called after the change was made, under the lock or after that.
    pub(crate) fn notify_all(&self) {
        self.told.fetch_add(1, Relaxed);
        wake(&self.told, i32::MAX);
    }
}

/// Sleeps for as long as `word` is `value` and nobody wakes it, `timeout` at most; whether that has passed.
#[allow(unsafe_code, reason = "there is no safe wrapper for this system call")]
fn wait(word: &AtomicU32, value: u32, timeout: Option<Duration>) -> bool {
    // One that the kernel cannot say does not come.
    let timeout = timeout.and_then(|timeout| {
        let tv_sec = timeout.as_secs().try_into().ok()?;
        Some(libc::timespec { tv_sec, tv_nsec: timeout.subsec_nanos().into() })
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the kernel reads the word and the timeout, which both live until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, timeout) };
    result < 0 && Errno::last() == Errno::ETIMEDOUT
}

/// Wakes `count` at most of those who sleep.
#[allow(unsafe_code, reason = "there is no safe wrapper for this system call")]
fn wake(word: &AtomicU32, count: i32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the kernel uses the address as a name, and reads nothing there. A mutex that was freed since it was
    // unlocked costs somebody else a needless wake.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation, count);
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::thread;

    use super::*;

    /// M9: with more threads than CPUs, so that some sleep.
    #[test]
    fn m9_one_at_a_time_has_the_lock() {
        const EACH: u64 = 50_000;
        let counts = Mutex::new([0_u64; 2]);

        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let mut counts = counts.lock();
                        let [first, second] = *counts;
                        assert_eq!(first, second);
                        counts[0] = first + 1;
                        spin_loop();
                        counts[1] = second + 1;
                    }
                });
            }
        });

        assert_eq!(*counts.lock(), [8 * EACH; 2]);
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
