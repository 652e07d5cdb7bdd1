//! Watching fds on the looper's own thread: sources and callbacks that need not be `Send`.

use std::{os::fd::AsFd, panic::Location};

use crate::{
    core::{
        local,
        refused::{AddFdError, is_large},
    },
    fd::{FdNext, Holder, Watch, registration::Registration, registrations::Duplicate},
    looper::{
        Looper,
        fd_source::{FdHandle, FdSource},
    },
    mem::{drop::drop_each, slots::Key},
    queue::message::Origin,
    sys::interest::{Events, Interest},
};

/// **Watching fds.**
impl Looper {
    /// Watches `source`, which the looper owns from now on, and calls `callback` with it when it is ready.
    ///
    /// The callback receives the looper, the source and what it is ready for, and says what becomes of the
    /// registration. It runs once per turn for as long as the source is ready (level-triggered), after the messages of
    /// that turn. A callback that keeps an `Rc` of its own looper keeps both alive, with the source: use its `&Looper`
    /// argument, or keep a [`LooperHandle`](crate::LooperHandle).
    ///
    /// # Errors
    /// Gives the source back with the kernel's error: `EPERM` for a regular file or directory, `EEXIST` for an fd that
    /// is registered already, `EBADF`, `ENOSPC`, `ENOMEM`; or with an error of kind `BrokenPipe` if the looper has
    /// quit. Nothing is registered then.
    ///
    /// # Guarantees
    /// Errors and hang-ups are always reported, and truthfully. After removal the callback is not called again,
    /// not even for an event that was already taken from the kernel. An fd that hangs up for ever does not
    /// spin for ever.
    ///
    /// # Examples
    /// ```
    /// use alooper::{Interest, Looper, FdNext};
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let (near, mut far) = UnixStream::pair()?;
    /// looper.add_fd(near, Interest::INPUT, |looper, near, _events| {
    ///     let mut buffer = [0; 64];
    ///     assert_eq!(near.read(&mut buffer).unwrap(), 5);
    ///     looper.quit();
    ///     FdNext::Remove
    /// })?;
    /// far.write_all(b"hello")?;
    ///
    /// looper.run()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// `ALooper_addFd`, which does not own the fd and replaces a registration without being asked to: for that, see
    /// [`replace_fd`](Looper::replace_fd).
    #[doc(alias = "ALooper_addFd")]
    #[track_caller]
    pub fn add_fd<S, F>(&self, source: S, interest: Interest, callback: F) -> Result<FdSource<S>, AddFdError<S>>
    where
        S: AsFd + 'static,
        F: FnMut(&Looper, &mut S, Events) -> FdNext + 'static,
    {
        self.watch(source, callback, interest, None, Duplicate::Refuse)
    }

    /// As [`add_fd`](Looper::add_fd), and ends the registration that the same fd has already, if there is one.
    ///
    /// The old callback is not called again, and it and its source are dropped before this returns, or after the
    /// callback if that is running. The same fd in two sources is, for example, a `Rc<OwnedFd>` and its clone.
    ///
    /// # Errors
    /// As [`add_fd`](Looper::add_fd), except `EEXIST`; the old registration stays as it was then.
    ///
    /// # Android
    /// `ALooper_addFd` on an fd that is registered already. There, the old callback may run once more in the same
    /// batch.
    #[track_caller]
    pub fn replace_fd<S, F>(&self, source: S, interest: Interest, callback: F) -> Result<FdSource<S>, AddFdError<S>>
    where
        S: AsFd + 'static,
        F: FnMut(&Looper, &mut S, Events) -> FdNext + 'static,
    {
        self.watch(source, callback, interest, None, Duplicate::Replace)
    }

    /// Watches `source`, which the looper owns from now on, and reports `ident` in the [`Turn`](crate::Turn) in which
    /// it is ready, after the callbacks of that turn.
    ///
    /// # Errors
    /// As [`add_fd`](Looper::add_fd).
    ///
    /// # Guarantees
    /// An ident is reported in the turn that saw it, never later, and not after its registration ended.
    ///
    /// # Android
    /// `ALooper_addFd` with a non-negative ident and no callback, on a looper that allows this.
    #[track_caller]
    pub fn add_ident<S>(&self, source: S, interest: Interest, ident: u32) -> Result<FdSource<S>, AddFdError<S>>
    where
        S: AsFd + 'static,
    {
        self.watch(source, never_called, interest, Some(ident), Duplicate::Refuse)
    }

