//! Where other threads leave messages, and until when the looper sleeps: closed for good after quit.
//!
//! This is the wake protocol. Everything it needs stands behind one short mutex, so that each side sees the other's
//! steps in one order:
//!
//! | looper | everybody else |
//! |---|---|
//! | [`settle`](Inbox::settle): if nothing was left here, publishes until when it will sleep, with the queue still locked | leaves something, and finds that the looper sleeps past it: takes the published time back and writes the eventfd |
//! | waits in epoll | or finds that the looper does not: leaves it at that |
//! | [`rise`](Inbox::rise): takes the published time back | |
//!
//! Either the looper finds what was left and does not sleep, or the other side finds the looper asleep and wakes it.
//! Only the first to find it asleep pays for the system call. Since those who ask and cancel also move mail into the
//! queue, the looper looks at the queue and settles under one lock of the queue: see `Shared::settle`. `src/models/`
//! checks all this in all interleavings.

use std::{mem, sync::atomic::Ordering};

use crate::{
    clock::Moment,
    error::Reason,
    item::{Arrival, Leftover, Queued},
    place::Place,
    planted::{self, Bug},
    queue::Queue,
    sys::sync::{AtomicI64, Mutex, MutexGuard},
};

/// The published time of a looper that is not asleep, or that somebody is waking already: no message is due before it.
const AWAKE: Moment = Moment::FRONT;

/// How many messages there is still room for after a burst.
const COMMON_MAIL: usize = 1024;

/// What was left for the looper, and whether it sleeps.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    /// When the earliest of the mail is due, in nanoseconds. Written under the lock (Release); read without it
    /// (Acquire), to know whether the mail matters for what runs next.
    earliest: AtomicI64,
}

#[derive(Debug)]
struct State<T> {
    /// Messages that the queue does not have yet, in posting order.
    mail: Vec<(Place, T)>,
    /// What other threads have made for the looper's thread to keep.
    arrivals: Vec<Arrival>,
    /// What other threads have ended and the looper's thread has to drop.
    leftovers: Vec<Leftover>,
    /// The posting order of the last message.
    order: i64,
    /// Where the first barrier stands: what is posted behind it wakes nobody unless it is asynchronous.
    barrier: Option<Place>,
    /// Until when the looper sleeps; [`AWAKE`] when it does not or when its wake is on the way.
    asleep_until: Moment,
    /// `wake()` was called and no turn has reported it.
    woken: bool,
    /// There is something to tidy up at home, which is no message and no `wake()`.
    chores: bool,
    /// Set once: why nothing is accepted any more.
    closed: Option<Reason>,
    wakes: Wakes,
}

/// How often the eventfd had to be written for what was left, and how often not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wakes {
    pub(crate) sent: u64,
    pub(crate) saved: u64,
}

/// What there is to tidy up at home.
#[derive(Debug)]
pub(crate) struct Chores {
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) leftovers: Vec<Leftover>,
}

/// Whether the eventfd has to be written, by whoever holds this, after unlocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a looper that sleeps past this has to be signalled"]
pub(crate) enum Signal {
    /// The looper sleeps past it.
    Needed,
    /// The looper is awake, is being woken, or sleeps no longer than that.
    Saved,
}

impl<T: Queued> Inbox<T> {
    pub(crate) fn new() -> Inbox<T> {
        let state = State {
            mail: Vec::new(),
            arrivals: Vec::new(),
            leftovers: Vec::new(),
            order: 0,
            barrier: None,
            asleep_until: AWAKE,
            woken: false,
            chores: false,
            closed: None,
            wakes: Wakes::default(),
        };
        Inbox { state: Mutex::new(state), earliest: AtomicI64::new(Moment::NEVER.as_nanos()) }
    }

