//! Posting on the looper's own thread: closures that need not be `Send`.

use std::{
    ops::ControlFlow,
    panic::Location,
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
        posted::Posted,
        repeat::{MissedTicks, Repetition, Tick},
    },
    queue::message::{MessageId, Origin},
};

/// **Posting** closures, to run now, later, or again.
impl Looper {
    /// Posts `callback` to run after everything that is due already. It need not be `Send`.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit.
    ///
    /// # Guarantees
    /// As [`LooperHandle::post`](crate::LooperHandle::post). Posted from a message, it still runs in the same turn
    /// while the budget lasts; posted from an fd callback, in the next turn.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::{cell::Cell, rc::Rc};
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let count = Rc::new(Cell::new(0));
    /// looper.post({
    ///     let count = count.clone();
    ///     move |_| count.set(count.get() + 1)
    /// })?;
    ///
    /// looper.poll_once(None)?;
    ///
    /// assert_eq!(count.get(), 1);
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
        F: FnOnce(&Looper) + 'static,
    {
        let origin = Location::caller();
        let stamp = || Stamp { when: When::Now, asynchronous: false, origin };
        if const { Body::has_room_for::<F>() } {
            self.post_plain(origin, callback).or_else(|callback| self.post_when(stamp(), callback))
        } else {
            self.post_when(stamp(), callback)
        }
    }

    /// Fast path: posts a closure that has room in the queue, if nothing is out of the ordinary.
    #[inline(always)]
    fn post_plain<F>(&self, origin: Origin, callback: F) -> Result<Posted, F>
    where
        F: FnOnce(&Looper) + 'static,
    {
        let here = self.core.here;
        let fill = |body: &mut Body, callback| body.fill_local(callback, here);
        let id = self.shared().post_plain(here, origin, |_| None, callback, fill)?;
        Ok(Posted::once(self.shared().id, id))
    }

