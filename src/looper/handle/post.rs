//! Posting from any thread: what is posted is `Send`.

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    core::{
        item::{Body, Stamp, When},
        refused::{Refused, Rejected, is_large},
        shared::Post,
    },
    looper::{
        Looper,
        handle::LooperHandle,
        posted::Posted,
        repeat::{MissedTicks, Repetition, Tick},
    },
    queue::message::Origin,
};

/// **Posting** closures, to run now, later, or again.
impl LooperHandle {
    /// Posts `callback` to run on the looper's thread, after everything that is due already.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped.
    ///
    /// # Thread safety
    /// Callable from any thread; holds one short lock; writes the eventfd only if the looper sleeps. While more than a
    /// thousand posts wait, one in 32 gives other threads the processor (`sched_yield`): the looper is behind.
    ///
    /// # Guarantees
    /// Posts of one thread run in their order, and so do posts of which one happens before the other. A closure
    /// that was accepted runs, is cancelled, or is counted as dropped in the
    /// [`MessageCounts`](crate::MessageCounts): exactly one of these.
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
            self.post_with(stamp, callback, Refused::send_error)
        } else {
            self.post_with(stamp, Box::new(callback), Refused::unboxed_send_error)
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
            self.repeat(stamp, repetition, Box::new(callback), Refused::unboxed_send_error)
        } else {
            self.repeat(stamp, repetition, callback, Refused::send_error)
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
}
