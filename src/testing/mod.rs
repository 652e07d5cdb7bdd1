//! Virtual time for tests: loopers on a clock that moves only when told.
//!
//! With the feature `testing`. A [`TestLooper`] is a [`Looper`] like any other, but for its clock: the code under test
//! is the same, given that it asks the looper for the time ([`Looper::now`]) and not the system. Nothing sleeps, and a
//! test that takes a day of looper time takes microseconds.
//!
//! ```
//! use alooper::testing::TestLooper;
//! use std::{cell::Cell, rc::Rc, time::Duration};
//!
//! # fn main() -> std::io::Result<()> {
//! let looper = TestLooper::new()?;
//! let rung = Rc::new(Cell::new(false));
//! looper.post_delayed(Duration::from_secs(3600), {
//!     let rung = rung.clone();
//!     move |_| rung.set(true)
//! })?;
//!
//! looper.advance(Duration::from_secs(3599));
//! assert!(!rung.get());
//! looper.advance(Duration::from_secs(1));
//! assert!(rung.get());
//! # Ok(())
//! # }
//! ```
//!
//! A looper on this clock that is told to wait, by [`Looper::run`] or a [`Looper::poll_once`] with a timeout, does not
//! sleep either: with nothing to do, it moves the clock to its next deadline. Only when there is none does it wait, for
//! an fd or another thread.
//!
//! So a deadline that is pending comes before whatever a real thread takes its time for. A test that is about such a
//! thread waits for it by [`TestLooper::wait_for_others`], which leaves the clock where it is.

#[cfg(alooper_fuzz)]
#[doc(hidden)]
pub mod fuzzing;

use std::{
    cell::{Cell, RefCell},
    fmt::{self, Debug, Formatter, Write},
    io,
    ops::Deref,
    rc::{Rc, Weak},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    looper::{Looper, builder::LooperBuilder, current, dump::Pending, report::Turn},
    time::{Clock, Moment, VirtualClock},
};

/// After so many turns more than messages were pending at the start, loopers are said to have no rest: more than any
/// test has to do at one time.
const MOST_TURNS: usize = 100_000;
/// Likewise, after so many messages.
const MOST_MESSAGES: usize = 1_000_000;

/// A clock that moves only when told, and the loopers of the test's thread that follow it.
///
/// Clones are the same clock.
///
/// # Android
/// Robolectric's `SystemClock` in the paused looper mode.
#[derive(Clone)]
pub struct TestClock {
    clock: Arc<VirtualClock>,
    /// In the order in which they were made.
    loopers: Rc<RefCell<Vec<Weak<Looper>>>>,
}

impl TestClock {
    /// Makes a clock with no loopers.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each clock is another one")]
    pub fn new() -> TestClock {
        TestClock { clock: VirtualClock::new(), loopers: Rc::default() }
    }

    /// Makes a looper that follows this clock, with the properties of `builder`.
    ///
    /// # Errors
    /// As [`Looper::new`].
    pub fn build(&self, builder: LooperBuilder) -> io::Result<TestLooper> {
        let looper = LooperBuilder { clock: Clock::Virtual(self.clock.clone()), ..builder }.build()?;
        let looper = Rc::new(looper);
        self.loopers.borrow_mut().push(Rc::downgrade(&looper));
        Ok(TestLooper { looper, clock: self.clone(), is_current: false, may_leave_work: Cell::new(false) })
    }

    fn moment(&self) -> Moment {
        Clock::Virtual(self.clock.clone()).now()
    }