    /// Posts `callback` to run no earlier than `delay` from now. It need not be `Send`.
    ///
    /// Messages due at the same instant run in posting order. The delay is measured on `CLOCK_MONOTONIC`, in
    /// nanoseconds; one that overflows stays pending until it is cancelled.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit.
    ///
    /// # Android
    /// `Handler.postDelayed`.
    #[doc(alias = "postDelayed")]
    #[track_caller]
    #[inline]
    pub fn post_delayed<F>(&self, delay: Duration, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnOnce(&Looper) + 'static,
    {
        self.post_when(Stamp::new(When::At(self.clock().now().after(delay))), callback)
    }

    /// Posts `callback` to run no earlier than at `when`, which may be in the past: then it sorts by that time.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit.
    ///
    /// # Android
    /// `Handler.postAtTime`.
    #[doc(alias = "postAtTime")]
    #[track_caller]
    pub fn post_at<F>(&self, when: Instant, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnOnce(&Looper) + 'static,
    {
        self.post_when(Stamp::new(When::At(self.clock().moment(when))), callback)
    }

    /// Posts `callback` to run before everything that is pending, earlier posts at the front included.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit.
    ///
    /// # Android
    /// `Handler.postAtFrontOfQueue`.
    #[doc(alias = "postAtFrontOfQueue")]
    #[track_caller]
    pub fn post_at_front<F>(&self, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnOnce(&Looper) + 'static,
    {
        self.post_when(Stamp::new(When::Front), callback)
    }

    #[inline(always)]
    fn post_when<F>(&self, stamp: Stamp, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnOnce(&Looper) + 'static,
    {
        let posted = if const { Body::has_room_for::<F>() } {
            self.post_off_path(stamp, callback).map_err(|refused| refused.local_error(stamp.origin))
        } else {
            self.post_off_path(stamp, Box::new(callback)).map_err(|refused| refused.unboxed_local_error(stamp.origin))
        };
        posted.map(|id| Posted::once(self.shared().id, id))
    }

    /// Posts what has room in the queue, off the fast path.
    #[inline(never)]
    fn post_off_path<P>(&self, stamp: Stamp, callback: P) -> Result<MessageId, Refused<P>>
    where
        P: FnOnce(&Looper) + 'static,
    {
        let (shared, here) = (self.shared(), self.core.here);
        let fill = |body: &mut Body, callback| body.fill_local(callback, here);
        let posted = match stamp.when {
            When::Now => shared.post_plain_watched(here, stamp.origin, None, callback, fill),
            When::At(_) | When::Front => Err(callback),
        };
        let callback = match posted {
            Ok(id) => return Ok(id),
            Err(callback) => callback,
        };
        let fill = |body: &mut Body, callback, _| body.fill_local(callback, here);
        let (id, signal) = shared.leave_here(here, Post::closure(stamp), callback, fill)?;
        shared.signal_if(signal);
        Ok(id)
    }

    /// Posts `callback` to run every `period`, for the first time one period from now, until it breaks or is cancelled.
    ///
    /// As [`LooperHandle::post_every`](crate::LooperHandle::post_every), for a closure that need not be `Send`.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::{ops::ControlFlow, time::Duration};
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let mut left = 3;
    /// looper.post_every(Duration::from_millis(1), move |looper| {
    ///     left -= 1;
    ///     if left == 0 {
    ///         looper.quit();
    ///         return ControlFlow::Break(());
    ///     }
    ///     ControlFlow::Continue(())
    /// })?;
    ///
    /// assert_eq!(looper.run()?.run, 3);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn post_every<F>(&self, period: Duration, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnMut(&Looper) -> ControlFlow<()> + 'static,
    {
        let due = self.clock().now().after(period);
        self.repeat_from(Stamp::new(When::At(due)), Repetition::new(due, period, MissedTicks::Skip), callback)
    }

    /// Posts `callback` to run every `period`, for the first time at `start`, until it breaks or is cancelled. `missed`
    /// says what becomes of runs that have come due while one ran, or while the looper was busy.
    ///
    /// As [`LooperHandle::post_every_from`](crate::LooperHandle::post_every_from), for a closure that need not be `Send`.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit.
    ///
    /// # Examples
    /// ```
    /// # use alooper::{Looper, MissedTicks};
    /// # use std::{ops::ControlFlow, time::Duration};
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let frame = Duration::from_micros(16_667);
    /// let start = looper.now();
    /// looper.post_every_from(start, frame, MissedTicks::Skip, |looper| {
    ///     looper.quit();
    ///     ControlFlow::Continue(())
    /// })?;
    ///
    /// assert_eq!(looper.run()?.run, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn post_every_from<F>(
        &self,
        start: Instant,
        period: Duration,
        missed: MissedTicks,
        callback: F,
    ) -> Result<Posted, Rejected<F>>
    where
        F: FnMut(&Looper) -> ControlFlow<()> + 'static,
    {
        let due = self.clock().moment(start);
        self.repeat_from(Stamp::new(When::At(due)), Repetition::new(due, period, missed), callback)
    }

    fn repeat_from<F>(&self, stamp: Stamp, repetition: Arc<Repetition>, callback: F) -> Result<Posted, Rejected<F>>
    where
        F: FnMut(&Looper) -> ControlFlow<()> + 'static,
    {
        if const { is_large::<F>() } {
            self.repeat(stamp, repetition, Box::new(callback), Refused::unboxed_local_error)
        } else {
            self.repeat(stamp, repetition, callback, Refused::local_error)
        }
    }

    /// Posts what repeats: an `F` or a box with one, which `refuse` gives back.
    fn repeat<P, F>(
        &self,
        stamp: Stamp,
        repetition: Arc<Repetition>,
        callback: P,
        refuse: fn(Refused<P>, Origin) -> Rejected<F>,
    ) -> Result<Posted, Rejected<F>>
    where
        P: FnMut(&Looper) -> ControlFlow<()> + 'static,
    {
        match self.post_tick(Tick::new(callback, stamp, &repetition)) {
            Ok(()) => Ok(Posted::repeating(self.shared().id, repetition)),
            Err(Refused { value, reason }) => {
                Err(refuse(Refused { value: value.run.into_inner(), reason }, stamp.origin))
            }
        }
    }

    /// Posts the next run of a repeating closure.
    pub(crate) fn post_tick<F>(&self, tick: Box<Tick<F>>) -> Result<(), Refused<Box<Tick<F>>>>
    where
        F: FnMut(&Looper) -> ControlFlow<()> + 'static,
    {
        let repetition = tick.repetition.clone();
        let shared = self.shared();
        let fill = |body: &mut Body, tick: Box<Tick<F>>, _| {
            body.fill_local(move |looper: &Looper| tick.run(looper), self.core.here);
        };
        repetition.post_next(shared, tick, |tick| shared.leave(Post::closure(tick.stamp), tick, fill))
    }
}
