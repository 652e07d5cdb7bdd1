//! What is due by the wall clock, and delays that count suspend.
//!
//! Holds G3, R1, E1, M1.

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    thread,
    time::{Duration, SystemTime},
};

use alooper::{
    HandlerThread, Looper,
    testing::{TestClock, TestLooper},
};

use crate::support::{
    HOUR,
    alone::alone,
    forks::{in_child, looper_fds},
    ms, watched,
};

type Order = Rc<RefCell<Vec<u32>>>;

fn noting(order: &Order, what: u32) -> impl FnOnce(&Looper) + use<> {
    let order = order.clone();
    move |_| order.borrow_mut().push(what)
}

/// A looper, the time on its wall, and what ran on it.
fn start() -> (TestLooper, SystemTime, Order) {
    let looper = TestLooper::new().unwrap();
    let wall = looper.wall_time();
    (looper, wall, Order::default())
}

#[test]
fn g3_a_post_runs_when_the_wall_clock_has_reached_its_time() {
    let (looper, wall, order) = start();
    let posted = looper.post_at_wall(wall + HOUR, noting(&order, 1)).unwrap();

    assert_eq!(looper.advance(HOUR - Duration::from_nanos(1)), 0);
    assert!(posted.is_pending());
    assert_eq!(looper.advance(Duration::from_nanos(1)), 1);

    assert_eq!((order.take(), looper.wall_time()), (vec![1], wall + HOUR));
    assert!(!posted.is_pending() && !posted.cancel());
}

#[test]
fn g3_a_clock_that_is_set_forward_brings_it_forward() {
    let (looper, wall, order) = start();
    looper.post_at_wall(wall + HOUR, noting(&order, 1)).unwrap();
    looper.post_at_wall(wall + HOUR * 3, noting(&order, 3)).unwrap();
    let steady = looper.post_delayed(HOUR, noting(&order, 2)).unwrap();

    looper.clock().set_wall_time(wall + HOUR * 2);

    assert_eq!((looper.run_until_idle(), order.take()), (1, vec![1]));
    assert!(steady.is_pending());
    assert_eq!((looper.advance(HOUR), order.take()), (2, vec![3, 2]), "each in its turn, by posting order");
}

#[test]
fn g3_a_clock_that_is_set_back_puts_it_off() {
    let (looper, wall, order) = start();
    looper.post_at_wall(wall + ms(10), noting(&order, 1)).unwrap();
    looper.advance(ms(5));

    looper.clock().set_wall_time(wall - HOUR);

    assert_eq!(looper.advance(HOUR + ms(9)), 0);
    assert_eq!(looper.advance(ms(1)), 1);
    assert_eq!(order.take(), [1]);
}

#[test]
fn g3_it_follows_each_time_that_the_clock_is_set() {
    let (looper, wall, order) = start();
    let posted = looper.post_at_wall(wall + HOUR, noting(&order, 1)).unwrap();
    for time in [wall + HOUR - ms(1), SystemTime::UNIX_EPOCH, wall, wall + HOUR - ms(2)] {
        looper.clock().set_wall_time(time);
        assert_eq!((looper.run_until_idle(), looper.clock().wall_time()), (0, time));
    }

    assert_eq!(looper.advance(ms(1)), 0);
    assert!(posted.is_pending());
    assert_eq!(looper.advance(ms(1)), 1);
}

/// M1: what is due at the same time runs in posting order, and what is past at once.
#[test]
fn g3_m1_it_is_an_ordinary_message_among_others() {
    let (looper, wall, order) = start();
    looper.post_at_wall(wall + ms(5), noting(&order, 1)).unwrap();
    looper.post_delayed(ms(5), noting(&order, 2)).unwrap();
    looper.handle().post_delayed(ms(4), |_| ()).unwrap();
    looper.post_at_wall(wall + ms(5), noting(&order, 3)).unwrap();
    looper.post_at_wall(SystemTime::UNIX_EPOCH - HOUR, noting(&order, 4)).unwrap();

    assert_eq!((looper.run_until_idle(), order.take()), (1, vec![4]));
    assert_eq!((looper.advance(ms(5)), order.take()), (4, vec![1, 2, 3]));
}

