//! What all threads reach of a looper: the inbox, the queue, the waker and the table of fds.
//!
//! Locks are taken in this order: queue, inbox. The fd table's is taken alone. No user code runs and nothing of a
//! user's is dropped under any of them: what has to be dropped is handed out.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    clock::{Clock, Moment},
    error::{Reason, Rejected},
    fd::table::FdTable,
    inbox::{Inbox, Signal},
    message::Message,
    planted::{self, Bug},
    queue::{Place, Queue},
    report::ExitReport,
    sys::{
        epoll::Epoll,
        sync::{Mutex, ThreadId, current_thread},
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
    pub(crate) inbox: Inbox<Message>,
    queue: Mutex<Queue<Message>>,
    waker: Waker,
    pub(crate) fds: FdTable,
    /// Whether the looper's thread waits in epoll. Written by that thread alone; orders nothing.
    polling: AtomicBool,
}

impl Shared {
    pub(crate) fn new(name: Option<Box<str>>, clock: Clock, waker: Waker, set: Arc<Epoll>) -> Shared {
        let label = name.as_ref().map_or_else(|| "a looper".into(), |name| format!("looper {name:?}").into());
        Shared {
            name,
            label,
            clock,
            owner: current_thread().id(),
            inbox: Inbox::new(),
            queue: Mutex::new(Queue::default()),
            waker,
            fds: FdTable::new(set),
            polling: AtomicBool::new(false),
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

    /// Posts what `message` makes of `value`, which is given back if the inbox is closed.
    pub(crate) fn post<T>(
        &self,
        when: Moment,
        value: T,
        message: impl FnOnce(T) -> Message,
    ) -> Result<Place, Rejected<T>> {
        let (place, signal) = self.leave(when, value, message)?;
        self.signal_if(signal);
        Ok(place)
    }

    /// As [`post`](Shared::post), but leaves the signal to the caller.
    pub(crate) fn leave<T>(
        &self,
        when: Moment,
        value: T,
        message: impl FnOnce(T) -> Message,
    ) -> Result<(Place, Signal), Rejected<T>> {
        if planted::is(Bug::SignalBeforePush) {
            self.signal_if(self.inbox.leave_chores());
        }
        let inbox = match self.inbox.open() {
            Ok(inbox) => inbox,
            Err(reason) => return Err(Rejected { value, reason }),
        };
        let (place, signal) = inbox.push(when, message(value));
        Ok((place, if planted::is(Bug::SignalBeforePush) { Signal::Saved } else { signal }))
    }

    /// Runs `look` on the queue as it is now, mail included.
    fn with_queue<R>(&self, look: impl FnOnce(&mut Queue<Message>) -> R) -> R {
        let mut queue = self.queue.lock();
        self.inbox.collect_into(&mut queue);
        look(&mut queue)
    }

    /// Takes a message out of the queue; the caller drops it, where it may be dropped.
    pub(crate) fn cancel(&self, place: Place) -> Option<Message> {
        self.with_queue(|queue| queue.cancel(place))
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

    /// When the first message is due.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.with_queue(|queue| queue.next_due())
    }

    /// Publishes that the looper sleeps until `until`, unless a message is due before that or something was left.
    ///
    /// Both are looked at under one lock of the queue: in between, somebody who asks or cancels could move a new
    /// message from the inbox, where [`Inbox::settle`] looks, to the queue.
    pub(crate) fn settle(&self, until: Moment) -> bool {
        if planted::is(Bug::SettleWithoutTheQueue) {
            return self.inbox.settle(until);
        }
        self.with_queue(|queue| queue.next_due().is_none_or(|due| due >= until) && self.inbox.settle(until))
    }

    /// Takes the first message if it is due at `now`; otherwise tells when the first one is.
    ///
    /// The mail is collected only if some of it may come first: not for each message while others post without end.
    pub(crate) fn next_message(&self, now: Moment) -> Result<Message, Option<Moment>> {
        let mut queue = self.queue.lock();
        if self.inbox.may_precede(queue.next_due().unwrap_or(Moment::NEVER)) {
            self.inbox.collect_into(&mut queue);
        }
        queue.pop_due(now).ok_or_else(|| queue.next_due())
    }

    /// Takes what a quit has given up.
    pub(crate) fn take_dropped(&self) -> impl Iterator<Item = Message> + use<> {
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
        drop(queue);
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
