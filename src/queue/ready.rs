//! Plain messages, in posting order: each lies where it was written until it is taken out.
//!
//! They lie in *batches*. Those of other threads are filled in the inbox and come in as they are: nothing is copied. One
//! that is cancelled is emptied in place.

use std::collections::VecDeque;

use crate::{
    queue::message::{Message, Seq},
    time::Moment,
};

/// How many messages a batch has room for.
pub(crate) const BATCH: usize = 256;

/// How many empty batches are kept for the next messages, while the looper does not sleep.
const SPARE: usize = 64;

/// How many of these are kept when it falls asleep.
const SPARE_ASLEEP: usize = 4;

/// A batch of so few messages is copied into the last one when it comes in, unless the queue has run dry: thousands of
/// them, each with a message or two, would be as slow to search and to take apart as so many messages.
const FEW: usize = BATCH / 8;

/// How many emptied places are not worth a sweep.
const COMMON_VACANT: usize = 32;

/// Messages in posting order. It keeps the places of those that are gone, and fills them where they lie.
#[derive(Debug)]
pub(crate) struct Batch<C: 'static> {
    messages: Vec<Message<C>>,
    /// The first one that was not taken out.
    head: usize,
    /// The first place that is free.
    tail: usize,
    /// How many between these were emptied.
    vacant: usize,
    /// No message in it is due earlier: what was due by then was queued before the batch came in.
    floor: Moment,
}

impl<C> Default for Batch<C> {
    fn default() -> Self {
        Batch { messages: Vec::new(), head: 0, tail: 0, vacant: 0, floor: Moment::EARLIEST }
    }
}

impl<C> Batch<C> {
    /// A place for one more message, if there is room.
    #[inline(always)]
    fn place(&mut self) -> Option<&mut Message<C>> {
        if self.tail == self.messages.len() && !self.add_place() {
            return None;
        }
        let place = self.messages.get_mut(self.tail);
        self.tail += 1;
        place
    }

    #[cold]
    #[inline(never)]
    fn add_place(&mut self) -> bool {
        let has_room = self.messages.len() < BATCH;
        if has_room {
            self.messages.push(Message::vacant());
        }
        has_room
    }

    fn clear(&mut self) {
        (self.head, self.tail, self.vacant, self.floor) = (0, 0, 0, Moment::EARLIEST);
    }

    /// Those that were not taken out, also those that were emptied.
    fn live(&self) -> &[Message<C>] {
        &self.messages[self.head..self.tail]
    }

    /// How many places are in use, also those that were emptied.
    fn places(&self) -> usize {
        self.tail - self.head
    }

    fn is_all_vacant(&self) -> bool {
        self.vacant == self.places()
    }
}

/// Batches on their way into the queue, of other threads' messages.
#[derive(Debug)]
pub(crate) struct Batches<C: 'static> {
    /// The last one is filled.
    filled: VecDeque<Batch<C>>,
    spare: Vec<Batch<C>>,
}

impl<C> Default for Batches<C> {
    fn default() -> Self {
        Batches { filled: VecDeque::new(), spare: Vec::new() }
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
            self.filled.push_back(self.spare.pop().unwrap_or_default());
        }
        self.filled.back_mut().and_then(Batch::place).expect("there is room now")
    }
}

/// The plain messages of the queue.
#[derive(Debug)]
pub(crate) struct Ready<C: 'static> {
    /// Those that are taken out.
    first: Batch<C>,
    rest: VecDeque<Batch<C>>,
    /// How many places those in between have, also those that were emptied.
    rest_places: usize,
    /// Those that are put in, behind all others, as long as there is such a batch: if not, they go into the first one.
    last: Batch<C>,
    has_last: bool,
    spare: Vec<Batch<C>>,
    /// How many of all were emptied.
    vacant: usize,
}

impl<C> Default for Ready<C> {
    fn default() -> Self {
        Ready {
            first: Batch::default(),
            rest: VecDeque::new(),
            rest_places: 0,
            last: Batch::default(),
            has_last: false,
            spare: Vec::new(),
            vacant: 0,
        }
    }
}

