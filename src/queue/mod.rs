//! In which order and when messages run: pure data, no thread, no system call, no clock.
//!
//! Plain messages lie in posting order ([`fifo`]), all others in slots, sorted by a heap. Both are parts of a
//! [`mod@subqueue`]: barriers hold up one of the two that there are, and let the other pass ([`barriers`]). Each handler's
//! messages are counted, and listed if somebody wants to find them again ([`handlers`]).

pub(crate) mod account;
mod barriers;
pub(crate) mod batch;
pub(crate) mod capacity;
pub(crate) mod details;
pub(crate) mod extras;
mod fifo;
mod given_up;
pub(crate) mod handlers;
pub(crate) mod histogram;
pub(crate) mod labels;
pub(crate) mod message;
mod next;
pub(crate) mod slices;
mod subqueue;
#[cfg(all(test, not(alooper_loom)))]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    panic::Location,
    sync::Arc,
    time::Duration,
};

pub(crate) use self::{given_up::Dropped, next::Next};
use crate::{
    mem::{erased::Erased, slots::Key},
    queue::{
        account::{Account, MessageCounts},
        batch::Batches,
        capacity::more_room,
        extras::{Extra, Extras},
        handlers::Handlers,
        labels::Labels,
        message::{Address, Message, MessageId, Origin, PostKind, Rank, Seq},
        subqueue::{Others, Subqueue},
    },
    sys::{sync::ThreadId, time::Moment},
};

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct State: u8 {
        /// Only plain synchronous messages are queued, no barrier stands, no predicate holds one, and none has anything
        /// besides. So the first in line is the first to run.
        const PLAIN = 1;
        /// The looper has looked at the clock since it last waited, more or less: `latest` is not long ago.
        const FRESH = 2;
    }
}

/// The messages that are pending, in their order, and the account of all that ever were. `C` is what closures are lent.
#[derive(Debug)]
pub(crate) struct Queue<C: 'static> {
    /// What lets the fast paths be taken.
    state: State,
    /// Those that barriers hold up.
    synchronous: Subqueue<C>,
    /// Those that barriers let pass.
    asynchronous: Subqueue<C>,
    /// Those of both subqueues that are not plain.
    others: Others<C>,
    /// How many of these have gone since their room was given back.
    gone: usize,
    /// What few messages have besides.
    extras: Extras,
    /// While one stands, nothing behind it runs that is not asynchronous.
    barriers: BTreeMap<Rank, Origin>,
    /// Those that were not reported.
    unreported: BTreeSet<Rank>,
    /// Messages that a predicate is looking at, and the thread that runs it. They stay pending, but cannot run.
    held: BTreeMap<Seq, ThreadId>,
    /// The looper found the next message held, and has to be told when it no longer is.
    is_blocked: bool,
    /// Idle handlers have still to run, and a barrier keeps them from it.
    is_idle_awaited: bool,
    pub(crate) handlers: Handlers,
    /// What a quit gave up, until the looper's thread takes it to drop it.
    dropped: Dropped<C>,
    /// The latest time that a plain message or a barrier was given: they never go back. Not beside `last`: both would be
    /// read as one, which stalls a CPU that has just written the other.
    latest: Moment,
    /// How all that are not pending any more have ended; `posted` is the sum of all.
    account: Arc<Account>,
    /// The posting order of the last message in it.
    last: Seq,
    /// Where the message was posted that was taken out to be run last: what runs, for others to ask.
    pub(crate) taken_last: Origin,
}

/// A message that was taken out of the queue.
#[derive(Debug)]
pub(crate) struct Taken<C: 'static> {
    pub(crate) body: Erased<C>,
    /// Whether it is a handler's.
    pub(crate) is_handlers: bool,
    /// It was the last message of a handler that nobody can send anything any more.
    pub(crate) ends_target: bool,
}

/// What comes of the wish to look at a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is held from now on.
    Held,
    /// It is not pending any more.
    Gone,
    /// The calling thread holds it already.
    Mine,
    /// Another thread holds it.
    Busy,
}

