//! Messages in the order in which they run, those that came in order apart from those that did not.
//!
//! Most messages are posted to run after all others that are due: they stand one behind the other and need no sorting.
//! A heap sorts those with a delay or a time. Each is found again in the queue's arena; what was taken out there is
//! *stale* here, passed over when it comes to the front, and swept out before it is three quarters.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    mem,
};

use crate::{
    planted::{self, Bug},
    queue::{
        node::{Nodes, Queued, Spot},
        place::{Lane, Number, Place},
    },
    time::Moment,
};

/// How many stale ones are not worth a sweep.
const COMMON_STALE: usize = 32;

/// How many timed messages are not worth sorting at once.
const COMMON_DUE: usize = 64;

/// How many of them are looked at to see whether many are due.
const SAMPLES: usize = 16;

/// For how many messages there is still room after a burst.
const COMMON_LENGTH: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The last one is the first to run.
    front: Vec<Spot>,
    plain: VecDeque<Spot>,
    timed: BinaryHeap<Reverse<Entry>>,
    /// Timed messages that were due together and have left the heap; the last one is the first to run. To sort many at
    /// once costs less than to take each out of a heap.
    due: Vec<Entry>,
    /// How many have come into the heap or gone since it was last gone through: what pays for going through it.
    credit: usize,
    /// How many of each lane are stale.
    stale: [usize; 3],
}

/// Where a timed message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    place: Place,
    slot: u32,
}

impl Entry {
    #[inline]
    fn spot(self) -> Spot {
        Spot { number: self.place.number(), slot: self.slot }
    }
}

/// The first message of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Head {
    pub(crate) place: Place,
    pub(crate) spot: Spot,
}

impl Line {
    /// Puts a message that lies in `slot` at its place. A plain one or one at the front is later than all others.
    #[inline]
    pub(crate) fn push(&mut self, when: Moment, spot: Spot) {
        match spot.number.lane() {
            Lane::Plain => self.plain.push_back(spot),
            Lane::Front if planted::is(Bug::FrontInOrder) => self.front.insert(0, spot),
            Lane::Front => self.front.push(spot),
            Lane::Timed => self.push_timed(Entry { place: Place::new(when, spot.number), slot: spot.slot }),
        }
    }

    fn push_timed(&mut self, entry: Entry) {
        // An eighth more, since many timers may stand for long; the heap would double its room.
        let length = self.timed.len();
        if length == self.timed.capacity() && length >= COMMON_LENGTH {
            self.timed.reserve_exact(length / 8);
        }
        self.timed.push(Reverse(entry));
        self.credit += 1;
    }

    /// Sorts the timed messages that are due at `now`, if they seem to be many of those that there are.
    #[inline]
    pub(crate) fn gather(&mut self, now: Moment) {
        let length = self.timed.len();
        if self.due.is_empty() && length >= COMMON_DUE && self.credit >= length / 4 {
            self.gather_due(now);
        }
    }

