//! In which order and when messages run: pure data, no thread, no system call, no clock.

pub(crate) mod account;
mod barriers;
mod given_up;
pub(crate) mod index;
pub(crate) mod labels;
pub(crate) mod line;
pub(crate) mod mail;
pub(crate) mod node;
pub(crate) mod place;
mod slices;
#[cfg(all(test, not(alooper_loom)))]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::Arc,
    time::Duration,
};

pub(crate) use self::given_up::Dropped;
use crate::{
    core::item::Origin,
    mem::{arena::NOWHERE, slots::Key},
    planted::{self, Bug},
    queue::{
        account::{Account, ExitReport},
        index::{Index, Tokens},
        labels::Token,
        line::{Head, Line},
        node::{Address, Extra, Links, Nodes, Queued, Spot},
        place::{Lane, Name, Number, Place},
    },
    sys::sync::ThreadId,
    time::Moment,
};

/// For how many messages that have something besides there is still room after a burst.
const COMMON_EXTRAS: usize = 256;

/// The messages that are pending, in their order, and the account of all that ever were.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    nodes: Nodes<T>,
    /// There is nothing but plain messages that barriers hold up if there are any, and there are none; nobody looks at
    /// one, and none has anything besides. So the first in line is the first to run.
    is_plain: bool,
    /// Those that barriers hold up.
    synchronous: Line,
    /// Those that barriers let pass.
    asynchronous: Line,
    extras: Extras,
    /// The timed messages from other threads, who do not know where they lie.
    afar: HashMap<Number, u32>,
    /// While one stands, nothing behind it runs that is not asynchronous.
    barriers: BTreeMap<Place, Origin>,
    /// Those that were not reported.
    unreported: BTreeSet<Place>,
    /// Messages that a predicate is looking at, and the thread that runs it. They stay pending, but cannot run.
    held: BTreeMap<Number, ThreadId>,
    /// The looper found the next message held, and has to be told when it no longer is.
    is_blocked: bool,
    /// Idle handlers have still to run, and a barrier keeps them from it.
    is_idle_awaited: bool,
    index: Index,
    /// What a quit gave up, until the looper's thread takes it to drop it.
    dropped: Dropped<T>,
    /// How all that are not pending any more have ended; `posted` is the sum of all.
    account: Arc<Account>,
    /// The latest time that a plain message or a barrier was given: they never go back.
    latest: Moment,
}

/// What few messages have besides.
#[derive(Debug, Default)]
struct Extras(HashMap<Number, Extra>);

impl Tokens for Extras {
    fn token(&self, spot: Spot) -> Option<Token> {
        self.0.get(&spot.number)?.token
    }
}

/// A message that was taken out of the queue.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    pub(crate) value: T,
    /// The handler that it is for.
    pub(crate) target: Option<Key>,
    /// It was the last message of a handler that nobody can send anything any more.
    pub(crate) ends_target: bool,
}

/// A message that was taken out to be run, or nothing that runs: made once and filled for each message, since to hand
/// one out would cost more than to find it.
#[derive(Debug)]
pub(crate) struct Begun<T> {
    pub(crate) value: T,
    pub(crate) when: Moment,
    /// The handler that it is for.
    pub(crate) target: Option<Key>,
    /// It was the last message of a handler that nobody can send anything any more.
    pub(crate) ends_target: bool,
    /// When it was posted, if somebody watched.
    pub(crate) posted: Option<Moment>,
}

impl<T: Queued> Begun<T> {
    pub(crate) fn none() -> Begun<T> {
        Begun { value: T::none(), when: Moment::EARLIEST, target: None, ends_target: false, posted: None }
    }
}

/// What comes of the wish to look at a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is held from now on.
    Held,
    /// It is not pending any more.
    Gone,
    /// The calling thread holds it already.
    Mine,
    /// Another thread holds it.
    Busy,
}

impl<T> Queue<T> {
    /// Makes an empty queue, which keeps `account`.
    pub(crate) fn new(account: &Arc<Account>) -> Queue<T> {
        Queue {
            nodes: Nodes::default(),
            is_plain: true,
            synchronous: Line::default(),
            asynchronous: Line::default(),
            extras: Extras::default(),
            afar: HashMap::new(),
            barriers: BTreeMap::new(),
            unreported: BTreeSet::new(),
            held: BTreeMap::new(),
            is_blocked: false,
            is_idle_awaited: false,
            index: Index::default(),
            dropped: Dropped::default(),
            account: account.clone(),
            latest: Moment::EARLIEST,
        }
    }
}