impl<C> Queue<C> {
    /// Makes an empty queue, which keeps `account`.
    pub(crate) fn new(account: &Arc<Account>) -> Queue<C> {
        Queue {
            state: State::PLAIN,
            synchronous: Subqueue::default(),
            asynchronous: Subqueue::default(),
            others: Others::new(),
            gone: 0,
            extras: Extras::default(),
            barriers: BTreeMap::new(),
            unreported: BTreeSet::new(),
            held: BTreeMap::new(),
            is_blocked: false,
            is_idle_awaited: false,
            handlers: Handlers::default(),
            dropped: Dropped::default(),
            latest: Moment::EARLIEST,
            account: account.clone(),
            last: Seq::default(),
            taken_last: Location::caller(),
        }
    }

    /// The posting order of the next message, or of a barrier.
    #[inline]
    pub(crate) fn next_seq(&mut self, kind: PostKind, asynchronous: bool) -> Seq {
        self.last = self.last.next();
        self.last.of_kind(kind, asynchronous)
    }

    /// Whether there are only plain messages without anything besides, and nothing holds one up.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.state.contains(State::PLAIN)
    }

    /// Notes whether the looper has just looked at the clock; gives what was noted.
    #[inline]
    pub(crate) fn set_fresh(&mut self, is_fresh: bool) -> bool {
        let before = self.state.contains(State::FRESH);
        self.state.set(State::FRESH, is_fresh);
        before
    }

    /// Notes what time it is, for the next plain message.
    #[inline]
    pub(crate) fn note_time(&mut self, now: Moment) {
        self.latest = self.latest.max(now);
    }

    /// Whether the next plain message can be put in by [`insert_plain`](Queue::insert_plain).
    #[inline]
    pub(crate) fn is_plain_and_fresh(&self) -> bool {
        self.state == State::all()
    }

    /// Whether there is nothing.
    #[inline]
    pub(crate) fn has_nothing_queued(&self) -> bool {
        self.is_plain() && self.synchronous.fifo.is_empty()
    }

    /// Fast path: as [`insert`](Queue::insert), for a plain message without anything besides that barriers hold up, in
    /// a queue that has nothing else; it gets the time of the one before. `None` if room has to be made.
    #[inline(always)]
    pub(crate) fn insert_plain(&mut self) -> Option<(MessageId, &mut Message<C>)> {
        debug_assert!(self.is_plain(), "there is nothing but plain ones");
        let message = self.synchronous.fifo.place()?;
        self.last = self.last.next();
        (message.seq, message.when) = (self.last, self.latest);
        Some((MessageId::plain(self.last), message))
    }

    /// Makes an accepted message at its place, posted after all before. The caller has still to set its origin and body.
    #[inline]
    pub(crate) fn insert(
        &mut self,
        seq: Seq,
        when: Moment,
        address: Address,
        extra: Extra,
    ) -> (MessageId, &mut Message<C>) {
        let kind = seq.kind();
        let is_plain = kind == PostKind::Plain;
        if !is_plain || seq.is_asynchronous() || extra.token.is_some() {
            self.state.remove(State::PLAIN);
        }
        self.extras.keep(seq, if is_plain { Extra { posted: None, ..extra } } else { extra });
        let Queue { synchronous, asynchronous, .. } = self;
        let subqueue = if seq.is_asynchronous() { asynchronous } else { synchronous };
        if is_plain {
            // Plain messages run in the order in which they came, whatever their posters' clocks said.
            self.latest = self.latest.max(when);
            let message = subqueue.fifo.make_place();
            (message.seq, message.when, message.address) = (seq, self.latest, address);
            return (MessageId::plain(seq), message);
        }
        if let Some(more) = more_room(self.others.len(), self.others.capacity()) {
            self.others.reserve_exact(more);
        }
        let entry = self.others.vacant_entry();
        let id = MessageId { seq, slot: u32::try_from(entry.key()).expect("memory ends before 2^32 messages do") };
        let message = entry.insert(Message { seq, when, address, ..Message::vacant() });
        if self.handlers.listing.is_some()
            && let Some(target) = address.target()
        {
            message.address.set_listed();
            self.handlers.list(id, target, Labels { what: address.what(), token: extra.token });
        }
        subqueue.push(when, id);
        (id, message)
    }

    /// Takes over plain messages of other threads, as they lie: up to the one of the posting order `last`.
    pub(crate) fn append(&mut self, batches: &mut Batches<C>, latest: Moment, last: Seq) {
        self.last = self.last.max(last);
        self.synchronous.fifo.append(batches, self.latest);
        self.latest = self.latest.max(latest);
    }

    /// The latest time that a plain message was given: a time for the next one, if no timed message has become due
    /// since.
    #[inline]
    pub(crate) fn latest(&self) -> Moment {
        self.latest
    }

    /// No timed message is due before this.
    #[inline]
    pub(crate) fn timed_from(&self) -> Moment {
        self.synchronous.timed_from().min(self.asynchronous.timed_from())
    }

    #[inline]
    fn subqueue(&mut self, seq: Seq) -> &mut Subqueue<C> {
        if seq.is_asynchronous() { &mut self.asynchronous } else { &mut self.synchronous }
    }

    /// Takes out a message that does not run.
    fn take(&mut self, id: MessageId, is_queued: bool) -> Option<Taken<C>> {
        let kind = id.seq.kind();
        let Queue { synchronous, asynchronous, others, .. } = self;
        let subqueue = if id.seq.is_asynchronous() { asynchronous } else { synchronous };
        let message = if kind == PostKind::Plain {
            subqueue.fifo.take(id.seq)?
        } else {
            if !id.is_live(others) {
                return None;
            }
            let message = others.try_remove(id.slot as usize)?;
            if is_queued {
                subqueue.note_stale(kind, others);
            }
            self.gone += 1;
            message
        };
        let extra = self.extras.take(id.seq);
        let taken = self.handlers.detach(&message.address, || id, extra.token);
        let ends_target = matches!(taken, Next::LastMessage(_));
        Some(Taken { body: message.body, is_handlers: taken != Next::Closure, ends_target })
    }

    /// Takes out the message `id` because it was cancelled.
    pub(crate) fn cancel(&mut self, id: MessageId) -> Option<Taken<C>> {
        let taken = self.take(id, true)?;
        self.account.removed.add(1);
        Some(taken)
    }

    /// Lets a timed message be due at `when`, in its posting order among those due then. Whether it is pending, and
    /// timed.
    pub(crate) fn reschedule(&mut self, id: MessageId, when: Moment) -> bool {
        let Queue { synchronous, asynchronous, others, .. } = self;
        if id.seq.kind() != PostKind::Timed || !id.is_live(others) {
            return false;
        }
        let former = others.get_mut(id.slot as usize).map(|message| mem::replace(&mut message.when, when));
        if former != Some(when) {
            let subqueue = if id.seq.is_asynchronous() { asynchronous } else { synchronous };
            subqueue.reschedule(when, id, others);
        }
        true
    }

    /// The message `id`, if it is pending, and when it is due.
    fn get(&self, id: MessageId) -> Option<(&Message<C>, Moment)> {
        if id.seq.kind() == PostKind::Plain {
            let subqueue = if id.seq.is_asynchronous() { &self.asynchronous } else { &self.synchronous };
            return subqueue.fifo.get(id.seq);
        }
        let message = self.others.get(id.slot as usize).filter(|_| id.is_live(&self.others))?;
        Some((message, message.when))
    }

    /// Whether the message `id` is still pending.
    pub(crate) fn contains(&self, id: MessageId) -> bool {
        self.get(id).is_some()
    }

    /// What runs of the message `id`, if it is pending.
    pub(crate) fn body(&mut self, id: MessageId) -> Option<&mut Erased<C>> {
        self.get_mut(id).map(|message| &mut message.body)
    }

    fn get_mut(&mut self, id: MessageId) -> Option<&mut Message<C>> {
        if id.seq.kind() == PostKind::Plain {
            return self.subqueue(id.seq).fifo.get_mut(id.seq);
        }
        if id.is_live(&self.others) { self.others.get_mut(id.slot as usize) } else { None }
    }

    /// Counts a message that was taken out to be run as cancelled: it was before it began.
    pub(crate) fn count_as_cancelled(&mut self) {
        self.account.skipped.add(1);
    }

    /// Counts a message that was taken out to be run as given up: a quit was before it began.
    pub(crate) fn count_as_given_up(&mut self) {
        self.account.overtaken.add(1);
    }

    /// How all messages so far have ended.
    pub(crate) fn account(&self) -> MessageCounts {
        self.account.report()
    }
}
