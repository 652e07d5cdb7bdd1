//! Watching: what the log says of messages that are slow, or late.
//!
//! Holds W2, W4.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use alooper::{Handler, Looper, LooperHandle, Observer, testing::TestClock};

use crate::support::{
    alone::alone,
    ms, panic_of,
    rest::{assert_not_warned, assert_warned_once_of, warnings},
    timed::{Timed, line_of},
};

/// A line of this file, as it stands in the log.
fn place(line: u32) -> String {
    line_of(file!(), line)
}

#[test]
fn w2_a_message_that_runs_for_as_long_as_the_threshold_is_logged_with_its_place() {
    assert_not_warned();
    let timed = Timed::new();
    timed.looper.set_slow_thresholds(Some(ms(20)), None);

    timed.looper.post(timed.work(ms(20) - Duration::from_nanos(1))).unwrap();
    timed.looper.run_until_idle();
    assert_not_warned();

    timed.looper.post(timed.work(ms(20))).unwrap();
    let line = line!() - 1;
    timed.looper.run_until_idle();

    let [warning] = &warnings()[..] else { panic!("one warning") };
    for part in ["looper \"timed\"", "20ms", "a closure", &place(line)] {
        assert!(warning.contains(part), "{part} in {warning}");
    }
}

#[test]
fn w2_a_slow_message_of_a_handler_is_logged_by_its_type_and_what() {
    assert_not_warned();
    let timed = Timed::new();
    timed.looper.set_slow_thresholds(Some(ms(1)), None);
    let work = RefCell::new(Some(timed.work(ms(1))));
    let handler = Handler::new(&timed.looper, move |looper, _: [u8; 3]| work.take().unwrap()(looper));

    handler.message([0; 3]).what(31).send().unwrap();
    timed.looper.run_until_idle();

    let [warning] = &warnings()[..] else { panic!("one warning") };
    assert!(warning.contains("a message of [u8; 3], what 31, posted at"), "{warning}");
}

#[test]
fn w2_a_slow_message_that_panics_is_logged_too() {
    assert_not_warned();
    let timed = Timed::new();
    timed.looper.set_slow_thresholds(Some(ms(5)), None);
    let work = timed.work(ms(5));
    let slow = move |looper: &Looper| {
        work(looper);
        panic!("slow and wrong")
    };
    timed.looper.post(slow).unwrap();
    let line = line!() - 1;

    assert_eq!(panic_of(|| timed.looper.poll_once(None)), "slow and wrong");

    assert_warned_once_of(&place(line));
}

#[test]
fn w2_a_message_that_starts_as_late_as_the_threshold_is_logged_with_its_place() {
    assert_not_warned();
    let timed = Timed::new();
    timed.looper.set_slow_thresholds(None, Some(ms(30)));

    timed.run_late(ms(30) - Duration::from_nanos(1));
    assert_not_warned();

    timed.looper.post_delayed(ms(5), |_| ()).unwrap();
    let line = line!() - 1;
    assert!(timed.second.poll_once(ms(35)).unwrap().timed_out);
    timed.looper.run_until_idle();

    let [warning] = &warnings()[..] else { panic!("one warning") };
    for part in ["looper \"timed\"", "30ms behind", "a closure", &place(line)] {
        assert!(warning.contains(part), "{part} in {warning}");
    }
}

/// As Java: muted until a message is less than 10 ms late, which is logged, too.
#[test]
fn w2_after_a_slow_delivery_further_ones_are_muted_until_the_looper_has_caught_up() {
    assert_not_warned();
    let timed = Timed::new();
    timed.looper.set_slow_thresholds(None, Some(ms(50)));
    let heard = |lateness| {
        timed.run_late(lateness);
        warnings().iter().map(|warning| warning.contains("has caught up")).collect::<Vec<_>>()
    };

    assert_eq!(heard(ms(50)), [false], "reported");
    assert_eq!(heard(ms(500)), [true; 0], "muted");
    assert_eq!(heard(ms(10)), [true; 0], "still behind");
    assert_eq!(heard(ms(50)), [true; 0], "muted");
    assert_eq!(heard(ms(10) - Duration::from_nanos(1)), [true], "caught up");
    assert_eq!(heard(Duration::ZERO), [true; 0]);
    assert_eq!(heard(ms(49)), [true; 0]);
    assert_eq!(heard(ms(50)), [false], "reported anew");
}