impl<T: Queued> Queue<T> {
    /// Whether the next plain message can be put in by [`insert_plain`](Queue::insert_plain).
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Whether the first message is a plain one, and nothing else is to be asked.
    #[inline]
    pub(crate) fn begins_plain(&self) -> bool {
        self.is_plain && self.nodes.len() > 0
    }

    /// Whether there is a plain message, held up or not.
    pub(crate) fn has_plain(&self) -> bool {
        self.synchronous.has_plain() || self.asynchronous.has_plain()
    }

    /// Whether there is nothing, and no burst has left room. No more than a burst leaves in the arena can be anywhere
    /// else: all messages come through it.
    #[inline]
    pub(crate) fn is_calm(&self) -> bool {
        self.is_plain && self.nodes.len() == 0 && self.nodes.is_small()
    }

    /// As [`insert`](Queue::insert), for a plain message without anything besides that barriers hold up, in a queue
    /// that has nothing else; it gets the time of the one before.
    #[inline(always)]
    pub(crate) fn insert_plain(&mut self, number: Number, fill: impl FnOnce(&mut T)) -> Name {
        debug_assert!(self.is_plain, "there is nothing but plain ones");
        let (slot, node) = self.nodes.occupy();
        node.number = number;
        node.when = self.latest;
        fill(&mut node.value);
        let address = node.value.address();
        let spot = Spot { number, slot };
        if let Some(address) = address {
            self.index.insert(spot, address, None, &mut self.nodes);
        }
        self.synchronous.push_plain(spot);
        Name { number, slot }
    }

    /// Puts an accepted message at its place: where it lies. Its number is higher than all before. `fill` makes it.
    #[inline]
    pub(crate) fn insert(&mut self, number: Number, when: Moment, extra: Extra, fill: impl FnOnce(&mut T)) -> Name {
        let lane = number.lane();
        self.is_plain &= lane == Lane::Plain && !number.is_asynchronous() && extra.is_empty();
        // Plain messages run in the order in which they came, whatever their posters' clocks said.
        let when = if lane == Lane::Plain { self.stamp_no_earlier_than(when) } else { when };
        let (slot, node) = self.nodes.occupy();
        node.number = number;
        node.when = when;
        fill(&mut node.value);
        let address = node.value.address();
        let spot = Spot { number, slot };
        if !extra.is_empty() {
            self.extras.0.insert(number, extra);
        }
        if let Some(address) = address {
            self.index.insert(spot, address, extra.token, &mut self.nodes);
        }
        self.line(number).push(when, spot);
        Name { number, slot }
    }

    /// Moves a message from another thread to its place, so that it is found by its number alone.
    pub(crate) fn insert_from_afar(&mut self, number: Number, when: Moment, value: &mut T, extra: Extra) {
        if self.is_plain && number.is_common() && extra.is_empty() {
            self.stamp_no_earlier_than(when);
            self.insert_plain(number, |place| _ = value.move_to(place));
            return;
        }
        let Name { slot, .. } = self.insert(number, when, extra, |place| _ = value.move_to(place));
        if number.lane() == Lane::Timed {
            self.afar.insert(number, slot);
        }
    }

    /// The time for a plain message or a barrier of `when`: no earlier than that of any before.
    #[inline]
    fn stamp_no_earlier_than(&mut self, when: Moment) -> Moment {
        self.latest = self.latest.max(when);
        self.latest
    }

    /// The latest time that a plain message was given: a time for the next one, if no timed message has become due
    /// since.
    #[inline]
    pub(crate) fn latest(&self) -> Moment {
        self.latest
    }

    /// No timed message is due before this.
    #[inline]
    pub(crate) fn timed_from(&self) -> Moment {
        self.synchronous.timed_from().min(self.asynchronous.timed_from())
    }

    #[inline]
    fn line(&mut self, number: Number) -> &mut Line {
        if number.is_asynchronous() { &mut self.asynchronous } else { &mut self.synchronous }
    }