    /// Locks the inbox for leaving a message, unless it is closed.
    pub(crate) fn open(&self) -> Result<Open<'_, T>, Reason> {
        let mut state = self.state.lock();
        if let Some(reason) = state.closed {
            return Err(reason);
        }
        if planted::is(Bug::CheckThenPush) {
            drop(state);
            state = self.state.lock();
        }
        Ok(Open { state, earliest: &self.earliest })
    }

    /// Notes a `wake()`.
    pub(crate) fn wake(&self) -> Signal {
        let mut state = self.state.lock();
        state.woken = true;
        state.rouse()
    }

    /// Notes that there is something to tidy up at home.
    pub(crate) fn leave_chores(&self) -> Signal {
        let mut state = self.state.lock();
        state.chores = true;
        state.rouse()
    }

    /// Leaves something that has to be dropped at home; `None` if there is no home any more.
    pub(crate) fn leave(&self, leftover: Leftover) -> Option<Signal> {
        let mut state = self.state.lock();
        if state.closed == Some(Reason::Dropped) {
            return None;
        }
        state.leftovers.push(leftover);
        state.chores = true;
        Some(state.rouse())
    }

    /// Numbers a barrier that is put up at `now`.
    pub(crate) fn number_barrier(&self, now: Moment) -> Result<Place, Reason> {
        let mut state = self.state.lock();
        if let Some(reason) = state.closed {
            return Err(reason);
        }
        state.order += 1;
        Ok(Place::new(now, state.order))
    }

    /// Notes where the first barrier stands from now on. The queue is locked by the caller, who changes its barriers.
    pub(crate) fn set_barrier(&self, first: Option<Place>) {
        self.state.lock().barrier = first;
    }

    /// Wakes the looper if it sleeps past `when`, for something that is in the queue.
    pub(crate) fn rouse_for(&self, when: Moment) -> Signal {
        self.state.lock().rouse_for(when)
    }

    /// How often the eventfd had to be written, and how often not.
    pub(crate) fn wakes(&self) -> Wakes {
        self.state.lock().wakes
    }

    /// Refuses messages from now on. `None` if the inbox was closed before.
    pub(crate) fn close(&self, reason: Reason) -> Option<Signal> {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return None;
        }
        state.closed = Some(reason);
        state.chores = true;
        Some(state.rouse())
    }

    /// Refuses messages for good, because the looper is dropped.
    pub(crate) fn shut(&self) {
        self.state.lock().closed = Some(Reason::Dropped);
    }

    /// Why the inbox is closed, if it is.
    pub(crate) fn closed(&self) -> Option<Reason> {
        self.state.lock().closed
    }

    /// Moves all mail into the queue.
    ///
    /// The lock is held meanwhile: posters wait, and so cannot post faster than the mail can be sorted, which would
    /// keep the looper collecting for ever.
    pub(crate) fn collect_into(&self, queue: &mut Queue<T>) {
        let mut state = self.state.lock();
        for (place, message) in state.mail.drain(..) {
            queue.insert(place, message);
        }
        state.mail.shrink_to(COMMON_MAIL);
        self.earliest.store(Moment::NEVER.as_nanos(), Ordering::Release);
    }

    /// Whether there may be mail that comes before a message of the queue that is due at `when`.
    ///
    /// Exact for whatever was posted before this call, without the lock. Mail due at the same time comes later, since
    /// it was numbered later; only what is posted at the front comes before what was posted there.
    pub(crate) fn may_precede(&self, when: Moment) -> bool {
        self.earliest.load(Ordering::Acquire) < when.max(Moment::EARLIEST).as_nanos()
    }

    /// Takes what there is to tidy up, if there is anything.
    pub(crate) fn take_chores(&self) -> Option<Chores> {
        let mut state = self.state.lock();
        if !mem::take(&mut state.chores) {
            return None;
        }
        Some(Chores { arrivals: mem::take(&mut state.arrivals), leftovers: mem::take(&mut state.leftovers) })
    }

    /// Takes what other threads have made for the looper's thread to keep.
    pub(crate) fn take_arrivals(&self) -> Vec<Arrival> {
        mem::take(&mut self.state.lock().arrivals)
    }

    /// Publishes that the looper sleeps until `until`, if nothing was left for it.
    ///
    /// `false` means that something was left: the looper stays awake and looks again.
    pub(crate) fn settle(&self, until: Moment) -> bool {
        let mut state = self.state.lock();
        let quiet = state.mail.is_empty() && !state.woken && !state.chores;
        if quiet || planted::is(Bug::SettleWithoutLooking) {
            state.asleep_until = until;
        }
        quiet || planted::is(Bug::SettleWithoutLooking)
    }

    /// Takes back what [`settle`](Inbox::settle) published, and takes the `wake()` that was noted: whether there was
    /// one.
    pub(crate) fn rise(&self) -> bool {
        let mut state = self.state.lock();
        state.asleep_until = AWAKE;
        mem::take(&mut state.woken)
    }

    /// Publishes that the looper may sleep for ever, since the eventfd could not be written: the next one tries again.
    ///
    /// If the looper has got up meanwhile, that costs somebody a needless write.
    pub(crate) fn lull(&self) {
        self.state.lock().asleep_until = Moment::NEVER;
    }
}

