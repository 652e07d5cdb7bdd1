//! What a looper counts: turns, waits, messages, fd callbacks and wakes.
//!
//! Holds W3, X1.

use std::{
    cell::Cell,
    io::Write,
    os::{fd::AsFd, unix::net::UnixStream},
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    thread,
};

use alooper::{FdNext, Interest, Looper, Stats, testing::TestClock};

use crate::support::{
    HOUR,
    counters::counters,
    fds::{poll_now, ready_stream},
    ms, until_polling, watched,
};

#[test]
fn w3_a_new_looper_has_done_nothing() {
    assert_eq!(Looper::new().unwrap().stats(), Stats::default());
}

#[test]
fn w3_turns_waits_messages_and_fd_callbacks_are_counted() {
    let looper = Looper::new().unwrap();
    let (near, mut far) = ready_stream();
    looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
    looper.handle().post(|looper| assert_eq!(looper.stats().messages, 1, "this one")).unwrap();
    looper.post(|_| ()).unwrap();

    poll_now(&looper);
    assert_eq!(counters(looper.stats()), (1, 1, 2, 1));

    far.write_all(b"x").unwrap();
    poll_now(&looper);
    assert_eq!(counters(looper.handle().stats()), (2, 2, 2, 2));

    looper.quit();
    poll_now(&looper);
    assert_eq!(counters(looper.stats()), (3, 2, 2, 2), "it does not wait any more");
}

/// One that panicked has run, as a message that did.
#[test]
fn w3_x1_callbacks_that_panic_and_those_before_them_are_counted() {
    let looper = Looper::new().unwrap();
    let calls = Rc::new(Cell::new(0));
    let streams = [(); 2].map(|()| ready_stream());
    for (near, _) in &streams {
        let calls = calls.clone();
        let callback = move |_: &Looper, _: &mut UnixStream, _| {
            calls.set(calls.get() + 1);
            assert!(calls.get() < 2, "the second one panics");
            FdNext::Keep
        };
        looper.add_fd(near.try_clone().unwrap(), Interest::INPUT, callback).unwrap();
    }
    looper.post(|_| panic!("a message")).unwrap();

    assert!(panic::catch_unwind(AssertUnwindSafe(|| poll_now(&looper))).is_err());
    assert_eq!(counters(looper.stats()), (1, 1, 1, 0));
    assert!(panic::catch_unwind(AssertUnwindSafe(|| poll_now(&looper))).is_err());

    assert_eq!(calls.get(), 2);
    assert_eq!(counters(looper.stats()), (2, 2, 1, 2));
}

#[test]
fn w3_every_wake_is_counted_as_sent_or_as_saved() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let wakes = |stats: Stats| (stats.wakes_sent, stats.wakes_saved);
        looper.post_delayed(HOUR, |_| ()).unwrap();
        handle.post(|_| ()).unwrap();
        looper.wake().unwrap();
        assert_eq!(wakes(looper.stats()), (0, 3), "nobody sleeps");
        poll_now(&looper);

        let poster = thread::spawn(move || {
            until_polling(&handle);
            // The looper sleeps for less than that.
            handle.post_delayed(2 * HOUR, |_| ()).unwrap();
            let before = wakes(handle.stats());
            handle.post(|_| ()).unwrap();
            (before, wakes(handle.stats()).0)
        });
        while looper.poll_once(None).unwrap().messages == 0 {}

        assert_eq!(poster.join().unwrap(), ((0, 4), 1));
        assert_eq!(wakes(looper.stats()), (1, 4));
    });
}

#[test]
fn w3_a_post_that_needs_no_wake_is_counted_whatever_way_it_goes() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let poster = thread::spawn(move || {
            handle.post_delayed(HOUR, |_| ()).unwrap();
            handle.post_at_front(|_| ()).unwrap();
            handle.asynchronous().post(|_| ()).unwrap();
        });
        poster.join().unwrap();

        assert_eq!((looper.stats().wakes_sent, looper.stats().wakes_saved), (0, 3), "nobody sleeps");
    });
}

/// Between the polls of its host a looper counts as asleep, for posts of its own thread, too.
#[test]
fn w3_a_post_that_wakes_a_host_is_counted_once() {
    let looper = Looper::new().unwrap();
    let _host = looper.as_fd();
    poll_now(&looper);

    looper.post(|_| ()).unwrap();
    looper.post_at_front(|_| ()).unwrap();

    assert_eq!((looper.stats().wakes_sent, looper.stats().wakes_saved), (1, 1));
}

/// The timer of a message that was cancelled meanwhile: what a looper gets up for in vain.
#[test]
fn w3_a_sleep_that_ends_with_nothing_to_do_is_counted_as_spurious() {
    watched(|| {
        // Tried again if one of the threads was so slow that the message was due, or even ran, before it was cancelled.
        for _ in 0..100 {
            let looper = Looper::new().unwrap();
            let handle = looper.handle();
            let cancelled = handle.post_delayed(ms(50), |_| ()).unwrap();
            let canceller = thread::spawn(move || {
                until_polling(&handle);
                cancelled.cancel()
            });

            let turn = looper.poll_once(ms(100)).unwrap();

            let stats = looper.stats();
            // It may wait for the next poll, if it came after all of that one.
            while !canceller.is_finished() {
                looper.poll_once(ms(1)).unwrap();
            }
            if canceller.join().unwrap() {
                assert!(turn.timed_out);
                assert_eq!((stats.turns, stats.messages), (1, 0));
                if stats.spurious_wakes == 1 {
                    return;
                }
                assert_eq!(stats.spurious_wakes, 0);
            }
        }
        panic!("none was counted");
    });
}

#[test]
fn w3_a_sleep_that_lasts_or_is_ended_by_something_is_not_spurious() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        looper.post_delayed(ms(1), |_| ()).unwrap();
        looper.poll_once(None).unwrap();
        looper.poll_once(ms(1)).unwrap();
        looper.wake().unwrap();
        looper.poll_once(None).unwrap();
        let waker = thread::spawn({
            let handle = looper.handle();
            move || {
                until_polling(&handle);
                handle.wake().unwrap();
            }
        });
        looper.poll_once(None).unwrap();
        waker.join().unwrap();
        looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
        looper.poll_once(None).unwrap();

        let stats = looper.stats();

        assert_eq!((stats.turns, stats.spurious_wakes), (5, 0));
        assert_eq!((stats.messages, stats.fd_callbacks), (1, 1));
    });
}

/// Each round of `poll_all` is a turn, and so is each of `run`.
#[test]
fn w3_the_rounds_of_poll_all_and_run_are_turns() {
    let looper = TestClock::new().build(Looper::builder().budget(1)).unwrap();
    (0..3).for_each(|_| drop(looper.post(|_| ()).unwrap()));

    looper.poll_all(ms(1)).unwrap();
    let all = looper.stats().turns;
    looper.post(|_| ()).unwrap();
    looper.post(|looper| looper.quit()).unwrap();
    looper.run().unwrap();

    assert_eq!((all, looper.stats().turns, looper.stats().messages), (4, 6, 5));
}
