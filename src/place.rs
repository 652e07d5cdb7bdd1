//! A message's place in the order.

use crate::clock::Moment;

/// A message's place in the order, which is also its name: no two messages ever have the same.
///
/// Ordered by due time, then by posting order. At-front messages are due at [`Moment::FRONT`] and count their posting
/// order downwards, so that the last one posted is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) when: Moment,
    order: i64,
}

impl Place {
    /// The place of the `order`-th message, due at `when`.
    pub(crate) fn new(when: Moment, order: i64) -> Place {
        let order = if when == Moment::FRONT { -order } else { order };
        Place { when, order }
    }

    /// The first place behind everything that is due at `when`.
    pub(crate) fn behind(when: Moment) -> Place {
        Place { when, order: i64::MAX }
    }
}
