//! Watching fds from any thread: source and callback are `Send`.

use std::{os::fd::AsFd, panic::Location};

use crate::{
    core::{
        local,
        refused::{AddFdError, is_large},
    },
    fd::{FdNext, Holder, Watch, registration::Registration, registrations::Duplicate},
    looper::{Looper, fd_source::FdHandle, handle::LooperHandle, watch::never_called},
    queue::message::Origin,
    sys::interest::{Events, Interest},
};

/// **Watching fds.**
impl LooperHandle {
    /// Watches `source`, which the looper owns from now on, and calls `callback` on the looper's thread when it is
    /// ready.
    ///
    /// As [`Looper::add_fd`], for a source and callback that are `Send`. When this returns, the kernel watches the fd.
    ///
    /// # Errors
    /// Gives the source back with the kernel's error, or with one of kind `BrokenPipe` if the looper has quit.
    ///
    /// # Android
    /// `ALooper_addFd`.
    #[doc(alias = "ALooper_addFd")]
    #[track_caller]
    pub fn add_fd<S, F>(&self, source: S, interest: Interest, callback: F) -> Result<FdHandle, AddFdError<S>>
    where
        S: AsFd + Send + 'static,
        F: FnMut(&Looper, &mut S, Events) -> FdNext + Send + 'static,
    {
        self.watch(source, callback, interest, None, Duplicate::Refuse)
    }

    /// As [`add_fd`](LooperHandle::add_fd), and ends the registration that the same fd has already, if there is one.
    ///
    /// As [`Looper::replace_fd`]. The old source and callback are dropped on the looper's thread.
    ///
    /// # Errors
    /// As [`add_fd`](LooperHandle::add_fd), except `EEXIST`; the old registration stays as it was then.
    #[track_caller]
    pub fn replace_fd<S, F>(&self, source: S, interest: Interest, callback: F) -> Result<FdHandle, AddFdError<S>>
    where
        S: AsFd + Send + 'static,
        F: FnMut(&Looper, &mut S, Events) -> FdNext + Send + 'static,
    {
        self.watch(source, callback, interest, None, Duplicate::Replace)
    }

    /// Watches `source`, which the looper owns from now on, and reports `ident` in the [`Turn`](crate::Turn) in which
    /// it is ready.
    ///
    /// As [`Looper::add_ident`], for a source that is `Send`.
    ///
    /// # Errors
    /// As [`add_fd`](LooperHandle::add_fd).
    #[track_caller]
    pub fn add_ident<S>(&self, source: S, interest: Interest, ident: u32) -> Result<FdHandle, AddFdError<S>>
    where
        S: AsFd + Send + 'static,
    {
        self.watch(source, never_called, interest, Some(ident), Duplicate::Refuse)
    }

    /// As [`add_ident`](LooperHandle::add_ident), and ends the registration that the same fd has already, if there is
    /// one, with a callback or without.
    ///
    /// As [`Looper::replace_ident`]. The old source and callback are dropped on the looper's thread.
    ///
    /// # Errors
    /// As [`add_fd`](LooperHandle::add_fd), except `EEXIST`; the old registration stays as it was then.
    #[track_caller]
    pub fn replace_ident<S>(&self, source: S, interest: Interest, ident: u32) -> Result<FdHandle, AddFdError<S>>
    where
        S: AsFd + Send + 'static,
    {
        self.watch(source, never_called, interest, Some(ident), Duplicate::Replace)
    }

    #[track_caller]
    fn watch<S, F>(
        &self,
        source: S,
        callback: F,
        interest: Interest,
        ident: Option<u32>,
        duplicate: Duplicate,
    ) -> Result<FdHandle, AddFdError<S>>
    where
        S: AsFd + Send + 'static,
        F: FnMut(&Looper, &mut S, Events) -> FdNext + Send + 'static,
    {
        let place = Location::caller();
        if const { is_large::<S>() || is_large::<F>() } {
            self.register(Watch::new(Box::new(source), Box::new(callback)), interest, ident, duplicate, place)
        } else {
            self.register(Watch::new(source, callback), interest, ident, duplicate, place)
        }
    }

    pub(crate) fn register<S, P, F>(
        &self,
        watch: Box<Watch<S, P, F>>,
        interest: Interest,
        ident: Option<u32>,
        duplicate: Duplicate,
        place: Origin,
    ) -> Result<FdHandle, AddFdError<S>>
    where
        S: AsFd + Send + 'static,
        P: Holder<S> + Send,
        F: FnMut(&Looper, &mut S, Events) -> FdNext + Send + 'static,
    {
        let new = Registration::new(watch.fd(), interest, ident, place);
        match self.shared.fds.add_remote(new, duplicate, watch) {
            Ok(added) => {
                local::drop_displaced(&self.shared, added.ended);
                Ok(FdHandle::new(&self.shared, added.key))
            }
            Err((error, watch)) => Err(AddFdError::send_error(error, place, watch.into_source().into_box())),
        }
    }
}