#[test]
fn g3_the_clock_may_be_set_by_a_callback_and_one_may_post_the_next() {
    let (looper, wall, order) = start();
    let clock = looper.clock().clone();
    let own = order.clone();
    looper
        .post_at_wall(wall + ms(1), move |looper| {
            own.borrow_mut().push(1);
            clock.set_wall_time(wall);
            looper.post_at_wall(wall + ms(1), noting(&own, 2)).unwrap();
        })
        .unwrap();

    assert_eq!((looper.advance(ms(1)), order.take()), (1, vec![1]));
    assert_eq!((looper.advance(ms(1)), order.take()), (1, vec![2]));
}

#[test]
fn g3_all_loopers_on_a_clock_follow_it() {
    let clock = TestClock::new();
    let loopers = [(); 2].map(|()| clock.build(Looper::builder()).unwrap());
    let order = Order::default();
    for (looper, what) in loopers.iter().zip(1..) {
        looper.post_at_wall(clock.wall_time() + HOUR, noting(&order, what)).unwrap();
    }

    clock.set_wall_time(clock.wall_time() + HOUR);

    assert_eq!((clock.run_until_idle(), order.take()), (2, vec![1, 2]));
}

#[test]
fn g3_r1_what_was_cancelled_does_not_run_however_the_clock_is_set() {
    let (looper, wall, order) = start();
    let value = Rc::new(());
    let kept = value.clone();
    let posted = looper.post_at_wall(wall + HOUR, move |_| drop(kept)).unwrap();
    let guard = looper.post_at_wall(wall + HOUR, noting(&order, 1)).unwrap().guard();
    let let_be = looper.post_at_wall(wall + HOUR, noting(&order, 2)).unwrap().guard().keep();

    assert!(posted.cancel());
    assert!(!posted.cancel() && !posted.is_pending());
    assert_eq!(Rc::strong_count(&value), 1, "dropped at once");
    drop(guard);
    looper.clock().set_wall_time(wall + HOUR);

    assert!(let_be.is_pending());
    assert_eq!((looper.run_until_idle(), order.take()), (1, vec![2]));
}

#[test]
fn g3_one_that_is_running_is_not_pending_and_cannot_be_cancelled() {
    let (looper, wall, _) = start();
    let own = Rc::new(RefCell::new(None));
    let asked = own.clone();
    let posted = looper
        .post_at_wall(wall, move |_| {
            let posted: Option<alooper::source::WallPosted> = asked.take();
            assert!(posted.is_some_and(|posted| !posted.is_pending() && !posted.cancel()));
        })
        .unwrap();
    own.replace(Some(posted));

    assert_eq!(looper.run_until_idle(), 1);
}

#[test]
fn g3_after_a_quit_it_is_dropped_and_nothing_follows() {
    let (looper, wall, order) = start();
    let posted = looper.post_at_wall(wall + HOUR, noting(&order, 1)).unwrap();

    looper.quit();
    looper.clock().set_wall_time(wall + HOUR * 2);

    assert_eq!(looper.run_until_idle(), 0);
    assert!(!posted.is_pending() && !posted.cancel());
    assert_eq!(Rc::strong_count(&order), 1);
}

/// E1: a closure that is refused comes back, with the place of the call.
#[test]
fn g3_e1_what_is_refused_comes_back() {
    let (looper, wall, order) = start();
    let handle = looper.handle();
    looper.quit();

    let refused = looper.post_at_wall(wall, noting(&order, 1)).unwrap_err();
    assert_eq!(refused.error().kind(), std::io::ErrorKind::BrokenPipe);
    assert!(refused.place().file().ends_with("wall_clock.rs"));
    refused.into_value().unwrap()(&looper);
    let refused = looper.post_delayed_boottime(HOUR, noting(&order, 2)).unwrap_err();
    refused.into_value().unwrap()(&looper);
    assert_eq!(order.take(), [1, 2]);

    let refused = handle.post_at_wall(wall, |_| ()).unwrap_err();
    assert!(thread::spawn(move || refused.into_value().is_some()).join().unwrap(), "it comes along");
}

