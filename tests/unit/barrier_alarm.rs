//! The alarm for a barrier that is forgotten: when it comes, what it says, and what it costs.
//!
//! Holds B4, T14, C55.

use std::sync::mpsc;

use super::{
    barrier::{put_up_in_next_sleep, unalarmed, writes},
    *,
};
use crate::Barrier;

/// After this long a barrier is reported, unless set.
pub(super) const ALARM: Duration = Duration::from_secs(5);

/// Puts up a barrier, and gives its place as the log has it.
#[track_caller]
pub(super) fn put_up(looper: &Looper) -> (Barrier, String) {
    let place = std::panic::Location::caller();
    (looper.barrier().unwrap(), format!("{}:{}", place.file(), place.line()))
}

/// C55: it gets up for that once, and sleeps on.
#[test]
fn b4_t14_the_alarm_gets_a_sleeping_looper_up_is_logged_once_and_ends_no_turn() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let (_barrier, place) = put_up(&looper);
    looper.post(|_| panic!("it is held up")).unwrap();
    logged();

    assert_eq!(looper.poll_once(ALARM - NANOSECOND).unwrap(), timed_out());
    assert_eq!(logged(), [""; 0]);
    assert_eq!(looper.poll_once(ALARM).unwrap(), timed_out());

    let lines = logged();
    assert!(lines.len() == 1 && lines[0].starts_with("WARN") && lines[0].contains(&place), "{lines:?} of {place}");
    assert_eq!(looper.now() - start, 2 * ALARM - NANOSECOND);
    assert!(kernel.calls(Call::EpollWait) <= 4, "one, and at most three");
    assert_eq!(looper.poll_once(DAY).unwrap(), timed_out());
    assert_eq!(logged(), [""; 0]);
}

#[test]
fn b4_the_alarm_comes_at_its_exact_time_and_no_system_call_is_made_for_it_but_the_waits() {
    let (looper, kernel) = fake_with(|builder| builder.barrier_alarm(ms(20)));
    let start = looper.now();
    let _barrier = looper.barrier().unwrap();
    logged();
    let waking = looper.handle();
    let seen = kernel.clone();

    kernel.during_next_wait(move || assert_eq!(seen.timer(), Some(seen.clock().now().after(ms(20)))));
    kernel.during_next_wait(move || waking.wake().unwrap());

    assert_eq!(looper.poll_once(None).unwrap(), woken(), "in the sleep after the alarm");
    assert_eq!((looper.now() - start, logged().len()), (ms(20), 1));
}

#[test]
fn b4_each_of_several_barriers_is_told_of_once_with_its_own_place() {
    let (looper, _) = fake();
    let (_first, first_place) = put_up(&looper);
    let (second, _) = put_up(&looper);
    assert_eq!(looper.poll_once(ms(1000)).unwrap(), timed_out());
    let (_third, third_place) = put_up(&looper);
    drop(second);
    logged();

    assert_eq!(looper.poll_once(DAY).unwrap(), timed_out());

    let lines = logged();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains(&first_place) && lines[1].contains(&third_place), "{lines:?}");
}

#[test]
fn b4_a_busy_looper_tells_of_it_too() {
    let (looper, _) = fake();
    let start = looper.now();
    let (_barrier, place) = put_up(&looper);
    let busy = |_: &Looper| std::ops::ControlFlow::Continue(());
    looper.handle().asynchronous().post_every(ms(1), busy).unwrap();
    logged();

    while looper.now() - start < 3 * ALARM {
        assert_eq!(looper.poll_once(None).unwrap(), ran(1));
    }

    let lines = logged();
    assert!(lines.len() == 1 && lines[0].contains(&place), "{lines:?} of {place}");
}

#[test]
fn b4_an_alarm_of_zero_is_none() {
    let (looper, kernel) = unalarmed();
    let _barrier = looper.barrier().unwrap();
    logged();

    assert_eq!(looper.poll_once(365 * DAY).unwrap(), timed_out());

    assert_eq!((logged().len(), kernel.calls(Call::EpollWait)), (0, 1));
}

#[test]
fn b4_an_alarm_that_overflows_the_clock_never_comes() {
    let (looper, kernel) = fake_with(|builder| builder.barrier_alarm(Duration::MAX));
    let _barrier = looper.barrier().unwrap();
    logged();

    assert_eq!(looper.poll_once(365 * DAY).unwrap(), timed_out());

    assert_eq!((logged().len(), kernel.calls(Call::EpollWait)), (0, 1));
}

#[test]
fn b4_a_barrier_that_has_ended_is_not_told_of() {
    let (looper, kernel) = fake();
    let barrier = looper.barrier().unwrap();
    kernel.during_next_wait(move || elsewhere(move || drop(barrier)));
    logged();

    assert_eq!(looper.poll_once(DAY).unwrap(), timed_out());

    assert_eq!(logged(), [""; 0]);
    assert!(kernel.calls(Call::EpollWait) <= 2, "one for the timer that was set already");
}

/// A looper that sleeps for ever was not told of the barrier, and never gave the alarm.
#[test]
fn b4_a_barrier_that_is_put_up_while_the_looper_sleeps_is_told_of_in_that_sleep() {
    let (looper, kernel) = fake();
    let barrier = put_up_in_next_sleep(&looper, &kernel);
    logged();

    assert_eq!(looper.poll_once(DAY).unwrap(), timed_out());

    assert_eq!(logged().len(), 1);
    drop(barrier);
}

/// Nobody signals a looper that is awake: it has to look again when it says until when it sleeps.
#[test]
fn b4_a_barrier_that_is_put_up_just_before_the_looper_sleeps_is_told_of_in_that_sleep() {
    let (looper, kernel) = fake();
    let (sender, barrier) = mpsc::channel();
    let handle = looper.handle();
    kernel.before_next(Call::TimerfdSet, move || {
        elsewhere(move || sender.send(handle.barrier().unwrap()).unwrap());
    });
    logged();

    assert_eq!(looper.poll_once(DAY).unwrap(), timed_out());

    assert_eq!(logged().len(), 1);
    drop(barrier);
}

#[test]
fn b4_a_barrier_put_up_in_a_sleep_that_ends_before_the_alarm_writes_nothing() {
    let (looper, kernel) = fake();
    let barrier = put_up_in_next_sleep(&looper, &kernel);

    assert_eq!(looper.poll_once(ALARM).unwrap(), timed_out());

    assert_eq!((writes(&kernel), kernel.calls(Call::EpollWait)), (0, 1));
    drop(barrier);
}
