//! What the queue does, without anything around it.

use super::*;
use crate::{
    queue::{
        account::ExitReport,
        index::{Filter, Selection},
        node::{Address, Links},
    },
    time::Clock,
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

/// A message for a handler.
#[derive(Debug, Default)]
struct Sent {
    target: u32,
    what: i32,
    links: Links,
}

impl Queued for Sent {
    fn address(&self) -> Option<Address> {
        Some(Address::new(self.target, Some(self.what)))
    }

    fn links(&mut self) -> Option<&mut Links> {
        Some(&mut self.links)
    }

    fn none() -> Self {
        Sent::default()
    }

    fn move_to(&mut self, other: &mut Self) -> Option<(Address, Links)> {
        (other.target, other.what) = (self.target, self.what);
        Some((Address::new(self.target, Some(self.what)), self.links))
    }
}

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
            let standing = queue.queue.synchronous.standing();
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

/// How many steps at a time.
const STEPS: usize = 10;

/// A queue with the messages of two handlers that take turns, as numbers; `what` is their last digit.
struct Sending {
    queue: Queue<Sent>,
    handlers: [Key; 2],
    names: Vec<Name>,
}

impl Sending {
    fn new(count: usize) -> Sending {
        let mut queue = Queue::new(&Arc::default());
        let handlers = ["one", "other"].map(|name| queue.add_target(name));
        let mut sending = Sending { queue, handlers, names: Vec::new() };
        (0..count).for_each(|_| sending.send());
        sending
    }

    fn send(&mut self) {
        let order = self.names.len();
        let Sending { queue, handlers, names } = self;
        let (target, what) = (handlers[order % 2].index(), (order / 2 % 10) as i32);
        let number = Number::new(order as i64 + 1, Lane::Plain, false);
        names.push(queue.insert(number, Moment::EARLIEST, Extra::default(), |sent| {
            (sent.target, sent.what) = (target, what);
        }));
    }

    /// Takes the messages of one handler out, slice by slice, and does `meanwhile` after each. How many each slice took.
    fn cancel(&mut self, filter: Filter, mut meanwhile: impl FnMut(&mut Sending)) -> Vec<usize> {
        let mut selection = Selection::new(self.handlers[0], filter);
        let mut slices = Vec::new();
        let mut is_over = false;
        while !is_over {
            let mut cancelled = Vec::new();
            is_over = self.queue.cancel_some(&mut selection, STEPS, &mut cancelled);
            assert!(cancelled.iter().all(|taken| taken.target == Some(self.handlers[0])));
            slices.push(cancelled.len());
            meanwhile(self);
        }
        slices
    }

    fn count(&mut self, filter: Filter) -> usize {
        let count = self.queue.count(self.handlers[0], filter, usize::MAX);
        count.expect("that is enough")
    }

    fn lives(&self, order: usize) -> bool {
        self.queue.find(self.names[order]).is_some()
    }

    fn cancel_one(&mut self, order: usize) -> bool {
        self.queue.cancel_name(self.names[order]).is_some()
    }

    fn run(&mut self, begun: &mut Begun<Sent>) -> bool {
        self.queue.pop_due(Moment::EARLIEST, begun).is_ok()
    }
}

#[test]
fn r1_a_removal_takes_so_many_at_a_time_and_all_in_the_end() {
    for (filter, count) in [(Filter::All, 500), (Filter::What(3), 50)] {
        let mut sending = Sending::new(1000);

        let slices = sending.cancel(filter, |_| ());

        assert_eq!(slices.iter().sum::<usize>(), count, "{filter:?}");
        assert!(slices.iter().all(|slice| *slice <= STEPS), "{slices:?}");
        // To link the messages takes a step for each, too, and so does to list them.
        assert!(slices.len() >= (1000 + count) / STEPS, "{filter:?}: {}", slices.len());
        assert_eq!((sending.count(filter), sending.queue.nodes.len()), (0, 1000 - count));
        // Once they are linked, and listed, a few are taken at once.
        (0..20).for_each(|_| sending.send());
        assert!(sending.cancel(filter, |_| ()).len() <= 2);
    }
}

/// Whatever is cancelled, run and sent in between, those where it has got to included.
#[test]
fn r1_a_removal_names_what_was_there_whatever_comes_and_goes_meanwhile() {
    for filter in [Filter::All, Filter::What(3)] {
        let matches = |order: usize| filter == Filter::All || order / 2 % 10 == 3;
        for step in 1..20 {
            let mut sending = Sending::new(600);
            let mut begun = Begun::none();
            let (mut cancelled, mut ran, mut sent) = (0, 0, 0);
            let is_named = |sent: &Sent| sent.target == 0 && (filter == Filter::All || sent.what == 3);

            let slices = sending.cancel(filter, |sending| {
                // Those that it would come to next, one after the other or with some in between.
                let pending = (0..600_usize).rev().filter(|order| order.is_multiple_of(2) && matches(*order));
                let pending: Vec<usize> = pending.filter(|order| sending.lives(*order)).collect();
                for order in pending.into_iter().step_by(step).take(3) {
                    cancelled += usize::from(sending.cancel_one(order));
                }
                if step % 3 == 0 && sending.run(&mut begun) {
                    ran += usize::from(is_named(&begun.value));
                }
                if sent < 100 {
                    sending.send();
                    sent += 1;
                }
            });

            let removed = slices.iter().sum::<usize>();
            let named = if filter == Filter::All { 300 } else { 30 };
            let left = sending.count(filter);
            let later = (600..600 + sent as usize).filter(|order| order.is_multiple_of(2) && matches(*order));
            assert_eq!(removed + cancelled + ran + left, named + later.count(), "{filter:?}, {step}");
            let is_left = |order: &usize| order.is_multiple_of(2) && matches(*order) && sending.lives(*order);
            assert_eq!((0..600).find(is_left), None, "{filter:?}, {step}");
            assert!(sending.queue.nodes.len() >= 300, "the other handler has its own");
        }
    }
}

/// R4, and those of two who ask at once.
#[test]
fn r4_a_count_by_label_takes_so_many_steps_at_a_time_and_is_exact() {
    let mut sending = Sending::new(600);
    let mut slices = 0;
    let count = loop {
        slices += 1;
        let handler = sending.handlers[0];
        // Another kind of label.
        assert!(sending.queue.count(handler, Filter::Both(3, Token::new()), STEPS).is_none_or(|count| count == 0));
        if let Some(count) = sending.queue.count(handler, Filter::What(3), STEPS) {
            break count;
        }
        let first = 6 + 20 * slices;
        assert!(first >= 600 || sending.cancel_one(first));
        sending.send();
    };

    let exact = (0..sending.names.len()).filter(|order| order % 2 == 0 && order / 2 % 10 == 3 && sending.lives(*order));
    assert_eq!(count, exact.count());
    assert!(slices > 600 / STEPS / 2, "{slices}");
}

/// W3: each that is there all the time is told of once.
#[test]
fn w3_what_is_pending_is_told_so_many_at_a_time() {
    let mut sending = Sending::new(1000);
    let mut slots = sending.queue.slots();
    let (mut told, mut slices) = (Vec::new(), 0);
    loop {
        let before = told.len();
        let is_over = sending.queue.tell_some(&mut slots, STEPS, |place, _, _| place.number(), &mut told);
        assert!(told.len() - before <= STEPS);
        slices += 1;
        if is_over {
            break;
        }
        // From behind, and in front of it.
        sending.cancel_one(1000 - slices);
        sending.send();
    }

    let mut numbers: Vec<Number> = told.into_iter().map(|(_, number)| number).collect();
    numbers.sort();
    numbers.dedup();
    for order in (0..1000).filter(|order| sending.lives(*order)) {
        assert!(numbers.binary_search(&sending.names[order].number).is_ok(), "{order}");
    }
    assert!(slices >= 1000 / STEPS);
}
