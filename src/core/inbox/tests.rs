//! What the inbox does, without anything around it.

use std::time::Duration;

use super::*;
use crate::{queue::Queue, sys::time::Clock};

fn push_at(inbox: &Inbox<()>, when: Moment) -> (Seq, Wakeup, bool) {
    let mut inbox = inbox.open().unwrap();
    inbox.place(when);
    inbox.publish(None)
}

fn push(inbox: &Inbox<()>) -> Wakeup {
    push_at(inbox, Moment::EARLIEST).1
}

fn empty(inbox: &Inbox<()>) {
    let mut queue = Queue::new(&Arc::default());
    inbox.take_messages(|batches, latest, last| queue.append(batches, latest, last));
}

/// An inbox whose messages the looper has taken.
fn emptied() -> Inbox<()> {
    let inbox = Inbox::new(&Arc::default());
    empty(&inbox);
    inbox
}

#[test]
fn m5_messages_stand_in_the_order_in_which_they_came_and_their_times_never_go_back() {
    let inbox = emptied();
    let now = Clock::System.now();
    let later = now.after(Duration::from_nanos(5));
    let push = |when| push_at(&inbox, when).0;

    let pushed = [push(now), push(later), push(now)];

    assert!(pushed.is_sorted() && pushed[1] < pushed[2]);
    assert_eq!(inbox.open().unwrap().latest(), Some(later));
    inbox.take_messages(|batches, latest, last| {
        assert_eq!((latest, last), (later, pushed[2]));
        Queue::new(&Arc::default()).append(batches, latest, last);
    });
    assert!(!inbox.has_messages());
    assert_eq!(inbox.open().unwrap().latest(), None, "there is none to take the time from");
    assert!(push(now) > pushed[2]);
}

/// T15: as many as four batches may wait; then one in 32 posts gives way, until the looper has taken them.
#[test]
fn t15_who_posts_far_ahead_of_the_looper_gives_way_now_and_then() {
    let inbox = emptied();
    let posts_that_give_way = |count: usize| -> Vec<usize> {
        let gives_way = |_: &usize| push_at(&inbox, Moment::EARLIEST).2;
        (1..=count).filter(gives_way).collect()
    };

    assert!(posts_that_give_way(1024).is_empty());
    assert_eq!(posts_that_give_way(100), [32, 64, 96]);

    empty(&inbox);
    assert!(posts_that_give_way(1024).is_empty());
}

/// M2: the time of the one before will do only if nothing can have become due since.
#[test]
fn m2_a_message_takes_its_time_from_the_one_before_only_without_timers() {
    let inbox = emptied();
    let _ = push(&inbox);
    assert!(inbox.open().unwrap().latest().is_some());

    inbox.note_timed(Clock::System.now());

    assert_eq!(inbox.open().unwrap().latest(), None);
}

#[test]
fn c8_c9_a_wake_is_needed_only_for_what_is_due_before_the_looper_gets_up() {
    let due = Clock::System.now();
    let (earlier, later) = (due, due.after(Duration::from_nanos(2)));
    let until = due.after(Duration::from_nanos(1));
    let inbox = emptied();
    assert!(inbox.prepare_sleep(until));

    assert_eq!(inbox.wake_for(later), Wakeup::Saved);
    assert_eq!(inbox.wake_for(until), Wakeup::Saved);
    assert_eq!(inbox.wake_for(earlier), Wakeup::Needed);
    assert_eq!(push(&inbox), Wakeup::Saved, "a wake is on its way");
}

#[test]
fn c3_only_the_first_of_many_wakes_needs_the_eventfd() {
    let inbox = emptied();
    assert!(inbox.prepare_sleep(Moment::NEVER));

    assert_eq!(inbox.wake(), Wakeup::Needed);
    assert!((0..1_000_000).all(|_| inbox.wake() == Wakeup::Saved));

    assert!(inbox.awake());
    assert!(!inbox.awake());
}

#[test]
fn c1_the_looper_does_not_settle_over_something_left() {
    let inbox = emptied();
    assert_eq!(push(&inbox), Wakeup::Saved);
    assert!(!inbox.prepare_sleep(Moment::NEVER));
    empty(&inbox);
    assert_eq!(inbox.wake(), Wakeup::Saved);
    assert!(!inbox.prepare_sleep(Moment::NEVER));
    inbox.awake();
    assert_eq!(inbox.request_cleanup(), Wakeup::Saved);
    assert!(!inbox.prepare_sleep(Moment::NEVER));
    assert!(inbox.take_cleanup().is_some());
    assert!(inbox.prepare_sleep(Moment::NEVER));
}

#[test]
fn q2_a_closed_inbox_refuses_and_the_first_close_wins() {
    let inbox = emptied();
    assert!(inbox.prepare_sleep(Moment::NEVER));

    assert_eq!(inbox.close(RejectReason::Quit), Some(Wakeup::Needed));

    assert_eq!(inbox.close(RejectReason::Dropped), None);
    assert_eq!(inbox.open().err(), Some(RejectReason::Quit));
}

#[test]
fn c7_it_is_known_whether_the_looper_is_asleep() {
    let inbox = emptied();
    assert!(!inbox.is_asleep());

    assert!(inbox.prepare_sleep(Moment::NEVER));

    assert!(inbox.is_asleep());
    assert!(!inbox.awake(), "nobody has called wake()");
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

/// B1: what barriers hold up wakes nobody, until one goes.
#[test]
fn b1_what_is_posted_behind_a_barrier_wakes_nobody() {
    let inbox = emptied();
    assert!(inbox.prepare_sleep(Moment::NEVER));

    inbox.set_barred(true);
    assert_eq!(push(&inbox), Wakeup::Saved);

    inbox.set_barred(false);
    assert_eq!(push(&inbox), Wakeup::Needed);
}
