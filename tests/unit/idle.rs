//! Idle handlers: when they run, how often, and what they cost a sleep.
//!
//! Holds I1, I2, I4, T1, T3, T11, T14.

use std::{
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::IdleHandler;

/// The report of a turn that waited out its timeout, and in which `count` idle handlers ran.
pub(super) fn idled(count: usize) -> Turn {
    Turn { idles: count, ..timed_out() }
}

/// Adds an idle handler that notes `name`, and stays.
pub(super) fn add_idle<T: Clone + 'static>(looper: &Looper, log: &Log<T>, name: T) -> IdleHandler {
    let log = log.clone();
    let note = move |_: &Looper| {
        log.note(name.clone());
        ControlFlow::Continue(())
    };
    looper.add_idle(note).unwrap()
}

#[test]
fn i1_t3_an_idle_handler_runs_before_the_sleep_and_does_not_end_the_turn() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    let noting = log.clone();
    looper
        .add_idle(move |looper| {
            noting.note(looper.now() - start);
            ControlFlow::Continue(())
        })
        .unwrap();

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(1));

    assert_eq!((log.take(), looper.now() - start), (vec![Duration::ZERO], ms(500)));
    assert_eq!((kernel.calls(Call::EpollWait), kernel.calls(Call::EventfdWrite)), (1, 0));
}

#[test]
fn i1_t1_it_runs_in_a_turn_that_does_not_block() {
    let (looper, kernel) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "idle");

    let turn = poll(&looper);

    assert_eq!((turn.clone(), log.take()), (idled(1), vec!["idle"]));
    assert!(turn.is_empty(), "a host need not come back for it");
    assert_eq!((kernel.calls(Call::EpollWait), kernel.calls(Call::TimerfdSet)), (1, 0));
}

#[test]
fn i1_it_does_not_run_while_a_message_is_due_and_runs_while_the_first_one_is_in_the_future() {
    let (looper, _) = fake_with(|builder| builder.budget(1));
    let start = looper.now();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    looper.post(log.noting("due")).unwrap();
    looper.post_at(start - ms(1), log.noting("overdue")).unwrap();
    looper.post_at_front(log.noting("front")).unwrap();
    looper.post_delayed(NANOSECOND, log.noting("later")).unwrap();

    let turns = [(); 4].map(|()| looper.poll_once(None).unwrap());

    assert_eq!(log.take(), ["front", "overdue", "due", "idle", "later"]);
    assert_eq!(turns.map(|turn| (turn.messages, turn.idles)), [(1, 0), (1, 0), (1, 0), (1, 1)]);
    assert_eq!(looper.now() - start, NANOSECOND);
}

#[test]
fn i1_it_does_not_run_while_a_barrier_stands_though_nothing_is_queued() {
    let (looper, _) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    let first = looper.barrier().unwrap();
    let second = looper.barrier().unwrap();

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());
    drop(first);
    assert_eq!(poll(&looper), timed_out());
    assert_eq!(log.take(), [""; 0]);
    drop(second);

    assert_eq!((poll(&looper), log.take()), (idled(1), vec!["idle"]));
}

/// The looper falls idle by that, and slept on until the next message.
#[test]
fn i1_it_runs_when_the_last_barrier_goes_while_the_looper_sleeps() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    let noting = log.clone();
    looper
        .add_idle(move |looper| {
            noting.note(looper.now() - start);
            ControlFlow::Continue(())
        })
        .unwrap();
    let barrier = looper.barrier().unwrap();
    kernel.during_next_wait(move || elsewhere(move || drop(barrier)));

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(1));

    assert_eq!((log.take(), looper.now() - start), (vec![Duration::ZERO], ms(500)));
}

/// Nobody signals a looper that is awake: it has to look again when it says until when it sleeps.
#[test]
fn i1_it_runs_when_the_last_barrier_goes_just_before_the_looper_sleeps() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    let noting = log.clone();
    looper
        .add_idle(move |looper| {
            noting.note(looper.now() - start);
            ControlFlow::Continue(())
        })
        .unwrap();
    let barrier = looper.barrier().unwrap();
    kernel.before_next(Call::TimerfdSet, move || elsewhere(move || drop(barrier)));

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(1));

    assert_eq!((log.take(), looper.now() - start), (vec![Duration::ZERO], ms(500)));
}

