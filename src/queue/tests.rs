//! What the queue does, without anything around it.

use std::num::NonZeroU32;

use super::{message::Address, *};
use crate::{
    mem::erased::{ANYWHERE, TypeToken},
    queue::{
        account::{MessageCounts, Tally},
        capacity::COMMON_LENGTH,
        details::Posting,
        handlers::Selection,
        labels::{MessageFilter, Token},
        slices::Tour,
    },
    sys::time::Clock,
};

/// A queue that numbers what is put in, as who posts does.
struct Numbered<T> {
    queue: Queue<()>,
    of: TypeToken<T>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Numbered { queue: Queue::new(&Arc::default()), of: TypeToken::new() }
    }
}

impl<T: 'static> Numbered<T> {
    fn put(&mut self, when: Moment, value: T) -> MessageId {
        self.put_in(if when == Moment::FRONT { PostKind::Front } else { PostKind::Timed }, false, when, value)
    }

    fn put_in(&mut self, kind: PostKind, asynchronous: bool, when: Moment, value: T) -> MessageId {
        self.put_with(kind, asynchronous, when, Extra::default(), value)
    }

    fn put_with(&mut self, kind: PostKind, asynchronous: bool, when: Moment, extra: Extra, value: T) -> MessageId {
        let seq = self.queue.next_seq(kind, asynchronous);
        self.queue.account.own.add(1);
        let (id, message) = self.queue.insert(seq, when, Address::NOBODY, extra);
        message.body.fill_message(value, ANYWHERE);
        id
    }

    fn pop(&mut self, now: Moment) -> Option<T> {
        let mut body = Erased::default();
        self.queue.pop_due(now, &mut body, None);
        body.open(self.of)
    }

    fn run_all(&mut self, now: Moment) -> Vec<T> {
        std::iter::from_fn(|| self.pop(now)).collect()
    }

    fn cancel(&mut self, id: MessageId) -> Option<T> {
        self.queue.cancel(id)?.body.open(self.of)
    }

    fn dropped(&mut self) -> Vec<T> {
        let of = self.of;
        self.queue.take_dropped().into_bodies().filter_map(|mut body| body.open(of)).collect()
    }

    fn len(&self) -> usize {
        self.queue.account.report().pending()
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
    let mut queue = Numbered::default();
    (1..=1_000_000).for_each(|order| _ = queue.put(t, order));

    let mut expected = 1;
    while let Some(value) = queue.pop(t) {
        assert_eq!(value, expected);
        expected += 1;
    }

    assert_eq!(expected, 1_000_001);
}

