//! What all threads reach of a looper: the inbox, the queue, the waker and the table of fds.
//!
//! Locks are taken in this order: queue, inbox. The fd table's is taken alone. No user code runs and nothing of a
//! user's is dropped under any of them: what has to be dropped is handed out.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    clock::{Clock, Moment},
    error::{Reason, Rejected},
    fd::table::FdTable,
    inbox::{Inbox, Signal},
    index::Filter,
    item::{Arrival, Body, Item, Origin, Sent, Stamp},
    place::Place,
    planted::{self, Bug},
    queue::{Hold, Queue, Taken},
    report::ExitReport,
    slots::Key,
    sys::{
        epoll::Epoll,
        sync::{Condvar, Mutex, ThreadId, current_thread},
        waker::Waker,
    },
};

/// How to quit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quit {
    /// Give up everything that is pending.
    Now,
    /// Run what is due at this moment, give up the rest.
    Safely,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: Option<Box<str>>,
    /// What log messages call the looper.
    pub(crate) label: Box<str>,
    pub(crate) clock: Clock,
    /// The thread that the looper is bound to.
    owner: ThreadId,
    pub(crate) inbox: Inbox<Item>,
    queue: Mutex<Queue<Item>>,
    /// A message is not held any more.
    released: Condvar,
    waker: Waker,
    pub(crate) fds: FdTable,
    /// Whether the looper's thread waits in epoll. Written by that thread alone; orders nothing.
    polling: AtomicBool,
    /// Whether somebody watches, and wants to know when messages were posted. Orders nothing.
    watched: AtomicBool,
    /// After which time a barrier is reported; zero for never.
    barrier_alarm: Duration,
    /// The next number of something that has to have one.
    ids: AtomicU64,
    pub(crate) counters: Counters,
}

/// What is counted on the looper's thread alone, for all to read.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) turns: Counter,
    pub(crate) waits: Counter,
    pub(crate) fd_callbacks: Counter,
    pub(crate) spurious_wakes: Counter,
}

