//! Timers that are put off or brought forward.
//!
//! Holds K1, M1, M13, T5, B2.

use std::{
    cell::{Cell, RefCell},
    ops::ControlFlow,
    rc::Rc,
    thread,
    time::Duration,
};

use alooper::{HandlerThread, Looper, testing::TestLooper};

use crate::support::{HOUR, dice::Dice, ms, until_polling, watched};

type Order = Rc<RefCell<Vec<u64>>>;

fn noting(order: &Order, what: u64) -> impl FnOnce(&Looper) + use<> {
    let order = order.clone();
    move |_| order.borrow_mut().push(what)
}

#[test]
fn k1_a_timer_runs_at_the_time_to_which_it_was_put_off_and_not_before() {
    let looper = TestLooper::new().unwrap();
    let order = Order::default();
    let timer = looper.post_delayed(ms(10), noting(&order, 1)).unwrap();
    looper.advance(ms(5));

    assert!(timer.reschedule(ms(10)));

    assert_eq!(looper.advance(ms(9)), 0);
    assert!(timer.is_pending());
    assert_eq!(looper.advance(ms(1)), 1);
    assert_eq!((looper.len(), timer.is_pending(), timer.reschedule(ms(1))), (0, false, false));
    assert_eq!(order.take(), [1]);
}

#[test]
fn k1_a_timer_is_brought_forward_and_back_to_the_time_that_it_had() {
    let looper = TestLooper::new().unwrap();
    let order = Order::default();
    let timer = looper.post_delayed(ms(30), noting(&order, 1)).unwrap();
    for delay in [10, 30, 10, 20, 20, 30, 5, 30] {
        assert!(timer.reschedule(ms(delay)));
    }

    assert_eq!((looper.advance(ms(29)), looper.len()), (0, 1));
    assert_eq!((looper.advance(ms(1)), looper.advance(HOUR)), (1, 0));
    assert!(looper.is_empty());
}

/// M1: among those due at the same time, it keeps its place.
#[test]
fn k1_m1_it_keeps_its_posting_order() {
    let looper = TestLooper::new().unwrap();
    let order = Order::default();
    let first = looper.post_delayed(ms(1), noting(&order, 1)).unwrap();
    looper.post_delayed(ms(10), noting(&order, 2)).unwrap();

    assert!(first.reschedule_at(looper.now() + ms(10)));
    looper.advance(ms(10));

    assert_eq!(order.take(), [1, 2]);
}

#[test]
fn k1_what_has_no_due_time_is_not_rescheduled() {
    let looper = TestLooper::new().unwrap();
    let plain = looper.post(|_| ()).unwrap();
    let front = looper.post_at_front(|_| ()).unwrap();
    let asynchronous = looper.handle().asynchronous().post(|_| ()).unwrap();

    for posted in [plain, front, asynchronous] {
        assert!(!posted.reschedule(HOUR) && posted.is_pending());
    }
    assert_eq!(looper.poll_once(Duration::ZERO).unwrap().messages, 3);
}

#[test]
fn k1_a_handlers_message_is_rescheduled_found_and_removed() {
    let looper = TestLooper::new().unwrap();
    let handler = looper.handler(|_, _: u32| ());
    let sent = handler.message(7).what(1).send_delayed(ms(1)).unwrap();

    assert!(sent.reschedule(HOUR));

    assert_eq!((looper.advance(ms(1)), handler.count(1)), (0, 1));
    assert!(sent.cancel() && !sent.reschedule(ms(1)));
    assert_eq!((looper.advance(HOUR), looper.message_counts().removed), (0, 1));
}

/// K1, M13: the later runs follow on the grid that begins there.
#[test]
fn k1_m13_the_next_run_of_a_repeating_post_is_moved_and_the_grid_with_it() {
    let looper = TestLooper::new().unwrap();
    let start = looper.now();
    let order = Order::default();
    let times = order.clone();
    let tick = move |looper: &Looper| {
        times.borrow_mut().push((looper.now() - start).as_millis() as u64);
        ControlFlow::Continue(())
    };
    let ticking = looper.post_every(ms(10), tick).unwrap();

    looper.advance(ms(12));
    assert!(ticking.reschedule(ms(3)));
    looper.advance(ms(25));

    assert_eq!(order.take(), [10, 15, 25, 35]);
    assert!(ticking.cancel() && !ticking.reschedule(ms(1)));
}

/// K1, T5: the looper sleeps until the earlier time, though nothing was posted.
#[test]
fn k1_t5_a_looper_that_sleeps_is_woken_for_what_another_thread_brings_forward() {
    watched(|| {
        let thread = HandlerThread::spawn("sleeper").unwrap();
        let handle = thread.handle().clone();
        let far = handle.post_delayed(HOUR, |looper| looper.quit()).unwrap();
        until_polling(&handle);

        assert!(far.reschedule(ms(1)));

        thread.join().unwrap();
    });
}

