//! A message's place in the order, and its name.

use crate::{mem::arena::NOWHERE, time::Moment};

/// How a message came to its due time, which says where in the queue it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Posted to run when everything that is due already has run.
    Plain,
    /// Posted with a delay or a time.
    Timed,
    /// Posted at the front.
    Front,
}

/// The number of a message, which no other message ever has. Later posts have higher ones.
///
/// The lowest three bits say where in the queue the message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Number(i64);

/// How many bits of a number say where the message stands.
const LANE_BITS: u32 = 3;

impl Number {
    /// What no message has.
    pub(crate) const NONE: Number = Number(0);

    /// The number of the `order`-th post.
    #[inline]
    pub(crate) const fn new(order: i64, lane: Lane, asynchronous: bool) -> Number {
        Number((order << LANE_BITS) | ((lane as i64) << 1) | asynchronous as i64)
    }

    #[inline]
    pub(crate) const fn lane(self) -> Lane {
        match (self.0 >> 1) & 3 {
            0 => Lane::Plain,
            1 => Lane::Timed,
            _ => Lane::Front,
        }
    }

    /// Whether it is a plain message's that barriers hold up.
    #[inline]
    pub(crate) const fn is_common(self) -> bool {
        self.0 & ((1 << LANE_BITS) - 1) == 0
    }

    /// Whether barriers let the message pass.
    #[inline]
    pub(crate) const fn is_asynchronous(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A message's place in the order: no two messages ever have the same.
///
/// Ordered by due time, then by posting order. At-front messages are due at [`Moment::FRONT`] and count their posting
/// order downwards, so that the last one posted is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) when: Moment,
    order: i64,
}

impl Place {
    /// The place of the message `number`, due at `when`.
    #[inline]
    pub(crate) fn new(when: Moment, number: Number) -> Place {
        let order = if number.lane() as u8 == Lane::Front as u8 { -number.0 } else { number.0 };
        Place { when, order }
    }

    /// Which message it is.
    #[inline]
    pub(crate) fn number(self) -> Number {
        Number(self.order.abs())
    }
}

/// What a message is called by those who posted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) number: Number,
    /// Where in the queue's arena it lies; [`NOWHERE`] if it was posted from another thread, which does not know.
    pub(crate) slot: u32,
}

impl Name {
    /// The name of a message that is still in the inbox.
    pub(crate) fn from_afar(number: Number) -> Name {
        Name { number, slot: NOWHERE }
    }
}
