//! What the looper's thread sleeps in: an epoll set with a timer and the waker in it.
//!
//! Deadlines are the timer's business alone, so `epoll_wait` is only ever told to block or not to. The set is thereby
//! complete: it is readable when an fd is ready, when the timer has expired and when the waker was signalled, whoever
//! looks.

use std::{io, sync::Arc, thread, time::Duration};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::{
    error::OsError,
    sys::{
        Kernel,
        epoll::{self, Epoll},
        interest::Events,
        time::{Clock, Moment},
        timerfd::TimerFd,
        waker::Waker,
    },
};

/// Marks the waker's events. No key has these bits, since none has their lower half.
const WAKER: u64 = u64::MAX;
/// Marks the timer's events.
const TIMER: u64 = (u64::MAX << 33) | u32::MAX as u64;
/// How many events belong to the poller itself.
const OWN_EVENTS: usize = 2;
/// How long the thread rests where it cannot sleep in the set.
const REST: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct Poller {
    kernel: Kernel,
    clock: Clock,
    set: Arc<Epoll>,
    timer: TimerFd,
    /// What the timer is set to; [`Moment::NEVER`] when it is stopped.
    armed: Moment,
    /// The clock moves only when told: the timer is never set, and a wait that would sleep moves the clock instead, if
    /// the clock lets it.
    skips: bool,
    /// Room for the events of one wait.
    room: Vec<EpollEvent>,
    /// How much of it the last wait has used.
    used: usize,
}

/// A watched fd that is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// The number that it was added with.
    pub(crate) data: u64,
    pub(crate) events: Events,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// With what was ready, which may be nothing.
    Done,
    /// By a signal.
    Interrupted,
}

impl Poller {
    /// Makes the set, with `waker` in it.
    pub(crate) fn new(kernel: Kernel, clock: Clock, waker: &Waker) -> io::Result<Poller> {
        let timer = TimerFd::new(&kernel)?;
        let set = new_set(&kernel, &timer, waker)?;
        let skips = clock.is_virtual() && matches!(kernel, Kernel::Linux);
        Ok(Poller { kernel, clock, set: Arc::new(set), timer, armed: Moment::NEVER, skips, room: Vec::new(), used: 0 })
    }

    /// The set, for those who add and remove fds.
    pub(crate) fn set(&self) -> &Arc<Epoll> {
        &self.set
    }

    /// Makes a second set like this one, with no fds in it yet but the poller's own.
    pub(crate) fn second_set(&self, waker: &Waker) -> io::Result<Epoll> {
        new_set(&self.kernel, &self.timer, waker)
    }

    /// Sleeps in `set` from now on.
    pub(crate) fn move_to(&mut self, set: Arc<Epoll>) {
        self.set = set;
    }

    /// Makes the set readable at `deadline`, and at no other time on the timer's account.
    pub(crate) fn arm(&mut self, deadline: Moment) -> io::Result<()> {
        if self.armed == deadline {
            return Ok(());
        }
        if !self.skips {
            let delay = (deadline != Moment::NEVER).then(|| self.clock.now().until(deadline));
            self.timer.set(delay)?;
        }
        self.armed = deadline;
        Ok(())
    }

    /// Puts the fds that are ready into `ready`; if `block`, sleeps until there is one, or the timer or the waker ends
    /// it.
    ///
    /// `watched` is how many fds there are, so that all that are ready can be taken at once.
    pub(crate) fn wait(&mut self, block: bool, watched: usize, ready: &mut Vec<Ready>) -> io::Result<Waited> {
        self.make_room(watched + OWN_EVENTS);
        if block && self.skips && self.armed != Moment::NEVER && self.clock.advances_by_itself() {
            return self.skip(ready);
        }
        self.take(block, ready)
    }

    /// Polls without blocking. If nothing is ready, moves the clock to the deadline.
    fn skip(&mut self, ready: &mut Vec<Ready>) -> io::Result<Waited> {
        let waited = self.take(false, ready)?;
        if self.used == 0 {
            self.clock.skip_to(self.armed);
            self.armed = Moment::NEVER;
        }
        Ok(waited)
    }

    fn take(&mut self, block: bool, ready: &mut Vec<Ready>) -> io::Result<Waited> {
        self.used = 0;
        let count = match self.set.wait(&mut self.room, block) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Waited::Interrupted),
            Err(error) => return Err(OsError::wrap("epoll_wait", error)),
        };
        self.used = count;
        for event in &self.room[..count] {
            match event.data() {
                WAKER => {}
                TIMER => self.armed = Moment::NEVER,
                data => ready.push(Ready { data, events: epoll::events_of(event.events()) }),
            }
        }
        Ok(Waited::Done)
    }

    /// Lets a moment pass, in which nothing wakes the thread.
    #[expect(clippy::disallowed_methods, reason = "what could be waited for is what cannot be")]
    pub(crate) fn rest(&self) {
        if !self.clock.is_virtual() {
            thread::sleep(REST);
        }
    }

    /// Follows the number of fds: grows at once, shrinks when most of the room is unused. A wait that has used all of
    /// it may have left something for the next: fds that died in the set are ready, too, and nobody counts them.
    fn make_room(&mut self, watched: usize) {
        let used = if self.used == self.room.len() { 2 * self.used } else { self.used };
        let needed = watched.max(used);
        if self.room.len() < needed {
            self.room.resize(needed.next_power_of_two(), EpollEvent::empty());
        } else if self.room.len() > 64 && self.room.len() / 8 > needed {
            self.room.truncate(needed.next_power_of_two());
            self.room.shrink_to_fit();
        }
    }
}

fn new_set(kernel: &Kernel, timer: &TimerFd, waker: &Waker) -> io::Result<Epoll> {
    let set = Epoll::new(kernel)?;
    let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    set.add(waker.raw(), edge, WAKER).map_err(|error| OsError::wrap("epoll_ctl", error))?;
    set.add(timer.raw(), edge, TIMER).map_err(|error| OsError::wrap("epoll_ctl", error))?;
    Ok(set)
}
