//! In which order and when messages run: pure data, no thread, no system call, no clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::Duration,
};

use crate::{
    clock::Moment,
    index::{Filter, Index},
    item::{Origin, Queued},
    place::Place,
    planted::{self, Bug},
    report::ExitReport,
    slots::Key,
    sys::sync::ThreadId,
};

/// The messages that are pending, in their order, and the account of all that ever were.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    pending: BTreeMap<Place, T>,
    /// Those among them that barriers let pass.
    asynchronous: BTreeSet<Place>,
    /// While one stands, nothing behind it runs that is not asynchronous.
    barriers: BTreeMap<Place, Origin>,
    /// Those that were not reported.
    unreported: BTreeSet<Place>,
    /// Messages that a predicate is looking at, and the thread that runs it. They stay pending, but cannot run.
    held: BTreeMap<Place, ThreadId>,
    /// The looper found the next message held, and has to be told when it no longer is.
    is_blocked: bool,
    /// Idle handlers have still to run, and a barrier keeps them from it.
    is_idle_awaited: bool,
    index: Index,
    /// What a quit gave up, until the looper's thread takes it to drop it.
    dropped: BTreeMap<Place, T>,
    account: ExitReport,
}

/// A message that was taken out of the queue.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    pub(crate) place: Place,
    pub(crate) value: T,
    /// It was the last message of a handler that nobody can send anything any more.
    pub(crate) ends_target: bool,
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
            pending: BTreeMap::new(),
            asynchronous: BTreeSet::new(),
            barriers: BTreeMap::new(),
            unreported: BTreeSet::new(),
            held: BTreeMap::new(),
            is_blocked: false,
            is_idle_awaited: false,
            index: Index::default(),
            dropped: BTreeMap::new(),
            account: ExitReport::default(),
        }
    }
}

impl<T: Queued> Queue<T> {
    /// Puts an accepted message at its place.
    pub(crate) fn insert(&mut self, place: Place, message: T) {
        self.account.posted += 1;
        if message.is_asynchronous() {
            self.asynchronous.insert(place);
        }
        if let Some((target, labels)) = message.address() {
            self.index.insert(place, target, labels);
        }
        self.pending.insert(place, message);
    }

    /// Takes out the first message that may run, if it is due at `now`, to be run.
    pub(crate) fn pop_due(&mut self, now: Moment) -> Option<Taken<T>> {
        let place = self.next().filter(|place| place.when <= now)?;
        let taken = self.take(place)?;
        self.account.run += 1;
        Some(taken)
    }

    /// When the first message that may run is due; `None` when there is none.
    pub(crate) fn next_due(&mut self) -> Option<Moment> {
        self.next().map(|place| place.when)
    }

    /// The first message that may run: nothing may while the first one is being looked at.
    fn next(&mut self) -> Option<Place> {
        let first = self.pending.first_key_value().map(|(place, _)| *place);
        let place = match self.barriers.first_key_value() {
            Some((barrier, _)) if first.is_some_and(|first| first > *barrier) => self.asynchronous.first().copied(),
            _ => first,
        }?;
        let is_held = self.held.contains_key(&place) && !planted::is(Bug::RunHeld);
        self.is_blocked |= is_held;
        (!is_held).then_some(place)
    }

    /// Takes out a message, and forgets whose it was.
    fn take(&mut self, place: Place) -> Option<Taken<T>> {
        // The first one needs no search.
        let value = match self.pending.first_entry() {
            Some(first) if *first.key() == place => first.remove(),
            _ => self.pending.remove(&place)?,
        };
        if value.is_asynchronous() {
            self.asynchronous.remove(&place);
        }
        let ends_target = value.address().is_some_and(|(target, _)| self.index.remove(place, target));
        Some(Taken { place, value, ends_target })
    }

    /// Takes out the message at `place` because it was cancelled.
    pub(crate) fn cancel(&mut self, place: Place) -> Option<Taken<T>> {
        let taken = self.take(place)?;
        self.account.removed += 1;
        Some(taken)
    }

    /// Takes out those of a handler's messages that `filter` names.
    pub(crate) fn cancel_all(&mut self, target: Key, filter: Filter) -> Vec<Taken<T>> {
        let places = self.index.select(target, filter);
        places.into_iter().filter_map(|place| self.cancel(place)).collect()
    }

    /// Whether the message at `place` is still pending.
    pub(crate) fn contains(&self, place: Place) -> bool {
        self.pending.contains_key(&place)
    }

    /// The message at `place`.
    pub(crate) fn get(&self, place: Place) -> Option<&T> {
        self.pending.get(&place)
    }

