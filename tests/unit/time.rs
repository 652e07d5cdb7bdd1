//! When things run: delays, deadlines, and how long the looper sleeps for them.
//!
//! Holds T1, T5, T6, M4, C34, C35, C36, C37, C38, C39, C40, C42, C46, C47.

use super::*;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[test]
fn t1_the_longest_timeout_is_no_deadline() {
    let (looper, kernel) = fake();
    let (_source, fd) = add(&looper, |_, _| FdNext::Remove);
    let other_kernel = kernel.clone();
    kernel.during_next_wait(move || other_kernel.set_ready(fd, IN));

    let turn = looper.poll_once(Duration::MAX).unwrap();

    assert_eq!(turn, served(1));
    assert_eq!((kernel.timer(), kernel.calls(Call::TimerfdSet)), (None, 0));
}

#[test]
fn t1_the_longest_timeout_waits_for_a_message_of_next_month() {
    let (looper, kernel) = fake();
    let start = looper.now();
    looper.post_delayed(30 * DAY, |_| ()).unwrap();

    assert_eq!(looper.poll_once(Duration::MAX).unwrap(), ran(1));

    assert_eq!(looper.now() - start, 30 * DAY);
    assert_eq!(kernel.calls(Call::EpollWait), 1);
}

#[test]
fn t1_c38_c39_every_timeout_passes_exactly_and_in_one_wait() {
    let timeouts = [NANOSECOND, 999_999 * NANOSECOND, ms(1), ms(1) + NANOSECOND, ms(1500), 25 * DAY, 200 * YEAR];
    for timeout in timeouts {
        let (looper, kernel) = fake();
        let start = looper.now();

        assert_eq!(looper.poll_once(timeout).unwrap(), timed_out(), "{timeout:?}");

        assert_eq!(looper.now() - start, timeout);
        assert_eq!((kernel.calls(Call::EpollWait), kernel.calls(Call::TimerfdSet)), (1, 1), "{timeout:?}");
    }
}

#[test]
fn t1_a_timeout_of_zero_neither_sleeps_nor_sets_a_timer() {
    let (looper, kernel) = fake();
    let start = looper.now();
    looper.post_delayed(ms(1), |_| ()).unwrap();

    assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), timed_out());

    assert_eq!(looper.now(), start);
    assert_eq!((kernel.calls(Call::EpollWait), kernel.calls(Call::TimerfdSet)), (1, 0));
}

#[test]
fn t5_a_removed_message_does_not_shorten_the_sleep() {
    let (looper, kernel) = fake();
    let start = looper.now();
    assert!(looper.post_delayed(ms(50), |_| ()).unwrap().cancel());

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());

    assert_eq!(looper.now() - start, ms(500));
    assert_eq!(kernel.calls(Call::EpollWait), 1);
}

#[test]
fn t5_the_sleep_is_until_the_earliest_of_what_is_left_and_the_timeout() {
    let (looper, _) = fake();
    let start = looper.now();
    let log = Log::new();
    let earliest = looper.post_delayed(ms(10), log.noting(10)).unwrap();
    looper.post_delayed(ms(40), log.noting(40)).unwrap();
    looper.post_delayed(ms(30), log.noting(30)).unwrap();
    earliest.cancel();

    assert_eq!(looper.poll_once(ms(29)).unwrap(), timed_out());
    assert_eq!(looper.now() - start, ms(29));
    assert_eq!(looper.poll_once(ms(1)).unwrap(), ran(1), "due at the very deadline");
    assert_eq!(looper.poll_once(None).unwrap(), ran(1));

    assert_eq!(looper.now() - start, ms(40));
    assert_eq!(log.take(), [30, 40]);
}

#[test]
fn t5_the_first_poll_after_a_delayed_post_runs_it() {
    let (looper, kernel) = fake();
    let start = looper.now();
    looper.poll_once(Duration::ZERO).unwrap();
    looper.post_delayed(ms(50), |_| ()).unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), ran(1));

    assert_eq!(looper.now() - start, ms(50));
    assert_eq!((kernel.calls(Call::EpollWait), kernel.calls(Call::EventfdWrite)), (2, 0));
}

#[test]
fn t5_a_timer_that_expired_unseen_does_not_disturb_the_next_sleep() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let (_source, fd) = add(&looper, |_, _| FdNext::Remove);
    let other_kernel = kernel.clone();
    kernel.during_next_wait(move || other_kernel.set_ready(fd, IN));
    looper.poll_once(ms(10)).unwrap();
    kernel.advance(ms(20));
    let waits = kernel.calls(Call::EpollWait);

    assert_eq!(looper.poll_once(ms(100)).unwrap(), timed_out());

    assert_eq!(looper.now() - start, ms(120));
    assert_eq!(kernel.calls(Call::EpollWait) - waits, 1);
}

#[test]
fn t6_c40_nothing_runs_a_nanosecond_early() {
    for delay in [NANOSECOND, 100_000 * NANOSECOND, ms(7)] {
        let (looper, kernel) = fake();
        looper.post_delayed(delay, |_| ()).unwrap();

        kernel.advance(delay - NANOSECOND);
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), timed_out());
        kernel.advance(NANOSECOND);
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), ran(1));
    }
}