    #[cold]
    fn gather_due(&mut self, now: Moment) {
        let is_due = |Reverse(entry): &Reverse<Entry>| entry.place.when <= now;
        self.credit = 0;
        let some = self.timed.iter().step_by(self.timed.len() / SAMPLES);
        if some.filter(|entry| is_due(entry)).count() < SAMPLES / 4 {
            return;
        }
        let (due, later): (Vec<_>, Vec<_>) = mem::take(&mut self.timed).into_iter().partition(is_due);
        self.timed = later.into();
        self.due = due.into_iter().map(|Reverse(entry)| entry).collect();
        self.due.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// The first timed message.
    #[inline]
    fn first_timed(&self) -> Option<Entry> {
        let waiting = self.timed.peek().map(|Reverse(entry)| *entry);
        match (self.due.last(), waiting) {
            (Some(due), Some(waiting)) => Some(waiting.min(*due)),
            (due, waiting) => due.copied().or(waiting),
        }
    }

    /// Takes out the first timed message.
    #[inline]
    fn pop_timed(&mut self) {
        self.credit += 1;
        if self.due.last().copied() == self.first_timed() { _ = self.due.pop() } else { _ = self.timed.pop() }
    }

    /// As [`push`](Line::push), of a plain message.
    #[inline]
    pub(crate) fn push_plain(&mut self, spot: Spot) {
        self.plain.push_back(spot);
    }

    /// Takes out the first message, if there are none but plain ones.
    #[inline]
    pub(crate) fn pop_plain(&mut self) -> Option<Spot> {
        self.plain.pop_front()
    }

    /// The first message, if there are none but plain ones.
    #[inline]
    pub(crate) fn first_plain<T: Queued>(&self, nodes: &Nodes<T>) -> Option<Head> {
        let spot = *self.plain.front()?;
        let place = nodes.get(spot.slot)?.place();
        Some(Head { place, spot })
    }

    /// Whether there are none but plain messages, and none that is stale.
    pub(crate) fn is_plain(&self) -> bool {
        self.front.is_empty() && self.timed.is_empty() && self.due.is_empty() && self.stale == [0; 3]
    }

    /// Whether there is a plain message, or a stale one that has not come to the front.
    pub(crate) fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.front.is_empty() && self.plain.is_empty() && self.timed.is_empty() && self.due.is_empty()
    }

    /// The first message.
    pub(crate) fn head<T: Queued>(&mut self, nodes: &Nodes<T>) -> Option<Head> {
        if !self.front.is_empty() || self.stale != [0; 3] {
            return self.head_beyond_stale(nodes);
        }
        self.first(nodes)
    }

    #[cold]
    fn head_beyond_stale<T: Queued>(&mut self, nodes: &Nodes<T>) -> Option<Head> {
        while self.front.pop_if(|spot| !spot.is_live(nodes)).is_some() {
            self.stale[Lane::Front as usize] -= 1;
        }
        while self.plain.pop_front_if(|spot| !spot.is_live(nodes)).is_some() {
            self.stale[Lane::Plain as usize] -= 1;
        }
        while self.first_timed().is_some_and(|entry| !entry.spot().is_live(nodes)) {
            self.pop_timed();
            self.stale[Lane::Timed as usize] -= 1;
        }
        match self.front.last() {
            Some(spot) => Some(Head { place: Place::new(Moment::FRONT, spot.number), spot: *spot }),
            None => self.first(nodes),
        }
    }

    /// The first message, if none is at the front and the first ones are not stale.
    fn first<T: Queued>(&self, nodes: &Nodes<T>) -> Option<Head> {
        let timed = self.first_timed().map(|entry| Head { place: entry.place, spot: entry.spot() });
        match (self.first_plain(nodes), timed) {
            (Some(plain), Some(timed))
                if planted::is(Bug::TimedBeforePlain) && plain.place.when == timed.place.when =>
            {
                Some(timed)
            }
            (Some(plain), Some(timed)) => Some(plain.min(timed)),
            (plain, timed) => plain.or(timed),
        }
    }

    /// Takes out the first message, which is a `lane`'s.
    #[inline]
    pub(crate) fn pop(&mut self, lane: Lane) {
        match lane {
            Lane::Plain => _ = self.plain.pop_front(),
            Lane::Front => _ = self.front.pop(),
            Lane::Timed => self.pop_timed(),
        }
    }

    /// When the first timed message is due, or an earlier time, since it may be stale.
    #[inline]
    pub(crate) fn timed_from(&self) -> Moment {
        self.first_timed().map_or(Moment::NEVER, |entry| entry.place.when)
    }

    /// Notes that a message of a `lane` was taken out of the arena.
    pub(crate) fn note_stale<T: Queued>(&mut self, lane: Lane, nodes: &Nodes<T>) {
        let stale = &mut self.stale[lane as usize];
        *stale += 1;
        let length = match lane {
            Lane::Plain => self.plain.len(),
            Lane::Front => self.front.len(),
            Lane::Timed => self.timed.len() + self.due.len(),
        };
        // A sweep looks at each message, and where many are cancelled, most of them miss the cache.
        if *stale > COMMON_STALE && *stale > length / 4 * 3 {
            self.sweep(lane, nodes);
        }
    }

