//! The room that a burst takes, and when it is given back.

use super::{Queue, batch::Spare};

/// For how many messages of a kind there is still room after a burst.
pub(super) const COMMON_LENGTH: usize = 1024;

/// How much more room to make for one more: an eighth, where a collection would double what may stand for long.
pub(super) fn more_room(length: usize, capacity: usize) -> Option<usize> {
    (length == capacity && length >= COMMON_LENGTH).then_some(length / 8)
}

/// Whether there is much more room than is needed, and than is common.
#[inline]
pub(crate) fn is_roomy(length: usize, capacity: usize) -> bool {
    capacity > 2 * COMMON_LENGTH && length < capacity / 4
}

impl<C> Queue<C> {
    /// Whether a burst has left more room than is kept over a sleep.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        self.synchronous.is_roomy()
            || self.asynchronous.is_roomy()
            || is_roomy(self.others.len(), self.others.capacity())
            || self.extras.is_roomy()
    }

    /// Whether no plain message is there, and they have left more room than is kept then.
    #[inline]
    pub(crate) fn is_very_roomy(&self) -> bool {
        self.synchronous.fifo.is_very_roomy()
    }

    /// Takes out half of that room.
    pub(crate) fn take_half_of_room(&mut self) -> [Spare<C>; 2] {
        [self.synchronous.fifo.take_half_of_room(), Spare::default()]
    }

    /// How many empty batches the inbox may keep.
    pub(crate) fn lent(&self) -> usize {
        self.synchronous.fifo.lent()
    }

    /// Gives back the room that a burst has left, before the looper sleeps.
    pub(crate) fn take_room(&mut self) -> [Spare<C>; 2] {
        self.extras.give_back_room();
        // That looks at each slot, and ends at the last message: paid for by as many that went.
        if self.gone > self.others.capacity() / 2 {
            self.gone = 0;
            self.others.shrink_to_fit();
        }
        [self.synchronous.take_room(), self.asynchronous.take_room()]
    }
}
