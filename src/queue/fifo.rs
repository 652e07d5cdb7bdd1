//! Plain messages, in posting order: each lies where it was written until it is taken out.
//!
//! They lie in *batches*. Those of other threads are filled in the inbox and come in as they are: nothing is copied. One
//! that is cancelled is emptied in place.

use std::collections::VecDeque;

use crate::{
    queue::{
        batch::{BATCH, Batch, Batches, Spare},
        message::{Message, Seq},
    },
    sys::time::Moment,
};

/// How many empty batches are kept with nothing to run. As long as there is something, all are: a burst that fetches its
/// memory from the system again takes four times as long (W1a-cb with a million).
const SPARE: usize = 64;

/// How many are kept over a sleep, and as many for the inbox.
const SPARE_ASLEEP: usize = 4;

/// A batch of so few messages is copied into the last one when it comes in, unless the queue has run dry: thousands of
/// them, each with a message or two, would be as slow to search and to take apart as so many messages.
const FEW: usize = BATCH / 8;

/// How many emptied places are not worth a sweep.
const COMMON_VACANT: usize = 32;

/// The plain messages of the queue.
#[derive(Debug)]
pub(crate) struct Fifo<C: 'static> {
    /// Those that are taken out.
    first: Batch<C>,
    rest: VecDeque<Batch<C>>,
    /// How many places those in between have, also those that were emptied.
    rest_places: usize,
    /// Those that are put in, behind all others, as long as there is such a batch: if not, they go into the first one.
    last: Batch<C>,
    has_last: bool,
    spare: Spare<C>,
    /// How many empty batches the inbox is given, if there are so many.
    lent: usize,
    /// How many of all were emptied.
    vacant: usize,
}

impl<C> Default for Fifo<C> {
    fn default() -> Self {
        Fifo {
            first: Batch::default(),
            rest: VecDeque::new(),
            rest_places: 0,
            last: Batch::default(),
            has_last: false,
            spare: Spare::default(),
            lent: SPARE_ASLEEP,
            vacant: 0,
        }
    }
}