impl<T> State<T> {
    /// Wakes the looper if it sleeps at all.
    fn rouse(&mut self) -> Signal {
        self.rouse_for(Moment::FRONT)
    }

    /// Wakes the looper if it sleeps past `when`.
    fn rouse_for(&mut self, when: Moment) -> Signal {
        if when >= self.asleep_until {
            self.wakes.saved += 1;
            return Signal::Saved;
        }
        self.wakes.sent += 1;
        if !planted::is(Bug::SignalEveryTime) {
            self.asleep_until = AWAKE;
        }
        Signal::Needed
    }
}

/// The inbox, locked and not closed. Run nothing of the user's while it lives.
pub(crate) struct Open<'a, T> {
    state: MutexGuard<'a, State<T>>,
    earliest: &'a AtomicI64,
}

impl<T: Queued> Open<'_, T> {
    /// Leaves a message that is due at `when`.
    pub(crate) fn push(mut self, when: Moment, message: T) -> (Place, Signal) {
        let state = &mut *self.state;
        state.order += 1;
        let place = Place::new(when, state.order);
        let is_barred = !message.is_asynchronous() && state.barrier.is_some_and(|barrier| place > barrier);
        state.mail.push((place, message));
        if when.as_nanos() < self.earliest.load(Ordering::Relaxed) {
            self.earliest.store(when.as_nanos(), Ordering::Release);
        }
        // What a barrier holds up is woken for when the barrier goes.
        (place, state.rouse_for(if is_barred { Moment::NEVER } else { when }))
    }

    /// Leaves something for the looper's thread to keep.
    pub(crate) fn admit(mut self, arrival: Arrival) -> Signal {
        self.state.arrivals.push(arrival);
        self.state.chores = true;
        self.state.rouse()
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    fn push(inbox: &Inbox<char>, when: Moment) -> Signal {
        inbox.open().unwrap().push(when, 'm').1
    }

    /// An inbox whose mail the looper has taken.
    fn emptied() -> Inbox<char> {
        let inbox = Inbox::new();
        inbox.collect_into(&mut Queue::default());
        inbox
    }

    #[test]
    fn c8_c9_a_wake_is_needed_only_for_what_is_due_before_the_looper_gets_up() {
        let due = Clock::System.now();
        let (earlier, later) = (due, due.after(Duration::from_nanos(2)));
        let until = due.after(Duration::from_nanos(1));
        let inbox = emptied();
        assert!(inbox.settle(until));

        assert_eq!(push(&inbox, later), Signal::Saved);
        assert_eq!(push(&inbox, until), Signal::Saved);
        assert_eq!(push(&inbox, earlier), Signal::Needed);
        assert_eq!(push(&inbox, Moment::FRONT), Signal::Saved, "a wake is on its way");
    }

    #[test]
    fn c3_only_the_first_of_many_wakes_needs_the_eventfd() {
        let inbox = emptied();
        assert!(inbox.settle(Moment::NEVER));

        assert_eq!(inbox.wake(), Signal::Needed);
        assert!((0..1_000_000).all(|_| inbox.wake() == Signal::Saved));

        assert!(inbox.rise());
        assert!(!inbox.rise());
    }

    #[test]
    fn c1_the_looper_does_not_settle_over_something_left() {
        let inbox = emptied();
        assert_eq!(push(&inbox, Moment::NEVER), Signal::Saved);
        assert!(!inbox.settle(Moment::NEVER));
        inbox.collect_into(&mut Queue::default());
        assert_eq!(inbox.wake(), Signal::Saved);
        assert!(!inbox.settle(Moment::NEVER));
        inbox.rise();
        assert_eq!(inbox.leave_chores(), Signal::Saved);
        assert!(!inbox.settle(Moment::NEVER));
        assert!(inbox.take_chores().is_some());
        assert!(inbox.settle(Moment::NEVER));
    }

    #[test]
    fn q2_a_closed_inbox_refuses_and_the_first_close_wins() {
        let inbox = emptied();
        assert!(inbox.settle(Moment::NEVER));

        assert_eq!(inbox.close(Reason::Quit), Some(Signal::Needed));

        assert_eq!(inbox.close(Reason::Dropped), None);
        assert_eq!(inbox.open().err(), Some(Reason::Quit));
    }
}