/// Nobody is late for what is to come before everything, or was due before it was posted.
#[test]
fn w2_what_was_due_when_it_was_posted_is_late_only_from_then_on() {
    assert_not_warned();
    let timed = Timed::new();
    timed.looper.set_slow_thresholds(None, Some(ms(20)));
    let pass = |duration| assert!(timed.second.poll_once(duration).unwrap().timed_out);

    timed.looper.post_at(timed.looper.now() - ms(1000), |_| ()).unwrap();
    timed.looper.post_at_front(|_| ()).unwrap();
    pass(ms(19));
    timed.looper.run_until_idle();
    assert_not_warned();

    timed.looper.post_at_front(|_| ()).unwrap();
    pass(ms(20));
    timed.looper.run_until_idle();
    assert_not_warned();

    timed.looper.post_at(timed.looper.now() - ms(1000), |_| ()).unwrap();
    let line = line!() - 1;
    pass(ms(20));
    timed.looper.run_until_idle();
    assert_warned_once_of(&place(line));
}

/// Only the one behind is late: the culprit is the one that ran before it.
#[test]
fn w2_one_slow_message_is_a_slow_dispatch_of_its_own_and_a_slow_delivery_of_the_next() {
    assert_not_warned();
    let clock = TestClock::new();
    let builder = Looper::builder().name("built").slow_dispatch(ms(40)).slow_delivery(ms(40));
    let second = Rc::new(clock.build(Looper::builder()).unwrap());
    let timed = Timed { looper: clock.build(builder).unwrap(), second };
    timed.looper.post(timed.work(ms(40))).unwrap();
    timed.looper.post(|_| ()).unwrap();
    let line = line!() - 1;

    timed.looper.run_until_idle();

    let [dispatch, delivery] = &warnings()[..] else { panic!("two warnings") };
    assert!(dispatch.contains("held up for 40ms") && dispatch.contains(&place(line - 1)), "{dispatch}");
    assert!(delivery.contains("40ms behind") && delivery.contains(&place(line)), "{delivery}");
}

#[test]
fn w2_w4_without_thresholds_nothing_is_slow() {
    struct Silent;

    impl Observer for Silent {}

    assert_not_warned();
    let timed = Timed::new();
    let slow_run = || {
        timed.run_late(ms(10_000));
        timed.looper.post(timed.work(ms(10_000))).unwrap();
        timed.looper.post(|_| ()).unwrap();
        assert_eq!(timed.looper.run_until_idle(), 2);
    };

    slow_run();
    timed.looper.set_observer(Some(Rc::new(Silent)));
    slow_run();
    timed.looper.set_slow_thresholds(Some(ms(1)), Some(ms(1)));
    timed.looper.set_slow_thresholds(None, None);
    slow_run();

    assert_not_warned();
}

/// M9: the log is user code, too. In a process of its own, since a process has one logger.
#[test]
fn w2_m9_the_log_may_call_the_looper() {
    struct Calling;

    static LOOPER: Mutex<Option<LooperHandle>> = Mutex::new(None);
    static CALLED: AtomicU32 = AtomicU32::new(0);

    impl log::Log for Calling {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, _: &log::Record<'_>) {
            let Some(handle) = LOOPER.lock().unwrap().take() else { return };
            assert_eq!(handle.len(), 1);
            let _ = handle.dump();
            handle.post(|_| ()).unwrap().cancel();
            handle.post_at_front(|looper| looper.set_slow_thresholds(None, None)).unwrap();
            CALLED.fetch_add(1, Ordering::Relaxed);
        }

        fn flush(&self) {}
    }

    alone("w2_m9_the_log_may_call_the_looper", || {
        log::set_logger(&Calling).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        let run = |dispatch, delivery| {
            let looper = Looper::new().unwrap();
            looper.set_slow_thresholds(dispatch, delivery);
            *LOOPER.lock().unwrap() = Some(looper.handle());
            looper.post(|_| ()).unwrap();
            looper.post(|looper| looper.quit()).unwrap();
            looper.run().unwrap().run
        };

        assert_eq!(run(Some(Duration::ZERO), None), 3);
        assert_eq!(run(None, Some(Duration::ZERO)), 3);
        assert_eq!(CALLED.load(Ordering::Relaxed), 2);
    });
}