    /// Takes out the first message that may run, if it is due at `now`, to be run, and moves it to `begun`, in which
    /// nothing is left to run; otherwise tells when it is due. A plain one is always due.
    #[inline(always)]
    pub(crate) fn pop_due(&mut self, now: Moment, begun: &mut Begun<T>) -> Result<(), Option<Moment>> {
        if !self.is_plain {
            return self.pop_any(now, begun);
        }
        let spot = self.synchronous.pop_plain().ok_or(None)?;
        self.begin(spot, None, begun).ok_or(None)
    }

    #[inline(never)]
    fn pop_any(&mut self, now: Moment, begun: &mut Begun<T>) -> Result<(), Option<Moment>> {
        let Some(head) = self.next() else {
            self.look_whether_plain();
            return Err(None);
        };
        let lane = head.spot.number.lane();
        if lane == Lane::Timed && head.place.when > now {
            return Err(Some(head.place.when));
        }
        let line = self.line(head.spot.number);
        if lane == Lane::Timed {
            line.gather(now);
        }
        line.pop(lane);
        let extra = self.take_extra(head.spot.number);
        let is_there = self.begin(head.spot, extra.token, begun);
        begun.posted = extra.posted;
        self.look_whether_plain();
        is_there.ok_or(None)
    }

    /// Takes out a message that is in no line any more, to be run.
    #[inline(always)]
    fn begin(&mut self, spot: Spot, token: Option<Token>, begun: &mut Begun<T>) -> Option<()> {
        let own = self.nodes.vacate(spot.slot, |node| {
            begun.when = node.when;
            node.value.move_to(&mut begun.value)
        })?;
        self.account.begun.add(1);
        (begun.target, begun.ends_target) = self.leave_index(spot, own, token);
        begun.posted = None;
        Some(())
    }

    fn look_whether_plain(&mut self) {
        self.is_plain = self.synchronous.is_plain()
            && self.asynchronous.is_empty()
            && self.barriers.is_empty()
            && self.held.is_empty()
            && self.extras.0.is_empty();
    }

    /// Takes a message that was taken out off the list of its handler, if it has one.
    #[inline(always)]
    fn leave_index(&mut self, spot: Spot, own: Option<(Address, Links)>, token: Option<Token>) -> (Option<Key>, bool) {
        match own {
            Some((address, links)) => self.index.remove(spot, address, token, links, &mut self.nodes),
            None => (None, false),
        }
    }

    /// The place of the first message that may run; `None` when there is none.
    #[inline]
    pub(crate) fn next_place(&mut self) -> Option<Place> {
        self.next().map(|head| head.place)
    }

    /// When the first message that may run is due; `None` when there is none.
    pub(crate) fn next_due(&mut self) -> Option<Moment> {
        self.next().map(|head| head.place.when)
    }

    /// The first message that may run: nothing may while the first one is being looked at.
    #[inline]
    fn next(&mut self) -> Option<Head> {
        if self.is_plain { self.synchronous.first_plain(&self.nodes) } else { self.next_of_all() }
    }

    fn next_of_all(&mut self) -> Option<Head> {
        let synchronous = self.synchronous.head(&self.nodes);
        let asynchronous = self.asynchronous.head(&self.nodes);
        let mut head = match (synchronous, asynchronous) {
            (Some(synchronous), Some(asynchronous)) => synchronous.min(asynchronous),
            (synchronous, asynchronous) => synchronous.or(asynchronous)?,
        };
        if let Some((barrier, _)) = self.barriers.first_key_value()
            && head.place > *barrier
            && !planted::is(Bug::PassBarrier)
        {
            head = asynchronous?;
        }
        if self.held.is_empty() { Some(head) } else { self.unless_held(head) }
    }

    #[cold]
    fn unless_held(&mut self, head: Head) -> Option<Head> {
        let is_held = self.held.contains_key(&head.spot.number) && !planted::is(Bug::RunHeld);
        self.is_blocked |= is_held;
        (!is_held).then_some(head)
    }

    /// What a message has besides, which it is found by no longer.
    fn take_extra(&mut self, number: Number) -> Extra {
        if !self.afar.is_empty() {
            self.afar.remove(&number);
        }
        if self.extras.0.is_empty() { Extra::default() } else { self.extras.0.remove(&number).unwrap_or_default() }
    }

