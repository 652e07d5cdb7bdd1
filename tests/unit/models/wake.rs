//! Posts, wakes and quits against a looper that goes to sleep.
//!
//! Holds M10, R1, O1, C1, C2, C3, C8, C9, C11, C53, C57, C77.

use std::{
    cell::Cell,
    ops::ControlFlow,
    os::fd::AsFd,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use loom::thread;

use super::{check, check_within, looper};
use crate::{
    looper::{Looper, handle::LooperHandle, posted::Posted},
    sys::{fake::Call, time::Clock},
};

/// Lets each of `posters` threads post `each` messages, and polls until all of them have run.
fn posters_and_a_sleeping_looper(posters: usize, each: usize) {
    let (looper, _) = looper();
    let threads: Vec<_> = (0..posters)
        .map(|_| {
            let handle = looper.handle();
            thread::spawn(move || (0..each).for_each(|_| drop(handle.post(|_| ()).unwrap())))
        })
        .collect();

    let mut ran = 0;
    while ran < posters * each {
        ran += looper.poll_once(None).unwrap().messages;
    }

    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(looper.is_empty());
}

#[test]
fn c1_one_post_ends_a_sleep() {
    check(|| posters_and_a_sleeping_looper(1, 1));
}

#[test]
fn c1_two_posts_of_one_thread_both_run() {
    check(|| posters_and_a_sleeping_looper(1, 2));
}

#[test]
fn c1_posts_of_two_threads_both_run() {
    check(|| posters_and_a_sleeping_looper(2, 1));
}

#[test]
fn c1_two_posts_of_each_of_two_threads_all_run() {
    check(|| posters_and_a_sleeping_looper(2, 2));
}

#[test]
fn c2_whoever_is_woken_for_a_message_finds_it() {
    check(|| {
        let (looper, kernel) = looper();
        let handle = looper.handle();
        let poster = thread::spawn(move || drop(handle.post(|_| ()).unwrap()));

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        assert_eq!(kernel.calls(Call::EpollWait), 1, "no wait ends with nothing to be found");
        poster.join().unwrap();
    });
}

#[test]
fn c8_an_earlier_message_shortens_a_sleep() {
    check(|| {
        let (looper, _) = looper();
        looper.post_delayed(Duration::from_secs(3600), |_| ()).unwrap();
        let handle = looper.handle();
        let poster = thread::spawn(move || drop(handle.post(|_| ()).unwrap()));

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, looper.len()), (1, 1));
        poster.join().unwrap();
    });
}

#[test]
fn c1_a_wake_ends_a_sleep() {
    check(|| {
        let (looper, _) = looper();
        let handle = looper.handle();
        let waker = thread::spawn(move || handle.wake().unwrap());

        assert!(looper.poll_once(None).unwrap().woken);

        waker.join().unwrap();
    });
}

// The looper sleeps until something between a near message and a far one, which does not wake it.

#[test]
fn c1_c9_a_post_behind_mail_that_a_looper_sleeps_over_wakes_it() {
    check(|| {
        let (looper, _) = looper();
        looper.post_delayed(Duration::from_secs(3600), |_| ()).unwrap();
        let posters = [Duration::from_secs(7200), Duration::ZERO].map(|delay| {
            let handle = looper.handle();
            thread::spawn(move || drop(handle.post_delayed(delay, |_| ()).unwrap()))
        });

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        posters.into_iter().for_each(|poster| poster.join().unwrap());
        assert_eq!(looper.len(), 2);
    });
}

#[test]
fn c9_a_wake_behind_mail_that_a_looper_sleeps_over_ends_the_sleep() {
    check(|| {
        let (looper, _) = looper();
        looper.post_delayed(Duration::from_secs(3600), |_| ()).unwrap();
        let (handle, waker) = (looper.handle(), looper.handle());
        let poster = thread::spawn(move || drop(handle.post_delayed(Duration::from_secs(7200), |_| ()).unwrap()));
        let waker = thread::spawn(move || waker.wake().unwrap());

        assert!(looper.poll_once(None).unwrap().woken);

        poster.join().unwrap();
        waker.join().unwrap();
        assert_eq!(looper.len(), 2);
    });
}

