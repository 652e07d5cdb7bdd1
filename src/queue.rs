//! In which order and when messages run: pure data, no thread, no system call, no clock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    time::Duration,
};

use crate::{
    arena::NOWHERE,
    clock::Moment,
    index::{Filter, Index, Tokens},
    item::Origin,
    line::{Head, Line},
    message::Token,
    node::{Address, Extra, Links, Node, Nodes, Queued, Spot},
    place::{Lane, Name, Number, Place},
    planted::{self, Bug},
    report::ExitReport,
    slots::Key,
    sys::sync::ThreadId,
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
    dropped: Vec<Taken<T>>,
    /// How all that are not pending any more have ended; `posted` is the sum of all.
    account: ExitReport,
    /// How many messages came from other threads.
    from_afar: u64,
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

/// What there is to know of a message that was taken out to be run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) when: Moment,
    /// The handler that it is for.
    pub(crate) target: Option<Key>,
    /// It was the last message of a handler that nobody can send anything any more.
    pub(crate) ends_target: bool,
    /// When it was posted, if somebody watched.
    pub(crate) posted: Option<Moment>,
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

impl<T> Default for Queue<T> {
    fn default() -> Self {
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
            dropped: Vec::new(),
            account: ExitReport::default(),
            from_afar: 0,
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

    /// Puts a message from another thread at its place, so that it is found by its number alone.
    pub(crate) fn insert_from_afar(&mut self, number: Number, when: Moment, mut value: T, extra: Extra) {
        self.from_afar += 1;
        let Name { slot, .. } = self.insert(number, when, extra, |place| value.move_to(place));
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

    /// Takes out the first message that may run, if it is due at `now`, to be run, and moves it to `place`, in which
    /// nothing is left to run; otherwise tells when it is due. A plain one is always due.
    #[inline(always)]
    pub(crate) fn pop_due(&mut self, now: Moment, place: &mut T) -> Result<Begun, Option<Moment>> {
        if !self.is_plain {
            return self.pop_any(now, place);
        }
        let spot = self.synchronous.pop_plain().ok_or(None)?;
        self.begin(spot, None, place).ok_or(None)
    }

    #[inline(never)]
    fn pop_any(&mut self, now: Moment, place: &mut T) -> Result<Begun, Option<Moment>> {
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
        let begun = self.begin(head.spot, extra.token, place);
        self.look_whether_plain();
        begun.map(|begun| Begun { posted: extra.posted, ..begun }).ok_or(None)
    }

    /// Takes out a message that is in no line any more, to be run.
    #[inline(always)]
    fn begin(&mut self, spot: Spot, token: Option<Token>, place: &mut T) -> Option<Begun> {
        let (when, address, links) = self.nodes.vacate(spot.slot, |node| {
            node.value.move_to(place);
            (node.when, node.value.address(), node.value.links().copied())
        })?;
        self.account.run += 1;
        let (target, ends_target) = match (address, links) {
            (Some(address), Some(links)) => self.leave_index(spot, address, links, token),
            _ => (None, false),
        };
        Some(Begun { when, target, ends_target, posted: None })
    }

    fn look_whether_plain(&mut self) {
        self.is_plain = self.synchronous.is_plain()
            && self.asynchronous.is_empty()
            && self.barriers.is_empty()
            && self.held.is_empty()
            && self.extras.0.is_empty();
    }

    /// Takes a message that was taken out off the list of its handler, which it was linked in by `links`.
    #[inline(always)]
    fn leave_index(&mut self, spot: Spot, address: Address, links: Links, token: Option<Token>) -> (Option<Key>, bool) {
        let target = self.index.key_at(address.target);
        (target, self.index.remove(spot, address, token, links, &mut self.nodes))
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
        let (address, links) = self.nodes.vacate(spot.slot, |node| {
            node.value.move_to(&mut value);
            (node.value.address(), node.value.links().copied())
        })?;
        let (target, ends_target) = match (address, links) {
            (Some(address), Some(links)) => self.leave_index(spot, address, links, extra.token),
            _ => (None, false),
        };
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
        self.account.removed += 1;
        Some(taken)
    }

    /// Takes out the message called `name` because it was cancelled.
    pub(crate) fn cancel_name(&mut self, name: Name) -> Option<Taken<T>> {
        let spot = self.find(name)?;
        self.cancel(spot)
    }

    /// Takes out those of a handler's messages that `filter` names.
    pub(crate) fn cancel_all(&mut self, target: Key, filter: Filter) -> Vec<Taken<T>> {
        let spots = self.index.select(target, filter, &mut self.nodes, &self.extras);
        spots.into_iter().filter_map(|spot| self.cancel(spot)).collect()
    }

    /// Where a handler's messages lie, in the order in which they will run.
    pub(crate) fn spots_of(&mut self, target: Key) -> Vec<Spot> {
        let mut spots = self.index.select(target, Filter::All, &mut self.nodes, &self.extras);
        spots.sort_by_cached_key(|spot| self.nodes.get(spot.slot).map(Node::place));
        spots
    }

    /// How many messages of a handler `filter` names.
    pub(crate) fn count(&mut self, target: Key, filter: Filter) -> usize {
        self.index.count(target, filter, &mut self.nodes, &self.extras)
    }

    /// Whether the message at `spot` is still pending.
    pub(crate) fn contains(&self, spot: Spot) -> bool {
        spot.is_live(&self.nodes)
    }

    /// The message at `spot`, for changing it.
    pub(crate) fn get_mut(&mut self, spot: Spot) -> Option<&mut T> {
        self.nodes.get_mut(spot.slot).filter(|node| node.number == spot.number).map(|node| &mut node.value)
    }

    /// How many messages are pending.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What `tell` says of each message that is pending, in their order, with its due time.
    pub(crate) fn pending_with<R>(&self, tell: impl Fn(Place, &T, &Index) -> R) -> Vec<(Moment, R)> {
        let spots = self.synchronous.spots().chain(self.asynchronous.spots());
        let live = spots.filter(|spot| spot.is_live(&self.nodes)).filter_map(|spot| self.nodes.get(spot.slot));
        let mut nodes: Vec<&Node<T>> = live.collect();
        nodes.sort_by_key(|node| node.place());
        nodes.into_iter().map(|node| (node.when, tell(node.place(), &node.value, &self.index))).collect()
    }

    /// Whose messages they are.
    pub(crate) fn index(&mut self) -> &mut Index {
        &mut self.index
    }

    /// Notes a new handler whose messages are of the type `name`.
    pub(crate) fn add_target(&mut self, name: &'static str) -> Key {
        self.index.add_target(name)
    }

    /// Holds a message, so that it does not run while `thread` looks at it.
    pub(crate) fn hold(&mut self, spot: Spot, thread: ThreadId) -> Hold {
        match self.held.get(&spot.number) {
            Some(holder) if *holder == thread => Hold::Mine,
            Some(_) => Hold::Busy,
            None if !spot.is_live(&self.nodes) => Hold::Gone,
            None => {
                self.is_plain = false;
                self.held.insert(spot.number, thread);
                Hold::Held
            }
        }
    }

    /// Holds a message no longer. Whether the looper waits for that.
    pub(crate) fn release(&mut self, spot: Spot) -> bool {
        self.held.remove(&spot.number);
        mem::take(&mut self.is_blocked)
    }

    /// Puts up a barrier: its place.
    pub(crate) fn add_barrier(&mut self, number: Number, now: Moment, origin: Origin) -> Place {
        // What is posted from now on is given no earlier time, and stands behind it.
        self.stamp_no_earlier_than(now);
        self.is_plain = false;
        let place = Place::new(now, number);
        self.barriers.insert(place, origin);
        self.unreported.insert(place);
        place
    }

    /// Takes a barrier away. Whether it stood.
    pub(crate) fn remove_barrier(&mut self, place: Place) -> bool {
        self.unreported.remove(&place);
        self.barriers.remove(&place).is_some()
    }

    /// The first barrier that stands.
    pub(crate) fn first_barrier(&self) -> Option<Place> {
        self.barriers.first_key_value().map(|(place, _)| *place)
    }

    /// All barriers that stand, the first one first: since when, and where each was put up.
    pub(crate) fn barriers(&self) -> impl Iterator<Item = (Moment, Origin)> {
        self.barriers.iter().map(|(place, origin)| (place.when, *origin))
    }

    /// When the first barrier will have stood for `age` and was not reported.
    pub(crate) fn next_alarm(&self, age: Duration) -> Option<Moment> {
        self.unreported.first().map(|place| place.when.after(age))
    }

    /// Marks the barriers that have stood for `age` as reported, and tells where they were put up.
    pub(crate) fn report_barriers(&mut self, now: Moment, age: Duration) -> Vec<Origin> {
        let mut overdue = Vec::new();
        while let Some(first) = self.unreported.first().copied()
            && first.when.after(age) <= now
        {
            self.unreported.remove(&first);
            overdue.extend(self.barriers.get(&first).copied());
        }
        overdue
    }

    /// Whether nothing is due, and no barrier stands.
    pub(crate) fn is_idle(&mut self, now: Moment) -> bool {
        if self.is_plain {
            return self.nodes.len() == 0;
        }
        let synchronous = self.synchronous.head(&self.nodes);
        let asynchronous = self.asynchronous.head(&self.nodes);
        let is_due = synchronous.into_iter().chain(asynchronous).any(|head| head.place.when <= now);
        !is_due && self.barriers.is_empty()
    }

    /// As [`is_idle`](Queue::is_idle), and notes that this is awaited if a barrier stands.
    pub(crate) fn await_idle(&mut self, now: Moment) -> bool {
        self.is_idle_awaited = !self.barriers.is_empty();
        self.is_idle(now)
    }

    /// Whether the looper may be idle now that a barrier has gone, and awaits that.
    pub(crate) fn ends_await(&mut self) -> bool {
        self.barriers.is_empty() && mem::take(&mut self.is_idle_awaited)
    }

    /// Gives up everything that is pending, and takes all barriers away.
    pub(crate) fn give_up_all(&mut self) {
        self.barriers.clear();
        self.unreported.clear();
        let lines = [mem::take(&mut self.synchronous), mem::take(&mut self.asynchronous)];
        lines.iter().flat_map(Line::spots).for_each(|spot| self.give_up(spot));
        self.trim();
    }

    /// Gives up what is not due at `now`, and takes all barriers away.
    pub(crate) fn give_up_later_than(&mut self, now: Moment) {
        self.barriers.clear();
        self.unreported.clear();
        let later = [&mut self.synchronous, &mut self.asynchronous].map(|line| line.split_later(now, &self.nodes));
        later.into_iter().flatten().for_each(|spot| self.give_up(spot));
    }

    /// Gives up a message that is in no line any more.
    fn give_up(&mut self, spot: Spot) {
        if spot.is_live(&self.nodes) {
            self.account.dropped += 1;
            let taken = self.take_from_arena(spot);
            self.dropped.extend(taken);
        }
    }

    /// Keeps a message that was cancelled where it may not be dropped with what was given up.
    pub(crate) fn drop_at_home(&mut self, taken: Taken<T>) {
        self.dropped.push(taken);
    }

    /// Takes what was given up, to drop it.
    pub(crate) fn take_dropped(&mut self) -> Vec<Taken<T>> {
        mem::take(&mut self.dropped)
    }

    /// Takes the handlers that are gone for good; not while what was given up is found through them.
    pub(crate) fn take_ended(&mut self) -> Vec<Key> {
        if self.dropped.is_empty() { self.index.take_ended() } else { Vec::new() }
    }

    /// Takes those out of what was given up that `is_meant`.
    pub(crate) fn take_dropped_if(&mut self, is_meant: impl Fn(&T) -> bool) -> Vec<Taken<T>> {
        self.dropped.extract_if(.., |taken| is_meant(&taken.value)).collect()
    }

    /// Counts a message that was taken out to be run as cancelled: it was before it began.
    pub(crate) fn count_as_cancelled(&mut self) {
        self.account.run -= 1;
        self.account.removed += 1;
    }

    /// How all messages so far have ended.
    pub(crate) fn account(&self) -> ExitReport {
        let ExitReport { run, removed, dropped, .. } = self.account;
        ExitReport { posted: run + removed + dropped + self.len() as u64, ..self.account }
    }

    /// How many messages came from the looper's own thread.
    pub(crate) fn posted_at_home(&self) -> u64 {
        self.account().posted - self.from_afar
    }

    /// Whether a burst has left room.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        let is_roomy = |length, capacity| capacity > COMMON_EXTRAS && length < capacity / 4;
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

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        node::{Address, Links},
    };

    /// A message for no handler, which barriers hold up.
    macro_rules! plain {
        ($($type:ty),*) => {$(
            impl Queued for $type {
                fn address(&self) -> Option<Address> {
                    None
                }

                fn links(&mut self) -> Option<&mut Links> {
                    None
                }

                fn none() -> Self {
                    <$type>::default()
                }

                fn move_to(&mut self, other: &mut Self) {
                    *other = mem::take(self);
                }
            }
        )*};
    }

    plain!(&'static str, char, i64);

    /// A queue that numbers what is put in, as the inbox does.
    #[derive(Default)]
    struct Numbered {
        queue: Queue<&'static str>,
        order: i64,
    }

    impl Numbered {
        fn put(&mut self, when: Moment, message: &'static str) -> Name {
            self.put_in(if when == Moment::FRONT { Lane::Front } else { Lane::Timed }, when, message)
        }

        fn put_in(&mut self, lane: Lane, when: Moment, message: &'static str) -> Name {
            self.order += 1;
            self.queue.insert(Number::new(self.order, lane, false), when, Extra::default(), |place| *place = message)
        }

        fn pop(&mut self, now: Moment) -> Option<&'static str> {
            let mut message = "";
            self.queue.pop_due(now, &mut message).ok().map(|_| message)
        }

        fn run_all(&mut self, now: Moment) -> Vec<&'static str> {
            std::iter::from_fn(|| self.pop(now)).collect()
        }
    }

    fn t() -> Moment {
        Clock::System.now()
    }

    fn earlier(moment: Moment, nanos: u64) -> Moment {
        let instant = Clock::System.instant();
        let back = Clock::System.moment(instant - Duration::from_nanos(nanos));
        moment.after(Duration::ZERO).min(back)
    }

    #[test]
    fn m1_order_is_due_time_then_posting_order() {
        let t = t();
        let mut queue = Numbered::default();
        queue.put(t, "t");
        queue.put(t, "t again");
        queue.put(earlier(t, 1_000_000_000), "t-1");
        queue.put(earlier(t, 3_600_000_000_000), "0");

        assert_eq!(queue.run_all(t), ["0", "t-1", "t", "t again"]);
    }

    #[test]
    fn m3_at_front_is_before_everything_and_lifo() {
        let t = t();
        let mut queue = Numbered::default();
        queue.put(t, "due");
        queue.put(Moment::FRONT, "front");
        queue.put(earlier(t, 3_600_000_000_000), "long due");
        queue.put(Moment::FRONT, "front of front");

        assert_eq!(queue.run_all(t), ["front of front", "front", "long due", "due"]);
    }

    #[test]
    fn t6_nothing_is_due_a_nanosecond_early() {
        let t = t();
        let mut queue = Numbered::default();
        queue.put(t.after(Duration::from_nanos(1)), "later");

        assert_eq!(queue.pop(t), None);
        assert_eq!(queue.pop(t.after(Duration::from_nanos(1))), Some("later"));
    }

    #[test]
    fn c37_a_million_with_the_same_deadline_are_fifo() {
        let t = t();
        let mut queue = Queue::default();
        for order in 1..=1_000_000 {
            queue.insert(Number::new(order, Lane::Timed, false), t, Extra::default(), |place| *place = order);
        }

        let mut expected = 1;
        let mut message = 0;
        while queue.pop_due(t, &mut message).is_ok() {
            assert_eq!(message, expected);
            expected += 1;
        }

        assert_eq!(expected, 1_000_001);
    }

    /// C37: many that are due together are sorted at once; what comes or goes meanwhile is in its place all the same.
    #[test]
    fn m1_c37_many_that_are_due_at_once_run_in_order_with_what_comes_and_goes_meanwhile() {
        let t = t();
        let ns = |nanos| t.after(Duration::from_nanos(nanos));
        let mut queue = Queue::default();
        let mut order = 0;
        let mut put = |queue: &mut Queue<i64>, nanos: u64| {
            order += 1;
            let number = Number::new(order, Lane::Timed, order % 7 == 0);
            (order, nanos, queue.insert(number, ns(nanos), Extra::default(), |place| *place = order))
        };
        let mut pending: Vec<_> = (0..3000_u64).map(|step| put(&mut queue, step * 7919 % 1000)).collect();
        let mut ran = Vec::new();
        let mut message = 0;
        for step in 0..3000_u64 {
            if step % 5 == 0 {
                pending.push(put(&mut queue, step * 31 % 1500));
            }
            if step % 3 == 0 {
                let (_, _, name) = pending.swap_remove(step as usize * 17 % pending.len());
                queue.cancel_name(name);
            }
            if queue.pop_due(ns(900), &mut message).is_ok() {
                let expected = pending
                    .iter()
                    .filter(|(_, nanos, _)| *nanos <= 900)
                    .min_by_key(|(order, nanos, _)| (*nanos, *order));
                assert_eq!(Some(message), expected.map(|(order, ..)| *order));
                pending.retain(|(order, ..)| *order != message);
                ran.push(message);
            }
        }
        assert!(ran.len() > 1000);
        assert_eq!(queue.len(), pending.len());
    }

    #[test]
    fn c43_cancelling_one_does_not_disturb_others() {
        let t = t();
        let mut queue = Numbered::default();
        queue.put(t, "a");
        let b = queue.put(t, "b");
        queue.put(t, "c");

        assert_eq!(queue.queue.cancel_name(b).map(|taken| taken.value), Some("b"));

        assert_eq!(queue.queue.cancel_name(b).map(|taken| taken.value), None, "the name is gone for good");
        assert_eq!(queue.queue.find(b), None);
        assert_eq!(queue.run_all(t), ["a", "c"]);
    }

    #[test]
    fn m1_m2_plain_messages_run_between_timed_ones_by_their_times() {
        let t = t();
        let ns = |nanos| t.after(Duration::from_nanos(nanos));
        let mut queue = Numbered::default();
        queue.put(ns(5), "at 5");
        queue.put(ns(9), "at 9");
        queue.put_in(Lane::Plain, ns(5), "posted at 5");
        queue.put(ns(7), "at 7");
        queue.put_in(Lane::Plain, ns(8), "posted at 8");
        queue.put_in(Lane::Plain, ns(4), "posted later, by a clock that is behind");
        queue.put(ns(3), "at 3");

        let order =
            ["at 3", "at 5", "posted at 5", "at 7", "posted at 8", "posted later, by a clock that is behind", "at 9"];
        assert_eq!(queue.run_all(ns(9)), order);
    }

    #[test]
    fn r1_any_order_of_cancelling_leaves_the_others_in_order() {
        let t = t();
        let lanes = [Lane::Plain, Lane::Timed, Lane::Front];
        for step in 1..7 {
            let mut queue = Queue::default();
            let mut names = Vec::new();
            for order in 1..=600_i64 {
                let lane = lanes[order as usize % 3];
                let when = if lane == Lane::Front { Moment::FRONT } else { t };
                let number = Number::new(order, lane, order % 5 == 0);
                names.push((order, queue.insert(number, when, Extra::default(), |place| *place = order)));
            }

            let (cancelled, left): (Vec<_>, Vec<_>) =
                names.into_iter().partition(|(order, _)| order * 7 % 13 < 2 * step);
            for (order, name) in cancelled {
                let name = if order % 2 == 0 || name.number.lane() == Lane::Timed {
                    name
                } else {
                    Name::from_afar(name.number)
                };
                assert_eq!(queue.cancel_name(name).map(|taken| taken.value), Some(order));
                assert!(queue.cancel_name(name).is_none());
            }

            let mut expected: Vec<i64> = left.into_iter().map(|(order, _)| order).collect();
            expected.sort_by_key(|order| if order % 3 == 2 { -*order } else { 1000 + *order });
            let mut message = 0;
            let ran: Vec<i64> = std::iter::from_fn(|| queue.pop_due(t, &mut message).ok().map(|_| message)).collect();
            assert_eq!(ran, expected);
            assert_eq!(queue.len(), 0);
        }
    }

    #[test]
    fn q1_quitting_safely_keeps_what_is_due_at_that_moment() {
        let t = t();
        let mut queue = Numbered::default();
        queue.put(t.after(Duration::from_nanos(1)), "later");
        queue.put(t, "due");
        queue.put(Moment::FRONT, "front");
        queue.put(Moment::NEVER, "never");

        queue.queue.give_up_later_than(t);

        assert_eq!(queue.queue.len(), 2);
        let mut dropped: Vec<_> = queue.queue.take_dropped().into_iter().map(|taken| taken.value).collect();
        dropped.sort_unstable();
        assert_eq!(dropped, ["later", "never"]);
        assert_eq!(queue.run_all(Moment::NEVER), ["front", "due"]);
    }

    #[test]
    fn q4_every_message_is_accounted_for_once() {
        let t = t();
        let mut queue = Numbered::default();
        queue.put(t, "run");
        let cancelled = queue.put(t, "cancelled");
        queue.put(t, "dropped");
        queue.put(t, "dropped too");

        queue.pop(t);
        queue.queue.cancel_name(cancelled);
        queue.queue.give_up_all();

        let expected = ExitReport { posted: 4, run: 1, removed: 1, dropped: 2 };
        assert_eq!(queue.queue.account(), expected);
        assert_eq!(queue.queue.len(), 0);
        assert_eq!(queue.queue.next_due(), None);
    }
}