    /// Takes out what is stale, in as many steps as it took to make it so.
    #[cold]
    fn sweep<T: Queued>(&mut self, lane: Lane, nodes: &Nodes<T>) {
        self.stale[lane as usize] = 0;
        match lane {
            Lane::Plain => self.plain.retain(|spot| spot.is_live(nodes)),
            Lane::Front => self.front.retain(|spot| spot.is_live(nodes)),
            Lane::Timed => {
                self.timed.retain(|Reverse(entry)| entry.spot().is_live(nodes));
                self.due.retain(|entry| entry.spot().is_live(nodes));
            }
        }
    }

    /// Whether a burst has left room.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        is_roomy(self.plain.len(), self.plain.capacity())
            || is_roomy(self.front.len(), self.front.capacity())
            || is_roomy(self.timed.len(), self.timed.capacity())
            || is_roomy(self.due.len(), self.due.capacity())
    }

    /// Gives back the room that a burst has left.
    pub(crate) fn trim(&mut self) {
        if is_roomy(self.plain.len(), self.plain.capacity()) {
            self.plain.shrink_to(COMMON_LENGTH);
        }
        if is_roomy(self.front.len(), self.front.capacity()) {
            self.front.shrink_to(COMMON_LENGTH);
        }
        if is_roomy(self.timed.len(), self.timed.capacity()) {
            self.timed.shrink_to(COMMON_LENGTH);
        }
        if is_roomy(self.due.len(), self.due.capacity()) {
            self.due.shrink_to(COMMON_LENGTH);
        }
    }

    /// Where the message `number` lies, which is not a timed one.
    pub(crate) fn find(&self, number: Number) -> Option<Spot> {
        match number.lane() {
            Lane::Plain => {
                let at = self.plain.binary_search_by_key(&number, |spot| spot.number).ok()?;
                self.plain.get(at).copied()
            }
            Lane::Front => {
                let at = self.front.binary_search_by_key(&number, |spot| spot.number).ok()?;
                self.front.get(at).copied()
            }
            Lane::Timed => None,
        }
    }

    /// All messages, in their order but for timed ones, also those that are stale.
    pub(crate) fn into_spots(self) -> impl Iterator<Item = Spot> {
        let timed = self.timed.into_iter().map(|Reverse(entry)| entry).chain(self.due).map(Entry::spot);
        self.front.into_iter().rev().chain(self.plain).chain(timed)
    }

    /// Takes out the messages that are due later than `now`, in no order.
    pub(crate) fn split_later<T: Queued>(&mut self, now: Moment, nodes: &Nodes<T>) -> Vec<Spot> {
        self.sweep(Lane::Timed, nodes);
        let now = if planted::is(Bug::DropDue) { Moment::from_nanos(now.as_nanos() - 1) } else { now };
        // What has been due still is.
        let later: Vec<Spot> = self
            .timed
            .iter()
            .filter(|Reverse(entry)| entry.place.when > now)
            .map(|Reverse(entry)| entry.spot())
            .collect();
        self.timed.retain(|Reverse(entry)| entry.place.when <= now);
        later
    }
}

