//! What the inbox does, without anything around it.

use std::time::Duration;

use super::*;
use crate::{queue::mail::BATCH, time::Clock};

fn push(inbox: &Inbox<char>, when: Moment) -> Signal {
    let lane = if when == Moment::FRONT { Lane::Front } else { Lane::Timed };
    inbox.open().unwrap().push(lane, false, when, Extra::default(), |_| ()).1
}

fn empty(inbox: &Inbox<char>) {
    inbox.take_mail(&mut Taken::default(), &mut Numbers::default());
}

/// An inbox whose mail the looper has taken.
fn emptied() -> Inbox<char> {
    let inbox = Inbox::new(&Arc::default());
    empty(&inbox);
    inbox
}

#[test]
fn m5_numbers_grow_whoever_posts() {
    let inbox = Inbox::new(&Arc::default());
    let mut numbers = Numbers::default();
    let mut last = Number::new(0, Lane::Plain, false);
    let mut grows = |number: Number| {
        assert!(number > last, "{number:?} after {last:?}");
        last = number;
    };

    for round in 0..2000 {
        if round % 700 == 3 {
            let inbox: &Inbox<char> = &inbox;
            grows(inbox.open().unwrap().push(Lane::Plain, false, Moment::EARLIEST, Extra::default(), |_| ()).0);
            assert!(!inbox.begin_block(&mut numbers), "that would overtake it");
            inbox.take_mail(&mut Taken::default(), &mut numbers);
        }
        grows(numbers.next(Lane::Plain, false).unwrap_or_else(|| {
            assert!(inbox.begin_block(&mut numbers));
            numbers.next(Lane::Plain, false).expect("a new block has numbers")
        }));
        if round % 500 == 7 {
            grows(inbox.number_barrier(&mut numbers).unwrap());
        }
    }
}

#[test]
fn c8_c9_a_wake_is_needed_only_for_what_is_due_before_the_looper_gets_up() {
    let due = Clock::System.now();
    let (earlier, later) = (due, due.after(Duration::from_nanos(2)));
    let until = due.after(Duration::from_nanos(1));
    let inbox = emptied();
    assert!(inbox.settle(until));

    assert_eq!(push(&inbox, later), Signal::Saved);
    assert_eq!(push(&inbox, until), Signal::Saved);
    assert_eq!(push(&inbox, earlier), Signal::Needed);
    assert_eq!(push(&inbox, Moment::FRONT), Signal::Saved, "a wake is on its way");
}

#[test]
fn c3_only_the_first_of_many_wakes_needs_the_eventfd() {
    let inbox = emptied();
    assert!(inbox.settle(Moment::NEVER));

    assert_eq!(inbox.wake(), Signal::Needed);
    assert!((0..1_000_000).all(|_| inbox.wake() == Signal::Saved));

    assert!(inbox.rise());
    assert!(!inbox.rise());
}

#[test]
fn c1_the_looper_does_not_settle_over_something_left() {
    let inbox = emptied();
    assert_eq!(push(&inbox, Moment::NEVER), Signal::Saved);
    assert!(!inbox.settle(Moment::NEVER));
    empty(&inbox);
    assert_eq!(inbox.wake(), Signal::Saved);
    assert!(!inbox.settle(Moment::NEVER));
    inbox.rise();
    assert_eq!(inbox.leave_chores(), Signal::Saved);
    assert!(!inbox.settle(Moment::NEVER));
    assert!(inbox.take_chores().is_some());
    assert!(inbox.settle(Moment::NEVER));
}

#[test]
fn q2_a_closed_inbox_refuses_and_the_first_close_wins() {
    let inbox = emptied();
    assert!(inbox.settle(Moment::NEVER));

    assert_eq!(inbox.close(Reason::Quit), Some(Signal::Needed));

    assert_eq!(inbox.close(Reason::Dropped), None);
    assert_eq!(inbox.open().err(), Some(Reason::Quit));
}

#[test]
fn c7_it_is_known_whether_the_looper_is_asleep() {
    let inbox = emptied();
    assert!(!inbox.is_asleep());

    assert!(inbox.settle(Moment::NEVER));

    assert!(inbox.is_asleep());
    assert!(!inbox.rise(), "nobody has called wake()");
    assert!(!inbox.is_asleep());
}

/// M2: who posts without a delay asks this before it reads the clock.
#[test]
fn m2_it_is_known_from_when_on_timed_messages_may_be_due() {
    let inbox = emptied();
    let due = Clock::System.now();
    let later = due.after(Duration::from_nanos(1));
    let known = || Moment::from_nanos(inbox.timed_from.load(Relaxed));

    inbox.set_timed_from(later);
    assert_eq!(known(), later);
    inbox.note_timed(due);
    assert_eq!(known(), due);
    inbox.note_timed(later);
    assert_eq!(known(), due, "the first one counts");
    inbox.set_timed_from(later);
    assert_eq!(known(), later, "the first one is gone");
}

/// X: a turn took all mail before it served fds, however much there was.
#[test]
fn t7_plain_mail_lies_in_batches_in_order_and_all_other_apart() {
    let inbox = Inbox::new(&Arc::default());
    let mut posted = Vec::new();
    for _ in 0..3 * BATCH {
        let push = |lane, when| inbox.open().unwrap().push(lane, false, when, Extra::default(), |_| ()).0;
        posted.push(push(Lane::Plain, Moment::EARLIEST));
        push(Lane::Timed, Moment::NEVER);
    }
    let mut taken = Taken::default();

    inbox.take_mail(&mut taken, &mut Numbers::default());

    assert!(!inbox.has_mail());
    let mut seen = Vec::new();
    let mut batches = Vec::new();
    while let Some(mut batch) = taken.plain.pop() {
        batches.push(batch.len());
        batch.empty(|number, _, _: &mut char, _| seen.push(number));
    }
    assert_eq!((batches, seen), (vec![BATCH; 3], posted));
    assert_eq!(taken.other.len(), 3 * BATCH);
}
