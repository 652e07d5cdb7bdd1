//! Messages in the order in which they run, those that came in order apart from those that did not.
//!
//! Most messages are posted to run after all others that are due: they stand one behind the other ([`Fifo`]) and need no
//! sorting. A heap sorts those with a delay or a time. Each of these is found again by its slot; what was taken out there,
//! or is due at another time now, is *stale* here, passed over when it comes to the front, and swept out before it is three
//! quarters.

use std::{cmp::Reverse, collections::BinaryHeap, mem};

use slab::Slab;

use crate::{
    queue::{
        batch::Spare,
        capacity::{COMMON_LENGTH, is_roomy, more_room},
        fifo::Fifo,
        message::{Message, MessageId, PostKind, Rank},
    },
    sys::time::Moment,
};

/// The messages that are not plain, by their slots.
pub(crate) type Others<C> = Slab<Message<C>>;

impl MessageId {
    /// Whether the message, which is not a plain one, is still there.
    #[inline]
    pub(crate) fn is_live<C>(self, others: &Others<C>) -> bool {
        others.get(self.slot as usize).is_some_and(|other| other.seq == self.seq)
    }
}

/// How many stale ones are not worth a sweep.
const COMMON_STALE: usize = 32;

/// How many timed messages are not worth sorting at once.
const COMMON_DUE: usize = 64;

/// How many of them are looked at to see whether many are due.
const SAMPLES: usize = 16;

#[derive(Debug)]
pub(crate) struct Subqueue<C: 'static> {
    pub(crate) fifo: Fifo<C>,
    /// The last one is the first to run.
    front: Vec<MessageId>,
    timed: BinaryHeap<Reverse<Entry>>,
    /// Timed messages that were due together and have left the heap; the last one is the first to run. To sort many at
    /// once costs less than to take each out of a heap.
    due: Vec<Entry>,
    /// How many have come into the heap or gone since it was last gone through: what pays for going through it.
    credit: usize,
    /// How many of these are stale.
    stale_front: usize,
    stale_timed: usize,
    /// A timed message was given another time. Two entries of one message may then be equal, and what is counted as
    /// stale may be less than there is: so each that comes to the front is looked at, until none is left.
    is_rescheduled: bool,
}

impl<C> Default for Subqueue<C> {
    fn default() -> Self {
        Subqueue {
            fifo: Fifo::default(),
            front: Vec::new(),
            timed: BinaryHeap::new(),
            due: Vec::new(),
            credit: 0,
            stale_front: 0,
            stale_timed: 0,
            is_rescheduled: false,
        }
    }
}

/// Where a timed message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    rank: Rank,
    slot: u32,
}

impl Entry {
    /// Whether the message is still there, and still due then.
    #[inline]
    fn is_live<C>(self, others: &Others<C>) -> bool {
        let seq = self.rank.seq();
        others.get(self.slot as usize).is_some_and(|other| other.seq == seq && other.when == self.rank.when)
    }

    #[inline]
    fn id(self) -> MessageId {
        MessageId { seq: self.rank.seq(), slot: self.slot }
    }
}

/// The first message of a subqueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Head {
    pub(crate) rank: Rank,
    pub(crate) id: MessageId,
}

impl<C> Subqueue<C> {
    /// Puts a message that is not a plain one at its place.
    #[inline]
    pub(crate) fn push(&mut self, when: Moment, id: MessageId) {
        match id.seq.kind() {
            PostKind::Plain => {}
            PostKind::Front => self.front.push(id),
            PostKind::Timed => self.push_timed(Entry { rank: Rank::new(when, id.seq), slot: id.slot }),
        }
    }

    fn push_timed(&mut self, entry: Entry) {
        if let Some(more) = more_room(self.timed.len(), self.timed.capacity()) {
            self.timed.reserve_exact(more);
        }
        self.timed.push(Reverse(entry));
        self.credit += 1;
    }

    /// Sorts the timed messages that are due at `now`, if they seem to be many of those that there are.
    #[inline]
    pub(crate) fn gather(&mut self, now: Moment) {
        let length = self.timed.len();
        if self.due.is_empty() && length >= COMMON_DUE && self.credit >= length / 4 {
            self.gather_due(now);
        }
    }

