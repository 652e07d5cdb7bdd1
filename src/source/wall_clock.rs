//! Posts at a time of the wall clock, and delays that count suspend.
//!
//! Each is an ordinary timed message, at the moment that its time is by what the clocks show now. When the wall clock is
//! set, or the machine has woken, all are put to another moment. One that comes due when the clock was set back, and that
//! has not been told yet, is posted again for the rest.

use std::{
    io,
    panic::Location,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use super::{SourceError, WallPosted, wall_posted::WallTimer};
use crate::{
    core::{
        item::{Body, Stamp, When},
        refused::Refused,
        shared::Post,
        wall_clock_timers::WallClockTimer,
    },
    fd::{FdNext, Watch, registrations::Duplicate},
    looper::{
        Looper,
        handle::LooperHandle,
        repeat::{MissedTicks, Repetition},
    },
    mem::{drop::Shielded, log},
    queue::{Queue, message::Origin},
    sys::{
        clock_set::ClockSet,
        interest::{Events, Interest},
        time::{Moment, wall::LeapTime},
    },
};

/// **The wall clock**, with the feature `wall-clock`.
impl Looper {
    /// The time on the wall clock that the looper goes by: the system's, or a test's.
    #[must_use]
    pub fn wall_time(&self) -> SystemTime {
        self.clock().wall_time()
    }

    /// Posts `callback` to run when the wall clock has reached `when`. It need not be `Send`.
    ///
    /// If the clock is set meanwhile, forward or back, the message moves with it. A time that has passed is due at once.
    /// The clock is `CLOCK_REALTIME`, in nanoseconds. For timeouts use [`post_delayed`](Looper::post_delayed).
    ///
    /// # Errors
    /// Gives the closure back: with the kernel's error, for the one timerfd that a looper needs for this, or with one of
    /// kind `BrokenPipe` if the looper has quit.
    ///
    /// # Guarantees
    /// It is an ordinary message, and does not begin while the clock shows an earlier time. Once the clock has shown
    /// `when` it may run, also if the clock is set back at that moment. A machine that is suspended is not woken.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let when = looper.wall_time() + Duration::from_millis(1);
    /// looper.post_at_wall(when, move |looper| {
    ///     assert!(looper.wall_time() >= when);
    ///     looper.quit();
    /// })?;
    /// looper.run()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// `AlarmManager.set` with `RTC`.
    #[track_caller]
    pub fn post_at_wall<F>(&self, when: SystemTime, callback: F) -> Result<WallPosted, SourceError<F>>
    where
        F: FnOnce(&Looper) + 'static,
    {
        self.post_wall(LeapTime::Wall(when), Box::new(callback), Location::caller())
    }

    /// Posts `callback` to run no earlier than `delay` from now, where the time for which the machine is suspended
    /// counts. It need not be `Send`.
    ///
    /// The delay is measured on `CLOCK_BOOTTIME`, in nanoseconds; one that overflows stays pending until it is cancelled.
    /// One that ends while the machine is suspended is due when that has woken; it does not wake it.
    ///
    /// # Errors
    /// As [`post_at_wall`](Looper::post_at_wall).
    ///
    /// # Android
    /// `AlarmManager.set` with `ELAPSED_REALTIME`.
    #[track_caller]
    pub fn post_delayed_boottime<F>(&self, delay: Duration, callback: F) -> Result<WallPosted, SourceError<F>>
    where
        F: FnOnce(&Looper) + 'static,
    {
        self.post_wall(self.handle().boot_time_after(delay), Box::new(callback), Location::caller())
    }

    fn post_wall<F>(&self, time: LeapTime, callback: Box<F>, place: Origin) -> Result<WallPosted, SourceError<F>>
    where
        F: FnOnce(&Looper) + 'static,
    {
        let here = self.here();
        let fill = |body: &mut Body, tick: Box<WallTick<F>>, _| {
            body.fill_local(move |looper: &Looper| tick.run(looper), here);
        };
        let refuse = |(error, callback)| SourceError::unboxed_local_error(error, place, callback);
        self.handle().post_by(time, callback, place, fill).map_err(refuse)
    }
}

impl LooperHandle {
    /// The time on the wall clock that the looper goes by: the system's, or a test's.
    #[must_use]
    pub fn wall_time(&self) -> SystemTime {
        self.shared.clock.wall_time()
    }

    /// Posts `callback` to run when the wall clock has reached `when`. See [`Looper::post_at_wall`].
    ///
    /// # Errors
    /// As [`Looper::post_at_wall`]; the looper may also have been dropped.
    ///
    /// # Thread safety
    /// Callable from any thread. The first such call makes a timerfd, and the looper watches it.
    #[track_caller]
    pub fn post_at_wall<F>(&self, when: SystemTime, callback: F) -> Result<WallPosted, SourceError<F>>
    where
        F: FnOnce(&Looper) + Send + 'static,
    {
        self.post_wall(LeapTime::Wall(when), Box::new(callback), Location::caller())
    }

    /// Posts `callback` to run no earlier than `delay` from now, where the time for which the machine is suspended
    /// counts. See [`Looper::post_delayed_boottime`].
    ///
    /// # Errors
    /// As [`post_at_wall`](LooperHandle::post_at_wall).
    ///
    /// # Thread safety
    /// As [`post_at_wall`](LooperHandle::post_at_wall).
    #[track_caller]
    pub fn post_delayed_boottime<F>(&self, delay: Duration, callback: F) -> Result<WallPosted, SourceError<F>>
    where
        F: FnOnce(&Looper) + Send + 'static,
    {
        self.post_wall(self.boot_time_after(delay), Box::new(callback), Location::caller())
    }

    fn post_wall<F>(&self, time: LeapTime, callback: Box<F>, place: Origin) -> Result<WallPosted, SourceError<F>>
    where
        F: FnOnce(&Looper) + Send + 'static,
    {
        let fill = |body: &mut Body, tick: Box<WallTick<F>>, _| body.fill(move |looper: &Looper| tick.run(looper));
        let refuse = |(error, callback)| SourceError::send_error(error, place, callback);
        self.post_by(time, callback, place, fill).map_err(refuse)
    }

    /// Posts `callback`, which `fill` puts into a message.
    fn post_by<F>(
        &self,
        time: LeapTime,
        callback: Box<F>,
        place: Origin,
        fill: impl FnOnce(&mut Body, Box<WallTick<F>>, u32),
    ) -> Result<WallPosted, (io::Error, Box<F>)>
    where
        F: FnOnce(&Looper) + 'static,
    {
        let shared = &self.shared;
        let (tick, leaps) = match self.prepare(time, place) {
            Ok((timer, stamp, leaps)) => (Box::new(WallTick { run: Shielded::new(callback), stamp, timer }), leaps),
            Err(error) => return Err((error, callback)),
        };
        let (timer, stamp) = (tick.timer.clone(), tick.stamp);
        let leave = |tick| shared.leave(Post::closure(stamp), tick, fill);
        if let Err(Refused { value, reason }) = timer.repetition.post_next(shared, tick, leave) {
            return Err((reason.into(), value.run.into_inner()));
        }
        let listed: Weak<dyn WallClockTimer> = Arc::downgrade(&(timer.clone() as Arc<dyn WallClockTimer>));
        // A leap in between has moved all others.
        if shared.wall_clock_timers.add(listed) != leaps {
            timer.reschedule(shared);
        }
        Ok(WallPosted::new(shared.id, timer))
    }

    /// What a post needs, and how often a clock had leapt before it was made.
    fn prepare(&self, time: LeapTime, place: Origin) -> io::Result<(Arc<WallTimer>, Stamp, u64)> {
        let shared = &self.shared;
        if let Some(reason) = shared.closed() {
            return Err(reason.into());
        }
        self.watch_clock(place)?;
        let leaps = shared.wall_clock_timers.leaps();
        let due = shared.clock.moment_of(time);
        let repetition = Repetition::new(due, Duration::ZERO, MissedTicks::Skip);
        let stamp = Stamp { when: When::At(due), asynchronous: self.asynchronous, origin: place };
        Ok((Arc::new(WallTimer { repetition, time }), stamp, leaps))
    }

    fn boot_time_after(&self, delay: Duration) -> LeapTime {
        LeapTime::Boot(self.shared.clock.boot_time().saturating_add(delay))
    }

    /// Lets the looper watch whether the clock is set, unless it does. A test tells the loopers of its clock itself.
    fn watch_clock(&self, place: Origin) -> io::Result<()> {
        let shared = &self.shared;
        if shared.clock.is_virtual() || shared.wall_clock_timers.is_watched() {
            return Ok(());
        }
        let watch = Watch::new(ClockSet::new()?, clock_was_set);
        let handle = self.register(watch, Interest::INPUT, None, Duplicate::Refuse, place)?;
        if shared.wall_clock_timers.set_watched(true) {
            // Another thread was faster.
            handle.remove();
        }
        Ok(())
    }
}

fn clock_was_set(looper: &Looper, clock_set: &mut ClockSet, _: Events) -> FdNext {
    let shared = looper.shared();
    match clock_set.take() {
        Ok(true) => shared.wall_clock_timers.reschedule_all(shared),
        Ok(false) => {}
        Err(error) => {
            log::error!("{}: it is no longer seen that the clock is set: {error}", shared.label);
            shared.wall_clock_timers.set_watched(false);
            return FdNext::Remove;
        }
    }
    FdNext::Keep
}

/// A closure that waits for the wall clock.
struct WallTick<F> {
    run: Shielded<Box<F>>,
    /// How it is posted.
    stamp: Stamp,
    timer: Arc<WallTimer>,
}

impl<F> WallTick<F>
where
    F: FnOnce(&Looper) + 'static,
{
    /// Runs the closure, or posts it again if it is too early.
    fn run(self: Box<Self>, looper: &Looper) {
        if let Some(due) = self.if_early(looper) {
            return self.post_again(looper, due);
        }
        if !self.timer.repetition.begin_last_run() {
            return looper.skip_message(Queue::count_as_cancelled);
        }
        let callback = self.run.into_inner();
        callback(looper);
    }

    /// When it is due, if its time has not come.
    fn if_early(&self, looper: &Looper) -> Option<Moment> {
        let (clock, time) = (looper.clock(), self.timer.time);
        (!clock.has_reached(time)).then(|| clock.moment_of(time))
    }

    fn post_again(mut self: Box<Self>, looper: &Looper, due: Moment) {
        self.stamp.when = When::At(due);
        let (timer, stamp) = (self.timer.clone(), self.stamp);
        let (shared, here) = (looper.shared(), looper.here());
        let fill = |body: &mut Body, tick: Box<Self>, _| {
            body.fill_local(move |looper: &Looper| tick.run(looper), here);
        };
        let leave = |tick| shared.leave(Post::closure(stamp), tick, fill);
        // A looper that has quit drops it.
        let _ = timer.repetition.post_next(shared, self, leave);
    }
}
