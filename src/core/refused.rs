//! What was not taken, on its way back: within the library with its value in hand, to the user as an error that `?` can
//! take anywhere.

use std::{
    error::Error,
    fmt::{self, Debug, Display, Formatter},
    io,
    marker::PhantomData,
    panic::Location,
};

use crate::{
    core::sticky::Sticky,
    error::{OsError, RejectReason, advice},
};

/// A value that a looper did not take, and why.
///
/// It is `Send` and `Sync` whatever the value is, so that `?` turns it into a `Box<dyn Error + Send + Sync>`, an
/// `anyhow::Error` or, with the value dropped, an [`io::Error`]: of kind `BrokenPipe`, with a `Rejected<()>` inside; in
/// a forked child, with an [`OsError`] of `ECHILD`.
///
/// ```
/// use alooper::{Looper, RejectReason};
/// use std::{error::Error, rc::Rc};
///
/// # fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
/// let looper = Looper::new()?;
/// let name = Rc::new("not `Send`");
/// looper.post(move |_| println!("{name}"))?;
///
/// looper.quit();
/// let refused = looper.post(|looper| println!("{looper:?}")).unwrap_err();
/// assert_eq!(refused.reason(), RejectReason::Quit);
/// if let Some(callback) = refused.into_value() {
///     callback(&looper);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Thread safety
/// A value that has to be `Send` where it was refused, as by a [`LooperHandle`](crate::LooperHandle), goes along with
/// the error. Any other, a [`Handler`](crate::Handler)'s messages included, stays on the thread where it was refused,
/// and is given back and dropped only there. If the error is dropped elsewhere, the value is left behind: it is dropped
/// when something else is refused on its thread, or when that ends.
///
/// # Android
/// `Handler.post` and `sendMessage` return `false` instead, and the message is lost.
pub struct Rejected<T> {
    refusal: Box<Refusal<RejectReason>>,
    of: PhantomData<fn() -> T>,
}

/// What a [`Rejected`] and its like have inside: without a type parameter for the value, and in a box, which is small in a
/// `Result`. Before that, on its way through the library, the value is in a [`Refused`].
pub(crate) struct Refusal<E> {
    pub(crate) error: E,
    pub(crate) place: &'static Location<'static>,
    pub(crate) value: Sticky,
}

impl<E> Refusal<E> {
    #[cold]
    pub(crate) fn new(error: E, place: &'static Location<'static>, value: Sticky) -> Box<Refusal<E>> {
        Box::new(Refusal { error, place, value })
    }
}

impl<E: Display> Display for Refusal<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} (refused at {})", self.error, self.place)
    }
}

impl<T> Rejected<T> {
    fn new(reason: RejectReason, place: &'static Location<'static>, value: Sticky) -> Rejected<T> {
        Rejected { refusal: Refusal::new(reason, place, value), of: PhantomData }
    }

    /// For a value that nobody can have any more.
    #[cfg(feature = "async")]
    pub(crate) fn lost(reason: RejectReason, place: &'static Location<'static>) -> Rejected<T> {
        Rejected::new(reason, place, Sticky::none())
    }

    /// Why the value was refused.
    #[must_use]
    pub fn reason(&self) -> RejectReason {
        self.refusal.error
    }

    /// Where it was refused: the place of the call in your source.
    #[must_use]
    pub fn place(&self) -> &'static Location<'static> {
        self.refusal.place
    }
}

impl<T: 'static> Rejected<T> {
    /// Gives the value back, as it was passed in. `None` on another thread than its own, where it stays behind; see
    /// above.
    #[must_use]
    pub fn into_value(self) -> Option<T> {
        self.refusal.value.into_inner()
    }
}

impl<T> Debug for Rejected<T> {
    /// The text, since that is what a `main` prints that returns it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl<T> Display for Rejected<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.refusal, f)
    }
}

impl<T> Error for Rejected<T> {}

impl<T> From<Rejected<T>> for io::Error {
    fn from(rejected: Rejected<T>) -> io::Error {
        let Refusal { error: reason, place, .. } = *rejected.refusal;
        reason.wrap(Rejected::<()>::new(reason, place, Sticky::none()))
    }
}

/// A source that could not be registered, and why.
///
/// It is `Send` and `Sync` whatever the source is, as [`Rejected`] is. Turns into an [`io::Error`] with `?`, which drops
/// the source and keeps the error's kind.
///
/// # Thread safety
/// As that of [`Rejected`]: what [`Looper::add_fd`](crate::Looper::add_fd) refuses stays on the looper's thread, what
/// [`LooperHandle::add_fd`](crate::LooperHandle::add_fd) refuses goes along.
pub struct AddFdError<S> {
    refusal: Box<Refusal<io::Error>>,
    of: PhantomData<fn() -> S>,
}