    /// Takes a message out of everything but its line.
    fn take_from_arena(&mut self, spot: Spot) -> Option<Taken<T>> {
        let mut value = T::none();
        let extra = self.take_extra(spot.number);
        let own = self.nodes.vacate(spot.slot, |node| node.value.move_to(&mut value))?;
        let (target, ends_target) = self.leave_index(spot, own, extra.token);
        Some(Taken { value, target, ends_target })
    }

    /// Takes out a message that is somewhere in its line.
    fn take(&mut self, spot: Spot) -> Option<Taken<T>> {
        let taken = self.take_from_arena(spot)?;
        self.is_plain = false;
        let line = if spot.number.is_asynchronous() { &mut self.asynchronous } else { &mut self.synchronous };
        line.note_stale(spot.number.lane(), &self.nodes);
        Some(taken)
    }

    /// Where the message called `name` lies, if it is still pending.
    pub(crate) fn find(&self, name: Name) -> Option<Spot> {
        let Name { number, slot } = name;
        let spot = match number.lane() {
            _ if slot != NOWHERE => Spot { number, slot },
            Lane::Timed => Spot { number, slot: *self.afar.get(&number)? },
            _ if number.is_asynchronous() => self.asynchronous.find(number)?,
            _ => self.synchronous.find(number)?,
        };
        spot.is_live(&self.nodes).then_some(spot)
    }

    /// Takes out the message at `spot` because it was cancelled.
    pub(crate) fn cancel(&mut self, spot: Spot) -> Option<Taken<T>> {
        if !spot.is_live(&self.nodes) {
            return None;
        }
        let taken = self.take(spot)?;
        self.account.removed.add(1);
        Some(taken)
    }

    /// Takes out the message called `name` because it was cancelled.
    pub(crate) fn cancel_name(&mut self, name: Name) -> Option<Taken<T>> {
        let spot = self.find(name)?;
        self.cancel(spot)
    }

    /// Whether the message at `spot` is still pending.
    pub(crate) fn contains(&self, spot: Spot) -> bool {
        spot.is_live(&self.nodes)
    }

    /// The message at `spot`, for changing it.
    pub(crate) fn get_mut(&mut self, spot: Spot) -> Option<&mut T> {
        self.nodes.get_mut(spot.slot).filter(|node| node.number == spot.number).map(|node| &mut node.value)
    }

    /// Whose messages they are.
    pub(crate) fn index(&mut self) -> &mut Index {
        &mut self.index
    }

    /// Notes a new handler whose messages are of the type `name`.
    pub(crate) fn add_target(&mut self, name: &'static str) -> Key {
        self.index.add_target(name)
    }

    /// Counts a message that was taken out to be run as cancelled: it was before it began.
    pub(crate) fn count_as_cancelled(&mut self) {
        self.account.skipped.add(1);
    }

    /// Counts a message that was taken out to be run as given up: a quit was before it began.
    pub(crate) fn count_as_given_up(&mut self) {
        self.account.overtaken.add(1);
    }

    /// How all messages so far have ended that have come into the queue.
    pub(crate) fn account(&self) -> ExitReport {
        let ExitReport { run, removed, dropped, .. } = self.account.report();
        ExitReport { posted: run + removed + dropped + self.nodes.len() as u64, run, removed, dropped }
    }

    /// Whether a burst has left room.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        // What such a map keeps when it is trimmed to a length is less than room for twice as many, but may be more.
        let is_roomy = |length, capacity| capacity > 2 * COMMON_EXTRAS && length < capacity / 4;
        self.nodes.is_roomy()
            || self.synchronous.is_roomy()
            || self.asynchronous.is_roomy()
            || is_roomy(self.afar.len(), self.afar.capacity())
            || is_roomy(self.extras.0.len(), self.extras.0.capacity())
    }

    /// How many messages were pending at most since this was asked last, more or less.
    pub(crate) fn take_peak(&mut self) -> usize {
        self.nodes.take_peak()
    }

    /// Gives back the room that a burst has left.
    #[cold]
    pub(crate) fn trim(&mut self) {
        self.nodes.trim();
        self.synchronous.trim();
        self.asynchronous.trim();
        self.afar.shrink_to(COMMON_EXTRAS);
        self.extras.0.shrink_to(COMMON_EXTRAS);
    }
}
