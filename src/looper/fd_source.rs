//! The handles of a watched fd: one for the looper's thread, one for any.

use std::{
    fmt::{self, Debug, Formatter},
    io,
    marker::PhantomData,
    rc::{Rc, Weak},
    sync::Arc,
};

use crate::{
    core::{
        local::{self, Local},
        refused::is_large,
        shared::Shared,
    },
    error::OsError,
    looper::Looper,
    mem::{drop::drop_each, slots::Key},
    sys::interest::Interest,
};

/// A watched source, on the looper's thread: reaches it, changes what it is watched for, takes it back.
///
/// Dropping it does nothing: the looper goes on watching. [`guard`](FdSource::guard) turns it into one that removes
/// when dropped. It does not keep the looper alive.
///
/// # Android
/// What `Looper::setFdEvents`, `repoll` and `removeFd` take an fd number for. It names one registration for ever, so it
/// cannot mean another one that has the same number later.
pub struct FdSource<S> {
    local: Weak<Local>,
    shared: Arc<Shared>,
    key: Key,
    source: PhantomData<fn() -> S>,
}

impl<S: 'static> FdSource<S> {
    pub(crate) fn new(local: &Rc<Local>, key: Key) -> FdSource<S> {
        FdSource { local: Rc::downgrade(local), shared: local.shared.clone(), key, source: PhantomData }
    }

    /// Calls `look` with the source and gives its result; `None` while the callback runs, and after the registration
    /// ended.
    ///
    /// `look` may do anything with the looper but poll it. A source that it exchanges for another fd ends the
    /// registration; one that it closes and opens anew under the same number is noticed when its interest is next
    /// set.
    ///
    /// # Examples
    /// ```
    /// # use alooper::{Interest, Looper, FdNext};
    /// # use std::{io::Write, os::unix::net::UnixStream};
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let (near, far) = UnixStream::pair()?;
    /// let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep)?;
    ///
    /// let written = source.with(|near| near.write(b"hello"));
    ///
    /// assert_eq!(written.transpose()?, Some(5));
    /// # drop(far);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with<R>(&self, look: impl FnOnce(&mut S) -> R) -> Option<R> {
        if self.shared.is_inherited() {
            return None;
        }
        let local = self.local.upgrade()?;
        let busy = local.occupy();
        let result = local.sources.with(&self.shared.fds, self.key, |source| source.downcast_mut().map(look)).flatten();
        // Inside a callback, the turn tells it.
        if busy.is_some()
            && let Some(looper) = Looper::of(&local)
        {
            looper.tell_notices();
        }
        result
    }

    /// Sets what is watched for. It takes effect at once, also while the looper waits, and un-mutes an fd that was muted.
    ///
    /// To set the interest that it has already makes no system call, unless the fd is muted. A callback does without
    /// this: it returns [`FdNext::Interest`](crate::FdNext::Interest).
    ///
    /// # Errors
    /// The kernel's, and `NotFound` if the registration has ended.
    ///
    /// # Android
    /// `ALooper_addFd` on an fd that is registered already.
    pub fn set_interest(&self, interest: Interest) -> io::Result<()> {
        set_interest(&self.shared, self.key, interest)
    }

    /// Looks at the fd anew, for the same interest: what is ready is reported, even if epoll has not noticed that it
    /// became ready. It un-mutes an fd that was muted.
    ///
    /// # Errors
    /// The kernel's, and `NotFound` if the registration has ended.
    ///
    /// # Android
    /// `Looper::repoll`.
    pub fn repoll(&self) -> io::Result<()> {
        repoll(&self.shared, self.key)
    }

    /// Ends the registration and gives the source back; the callback is dropped.
    ///
    /// `None` if it had ended before, and while its callback runs: then the source is dropped after that.
    ///
    /// # Guarantees
    /// The callback is not called again, not even for an event that the looper has already taken from the kernel.
    ///
    /// # Android
    /// `Looper::removeFd`, after which a callback in the same batch may still run once.
    pub fn remove(&self) -> Option<S> {
        self.shared.fds.remove(self.key)?;
        let local = self.local.upgrade()?;
        let watched = local.sources.remove(self.key)?;
        if const { is_large::<S>() } {
            let mut source: Option<Box<S>> = None;
            watched.give_back(&mut source);
            source.map(|source| *source)
        } else {
            let mut source: Option<S> = None;
            watched.give_back(&mut source);
            source
        }
    }

    /// Gives what the fd is watched for, or `None` after the registration has ended.
    #[must_use]
    pub fn interest(&self) -> Option<Interest> {
        self.shared.fds.interest(self.key).ok()
    }

    /// Whether the looper still watches this source.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.shared.fds.contains(self.key)
    }

    /// A handle to the same registration for other threads.
    #[must_use]
    pub fn handle(&self) -> FdHandle {
        FdHandle { shared: self.shared.clone(), key: self.key }
    }

    /// Turns this into a guard that ends the registration when it is dropped.
    #[must_use = "a guard that is dropped at once ends the registration at once"]
    pub fn guard(self) -> FdGuard<S> {
        FdGuard { source: self, kept: false }
    }
}