    /// The time on this clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        Clock::Virtual(self.clock.clone()).instant()
    }

    /// When the first message of all its loopers is due; `None` if there is none that will ever be.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_stop().map(Moment::to_instant)
    }

    /// Lets all loopers do what is due now, until there is nothing more; gives how many messages ran. What else the
    /// turns report, wakes and ready idents, is nobody's: poll for that.
    ///
    /// # Panics
    /// If they do not come to rest, since something is posted again and again or an fd stays ready; if it is called
    /// from inside a callback; goes on with a panic of a callback.
    #[track_caller]
    pub fn run_until_idle(&self) -> usize {
        let mut count = 0;
        let pending: usize = self.loopers().iter().map(|looper| looper.len()).sum();
        for _ in 0..pending + MOST_TURNS {
            let mut is_at_rest = true;
            for looper in self.loopers() {
                let turn = looper.poll_once(Duration::ZERO).unwrap_or_else(|error| panic!("a turn failed: {error}"));
                count += turn.messages;
                is_at_rest &= turn.messages == 0 && turn.fds == 0 && turn.idles == 0 && !turn.more;
            }
            if is_at_rest && !self.is_any_due() {
                return count;
            }
            if count > pending + MOST_MESSAGES {
                break;
            }
        }
        panic!(
            "the loopers do not come to rest: after {count} messages there is still something to do; let what is posted \
             again wait for a while, and read what an fd is ready for; pending:{}",
            self.list_pending()
        );
    }

    /// Moves the clock by `duration`, from deadline to deadline, and lets the loopers do at each what is due then, the
    /// present included; gives how many messages ran. With something that repeats, as many deadlines as fit in.
    ///
    /// # Panics
    /// As [`idle`](TestClock::run_until_idle).
    ///
    /// # Android
    /// Robolectric's `ShadowLooper.idleFor`.
    #[track_caller]
    pub fn advance(&self, duration: Duration) -> usize {
        let end = self.moment().after(duration);
        let mut count = self.run_until_idle();
        while let Some(stop) = self.next_stop().filter(|stop| *stop <= end) {
            self.clock.advance_to(stop);
            count += self.run_until_idle();
        }
        if end != Moment::NEVER {
            self.clock.advance_to(end);
        }
        count + self.run_until_idle()
    }

    /// Moves the clock by `duration` and runs nothing: what is due by then is late when it runs. Callable from inside a
    /// callback, as if that took so long.
    pub fn pass(&self, duration: Duration) {
        let end = self.moment().after(duration);
        if end != Moment::NEVER {
            self.clock.advance_to(end);
        }
    }

    /// Sets whether a poll that would sleep moves the clock to its deadline, as it does unless this is called.
    ///
    /// Without that, a poll waits in real time until an fd is ready or another thread posts or wakes the looper, however
    /// long that takes: the time that it is given, and what is pending, come due only when the clock is moved. So it may
    /// wait for ever; [`TestLooper::wait_for_others`] does not.
    ///
    /// # Android
    /// Robolectric's clock never moves by itself.
    pub fn set_auto_advance(&self, on: bool) {
        self.clock.set_auto_advance(on);
    }

    /// Whether some looper has a message due, as when one was posted by what another one dropped.
    fn is_any_due(&self) -> bool {
        let now = self.moment();
        self.next_stop().is_some_and(|due| due <= now)
    }

    fn loopers(&self) -> Vec<Rc<Looper>> {
        self.loopers.borrow_mut().retain(|looper| looper.strong_count() > 0);
        self.loopers.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    fn next_stop(&self) -> Option<Moment> {
        let due = self.loopers().into_iter().filter_map(|looper| looper.shared().next_place().map(|place| place.when));
        due.min().filter(|due| *due != Moment::NEVER)
    }

    fn list_pending(&self) -> String {
        let pending = self.loopers().into_iter().flat_map(|looper| pending_of(&looper));
        list(pending, self.now())
    }
}

impl Debug for TestClock {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClock").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// A looper whose clock moves only when told: derefs to the [`Looper`] that the code under test is given.
///
/// See [the module](crate::testing) for an example.
///
/// # Panics
/// When it is dropped with messages pending, it panics with a list of them and of where they were posted (V2), unless
/// something panics already, it has quit, or [`allow_leftovers`](TestLooper::allow_leftovers) was called.
///
/// # Android
/// Robolectric's `ShadowPausedLooper`.
#[doc(alias = "ShadowPausedLooper")]
pub struct TestLooper {
    looper: Rc<Looper>,
    clock: TestClock,
    /// It is the thread's own, until this is dropped.
    is_current: bool,
    may_leave_work: Cell<bool>,
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
        let Some(due) = self.looper.shared().next_place().map(|place| place.when).filter(|due| *due != Moment::NEVER)
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
    /// For code under test that other threads have a part in. What it waits for may take real time, while a timeout of
    /// the code under test is pending on the clock that stands still.
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
            .next_place()
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

pub(crate) fn pending_of(looper: &Looper) -> Vec<Pending> {
    let (pending, ()) = looper.shared().pending_with(Pending::new, |_| ());
    pending.into_iter().map(|(_, pending)| pending).collect()
}

/// One line for each message.
fn list(pending: impl IntoIterator<Item = Pending>, now: Instant) -> String {
    let mut text = String::new();
    for pending in pending {
        let when = match pending.due {
            None => "at front".to_owned(),
            Some(due) if due > now => format!("due in {:?}", due - now),
            Some(_) => "due".to_owned(),
        };
        let _ = write!(text, "\n  {when}: {pending}");
    }
    text
}
