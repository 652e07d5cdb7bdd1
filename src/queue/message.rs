//! A message as it lies in the queue: its rank in the order, whose it is, and what runs.

#[cfg(feature = "async")]
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::{num::NonZeroU32, panic::Location};

use crate::{mem::erased::Erased, queue::details::Posting, sys::time::Moment};

/// A place in the user's source: where something was posted or added.
pub(crate) type Origin = &'static Location<'static>;

/// How a message came to its due time, which says where in the queue it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostKind {
    /// Posted to run when everything that is due already has run.
    Plain,
    /// Posted with a delay or a time.
    Timed,
    /// Posted at the front.
    Front,
}

/// The posting order of a message, over all threads: no other message ever has the same.
///
/// Posts through the inbox are counted under its lock. All others have the count of the last of these that the queue
/// has, and are counted among themselves: so no counter is shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Seq {
    remote: i64,
    /// The lowest three bits say where in the queue the message stands.
    own: i64,
}

/// How many bits say where the message stands.
const KIND_BITS: u32 = 3;

impl Seq {
    /// That of the `order`-th post through the inbox.
    #[inline]
    pub(crate) const fn remote(order: i64) -> Seq {
        Seq { remote: order, own: 0 }
    }

    /// That of the next post to the queue itself, if it is a plain one that barriers hold up, as that of `self` is.
    #[inline]
    pub(crate) const fn next(self) -> Seq {
        Seq { remote: self.remote, own: self.own + (1 << KIND_BITS) }
    }

    /// That of the same post, if it is another one than a plain one that barriers hold up.
    #[inline]
    pub(crate) const fn of_kind(self, kind: PostKind, asynchronous: bool) -> Seq {
        Seq { remote: self.remote, own: self.own | ((kind as i64) << 1) | asynchronous as i64 }
    }

    #[inline]
    pub(crate) const fn kind(self) -> PostKind {
        match (self.own >> 1) & 3 {
            0 => PostKind::Plain,
            1 => PostKind::Timed,
            _ => PostKind::Front,
        }
    }

    /// Whether barriers let the message pass.
    #[inline]
    pub(crate) const fn is_asynchronous(self) -> bool {
        self.own & 1 == 1
    }
}

/// A message's rank in the order: no two messages ever have the same.
///
/// Ordered by due time, then by posting order. At-front messages are due at [`Moment::FRONT`] and count their posting
/// order downwards, so that the last one posted is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) when: Moment,
    order: Seq,
}

impl Rank {
    /// That of the message `seq`, due at `when`.
    #[inline]
    pub(crate) fn new(when: Moment, seq: Seq) -> Rank {
        let order = match seq.kind() {
            PostKind::Front => Seq { remote: -seq.remote, own: -seq.own },
            PostKind::Plain | PostKind::Timed => seq,
        };
        Rank { when, order }
    }

    /// Which message it is.
    #[inline]
    pub(crate) fn seq(self) -> Seq {
        Seq { remote: self.order.remote.abs(), own: self.order.own.abs() }
    }
}

/// Names a message, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MessageId {
    pub(crate) seq: Seq,
    /// Where it lies, if it is not a plain one: those are found by their order.
    pub(crate) slot: u32,
}

impl MessageId {
    #[inline]
    pub(crate) fn plain(seq: Seq) -> MessageId {
        MessageId { seq, slot: u32::MAX }
    }
}

/// A [`MessageId`] that is written before others can see it.
#[cfg(feature = "async")]
#[derive(Debug)]
pub(crate) struct SharedMessageId {
    remote: AtomicI64,
    own: AtomicI64,
    slot: AtomicU32,
}

#[cfg(feature = "async")]
impl SharedMessageId {
    pub(crate) fn new() -> SharedMessageId {
        SharedMessageId { remote: AtomicI64::new(0), own: AtomicI64::new(0), slot: AtomicU32::new(0) }
    }

    #[inline]
    pub(crate) fn set(&self, id: MessageId) {
        self.remote.store(id.seq.remote, Relaxed);
        self.own.store(id.seq.own, Relaxed);
        self.slot.store(id.slot, Relaxed);
    }

    pub(crate) fn get(&self) -> MessageId {
        let seq = Seq { remote: self.remote.load(Relaxed), own: self.own.load(Relaxed) };
        MessageId { seq, slot: self.slot.load(Relaxed) }
    }
}

/// Whose a message is, and its `what`, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The handler's position, and flags: an `Option` of each would make each message larger.
    target: u32,
    what: i32,
}

const HAS_WHAT: u32 = 1 << 31;
const IS_LISTED: u32 = 1 << 30;
const POSITION: u32 = IS_LISTED - 1;
/// A closure. Memory ends before there are so many handlers.
const NOBODY: u32 = POSITION;
/// No message any more.
const VACANT: u32 = POSITION - 1;