impl<S> Clone for FdSource<S> {
    fn clone(&self) -> Self {
        FdSource { local: self.local.clone(), shared: self.shared.clone(), key: self.key, source: PhantomData }
    }
}

impl<S> Debug for FdSource<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("FdSource").field("is_registered", &self.shared.fds.contains(self.key)).finish_non_exhaustive()
    }
}

/// Ends a registration when it is dropped. See [`FdSource::guard`].
#[derive(Debug)]
#[must_use = "a guard that is dropped at once ends the registration at once"]
pub struct FdGuard<S: 'static> {
    source: FdSource<S>,
    /// It is to be let be.
    kept: bool,
}

impl<S: 'static> FdGuard<S> {
    /// The registration.
    #[must_use]
    pub fn source(&self) -> &FdSource<S> {
        &self.source
    }

    /// Lets the registration be: the guard no longer ends it.
    pub fn keep(mut self) -> FdSource<S> {
        self.kept = true;
        self.source.clone()
    }
}

impl<S: 'static> Drop for FdGuard<S> {
    fn drop(&mut self) {
        if !self.kept {
            drop_each(self.source.remove());
        }
    }
}

/// A handle to a watched source, for any thread: changes what it is watched for, and ends the watching.
///
/// Dropping it does nothing: the looper goes on watching.
///
/// # Thread safety
/// All methods are callable from any thread and never wait for a callback.
#[derive(Clone)]
pub struct FdHandle {
    shared: Arc<Shared>,
    key: Key,
}

impl FdHandle {
    pub(crate) fn new(shared: &Arc<Shared>, key: Key) -> FdHandle {
        FdHandle { shared: shared.clone(), key }
    }

    /// Sets what is watched for. It takes effect at once, also while the looper waits, and un-mutes an fd that was muted.
    ///
    /// To set the interest that it has already makes no system call, unless the fd is muted.
    ///
    /// # Errors
    /// The kernel's, and `NotFound` if the registration has ended.
    ///
    /// # Guarantees
    /// If the callback is running, its answer does not undo this.
    pub fn set_interest(&self, interest: Interest) -> io::Result<()> {
        set_interest(&self.shared, self.key, interest)
    }

    /// Looks at the fd anew, for the same interest, and un-mutes it if it was muted.
    ///
    /// # Errors
    /// The kernel's, and `NotFound` if the registration has ended.
    ///
    /// # Android
    /// `Looper::repoll`.
    pub fn repoll(&self) -> io::Result<()> {
        repoll(&self.shared, self.key)
    }

    /// Ends the registration; whether it had not ended before.
    ///
    /// Source and callback are dropped on the looper's thread: now if this is that thread and the callback does not
    /// run, otherwise after the callback, or in the looper's next turn.
    ///
    /// # Guarantees
    /// After this has returned the looper begins no call of it. One that it has begun goes on, even if it has not
    /// reached the callback's first line yet.
    pub fn remove(&self) -> bool {
        let removed = self.shared.fds.remove(self.key).is_some();
        if removed {
            local::drop_ended(&self.shared, self.key);
        }
        removed
    }

    /// Gives what the fd is watched for, or `None` after the registration has ended.
    #[must_use]
    pub fn interest(&self) -> Option<Interest> {
        self.shared.fds.interest(self.key).ok()
    }

    /// Whether the looper still watches this source.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.shared.fds.contains(self.key)
    }
}

impl Debug for FdHandle {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("FdHandle").field("is_registered", &self.is_registered()).finish_non_exhaustive()
    }
}

fn set_interest(shared: &Shared, key: Key, interest: Interest) -> io::Result<()> {
    shared.fds.set_interest(key, interest, !shared.is_current()).map_err(|error| OsError::wrap("epoll_ctl", error))
}

fn repoll(shared: &Shared, key: Key) -> io::Result<()> {
    shared.fds.repoll(key).map_err(|error| OsError::wrap("epoll_ctl", error))
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;
    use crate::{error::Misuse, fd::FdNext};

    #[test]
    fn f12_a_handle_that_outlived_its_looper_says_so() {
        let looper = Looper::new().unwrap();
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

        drop(looper);

        let ended = io::Error::from(Misuse::RegistrationEnded).to_string();
        assert_eq!(source.set_interest(Interest::OUTPUT).unwrap_err().to_string(), ended);
        assert_eq!(source.handle().repoll().unwrap_err().to_string(), ended);
        assert!(source.with(|_| ()).is_none());
        assert!(source.remove().is_none());
    }
}
