//! What the queue does, without anything around it.

use super::*;
use crate::{
    clock::Clock,
    node::{Address, Links},
    report::ExitReport,
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

            fn move_to(&mut self, other: &mut Self) -> Option<(Address, Links)> {
                *other = mem::take(self);
                None
            }
        }
    )*};
}

plain!(&'static str, char, i64);

/// A queue that numbers what is put in, as the inbox does.
struct Numbered {
    queue: Queue<&'static str>,
    order: i64,
}

impl Default for Numbered {
    fn default() -> Self {
        Numbered { queue: Queue::new(&Arc::default()), order: 0 }
    }
}

impl Numbered {
    fn put(&mut self, when: Moment, message: &'static str) -> Name {
        self.put_in(if when == Moment::FRONT { Lane::Front } else { Lane::Timed }, when, message)
    }

    fn put_in(&mut self, lane: Lane, when: Moment, message: &'static str) -> Name {
        self.order += 1;
        // As who posts does.
        self.queue.account.own.add(1);
        self.queue.insert(Number::new(self.order, lane, false), when, Extra::default(), |place| *place = message)
    }

    fn pop(&mut self, now: Moment) -> Option<&'static str> {
        let mut begun = Begun::none();
        self.queue.pop_due(now, &mut begun).ok().map(|()| begun.value)
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
    let mut queue = Queue::new(&Arc::default());
    for order in 1..=1_000_000 {
        queue.insert(Number::new(order, Lane::Timed, false), t, Extra::default(), |place| *place = order);
    }

    let mut expected = 1;
    let mut begun = Begun::none();
    while queue.pop_due(t, &mut begun).is_ok() {
        assert_eq!(begun.value, expected);
        expected += 1;
    }

    assert_eq!(expected, 1_000_001);
}

/// C37: many that are due together are sorted at once; what comes or goes meanwhile is in its place all the same.
#[test]
fn m1_c37_many_that_are_due_at_once_run_in_order_with_what_comes_and_goes_meanwhile() {
    let t = t();
    let ns = |nanos| t.after(Duration::from_nanos(nanos));
    let mut queue = Queue::new(&Arc::default());
    let mut order = 0;
    let mut put = |queue: &mut Queue<i64>, nanos: u64| {
        order += 1;
        let number = Number::new(order, Lane::Timed, order % 7 == 0);
        (order, nanos, queue.insert(number, ns(nanos), Extra::default(), |place| *place = order))
    };
    let mut pending: Vec<_> = (0..3000_u64).map(|step| put(&mut queue, step * 7919 % 1000)).collect();
    let mut ran = Vec::new();
    let mut begun = Begun::none();
    for step in 0..3000_u64 {
        if step % 5 == 0 {
            pending.push(put(&mut queue, step * 31 % 1500));
        }
        if step % 3 == 0 {
            let (_, _, name) = pending.swap_remove(step as usize * 17 % pending.len());
            queue.cancel_name(name);
        }
        if queue.pop_due(ns(900), &mut begun).is_ok() {
            let expected =
                pending.iter().filter(|(_, nanos, _)| *nanos <= 900).min_by_key(|(order, nanos, _)| (*nanos, *order));
            assert_eq!(Some(begun.value), expected.map(|(order, ..)| *order));
            pending.retain(|(order, ..)| *order != begun.value);
            ran.push(begun.value);
        }
    }
    assert!(ran.len() > 1000);
    assert_eq!(queue.nodes.len(), pending.len());
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
        let mut queue = Queue::new(&Arc::default());
        let mut names = Vec::new();
        for order in 1..=600_i64 {
            let lane = lanes[order as usize % 3];
            let when = if lane == Lane::Front { Moment::FRONT } else { t };
            let number = Number::new(order, lane, order % 5 == 0);
            names.push((order, queue.insert(number, when, Extra::default(), |place| *place = order)));
        }

        let (cancelled, left): (Vec<_>, Vec<_>) = names.into_iter().partition(|(order, _)| order * 7 % 13 < 2 * step);
        for (order, name) in cancelled {
            let name =
                if order % 2 == 0 || name.number.lane() == Lane::Timed { name } else { Name::from_afar(name.number) };
            assert_eq!(queue.cancel_name(name).map(|taken| taken.value), Some(order));
            assert!(queue.cancel_name(name).is_none());
        }

        let mut expected: Vec<i64> = left.into_iter().map(|(order, _)| order).collect();
        expected.sort_by_key(|order| if order % 3 == 2 { -*order } else { 1000 + *order });
        let mut begun = Begun::none();
        let ran: Vec<i64> = std::iter::from_fn(|| queue.pop_due(t, &mut begun).ok().map(|()| begun.value)).collect();
        assert_eq!(ran, expected);
        assert_eq!(queue.nodes.len(), 0);
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

    assert_eq!(queue.queue.nodes.len(), 2);
    let mut dropped: Vec<_> = queue.queue.take_dropped().into_messages().map(|taken| taken.value).collect();
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
    queue.queue.give_up_all(Vec::new());

    let expected = ExitReport { posted: 4, run: 1, removed: 1, dropped: 2 };
    assert_eq!(queue.queue.account(), expected);
    assert_eq!(queue.queue.nodes.len(), 0);
    assert_eq!(queue.queue.next_due(), None);
}

/// Messages that came in order are spared the sorting, also after others.
#[test]
fn m1_a_queue_is_plain_again_when_all_that_is_not_has_run() {
    let t = t();
    for lane in [Lane::Timed, Lane::Front] {
        let mut queue = Numbered::default();
        queue.put_in(Lane::Plain, t, "plain");
        assert!(queue.queue.is_plain());
        queue.put_in(lane, if lane == Lane::Front { Moment::FRONT } else { t }, "other");
        assert!(!queue.queue.is_plain(), "{lane:?}");

        queue.run_all(t);

        assert!(queue.queue.is_plain(), "{lane:?}");
    }
}

/// C44: what was cancelled and has not come to the front yet.
#[test]
fn c44_at_most_three_quarters_of_a_line_are_stale() {
    for lane in [Lane::Plain, Lane::Timed, Lane::Front] {
        let mut queue = Numbered::default();
        let names: Vec<Name> = (0..1000).map(|_| queue.put_in(lane, t(), "cancelled")).collect();

        for name in &names[..950] {
            queue.queue.cancel_name(*name);
            let standing = queue.queue.synchronous.spots().count();
            assert!(
                standing <= 4 * queue.queue.nodes.len() + 33,
                "{lane:?}: {standing} of {}",
                queue.queue.nodes.len()
            );
        }

        assert_eq!(queue.run_all(t()).len(), 50);
    }
}

/// C44: what lies beside the messages, which their own room says nothing of.
#[test]
fn c44_the_room_of_what_few_messages_have_is_given_back_as_well() {
    let t = t();
    let posted = Extra { posted: Some(t), ..Extra::default() };
    for extra in [Extra::default(), posted] {
        let mut queue = Queue::new(&Arc::default());
        for order in 1..=10_000 {
            let lane = if extra.is_empty() { Lane::Timed } else { Lane::Plain };
            queue.insert_from_afar(Number::new(order, lane, false), t, &mut "from afar", extra);
        }
        assert!(!queue.is_roomy(), "it is used");
        let mut begun = Begun::none();
        while queue.pop_due(t, &mut begun).is_ok() {}
        queue.nodes.trim();
        queue.synchronous.trim();

        assert!(queue.is_roomy(), "{extra:?}");
        queue.trim();
        assert!(!queue.is_roomy(), "{extra:?}");
    }
}
