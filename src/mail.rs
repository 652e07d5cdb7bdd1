//! Messages on their way into the queue, and the numbers of all posts.

use std::collections::VecDeque;

use crate::{
    clock::Moment,
    node::Extra,
    place::{Lane, Number},
};

/// How many posts of the looper's own thread are numbered between two of others: each has the number of the last post
/// from afar, and counts on from there.
pub(crate) const BLOCK_BITS: u32 = 8;

/// Messages from other threads, in posting order.
#[derive(Debug)]
pub(crate) struct Mail<T> {
    pub(crate) messages: Vec<(Number, Moment, T)>,
    /// What few of them have besides.
    pub(crate) extras: VecDeque<(Number, Extra)>,
}

impl<T> Mail<T> {
    pub(crate) fn capacity(&self) -> usize {
        self.messages.capacity().max(self.extras.capacity())
    }

    /// Gives back what room there is for more than `count` messages, if there are not more.
    pub(crate) fn shrink_to(&mut self, count: usize) {
        self.messages.shrink_to(count);
        self.extras.shrink_to(count);
    }
}

impl<T> Default for Mail<T> {
    fn default() -> Self {
        Mail { messages: Vec::new(), extras: VecDeque::new() }
    }
}

/// Numbers for the posts of the looper's own thread, which need not ask for each of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    block: i64,
    used: i64,
}

impl Numbers {
    /// A number that is higher than all before, if there is one left in the block.
    #[inline]
    pub(crate) fn next(&mut self, lane: Lane, asynchronous: bool) -> Option<Number> {
        if self.used + 1 >= 1 << BLOCK_BITS {
            return None;
        }
        self.used += 1;
        Some(Number::new((self.block << BLOCK_BITS) + self.used, lane, asynchronous))
    }

    /// Goes on in `block`.
    pub(crate) fn move_to(&mut self, block: i64) {
        if self.block != block {
            *self = Numbers { block, used: 0 };
        }
    }
}
