//! `ALooper`: what C has a pointer to.
//!
//! C counts references to it by hand, so two counts are kept. [`References`] is C's: what it has acquired, and whether
//! the looper's thread still lives. While that is not zero, C holds one strong reference of the `Arc`, by which this
//! library counts its own.

use std::{
    fmt::{self, Debug, Formatter},
    process,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use alooper::{Looper, LooperHandle};
use nix::errno::Errno;

use crate::{fds::Fds, posts::Posts};

/// A looper, as C code knows it: an opaque object that it has a pointer to.
pub struct ALooper {
    pub(crate) handle: LooperHandle,
    pub(crate) fds: Fds,
    pub(crate) posts: Posts,
    /// Whether fds without a callback are welcome. The first `ALooper_prepare` says it.
    pub(crate) allows_idents: OnceLock<bool>,
    /// For `references` to give a pointer to C.
    own: Weak<ALooper>,
    references: References,
    /// Where it was made: a forked child must not take its locks.
    process: u32,
}

impl ALooper {
    /// The object for the calling thread's looper. Its thread and C each have a reference.
    pub(crate) fn new(looper: &Looper) -> Arc<ALooper> {
        let made = Arc::new_cyclic(|own| ALooper {
            handle: looper.handle(),
            fds: Fds::default(),
            posts: Posts::default(),
            allows_idents: OnceLock::new(),
            own: own.clone(),
            references: References::of_thread(),
            process: process::id(),
        });
        // C's, which `end` drops.
        let _ = Arc::into_raw(made.clone());
        made
    }

    /// The looper that C points to.
    ///
    /// # Errors
    /// `EINVAL` for a null pointer; in a debug build also for a looper that has been released too often.
    ///
    /// # Safety
    /// `looper` is null, or came from [`ALooper_prepare`](crate::ALooper_prepare) or
    /// [`ALooper_forThread`](crate::ALooper_forThread), and its thread has not ended or a reference is held.
    pub(crate) unsafe fn lent<'a>(looper: *mut ALooper) -> Result<&'a ALooper, Errno> {
        // SAFETY: the caller says that it is null or alive. In a debug build it is never freed.
        let looper = unsafe { looper.as_ref() }.ok_or(Errno::EINVAL)?;
        if cfg!(debug_assertions) && looper.references.are_gone() {
            complain("a looper is used after its thread has ended and its last reference was released");
            return Err(Errno::EINVAL);
        }
        Ok(looper)
    }

    /// As [`lent`](ALooper::lent), for what takes a lock.
    ///
    /// # Errors
    /// As `lent`, and `ECHILD` in a forked child that has the looper from its parent.
    ///
    /// # Safety
    /// As `lent`.
    pub(crate) unsafe fn lent_here<'a>(looper: *mut ALooper) -> Result<&'a ALooper, Errno> {
        // SAFETY: as the caller says.
        let looper = unsafe { ALooper::lent(looper) }?;
        if looper.is_inherited() { Err(Errno::ECHILD) } else { Ok(looper) }
    }

    pub(crate) fn is_inherited(&self) -> bool {
        self.process != process::id()
    }

    pub(crate) fn arc(&self) -> Option<Arc<ALooper>> {
        self.own.upgrade()
    }

    pub(crate) fn acquire(&self) {
        self.references.acquire();
    }

    /// Gives back what was acquired.
    ///
    /// # Errors
    /// `EINVAL` if nothing was acquired that has not been given back: the looper stays as it is.
    pub(crate) fn release(&self) -> Result<(), Errno> {
        match self.references.release() {
            Released::Last => self.end(),
            Released::Other => {}
            Released::TooOften => {
                complain("a looper is released more often than it was acquired");
                return Err(Errno::EINVAL);
            }
        }
        Ok(())
    }

    /// Gives back the thread's reference, when that ends.
    pub(crate) fn leave_thread(&self) {
        // A forked child leaves what it has from its parent as it lies.
        if !self.is_inherited() && self.references.leave_thread() {
            self.end();
        }
    }

    /// Nobody may use it any more. A debug build keeps the object, so as to see who does so all the same.
    fn end(&self) {
        let Some(own) = self.arc() else { return };
        // SAFETY: `new` has left one reference to C, and the count reaches zero once.
        let of_c = unsafe { Arc::from_raw(Arc::as_ptr(&own)) };
        if cfg!(debug_assertions) {
            graves::keep(of_c);
        }
    }
}

impl Debug for ALooper {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ALooper").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// Tells of a caller's mistake, in a debug build.
fn complain(mistake: &str) {
    if cfg!(debug_assertions) {
        eprintln!("alooper-ndk: {mistake}");
    }
}

/// Loopers that have ended, in a debug build.
mod graves {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::ALooper;

    static GRAVES: Mutex<Vec<Arc<ALooper>>> = Mutex::new(Vec::new());

    pub(super) fn keep(ended: Arc<ALooper>) {
        GRAVES.lock().unwrap_or_else(PoisonError::into_inner).push(ended);
    }
}

/// How many references C has acquired, times two; and one more while the looper's thread lives.
struct References(AtomicUsize);

/// What a release came to.
#[derive(Debug, PartialEq, Eq)]
enum Released {
    /// It was the last reference, and the thread has ended.
    Last,
    Other,
    TooOften,
}

impl References {
    const THREAD: usize = 1;
    const ONE: usize = 2;

    fn of_thread() -> References {
        References(AtomicUsize::new(References::THREAD))
    }

    fn are_gone(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    fn acquire(&self) {
        self.0.fetch_add(References::ONE, Ordering::Relaxed);
    }

    fn release(&self) -> Released {
        let less = |count: usize| count.checked_sub(References::ONE);
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, less) {
            Ok(References::ONE) => Released::Last,
            Ok(_) => Released::Other,
            Err(_) => Released::TooOften,
        }
    }

    /// Whether the thread's was the last one.
    fn leave_thread(&self) -> bool {
        self.0.fetch_and(!References::THREAD, Ordering::AcqRel) == References::THREAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reference_is_known_in_either_order() {
        let thread_first = References::of_thread();
        thread_first.acquire();
        assert!(!thread_first.leave_thread());
        assert_eq!(thread_first.release(), Released::Last);

        let release_first = References::of_thread();
        release_first.acquire();
        assert_eq!(release_first.release(), Released::Other);
        assert!(release_first.leave_thread());
    }

    #[test]
    fn one_release_too_many_takes_nothing_away() {
        let references = References::of_thread();
        references.acquire();

        assert_eq!(references.release(), Released::Other);
        assert_eq!(references.release(), Released::TooOften);

        assert!(!references.are_gone());
        assert!(references.leave_thread());
        assert!(references.are_gone());
        assert_eq!(references.release(), Released::TooOften);
    }
}