impl<S> AddFdError<S> {
    fn new(error: io::Error, place: &'static Location<'static>, source: Sticky) -> AddFdError<S> {
        AddFdError { refusal: Refusal::new(error, place, source), of: PhantomData }
    }

    /// The kernel's error (`raw_os_error` is set), or one of kind `BrokenPipe` when the looper has quit, or one of
    /// [`RejectReason::Forked`].
    #[must_use]
    pub fn error(&self) -> &io::Error {
        &self.refusal.error
    }

    /// Where the source was refused: the place of the call in your source code.
    #[must_use]
    pub fn place(&self) -> &'static Location<'static> {
        self.refusal.place
    }
}

impl<S: 'static> AddFdError<S> {
    /// For a source that stays on the calling thread.
    pub(crate) fn local_error(error: io::Error, place: &'static Location<'static>, source: Box<S>) -> AddFdError<S> {
        AddFdError::new(error, place, Sticky::local(source))
    }

    /// For a source that is `Send`, and goes where the error goes.
    pub(crate) fn send_error(error: io::Error, place: &'static Location<'static>, source: Box<S>) -> AddFdError<S>
    where
        S: Send,
    {
        AddFdError::new(error, place, Sticky::send(source))
    }

    /// Gives the source back, as it was passed in. `None` on another thread than its own, where it stays behind: see
    /// [`Rejected`].
    #[must_use]
    pub fn into_source(self) -> Option<S> {
        self.refusal.value.into_inner()
    }

    /// Gives the error that `?` makes of this, and the source as [`into_source`](AddFdError::into_source) does.
    #[must_use]
    pub fn into_parts(self) -> (io::Error, Option<S>) {
        (OsError::wrap("epoll_ctl", self.refusal.error), self.refusal.value.into_inner())
    }
}

impl<S> Debug for AddFdError<S> {
    /// The text, since that is what a `main` prints that returns it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl<S> Display for AddFdError<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Refusal { error, place, .. } = &*self.refusal;
        write!(f, "cannot watch this fd: {error}")?;
        if let Some(errno) = error.raw_os_error() {
            write!(f, "; {}", advice("epoll_ctl", errno))?;
        }
        write!(f, " (refused at {place})")
    }
}

impl<S> Error for AddFdError<S> {}

impl<S> From<AddFdError<S>> for io::Error {
    fn from(refused: AddFdError<S>) -> io::Error {
        OsError::wrap("epoll_ctl", refused.refusal.error)
    }
}

/// Whether a `T` is too large to be passed around by value: a build that is not optimized copies it for each call, so
/// that the stack has to have room for all of these (M12). What has no room in a message is boxed in any case.
pub(crate) const fn is_large<T>() -> bool {
    size_of::<T>() > 1024
}

/// A value that was not taken, and why, on its way back to the door at which it came in.
pub(crate) struct Refused<T> {
    pub(crate) value: T,
    pub(crate) reason: RejectReason,
}

impl<T: 'static> Refused<T> {
    /// Hands it out where it came in, at `place`, to stay on this thread.
    #[cold]
    pub(crate) fn local_error(self, place: &'static Location<'static>) -> Rejected<T> {
        Refused { value: Box::new(self.value), reason: self.reason }.unboxed_local_error(place)
    }

    /// Hands it out where it came in, at `place`, to go where the error goes.
    #[cold]
    pub(crate) fn send_error(self, place: &'static Location<'static>) -> Rejected<T>
    where
        T: Send,
    {
        Refused { value: Box::new(self.value), reason: self.reason }.unboxed_send_error(place)
    }
}

impl<T: 'static> Refused<Box<T>> {
    /// As [`local_error`](Refused::local_error), of a value that was boxed at the door.
    pub(crate) fn unboxed_local_error(self, place: &'static Location<'static>) -> Rejected<T> {
        Rejected::new(self.reason, place, Sticky::local(self.value))
    }

    /// As [`send_error`](Refused::send_error), of a value that was boxed at the door.
    pub(crate) fn unboxed_send_error(self, place: &'static Location<'static>) -> Rejected<T>
    where
        T: Send,
    {
        Rejected::new(self.reason, place, Sticky::send(self.value))
    }
}