    #[cold]
    fn gather_due(&mut self, now: Moment) {
        let is_due = |Reverse(entry): &Reverse<Entry>| entry.rank.when <= now;
        self.credit = 0;
        let some = self.timed.iter().step_by(self.timed.len() / SAMPLES);
        if some.filter(|entry| is_due(entry)).count() < SAMPLES / 4 {
            return;
        }
        let (due, later): (Vec<_>, Vec<_>) = mem::take(&mut self.timed).into_iter().partition(is_due);
        self.timed = later.into();
        self.due = due.into_iter().map(|Reverse(entry)| entry).collect();
        self.due.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// The first timed message.
    #[inline]
    fn first_timed(&self) -> Option<Entry> {
        let waiting = self.timed.peek().map(|Reverse(entry)| *entry);
        match (self.due.last(), waiting) {
            (Some(due), Some(waiting)) => Some(waiting.min(*due)),
            (due, waiting) => due.copied().or(waiting),
        }
    }

    /// Takes out the first timed message.
    #[inline(always)]
    fn pop_timed(&mut self) {
        self.credit += 1;
        if self.due.last().copied() == self.first_timed() { _ = self.due.pop() } else { _ = self.timed.pop() }
    }

    /// Whether there are none but plain messages.
    pub(crate) fn is_plain(&self) -> bool {
        self.front.is_empty() && self.timed.is_empty() && self.due.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.is_plain() && self.fifo.is_empty()
    }

    /// The first message.
    pub(crate) fn head(&mut self, others: &Others<C>) -> Option<Head> {
        if self.stale_front > 0 {
            while self.front.pop_if(|id| !id.is_live(others)).is_some() {
                self.stale_front -= 1;
            }
        }
        if self.stale_timed > 0 || self.is_rescheduled {
            self.pop_stale(others);
        }
        if let Some(id) = self.front.last() {
            return Some(Head { rank: Rank::new(Moment::FRONT, id.seq), id: *id });
        }
        let timed = self.first_timed().map(|entry| Head { rank: entry.rank, id: entry.id() });
        match (self.first_ready(), timed) {
            (Some(plain), Some(timed)) => Some(plain.min(timed)),
            (plain, timed) => plain.or(timed),
        }
    }

    #[inline(never)]
    fn pop_stale(&mut self, others: &Others<C>) {
        while self.first_timed().is_some_and(|entry| !entry.is_live(others)) {
            self.pop_timed();
            self.stale_timed = self.stale_timed.saturating_sub(1);
        }
        self.is_rescheduled &= self.first_timed().is_some();
    }

    /// Lets the timed message `id`, which is due at `when` from now on, stand there. Where it stood is stale.
    pub(crate) fn reschedule(&mut self, when: Moment, id: MessageId, others: &Others<C>) {
        self.is_rescheduled = true;
        self.push(when, id);
        self.note_stale(PostKind::Timed, others);
    }

    /// The first plain message.
    #[inline]
    pub(crate) fn first_ready(&mut self) -> Option<Head> {
        let (message, when) = self.fifo.front()?;
        Some(Head { rank: Rank::new(when, message.seq), id: MessageId::plain(message.seq) })
    }

    /// Takes out the first message, which is one of `kind` and not plain.
    #[inline]
    pub(crate) fn pop(&mut self, kind: PostKind) {
        match kind {
            PostKind::Plain => {}
            PostKind::Front => _ = self.front.pop(),
            PostKind::Timed => self.pop_timed(),
        }
    }

    /// Whether a burst has left room.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        self.fifo.is_roomy()
            || is_roomy(self.timed.len(), self.timed.capacity())
            || is_roomy(self.due.len(), self.due.capacity())
            || is_roomy(self.front.len(), self.front.capacity())
    }

    /// Gives back the room that a burst has left; what lies in batches, to whoever calls.
    pub(crate) fn take_room(&mut self) -> Spare<C> {
        if is_roomy(self.timed.len(), self.timed.capacity()) {
            self.timed.shrink_to(COMMON_LENGTH);
        }
        if is_roomy(self.due.len(), self.due.capacity()) {
            self.due.shrink_to(COMMON_LENGTH);
        }
        if is_roomy(self.front.len(), self.front.capacity()) {
            self.front.shrink_to(COMMON_LENGTH);
        }
        self.fifo.take_room()
    }

    /// When the first timed message is due, or an earlier time, since it may be stale.
    #[inline]
    pub(crate) fn timed_from(&self) -> Moment {
        self.first_timed().map_or(Moment::NEVER, |entry| entry.rank.when)
    }

    /// Notes that a message of `kind`, which is not a plain one, was taken out before it came to the front.
    pub(crate) fn note_stale(&mut self, kind: PostKind, others: &Others<C>) {
        // A sweep looks at each message, and where many are cancelled, most of them miss the cache.
        let is_much = |stale: usize, length: usize| stale > COMMON_STALE && stale > length / 4 * 3;
        match kind {
            PostKind::Plain => {}
            PostKind::Front => {
                self.stale_front += 1;
                if is_much(self.stale_front, self.front.len()) {
                    self.stale_front = 0;
                    self.front.retain(|id| id.is_live(others));
                }
            }
            PostKind::Timed => {
                self.stale_timed += 1;
                if is_much(self.stale_timed, self.timed.len() + self.due.len()) {
                    self.sweep_timed(others);
                }
            }
        }
    }

    /// Takes out what is stale, in as many steps as it took to make it so.
    #[cold]
    fn sweep_timed(&mut self, others: &Others<C>) {
        self.stale_timed = 0;
        self.timed.retain(|Reverse(entry)| entry.is_live(others));
        self.due.retain(|entry| entry.is_live(others));
    }

