//! Batches: where plain messages lie from their post until they run.

use std::{collections::VecDeque, iter};

use crate::{queue::message::Message, sys::time::Moment};

/// How many messages a batch has room for.
pub(crate) const BATCH: usize = 256;

/// How many batches of other threads' messages may wait before those who post more give way.
const CROWD: usize = 4;

/// One in so many posts gives way then. Without that, a flood of four threads made timers 6 ms late (X6-timer).
const STEP: usize = 32;

/// Messages in posting order. It keeps the places of those that are gone, and fills them where they lie.
#[derive(Debug)]
pub(super) struct Batch<C: 'static> {
    pub(super) messages: Vec<Message<C>>,
    /// The first one that was not taken out.
    pub(super) head: usize,
    /// The first place that is free.
    pub(super) tail: usize,
    /// How many between these were emptied.
    pub(super) vacant: usize,
    /// No message in it is due earlier: what was due by then was queued before the batch came in.
    pub(super) floor: Moment,
}

impl<C> Default for Batch<C> {
    fn default() -> Self {
        Batch { messages: Vec::new(), head: 0, tail: 0, vacant: 0, floor: Moment::EARLIEST }
    }
}

impl<C> Batch<C> {
    /// A place for one more message, if there is room.
    #[inline(always)]
    pub(super) fn place(&mut self) -> Option<&mut Message<C>> {
        if self.tail == self.messages.len() && !self.add_places() {
            return None;
        }
        let place = self.messages.get_mut(self.tail);
        self.tail += 1;
        place
    }

    /// Makes more places, unless there are as many as may be.
    #[cold]
    #[inline(never)]
    pub(super) fn add_places(&mut self) -> bool {
        let present = self.messages.len();
        if present == BATCH {
            return false;
        }
        self.messages.reserve(1);
        let count = self.messages.capacity().min(BATCH) - present;
        self.messages.extend(iter::repeat_with(Message::vacant).take(count));
        true
    }

    pub(super) fn clear(&mut self) {
        (self.head, self.tail, self.vacant, self.floor) = (0, 0, 0, Moment::EARLIEST);
    }

    /// Those that were not taken out, also those that were emptied.
    pub(super) fn live(&self) -> &[Message<C>] {
        &self.messages[self.head..self.tail]
    }

    /// How many places are in use, also those that were emptied.
    pub(super) fn places(&self) -> usize {
        self.tail - self.head
    }

    pub(super) fn is_all_vacant(&self) -> bool {
        self.vacant == self.places()
    }
}

/// Empty batches, for the next messages.
#[derive(Debug)]
#[must_use = "to free many takes milliseconds, so they are dropped with nothing locked"]
pub(crate) struct Spare<C: 'static>(Vec<Batch<C>>);

impl<C> Default for Spare<C> {
    fn default() -> Self {
        Spare(Vec::new())
    }
}

impl<C> Spare<C> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// An empty batch.
    pub(super) fn take(&mut self) -> Batch<C> {
        self.0.pop().unwrap_or_default()
    }

    pub(super) fn keep(&mut self, mut empty: Batch<C>) {
        empty.clear();
        self.0.push(empty);
    }

    /// Takes others from `more`, if it has them, until there are `count`.
    pub(super) fn fill_up(&mut self, count: usize, more: &mut Spare<C>) {
        let missing = count.saturating_sub(self.len()).min(more.len());
        self.0.extend(more.0.drain(more.len() - missing..));
    }

    /// Takes out all but `kept`.
    pub(super) fn take_all_but(&mut self, kept: usize) -> Spare<C> {
        let taken = self.0.drain(kept.min(self.len())..).collect();
        self.0.shrink_to(kept);
        Spare(taken)
    }

    /// For how many messages there is room.
    #[cfg(all(test, not(alooper_loom)))]
    pub(super) fn room(&self) -> usize {
        self.0.iter().map(|batch| batch.messages.capacity()).sum()
    }
}

/// Batches on their way into the queue, of other threads' messages.
#[derive(Debug)]
pub(crate) struct Batches<C: 'static> {
    /// The last one is filled.
    pub(super) filled: VecDeque<Batch<C>>,
    pub(super) spare: Spare<C>,
}

impl<C> Default for Batches<C> {
    fn default() -> Self {
        Batches { filled: VecDeque::new(), spare: Spare::default() }
    }
}

impl<C> Batches<C> {
    pub(crate) fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }

    /// A place for one more message.
    #[inline]
    pub(crate) fn place(&mut self) -> &mut Message<C> {
        if self.filled.back().is_none_or(|last| last.tail == BATCH) {
            self.filled.push_back(self.spare.take());
        }
        self.filled.back_mut().and_then(Batch::place).expect("there is room now")
    }

    /// Whether whoever has filled the last place should give way: so many wait already, and it is one in [`STEP`].
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.filled.len() > CROWD && self.filled.back().is_some_and(|last| last.tail.is_multiple_of(STEP))
    }

    /// Takes out the empty batches but for `kept` of them.
    pub(crate) fn take_spare(&mut self, kept: usize) -> Spare<C> {
        self.spare.take_all_but(kept)
    }
}
