//! Where other threads leave messages, and until when the looper sleeps: closed for good after quit.
//!
//! What is left stands behind one short mutex. Whether something was left, and whether the looper sleeps, stands in one
//! word, the *state*, so that each side sees the other's steps in one order:
//!
//! | looper | everybody else |
//! |---|---|
//! | [`prepare_sleep`](Inbox::prepare_sleep): writes until when it will sleep; then, if nothing was left, sets [`ASLEEP`] in the same step | leaves something, sets a flag for it, and sees in the same step whether the looper is asleep |
//! | waits in epoll | if so, and past what was left: takes [`ASLEEP`] back; who finds it still set writes the eventfd |
//! | [`awake`](Inbox::awake): takes [`ASLEEP`] back | |
//!
//! Either the looper finds what was left and does not sleep, or the other side finds the looper asleep and wakes it.
//! Only the first to find it asleep pays for the system call. Since those who ask and cancel also move messages into the
//! queue, the looper looks at the queue and settles under one lock of the queue: see `Shared::prepare_sleep`. `tests/unit/models/`
//! checks all this in all interleavings.

mod forget;
#[cfg(all(test, not(alooper_loom)))]
mod tests;

use std::{
    mem,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
};

use crate::{
    core::item::{Arrival, PendingDrop},
    error::RejectReason,
    queue::{
        account::{Account, Tally},
        batch::{Batches, Spare},
        message::{Message, Seq},
    },
    sys::{
        sync::{AtomicI64, AtomicU32, Mutex, MutexGuard},
        time::Moment,
    },
};

/// There are messages that the queue does not have yet. Set and taken back under the lock.
const MESSAGES: u32 = 1;
/// `wake()` was called and no turn has taken it.
const WOKEN: u32 = 2;
/// There is something to tidy up on its thread, which is no message and no `wake()`. Set and taken back under the lock, or
/// set for something that the queue has.
const CLEANUP: u32 = 4;
/// The looper sleeps, and its wake is not on the way. Set by the looper alone.
const ASLEEP: u32 = 8;
/// Nothing is accepted any more. Set once, under the lock.
const CLOSED: u32 = 16;
/// Somebody watches, and wants to know when messages were posted. Set by the looper alone; orders nothing.
const WATCHED: u32 = 32;

/// What was left for the looper, and whether it sleeps.
#[derive(Debug)]
pub(crate) struct Inbox<C: 'static> {
    /// The flags above.
    state: AtomicU32,
    /// Until when the looper sleeps, in nanoseconds. Written by the looper before it sets [`ASLEEP`], which releases
    /// it; who sees that flag has acquired it.
    asleep_until: AtomicI64,
    /// No timed message in the queue is due before this, in nanoseconds: a bound, which may be too low. Written with
    /// the queue locked; read by posters, who need not read the clock if nothing can have become due.
    timed_from: AtomicI64,
    /// What became of wishes to wake the looper that take no lock.
    wakes_sent: AtomicU64,
    wakes_saved: AtomicU64,
    /// How many of those that were sent were for posts straight into the queue, which are counted elsewhere.
    sent_for_posts: AtomicU64,
    /// Counts what is accepted, under the lock.
    account: Arc<Account>,
    left: Mutex<Left<C>>,
}

#[derive(Debug)]
struct Left<C: 'static> {
    /// The messages that the queue does not have yet.
    messages: Batches<C>,
    /// The latest time that one of them was given: they never go back.
    latest: Moment,
    /// What other threads have made for the looper's thread to keep.
    arrivals: Vec<Arrival>,
    /// What other threads have ended and the looper's thread has to drop.
    pending_drops: Vec<PendingDrop>,
    /// How many messages were posted through the inbox.
    posted: i64,
    /// A barrier stands: what is posted from now on is behind it, and wakes nobody.
    is_barred: bool,
    /// Set once: why nothing is accepted any more.
    closed: Option<RejectReason>,
    wakes: Wakes,
}

/// How often the eventfd had to be written for what was left, and how often not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wakes {
    pub(crate) sent: u64,
    pub(crate) saved: u64,
}

/// What there is to tidy up on its thread.
#[derive(Debug)]
pub(crate) struct Cleanup {
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) pending_drops: Vec<PendingDrop>,
}

/// Whether the eventfd has to be written, by whoever holds this, after unlocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a looper that sleeps past this has to be signalled"]
pub(crate) enum Wakeup {
    /// The looper sleeps past it.
    Needed,
    /// The looper is awake, is being woken, or sleeps no longer than that.
    Saved,
}

