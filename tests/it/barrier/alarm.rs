//! Barriers that are kept: how the dump shows them, and what the log says when they stand for too long.
//!
//! Holds B4, C55.

use std::{panic::Location, time::Duration};

use alooper::{
    Barrier, Looper,
    testing::{TestClock, TestLooper},
};

use crate::support::{
    HOUR,
    fds::poll_now,
    ms,
    rest::{assert_not_warned, assert_warned_once_of, warnings},
    watched,
};

/// Puts up a barrier, and gives its place as the log has it.
#[track_caller]
fn put_up(looper: &Looper) -> (Barrier, String) {
    let place = Location::caller();
    (looper.barrier().unwrap(), format!("{}:{}", place.file(), place.line()))
}

#[test]
fn c55_a_barrier_that_is_kept_is_seen_in_the_dump_with_its_age_count_and_place() {
    let looper = TestLooper::new().unwrap();
    let (_first, first_place) = put_up(&looper);
    looper.advance(ms(3000));
    let (second, second_place) = put_up(&looper);
    looper.advance(ms(1500));

    let dump = looper.dump().to_string();
    drop(second);
    let after = looper.handle().dump().to_string();

    assert!(dump.contains("barriers: 2"), "{dump}");
    let line_of = |place: &str| dump.lines().find(|line| line.contains(place)).unwrap().trim().to_owned();
    assert!(line_of(&first_place).starts_with("4.5s old"), "{dump}");
    assert!(line_of(&second_place).starts_with("1.5s old"), "{dump}");
    assert!(after.contains("barriers: 1") && after.contains(&first_place) && !after.contains(&second_place), "{after}");
}

#[test]
fn b4_a_barrier_that_stands_for_five_seconds_is_warned_of_once() {
    let looper = TestLooper::new().unwrap();
    let (barrier, place) = put_up(&looper);
    warnings();

    looper.advance(ms(4999));
    assert_not_warned();
    looper.advance(ms(1));
    assert_warned_once_of(&place);
    looper.advance(HOUR);
    assert_not_warned();

    drop(barrier);
}

#[test]
fn b4_the_threshold_can_be_set_and_zero_is_never() {
    let clock = TestClock::new();
    let strict = clock.build(Looper::builder().barrier_alarm(ms(20))).unwrap();
    let patient = clock.build(Looper::builder().barrier_alarm(Duration::ZERO)).unwrap();
    let (_barrier, place) = put_up(&strict);
    let (_other, _) = put_up(&patient);
    warnings();

    clock.advance(HOUR);

    assert_warned_once_of(&place);
}

#[test]
fn b4_a_looper_that_sleeps_on_a_barrier_warns_of_it_and_sleeps_on() {
    watched(|| {
        let looper = Looper::builder().barrier_alarm(ms(5)).build().unwrap();
        let start = looper.now();
        let (_barrier, place) = put_up(&looper);
        looper.post(|_| panic!("it is held up")).unwrap();
        warnings();

        assert!(looper.poll_once(ms(20)).unwrap().timed_out);

        assert!(looper.now() - start >= ms(20));
        // For a thread that got the processor back only after all of that time.
        poll_now(&looper);
        assert_warned_once_of(&place);
    });
}
