//! `TestLooper`: a looper on a test's clock.

use std::{
    cell::Cell,
    fmt::{self, Debug, Formatter},
    io,
    ops::Deref,
    rc::Rc,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    looper::{Looper, current, dump::Pending, report::Turn},
    sys::time::{Moment, VirtualClock},
    testing::{TestClock, list, pending_of},
};

/// A looper whose clock moves only when told: derefs to the [`Looper`] that the code under test is given.
///
/// See [the module](crate::testing) for an example.
///
/// # Panics
/// When it is dropped with messages pending, it panics with a list of them and of where they were posted, unless
/// something panics already, it has quit, or [`allow_leftovers`](TestLooper::allow_leftovers) was called.
///
/// # Android
/// Robolectric's `ShadowPausedLooper`.
#[doc(alias = "ShadowPausedLooper")]
pub struct TestLooper {
    pub(super) looper: Rc<Looper>,
    pub(super) clock: TestClock,
    /// It is the thread's own, until this is dropped.
    pub(super) is_current: bool,
    pub(super) may_leave_work: Cell<bool>,
}

impl TestLooper {
    /// Makes a looper on a clock of its own.
    ///
    /// # Errors
    /// As [`Looper::new`].
    pub fn new() -> io::Result<TestLooper> {
        TestClock::new().build(Looper::builder())
    }

    /// Makes a looper on a clock of its own as the calling thread's own, which [`Looper::current`] and
    /// [`Looper::prepare`] give until this is dropped.
    ///
    /// # Errors
    /// As [`Looper::new`], and one of kind `AlreadyExists` if the thread has a looper.
    pub fn prepare() -> io::Result<TestLooper> {
        TestLooper::new()?.into_current()
    }

    /// Makes this the calling thread's own looper, as [`prepare`](TestLooper::prepare).
    ///
    /// # Errors
    /// One of kind `AlreadyExists` if the thread has a looper.
    pub fn into_current(mut self) -> io::Result<TestLooper> {
        if let Err(error) = current::lend(&self.looper) {
            // It is this error that counts, not what is left when `self` goes.
            self.allow_leftovers();
            return Err(error);
        }
        self.is_current = true;
        Ok(self)
    }

    /// The clock, which also moves the other loopers that follow it.
    #[must_use]
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// Lets the looper, and those on the same clock, do what is due now, until there is nothing more; gives how many
    /// messages ran.
    ///
    /// # Panics
    /// As [`TestClock::run_until_idle`].
    ///
    /// # Android
    /// Robolectric's `ShadowLooper.idle`.
    #[track_caller]
    pub fn run_until_idle(&self) -> usize {
        self.clock.run_until_idle()
    }

    /// Moves the clock by `duration`, from deadline to deadline, and lets the looper, and those on the same clock, do
    /// at each what is due then; gives how many messages ran.
    ///
    /// # Panics
    /// As [`TestClock::run_until_idle`].
    ///
    /// # Android
    /// Robolectric's `ShadowLooper.idleFor`.
    #[doc(alias = "idleFor")]
    #[track_caller]
    pub fn advance(&self, duration: Duration) -> usize {
        self.clock.advance(duration)
    }

    /// Runs the next message of this looper alone, and first moves the clock to its due time; whether there was one.
    ///
    /// Serves no fds, and no other loopers: these may be late then.
    ///
    /// # Panics
    /// Goes on with a panic of the message; if it is called from inside a callback.
    ///
    /// # Android
    /// Robolectric's `ShadowLooper.runOneTask`.
    #[doc(alias = "runOneTask")]
    #[track_caller]
    pub fn run_one(&self) -> bool {
        let Some(due) = self.looper.shared().next_rank().map(|place| place.when).filter(|due| *due != Moment::NEVER)
        else {
            return false;
        };
        self.clock.clock.advance_to(due);
        self.looper.run_one().unwrap_or_else(|error| panic!("it cannot be run: {error}"))
    }

    /// Moves the clock to the next deadline and lets the looper, and those on the same clock, do what is due then, if
    /// there is one; gives how many messages ran.
    ///
    /// # Panics
    /// As [`TestClock::run_until_idle`].
    ///
    /// # Android
    /// Robolectric's `ShadowLooper.runToNextTask`.
    #[doc(alias = "runToNextTask")]
    #[track_caller]
    pub fn run_to_next(&self) -> usize {
        if let Some(next) = self.clock.next_stop() {
            self.clock.clock.advance_to(next);
        }
        self.clock.run_until_idle()
    }

    /// Moves the clock to the due time of the last message that is pending now, from deadline to deadline; gives how
    /// many messages ran.
    ///
    /// # Panics
    /// As [`TestClock::run_until_idle`].
    ///
    /// # Android
    /// Robolectric's `ShadowLooper.runToEndOfTasks`.
    #[doc(alias = "runToEndOfTasks")]
    #[track_caller]
    pub fn run_to_end(&self) -> usize {
        let last = self.last_deadline().unwrap_or_else(|| self.looper.now());
        self.clock.advance(last.saturating_duration_since(self.looper.now()))
    }

