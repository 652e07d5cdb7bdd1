//! What a looper runs now, for any thread to ask.

use std::{
    fmt::{self, Display, Formatter},
    panic::Location,
    time::{Duration, Instant},
};

use crate::{
    core::activity::{Kind, Sight},
    looper::handle::LooperHandle,
    sys::time::Moment,
};

/// What kind of code a looper runs: see [`Running`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunningKind {
    /// A message: a posted closure, or a handler's.
    Message,
    /// The callback of an fd.
    Fd,
    /// An idle handler.
    Idle,
    /// A hook before a wait or after it.
    Hook,
    /// A task, or the future of a `block_on`.
    Task,
    /// Something else of a turn: the `Drop` of what was cancelled, the logger, what an observer is told.
    Other,
}

impl RunningKind {
    /// What the log calls it, before its place.
    pub(crate) fn words(self) -> &'static str {
        match self {
            RunningKind::Message => "a message, posted",
            RunningKind::Fd => "the callback of an fd, added",
            RunningKind::Idle => "an idle handler, added",
            RunningKind::Hook => "a hook of a wait, added",
            RunningKind::Task => "a task, spawned",
            RunningKind::Other => "no callback: it drops or tells something",
        }
    }
}

/// What a looper's thread is running now: see [`LooperHandle::running`].
///
/// Its [`Display`] is for people to read, and may change from version to version.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Running {
    /// What it is.
    pub kind: RunningKind,
    /// Where it was posted, added or spawned, in the source; `None` for what has no place.
    pub place: Option<&'static Location<'static>>,
    /// When it began, if [`is_exact`](Running::is_exact). Otherwise, when it was first seen to run, by a
    /// [`Watchdog`](crate::Watchdog) or by a question such as this one: it began before that.
    pub since: Instant,
    /// Whether `since` is when it began. That is known if the looper is
    /// [timed](crate::LooperBuilder::timed), has an observer that wants times, or a threshold for what is slow: then the
    /// clock is read for each callback.
    pub is_exact: bool,
    /// For how long it has run, as far as `since` tells.
    pub lasted: Duration,
    /// The kernel's number of the looper's thread, by which `top`, `gdb` and `/proc` name it.
    pub thread_id: i32,
}

impl Running {
    pub(crate) fn new(sight: Sight, now: Moment, thread_id: i32) -> Running {
        let Sight { kind, place, since, is_exact, .. } = sight;
        let kind = match kind {
            Kind::Message => RunningKind::Message,
            Kind::Fd => RunningKind::Fd,
            Kind::Idle => RunningKind::Idle,
            Kind::Hook => RunningKind::Hook,
            #[cfg(feature = "async")]
            Kind::Task => RunningKind::Task,
            Kind::Other => RunningKind::Other,
        };
        let (lasted, since) = (since.until(now), since.to_instant());
        Running { kind, place, since, is_exact, lasted, thread_id }
    }
}

impl Display for Running {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.words())?;
        self.place.map_or(Ok(()), |place| write!(f, " at {place}"))
    }
}

impl LooperHandle {
    /// Says what the looper runs at this moment: its kind, its place in the source, since when, and on which thread.
    /// `None` if it waits in epoll, if no thread polls it, and in a forked child.
    ///
    /// It may have changed before the caller looks at the answer, unless the looper is stuck. A task that is polled
    /// inside something else, such as an fd's callback, is named as the task.
    ///
    /// # Thread safety
    /// Callable from any thread, also while the looper is stuck. No user code runs.
    ///
    /// # Guarantees
    /// To be asked costs a looper nothing, and to be able to answer two instructions a message. So it does not
    /// know when each callback began, unless it is watched: see [`Running::since`].
    ///
    /// # Examples
    /// ```
    /// # use alooper::{Looper, RunningKind};
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let handle = looper.handle();
    /// assert!(handle.running().is_none());
    ///
    /// looper.post(move |_| {
    ///     let running = handle.running().expect("this closure runs");
    ///     assert_eq!(running.kind, RunningKind::Message);
    ///     assert!(running.place.is_some_and(|place| place.file().ends_with(".rs")));
    /// })?;
    /// looper.poll_once(None)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// Nothing like it: Android's watchdog prints the thread's stack.
    #[must_use]
    pub fn running(&self) -> Option<Running> {
        let shared = &self.shared;
        shared.sight().map(|sight| Running::new(sight, shared.clock.now(), shared.activity.thread_id))
    }
}