    /// The registration whose callback is running; `None` outside of one.
    ///
    /// So a callback reaches its own registration: to hand it to another thread, for example, or to a message that is
    /// to change its interest later. For what becomes of it now, the callback's answer is simpler.
    ///
    /// # Examples
    /// ```
    /// use alooper::{FdNext, Interest, Looper};
    /// use std::{io::Write, os::unix::net::UnixStream, time::Duration};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let (near, mut far) = UnixStream::pair()?;
    /// looper.add_fd(near, Interest::INPUT, |looper, _, _| {
    ///     // Reads nothing for ten milliseconds.
    ///     let this = looper.current_fd().expect("its callback runs");
    ///     let resume = move |looper: &Looper| {
    ///         this.set_interest(Interest::INPUT).expect("it is registered");
    ///         looper.quit();
    ///     };
    ///     looper.post_delayed(Duration::from_millis(10), resume).expect("it has not quit");
    ///     FdNext::Interest(Interest::empty())
    /// })?;
    /// far.write_all(b"hello")?;
    ///
    /// looper.run()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn current_fd(&self) -> Option<FdHandle> {
        let key = self.core.serving.get();
        (key != Key::NONE).then(|| FdHandle::new(self.shared(), key))
    }

    /// As [`add_ident`](Looper::add_ident), and ends the registration that the same fd has already, if there is one, with
    /// a callback or without.
    ///
    /// The old source and callback are dropped as by [`replace_fd`](Looper::replace_fd).
    ///
    /// # Errors
    /// As [`add_fd`](Looper::add_fd), except `EEXIST`; the old registration stays as it was then.
    ///
    /// # Android
    /// `ALooper_addFd` with a non-negative ident and no callback, on an fd that is registered already.
    #[track_caller]
    pub fn replace_ident<S>(&self, source: S, interest: Interest, ident: u32) -> Result<FdSource<S>, AddFdError<S>>
    where
        S: AsFd + 'static,
    {
        self.watch(source, never_called, interest, Some(ident), Duplicate::Replace)
    }

    /// As [`replace_fd`](Looper::replace_fd), for a source of the library's that was added at `place`.
    #[cfg(any(feature = "inotify", feature = "process", feature = "signals"))]
    pub(crate) fn watch_at<S, F>(
        &self,
        source: S,
        interest: Interest,
        callback: F,
        place: Origin,
    ) -> Result<FdSource<S>, AddFdError<S>>
    where
        S: AsFd + 'static,
        F: FnMut(&Looper, &mut S, Events) -> FdNext + 'static,
    {
        self.register(Watch::new(source, callback), interest, None, Duplicate::Replace, place)
    }

    #[track_caller]
    fn watch<S, F>(
        &self,
        source: S,
        callback: F,
        interest: Interest,
        ident: Option<u32>,
        duplicate: Duplicate,
    ) -> Result<FdSource<S>, AddFdError<S>>
    where
        S: AsFd + 'static,
        F: FnMut(&Looper, &mut S, Events) -> FdNext + 'static,
    {
        let place = Location::caller();
        if const { is_large::<S>() || is_large::<F>() } {
            self.register(Watch::new(Box::new(source), Box::new(callback)), interest, ident, duplicate, place)
        } else {
            self.register(Watch::new(source, callback), interest, ident, duplicate, place)
        }
    }

    fn register<S, P, F>(
        &self,
        watch: Box<Watch<S, P, F>>,
        interest: Interest,
        ident: Option<u32>,
        duplicate: Duplicate,
        place: Origin,
    ) -> Result<FdSource<S>, AddFdError<S>>
    where
        S: AsFd + 'static,
        P: Holder<S>,
        F: FnMut(&Looper, &mut S, Events) -> FdNext + 'static,
    {
        let new = Registration::new(watch.fd(), interest, ident, place);
        match self.shared().fds.add(new, duplicate) {
            Ok(added) => {
                drop_each(self.core.local.sources.insert(added.key, watch));
                local::drop_displaced(self.shared(), added.ended);
                Ok(FdSource::new(&self.core.local, added.key))
            }
            Err(error) => Err(AddFdError::local_error(error, place, watch.into_source().into_box())),
        }
    }
}

/// The callback of an fd that has none.
pub(super) fn never_called<S>(_: &Looper, _: &mut S, _: Events) -> FdNext {
    FdNext::Keep
}
