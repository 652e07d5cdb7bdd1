//! Messages on their way into the queue, and the numbers of all posts.

use std::{collections::VecDeque, mem};

use crate::{
    queue::{
        node::{Extra, Queued},
        place::{Lane, Number},
    },
    time::Moment,
};

/// How many posts of the looper's own thread are numbered between two of others: each has the number of the last post
/// from afar, and counts on from there.
pub(crate) const BLOCK_BITS: u32 = 8;

/// How many plain messages go into the queue at once: as many as a turn runs unless set, so that no turn moves more than
/// it may run, however many wait.
pub(crate) const BATCH: usize = 256;

/// How many batches are kept for the next messages.
const SPARE: usize = 4;

/// For how many messages other than plain ones there is still room after a burst.
const COMMON_MAIL: usize = 1024;

/// Messages that are not in the queue yet, in posting order.
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
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Takes out the messages as they are.
    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.places.into_iter().take(self.used).map(|place| place.value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Gives back the room that a burst has left, when it is empty.
    pub(crate) fn trim(&mut self) {
        if self.places.capacity().max(self.extras.capacity()) > COMMON_MAIL {
            self.places.truncate(COMMON_MAIL);
            self.places.shrink_to(COMMON_MAIL);
            self.extras.shrink_to(COMMON_MAIL);
        }
    }
}

impl<T> Default for Mail<T> {
    fn default() -> Self {
        Mail { places: Vec::new(), used: 0, extras: VecDeque::new() }
    }
}

/// Plain messages that are not in the queue yet, in batches that go there one at a time.
#[derive(Debug)]
pub(crate) struct Batches<T> {
    /// The last one is filled.
    batches: VecDeque<Mail<T>>,
    spare: Vec<Mail<T>>,
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Batches { batches: VecDeque::new(), spare: Vec::new() }
    }
}

impl<T> Batches<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Takes all batches, which cost nothing to take, and gives back the room of those that `other` has emptied.
    pub(crate) fn move_to(&mut self, other: &mut Batches<T>) {
        other.batches.append(&mut self.batches);
        while self.spare.len() < SPARE
            && let Some(room) = other.spare.pop()
        {
            self.spare.push(room);
        }
    }

    /// Takes out the first batch.
    pub(crate) fn pop(&mut self) -> Option<Mail<T>> {
        self.batches.pop_front()
    }

    /// Keeps the room of a batch that is empty.
    pub(crate) fn give_back(&mut self, room: Mail<T>) {
        if self.spare.len() < SPARE {
            self.spare.push(room);
        }
        if self.batches.is_empty() {
            self.batches.shrink_to(SPARE);
        }
    }

    /// Takes out all of them.
    pub(crate) fn take_all(&mut self) -> VecDeque<Mail<T>> {
        mem::take(&mut self.batches)
    }
}

impl<T: Queued> Batches<T> {
    /// The batch that the next message goes into.
    #[inline]
    pub(crate) fn last(&mut self) -> &mut Mail<T> {
        if self.batches.back().is_none_or(|last| last.used == BATCH) {
            self.add_batch();
        }
        self.batches.back_mut().expect("there is one now")
    }

    #[cold]
    fn add_batch(&mut self) {
        self.batches.push_back(self.spare.pop().unwrap_or_default());
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