impl<C> Inbox<C> {
    /// Makes an empty inbox, which counts in `account` what it accepts.
    pub(crate) fn new(account: &Arc<Account>) -> Inbox<C> {
        let left = Left {
            messages: Batches::default(),
            latest: Moment::EARLIEST,
            arrivals: Vec::new(),
            pending_drops: Vec::new(),
            posted: 0,
            is_barred: false,
            closed: None,
            wakes: Wakes::default(),
        };
        Inbox {
            state: AtomicU32::new(0),
            asleep_until: AtomicI64::new(Moment::NEVER.as_nanos()),
            timed_from: AtomicI64::new(Moment::NEVER.as_nanos()),
            wakes_sent: AtomicU64::new(0),
            wakes_saved: AtomicU64::new(0),
            sent_for_posts: AtomicU64::new(0),
            account: account.clone(),
            left: Mutex::new(left),
        }
    }

    /// Locks the inbox for leaving a message, unless it is closed.
    #[inline]
    pub(crate) fn open(&self) -> Result<Open<'_, C>, RejectReason> {
        let left = self.left.lock();
        if let Some(reason) = left.closed {
            return Err(reason);
        }
        Ok(Open { left, inbox: self })
    }

    /// Notes a `wake()`.
    pub(crate) fn wake(&self) -> Wakeup {
        self.counted(self.set_flag(WOKEN, Moment::FRONT))
    }

    /// Notes that there is something to tidy up on its thread.
    pub(crate) fn request_cleanup(&self) -> Wakeup {
        self.counted(self.set_flag(CLEANUP, Moment::FRONT))
    }

    /// Leaves something that has to be dropped on the looper's thread; gives it back if the looper has gone.
    pub(crate) fn leave(&self, pending_drop: PendingDrop) -> Result<Wakeup, PendingDrop> {
        let mut left = self.left.lock();
        if left.closed == Some(RejectReason::Dropped) {
            return Err(pending_drop);
        }
        left.pending_drops.push(pending_drop);
        Ok(self.counted(self.set_flag(CLEANUP, Moment::FRONT)))
    }

    /// Wakes the looper if it sleeps past `when`, for something that it finds when it looks.
    pub(crate) fn wake_for(&self, when: Moment) -> Wakeup {
        self.counted(self.wake_if_asleep_past(when))
    }

    /// As [`wake_for`](Inbox::wake_for), for a post straight into the queue.
    pub(crate) fn wake_for_post(&self, when: Moment) -> Wakeup {
        let signal = self.wake_if_asleep_past(when);
        if signal == Wakeup::Needed {
            self.wakes_sent.fetch_add(1, Relaxed);
            self.sent_for_posts.fetch_add(1, Relaxed);
        }
        signal
    }

    /// Sets `flag` for something that is due at `when`, and wakes the looper if it sleeps past that.
    fn set_flag(&self, flag: u32, when: Moment) -> Wakeup {
        let before = self.state.fetch_or(flag, AcqRel);
        if before & ASLEEP == 0 { Wakeup::Saved } else { self.wake_if_asleep_past(when) }
    }

    fn wake_if_asleep_past(&self, when: Moment) -> Wakeup {
        let is_asleep = self.state.load(Acquire) & ASLEEP != 0;
        if !is_asleep || when.as_nanos() >= self.asleep_until.load(Relaxed) {
            return Wakeup::Saved;
        }
        // Of several who come here, one finds it set.
        let before = self.state.fetch_and(!ASLEEP, AcqRel);
        if before & ASLEEP == 0 { Wakeup::Saved } else { Wakeup::Needed }
    }

    /// Counts what became of a wish to wake the looper.
    fn counted(&self, signal: Wakeup) -> Wakeup {
        let count = if signal == Wakeup::Needed { &self.wakes_sent } else { &self.wakes_saved };
        count.fetch_add(1, Relaxed);
        signal
    }

    /// Notes whether a barrier stands from now on. The queue is locked by the caller, who changes its barriers.
    pub(crate) fn set_barred(&self, is_barred: bool) {
        self.left.lock().is_barred = is_barred;
    }

    /// Notes that no timed message in the queue is due before `when`. The queue is locked by the caller.
    #[inline]
    pub(crate) fn set_timed_from(&self, when: Moment) {
        if self.timed_from.load(Relaxed) != when.as_nanos() {
            self.timed_from.store(when.as_nanos(), Release);
        }
    }

    /// Notes a timed message in the queue. The queue is locked by the caller.
    #[inline]
    pub(crate) fn note_timed(&self, when: Moment) {
        if when.as_nanos() < self.timed_from.load(Relaxed) {
            self.timed_from.store(when.as_nanos(), Release);
        }
    }

    /// How often the eventfd had to be written, and how often not, with `posts` that went straight into the queue.
    pub(crate) fn wakes(&self, posts: u64) -> Wakes {
        let Wakes { sent, saved } = self.left.lock().wakes;
        let saved_for_posts = posts.saturating_sub(self.sent_for_posts.load(Relaxed));
        Wakes {
            sent: sent + self.wakes_sent.load(Relaxed),
            saved: saved + self.wakes_saved.load(Relaxed) + saved_for_posts,
        }
    }

    /// Refuses messages from now on. `None` if the inbox was closed before.
    pub(crate) fn close(&self, reason: RejectReason) -> Option<Wakeup> {
        let mut left = self.left.lock();
        if left.closed.is_some() {
            return None;
        }
        left.closed = Some(reason);
        Some(self.counted(self.set_flag(CLOSED | CLEANUP, Moment::FRONT)))
    }

    /// Refuses messages for good, because the looper is dropped.
    pub(crate) fn shut(&self) {
        self.left.lock().closed = Some(RejectReason::Dropped);
        self.state.fetch_or(CLOSED, AcqRel);
    }

    /// Why the inbox is closed, if it is.
    pub(crate) fn closed(&self) -> Option<RejectReason> {
        if self.is_closed() { self.left.lock().closed } else { None }
    }

    /// Whether no message was left, nothing is refused, nobody sleeps, and nobody watches.
    #[inline]
    pub(crate) fn allows_fast_post(&self) -> bool {
        self.state.load(Acquire) & (MESSAGES | CLOSED | ASLEEP | WATCHED) == 0
    }

    /// Likewise, and somebody watches.
    #[inline]
    pub(crate) fn allows_fast_watched_post(&self) -> bool {
        self.state.load(Acquire) & (MESSAGES | CLOSED | ASLEEP | WATCHED) == WATCHED
    }

    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.state.load(Relaxed) & WATCHED != 0
    }

    pub(crate) fn set_watched(&self, watched: bool) {
        if watched {
            self.state.fetch_or(WATCHED, Relaxed);
        } else {
            self.state.fetch_and(!WATCHED, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Acquire) & CLOSED != 0
    }

    /// Whether there are messages that the queue does not have yet: exact for what was posted before this call.
    #[inline]
    pub(crate) fn has_messages(&self) -> bool {
        self.state.load(Acquire) & MESSAGES != 0
    }

    /// Whether anything was left for the looper.
    pub(crate) fn has_something(&self) -> bool {
        self.state.load(Acquire) & (MESSAGES | WOKEN | CLEANUP) != 0
    }

    /// Whether the looper sleeps, in a poll or between the polls of its host, so that posts may have to wake it.
    #[inline]
    pub(crate) fn is_asleep(&self) -> bool {
        self.state.load(Acquire) & ASLEEP != 0
    }

    /// Hands out all messages as they lie, with the latest of their times and the posting order of the last one: all that
    /// was posted before this call.
    pub(crate) fn take_messages(&self, take: impl FnOnce(&mut Batches<C>, Moment, Seq)) {
        let mut left = self.left.lock();
        let Left { messages, latest, posted, .. } = &mut *left;
        take(messages, *latest, Seq::remote(*posted));
        self.state.fetch_and(!MESSAGES, AcqRel);
    }

    /// Takes out the empty batches but for `kept` of them.
    pub(crate) fn take_spare(&self, kept: usize) -> Spare<C> {
        self.left.lock().messages.take_spare(kept)
    }

    /// Takes what there is to tidy up, if there is anything.
    #[inline]
    pub(crate) fn take_cleanup(&self) -> Option<Cleanup> {
        if self.state.load(Acquire) & CLEANUP == 0 { None } else { Some(self.take_all_cleanup()) }
    }

    #[cold]
    fn take_all_cleanup(&self) -> Cleanup {
        let mut left = self.left.lock();
        self.state.fetch_and(!CLEANUP, AcqRel);
        Cleanup { arrivals: mem::take(&mut left.arrivals), pending_drops: mem::take(&mut left.pending_drops) }
    }

    /// Takes what other threads have left, and lets it count as something to tidy up all the same.
    pub(crate) fn take_left(&self) -> Cleanup {
        let mut left = self.left.lock();
        Cleanup { arrivals: mem::take(&mut left.arrivals), pending_drops: mem::take(&mut left.pending_drops) }
    }

    /// Takes what other threads have made for the looper's thread to keep.
    pub(crate) fn take_arrivals(&self) -> Vec<Arrival> {
        mem::take(&mut self.left.lock().arrivals)
    }

    /// Publishes that the looper sleeps until `until`, if nothing was left for it.
    ///
    /// `false` means that something was left: the looper stays awake and looks again.
    pub(crate) fn prepare_sleep(&self, until: Moment) -> bool {
        self.asleep_until.store(until.as_nanos(), Relaxed);
        let mut state = self.state.load(Relaxed);
        while state & (MESSAGES | WOKEN | CLEANUP) == 0 {
            match self.state.compare_exchange_weak(state, state | ASLEEP, AcqRel, Relaxed) {
                Ok(_) => return true,
                Err(changed) => state = changed,
            }
        }
        false
    }

    /// Takes back what [`prepare_sleep`](Inbox::prepare_sleep) published, and takes the `wake()` that was noted: whether there was
    /// one.
    #[inline]
    pub(crate) fn awake(&self) -> bool {
        if self.state.load(Acquire) & (ASLEEP | WOKEN) == 0 {
            return false;
        }
        self.state.fetch_and(!(ASLEEP | WOKEN), AcqRel) & WOKEN != 0
    }

    /// Sets [`ASLEEP`] again, without a deadline, after the eventfd could not be written: so the next post tries again.
    ///
    /// If the looper has got up meanwhile, that costs somebody a needless write.
    pub(crate) fn sleep_on(&self) {
        self.asleep_until.store(Moment::NEVER.as_nanos(), Relaxed);
        self.state.fetch_or(ASLEEP, AcqRel);
    }
}