#[test]
fn g3_a_panic_consumes_it() {
    let (looper, wall, _) = start();
    let posted = looper.post_at_wall(wall, |_| panic!("on purpose")).unwrap();

    assert!(catch_unwind(AssertUnwindSafe(|| looper.run_until_idle())).is_err());

    assert!(!posted.is_pending() && looper.is_empty());
    looper.clock().set_wall_time(wall + HOUR);
    assert_eq!(looper.run_until_idle(), 0);
}

#[test]
fn g3_a_boottime_delay_counts_suspend_and_no_other_delay_does() {
    let (looper, wall, order) = start();
    looper.post_delayed_boottime(HOUR, noting(&order, 1)).unwrap();
    looper.post_at_wall(wall + HOUR, noting(&order, 2)).unwrap();
    looper.post_delayed(HOUR, noting(&order, 3)).unwrap();
    let now = looper.now();

    looper.clock().suspend(HOUR - ms(1));
    assert_eq!((looper.run_until_idle(), looper.now()), (0, now));
    assert_eq!((looper.advance(ms(1)), order.take()), (2, vec![1, 2]));

    assert_eq!((looper.advance(HOUR), order.take()), (1, vec![3]));
}

#[test]
fn g3_a_boottime_delay_does_not_mind_the_wall_clock() {
    let (looper, wall, order) = start();
    looper.post_delayed_boottime(ms(2), noting(&order, 1)).unwrap();

    looper.clock().set_wall_time(wall + HOUR);
    looper.clock().set_wall_time(wall - HOUR);

    assert_eq!(looper.advance(ms(1)), 0);
    assert_eq!(looper.advance(ms(1)), 1);
}

/// Those that are gone are taken out of the list on the way.
#[test]
fn g3_many_come_and_go() {
    let (looper, wall, _) = start();
    let count = Rc::new(Cell::new(0));
    for round in 0..1000_u64 {
        let count = count.clone();
        let posted = looper.post_at_wall(wall + ms(round), move |_| count.set(count.get() + 1)).unwrap();
        assert!(round % 2 == 0 || posted.cancel());
    }

    looper.clock().set_wall_time(wall + HOUR);

    assert_eq!((looper.run_until_idle(), count.get()), (500, 500));
}

/// On the real clocks: not early, from the looper's thread and from another one.
#[test]
fn g3_on_the_real_clock_none_runs_early() {
    watched(|| {
        let worker = HandlerThread::spawn("wall").unwrap();
        let (done, is_done) = std::sync::mpsc::channel();
        let handle = worker.handle();
        let when = handle.wall_time() + ms(5);
        let own = done.clone();
        handle.post_at_wall(when, move |looper| own.send(looper.wall_time() >= when).unwrap()).unwrap();
        let begun = handle.now();
        let boot = move |looper: &Looper| done.send(looper.now() - begun >= ms(4)).unwrap();
        handle.post_delayed_boottime(ms(5), boot).unwrap();

        assert!(is_done.recv().unwrap() && is_done.recv().unwrap());
        worker.quit();
        worker.join().unwrap();
    });
}

#[test]
fn g3_a_looper_has_one_timerfd_for_all() {
    alone("g3_a_looper_has_one_timerfd_for_all", || {
        let looper = Looper::new().unwrap();
        let before = looper_fds().len();
        let far = looper.wall_time() + HOUR;
        for _ in 0..5 {
            looper.post_at_wall(far, |_| ()).unwrap();
            looper.handle().post_delayed_boottime(HOUR, |_| ()).unwrap();
        }

        assert_eq!(looper_fds().len(), before + 1);
    });
}

#[test]
fn g3_a_forked_child_neither_runs_nor_cancels_it() {
    alone("g3_a_forked_child_neither_runs_nor_cancels_it", || {
        let looper = Looper::new().unwrap();
        let posted = looper.post_at_wall(looper.wall_time() + ms(1), |looper| looper.quit()).unwrap();

        in_child("it has nothing of its parent's", || {
            assert!(!posted.is_pending() && !posted.cancel());
            assert!(looper.post_at_wall(looper.wall_time(), |_| ()).is_err());
        });

        assert_eq!(looper.run().unwrap().run, 1);
    });
}
