//! The looper as other threads see it.

use std::{
    fmt::{self, Debug, Formatter},
    io,
    ops::ControlFlow,
    os::fd::AsFd,
    panic::Location,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    core::{
        item::{Body, Stamp, When},
        local,
        refused::{AddFdError, Refused, Rejected, is_large},
        shared::{Post, Quit, Shared},
    },
    fd::{FdNext, Holder, Watch, registration::Registration, registrations::Duplicate},
    looper::{
        Looper,
        fd_source::FdHandle,
        posted::Posted,
        repeat::{MissedTicks, Repetition, Tick},
        watch::never_called,
    },
    queue::{account::MessageCounts, message::Origin},
    sys::interest::{Events, Interest},
};

/// **Reaching it from other threads.**
impl Looper {
    /// Gives a handle for other threads.
    #[must_use]
    pub fn handle(&self) -> LooperHandle {
        LooperHandle::new(self.shared())
    }
}

/// Reaches a looper from any thread: posts, wakes, watches fds, calls, quits.
///
/// It does not keep the looper alive; once that is gone, posts are refused and give their value back.
///
/// # Thread safety
/// `Clone`, `Send` and `Sync`. No method but [`call`](LooperHandle::call) and
/// [`call_timeout`](LooperHandle::call_timeout) waits for the looper, and no callback but theirs ever runs on the
/// caller's thread, if that is the looper's own; with the feature `async`, that of `with_looper` runs there, too.
///
/// # Android
/// What other threads use a `Looper*` or a `Handler` for.
#[derive(Clone)]
pub struct LooperHandle {
    pub(crate) shared: Arc<Shared>,
    /// Whether what it posts passes barriers.
    pub(crate) asynchronous: bool,
}

impl LooperHandle {
    pub(crate) fn new(shared: &Arc<Shared>) -> LooperHandle {
        LooperHandle { shared: shared.clone(), asynchronous: false }
    }

    /// Makes the looper's poll that waits, or else its next one, return at once with [`woken`](crate::Turn::woken).
    ///
    /// A poll that has waited already, and runs callbacks, does not report it: the next one does. So it is with a wake
    /// from inside a message. [`poll_all`](crate::Looper::poll_all) looks again after each turn, and ends.
    ///
    /// Any number of calls before that count as one. Of a looper that has quit, the next poll still reports it; on one
    /// that was dropped it does nothing. Neither is an error.
    ///
    /// # Errors
    /// The kernel's, if the eventfd cannot be written; the looper still reports it when it gets up for another reason.
    ///
    /// # Thread safety
    /// Callable from any thread; takes no lock. That a signal handler may call it is not promised.
    ///
    /// # Guarantees
    /// It is reported by exactly one turn, whatever else happens in that turn. A system call is made only if the
    /// looper sleeps.
    ///
    /// # Android
    /// `ALooper_wake`, which aborts the process when the write fails.
    #[doc(alias = "ALooper_wake")]
    pub fn wake(&self) -> io::Result<()> {
        self.shared.wake()
    }

    /// The same looper; what this handle posts is asynchronous, so that no barrier holds it up, and so are the messages
    /// of the handlers that it makes.
    ///
    /// # Android
    /// `Handler.createAsync`, and `Message.setAsynchronous`.
    #[doc(alias = "createAsync")]
    #[must_use]
    pub fn asynchronous(&self) -> LooperHandle {
        LooperHandle { shared: self.shared.clone(), asynchronous: true }
    }