    /// All messages that are not plain, those at the front in their order, also those that are stale, and some twice; and the plain ones.
    pub(crate) fn into_parts(self) -> (impl Iterator<Item = MessageId>, Fifo<C>) {
        let timed = self.timed.into_iter().map(|Reverse(entry)| entry).chain(self.due).map(Entry::id);
        (self.front.into_iter().rev().chain(timed), self.fifo)
    }

    /// Takes out the messages that are due later than `now`, in no order.
    pub(crate) fn split_later(&mut self, now: Moment, others: &Others<C>) -> Vec<MessageId> {
        self.sweep_timed(others);
        // What has been due still is.
        let later: Vec<MessageId> =
            self.timed.iter().filter(|Reverse(entry)| entry.rank.when > now).map(|Reverse(entry)| entry.id()).collect();
        self.timed.retain(|Reverse(entry)| entry.rank.when <= now);
        later
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;
    use crate::queue::message::Seq;

    impl<C> Subqueue<C> {
        /// How many messages stand in it, also those that are stale.
        pub(crate) fn standing(&self) -> usize {
            self.front.len() + self.fifo.standing() + self.timed.len() + self.due.len()
        }

        /// For how many there is room.
        pub(crate) fn room(&self) -> usize {
            self.front.capacity() + self.fifo.room() + self.timed.capacity() + self.due.capacity()
        }
    }

    fn at(nanos: i64) -> Moment {
        Moment::from_nanos(nanos)
    }

    /// `count` messages of a kind, a nanosecond apart.
    fn subqueue_of(kind: PostKind, count: i64) -> Subqueue<()> {
        let mut subqueue = Subqueue::<()>::default();
        (1..=count).for_each(|order| push(&mut subqueue, kind, order));
        subqueue
    }

    fn push(subqueue: &mut Subqueue<()>, kind: PostKind, order: i64) {
        subqueue.push(at(order), MessageId { seq: Seq::remote(order).next().of_kind(kind, false), slot: order as u32 });
    }

    #[test]
    fn c44_c47_the_room_that_a_burst_has_left_is_given_back_before_a_sleep() {
        for (kind, gathers) in [(PostKind::Front, false), (PostKind::Timed, false), (PostKind::Timed, true)] {
            let mut subqueue = subqueue_of(kind, 10_000);
            if gathers {
                subqueue.gather(at(10_000));
            }
            assert!(subqueue.room() >= 10_000, "{kind:?}: it is used");

            (0..10_000).for_each(|_| subqueue.pop(kind));
            assert!(subqueue.is_roomy(), "{kind:?}");
            drop(subqueue.take_room());

            assert!(!subqueue.is_roomy() && subqueue.room() <= 3 * COMMON_LENGTH, "{kind:?}: {}", subqueue.room());
        }
    }

    /// C44: timers may stand for long.
    #[test]
    fn c44_many_timers_have_an_eighth_of_room_to_spare_at_most() {
        let mut subqueue = Subqueue::<()>::default();
        let mut growths = 0;

        for order in 1..=100_000 {
            let before = subqueue.timed.capacity();
            push(&mut subqueue, PostKind::Timed, order);
            growths += usize::from(subqueue.timed.capacity() != before);
            let most = (subqueue.timed.len() * 9 / 8 + 1).max(2048);
            assert!(subqueue.timed.capacity() <= most, "{} for {order}", subqueue.timed.capacity());
        }

        assert!(growths < 60, "they were moved {growths} times");
    }

    #[test]
    fn c47_many_that_are_due_leave_the_heap_at_once_and_few_do_not() {
        let mut few = subqueue_of(PostKind::Timed, 63);
        few.gather(at(63));
        assert_eq!((few.due.len(), few.timed.len()), (0, 63), "they are not worth it");

        let mut many = subqueue_of(PostKind::Timed, 64);
        many.gather(at(40));
        assert_eq!((many.due.len(), many.timed.len()), (40, 24));
        assert_eq!(many.first_timed().map(|entry| entry.rank.when), Some(at(1)));

        let mut early = subqueue_of(PostKind::Timed, 1000);
        early.gather(at(10));
        assert_eq!((early.due.len(), early.timed.len()), (0, 1000), "most are not due");
    }

    /// C47: what goes through all of the timed messages is paid for by as many that came or went.
    #[test]
    fn c47_timed_messages_are_not_looked_through_again_until_a_quarter_came_or_went() {
        let mut subqueue = subqueue_of(PostKind::Timed, 1000);
        subqueue.gather(at(10));
        let all_are_due = at(2000);
        (0..100).for_each(|_| subqueue.pop(PostKind::Timed));
        (1001..=1129).for_each(|order| push(&mut subqueue, PostKind::Timed, order));

        subqueue.gather(all_are_due);
        assert_eq!(subqueue.due.len(), 0, "229 of 1029 are less than a quarter");

        (1130..=1180).for_each(|order| push(&mut subqueue, PostKind::Timed, order));
        subqueue.gather(all_are_due);
        assert_eq!(subqueue.due.len(), 1080, "280 of them are more");
        assert!(subqueue.timed.is_empty());
    }
}
