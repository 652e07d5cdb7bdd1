//! A source that was not taken, on its way back.

use std::{
    error::Error,
    fmt::{self, Debug, Display, Formatter},
    io,
    marker::PhantomData,
    panic::Location,
};

use crate::core::{refused::Refusal, sticky::Sticky};

/// A source that a looper did not take, and why. It gives back what was passed in.
///
/// It is `Send` and `Sync` whatever the value is, as [`Rejected`](crate::Rejected) is. Turns into an [`io::Error`] with
/// `?`, which drops the value.
///
/// # Thread safety
/// What a [`Looper`](crate::Looper) refuses stays on its thread, what a [`LooperHandle`](crate::LooperHandle) refuses
/// goes along, as with [`Rejected`](crate::Rejected).
pub struct SourceError<T> {
    refusal: Box<Refusal<io::Error>>,
    of: PhantomData<fn() -> T>,
}

impl<T: 'static> SourceError<T> {
    fn new(error: io::Error, place: &'static Location<'static>, value: Sticky) -> SourceError<T> {
        SourceError { refusal: Refusal::new(error, place, value), of: PhantomData }
    }

    /// For what is `Send`, and goes where the error goes.
    #[cfg(feature = "wall-clock")]
    pub(super) fn send_error(error: io::Error, place: &'static Location<'static>, value: Box<T>) -> SourceError<T>
    where
        T: Send,
    {
        SourceError::new(error, place, Sticky::send(value))
    }

    /// For a value that stays on the calling thread, and was boxed at the door.
    #[cfg(feature = "wall-clock")]
    pub(super) fn unboxed_local_error(
        error: io::Error,
        place: &'static Location<'static>,
        value: Box<T>,
    ) -> SourceError<T> {
        SourceError::new(error, place, Sticky::local(value))
    }

    #[cfg(any(feature = "inotify", feature = "process", feature = "signals"))]
    pub(super) fn local_error(
        error: impl Into<io::Error>,
        place: &'static Location<'static>,
        value: T,
    ) -> SourceError<T> {
        SourceError::new(error.into(), place, Sticky::local(Box::new(value)))
    }

    /// Why it was refused: an [`OsError`](crate::OsError) inside for what the kernel refused, of kind `BrokenPipe` for a
    /// looper that has quit.
    #[must_use]
    pub fn error(&self) -> &io::Error {
        &self.refusal.error
    }

    /// Where it was refused: the place of the call in your source.
    #[must_use]
    pub fn place(&self) -> &'static Location<'static> {
        self.refusal.place
    }

    /// Gives back what was passed in. `None` on another thread than its own.
    #[must_use]
    pub fn into_value(self) -> Option<T> {
        self.refusal.value.into_inner()
    }

    /// Gives the error that `?` makes of this, and the value as [`into_value`](SourceError::into_value) does.
    #[must_use]
    pub fn into_parts(self) -> (io::Error, Option<T>) {
        (self.refusal.error, self.refusal.value.into_inner())
    }
}

impl<T> Debug for SourceError<T> {
    /// The text, since that is what a `main` prints that returns it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl<T> Display for SourceError<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.refusal, f)
    }
}

impl<T> Error for SourceError<T> {}

impl<T> From<SourceError<T>> for io::Error {
    fn from(refused: SourceError<T>) -> io::Error {
        refused.refusal.error
    }
}