    /// Posts `callback` to run on the looper's thread, after everything that is due already.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped.
    ///
    /// # Thread safety
    /// Callable from any thread; holds one short lock; writes the eventfd only if the looper sleeps.
    ///
    /// # Guarantees
    /// Posts of one thread run in their order, and so do posts of which one happens before the other. A closure
    /// that was accepted runs, is cancelled, or is counted as dropped in the [`MessageCounts`]: exactly one of these.
    ///
    /// The closure has to be `Send`. On the looper's own thread, [`Looper::post`] takes any closure:
    ///
    /// ```compile_fail,E0277
    /// # // C62: a payload that is not `Send`.
    /// # fn main() -> std::io::Result<()> {
    /// let looper = alooper::Looper::new()?;
    /// let payload = std::rc::Rc::new(1);
    /// looper.handle().post(move |_| drop(payload))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// `Handler.post`.
    #[track_caller]
    #[inline]
    pub fn post<F>(&self, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnOnce(&Looper) + Send + 'static,
    {
        self.post_when(Stamp::new(When::Now), callback)
    }

    /// Posts `callback` to run no earlier than `delay` from now.
    ///
    /// Messages due at the same instant run in posting order. The delay is measured on `CLOCK_MONOTONIC`, in
    /// nanoseconds; one that overflows stays pending until it is cancelled.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped.
    ///
    /// # Thread safety
    /// Callable from any thread; holds one short lock; writes the eventfd only if the looper sleeps past the deadline.
    ///
    /// # Android
    /// `Handler.postDelayed`.
    #[doc(alias = "postDelayed")]
    #[track_caller]
    pub fn post_delayed<F>(&self, delay: Duration, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnOnce(&Looper) + Send + 'static,
    {
        self.post_when(Stamp::new(When::At(self.shared.clock.now().after(delay))), callback)
    }

    /// Posts `callback` to run no earlier than at `when`, which may be in the past: then it sorts by that time.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped.
    ///
    /// # Thread safety
    /// Callable from any thread; holds one short lock; writes the eventfd only if the looper sleeps past the deadline.
    ///
    /// # Android
    /// `Handler.postAtTime`.
    #[doc(alias = "postAtTime")]
    #[track_caller]
    pub fn post_at<F>(&self, when: Instant, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnOnce(&Looper) + Send + 'static,
    {
        self.post_when(Stamp::new(When::At(self.shared.clock.moment(when))), callback)
    }

    /// Posts `callback` to run before everything that is pending, earlier posts at the front included.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped.
    ///
    /// # Thread safety
    /// Callable from any thread; holds one short lock; writes the eventfd only if the looper sleeps.
    ///
    /// # Android
    /// `Handler.postAtFrontOfQueue`.
    #[doc(alias = "postAtFrontOfQueue")]
    #[track_caller]
    pub fn post_at_front<F>(&self, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnOnce(&Looper) + Send + 'static,
    {
        self.post_when(Stamp::new(When::Front), callback)
    }

    #[inline]
    fn post_when<F>(&self, stamp: Stamp, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnOnce(&Looper) + Send + 'static,
    {
        let stamp = Stamp { asynchronous: self.asynchronous, ..stamp };
        if const { Body::has_room_for::<F>() } {
            self.post_with(stamp, callback, Refused::comes)
        } else {
            self.post_with(stamp, Box::new(callback), Refused::unboxed_comes)
        }
    }

    /// Posts a closure that is an `F` or a box with one, which `refuse` gives back.
    #[inline]
    fn post_with<P, F>(
        &self,
        stamp: Stamp,
        callback: P,
        refuse: impl FnOnce(Refused<P>, Origin) -> Rejected<F>,
    ) -> Result<Posted, Rejected<F>>
    where
        P: FnOnce(&Looper) + Send + 'static,
    {
        match self.shared.post(Post::closure(stamp), callback, |body, callback, _| body.fill(callback)) {
            Ok(name) => Ok(Posted::once(self.shared.id, name)),
            Err(refused) => Err(refuse(refused, stamp.origin)),
        }
    }

    /// Posts `callback` to run every `period`, for the first time one period from now, until it breaks or is cancelled.
    ///
    /// The runs are due at whole periods from now on, however late each one is: they do not drift. One that is late runs
    /// once, and all that have come due by its end are skipped: the next is the first that is still to come. A
    /// period of zero runs again and again, as part of the turn's budget. A panic in it ends it.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped.
    ///
    /// # Thread safety
    /// Callable from any thread. Between its runs the closure stays on the looper's thread and is dropped there, except
    /// that a cancel before the first run drops it where it is called.
    ///
    /// # Android
    /// A `Runnable` that posts itself again with `postDelayed`, which drifts.
    #[track_caller]
    pub fn post_every<F>(&self, period: Duration, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnMut(&Looper) -> ControlFlow<()> + Send + 'static,
    {
        let due = self.shared.clock.now().after(period);
        self.repeat_from(Stamp::new(When::At(due)), Repetition::new(due, period, MissedTicks::Skip), callback)
    }

    /// Posts `callback` to run every `period`, for the first time at `start`, until it breaks or is cancelled. `missed`
    /// says what becomes of runs that have come due while one ran, or while the looper was busy.
    ///
    /// A `start` that has passed runs at once; then it is the runs that were missed since that `missed` is about. A run
    /// that makes up for a missed one comes after what is due already, so that runs that take longer than the period
    /// hold up nothing else. For the rest see [`post_every`](LooperHandle::post_every).
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped.
    ///
    /// # Thread safety
    /// As [`post_every`](LooperHandle::post_every).
    ///
    /// # Android
    /// There is none: `Timer.schedule(task, firstTime, period)` delays, `scheduleAtFixedRate` bursts.
    #[track_caller]
    pub fn post_every_from<F>(
        &self,
        start: Instant,
        period: Duration,
        missed: MissedTicks,
        callback: F,
    ) -> Result<Posted, Rejected<F>>
    where
        F: FnMut(&Looper) -> ControlFlow<()> + Send + 'static,
    {
        let due = self.shared.clock.moment(start);
        self.repeat_from(Stamp::new(When::At(due)), Repetition::new(due, period, missed), callback)
    }

    fn repeat_from<F>(&self, stamp: Stamp, repetition: Arc<Repetition>, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnMut(&Looper) -> ControlFlow<()> + Send + 'static,
    {
        let stamp = Stamp { asynchronous: self.asynchronous, ..stamp };
        if const { is_large::<F>() } {
            self.repeat(stamp, repetition, Box::new(callback), Refused::unboxed_comes)
        } else {
            self.repeat(stamp, repetition, callback, Refused::comes)
        }
    }

    /// As [`post_with`](LooperHandle::post_with), of what repeats.
    fn repeat<P, F>(
        &self,
        stamp: Stamp,
        repetition: Arc<Repetition>,
        callback: P,
        refuse: fn(Refused<P>, Origin) -> Rejected<F>,
    ) -> Result<Posted, Rejected<F>>
    where
        P: FnMut(&Looper) -> ControlFlow<()> + Send + 'static,
    {
        let tick = Tick::new(callback, stamp, &repetition);
        let fill = |place: &mut Body, tick: Box<Tick<P>>, _| place.fill(move |looper: &Looper| tick.run(looper));
        let first = |tick| self.shared.leave(Post::closure(stamp), tick, fill);
        match repetition.post_next(&self.shared, tick, first) {
            Ok(()) => Ok(Posted::repeating(self.shared.id, repetition)),
            Err(Refused { value, reason }) => {
                Err(refuse(Refused { value: value.run.into_inner(), reason }, stamp.origin))
            }
        }
    }

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
            Err((error, watch)) => Err(AddFdError::comes(error, place, watch.into_source().into_box())),
        }
    }

    /// Quits: gives up everything that is pending, and refuses posts and fds from now on.
    ///
    /// It ends the looper's sleep. No callback of any kind starts after this returns; one that is running goes on. The
    /// queued messages are dropped on the looper's thread. Only the first call of `quit` or
    /// [`quit_safely`](LooperHandle::quit_safely) counts. A looper that has quit before it runs does not run, and none
    /// is started again.
    ///
    /// # Android
    /// `Looper.quit`.
    pub fn quit(&self) {
        self.shared.quit(Quit::Now);
    }

    /// Quits after everything that is due now has run, in its order; gives up the rest, and refuses posts and fds from
    /// now on.
    ///
    /// The looper neither sleeps nor serves fds any more. Only the first call of `quit_safely` or
    /// [`quit`](LooperHandle::quit) counts.
    ///
    /// # Android
    /// `Looper.quitSafely`.
    #[doc(alias = "quitSafely")]
    pub fn quit_safely(&self) {
        self.shared.quit(Quit::Safely);
    }

    /// How many messages are pending: exact at the moment of the call. One that is running is not pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether no message is pending: exact at the moment of the call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How the messages so far have ended. Callable also after the looper was dropped.
    #[must_use]
    pub fn message_counts(&self) -> MessageCounts {
        self.shared.message_counts()
    }

    /// Whether the looper has quit, is draining, or was dropped: whether posts are refused.
    #[must_use]
    pub fn has_quit(&self) -> bool {
        !self.shared.is_inherited() && self.shared.is_quitting()
    }

    /// The time on the looper's clock.
    ///
    /// Code that asks the looper for the time can be tested on a looper whose clock moves when told.
    ///
    /// # Android
    /// `SystemClock.uptimeMillis`.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shared.clock.instant()
    }

    /// Whether the looper's thread waits in epoll at this moment. It may change before the caller looks at the answer.
    ///
    /// # Android
    /// `Looper::isPolling`, `MessageQueue.isPolling`.
    #[doc(alias = "isPolling")]
    #[must_use]
    pub fn is_polling(&self) -> bool {
        self.shared.is_polling()
    }

    /// Whether the calling thread is the looper's.
    ///
    /// # Android
    /// `Looper.isCurrentThread`.
    #[doc(alias = "isCurrentThread")]
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.shared.is_current()
    }

    /// The name that the looper was built with.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }
}

impl Debug for LooperHandle {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("LooperHandle").field("name", &self.name()).finish_non_exhaustive()
    }
}
