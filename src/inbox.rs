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
//! queue, the looper looks at the queue and settles under one lock of the queue: see `Shared::settle`. `src/models.rs`
//! checks all this in all interleavings.

use std::sync::atomic::Ordering;

use crate::{
    clock::Moment,
    error::Reason,
    planted::{self, Bug},
    queue::{Place, Queue},
    slots::Key,
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
    /// Keys of local closures that were cancelled by other threads and wait to be dropped at home.
    cancelled: Vec<Key>,
    /// The posting order of the last message.
    order: i64,
    /// Until when the looper sleeps; [`AWAKE`] when it does not or when its wake is on the way.
    asleep_until: Moment,
    /// `wake()` was called and no turn has reported it.
    woken: bool,
    /// There is something to tidy up at home, which is no message and no `wake()`.
    chores: bool,
    /// Set once: why nothing is accepted any more.
    closed: Option<Reason>,
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

impl<T> Inbox<T> {
    pub(crate) fn new() -> Inbox<T> {
        let state = State {
            mail: Vec::new(),
            cancelled: Vec::new(),
            order: 0,
            asleep_until: AWAKE,
            woken: false,
            chores: false,
            closed: None,
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

    /// Leaves the key of a local closure that has to be dropped at home.
    pub(crate) fn leave_cancelled(&self, key: Key) -> Signal {
        let mut state = self.state.lock();
        state.cancelled.push(key);
        state.chores = true;
        state.rouse()
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
    /// Exact for whatever was posted before this call, without the lock. Mail due at the same time comes later, since it
    /// was numbered later; only what is posted at the front comes before what was posted there.
    pub(crate) fn may_precede(&self, when: Moment) -> bool {
        self.earliest.load(Ordering::Acquire) < when.max(Moment::EARLIEST).as_nanos()
    }

    /// Takes what there is to tidy up: whether there is anything, and the local closures among it.
    pub(crate) fn take_chores(&self) -> Option<Vec<Key>> {
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.chores) {
            return None;
        }
        Some(std::mem::take(&mut state.cancelled))
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
        std::mem::take(&mut state.woken)
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
            return Signal::Saved;
        }
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

impl<T> Open<'_, T> {
    /// Leaves a message that is due at `when`.
    pub(crate) fn push(mut self, when: Moment, message: T) -> (Place, Signal) {
        self.state.order += 1;
        let place = Place::new(when, self.state.order);
        self.state.mail.push((place, message));
        if when.as_nanos() < self.earliest.load(Ordering::Relaxed) {
            self.earliest.store(when.as_nanos(), Ordering::Release);
        }
        (place, self.state.rouse_for(when))
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
