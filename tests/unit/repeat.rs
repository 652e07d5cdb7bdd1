//! What repeats: posts on a grid that does not drift, and the turns of `poll_all`.
//!
//! Holds T7, T11, M13, K3, R1, Q4.

use std::ops::ControlFlow;

use super::*;
use crate::{core::item::Body, looper::repeat::MissedTicks, queue::Next};

#[test]
fn m13_post_every_runs_on_its_grid_and_skips_what_was_missed() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    let (noted, busy) = (log.clone(), kernel.clone());
    let busy_for = [0, 3, 35, 10, 0].map(ms);
    let mut runs = 0;
    looper
        .post_every(ms(10), move |looper| {
            noted.note(looper.now() - start);
            busy.advance(busy_for[runs]);
            runs += 1;
            if runs == busy_for.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();

    while !looper.is_empty() {
        looper.poll_once(None).unwrap();
    }

    // At 20 it is busy until 23; at 30 until 65, so that 40, 50 and 60 are missed; at 70 until 80, so that 80 has come
    // due by its end and is skipped, too.
    assert_eq!(log.take(), [10, 20, 30, 70, 90].map(ms));
    assert_eq!(looper.poll_once(ms(100)).unwrap(), timed_out());
}

/// It ran twice in that turn, for the time that was late and for the one that was due just then.
#[test]
fn m13_post_every_that_is_late_by_whole_periods_runs_once_and_then_on_its_grid() {
    for periods in 1..=3 {
        let (looper, kernel) = fake();
        let start = looper.now();
        let posted = looper.post_every(ms(10), |_| ControlFlow::Continue(())).unwrap();
        kernel.advance((1 + periods) * ms(10));

        assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), ran(1), "late by {periods} periods");
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), timed_out());
        assert_eq!(looper.poll_once(None).unwrap(), ran(1));

        assert_eq!(looper.now() - start, (2 + periods) * ms(10));
        assert!(posted.cancel());
    }
}

#[test]
fn post_every_from_another_thread_has_the_same_grid() {
    let (looper, _) = fake();
    let start = looper.now();
    let handle = looper.handle();
    let posted = elsewhere(move || handle.post_every(ms(10), |_| ControlFlow::Continue(())).unwrap());

    let times = [10, 20, 30].map(|_| {
        looper.poll_once(None).unwrap();
        looper.now() - start
    });

    assert_eq!(times, [10, 20, 30].map(ms));
    assert!(posted.cancel());
    assert_eq!(looper.poll_once(ms(15)).unwrap(), timed_out());
}

#[test]
fn t7_post_every_with_no_period_runs_again_and_again_as_part_of_the_budget() {
    let (looper, kernel) = fake_with(|builder| builder.budget(10));
    let start = looper.now();
    let log = Log::new();
    let noted = log.clone();
    let repeating = looper
        .post_every(Duration::ZERO, move |_| {
            noted.note("every");
            ControlFlow::Continue(())
        })
        .unwrap();
    looper.post(log.noting("once")).unwrap();
    let (_source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, IN);

    for _ in 0..3 {
        let turn = looper.poll_once(None).unwrap();
        assert_eq!(turn, Turn { messages: 10, fds: 1, more: true, ..Turn::default() });
    }

    assert_eq!(log.take().iter().position(|name| *name == "once"), Some(1), "the others have their turn");
    assert_eq!(looper.now(), start);
    assert!(repeating.cancel());
    assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), served(1));
}

#[test]
fn post_every_is_pending_between_its_runs_at_its_next_time() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let posted = looper.post_every(ms(10), |_| ControlFlow::Continue(())).unwrap();

    for times in 1..=3 {
        assert!(posted.is_pending());
        assert_eq!(looper.poll_once(None).unwrap(), ran(1));
        assert_eq!(looper.now() - start, times * ms(10));
    }

    kernel.advance(ms(95));
    assert_eq!(looper.poll_once(None).unwrap(), ran(1), "125 ms: one of the missed runs, and no more");
    assert_eq!(looper.poll_once(None).unwrap(), ran(1));
    assert_eq!(looper.now() - start, ms(130));
    assert!(posted.cancel() && !posted.is_pending());
}

#[test]
fn t11_poll_all_does_all_that_is_due_and_does_not_wait_for_more() {
    let (looper, kernel) = fake_with(|builder| builder.budget(2));
    let start = looper.now();
    let log = Log::new();
    (0..5).for_each(|i| drop(looper.post_delayed(ms(10), log.noting(i)).unwrap()));
    looper.post_delayed(ms(11), log.noting(99)).unwrap();
    let (_source, fd) = add(&looper, |_, _| FdNext::Remove);
    let other_kernel = kernel.clone();
    looper.post_delayed(ms(10), move |_| other_kernel.set_ready(fd, IN)).unwrap();

    let sum = looper.poll_all(ms(500)).unwrap();

    assert_eq!(sum, Turn { messages: 6, fds: 1, ..Turn::default() });
    assert_eq!((log.take(), looper.now() - start), (vec![0, 1, 2, 3, 4], ms(10)));
}