impl<C> Fifo<C> {
    /// Whether there is no place in use, not even one that was emptied.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.head == self.first.tail && !self.has_last
    }

    /// Fast path: a place behind all others, if there is one. Otherwise [`make_place`](Fifo::make_place) makes room.
    #[inline(always)]
    pub(crate) fn place(&mut self) -> Option<&mut Message<C>> {
        let behind = if self.has_last { &mut self.last } else { &mut self.first };
        let place = behind.messages.get_mut(behind.tail)?;
        behind.tail += 1;
        Some(place)
    }

    /// A place behind all others.
    pub(crate) fn make_place(&mut self) -> &mut Message<C> {
        let behind = if self.has_last { &self.last } else { &self.first };
        if behind.tail == behind.messages.len() {
            self.make_room();
        }
        let behind = if self.has_last { &mut self.last } else { &mut self.first };
        let tail = behind.tail;
        behind.tail += 1;
        &mut behind.messages[tail]
    }

    /// Makes room for one more behind all others.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self) {
        let behind = if self.has_last { &mut self.last } else { &mut self.first };
        if behind.tail == behind.messages.len() && !behind.add_places() {
            let empty = self.spare.take();
            self.put_last(empty);
            self.make_room();
        }
    }

    /// Puts a batch behind all others.
    fn put_last(&mut self, batch: Batch<C>) {
        let former = std::mem::replace(&mut self.last, batch);
        if std::mem::replace(&mut self.has_last, true) {
            self.rest_places += former.places();
            self.rest.push_back(former);
        }
    }

    /// All batches, in their order.
    fn batches(&self) -> impl Iterator<Item = &Batch<C>> {
        std::iter::once(&self.first).chain(&self.rest).chain(self.has_last.then_some(&self.last))
    }

    fn into_batches(self) -> impl Iterator<Item = Batch<C>> {
        std::iter::once(self.first).chain(self.rest).chain(self.has_last.then_some(self.last))
    }

    /// Fast path: hands `take` the first message, if that lies at the head, with something in it.
    #[inline(always)]
    pub(crate) fn pop_with<R>(&mut self, take: impl FnOnce(&mut Message<C>) -> R) -> Option<R> {
        // In a place that is free or was emptied, there is nothing.
        let first = self.first.messages.get_mut(self.first.head).filter(|first| first.body.is_filled())?;
        self.first.head += 1;
        Some(take(first))
    }

    /// The first message, for taking it out, and when it is due; it is out.
    pub(crate) fn pop(&mut self) -> Option<(&mut Message<C>, Moment)> {
        while self.first.head == self.first.tail || self.first.messages.get(self.first.head)?.is_vacant() {
            if !self.skip_place() {
                return None;
            }
        }
        let floor = self.first.floor;
        let message = self.first.messages.get_mut(self.first.head)?;
        self.first.head += 1;
        let when = message.when.max(floor);
        Some((message, when))
    }

    #[cold]
    #[inline(never)]
    fn next_batch(&mut self) -> bool {
        self.first.clear();
        let next = match self.rest.pop_front() {
            Some(next) => {
                self.rest_places -= next.places();
                next
            }
            None if std::mem::take(&mut self.has_last) => std::mem::take(&mut self.last),
            None => return false,
        };
        let empty = std::mem::replace(&mut self.first, next);
        self.spare.keep(empty);
        if self.rest.is_empty() {
            self.rest.shrink_to(SPARE);
        }
        true
    }

    /// Whether a burst has left more room than is kept over a sleep, here or in the inbox.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        self.most_spare() > SPARE_ASLEEP
    }

    /// Whether there is nothing to run, and it has left more than is kept then.
    #[inline]
    pub(crate) fn is_very_roomy(&self) -> bool {
        self.most_spare() > SPARE && self.is_empty()
    }

    fn most_spare(&self) -> usize {
        self.spare.len().max(self.lent)
    }

    /// Takes out what is not kept over a sleep.
    pub(crate) fn take_room(&mut self) -> Spare<C> {
        self.lent = SPARE_ASLEEP;
        self.spare.take_all_but(SPARE_ASLEEP)
    }

    /// Takes out half of it, but for what is kept with nothing to run.
    pub(crate) fn take_half_of_room(&mut self) -> Spare<C> {
        let kept = SPARE.max(self.most_spare() / 2);
        self.lent = self.lent.min(kept);
        self.spare.take_all_but(kept)
    }

    /// How many empty batches the inbox may keep.
    pub(crate) fn lent(&self) -> usize {
        self.lent
    }

    /// The first message, and when it is due.
    #[inline]
    pub(crate) fn front(&mut self) -> Option<(&Message<C>, Moment)> {
        while self.first.head == self.first.tail || self.first.messages.get(self.first.head)?.is_vacant() {
            if !self.skip_place() {
                return None;
            }
        }
        let message = self.first.messages.get(self.first.head)?;
        Some((message, message.when.max(self.first.floor)))
    }

    /// Goes on behind a place that was emptied, or with the next batch; whether there is one.
    #[cold]
    fn skip_place(&mut self) -> bool {
        if self.first.head == self.first.tail {
            return self.next_batch();
        }
        self.first.head += 1;
        self.first.vacant -= 1;
        self.vacant -= 1;
        true
    }

    /// Takes over what has come through the inbox, behind all others. What is due at `latest` is before it.
    ///
    /// Gives the inbox as many empty batches as ever came at once, so that heavy posters use memory again.
    pub(crate) fn append(&mut self, batches: &mut Batches<C>, latest: Moment) {
        self.lent = self.lent.max(batches.filled.len());
        for mut batch in batches.filled.drain(..) {
            batch.floor = latest;
            if batch.places() > FEW || self.is_empty() {
                self.put_last(batch);
                continue;
            }
            for message in &mut batch.messages[..batch.tail] {
                message.when = message.when.max(latest);
                *self.make_place() = message.take();
            }
            batches.spare.keep(batch);
        }
        batches.filled.shrink_to(SPARE);
        batches.spare.fill_up(self.lent, &mut self.spare);
    }

    /// The batch in which the message `seq` lies if it is pending: zero for the first one.
    fn batch_of(&self, seq: Seq) -> Option<usize> {
        let begins_before = |batch: &Batch<C>| batch.live().first().is_some_and(|first| first.seq <= seq);
        if self.has_last && begins_before(&self.last) {
            return Some(self.rest.len() + 1);
        }
        match self.rest.partition_point(begins_before) {
            0 if self.first.live().is_empty() => None,
            number => Some(number),
        }
    }

    fn batch(&self, number: usize) -> Option<&Batch<C>> {
        match number.checked_sub(1) {
            None => Some(&self.first),
            Some(behind) if behind == self.rest.len() && self.has_last => Some(&self.last),
            Some(behind) => self.rest.get(behind),
        }
    }

    fn batch_mut(&mut self, number: usize) -> Option<&mut Batch<C>> {
        match number.checked_sub(1) {
            None => Some(&mut self.first),
            Some(behind) if behind == self.rest.len() && self.has_last => Some(&mut self.last),
            Some(behind) => self.rest.get_mut(behind),
        }
    }

    /// The message `seq`, if it is pending.
    pub(crate) fn get(&self, seq: Seq) -> Option<(&Message<C>, Moment)> {
        let batch = self.batch(self.batch_of(seq)?)?;
        let at = batch.live().binary_search_by_key(&seq, |message| message.seq).ok()?;
        let message = batch.live().get(at).filter(|message| !message.is_vacant())?;
        Some((message, message.when.max(batch.floor)))
    }

    /// The message `seq`, if it is pending, for changing it.
    pub(crate) fn get_mut(&mut self, seq: Seq) -> Option<&mut Message<C>> {
        let number = self.batch_of(seq)?;
        let batch = self.batch_mut(number)?;
        let at = batch.live().binary_search_by_key(&seq, |message| message.seq).ok()?;
        batch.messages.get_mut(batch.head + at).filter(|message| !message.is_vacant())
    }

    /// Takes out the message `seq`, and leaves its place empty.
    pub(crate) fn take(&mut self, seq: Seq) -> Option<Message<C>> {
        let number = self.batch_of(seq)?;
        let taken = self.get_mut(seq)?.take();
        self.vacant += 1;
        if let Some(batch) = self.batch_mut(number) {
            batch.vacant += 1;
            if batch.is_all_vacant() {
                self.drop_batch(number);
            }
        }
        if self.vacant > COMMON_VACANT && self.vacant > self.places() / 4 * 3 {
            self.sweep();
        }
        Some(taken)
    }

    fn places(&self) -> usize {
        let last = if self.has_last { self.last.places() } else { 0 };
        self.first.places() + self.rest_places + last
    }

    /// Lets a batch go in which all places are empty.
    fn drop_batch(&mut self, number: usize) {
        let empty = match number.checked_sub(1) {
            None => {
                self.vacant -= self.first.vacant;
                return self.first.clear();
            }
            Some(behind) if behind == self.rest.len() => {
                let next = self.rest.pop_back();
                self.has_last = next.is_some();
                self.rest_places -= next.as_ref().map_or(0, Batch::places);
                Some(std::mem::replace(&mut self.last, next.unwrap_or_default()))
            }
            Some(behind) => {
                let empty = self.rest.remove(behind);
                self.rest_places -= empty.as_ref().map_or(0, Batch::places);
                empty
            }
        };
        if let Some(empty) = empty {
            self.vacant -= empty.vacant;
            self.spare.keep(empty);
        }
    }

    /// Moves those that are left together, in as many steps as were cancelled.
    #[cold]
    fn sweep(&mut self) {
        let mut swept = Fifo { spare: std::mem::take(&mut self.spare), lent: self.lent, ..Fifo::default() };
        for mut batch in std::mem::take(self).into_batches() {
            let floor = batch.floor;
            for message in &mut batch.messages[batch.head..batch.tail] {
                if !message.is_vacant() {
                    message.when = message.when.max(floor);
                    *swept.make_place() = message.take();
                }
            }
            swept.spare.keep(batch);
        }
        *self = swept;
    }

    /// The first message that was posted after `seq`.
    pub(crate) fn after(&self, seq: Option<Seq>) -> Option<(&Message<C>, Moment)> {
        let number = seq.and_then(|seq| self.batch_of(seq)).unwrap_or(0);
        self.batches().skip(number).find_map(|batch| {
            let from = seq.map_or(0, |seq| batch.live().partition_point(|message| message.seq <= seq));
            let message = batch.live()[from..].iter().find(|message| !message.is_vacant())?;
            Some((message, message.when.max(batch.floor)))
        })
    }

    /// All messages, in their order.
    pub(crate) fn into_messages(self) -> impl Iterator<Item = Message<C>> {
        let messages = self
            .into_batches()
            .flat_map(|Batch { messages, head, tail, .. }| messages.into_iter().skip(head).take(tail - head));
        messages.filter(|message| !message.is_vacant())
    }
}