/// A count that one thread keeps.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Counts `more`. To be called on the looper's thread, so that no read-modify-write is needed.
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Shared {
    pub(crate) fn new(
        name: Option<Box<str>>,
        clock: Clock,
        barrier_alarm: Duration,
        waker: Waker,
        set: Arc<Epoll>,
    ) -> Shared {
        let label = name.as_ref().map_or_else(|| "a looper".into(), |name| format!("looper {name:?}").into());
        Shared {
            name,
            label,
            clock,
            owner: current_thread().id(),
            inbox: Inbox::new(),
            queue: Mutex::new(Queue::default()),
            released: Condvar::new(),
            waker,
            fds: FdTable::new(set),
            polling: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            barrier_alarm,
            ids: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }

    /// Whether the calling thread is the looper's.
    pub(crate) fn is_current(&self) -> bool {
        current_thread().id() == self.owner
    }

    pub(crate) fn is_polling(&self) -> bool {
        self.polling.load(Ordering::Relaxed)
    }

    pub(crate) fn set_polling(&self, polling: bool) {
        self.polling.store(polling, Ordering::Relaxed);
    }

    /// A number that no other call gives.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether somebody watches, and wants to know when messages were posted.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    pub(crate) fn set_watched(&self, watched: bool) {
        self.watched.store(watched, Ordering::Relaxed);
    }

    /// Posts what `body` makes of `value`, which is given back if the inbox is closed.
    pub(crate) fn post<T>(&self, stamp: Stamp, value: T, body: impl FnOnce(T) -> Body) -> Result<Place, Rejected<T>> {
        let (place, signal) = self.leave(stamp, value, body)?;
        self.signal_if(signal);
        Ok(place)
    }

    /// As [`post`](Shared::post), but leaves the signal to the caller.
    pub(crate) fn leave<T>(
        &self,
        stamp: Stamp,
        value: T,
        body: impl FnOnce(T) -> Body,
    ) -> Result<(Place, Signal), Rejected<T>> {
        let posted = self.is_watched().then(|| Box::new(self.clock.now()));
        if planted::is(Bug::SignalBeforePush) {
            self.signal_if(self.inbox.leave_chores());
        }
        let inbox = match self.inbox.open() {
            Ok(inbox) => inbox,
            Err(reason) => return Err(Rejected { value, reason }),
        };
        let Stamp { when, asynchronous, origin } = stamp;
        let (place, signal) = inbox.push(when, Item { body: body(value), asynchronous, origin, posted });
        Ok((place, if planted::is(Bug::SignalBeforePush) { Signal::Saved } else { signal }))
    }

    /// Leaves what `arrival` makes of `value` for the looper's thread to keep; gives it back if the inbox is closed.
    pub(crate) fn admit<T>(&self, value: T, arrival: impl FnOnce(T) -> Arrival) -> Result<(), Rejected<T>> {
        let signal = match self.inbox.open() {
            Ok(inbox) => inbox.admit(arrival(value)),
            Err(reason) => return Err(Rejected { value, reason }),
        };
        self.signal_if(signal);
        Ok(())
    }

    /// Runs `look` on the queue as it is now, mail included.
    pub(crate) fn with_queue<R>(&self, look: impl FnOnce(&mut Queue<Item>) -> R) -> R {
        let mut queue = self.queue.lock();
        self.inbox.collect_into(&mut queue);
        look(&mut queue)
    }

    /// Takes a message out of the queue; the caller drops it, where it may be dropped.
    pub(crate) fn cancel(&self, place: Place) -> Option<Taken<Item>> {
        self.with_queue(|queue| queue.cancel(place))
    }

    /// Takes those of a handler's messages out of the queue that `filter` names.
    pub(crate) fn cancel_all(&self, target: Key, filter: Filter) -> Vec<Taken<Item>> {
        self.with_queue(|queue| queue.cancel_all(target, filter))
    }

    /// How many of a handler's messages are pending.
    pub(crate) fn count(&self, target: Key, filter: Filter) -> usize {
        self.with_queue(|queue| queue.index().count(target, filter))
    }

    /// Where a handler's messages stand, in their order.
    pub(crate) fn places_of(&self, target: Key) -> Vec<Place> {
        self.with_queue(|queue| queue.index().select(target, Filter::All))
    }

    /// Holds a message for the calling thread to look at: gives it if it is pending, and was not held by this thread.
    ///
    /// Waits while another thread holds it, if it may; otherwise it gives none.
    pub(crate) fn hold(&self, place: Place, may_wait: bool) -> Option<Sent> {
        let thread = current_thread().id();
        let mut queue = self.queue.lock();
        loop {
            match queue.hold(place, thread) {
                Hold::Held => return queue.get(place).and_then(Item::sent),
                Hold::Gone | Hold::Mine => return None,
                Hold::Busy if !may_wait || planted::is(Bug::PassHeld) => return None,
                Hold::Busy => queue = self.released.wait(queue),
            }
        }
    }

    /// Holds a message no longer, and takes it out if it is to be removed. Whether it is pending until this is done.
    pub(crate) fn release(&self, place: Place, remove: bool) -> (bool, Option<Taken<Item>>) {
        let mut queue = self.queue.lock();
        let is_pending = queue.contains(place);
        let removed = if remove { queue.cancel(place) } else { None };
        let is_awaited = queue.release(place) && !planted::is(Bug::ReleaseSilently);
        let signal = if is_awaited { self.inbox.leave_chores() } else { Signal::Saved };
        drop(queue);
        self.released.notify_all();
        self.signal_if(signal);
        (is_pending, removed)
    }

    pub(crate) fn is_pending(&self, place: Place) -> bool {
        self.with_queue(|queue| queue.contains(place))
    }

    pub(crate) fn len(&self) -> usize {
        self.with_queue(|queue| queue.len())
    }

    pub(crate) fn exit_report(&self) -> ExitReport {
        self.with_queue(|queue| queue.account())
    }

    /// Counts a message that was taken out to be run as cancelled.
    pub(crate) fn count_as_cancelled(&self) {
        self.with_queue(Queue::count_as_cancelled);
    }

    /// When the first message that may run is due.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.with_queue(Queue::next_due)
    }

    /// When the first message that may run is due, and when a barrier will have stood for too long.
    pub(crate) fn next_stops(&self) -> (Option<Moment>, Option<Moment>) {
        self.with_queue(|queue| (queue.next_due(), self.next_alarm(queue)))
    }

    /// As [`is_idle`](Shared::is_idle), for idle handlers that have still to run: if it is a barrier that keeps them
    /// from it, the looper is woken when the last one goes.
    pub(crate) fn await_idle(&self) -> bool {
        let now = self.clock.now();
        self.with_queue(|queue| queue.await_idle(now))
    }

    /// Whether no message is due and no barrier stands.
    pub(crate) fn is_idle(&self) -> bool {
        let now = self.clock.now();
        self.with_queue(|queue| queue.is_idle(now))
    }

    /// Puts up a barrier.
    pub(crate) fn add_barrier(&self, origin: Origin) -> Result<Place, Reason> {
        let now = self.clock.now();
        self.with_queue(|queue| {
            let place = self.inbox.number_barrier(now)?;
            queue.add_barrier(place, origin);
            self.inbox.set_barrier(queue.first_barrier());
            // A looper that is asleep has to get up for the alarm.
            let alarm = self.next_alarm(queue);
            Ok((place, alarm.map_or(Signal::Saved, |alarm| self.inbox.rouse_for(alarm))))
        })
        .map(|(place, signal)| {
            self.signal_if(signal);
            place
        })
    }

    fn next_alarm(&self, queue: &Queue<Item>) -> Option<Moment> {
        if self.barrier_alarm.is_zero() { None } else { queue.next_alarm(self.barrier_alarm) }
    }

    /// Takes a barrier away, and wakes the looper for what it has held up.
    pub(crate) fn remove_barrier(&self, place: Place) {
        if planted::is(Bug::RouseBeforeRelease) {
            self.signal_if(self.inbox.rouse_for(Moment::FRONT));
        }
        let mut queue = self.queue.lock();
        if !queue.remove_barrier(place) {
            return;
        }
        if planted::is(Bug::CollectBeforeRelease) {
            self.inbox.collect_into(&mut queue);
        }
        self.inbox.set_barrier(queue.first_barrier());
        // Only now: who posted before that has left the wake to this.
        if !planted::is(Bug::CollectBeforeRelease) {
            self.inbox.collect_into(&mut queue);
        }
        let due = queue.next_due().filter(|_| !planted::is(Bug::RouseBeforeRelease));
        let signal = match due {
            // Also one that is about to sleep has to look again.
            _ if queue.ends_await() => self.inbox.leave_chores(),
            Some(due) => self.inbox.rouse_for(due),
            None => Signal::Saved,
        };
        drop(queue);
        self.signal_if(signal);
    }

    /// Logs the barriers that have stood for too long, each once.
    pub(crate) fn report_barriers(&self) {
        let now = self.clock.now();
        let overdue = self.with_queue(|queue| queue.report_barriers(now, self.barrier_alarm));
        for origin in overdue {
            log::warn!(
                "a barrier has held up {} for {:?} and longer: it was put up at {}; drop it to let messages run",
                self.label,
                self.barrier_alarm,
                origin
            );
        }
    }

    /// Publishes that the looper sleeps until `until`, unless a message is due before that, a barrier is to be
    /// reported, or something was left.
    ///
    /// Both are looked at under one lock of the queue: in between, somebody who asks or cancels could move a new
    /// message from the inbox, where [`Inbox::settle`] looks, to the queue.
    pub(crate) fn settle(&self, until: Moment) -> bool {
        if planted::is(Bug::SettleWithoutTheQueue) {
            return self.inbox.settle(until);
        }
        self.with_queue(|queue| {
            let is_early = |stop: Moment| stop < until;
            let has_stop = queue.next_due().is_some_and(is_early) || self.next_alarm(queue).is_some_and(is_early);
            !has_stop && self.inbox.settle(until)
        })
    }

    /// Takes the first message if it is due at `now`; otherwise tells when the first one is.
    ///
    /// The mail is collected only if some of it may come first: not for each message while others post without end.
    pub(crate) fn next_message(&self, now: Moment) -> Result<Taken<Item>, Option<Moment>> {
        let mut queue = self.queue.lock();
        if self.inbox.may_precede(queue.next_due().unwrap_or(Moment::NEVER)) {
            self.inbox.collect_into(&mut queue);
        }
        queue.pop_due(now).ok_or_else(|| queue.next_due())
    }

    /// Takes what a quit has given up.
    pub(crate) fn take_dropped(&self) -> impl Iterator<Item = Item> + use<> {
        self.queue.lock().take_dropped()
    }

    /// Makes the next poll return at once, or the present one.
    pub(crate) fn wake(&self) -> io::Result<()> {
        self.send(self.inbox.wake())
    }

    /// Makes the looper's epoll set readable, if that is needed. When that fails, the looper still counts as asleep.
    fn send(&self, signal: Signal) -> io::Result<()> {
        match signal {
            Signal::Needed => self.waker.signal().inspect_err(|_| self.inbox.lull()),
            Signal::Saved => Ok(()),
        }
    }

    /// Signals the looper, if that is needed, for something that has been left and that it will find in any case.
    pub(crate) fn signal_if(&self, signal: Signal) {
        if let Err(error) = self.send(signal) {
            log::error!("{} could not be woken and sleeps on: {error}", self.label);
        }
    }

    /// Makes the looper's epoll set readable, whether or not the looper sleeps.
    pub(crate) fn signal(&self) {
        if let Err(error) = self.waker.signal() {
            log::error!("{} could not tell its host to poll it: {error}", self.label);
        }
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    pub(crate) fn is_quitting(&self) -> bool {
        self.inbox.closed().is_some()
    }

    /// Quits, unless the looper has quit before.
    pub(crate) fn quit(&self, how: Quit) {
        self.fds.close(Reason::Quit);
        let mut queue = self.queue.lock();
        let Some(signal) = self.inbox.close(Reason::Quit) else {
            return;
        };
        self.inbox.collect_into(&mut queue);
        match how {
            Quit::Now => queue.give_up_all(),
            Quit::Safely => queue.give_up_later_than(self.clock.now()),
        }
        // Those who wait for calls need not wait for the looper: all that is dropped of these here is our own.
        let calls = queue.take_dropped_if(|item| matches!(item.body, Body::Call(_)));
        drop(queue);
        drop(calls);
        self.signal_if(signal);
    }

    /// Gives up everything and refuses all from now on, because the looper is dropped.
    pub(crate) fn shut(&self) {
        self.fds.shut();
        let mut queue = self.queue.lock();
        self.inbox.shut();
        self.inbox.collect_into(&mut queue);
        queue.give_up_all();
    }
}