#[test]
fn t11_t4_a_wake_ends_poll_all_after_the_turn_that_saw_it_and_is_told_once() {
    fn again(looper: &Looper, left: i32) {
        if left == 0 {
            looper.wake().unwrap();
        }
        looper.post(move |looper| again(looper, left - 1)).unwrap();
    }
    let (looper, _) = fake_with(|builder| builder.budget(1));
    looper.post(|looper| again(looper, 2)).unwrap();

    let sum = looper.poll_all(None).unwrap();

    assert_eq!(sum, Turn { messages: 4, more: true, woken: true, ..Turn::default() }, "called in the third turn");
    assert!(!looper.poll_once(Duration::ZERO).unwrap().woken);
    looper.wake().unwrap();
    assert_eq!(looper.poll_all(None).unwrap(), Turn { messages: 1, more: true, woken: true, ..Turn::default() });
}

#[test]
fn t11_poll_all_waits_no_longer_than_its_timeout() {
    let (looper, _) = fake();
    let start = looper.now();
    looper.post_delayed(ms(51), |_| panic!("ran")).unwrap();

    assert_eq!(looper.poll_all(ms(50)).unwrap(), timed_out());

    assert_eq!(looper.now() - start, ms(50));
}

#[test]
fn t11_a_message_that_posts_itself_cannot_hold_poll_all_beyond_its_timeout() {
    fn again(looper: &Looper, kernel: &Arc<FakeKernel>) {
        kernel.advance(ms(1));
        let kernel = kernel.clone();
        looper.post(move |looper| again(looper, &kernel)).unwrap();
    }
    let (looper, kernel) = fake_with(|builder| builder.budget(4));
    let start = looper.now();
    again(&looper, &kernel);

    let sum = looper.poll_all(ms(50)).unwrap();

    assert_eq!(sum, Turn { messages: 52, more: true, ..Turn::default() }, "13 turns of 4 messages of 1 ms");
    assert_eq!(looper.now() - start, ms(53));
}

/// Between the looper's taking a run out of the queue and its beginning it, others may cancel it.
#[test]
fn r1_q4_a_run_that_is_cancelled_before_it_begins_does_not_begin_and_counts_as_removed() {
    let (looper, kernel) = fake();
    let tick = |_: &Looper| panic!("it was cancelled");
    let posted = looper.handle().post_every(ms(10), tick).unwrap();
    kernel.advance(ms(10));
    let mut body = Body::default();
    let here = looper.shared().owner().here().unwrap();
    assert_eq!(looper.shared().next_message(here, looper.clock().now(), &mut body, None).0, Next::Closure);

    assert!(posted.cancel());
    body.call(here, &looper);

    let expected = MessageCounts { posted: 1, removed: 1, ..MessageCounts::default() };
    assert_eq!(looper.message_counts(), expected);
    assert!(!posted.is_pending() && looper.is_empty());
}

/// When runs begin of a post every 10 ms from 5 ms on, if the one at 15 ms takes 25 ms. In ms.
fn runs(missed: MissedTicks) -> Vec<Duration> {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    let (noted, busy) = (log.clone(), kernel.clone());
    let tick = move |looper: &Looper| {
        let at = looper.now() - start;
        noted.note(at);
        if at == ms(15) {
            busy.advance(ms(25));
        }
        ControlFlow::Continue(())
    };
    looper.post_every_from(start + ms(5), ms(10), missed, tick).unwrap();
    while looper.now() < start + ms(60) {
        looper.poll_once(ms(1)).unwrap();
    }
    log.take()
}

#[test]
fn k3_missed_runs_are_skipped_made_up_for_or_move_the_grid() {
    assert_eq!(runs(MissedTicks::Skip), [5, 15, 45, 55].map(ms));
    assert_eq!(runs(MissedTicks::Burst), [5, 15, 40, 40, 45, 55].map(ms));
    assert_eq!(runs(MissedTicks::Delay), [5, 15, 50, 60].map(ms));
}

/// K3, T7: runs that take longer than the period never catch up, and let everything else run all the same.
#[test]
fn k3_t7_runs_that_never_catch_up_hold_up_nothing() {
    let (looper, kernel) = fake();
    let busy = kernel.clone();
    let slow = move |_: &Looper| {
        busy.advance(ms(20));
        ControlFlow::Continue(())
    };
    looper.post_every_from(looper.now(), ms(10), MissedTicks::Burst, slow).unwrap();
    let log = Log::new();
    let noted = log.clone();
    looper.post_delayed(ms(50), move |looper| noted.note(looper.now())).unwrap();

    looper.poll_once(Duration::ZERO).unwrap();

    assert_eq!(log.take().len(), 1, "in the same turn");
}