#[test]
fn c39_timers_run_at_their_exact_nanosecond_with_one_wait_each() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    // 999 983 is a prime: the delays are all over the first five milliseconds, and all different.
    let mut delays: Vec<_> = (1..=500).map(|i| (i * 999_983 % 5_000_011) as u32 * NANOSECOND).collect();
    for &delay in &delays {
        let log = log.clone();
        looper.post_delayed(delay, move |looper| log.note(looper.now() - start)).unwrap();
    }

    while !looper.is_empty() {
        assert_eq!(looper.poll_once(None).unwrap(), ran(1));
    }

    delays.sort();
    assert_eq!(log.take(), delays);
    assert_eq!(kernel.calls(Call::EpollWait), 500);
}

#[test]
fn c38_a_deadline_forty_days_away_comes_at_its_exact_tick() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    looper.post_delayed(40 * DAY + NANOSECOND, log.noting(())).unwrap();

    assert_eq!(looper.poll_once(40 * DAY).unwrap(), timed_out());
    assert_eq!(log.take(), []);
    assert_eq!(looper.poll_once(None).unwrap(), ran(1));

    assert_eq!(log.take(), [()]);
    assert_eq!(looper.now() - start, 40 * DAY + NANOSECOND);
    assert_eq!(kernel.calls(Call::EpollWait), 2);
}

#[test]
fn m4_c34_a_delay_that_overflows_stays_pending_and_can_be_cancelled() {
    let overflowing = [Duration::MAX, Duration::from_nanos(u64::MAX), Duration::from_secs(u64::MAX), 293 * YEAR];
    let (looper, kernel) = fake();
    let start = looper.now();
    let posted = overflowing.map(|delay| looper.post_delayed(delay, |_| panic!("ran")).unwrap());
    let repeating = looper.post_every(Duration::MAX, |_| panic!("ran")).unwrap();
    assert_eq!((looper.len(), kernel.timer()), (5, None));

    assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), timed_out());
    assert_eq!(looper.poll_once(100 * YEAR).unwrap(), timed_out());

    assert_eq!(looper.now() - start, 100 * YEAR);
    assert!(posted.iter().chain([&repeating]).all(|posted| posted.is_pending() && posted.cancel()));
    assert!(looper.is_empty());
}

#[test]
fn c46_a_clock_in_the_far_future_works_as_any_other() {
    let (looper, kernel) = fake();
    kernel.advance(290 * YEAR);
    let start = looper.now();
    let log = Log::new();
    looper.post_delayed(ms(1), log.noting("soon")).unwrap();
    looper.post_delayed(10 * YEAR, log.noting("overflows")).unwrap();
    looper.post_at(start - 280 * YEAR, log.noting("long ago")).unwrap();

    assert_eq!(looper.poll_once(Duration::MAX).unwrap(), ran(1));
    assert_eq!(looper.now(), start);
    assert_eq!(looper.poll_once(Duration::MAX).unwrap(), ran(1));
    assert_eq!(looper.now() - start, ms(1));
    assert_eq!(looper.poll_once(DAY).unwrap(), timed_out());

    assert_eq!(log.take(), ["long ago", "soon"]);
}

#[test]
fn c35_c36_past_deadlines_run_in_the_next_turn_in_their_order() {
    let (looper, kernel) = fake();
    let now = looper.now();
    let log = Log::new();
    looper.post(log.noting("posted")).unwrap();
    looper.post_delayed(Duration::ZERO, log.noting("no delay")).unwrap();
    looper.post_at(now - ms(1), log.noting("1 ms ago")).unwrap();
    looper.post_at(now - Duration::from_secs(7200), log.noting("before the looper")).unwrap();
    looper.post(log.noting("posted last")).unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), ran(5));

    assert_eq!(log.take(), ["before the looper", "1 ms ago", "posted", "no delay", "posted last"]);
    assert_eq!((looper.now(), kernel.calls(Call::EpollWait)), (now, 1));
}

#[test]
fn c42_a_message_that_an_earlier_one_cancels_does_not_run_though_both_are_due() {
    let (looper, _) = fake();
    let log = Log::new();
    let second = Rc::new(RefCell::new(None));
    let held = second.clone();
    looper
        .post_delayed(ms(5), move |_| assert!(held.take().is_some_and(|second: crate::Posted| second.cancel())))
        .unwrap();
    second.replace(Some(looper.post_delayed(ms(5), log.noting("cancelled")).unwrap()));
    looper.post_delayed(ms(5), log.noting("third")).unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), ran(2));

    assert_eq!(log.take(), ["third"]);
}

#[test]
fn c37_c47_a_suspended_looper_runs_all_that_is_overdue_once_in_order_and_serves_fds_between() {
    // A debug build takes microseconds for each.
    const COUNT: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let (looper, kernel) = fake();
    let log = Log::new();
    for i in 0..COUNT {
        let (log, delay) = (log.clone(), Duration::from_micros(i * 7919 % 1000));
        looper.post_delayed(delay, move |_| log.note((delay, i))).unwrap();
    }
    let runs = log.clone();
    let served = Log::new();
    let noted = served.clone();
    let (_source, fd) = add(&looper, move |_, _| {
        noted.note(runs.0.borrow().len());
        FdNext::Keep
    });
    kernel.set_ready(fd, IN);
    kernel.advance(DAY);

    let turns = (0..).take_while(|_| looper.poll_once(None).unwrap().more).count();

    let runs = log.take();
    assert_eq!(runs.len(), COUNT as usize);
    assert!(runs.is_sorted(), "by due time, and then by posting order");
    assert_eq!(turns as u64, COUNT / 256);
    assert!(served.take().windows(2).all(|pair| pair[1] - pair[0] <= 256));
}