impl<C> Left<C> {
    fn count(&mut self, signal: Wakeup) {
        match signal {
            Wakeup::Needed => self.wakes.sent += 1,
            Wakeup::Saved => self.wakes.saved += 1,
        }
    }
}

/// The inbox, locked and not closed. Run nothing of the user's while it lives.
pub(crate) struct Open<'a, C: 'static> {
    left: MutexGuard<'a, Left<C>>,
    inbox: &'a Inbox<C>,
}

impl<C> Open<'_, C> {
    /// The time of a message that was left before, if there is one, and no message may have become due since that.
    #[inline]
    pub(crate) fn latest(&self) -> Option<Moment> {
        let has_timed = self.inbox.timed_from.load(Acquire) != Moment::NEVER.as_nanos();
        if has_timed || self.left.messages.is_empty() { None } else { Some(self.left.latest) }
    }

    /// No timed message in the queue is due before this.
    pub(crate) fn timed_from(&self) -> Moment {
        Moment::from_nanos(self.inbox.timed_from.load(Acquire))
    }

    /// Takes a place for a plain message, posted at `when`. The caller sets its origin, address and body, and then
    /// [publishes](Open::publish) it: nobody finds it before.
    #[inline]
    pub(crate) fn place(&mut self, when: Moment) -> &mut Message<C> {
        let left = &mut *self.left;
        left.posted += 1;
        left.latest = left.latest.max(when);
        let message = left.messages.place();
        (message.seq, message.when) = (Seq::remote(left.posted), left.latest);
        message
    }

    /// Lets the looper find the message that was placed. Gives its posting order, and whether the caller has to signal, and
    /// should give way, after unlocking.
    #[inline]
    pub(crate) fn publish(mut self, tally: Option<&Tally>) -> (Seq, Wakeup, bool) {
        // What a barrier holds up is woken for when the barrier goes.
        let signal = self.inbox.note_message(if self.left.is_barred { Moment::NEVER } else { Moment::FRONT });
        // Only now: who knows of a message by the count has to find it by the flag.
        self.inbox.account.remote.add(1);
        if let Some(tally) = tally {
            tally.remote.add(1);
        }
        self.left.count(signal);
        (Seq::remote(self.left.posted), signal, self.left.messages.is_crowded())
    }

    /// Leaves something for the looper's thread to keep.
    pub(crate) fn admit(mut self, arrival: Arrival) -> Wakeup {
        self.left.arrivals.push(arrival);
        self.inbox.counted(self.inbox.set_flag(CLEANUP, Moment::FRONT))
    }
}

impl<C> Inbox<C> {
    /// Notes a message. To be called under the lock.
    #[inline]
    fn note_message(&self, due: Moment) -> Wakeup {
        // The flag is cleared only under this lock, and the looper does not fall asleep while it is set. If both flags
        // are set, an earlier write of the eventfd failed: signal again.
        if self.state.load(Acquire) & (MESSAGES | ASLEEP) == MESSAGES {
            Wakeup::Saved
        } else {
            self.set_flag(MESSAGES, due)
        }
    }
}
