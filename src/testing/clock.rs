//! `TestClock`: a clock that moves only when told, and the loopers that follow it.

use std::{
    cell::{Cell, RefCell},
    fmt::{self, Debug, Formatter},
    io,
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(feature = "wall-clock")]
use std::time::SystemTime;

use crate::{
    looper::{Looper, builder::LooperBuilder},
    sys::time::{Clock, Moment, VirtualClock},
    testing::{TestLooper, list, pending_of},
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
    pub(super) clock: Arc<VirtualClock>,
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

    /// The time on this clock's wall clock, which starts in 2020 and moves with this one.
    #[cfg(feature = "wall-clock")]
    #[must_use]
    pub fn wall_time(&self) -> SystemTime {
        Clock::Virtual(self.clock.clone()).wall_time()
    }

    /// Sets the wall clock, forward or back, as an administrator may at any time. Messages that wait for the wall clock
    /// move with it.
    ///
    /// Runs nothing. Callable from inside a callback.
    #[cfg(feature = "wall-clock")]
    pub fn set_wall_time(&self, time: SystemTime) {
        self.clock.set_wall_time(time);
        self.tell_leap();
    }

    /// Lets the machine be suspended for `duration`: the wall clock and
    /// [`post_delayed_boottime`](crate::Looper::post_delayed_boottime) go on, and [`now`](TestClock::now) stands still.
    ///
    /// Runs nothing. Callable from inside a callback.
    #[cfg(feature = "wall-clock")]
    pub fn suspend(&self, duration: Duration) {
        self.clock.suspend(duration);
        self.tell_leap();
    }

    #[cfg(feature = "wall-clock")]
    fn tell_leap(&self) {
        for looper in self.loopers() {
            looper.shared().wall_clock_timers.reschedule_all(looper.shared());
        }
    }

    /// When the first message of all its loopers is due; `None` if there is none that will ever be.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_stop().map(Moment::to_instant)
    }

    /// Lets all loopers do what is due now, until there is nothing more; gives how many messages ran. It does not give
    /// wakes and ready idents; poll if you need those.
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

    pub(super) fn next_stop(&self) -> Option<Moment> {
        let due = self.loopers().into_iter().filter_map(|looper| looper.shared().next_rank().map(|rank| rank.when));
        due.min().filter(|due| *due != Moment::NEVER)
    }

    pub(super) fn list_pending(&self) -> String {
        let pending = self.loopers().into_iter().flat_map(|looper| pending_of(&looper));
        list(pending, self.now())
    }
}

impl Debug for TestClock {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClock").field("now", &self.now()).finish_non_exhaustive()
    }
}
