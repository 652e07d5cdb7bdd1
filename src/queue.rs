//! In which order and when messages run: pure data, no thread, no system call, no clock.

use std::{collections::BTreeMap, mem};

use crate::{clock::Moment, report::ExitReport};

/// A message's place in the order, which is also its name: no two messages ever have the same.
///
/// Ordered by due time, then by posting order. At-front messages are due at [`Moment::FRONT`] and count their posting
/// order downwards, so that the last one posted is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    when: Moment,
    order: i64,
}

impl Place {
    /// The place of the `order`-th message, due at `when`.
    pub(crate) fn new(when: Moment, order: i64) -> Place {
        let order = if when == Moment::FRONT { -order } else { order };
        Place { when, order }
    }

    /// The first place behind everything that is due at `when`.
    fn behind(when: Moment) -> Place {
        Place { when, order: i64::MAX }
    }
}

/// The messages that are pending, in their order, and the account of all that ever were.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    pending: BTreeMap<Place, T>,
    /// What a quit gave up, until the looper's thread takes it to drop it.
    dropped: BTreeMap<Place, T>,
    account: ExitReport,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { pending: BTreeMap::new(), dropped: BTreeMap::new(), account: ExitReport::default() }
    }
}

impl<T> Queue<T> {
    /// Puts an accepted message at its place.
    pub(crate) fn insert(&mut self, place: Place, message: T) {
        self.account.posted += 1;
        self.pending.insert(place, message);
    }

    /// Takes out the first message, if it is due at `now`, to be run.
    pub(crate) fn pop_due(&mut self, now: Moment) -> Option<T> {
        let first = self.pending.first_entry()?;
        if first.key().when > now {
            return None;
        }
        self.account.run += 1;
        Some(first.remove())
    }

    /// When the first message is due; `None` when nothing is pending.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.pending.first_key_value().map(|(place, _)| place.when)
    }

    /// Takes out the message at `place` because it was cancelled.
    pub(crate) fn cancel(&mut self, place: Place) -> Option<T> {
        let message = self.pending.remove(&place)?;
        self.account.removed += 1;
        Some(message)
    }

    /// Whether the message at `place` is still pending.
    pub(crate) fn contains(&self, place: Place) -> bool {
        self.pending.contains_key(&place)
    }

    /// How many messages are pending.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Gives up everything that is pending.
    pub(crate) fn give_up_all(&mut self) {
        self.account.dropped += self.pending.len() as u64;
        self.dropped.append(&mut self.pending);
    }

    /// Gives up what is not due at `now`.
    pub(crate) fn give_up_later_than(&mut self, now: Moment) {
        let mut later = self.pending.split_off(&Place::behind(now));
        self.account.dropped += later.len() as u64;
        self.dropped.append(&mut later);
    }

    /// Takes what was given up, to drop it.
    pub(crate) fn take_dropped(&mut self) -> impl Iterator<Item = T> + use<T> {
        mem::take(&mut self.dropped).into_values()
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
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

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

        fn run_all(&mut self, now: Moment) -> Vec<&'static str> {
            std::iter::from_fn(|| self.queue.pop_due(now)).collect()
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

        assert_eq!(queue.queue.pop_due(t), None);
        assert_eq!(queue.queue.pop_due(t.after(Duration::from_nanos(1))), Some("later"));
    }

    #[test]
    fn c37_a_million_with_the_same_deadline_are_fifo() {
        let t = t();
        let mut queue = Queue::default();
        for order in 1..=1_000_000 {
            queue.insert(Place::new(t, order), order);
        }

        let mut expected = 1;
        while let Some(order) = queue.pop_due(t) {
            assert_eq!(order, expected);
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

        assert_eq!(queue.queue.cancel(b), Some("b"));

        assert_eq!(queue.queue.cancel(b), None, "the place is gone for good");
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

        queue.queue.pop_due(t);
        queue.queue.cancel(cancelled);
        queue.queue.give_up_all();

        let expected = ExitReport { posted: 4, run: 1, removed: 1, dropped: 2 };
        assert_eq!(queue.queue.account(), expected);
        assert_eq!(queue.queue.len(), 0);
        assert_eq!(queue.queue.next_due(), None);
    }
}
