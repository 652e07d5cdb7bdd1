//! The room that a burst takes, and when it is given back.

use super::Queue;

/// For how many messages of a kind there is still room after a burst.
pub(super) const COMMON_LENGTH: usize = 1024;

/// How much more room to make for one more: an eighth, where a collection would double what may stand for long.
pub(super) fn more_room(length: usize, capacity: usize) -> Option<usize> {
    (length == capacity && length >= COMMON_LENGTH).then_some(length / 8)
}

/// Whether there is much more room than is needed, and than is common.
#[inline]
pub(super) fn is_roomy(length: usize, capacity: usize) -> bool {
    capacity > 2 * COMMON_LENGTH && length < capacity / 4
}

impl<C> Queue<C> {
    /// Gives back the room that a burst has left, before the looper sleeps.
    #[inline]
    pub(crate) fn give_back_room(&mut self) {
        let is_roomy = self.synchronous.is_roomy()
            || self.asynchronous.is_roomy()
            || is_roomy(self.others.len(), self.others.capacity())
            || self.extras.is_roomy();
        if is_roomy {
            self.give_back_all_room();
        }
    }

    #[cold]
    fn give_back_all_room(&mut self) {
        self.synchronous.give_back_room();
        self.asynchronous.give_back_room();
        self.extras.give_back_room();
        // That looks at each slot, and ends at the last message: paid for by as many that went.
        if self.gone > self.others.capacity() / 2 {
            self.gone = 0;
            self.others.shrink_to_fit();
        }
    }
}