/// C37: many that are due together are sorted at once; what comes or goes meanwhile is in its place all the same.
#[test]
fn m1_c37_many_that_are_due_at_once_run_in_order_with_what_comes_and_goes_meanwhile() {
    let t = t();
    let ns = |nanos| t.after(Duration::from_nanos(nanos));
    let mut queue = Numbered::default();
    let mut order = 0;
    let mut put = |queue: &mut Numbered<i64>, nanos: u64| {
        order += 1;
        (order, nanos, queue.put_in(PostKind::Timed, order % 7 == 0, ns(nanos), order))
    };
    let mut pending: Vec<_> = (0..3000_u64).map(|step| put(&mut queue, step * 7919 % 1000)).collect();
    let mut ran = Vec::new();
    for step in 0..3000_u64 {
        if step % 5 == 0 {
            pending.push(put(&mut queue, step * 31 % 1500));
        }
        if step % 3 == 0 {
            let (_, _, id) = pending.swap_remove(step as usize * 17 % pending.len());
            queue.cancel(id);
        }
        if let Some(value) = queue.pop(ns(900)) {
            let expected =
                pending.iter().filter(|(_, nanos, _)| *nanos <= 900).min_by_key(|(order, nanos, _)| (*nanos, *order));
            assert_eq!(Some(value), expected.map(|(order, ..)| *order));
            pending.retain(|(order, ..)| *order != value);
            ran.push(value);
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

    assert_eq!(queue.cancel(b), Some("b"));

    assert_eq!(queue.cancel(b), None, "the name is gone for good");
    assert!(!queue.queue.contains(b));
    assert_eq!(queue.run_all(t), ["a", "c"]);
}

#[test]
fn m1_m2_plain_messages_run_between_timed_ones_by_their_times() {
    let t = t();
    let ns = |nanos| t.after(Duration::from_nanos(nanos));
    let mut queue = Numbered::default();
    queue.put(ns(5), "at 5");
    queue.put(ns(9), "at 9");
    queue.put_in(PostKind::Plain, false, ns(5), "posted at 5");
    queue.put(ns(7), "at 7");
    queue.put_in(PostKind::Plain, false, ns(8), "posted at 8");
    queue.put_in(PostKind::Plain, false, ns(4), "posted later, by a clock that is behind");
    queue.put(ns(3), "at 3");

    let order =
        ["at 3", "at 5", "posted at 5", "at 7", "posted at 8", "posted later, by a clock that is behind", "at 9"];
    assert_eq!(queue.run_all(ns(9)), order);
}

#[test]
fn r1_any_order_of_cancelling_leaves_the_others_in_order() {
    let t = t();
    let kinds = [PostKind::Plain, PostKind::Timed, PostKind::Front];
    for step in 1..7 {
        let mut queue = Numbered::default();
        let mut ids = Vec::new();
        for order in 1..=2400_i64 {
            let kind = kinds[order as usize % 3];
            let when = if kind == PostKind::Front { Moment::FRONT } else { t };
            ids.push((order, queue.put_in(kind, order % 5 == 0, when, order)));
        }

        let (cancelled, left): (Vec<_>, Vec<_>) = ids.into_iter().partition(|(order, _)| order * 7 % 13 < 2 * step);
        for (order, id) in cancelled {
            assert_eq!(queue.cancel(id), Some(order));
            assert!(queue.cancel(id).is_none());
        }

        let mut expected: Vec<i64> = left.into_iter().map(|(order, _)| order).collect();
        expected.sort_by_key(|order| if order % 3 == 2 { -*order } else { 10_000 + *order });
        assert_eq!(queue.run_all(t), expected);
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

    assert_eq!(queue.len(), 2);
    let mut dropped = queue.dropped();
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
    queue.cancel(cancelled);
    queue.queue.give_up_all();

    let expected = MessageCounts { posted: 4, run: 1, removed: 1, dropped: 2 };
    assert_eq!(queue.queue.account(), expected);
    assert_eq!(queue.queue.next_due(), None);
    let mut dropped = queue.dropped();
    dropped.sort_unstable();
    assert_eq!(dropped, ["dropped", "dropped too"]);
}

/// Messages that came in order are spared the sorting, also after others.
#[test]
fn m1_a_queue_is_plain_again_when_all_that_is_not_has_run() {
    let t = t();
    for kind in [PostKind::Timed, PostKind::Front] {
        let mut queue = Numbered::default();
        queue.put_in(PostKind::Plain, false, t, "plain");
        assert!(queue.queue.is_plain());
        queue.put(if kind == PostKind::Front { Moment::FRONT } else { t }, "other");
        assert!(!queue.queue.is_plain(), "{kind:?}");

        queue.run_all(t);

        assert!(queue.queue.is_plain(), "{kind:?}");
    }
}

/// C44: what was cancelled and has not come to the front yet.
#[test]
fn c44_at_most_three_quarters_of_a_line_are_stale() {
    for kind in [PostKind::Plain, PostKind::Timed, PostKind::Front] {
        let mut queue = Numbered::default();
        let ids: Vec<MessageId> = (0..10_000).map(|_| queue.put_in(kind, false, t(), "cancelled")).collect();

        // One in a hundred stays, so that no batch is empty.
        for (order, id) in ids.into_iter().enumerate() {
            if order % 100 != 7 {
                queue.cancel(id);
            }
            let standing = queue.queue.synchronous.standing();
            // A batch counts as full.
            assert!(standing <= 4 * queue.len() + 4 * batch::BATCH, "{kind:?}: {standing} of {}", queue.len());
        }

        assert_eq!(queue.run_all(t()).len(), 100);
    }
}

/// C44: a batch of which nothing is left goes at once, wherever it is.
#[test]
fn c44_plain_messages_that_are_cancelled_in_a_row_leave_no_room_behind() {
    let mut queue = Numbered::default();
    let ids: Vec<MessageId> = (0..10_000).map(|order| queue.put_in(PostKind::Plain, false, t(), order)).collect();

    ids[3000..9000].iter().for_each(|id| _ = queue.cancel(*id));

    assert!(queue.queue.synchronous.standing() <= 4000 + 3 * batch::BATCH);
    let expected: Vec<i32> = (0..3000).chain(9000..10_000).collect();
    assert_eq!(queue.run_all(t()), expected);
}

/// C44: what lies beside the messages, too.
#[test]
fn c44_the_room_of_a_burst_is_given_back_at_its_end() {
    let t = t();
    let posted = Extra { posted: Some(Posting { at: t, by: NonZeroU32::MIN }), ..Extra::default() };
    for kind in [PostKind::Plain, PostKind::Timed, PostKind::Front] {
        let mut queue = Numbered::default();
        let when = if kind == PostKind::Front { Moment::FRONT } else { t };
        (0..100_000).for_each(|order| _ = queue.put_with(kind, false, when, posted, order));
        assert!(queue.queue.room() > 100_000);

        queue.run_all(t);
        drop(queue.queue.take_room());

        assert!(queue.queue.room() <= 8 * COMMON_LENGTH, "{kind:?}: {}", queue.queue.room());
    }
}

impl Queue<()> {
    /// For how many messages there is room, in all places together.
    fn room(&self) -> usize {
        let subqueues = self.synchronous.room() + self.asynchronous.room();
        subqueues + self.others.capacity() + self.extras.room()
    }
}

/// M5: others' messages come in as they lie, and stand where they were posted.
#[test]
fn m1_m5_what_comes_from_the_inbox_runs_before_what_is_posted_after_it() {
    let t = t();
    let later = t.after(Duration::from_nanos(9));
    let mut queue = Numbered::default();
    let mut batches = batch::Batches::default();
    let mut append = |queue: &mut Numbered<&'static str>, order, when, text: &'static str| {
        queue.queue.account.remote.add(1);
        let message = batches.place();
        (message.seq, message.when, message.address) = (Seq::remote(order), when, Address::NOBODY);
        message.body.fill_message(text, ANYWHERE);
        queue.queue.append(&mut batches, when, Seq::remote(order));
        MessageId::plain(Seq::remote(order))
    };
    queue.put_in(PostKind::Plain, false, later, "first");
    // Its clock is behind: it came later all the same.
    append(&mut queue, 1, t, "second");
    queue.put_in(PostKind::Plain, false, t, "third");
    let fourth = append(&mut queue, 2, t, "fourth");
    queue.put_in(PostKind::Plain, true, t, "fifth, asynchronous");
    queue.put(later, "timed, and posted last");
    queue.put(t, "due before all");
    assert!(queue.queue.contains(fourth));

    let order =
        ["due before all", "first", "second", "third", "fourth", "fifth, asynchronous", "timed, and posted last"];
    assert_eq!(queue.run_all(later), order);
    assert!(!queue.queue.contains(fourth));
}

/// How many steps at a time.
const STEPS: usize = 10;

/// A queue with the messages of two handlers that take turns; `what` is the last digit of their number.
struct Sending {
    queue: Queue<()>,
    handlers: [Key; 2],
    tallies: [Arc<Tally>; 2],
    ids: Vec<MessageId>,
}

impl Sending {
    fn new(count: usize) -> Sending {
        let mut queue = Queue::new(&Arc::default());
        let tallies = [Arc::new(Tally::default()), Arc::new(Tally::default())];
        let handlers = [0, 1].map(|handler| queue.handlers.add("numbers", tallies[handler].clone()));
        let mut sending = Sending { queue, handlers, tallies, ids: Vec::new() };
        (0..count).for_each(|_| sending.send());
        sending
    }

    fn send(&mut self) {
        let order = self.ids.len();
        let address = Address::new(self.handlers[order % 2].index(), Some((order / 2 % 10) as i32));
        let seq = self.queue.next_seq(PostKind::Plain, false);
        self.queue.account.own.add(1);
        self.tallies[order % 2].own.add(1);
        let (id, message) = self.queue.insert(seq, Moment::EARLIEST, address, Extra::default());
        message.body.fill_message(order, ANYWHERE);
        self.ids.push(id);
    }

    fn len(&self) -> usize {
        self.queue.account.report().pending()
    }

    /// Takes the messages of one handler out, slice by slice, and does `meanwhile` after each. How many each slice took.
    fn cancel(&mut self, filter: MessageFilter, mut meanwhile: impl FnMut(&mut Sending)) -> Vec<usize> {
        let mut selection = Selection::new(self.handlers[0], filter);
        let mut slices = Vec::new();
        let mut is_over = false;
        while !is_over {
            let mut cancelled = Vec::new();
            is_over = self.queue.cancel_some(&mut selection, STEPS, &mut cancelled);
            let of = TypeToken::<usize>::new();
            assert!(cancelled.iter_mut().all(|taken| taken.body.open(of).is_some_and(|order| order % 2 == 0)));
            slices.push(cancelled.len());
            meanwhile(self);
        }
        slices
    }

    fn count(&mut self, filter: MessageFilter) -> usize {
        let count = self.queue.count(self.handlers[0], filter, usize::MAX);
        count.expect("that is enough")
    }

    fn lives(&self, order: usize) -> bool {
        self.queue.contains(self.ids[order])
    }

    fn cancel_one(&mut self, order: usize) -> bool {
        self.queue.cancel(self.ids[order]).is_some()
    }

    /// Runs a message: its number.
    fn run(&mut self) -> Option<usize> {
        let mut body = Erased::default();
        self.queue.pop_due(Moment::EARLIEST, &mut body, None);
        body.open(TypeToken::new())
    }
}

#[test]
fn r1_a_removal_takes_so_many_at_a_time_and_all_in_the_end() {
    for (filter, count) in [(MessageFilter::All, 500), (MessageFilter::What(3), 50)] {
        let mut sending = Sending::new(1000);

        let slices = sending.cancel(filter, |_| ());

        assert_eq!(slices.iter().sum::<usize>(), count, "{filter:?}");
        assert!(slices.iter().all(|slice| *slice <= STEPS), "{slices:?}");
        // To list the messages takes a step for each, too.
        assert!(slices.len() >= (1000 + count) / STEPS, "{filter:?}: {}", slices.len());
        assert_eq!((sending.count(filter), sending.len()), (0, 1000 - count));
        // Once they are listed, only what has come since is looked at.
        (0..20).for_each(|_| sending.send());
        assert!(sending.cancel(filter, |_| ()).len() <= 2 + (20 + 10 + 10) / STEPS);
    }
}

/// Whatever is cancelled, run and sent in between, those where it has got to included.
#[test]
fn r1_a_removal_names_what_was_there_whatever_comes_and_goes_meanwhile() {
    for filter in [MessageFilter::All, MessageFilter::What(3)] {
        let matches = |order: usize| filter == MessageFilter::All || order / 2 % 10 == 3;
        for step in 1..20 {
            let mut sending = Sending::new(600);
            let (mut cancelled, mut ran, mut sent) = (0, 0, 0);
            let is_named = |order: usize| order.is_multiple_of(2) && matches(order);

            let slices = sending.cancel(filter, |sending| {
                // Those that it would come to next, one after the other or with some in between.
                let pending = (0..600_usize).rev().filter(|order| order.is_multiple_of(2) && matches(*order));
                let pending: Vec<usize> = pending.filter(|order| sending.lives(*order)).collect();
                for order in pending.into_iter().step_by(step).take(3) {
                    cancelled += usize::from(sending.cancel_one(order));
                }
                if step % 3 == 0
                    && let Some(order) = sending.run()
                {
                    ran += usize::from(is_named(order));
                }
                if sent < 100 {
                    sending.send();
                    sent += 1;
                }
            });

            let removed = slices.iter().sum::<usize>();
            let named = if filter == MessageFilter::All { 300 } else { 30 };
            let left = sending.count(filter);
            let later = (600..600 + sent as usize).filter(|order| order.is_multiple_of(2) && matches(*order));
            assert_eq!(removed + cancelled + ran + left, named + later.count(), "{filter:?}, {step}");
            let is_left = |order: &usize| order.is_multiple_of(2) && matches(*order) && sending.lives(*order);
            assert_eq!((0..600).find(is_left), None, "{filter:?}, {step}");
            assert!(sending.len() >= 300, "the other handler has its own");
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
        assert!(
            sending
                .queue
                .count(handler, MessageFilter::WhatAndToken(3, Token::new()), STEPS)
                .is_none_or(|count| count == 0)
        );
        if let Some(count) = sending.queue.count(handler, MessageFilter::What(3), STEPS) {
            break count;
        }
        let first = 6 + 20 * slices;
        assert!(first >= 600 || sending.cancel_one(first));
        sending.send();
    };

    let exact = (0..sending.ids.len()).filter(|order| order % 2 == 0 && order / 2 % 10 == 3 && sending.lives(*order));
    assert_eq!(count, exact.count());
    assert!(slices > 600 / STEPS / 2, "{slices}");
}

/// W3: each that is there all the time is told of once.
#[test]
fn w3_what_is_pending_is_told_so_many_at_a_time() {
    let mut sending = Sending::new(1000);
    let mut tour = Tour::default();
    let (mut told, mut slices) = (Vec::new(), 0);
    loop {
        let before = told.len();
        let is_over = sending.queue.tell_some(&mut tour, STEPS, |rank, _, _| rank.seq(), &mut told);
        assert!(told.len() - before <= STEPS);
        slices += 1;
        if is_over {
            break;
        }
        // From behind, and in front of it.
        sending.cancel_one(1000 - slices);
        sending.send();
    }

    let mut numbers: Vec<Seq> = told.into_iter().map(|(_, seq)| seq).collect();
    numbers.sort();
    numbers.dedup();
    for order in (0..1000).filter(|order| sending.lives(*order)) {
        assert!(numbers.binary_search(&sending.ids[order].seq).is_ok(), "{order}");
    }
    assert!(slices >= 1000 / STEPS);
}
