//! What all threads reach of a looper: the inbox, the queue, the waker and the table of fds.
//!
//! Locks are taken in this order: queue, inbox. The fd table's is taken alone. No user code runs and nothing of a
//! user's is dropped under any of them: what has to be dropped is handed out. A forked child locks none of them, and
//! does not touch the fds: whatever comes here asks first whether it may (X2, [`inherited`]). Only the fast paths of the
//! looper's thread do not: its queue is shut in a child.

mod barriers;
mod end;
mod inherited;
mod keyed;
mod registry;
mod posting;
mod slices;
mod turns;
mod waiters;

use std::{
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) use self::{
    posting::Post,
    registry::LooperId,
    waiters::{Waiters, Waiting},
};
use crate::{
    core::{
        activity::{Activity, Phase},
        inbox::{Inbox, Wakes, Wakeup},
        item::{Arrival, Body, Message, Stamp, To, When},
        refused::Refused,
    },
    error::RejectReason,
    fd::{
        notice::{Notice, Notices},
        table::FdTable,
    },
    looper::Looper,
    mem::{erased::ANYWHERE, log, slots::Key},
    queue::{
        self, Dropped, Hold, Next, Queue,
        account::{Account, Counter, MessageCounts, Tally},
        details::{Details, Posting},
        extras::Extra,
        histogram::Recorder,
        labels::Token,
        message::{Address, MessageId, Origin, PostKind, Rank},
    },
    sys::{
        epoll::Epoll,
        fork::ForkGeneration,
        sync::{Condvar, Guard, Here, Mutex, OwnerCell, ThreadNumber, current_thread},
        time::{Clock, Moment},
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
    /// A number that no other looper has.
    pub(crate) id: LooperId,
    /// The process that made it: a forked child locks nothing of it.
    process: ForkGeneration,
    /// How many messages there were, and how they have ended.
    account: Arc<Account>,
    pub(crate) inbox: Inbox<Looper>,
    queue: OwnerCell<Queue<Looper>>,
    /// How often messages were not held any more, and who waits for that.
    releases: Mutex<u64>,
    released: Condvar,
    waker: Waker,
    pub(crate) fds: FdTable<Looper>,
    /// What the looper has noticed itself.
    pub(crate) notices: Arc<Notices>,
    /// What the looper's thread does.
    pub(crate) activity: Activity,
    /// Who waits for calls.
    pub(crate) calls: Waiters,
    pub(crate) end: end::End,
    /// Who waits for room in bounded handlers.
    pub(crate) senders: Waiters,
    /// Who waits for tasks.
    #[cfg(feature = "async")]
    pub(crate) joins: Waiters,
    /// What is due by a clock that can leap.
    #[cfg(feature = "wall-clock")]
    pub(crate) wall_clock_timers: crate::core::wall_clock_timers::WallClockTimers,
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
    pub(crate) run_times: Recorder,
    pub(crate) lateness: Recorder,
    pub(crate) queue_high_water: Counter,
}

impl Shared {
    #[allow(clippy::too_many_arguments, reason = "each is another thing that the looper has made or was told")]
    pub(crate) fn new(
        process: ForkGeneration,
        name: Option<Box<str>>,
        clock: Clock,
        owner: ThreadNumber,
        barrier_alarm: Duration,
        waker: Waker,
        set: &Arc<Epoll>,
    ) -> Arc<Shared> {
        let notices = Arc::new(Notices::new());
        let account = Arc::new(Account::default());
        let label = name.as_ref().map_or_else(|| "a looper".into(), |name| format!("looper {name:?}").into());
        let shared = Arc::new(Shared {
            name,
            label,
            clock,
            id: LooperId::next(),
            process,
            inbox: Inbox::new(&account),
            queue: OwnerCell::new(owner, Queue::new(&account)),
            account,
            releases: Mutex::new(0),
            released: Condvar::new(),
            waker,
            fds: FdTable::new(set, &notices),
            notices,
            activity: Activity::new(owner),
            calls: Waiters::new(),
            end: end::End::default(),
            senders: Waiters::new(),
            #[cfg(feature = "async")]
            joins: Waiters::new(),
            #[cfg(feature = "wall-clock")]
            wall_clock_timers: Default::default(),
            barrier_alarm,
            ids: AtomicU64::new(0),
            counters: Counters::default(),
        });
        shared.id.list(&shared);
        shared
    }

    /// Whether the calling thread is the looper's. A forked child has no such thread.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.owner().is_here() && !self.is_inherited()
    }

    pub(crate) fn is_polling(&self) -> bool {
        self.activity.phase() == Phase::Waiting && !self.is_inherited()
    }

    /// Notes that there are `count` messages, if that is more than ever before.
    #[inline]
    pub(crate) fn note_high_water(&self, count: u64) {
        let before = self.counters.queue_high_water.get();
        if count > before {
            self.counters.queue_high_water.add(count - before);
        }
    }

    /// The thread that the looper is bound to.
    #[inline(always)]
    pub(crate) fn owner(&self) -> ThreadNumber {
        self.queue.owner()
    }

    /// How many messages were taken out to be run.
    pub(crate) fn begun(&self) -> u64 {
        self.account.begun.get()
    }

    /// A number that no other call gives.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether somebody watches, and wants to know when messages were posted.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.inbox.is_watched()
    }

    pub(crate) fn set_watched(&self, watched: bool) {
        self.inbox.set_watched(watched);
    }

    /// Leaves what `arrival` makes of `value` for the looper's thread to keep; gives it back if the inbox is closed.
    pub(crate) fn admit<T>(&self, value: T, arrival: impl FnOnce(T) -> Arrival) -> Result<(), Refused<T>> {
        if self.is_inherited() {
            return Err(Refused { value, reason: RejectReason::Forked });
        }
        let signal = match self.inbox.open() {
            Ok(inbox) => inbox.admit(arrival(value)),
            Err(reason) => return Err(Refused { value, reason }),
        };
        self.signal_if(signal);
        Ok(())
    }

    /// Takes a message out of the queue; the caller drops it, where it may be dropped.
    ///
    /// A closure that has to be dropped on the looper's thread stays in the queue, apart from what is pending, until
    /// that thread drops it: in the caller's hands it could outlive the looper.
    pub(crate) fn cancel(&self, id: MessageId) -> Option<queue::Taken<Looper>> {
        let mut queue = self.queue(self.ours()?);
        let mut taken = queue.cancel(id)?;
        // A message may be dropped by whoever finds it by its handler.
        if taken.is_handlers || taken.body.is_here() {
            drop(queue);
            self.tell_end();
            return Some(taken);
        }
        queue.drop_locally(mem::take(&mut taken.body));
        let signal = self.inbox.request_cleanup();
        drop(queue);
        self.signal_if(signal);
        Some(taken)
    }

    /// Holds a message for the calling thread to look at: gives it if it is pending, and was not held by this thread.
    ///
    /// Waits while another thread holds it, if it may; otherwise it gives none.
    pub(crate) fn hold(&self, id: MessageId, may_wait: bool) -> Option<Body> {
        let ours = self.ours()?;
        let thread = current_thread().id();
        loop {
            let seen = *self.releases.lock();
            let mut queue = self.lock_queue(ours);
            match queue.hold(id, thread) {
                Hold::Held => return queue.body(id).map(mem::take),
                Hold::Gone | Hold::Mine => return None,
                Hold::Busy if !may_wait => return None,
                Hold::Busy => {}
            }
            drop(queue);
            let mut releases = self.releases.lock();
            while *releases == seen {
                releases = self.released.wait(releases);
            }
        }
    }

    /// Holds a message no longer, and takes it out if it is to be removed; `body` goes back if it stays. Gives
    /// whether it was pending until this was done, what was taken out, and the body if it did not go back.
    pub(crate) fn release(
        &self,
        id: MessageId,
        remove: bool,
        body: Body,
    ) -> (bool, Option<queue::Taken<Looper>>, Option<Body>) {
        let Some(ours) = self.ours() else {
            return (false, None, Some(body));
        };
        let mut queue = self.lock_queue(ours);
        let is_pending = queue.contains(id);
        let removed = if remove { queue.cancel(id) } else { None };
        let left = match queue.body(id) {
            Some(place) => {
                *place = body;
                None
            }
            None => Some(body),
        };
        let is_awaited = queue.release(id);
        let signal = if is_awaited { self.inbox.request_cleanup() } else { Wakeup::Saved };
        drop(queue);
        *self.releases.lock() += 1;
        self.released.notify_all();
        self.signal_if(signal);
        self.tell_end();
        (is_pending, removed, left)
    }

    /// Takes over what others have left in the inbox, as it lies.
    #[inline]
    fn collect(&self, queue: &mut Queue<Looper>) {
        if self.inbox.has_messages() {
            self.collect_now(queue);
        }
    }

    #[cold]
    fn collect_now(&self, queue: &mut Queue<Looper>) {
        self.inbox.take_messages(|batches, latest, last| queue.append(batches, latest, last));
    }

    pub(crate) fn is_pending(&self, id: MessageId) -> bool {
        self.with_queue(|queue| queue.contains(id))
    }

    /// How often the eventfd had to be written, and how often not.
    pub(crate) fn wakes(&self) -> Wakes {
        if self.is_inherited() {
            return Wakes::default();
        }
        self.inbox.wakes(self.account.own.get() + self.account.visiting.get())
    }

    /// The number of the looper's thread if this is that one, which then alone may drop what it posts; else that of any.
    #[inline]
    pub(crate) fn dropping_thread(&self) -> u32 {
        self.owner().here().map_or(ANYWHERE, |here| here.number().get())
    }

    /// How many messages of a handler are pending: exact, and without a lock but where others change that all the time.
    pub(crate) fn pending_of(&self, tally: &Tally) -> usize {
        let Some(ours) = self.ours() else {
            return 0;
        };
        tally.try_pending().unwrap_or_else(|| {
            let _queue = self.lock_queue(ours);
            tally.pending()
        })
    }

    /// How many messages are pending: exact, and without a lock but where others change that all the time.
    pub(crate) fn len(&self) -> usize {
        self.message_counts().pending()
    }

    pub(crate) fn message_counts(&self) -> MessageCounts {
        let Some(ours) = self.ours() else {
            return MessageCounts::default();
        };
        self.account.try_report().unwrap_or_else(|| {
            let _queue = self.lock_queue(ours);
            self.account.report()
        })
    }

    /// Takes what a quit has given up.
    pub(crate) fn take_dropped(&self) -> Dropped<Looper> {
        self.ours().map_or_else(Dropped::default, |ours| self.lock_queue(ours).take_dropped())
    }

    /// Makes the next poll return at once, or the present one.
    pub(crate) fn wake(&self) -> io::Result<()> {
        self.check_process()?;
        self.send(self.inbox.wake())
    }

    /// Makes the looper's epoll set readable, if that is needed. When that fails, the looper still counts as asleep.
    fn send(&self, signal: Wakeup) -> io::Result<()> {
        match signal {
            Wakeup::Needed if self.is_inherited() => Ok(()),
            Wakeup::Needed => self.waker.signal().inspect_err(|_| self.inbox.sleep_on()),
            Wakeup::Saved => Ok(()),
        }
    }

    /// Signals the looper, if that is needed, for something that has been left and that it will find in any case.
    #[inline]
    pub(crate) fn signal_if(&self, signal: Wakeup) {
        if signal == Wakeup::Needed {
            self.signal_it(signal);
        }
    }

    #[cold]
    fn signal_it(&self, signal: Wakeup) {
        if let Err(error) = self.send(signal) {
            log::error!("{} could not be woken and sleeps on: {error}", self.label);
        }
    }

    /// Makes the looper's epoll set readable, whether or not the looper sleeps.
    pub(crate) fn signal(&self) {
        if !self.is_inherited()
            && let Err(error) = self.waker.signal()
        {
            log::error!("{} could not tell its host to poll it: {error}", self.label);
        }
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    #[inline]
    pub(crate) fn is_quitting(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Quits, unless the looper has quit before.
    pub(crate) fn quit(&self, how: Quit) {
        let Some(ours) = self.ours() else {
            return;
        };
        self.fds.close(RejectReason::Quit);
        let mut queue = self.lock_queue(ours);
        let Some(signal) = self.inbox.close(RejectReason::Quit) else {
            return;
        };
        match how {
            Quit::Now => {
                self.collect(&mut queue);
                queue.give_up_all();
            }
            Quit::Safely => {
                // What is plain is due, wherever it is.
                self.collect(&mut queue);
                queue.give_up_later_than(self.clock.now());
            }
        }
        drop(queue);
        self.senders.end();
        if how == Quit::Now {
            // Those who wait for calls need not wait for the looper's thread.
            self.calls.end();
            #[cfg(feature = "async")]
            self.joins.end();
        }
        self.signal_if(signal);
    }

    /// Gives up everything and refuses all from now on, because the looper is dropped.
    pub(crate) fn shut(&self) {
        self.id.strike();
        self.fds.shut();
        let mut queue = self.queue.lock();
        self.inbox.shut();
        self.collect(&mut queue);
        queue.give_up_all();
        drop(queue);
        self.senders.end();
        #[cfg(feature = "async")]
        self.joins.end();
    }
}
