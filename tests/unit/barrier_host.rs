//! Barriers of a hosted looper: whom its fd calls, and when.
//!
//! Holds B2, B3, B4, O1.

use super::{
    barrier::writes,
    barrier_alarm::{ALARM, put_up},
    *,
};
use crate::{Barrier, Handler};

/// A looper whose fd was asked for.
fn hosted() -> (Looper, Arc<FakeKernel>) {
    let (looper, kernel) = fake();
    looper.as_raw_fd();
    (looper, kernel)
}

#[test]
fn b2_o1_what_is_held_up_does_not_call_the_host_and_what_passes_does() {
    let (looper, kernel) = hosted();
    let handler = Handler::new(&looper, |_, ()| ());
    let _barrier = looper.barrier().unwrap();
    poll(&looper);
    let before = writes(&kernel);

    handler.send(()).unwrap();
    handler.send_delayed(ms(1), ()).unwrap();
    kernel.advance(ms(1));
    assert!(!kernel.is_host_readable());
    assert_eq!(writes(&kernel), before);

    handler.asynchronous().send(()).unwrap();
    assert!(kernel.is_host_readable());
    assert_eq!((poll(&looper), writes(&kernel)), (ran(1), before + 1));
    handler.send_at_front(()).unwrap();
    assert!(kernel.is_host_readable());
    assert_eq!((poll(&looper), writes(&kernel)), (ran(1), before + 2));
    assert!(!kernel.is_host_readable());
    assert_eq!(looper.len(), 2);
}

#[test]
fn b3_o1_the_end_of_a_barrier_calls_the_host_if_it_was_told_a_later_time() {
    for here in [true, false] {
        let (looper, kernel) = hosted();
        let end = move |barrier: Barrier| if here { drop(barrier) } else { elsewhere(move || drop(barrier)) };
        let first = looper.barrier().unwrap();
        let second = looper.barrier().unwrap();
        looper.post(|_| ()).unwrap();
        poll(&looper);
        let before = writes(&kernel);

        end(first);
        assert_eq!((kernel.is_host_readable(), writes(&kernel)), (false, before), "it is held up still");
        end(second);
        assert_eq!((kernel.is_host_readable(), writes(&kernel)), (true, before + 1));

        assert_eq!(poll(&looper), ran(1));
        assert!(!kernel.is_host_readable());
    }
}

#[test]
fn b2_o1_a_time_that_was_told_for_what_is_now_held_up_costs_one_empty_turn() {
    let (looper, kernel) = hosted();
    looper.post_delayed(ms(50), |_| ()).unwrap();
    poll(&looper);
    let barrier = looper.barrier().unwrap();

    kernel.advance(ms(50));
    assert_eq!(poll(&looper), timed_out());
    assert!(!kernel.is_host_readable());
    drop(barrier);

    assert!(kernel.is_host_readable());
    assert_eq!(poll(&looper), ran(1));
}

#[test]
fn b4_o1_the_alarm_calls_the_host_once() {
    let (looper, kernel) = hosted();
    let (_barrier, place) = put_up(&looper);
    poll(&looper);
    logged();

    kernel.advance(ALARM - NANOSECOND);
    assert!(!kernel.is_host_readable());
    kernel.advance(NANOSECOND);
    assert!(kernel.is_host_readable());

    assert_eq!(poll(&looper), timed_out());
    let lines = logged();
    assert!(lines.len() == 1 && lines[0].contains(&place), "{lines:?} of {place}");
    assert!(!kernel.is_host_readable());
    kernel.advance(DAY);
    assert!(!kernel.is_host_readable());
}

/// The host sleeps by what it was told before there was a barrier, and nobody gave the alarm.
#[test]
fn b4_o1_the_alarm_calls_the_host_also_for_a_barrier_put_up_between_turns() {
    let (looper, kernel) = hosted();
    poll(&looper);
    let _barrier = looper.barrier().unwrap();
    logged();

    // What a host does in ten times as long.
    for _ in 0..10 {
        while kernel.is_host_readable() {
            assert_eq!(poll(&looper), timed_out());
        }
        kernel.advance(ALARM);
    }

    assert_eq!(logged().len(), 1);
}