#[cfg(all(test, not(alooper_loom)))]
impl<C> Fifo<C> {
    /// How many places are in use, also those that were emptied.
    pub(crate) fn standing(&self) -> usize {
        self.places()
    }

    /// For how many messages there is room.
    pub(crate) fn room(&self) -> usize {
        self.spare.room() + self.batches().map(|batch| batch.messages.capacity()).sum::<usize>()
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;
    use crate::queue::message::Address;

    /// Comes in from the inbox: so many batches of so many messages each.
    fn with_batches(count: i64, each: i64) -> (Fifo<()>, Batches<()>) {
        let (mut fifo, mut inbox) = (Fifo::default(), Batches::default());
        for order in 1..=count * each {
            let message = inbox.place();
            (message.seq, message.address) = (Seq::remote(order), Address::NOBODY);
            if order % each == 0 {
                fifo.append(&mut inbox, Moment::EARLIEST);
            }
        }
        (fifo, inbox)
    }

    /// Somebody asks after each post: the batches have a message each.
    #[test]
    fn r5_batches_of_a_message_each_come_together() {
        let (fifo, _) = with_batches(10_000, 1);

        assert!(fifo.batches().count() < 10_000 / BATCH + 3);
        assert!(fifo.room() < 10_000 + 3 * BATCH);
        let order = fifo.into_messages().map(|message| message.seq);
        assert!(order.eq((1..=10_000).map(Seq::remote)));
    }

    #[test]
    fn r5_places_that_were_emptied_are_counted_in_batches_that_are_not_full_too() {
        const EACH: i64 = FEW as i64 + 1;
        let (mut fifo, _) = with_batches(300, EACH);

        for order in (1..=300 * EACH).filter(|order| order % 8 != 0) {
            assert!(fifo.take(Seq::remote(order)).is_some());
        }

        let left = 300 * EACH / 8;
        assert!(fifo.standing() < 4 * left as usize + BATCH, "{} for {left}", fifo.standing());
        assert!(fifo.into_messages().map(|message| message.seq).eq((1..=left).map(|order| Seq::remote(8 * order))));
    }

    /// Posts through the inbox, brings it in and takes it out.
    fn pass(fifo: &mut Fifo<()>, inbox: &mut Batches<()>, batches: usize) {
        (0..batches * BATCH).for_each(|_| inbox.place().address = Address::NOBODY);
        fifo.append(inbox, Moment::EARLIEST);
        while fifo.pop().is_some() {}
    }

    #[test]
    fn c44_the_inbox_keeps_no_room_of_a_burst_over_a_sleep() {
        let (mut fifo, mut inbox) = (Fifo::default(), Batches::default());
        pass(&mut fifo, &mut inbox, 1000);
        assert!(fifo.is_roomy());

        drop(fifo.take_room());
        drop(inbox.take_spare(fifo.lent()));

        assert!(inbox.filled.capacity() <= 2 * SPARE, "room for {} batches", inbox.filled.capacity());
        assert!(!fifo.is_roomy() && inbox.spare.len() <= SPARE_ASLEEP, "{} batches", inbox.spare.len());
    }

    /// Whether the looper sleeps or not, and however the posts of others come together.
    #[test]
    fn c44_others_who_post_without_end_find_the_room_of_what_has_run() {
        let (mut fifo, mut inbox) = (Fifo::default(), Batches::default());

        for batches in (0..300).map(|round| [10, 100, 1, 70][round % 4]) {
            pass(&mut fifo, &mut inbox, batches);
        }

        let room = (fifo.room() + inbox.spare.room()) / BATCH;
        assert!(room <= 3 * 100, "room for {room} batches, where 100 came at most");
    }

    #[test]
    fn c44_with_nothing_to_run_the_room_of_a_burst_goes_back_by_halves_until_little_is_left() {
        let (mut fifo, mut inbox) = (Fifo::default(), Batches::default());
        pass(&mut fifo, &mut inbox, 10_000);

        let halvings = (0..100).take_while(|_| {
            let goes_on = fifo.is_very_roomy();
            drop(fifo.take_half_of_room());
            drop(inbox.take_spare(fifo.lent()));
            goes_on
        });

        assert!((5..15).contains(&halvings.count()));
        assert!(fifo.room() + inbox.spare.room() <= 3 * SPARE * BATCH);
    }
}
