//! What a looper has measured, to be graphed.
//!
//! Holds W10, W6.

use std::{ops::ControlFlow, time::Duration};

use alooper::{FdNext, Histogram, Interest, Looper, testing::TestClock};

use crate::support::{
    fds::{poll_now, ready_stream},
    handlers::elsewhere,
    ms,
};

/// How many durations there are below each bound, of which there are any.
fn counted(histogram: &Histogram) -> Vec<(Duration, u64)> {
    histogram.buckets().filter(|(_, count)| *count > 0).collect()
}

/// The bound of the bucket that counts this.
fn bound_of(duration: Duration) -> Duration {
    Histogram::default().buckets().map(|(bound, _)| bound).find(|bound| duration < *bound).unwrap()
}

#[test]
fn w10_a_timed_looper_counts_how_long_callbacks_ran_and_how_late_messages_were() {
    let clock = TestClock::new();
    let looper = clock.build(Looper::builder().timed(true)).unwrap();
    let (near, _far) = ready_stream();
    let (by_fd, by_idle, by_message) = (clock.clone(), clock.clone(), clock.clone());
    let fd = looper.add_fd(near, Interest::INPUT, move |_, _, _| (by_fd.pass(ms(4)), FdNext::Remove).1);
    let idle = looper.add_idle(move |_| (by_idle.pass(ms(40)), ControlFlow::Break(())).1);
    poll_now(&looper);
    assert!(fd.is_ok() && idle.is_ok());

    looper.post(move |_| by_message.pass(ms(400))).unwrap();
    looper.post(|_| ()).unwrap();
    clock.pass(ms(2));
    poll_now(&looper);

    let stats = elsewhere({
        let handle = looper.handle();
        move || handle.stats()
    });
    let once = |duration| (bound_of(duration), 1);
    assert_eq!(counted(&stats.run_times), [once(Duration::ZERO), once(ms(4)), once(ms(40)), once(ms(400))]);
    assert_eq!(counted(&stats.lateness), [once(ms(2)), once(ms(402))]);
    assert_eq!(stats.run_times.quantile(0.5), Some(bound_of(ms(4))));
}

#[test]
fn w10_the_most_messages_that_there_were_at_once_are_counted() {
    let clock = TestClock::new();
    let looper = clock.build(Looper::builder().timed(true)).unwrap();

    for count in [3, 7, 2] {
        (0..count).for_each(|_| drop(looper.post(|_| ()).unwrap()));
        looper.run_until_idle();
    }

    assert_eq!(looper.stats().queue_high_water, 7);
    assert_eq!(looper.stats().notices(), 0);
}

#[test]
fn w10_w4_a_looper_that_is_not_timed_measures_nothing() {
    let looper = Looper::new().unwrap();
    looper.post(|_| ()).unwrap();
    poll_now(&looper);

    let stats = looper.stats();
    assert_eq!((stats.run_times.total(), stats.lateness.total(), stats.queue_high_water), (0, 0, 0));
}

/// W6: then it is known since when.
#[test]
fn w6_since_when_is_exact_of_a_looper_that_is_timed() {
    let clock = TestClock::new();
    let looper = clock.build(Looper::builder().timed(true)).unwrap();
    let begin = looper.now();

    looper
        .post(move |looper| {
            clock.pass(ms(30));
            let running = elsewhere({
                let handle = looper.handle();
                move || handle.running().unwrap()
            });
            assert_eq!((running.since, running.lasted, running.is_exact), (begin, ms(30), true));
        })
        .unwrap();
    assert_eq!(looper.run_until_idle(), 1);
}