/// Whether there is much more room than is needed.
#[inline]
fn is_roomy(length: usize, capacity: usize) -> bool {
    capacity > COMMON_LENGTH && length < capacity / 4
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;

    impl Line {
        /// How many messages stand in it, also those that are stale.
        pub(crate) fn standing(&self) -> usize {
            self.front.len() + self.plain.len() + self.timed.len() + self.due.len()
        }
    }

    fn at(nanos: i64) -> Moment {
        Moment::from_nanos(nanos)
    }

    /// `count` messages of a lane, a nanosecond apart.
    fn line_of(lane: Lane, count: i64) -> Line {
        let mut line = Line::default();
        (1..=count).for_each(|order| push(&mut line, lane, order));
        line
    }

    fn push(line: &mut Line, lane: Lane, order: i64) {
        line.push(at(order), Spot { number: Number::new(order, lane, false), slot: order as u32 });
    }

    /// C44: where what is needed ends, and a burst's room begins.
    #[test]
    fn c44_much_more_room_than_is_needed_is_more_than_four_times_and_more_than_common() {
        assert!(!is_roomy(0, 1024), "that is common");
        assert!(is_roomy(0, 1025));
        assert!(is_roomy(255, 1025));
        assert!(!is_roomy(256, 1025));
        assert!(!is_roomy(1025, 1025));
    }

    #[test]
    fn c44_the_room_that_a_burst_has_left_is_given_back_in_each_lane() {
        for lane in [Lane::Plain, Lane::Front, Lane::Timed] {
            let mut line = line_of(lane, 10_000);
            assert!(!line.is_roomy(), "{lane:?}: it is used");

            (0..10_000).for_each(|_| line.pop(lane));

            assert!(line.is_roomy(), "{lane:?}");
            line.trim();
            assert!(!line.is_roomy(), "{lane:?}");
        }
    }

    #[test]
    fn c44_c47_the_room_of_those_that_were_due_at_once_is_given_back() {
        let mut line = line_of(Lane::Timed, 10_000);
        line.gather(at(10_000));
        line.trim();
        assert!(!line.is_roomy(), "they have left the heap");

        (0..10_000).for_each(|_| line.pop(Lane::Timed));

        assert!(line.is_roomy());
        line.trim();
        assert!(!line.is_roomy());
    }

    /// C44: timers may stand for long.
    #[test]
    fn c44_many_timers_have_an_eighth_of_room_to_spare_at_most() {
        let mut line = Line::default();
        let mut growths = 0;

        for order in 1..=100_000 {
            let before = line.timed.capacity();
            push(&mut line, Lane::Timed, order);
            growths += usize::from(line.timed.capacity() != before);
            let most = (line.timed.len() * 9 / 8 + 1).max(2048);
            assert!(line.timed.capacity() <= most, "{} for {order}", line.timed.capacity());
        }

        assert!(growths < 60, "they were moved {growths} times");
    }

    #[test]
    fn c47_many_that_are_due_leave_the_heap_at_once_and_few_do_not() {
        let mut few = line_of(Lane::Timed, 63);
        few.gather(at(63));
        assert_eq!((few.due.len(), few.timed.len()), (0, 63), "they are not worth it");

        let mut many = line_of(Lane::Timed, 64);
        many.gather(at(40));
        assert_eq!((many.due.len(), many.timed.len()), (40, 24));
        assert_eq!(many.first_timed().map(|entry| entry.place.when), Some(at(1)));

        let mut early = line_of(Lane::Timed, 1000);
        early.gather(at(10));
        assert_eq!((early.due.len(), early.timed.len()), (0, 1000), "most are not due");
    }

    /// C47: what goes through all of the timed messages is paid for by as many that came or went.
    #[test]
    fn c47_timed_messages_are_not_looked_through_again_until_a_quarter_came_or_went() {
        let mut line = line_of(Lane::Timed, 1000);
        line.gather(at(10));
        let all_are_due = at(2000);
        (0..100).for_each(|_| line.pop(Lane::Timed));
        (1001..=1129).for_each(|order| push(&mut line, Lane::Timed, order));

        line.gather(all_are_due);
        assert_eq!(line.due.len(), 0, "229 of 1029 are less than a quarter");

        (1130..=1180).for_each(|order| push(&mut line, Lane::Timed, order));
        line.gather(all_are_due);
        assert_eq!(line.due.len(), 1080, "280 of them are more");
        assert!(line.timed.is_empty());
    }
}
