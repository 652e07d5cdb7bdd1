//! Sleeps, timeouts and intervals, in virtual time.
//!
//! Holds A3, T6, M4, M13, V1.

use std::{
    cell::{Cell, RefCell},
    future,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use alooper::{Looper, MissedTicks, task::Elapsed, testing::TestLooper};
use futures_util::StreamExt;

use crate::support::{
    HOUR, ms,
    tasks::{settle, wait_for},
    watched,
};

#[test]
fn t6_v1_sleeps_end_at_their_time_to_the_nanosecond_and_in_order() {
    let looper = TestLooper::new().unwrap();
    let begun = looper.now();
    let ended = Rc::new(RefCell::new(Vec::new()));
    for nanos in [3_000_001, 3_000_000, 1, HOUR.as_nanos() as u64] {
        let (handle, ended) = (looper.handle(), ended.clone());
        looper
            .spawn(async move {
                handle.sleep_until(begun + Duration::from_nanos(nanos)).await;
                assert_eq!(handle.now() - begun, Duration::from_nanos(nanos));
                ended.borrow_mut().push(nanos);
            })
            .unwrap();
    }
    looper.run_until_idle();

    looper.run_to_end();

    assert_eq!(*ended.borrow(), [1, 3_000_000, 3_000_001, HOUR.as_nanos() as u64]);
}

#[test]
fn a3_a_sleep_that_is_dropped_leaves_no_message() {
    let looper = TestLooper::new().unwrap();
    let handle = looper.handle();
    let task = looper.spawn(async move { handle.sleep(HOUR).await }).unwrap().guard();
    settle(&looper);
    assert_eq!(looper.len(), 1);

    drop(task);

    assert!(looper.is_empty());
}

#[test]
fn m4_a_sleep_that_overflows_the_clock_does_not_end() {
    let looper = TestLooper::new().unwrap();
    looper.allow_leftovers();
    let handle = looper.handle();
    let task = looper.spawn(async move { handle.sleep(Duration::MAX).await }).unwrap();

    looper.advance(100 * 365 * 24 * HOUR);

    assert!(!task.is_finished());
}

#[test]
fn a3_a_barrier_holds_up_a_sleep_unless_its_task_is_asynchronous() {
    let looper = TestLooper::new().unwrap();
    let handle = looper.handle();
    let sleeper = |handle: &alooper::LooperHandle| {
        let clock = looper.handle();
        handle.spawn(async move { clock.sleep(ms(1)).await }).unwrap()
    };
    let (held_up, passing) = (sleeper(&handle), sleeper(&handle.asynchronous()));
    looper.run_until_idle();
    let barrier = looper.barrier().unwrap();

    looper.advance(ms(2));
    assert_eq!((held_up.is_finished(), passing.is_finished()), (false, true));

    drop(barrier);
    looper.run_until_idle();
    assert!(held_up.is_finished());
}

#[test]
fn v1_a_timeout_ends_what_takes_too_long_and_nothing_else() {
    let looper = TestLooper::new().unwrap();
    let begun = looper.now();

    let in_time = looper.timeout(ms(10), async { 7 });
    assert_eq!(looper.block_on(in_time).unwrap(), Ok(7));
    let slow = looper.timeout(ms(10), future::pending::<()>());
    let elapsed: Elapsed = looper.block_on(slow).unwrap().unwrap_err();

    assert_eq!((elapsed.limit(), looper.now() - begun), (ms(10), ms(10)));
    let error = std::io::Error::from(elapsed);
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), "it did not end within 10ms: allow more time, or find what it waits for");
    assert!(looper.is_empty());
}

/// Both are due in the same poll.
#[test]
fn v1_what_ends_with_its_timeout_has_ended_in_time() {
    let looper = TestLooper::new().unwrap();

    let both = looper.timeout(ms(5), looper.sleep(ms(5)));

    assert_eq!(looper.block_on(both).unwrap(), Ok(()));
}

/// The times of five ticks, of which the second is awaited 25 ms late.
fn ticks(missed: MissedTicks) -> Vec<u64> {
    let looper = TestLooper::new().unwrap();
    let begun = looper.now();
    let mut interval = looper.interval(ms(10), missed);
    looper
        .block_on(async {
            let mut times = Vec::new();
            for tick in 0..5 {
                let due = interval.tick().await;
                assert!(due <= looper.now());
                times.push((due - begun).as_millis() as u64);
                if tick == 0 {
                    looper.sleep(ms(35)).await;
                }
            }
            times
        })
        .unwrap()
}

#[test]
fn m13_missed_ticks_are_skipped_or_caught_up_with_or_move_the_grid() {
    assert_eq!(ticks(MissedTicks::Skip), [10, 20, 50, 60, 70]);
    assert_eq!(ticks(MissedTicks::Burst), [10, 20, 30, 40, 50]);
    assert_eq!(ticks(MissedTicks::Delay), [10, 20, 55, 65, 75]);
}

#[test]
fn m13_an_interval_is_a_stream_that_ends_when_the_looper_quits() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let interval = looper.interval(Duration::from_nanos(1), MissedTicks::Skip);
        assert_eq!(interval.period(), Duration::from_nanos(1));
        let taken = looper.block_on(interval.take(3).collect::<Vec<_>>()).unwrap();
        assert!(taken.is_sorted());

        let rest = looper.interval(HOUR, MissedTicks::Skip);
        handle.quit();

        assert_eq!(wait_for(rest.count()), 0);
    });
}

#[test]
fn a6_an_interval_of_zero_starves_nobody() {
    let looper = Looper::new().unwrap();
    let mut interval = looper.interval(Duration::ZERO, MissedTicks::Burst);
    let ticks = Rc::new(Cell::new(0));
    let counted = ticks.clone();
    let endless = looper.spawn(async move {
        loop {
            interval.tick().await;
            counted.set(counted.get() + 1);
        }
    });
    let _endless = endless.unwrap().guard();

    let turn = looper.poll_once(Duration::ZERO).unwrap();

    assert!((1..=256).contains(&ticks.get()) && turn.messages <= 256, "{turn:?}");
}

/// With another waker than before, it wakes that one.
#[test]
fn a3_a_sleep_that_moves_to_another_task_wakes_that() {
    let looper = TestLooper::new().unwrap();
    let sleep = Rc::new(RefCell::new(Box::pin(looper.sleep(ms(5)))));
    let poll = |sleep: &Rc<RefCell<_>>| {
        let sleep: Rc<RefCell<std::pin::Pin<Box<alooper::task::Sleep>>>> = sleep.clone();
        future::poll_fn(move |context| sleep.borrow_mut().as_mut().poll(context))
    };
    let first = looper.spawn(poll(&sleep)).unwrap();
    looper.run_until_idle();
    let second = looper.spawn(poll(&sleep)).unwrap();
    looper.run_until_idle();
    assert_eq!(looper.len(), 1, "one message");

    looper.advance(ms(5));

    assert!(second.is_finished() && !first.is_finished());
    assert!(sleep.borrow().is_over());
    let again = future::poll_fn(|context| Poll::Ready(sleep.borrow_mut().as_mut().poll(context)));
    assert_eq!(wait_for(again), Poll::Ready(()), "one that is over stays so");
}
