//! Messages on their way into the queue, and the numbers of all posts.

use std::{collections::VecDeque, mem};

use crate::{
    clock::Moment,
    node::{Extra, Queued},
    place::{Lane, Number},
};

/// How many posts of the looper's own thread are numbered between two of others: each has the number of the last post
/// from afar, and counts on from there.
pub(crate) const BLOCK_BITS: u32 = 8;

/// Messages from other threads, in posting order.
///
/// Like the queue's arena, it keeps the places of messages that are gone, and fills them where they lie.
#[derive(Debug)]
pub(crate) struct Mail<T> {
    places: Vec<Posting<T>>,
    /// How many of the places have a message; nothing in the others runs.
    used: usize,
    /// What few of them have besides.
    extras: VecDeque<(Number, Extra)>,
}

/// A message on its way.
#[derive(Debug)]
struct Posting<T> {
    number: Number,
    when: Moment,
    value: T,
}

impl<T: Queued> Mail<T> {
    /// Adds a message that `fill` makes where it lies.
    #[inline]
    pub(crate) fn push(&mut self, number: Number, when: Moment, extra: Extra, fill: impl FnOnce(&mut T)) {
        if self.used == self.places.len() {
            self.add_place();
        }
        let place = &mut self.places[self.used];
        self.used += 1;
        place.number = number;
        place.when = when;
        fill(&mut place.value);
        if !extra.is_empty() {
            self.extras.push_back((number, extra));
        }
    }

    #[cold]
    fn add_place(&mut self) {
        self.places.push(Posting { number: Number::NONE, when: Moment::EARLIEST, value: T::none() });
    }

    /// Hands out each message, to be moved to somewhere else.
    #[inline]
    pub(crate) fn empty(&mut self, mut take: impl FnMut(Number, Moment, &mut T, Extra)) {
        for Posting { number, when, value } in &mut self.places[..mem::take(&mut self.used)] {
            let extra = self.extras.pop_front_if(|(with, _)| with == number).map(|(_, extra)| extra);
            take(*number, *when, value, extra.unwrap_or_default());
        }
    }
}

impl<T> Mail<T> {
    #[cfg(all(test, not(alooper_loom)))]
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// The number of the message that came last.
    pub(crate) fn last(&self) -> Option<Number> {
        let last = self.used.checked_sub(1)?;
        self.places.get(last).map(|place| place.number)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.places.capacity().max(self.extras.capacity())
    }

    /// Gives back what room there is for more than `count` messages, if there are not more.
    pub(crate) fn shrink_to(&mut self, count: usize) {
        self.places.truncate(count.max(self.used));
        self.places.shrink_to(count);
        self.extras.shrink_to(count);
    }
}

impl<T> Default for Mail<T> {
    fn default() -> Self {
        Mail { places: Vec::new(), used: 0, extras: VecDeque::new() }
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