impl<C> Ready<C> {
    /// Whether there is no place in use, not even one that was emptied.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.head == self.first.tail && !self.has_last
    }

    /// A place behind all others.
    #[inline(always)]
    pub(crate) fn place(&mut self) -> &mut Message<C> {
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
        if behind.tail == behind.messages.len() && !behind.add_place() {
            let empty = self.spare.pop().unwrap_or_default();
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

    /// The first message, for taking it out, and when it is due; it is out.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<(&mut Message<C>, Moment)> {
        loop {
            if self.first.head == self.first.tail && !self.next_batch() {
                return None;
            }
            let head = self.first.head;
            self.first.head += 1;
            if self.first.messages.get(head)?.is_vacant() {
                self.first.vacant -= 1;
                self.vacant -= 1;
                continue;
            }
            let floor = self.first.floor;
            let message = self.first.messages.get_mut(head)?;
            let when = message.when.max(floor);
            return Some((message, when));
        }
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
        self.keep(empty);
        if self.rest.is_empty() {
            self.rest.shrink_to(SPARE);
        }
        true
    }

    /// Whether a burst has left more room than is kept over a sleep.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        self.spare.len() > SPARE_ASLEEP
    }

    /// Gives back the room that a burst has left.
    #[cold]
    pub(crate) fn give_back_room(&mut self) {
        self.spare.truncate(SPARE_ASLEEP);
        self.spare.shrink_to(SPARE_ASLEEP);
    }

    fn keep(&mut self, mut empty: Batch<C>) {
        empty.clear();
        if self.spare.len() < SPARE {
            self.spare.push(empty);
        }
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

    /// Takes over what has come through the inbox, behind all others, and gives it empty batches back. What is due at
    /// `latest` is before it.
    pub(crate) fn append(&mut self, batches: &mut Batches<C>, latest: Moment) {
        for mut batch in batches.filled.drain(..) {
            batch.floor = latest;
            if batch.places() > FEW || self.is_empty() {
                self.put_last(batch);
                continue;
            }
            for message in &mut batch.messages[..batch.tail] {
                message.when = message.when.max(latest);
                *self.place() = message.take();
            }
            batch.clear();
            batches.spare.push(batch);
        }
        batches.filled.shrink_to(SPARE);
        batches.spare.truncate(SPARE_ASLEEP);
        while batches.spare.len() < SPARE_ASLEEP
            && let Some(empty) = self.spare.pop()
        {
            batches.spare.push(empty);
        }
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
            self.keep(empty);
        }
    }

    /// Moves those that are left together, in as many steps as were cancelled.
    #[cold]
    fn sweep(&mut self) {
        let mut swept = Ready { spare: std::mem::take(&mut self.spare), ..Ready::default() };
        for mut batch in std::mem::take(self).into_batches() {
            let floor = batch.floor;
            for message in &mut batch.messages[batch.head..batch.tail] {
                if !message.is_vacant() {
                    message.when = message.when.max(floor);
                    *swept.place() = message.take();
                }
            }
            swept.keep(batch);
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
impl<C> Ready<C> {
    /// How many places are in use, also those that were emptied.
    pub(crate) fn standing(&self) -> usize {
        self.places()
    }

    /// For how many messages there is room.
    pub(crate) fn room(&self) -> usize {
        self.batches().chain(&self.spare).map(|batch| batch.messages.capacity()).sum()
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;
    use crate::queue::message::Address;

    /// Comes in from the inbox: so many batches of so many messages each.
    fn with_batches(count: i64, each: i64) -> (Ready<()>, Batches<()>) {
        let (mut ready, mut inbox) = (Ready::default(), Batches::default());
        for order in 1..=count * each {
            let message = inbox.place();
            (message.seq, message.address) = (Seq::remote(order), Address::NOBODY);
            if order % each == 0 {
                ready.append(&mut inbox, Moment::EARLIEST);
            }
        }
        (ready, inbox)
    }

    /// Somebody asks after each post: the batches have a message each.
    #[test]
    fn r5_batches_of_a_message_each_come_together() {
        let (ready, _) = with_batches(10_000, 1);

        assert!(ready.batches().count() < 10_000 / BATCH + 3);
        assert!(ready.room() < 10_000 + 3 * BATCH);
        let order = ready.into_messages().map(|message| message.seq);
        assert!(order.eq((1..=10_000).map(Seq::remote)));
    }

    #[test]
    fn r5_places_that_were_emptied_are_counted_in_batches_that_are_not_full_too() {
        const EACH: i64 = FEW as i64 + 1;
        let (mut ready, _) = with_batches(300, EACH);

        for order in (1..=300 * EACH).filter(|order| order % 8 != 0) {
            assert!(ready.take(Seq::remote(order)).is_some());
        }

        let left = 300 * EACH / 8;
        assert!(ready.standing() < 4 * left as usize + BATCH, "{} for {left}", ready.standing());
        assert!(ready.into_messages().map(|message| message.seq).eq((1..=left).map(|order| Seq::remote(8 * order))));
    }

    #[test]
    fn m1_the_inbox_keeps_no_room_of_a_burst() {
        let mut inbox = Batches::<()>::default();
        for order in 1..=1000 * BATCH as i64 {
            inbox.place().seq = Seq::remote(order);
        }

        Ready::default().append(&mut inbox, Moment::EARLIEST);

        assert!(inbox.filled.capacity() <= 2 * SPARE, "room for {} batches", inbox.filled.capacity());
    }
}