#[test]
fn i2_it_runs_once_and_neither_wakes_nor_fds_nor_the_librarys_own_signals_repeat_it() {
    let (looper, kernel) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    assert_eq!((poll(&looper), log.take()), (idled(1), vec!["idle"]));

    looper.wake().unwrap();
    assert_eq!(looper.poll_once(None).unwrap(), woken());
    let (source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, IN);
    (0..3).for_each(|_| assert_eq!(looper.poll_once(None).unwrap(), served(1)));
    drop(source.remove());
    kernel.return_with_nothing();
    kernel.fail(Call::EpollWait, Errno::EINTR);
    assert_eq!(looper.poll_once(ms(5)).unwrap(), Turn { interrupted: true, ..timed_out() });
    let posted = looper.post_delayed(ms(1), |_| panic!("ran")).unwrap();
    kernel.during_next_wait(move || elsewhere(move || assert!(posted.cancel())));
    assert_eq!(looper.poll_once(ms(5)).unwrap(), timed_out());
    drop(looper.barrier().unwrap());
    assert_eq!(looper.poll_all(ms(5)).unwrap(), timed_out());

    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn i2_it_runs_again_once_after_any_number_of_messages() {
    let (looper, _) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    poll(&looper);
    log.take();

    for count in [1, 3] {
        (0..count).for_each(|_| drop(looper.post(log.noting("message")).unwrap()));
        assert_eq!(poll(&looper), ran(count), "it has not fallen idle yet");
        assert_eq!(poll(&looper), idled(1));
        assert_eq!(poll(&looper), timed_out());
        assert_eq!(log.take(), [vec!["message"; count], vec!["idle"]].concat());
    }
}

#[test]
fn i2_a_message_that_panicked_was_one_too() {
    let (looper, _) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    poll(&looper);
    looper.post(|_| panic!("planned")).unwrap();
    panic::catch_unwind(AssertUnwindSafe(|| poll(&looper))).unwrap_err();

    assert_eq!(poll(&looper), idled(1));
}

#[test]
fn i2_one_that_was_not_run_because_of_a_barrier_runs_once_when_that_is_gone() {
    let (looper, _) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    poll(&looper);
    let barrier = looper.barrier().unwrap();
    (0..2).for_each(|_| drop(looper.handle().asynchronous().post(|_| ()).unwrap()));
    assert_eq!(poll(&looper), ran(2));
    assert_eq!(poll(&looper), timed_out());
    drop(barrier);

    assert_eq!([(); 2].map(|()| poll(&looper)), [idled(1), timed_out()]);
}

#[test]
fn t11_poll_all_runs_it_when_the_messages_are_done_and_counts_it() {
    let (looper, _) = fake_with(|builder| builder.budget(1));
    let start = looper.now();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    (0..3).for_each(|_| drop(looper.post(log.noting("message")).unwrap()));

    let turn = looper.poll_all(ms(500)).unwrap();

    assert_eq!((turn.messages, turn.idles, looper.now()), (3, 1, start));
    assert_eq!(log.take(), ["message", "message", "message", "idle"]);
}

/// Runs `add` on another thread in a sleep, and sees that the idle handler it adds runs at once and the turn goes on.
#[test]
fn i4_t14_one_that_is_added_while_the_looper_sleeps_runs_in_that_sleep_and_no_other_one_does() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    add_idle(&looper, &log, "rested");
    poll(&looper);
    log.take();
    let waits = kernel.calls(Call::EpollWait);
    let handle = looper.handle();
    let ran_at = Arc::new(AtomicUsize::new(usize::MAX));
    let noting = ran_at.clone();
    kernel.during_next_wait(move || {
        let run = move |looper: &Looper| {
            noting.store((looper.now() - start).as_millis() as usize, Ordering::Relaxed);
            ControlFlow::Continue(())
        };
        elsewhere(move || handle.add_idle(run).unwrap());
    });

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(1), "and it is not told as a wake");

    assert_eq!((ran_at.load(Ordering::Relaxed), log.take()), (0, vec![]));
    assert_eq!(looper.now() - start, ms(500));
    assert_eq!((kernel.calls(Call::EventfdWrite), kernel.calls(Call::EpollWait) - waits), (1, 2));
    assert_eq!(poll(&looper), timed_out(), "once");
    looper.post(|_| ()).unwrap();
    poll(&looper);
    assert_eq!(poll(&looper), idled(2));
}

#[test]
fn i4_a_thousand_that_are_added_in_one_sleep_cost_one_write() {
    let (looper, kernel) = fake();
    let handle = looper.handle();
    kernel.during_next_wait(move || {
        elsewhere(move || (0..1000).for_each(|_| drop(handle.add_idle(|_| ControlFlow::Break(())).unwrap())));
    });

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(1000));

    assert_eq!((kernel.calls(Call::EventfdWrite), kernel.calls(Call::EpollWait)), (1, 2));
}

#[test]
fn i4_one_that_is_added_in_a_sleep_while_a_barrier_stands_waits_for_that() {
    let (looper, kernel) = fake();
    let barrier = looper.barrier().unwrap();
    let handle = looper.handle();
    kernel.during_next_wait(move || drop(elsewhere(move || handle.add_idle(|_| ControlFlow::Continue(())).unwrap())));

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());
    drop(barrier);

    assert_eq!(poll(&looper), idled(1));
}

#[test]
fn i4_one_that_the_loopers_own_thread_adds_to_rested_ones_runs_alone() {
    let (looper, _) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "rested");
    poll(&looper);
    add_idle(&looper, &log, "new");

    assert_eq!(poll(&looper), idled(1));

    assert_eq!(log.take(), ["rested", "new"]);
}

/// What was left through a handle was taken home after the round of the turn, which then ended without it.
#[test]
fn i1_t1_one_that_was_added_through_a_handle_runs_in_the_next_turn_also_if_that_does_not_block() {
    let (looper, _) = fake();
    looper.handle().add_idle(|_| ControlFlow::Continue(())).unwrap();

    assert_eq!(poll(&looper), idled(1));
}
