//! `fork(2)`: which process something was made in.
//!
//! A child of `fork` has a copy of everything but the threads: of all loopers and all their locks, as they were at that
//! moment, perhaps held by a thread that the child does not have. And it has the same epoll sets, eventfds and
//! timerfds, not copies of them. So whatever is older than the process must be told from what is not before anything of
//! it is locked or written: that is a [`Process`], one word to compare.
//!
//! It is changed in the child by a handler of `pthread_atfork`, which every `fork` of libc runs before it returns. What
//! starts a process without libc's `fork` is not noticed: `clone(2)`, `vfork(2)`, `_Fork(3)`.

use std::{
    io, ptr,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use nix::libc;

use crate::{error::OsError, time};

/// How many forks lie between the process that made its first looper and this one. Written in a child alone, before it
/// has a second thread: orders nothing.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process that something was made in, as a forked child tells it from itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// This process.
    pub(crate) fn current() -> Process {
        Process(FORKS.load(Relaxed))
    }

    /// The process that has forked this one, or one that might have.
    #[cfg(all(test, not(alooper_loom)))]
    pub(crate) fn parent() -> Process {
        Process(FORKS.load(Relaxed).wrapping_sub(1))
    }

    /// Whether it is this process. If not, what was made in it came here by a fork, and is the parent's.
    #[inline(always)]
    pub(crate) fn is_current(self) -> bool {
        self.0 == FORKS.load(Relaxed)
    }
}

/// Notices forks from now on. To be called before anything is made that has a [`Process`].
///
/// Nobody waits here for another thread: one that does the same may be missing in the child of a fork.
pub(crate) fn notice() -> io::Result<()> {
    static IS_NOTICED: AtomicBool = AtomicBool::new(false);
    if IS_NOTICED.load(Acquire) {
        return Ok(());
    }
    // SAFETY: the handlers are functions of this library, which unregisters them if it is unloaded, and may run at any
    // `fork`: the first one waits for no lock of ours, the second one adds to an atomic and no more, which a child of
    // several threads may do. Two threads may both come here, and then each handler runs twice, to the same effect.
    #[allow(unsafe_code, reason = "there is no safe wrapper for this function")]
    let errno = unsafe { libc::pthread_atfork(Some(before_fork), None, Some(in_child)) };
    if errno != 0 {
        return Err(OsError::wrap("pthread_atfork", io::Error::from_raw_os_error(errno)));
    }
    IS_NOTICED.store(true, Release);
    Ok(())
}

/// Runs in the parent: what is made only once has to be made before, since the thread that is at it would be missing in
/// the child, which would wait for it.
extern "C" fn before_fork() {
    time::begin();
}

/// Runs in the child, before anything else of it does. Nobody counts to 2^32 forks, each in a child of the one before.
extern "C" fn in_child() {
    FORKS.fetch_add(1, Relaxed);
}

/// A value that each process makes for itself when it first asks for it: a child does not see the parent's, which a
/// thread that it does not have may have locked.
pub(crate) struct PerProcess<T: 'static> {
    /// Never freed once it is here, so that references to it stay good. Null before the first.
    newest: AtomicPtr<Made<T>>,
}

struct Made<T: 'static> {
    by: Process,
    value: T,
    /// The parent's: kept where a leak checker finds it.
    _before: *mut Made<T>,
}

impl<T: Default + Send + Sync + 'static> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess { newest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The value of this process.
    pub(crate) fn get(&'static self) -> &'static T {
        // Acquires what whoever made it has written.
        let newest = self.newest.load(Acquire);
        // SAFETY: what is not null was put here by `make` and is never freed nor changed.
        #[allow(unsafe_code, reason = "what lazily made statics of std do would make a child wait for its parent")]
        match unsafe { newest.as_ref() } {
            Some(made) if made.by.is_current() => &made.value,
            _ => self.make(newest),
        }
    }

    #[cold]
    fn make(&'static self, before: *mut Made<T>) -> &'static T {
        let made = Made { by: Process::current(), value: T::default(), _before: before };
        let made = Box::into_raw(Box::new(made));
        let newest = match self.newest.compare_exchange(before, made, AcqRel, Acquire) {
            Ok(_) => made,
            Err(newest) => {
                // SAFETY: it was not put anywhere.
                #[allow(unsafe_code, reason = "as above")]
                drop(unsafe { Box::from_raw(made) });
                newest
            }
        };
        // SAFETY: as in `get`. If it is another thread's, it is of this process, too, since it came after `before`.
        #[allow(unsafe_code, reason = "as above")]
        unsafe {
            &(*newest).value
        }
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{sync::Mutex, thread};

    use super::*;

    /// X2: while others make it, too.
    #[test]
    fn x2_all_threads_of_a_process_have_the_same_value() {
        static LISTED: PerProcess<Mutex<Vec<usize>>> = PerProcess::new();

        thread::scope(|scope| {
            for number in 0..4 {
                scope.spawn(move || LISTED.get().lock().unwrap().push(number));
            }
        });

        let mut listed = LISTED.get().lock().unwrap().clone();
        listed.sort_unstable();
        assert_eq!(listed, [0, 1, 2, 3]);
    }
}