#[test]
fn c1_c11_a_post_ends_a_sleep_though_its_handle_goes_and_is_the_last() {
    check(|| {
        let (looper, _) = looper();
        let (posting, other) = (looper.handle(), looper.handle());
        let poster = thread::spawn(move || drop(posting.post(|_| ()).unwrap()));
        let dropper = thread::spawn(move || drop(other));

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        poster.join().unwrap();
        dropper.join().unwrap();
    });
}

#[test]
fn c3_wakes_coalesce_and_none_is_lost() {
    check(|| {
        let (looper, kernel) = looper();
        let wakers = [(); 2].map(|()| {
            let handle = looper.handle();
            thread::spawn(move || handle.wake().unwrap())
        });

        let mut reports = usize::from(looper.poll_once(None).unwrap().woken);
        assert_eq!(reports, 1);
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        reports += usize::from(looper.poll_once(Duration::ZERO).unwrap().woken);

        assert!(kernel.calls(Call::EventfdWrite) <= reports, "a sleep is ended by one write");
        assert!(!looper.poll_once(Duration::ZERO).unwrap().woken, "none is reported twice");
    });
}

/// Posts `count` messages, each of which counts its run in `ran`; tells how many were accepted.
fn post_counting(handle: &LooperHandle, count: usize, ran: &Arc<AtomicUsize>) -> usize {
    let post = || {
        let ran = ran.clone();
        handle.post(move |_| _ = ran.fetch_add(1, Relaxed))
    };
    (0..count).filter(|_| post().is_ok()).count()
}

fn quit_against_posts(posters: usize, quit: fn(&LooperHandle)) {
    let (looper, _) = looper();
    let ran = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..posters)
        .map(|_| {
            let (handle, ran) = (looper.handle(), ran.clone());
            thread::spawn(move || post_counting(&handle, 1, &ran))
        })
        .collect();
    let handle = looper.handle();
    let quitter = thread::spawn(move || quit(&handle));

    looper.run().unwrap();

    let accepted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    quitter.join().unwrap();
    let report = looper.message_counts();
    assert_eq!(report.posted, accepted as u64);
    assert_eq!(report.posted, report.run + report.dropped, "each accepted message ends in one way");
    assert_eq!(report.run, ran.load(Relaxed) as u64);
}

#[test]
fn c57_quit_against_a_poster_loses_nothing() {
    check(|| quit_against_posts(1, LooperHandle::quit));
}

#[test]
fn c57_quit_against_two_posters_loses_nothing() {
    check_within(2, || quit_against_posts(2, LooperHandle::quit));
}

#[test]
fn c57_quit_safely_against_a_poster_runs_all_it_accepted() {
    check(|| {
        let (looper, _) = looper();
        let ran = Arc::new(AtomicUsize::new(0));
        let (handle, count) = (looper.handle(), ran.clone());
        let poster = thread::spawn(move || {
            let accepted = post_counting(&handle, 2, &count);
            handle.quit_safely();
            accepted
        });

        let report = looper.run().unwrap();

        assert_eq!(poster.join().unwrap(), 2);
        assert_eq!((report.run, report.dropped), (2, 0));
    });
}

#[test]
fn c53_a_message_is_either_run_or_cancelled() {
    check(|| {
        let (looper, _) = looper();
        let ran = Arc::new(AtomicUsize::new(0));
        let count = ran.clone();
        let posted: Posted = looper.handle().post(move |_| _ = count.fetch_add(1, Relaxed)).unwrap();
        let canceller = thread::spawn(move || posted.cancel());

        looper.poll_once(Duration::ZERO).unwrap();

        let cancelled = canceller.join().unwrap();
        assert_eq!(ran.load(Relaxed), usize::from(!cancelled));
    });
}