#[test]
fn k1_b2_an_asynchronous_timer_is_rescheduled_past_a_barrier() {
    let looper = TestLooper::new().unwrap();
    let _barrier = looper.barrier().unwrap();
    let passing = looper.handle().asynchronous().post_delayed(HOUR, |_| ()).unwrap();
    let held_up = looper.post_delayed(HOUR, |_| ()).unwrap();

    assert!(passing.reschedule(ms(1)) && held_up.reschedule(ms(1)));

    assert_eq!((looper.advance(ms(1)), looper.len()), (1, 1));
    held_up.cancel();
}

/// Q1: it is not due when the looper quits.
#[test]
fn k1_q1_what_was_put_off_is_dropped_by_a_safe_quit_and_what_was_brought_forward_runs() {
    let looper = TestLooper::new().unwrap();
    let order = Order::default();
    let late = looper.post_delayed(Duration::ZERO, noting(&order, 1)).unwrap();
    let early = looper.post_delayed(HOUR, noting(&order, 2)).unwrap();
    assert!(late.reschedule(HOUR) && early.reschedule(Duration::ZERO));

    looper.quit_safely();
    let counts = looper.run().unwrap();

    assert_eq!((order.take(), counts.run, counts.dropped), (vec![2], 1, 1));
    assert!(!late.reschedule(ms(1)));
}

/// Q1: what a safe quit lets run cannot be put off until after it: the looper would drain for an hour.
#[test]
fn k1_q1_a_looper_that_drains_reschedules_nothing() {
    let looper = TestLooper::new().unwrap();
    let due = looper.post_delayed(Duration::ZERO, |_| ()).unwrap();
    let ticking = looper.post_every(Duration::ZERO, |_| ControlFlow::Continue(())).unwrap();
    looper.quit_safely();

    assert!(!due.reschedule(HOUR) && !ticking.reschedule(HOUR));

    assert_eq!(looper.run().unwrap().run, 2);
}

#[test]
fn k1_a_dropped_looper_reschedules_nothing() {
    let timer = Looper::new().unwrap().post_delayed(HOUR, |_| ()).unwrap();

    assert!(!timer.reschedule(ms(1)));
}

/// Against a naive list: 64 timers, put off, brought forward, cancelled and run at random.
#[test]
fn k1_m1_random_reschedules_run_each_timer_once_at_its_last_time() {
    for seed in 0..50 {
        let mut dice = Dice(seed + 1);
        let looper = TestLooper::new().unwrap();
        let order = Order::default();
        let mut expected: Vec<(u64, u64)> = Vec::new();
        let mut timers = Vec::new();
        let mut now = 0;
        for number in 0..64 {
            let due = dice.below(40);
            timers.push(looper.post_delayed(ms(due), noting(&order, number)).unwrap());
            expected.push((due, number));
        }
        for _ in 0..300 {
            let number = dice.below(64);
            let place = expected.iter().position(|(_, other)| *other == number);
            match dice.below(10) {
                0 => {
                    assert_eq!(timers[number as usize].cancel(), place.is_some());
                    place.map(|place| expected.remove(place));
                }
                1 => {
                    now += 1;
                    let mut due: Vec<_> = expected.extract_if(.., |(due, _)| *due <= now).collect();
                    due.sort_unstable();
                    looper.advance(ms(1));
                    assert_eq!(order.take(), due.iter().map(|(_, number)| *number).collect::<Vec<_>>(), "{seed}");
                }
                _ => {
                    let delay = dice.below(40);
                    assert_eq!(timers[number as usize].reschedule(ms(delay)), place.is_some());
                    place.into_iter().for_each(|place| expected[place].0 = now + delay);
                }
            }
            assert_eq!(looper.len(), expected.len());
        }
        timers.iter().for_each(|timer| _ = timer.cancel());
    }
}

/// R1: the timer runs or not, and if the other thread was in time, not before the new time.
#[test]
fn k1_r1_a_reschedule_that_says_yes_kept_the_timer_from_running_at_the_old_time() {
    watched(|| {
        let looper = Looper::new().unwrap();
        for _ in 0..200 {
            let start = looper.now();
            let ran = Rc::new(Cell::new(None));
            let seen = ran.clone();
            let timer =
                looper.post_delayed(Duration::from_micros(20), move |looper| seen.set(Some(looper.now()))).unwrap();
            let other = thread::spawn(move || timer.reschedule(ms(1)));
            while ran.get().is_none() {
                looper.poll_once(None).unwrap();
            }
            let was_moved = other.join().unwrap();
            assert!(!was_moved || ran.get().unwrap() >= start + ms(1));
        }
    });
}