    /// Waits in real time, without moving the clock, until another thread posts to the looper or wakes it, or an fd is
    /// ready, and serves it; with something to do already, does that. Gives the report of this one turn.
    ///
    /// For code under test that other threads have a part in. The wait may take real time, while timeouts of the code
    /// under test stay pending, because the clock stands still.
    ///
    /// ```
    /// use alooper::testing::TestLooper;
    /// use std::{thread, time::Duration};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let looper = TestLooper::new()?;
    /// let timeout = looper.post_delayed(Duration::from_secs(10), |_| panic!("no answer"))?;
    /// let handle = looper.handle();
    /// let worker = thread::spawn(move || {
    ///     let answer = (1..=20_u64).product::<u64>();
    ///     handle.post(move |_| assert_eq!(answer, 2_432_902_008_176_640_000)).is_ok()
    /// });
    ///
    /// let turn = looper.wait_for_others(Duration::from_secs(60));
    ///
    /// assert_eq!(turn.messages, 1);
    /// assert!(timeout.cancel());
    /// assert!(worker.join().unwrap());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If nothing has come within `limit`, which is real time: choose it so long that a busy machine is no failure. Goes
    /// on with a panic of a callback. If it is called from inside a callback.
    ///
    /// # Android
    /// Robolectric's `ShadowPausedLooper.poll`, which just returns when its time has passed.
    #[doc(alias = "poll")]
    #[track_caller]
    pub fn wait_for_others(&self, limit: Duration) -> Turn {
        let (turn, is_too_late) = {
            let _standing = Standing::new(&self.clock.clock);
            let handle = self.looper.handle();
            thread::scope(|scope| {
                // Dropped when the turn is over, also by a panic.
                let (turn_is_over, is_over) = mpsc::channel::<()>();
                let watchdog = scope.spawn(move || {
                    let is_too_late = is_over.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
                    if is_too_late {
                        let _ = handle.wake();
                    }
                    is_too_late
                });
                let turn = self.looper.poll_once(None);
                drop(turn_is_over);
                (turn, watchdog.join().unwrap_or(false))
            })
        };
        let turn = turn.unwrap_or_else(|error| panic!("a turn failed: {error}"));
        if is_too_late {
            panic!(
                "no other thread and no fd gave {} something to do within {limit:?}; pending:{}",
                self.looper.shared().label,
                self.clock.list_pending()
            );
        }
        turn
    }

    /// When the next message that may run is due; `None` if none ever will be. One that was posted at the front, or is
    /// overdue, is due in the past.
    ///
    /// # Android
    /// Robolectric's `ShadowLooper.getNextScheduledTaskTime`.
    #[doc(alias = "getNextScheduledTaskTime")]
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.looper
            .shared()
            .next_rank()
            .map(|place| place.when)
            .filter(|due| *due != Moment::NEVER)
            .map(Moment::to_instant)
    }

    /// When the last message that is pending is due; `None` if there is none. One that never comes due does not count.
    ///
    /// # Android
    /// Robolectric's `ShadowLooper.getLastScheduledTaskTime`.
    #[doc(alias = "getLastScheduledTaskTime")]
    #[must_use]
    pub fn last_deadline(&self) -> Option<Instant> {
        let (dues, ()) = self.looper.shared().pending_with(|_, _, _| (), |_| ());
        let last = dues.into_iter().map(|(due, ())| due).rfind(|due| *due != Moment::NEVER);
        last.map(Moment::to_instant)
    }

    /// The messages that are pending, in their order, with where they were posted.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        pending_of(&self.looper)
    }

    /// Lets the test end with messages pending.
    pub fn allow_leftovers(&self) {
        self.may_leave_work.set(true);
    }
}

/// A clock that no wait moves, until this is dropped.
struct Standing<'a> {
    clock: &'a VirtualClock,
    auto_advance: bool,
}

impl Standing<'_> {
    fn new(clock: &VirtualClock) -> Standing<'_> {
        Standing { clock, auto_advance: clock.set_auto_advance(false) }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.clock.set_auto_advance(self.auto_advance);
    }
}

impl Deref for TestLooper {
    type Target = Looper;

    fn deref(&self) -> &Looper {
        &self.looper
    }
}

impl Drop for TestLooper {
    fn drop(&mut self) {
        if self.is_current {
            current::take_back(&self.looper);
        }
        if thread::panicking() || self.may_leave_work.get() || self.looper.has_quit() {
            return;
        }
        let pending = self.pending();
        if !pending.is_empty() {
            panic!(
                "the test leaves {} messages on {}:{}\n\
                 let time pass for them (`advance`), cancel them, or say `allow_leftovers`",
                pending.len(),
                self.looper.shared().label,
                list(pending, self.clock.now())
            );
        }
    }
}

impl Debug for TestLooper {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestLooper").field("looper", &self.looper).finish_non_exhaustive()
    }
}