#[test]
fn r1_a_repeating_post_that_is_cancelled_as_it_begins_counts_no_run_that_was_not() {
    check(|| {
        let (looper, _) = looper();
        let ran = Arc::new(AtomicUsize::new(0));
        let count = ran.clone();
        let tick = move |_: &Looper| {
            count.fetch_add(1, Relaxed);
            ControlFlow::Continue(())
        };
        let posted = looper.post_every(Duration::from_secs(3600), tick).unwrap();
        looper.handle().post_at_front(|_| ()).unwrap();
        let canceller = thread::spawn(move || posted.cancel());
        let Clock::Virtual(clock) = looper.clock() else { unreachable!("it is on the fake kernel's clock") };
        clock.advance(Duration::from_secs(3600));

        let turn = looper.poll_once(Duration::ZERO).unwrap();

        assert!(canceller.join().unwrap(), "it is this that ends it");
        let report = looper.message_counts();
        assert_eq!(turn.messages, 1 + ran.load(Relaxed));
        assert_eq!(report.run, turn.messages as u64);
        assert_eq!(report.posted, report.run + report.removed);
        assert!(looper.is_empty());
    });
}

#[test]
fn m10_a_local_closure_that_another_thread_cancels_is_dropped_at_home() {
    check(|| {
        let (looper, _) = looper();
        let value = Rc::new(Cell::new(0));
        let held = value.clone();
        let posted = looper.post_delayed(Duration::from_secs(3600), move |_| held.set(1)).unwrap();
        let handle = looper.handle();
        let canceller = thread::spawn(move || {
            assert!(posted.cancel());
            handle.wake().unwrap();
        });

        assert!(looper.poll_once(None).unwrap().woken);

        assert_eq!((Rc::strong_count(&value), value.get()), (1, 0));
        canceller.join().unwrap();
    });
}

#[test]
fn c77_a_post_against_the_end_of_the_looper_is_dropped_or_refused() {
    check(|| {
        let (looper, _) = looper();
        let handle = looper.handle();
        let ran = Arc::new(AtomicUsize::new(0));
        let (poster_handle, count) = (handle.clone(), ran.clone());
        let poster = thread::spawn(move || post_counting(&poster_handle, 1, &count));

        drop(looper);

        let accepted = poster.join().unwrap() as u64;
        let report = handle.message_counts();
        assert_eq!((report.posted, report.dropped), (accepted, accepted));
        assert_eq!(Arc::strong_count(&ran), 1, "nothing is left behind");
    });
}

// Whose handle it is keeps the eventfd open: after the looper, its fds wait for the last of them.

#[test]
fn c11_a_wake_against_the_end_of_the_looper_succeeds_and_all_is_closed_after_both() {
    check(|| {
        let (looper, kernel) = looper();
        // Counts as asleep for those who wake it.
        looper.as_fd();
        looper.poll_once(Duration::ZERO).unwrap();
        let handle = looper.handle();
        let waker = thread::spawn(move || handle.wake().unwrap());

        drop(looper);

        waker.join().unwrap();
        assert_eq!(kernel.open_objects(), 0);
    });
}

// A query moves messages from the inbox to the queue: it must not fall between the looper's looks at the two.

#[test]
fn c1_a_query_of_another_thread_does_not_hide_a_post_from_a_looper_that_goes_to_sleep() {
    check(|| {
        let (looper, _) = looper();
        let handle = looper.handle();
        let poster = thread::spawn(move || {
            _ = handle.post(|_| ()).unwrap().is_pending();
        });

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        poster.join().unwrap();
    });
}

#[test]
fn o1_a_query_of_another_thread_does_not_hide_a_post_from_a_host() {
    check(|| {
        let (looper, kernel) = looper();
        looper.as_fd();
        let handle = looper.handle();
        let poster = thread::spawn(move || {
            _ = handle.post(|_| ()).unwrap().is_pending();
        });

        let ran = looper.poll_once(Duration::ZERO).unwrap().messages;

        poster.join().unwrap();
        assert!(ran == 1 || kernel.is_readable(), "the host has to come back for it");
    });
}

#[test]
fn o1_a_post_against_the_end_of_a_hosted_turn_runs_in_it_or_leaves_the_fd_readable() {
    check(|| {
        let (looper, kernel) = looper();
        looper.as_fd();
        let handle = looper.handle();
        let poster = thread::spawn(move || drop(handle.post(|_| ()).unwrap()));

        let ran = looper.poll_once(Duration::ZERO).unwrap().messages;

        poster.join().unwrap();
        assert!(ran == 1 || kernel.is_readable(), "the host has to come back for it");
    });
}
