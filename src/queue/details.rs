//! What those who watch are told of a message.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    queue::message::{Message, Origin},
    sys::time::Moment,
};

/// A post, as those who watch are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Posting {
    pub(crate) at: Moment,
    /// The thread, as the kernel calls it: never zero, so that one more word is not needed to say that nobody watched.
    pub(crate) by: NonZeroU32,
}

/// What those who watch want to know of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Details {
    pub(crate) origin: Origin,
    pub(crate) when: Moment,
    pub(crate) what: Option<i32>,
    /// When it was posted, and by whom, if somebody watched then.
    pub(crate) posted: Option<Posting>,
}

impl Details {
    #[inline]
    pub(super) fn of<C>(message: &Message<C>, when: Moment, posted: Option<Posting>) -> Details {
        Details { origin: message.origin, when, what: message.address.what(), posted }
    }

    /// How late it starts at `now`: after it was due and, if that is known, was posted; `None` at the front.
    #[inline]
    pub(crate) fn lateness(&self, now: Moment) -> Option<Duration> {
        let owed = self.posted.map_or(self.when, |posted| posted.at.max(self.when));
        (self.when != Moment::FRONT).then(|| owed.until(now))
    }
}