    /// How many messages are pending.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// What `tell` says of each message that is pending, in their order, with its due time.
    pub(crate) fn pending_with<R>(&self, tell: impl Fn(Place, &T, &Index) -> R) -> Vec<(Moment, R)> {
        self.pending.iter().map(|(place, message)| (place.when, tell(*place, message, &self.index))).collect()
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
    pub(crate) fn hold(&mut self, place: Place, thread: ThreadId) -> Hold {
        match self.held.get(&place) {
            Some(holder) if *holder == thread => Hold::Mine,
            Some(_) => Hold::Busy,
            None if !self.pending.contains_key(&place) => Hold::Gone,
            None => {
                self.held.insert(place, thread);
                Hold::Held
            }
        }
    }

    /// Holds a message no longer. Whether the looper waits for that.
    pub(crate) fn release(&mut self, place: Place) -> bool {
        self.held.remove(&place);
        mem::take(&mut self.is_blocked)
    }

    /// Puts up a barrier.
    pub(crate) fn add_barrier(&mut self, place: Place, origin: Origin) {
        self.barriers.insert(place, origin);
        self.unreported.insert(place);
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
    pub(crate) fn is_idle(&self, now: Moment) -> bool {
        let is_due = self.pending.first_key_value().is_some_and(|(place, _)| place.when <= now);
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
        self.account.dropped += self.pending.len() as u64;
        self.dropped.append(&mut self.pending);
        self.asynchronous.clear();
        self.index.clear();
    }

    /// Gives up what is not due at `now`, and takes all barriers away.
    pub(crate) fn give_up_later_than(&mut self, now: Moment) {
        self.barriers.clear();
        self.unreported.clear();
        let mut later = self.pending.split_off(&Place::behind(now));
        self.account.dropped += later.len() as u64;
        for (place, message) in &later {
            self.asynchronous.remove(place);
            if let Some((target, _)) = message.address() {
                self.index.remove(*place, target);
            }
        }
        self.dropped.append(&mut later);
    }

    /// Takes what was given up, to drop it.
    pub(crate) fn take_dropped(&mut self) -> impl Iterator<Item = T> + use<T> {
        mem::take(&mut self.dropped).into_values()
    }

    /// Takes the handlers that are gone for good; not while what was given up is found through them.
    pub(crate) fn take_ended(&mut self) -> Vec<Key> {
        if self.dropped.is_empty() { self.index.take_ended() } else { Vec::new() }
    }

    /// Takes those out of what was given up that `is_meant`.
    pub(crate) fn take_dropped_if(&mut self, is_meant: impl Fn(&T) -> bool) -> Vec<T> {
        self.dropped.extract_if(.., |_, message| is_meant(message)).map(|(_, message)| message).collect()
    }

    /// Counts a message that was taken out to be run as cancelled: it was before it began.
    pub(crate) fn count_as_cancelled(&mut self) {
        self.account.run -= 1;
        self.account.removed += 1;
    }

    /// How all messages so far have ended.
    pub(crate) fn account(&self) -> ExitReport {
        self.account
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;
    use crate::{clock::Clock, message::Labels};

    /// A message for no handler, which barriers hold up.
    macro_rules! plain {
        ($($type:ty),*) => {$(
            impl Queued for $type {
                fn address(&self) -> Option<(Key, Labels)> {
                    None
                }

                fn is_asynchronous(&self) -> bool {
                    false
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
        fn put(&mut self, when: Moment, message: &'static str) -> Place {
            self.order += 1;
            let place = Place::new(when, self.order);
            self.queue.insert(place, message);
            place
        }

        fn pop(&mut self, now: Moment) -> Option<&'static str> {
            self.queue.pop_due(now).map(|taken| taken.value)
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
            queue.insert(Place::new(t, order), order);
        }

        let mut expected = 1;
        while let Some(taken) = queue.pop_due(t) {
            assert_eq!(taken.value, expected);
            expected += 1;
        }

        assert_eq!(expected, 1_000_001);
    }

    #[test]
    fn c43_cancelling_one_does_not_disturb_others() {
        let t = t();
        let mut queue = Numbered::default();
        queue.put(t, "a");
        let b = queue.put(t, "b");
        queue.put(t, "c");

        assert_eq!(queue.queue.cancel(b).map(|taken| taken.value), Some("b"));

        assert_eq!(queue.queue.cancel(b).map(|taken| taken.value), None, "the place is gone for good");
        assert!(!queue.queue.contains(b));
        assert_eq!(queue.run_all(t), ["a", "c"]);
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
        assert_eq!(queue.queue.take_dropped().collect::<Vec<_>>(), ["later", "never"]);
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
        queue.queue.cancel(cancelled);
        queue.queue.give_up_all();

        let expected = ExitReport { posted: 4, run: 1, removed: 1, dropped: 2 };
        assert_eq!(queue.queue.account(), expected);
        assert_eq!(queue.queue.len(), 0);
        assert_eq!(queue.queue.next_due(), None);
    }
}