impl Address {
    /// Of a closure.
    pub(crate) const NOBODY: Address = Address { target: NOBODY, what: 0 };

    #[inline]
    pub(crate) fn new(target: u32, what: Option<i32>) -> Address {
        let flag = if what.is_some() { HAS_WHAT } else { 0 };
        Address { target: target & POSITION | flag, what: what.unwrap_or_default() }
    }

    /// Whether it is a closure's.
    #[inline(always)]
    pub(super) fn is_nobody(self) -> bool {
        self.target == NOBODY
    }

    /// The handler's position; there is no handler there if it is a closure's.
    #[inline(always)]
    pub(super) fn position(self) -> u32 {
        self.target & POSITION
    }

    /// The handler's position, if it is a handler's. No other handler has it for as long as this one has messages.
    #[inline]
    pub(crate) fn target(self) -> Option<u32> {
        let position = self.position();
        (position < VACANT).then_some(position)
    }

    #[inline]
    pub(crate) fn what(self) -> Option<i32> {
        (self.target & HAS_WHAT != 0).then_some(self.what)
    }

    /// Whether the message stands in its handler's list.
    #[inline]
    pub(crate) fn is_listed(self) -> bool {
        self.target & IS_LISTED != 0
    }

    pub(crate) fn set_listed(&mut self) {
        self.target |= IS_LISTED;
    }
}

/// A message that is pending; or a place for one.
#[derive(Debug)]
pub(crate) struct Message<C: 'static> {
    pub(crate) seq: Seq,
    pub(crate) when: Moment,
    pub(crate) origin: Origin,
    pub(crate) address: Address,
    /// A closure, or a handler's message; nothing while a predicate looks at it.
    pub(crate) body: Erased<C>,
}

impl<C> Message<C> {
    /// A place for one.
    #[inline]
    pub(crate) fn vacant() -> Message<C> {
        let address = Address { target: VACANT, what: 0 };
        let (seq, when) = (Seq::default(), Moment::EARLIEST);
        Message { seq, when, origin: Location::caller(), address, body: Erased::default() }
    }

    #[inline]
    pub(crate) fn is_vacant(&self) -> bool {
        self.address.target == VACANT
    }

    /// Notes that it was posted at its time, which somebody watches, by the thread that the kernel calls `by`.
    #[inline]
    pub(crate) fn set_poster(&mut self, by: NonZeroU32) {
        self.body.set_note(by.get());
    }

    /// When it was posted, and by whom, if that was noted: of a plain message, whose time is that of its post.
    #[inline]
    pub(crate) fn posting(&self) -> Option<Posting> {
        NonZeroU32::new(self.body.note()).map(|by| Posting { at: self.when, by })
    }

    /// Takes out what there is of it, and leaves a place for another one.
    pub(crate) fn take(&mut self) -> Message<C> {
        let vacant = Message { seq: self.seq, when: self.when, ..Message::vacant() };
        std::mem::replace(self, vacant)
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;

    /// A word more in each is paid for by every post.
    #[test]
    fn a_message_that_is_pending_takes_ninety_six_bytes() {
        assert_eq!(size_of::<Message<()>>(), 96);
    }

    #[test]
    fn r2_an_address_keeps_apart_no_what_and_any_what() {
        for target in [0, 7, VACANT - 1] {
            for what in [None, Some(0), Some(-1), Some(i32::MIN), Some(i32::MAX)] {
                let mut address = Address::new(target, what);
                assert_eq!((address.target(), address.what(), address.is_listed()), (Some(target), what, false));

                address.set_listed();
                assert_eq!((address.target(), address.what(), address.is_listed()), (Some(target), what, true));
            }
        }
        assert_eq!((Address::NOBODY.target(), Address::NOBODY.what()), (None, None));
        assert!(Message::<()>::vacant().address.target().is_none());
    }

    #[test]
    fn m5_posts_of_the_queue_itself_come_between_those_of_the_inbox() {
        let first = Seq::remote(1);
        let second = first.next();
        let third = second.next().of_kind(PostKind::Timed, true);
        let last = Seq::remote(2);

        assert!(first < second && second < third && third < last);
        assert_eq!((third.kind(), third.is_asynchronous()), (PostKind::Timed, true));
        assert_eq!((first.kind(), first.is_asynchronous()), (PostKind::Plain, false));
    }

    #[test]
    fn m3_the_last_one_at_the_front_is_the_first() {
        let one = Seq::remote(3).next().of_kind(PostKind::Front, false);
        let other = one.next().of_kind(PostKind::Front, true);

        assert!(Rank::new(Moment::FRONT, other) < Rank::new(Moment::FRONT, one));
        assert_eq!(Rank::new(Moment::FRONT, other).seq(), other);
    }
}
