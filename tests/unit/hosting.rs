//! A looper in another loop: its fd is readable exactly when there is something to do.
//!
//! Holds T3, O1, X1, C68.

use std::{os::fd::AsRawFd, panic};

use super::*;

/// A looper whose fd was asked for.
fn hosted() -> (Looper, Arc<FakeKernel>) {
    let (looper, kernel) = fake();
    looper.as_raw_fd();
    (looper, kernel)
}

/// What a host does when the fd is readable.
fn poll(looper: &Looper) -> Turn {
    looper.poll_once(Duration::ZERO).unwrap()
}

#[test]
fn o1_the_fd_is_readable_from_the_very_moment_a_message_is_due() {
    let (looper, kernel) = hosted();
    assert!(!kernel.is_host_readable());
    looper.post_delayed(ms(50), |_| ()).unwrap();
    assert_eq!(poll(&looper), timed_out());

    assert_eq!(kernel.timer(), Some(kernel.clock().now().after(ms(50))));
    kernel.advance(ms(50) - NANOSECOND);
    assert!(!kernel.is_host_readable());
    kernel.advance(NANOSECOND);
    assert!(kernel.is_host_readable());

    assert_eq!(poll(&looper), ran(1));
    assert!(!kernel.is_host_readable());
}

#[test]
fn o1_it_is_readable_while_an_fd_is_ready() {
    let (looper, kernel) = hosted();
    let (_source, fd) = add(&looper, |_, _| FdNext::Keep);
    assert!(!kernel.is_host_readable());

    kernel.set_ready(fd, IN);
    assert!(kernel.is_host_readable());
    assert_eq!(poll(&looper).fds, 1);
    assert!(kernel.is_host_readable(), "it is ready still");

    kernel.set_ready(fd, NOT_READY);
    assert!(!kernel.is_host_readable());
}

#[test]
fn o1_it_is_readable_from_a_wake_until_a_turn_has_told_it() {
    let (looper, kernel) = hosted();
    let handle = looper.handle();
    elsewhere(move || (0..10).for_each(|_| handle.wake().unwrap()));

    assert!(kernel.is_host_readable());
    assert_eq!(poll(&looper), woken());
    assert!(!kernel.is_host_readable());
    assert_eq!(kernel.calls(Call::EventfdWrite), 1);

    looper.post(|looper| looper.wake().unwrap()).unwrap();
    assert_eq!(poll(&looper), ran(1));
    assert!(kernel.is_host_readable(), "woken during the turn");
    assert_eq!(poll(&looper), woken());
    assert!(!kernel.is_host_readable());
}

#[test]
fn o1_it_is_readable_after_a_turn_that_stopped_with_more_to_do() {
    let (looper, kernel) = fake_with(|builder| builder.budget(2));
    looper.as_raw_fd();
    (0..5).for_each(|_| drop(looper.post(|_| ()).unwrap()));

    for (messages, more) in [(2, true), (2, true), (1, false)] {
        assert!(kernel.is_host_readable());
        assert_eq!(poll(&looper), Turn { messages, more, ..Turn::default() });
    }
    assert!(!kernel.is_host_readable());

    let (_source, fd) = add(&looper, |looper, _| {
        looper.post(|_| ()).unwrap();
        FdNext::Remove
    });
    kernel.set_ready(fd, IN);
    assert_eq!(poll(&looper), Turn { fds: 1, more: true, ..Turn::default() });
    assert!(kernel.is_host_readable());
    assert_eq!(poll(&looper), ran(1));
    assert!(!kernel.is_host_readable());
}

#[test]
fn o1_a_post_signals_only_if_it_is_due_before_what_the_host_was_told() {
    type Post = fn(&Looper, Duration);
    let from_here: Post = |looper, delay| drop(looper.post_delayed(delay, |_| ()).unwrap());
    let from_elsewhere: Post = |looper, delay| {
        let handle = looper.handle();
        drop(elsewhere(move || handle.post_delayed(delay, |_| ()).unwrap()));
    };
    for post in [from_here, from_elsewhere] {
        let (looper, kernel) = hosted();
        looper.post_delayed(ms(50), |_| ()).unwrap();
        poll(&looper);
        let writes = kernel.calls(Call::EventfdWrite);

        post(&looper, ms(51));
        post(&looper, ms(50));
        assert!(!kernel.is_host_readable());
        assert_eq!(kernel.calls(Call::EventfdWrite), writes);
        post(&looper, ms(50) - NANOSECOND);
        post(&looper, ms(1));
        assert!(kernel.is_host_readable());
        assert_eq!(kernel.calls(Call::EventfdWrite), writes + 1, "one signal is enough");

        assert_eq!(poll(&looper), timed_out(), "such a signal is no wake");
        assert!(!kernel.is_host_readable());
        assert_eq!(kernel.timer(), Some(kernel.clock().now().after(ms(1))));
    }
}

#[test]
fn o1_a_post_that_is_due_now_makes_it_readable_at_once() {
    let (looper, kernel) = hosted();

    looper.post_at_front(|_| ()).unwrap();

    assert!(kernel.is_host_readable());
    assert_eq!(poll(&looper), ran(1));
    assert!(!kernel.is_host_readable());
}

#[test]
fn o1_what_was_there_before_the_fd_was_asked_for_shows() {
    let due: fn(&Looper) = |looper| drop(looper.post(|_| ()).unwrap());
    let woken: fn(&Looper) = |looper| looper.wake().unwrap();
    for leave in [due, woken] {
        let (looper, kernel) = fake();
        leave(&looper);
        looper.as_raw_fd();
        assert!(kernel.is_host_readable());
    }

    let (looper, kernel) = fake();
    looper.post_delayed(ms(5), |_| ()).unwrap();
    looper.as_raw_fd();
    assert!(!kernel.is_host_readable());
    kernel.advance(ms(5));
    assert!(kernel.is_host_readable());
}

#[test]
fn o1_a_callback_can_ask_for_the_fd() {
    let (looper, kernel) = fake();
    looper.post_delayed(ms(5), |_| ()).unwrap();
    looper.post(|looper| assert!(looper.as_raw_fd() >= 0)).unwrap();

    poll(&looper);

    assert_eq!(kernel.timer(), Some(kernel.clock().now().after(ms(5))));
    assert!(!kernel.is_host_readable());
}

#[test]
fn o1_the_loopers_own_sleep_leaves_the_fd_as_a_turn_without_sleep_does() {
    let (looper, kernel) = hosted();
    let start = looper.now();
    looper.post_delayed(ms(50), |_| ()).unwrap();
    looper.post_delayed(ms(70), |_| ()).unwrap();

    assert_eq!(looper.poll_once(ms(20)).unwrap(), timed_out());
    assert!(!kernel.is_host_readable());
    assert_eq!(looper.poll_once(None).unwrap(), ran(1));

    assert_eq!(looper.now() - start, ms(50));
    assert_eq!(kernel.timer(), Some(kernel.clock().now().after(ms(20))));
    assert!(!kernel.is_host_readable());
    kernel.advance(ms(20));
    assert!(kernel.is_host_readable());
}

#[test]
fn o1_quit_shows_and_a_looper_that_has_quit_is_quiet() {
    let (looper, kernel) = hosted();
    looper.post_delayed(ms(50), |_| ()).unwrap();
    poll(&looper);
    let handle = looper.handle();
    elsewhere(move || handle.quit());

    assert!(kernel.is_host_readable());
    assert_eq!(poll(&looper), Turn { quit: true, ..Turn::default() });
    assert!(!kernel.is_host_readable());
    kernel.advance(ms(50));
    assert!(!kernel.is_host_readable(), "nothing is left of the timer");
}

#[test]
fn o1_a_looper_that_nobody_hosts_pays_nothing() {
    let (looper, kernel) = fake();
    looper.post_delayed(DAY, |_| ()).unwrap();
    for _ in 0..100 {
        looper.post(|_| ()).unwrap();
        looper.wake().unwrap();
        looper.handle().post_delayed(ms(1), |_| ()).unwrap();
        assert!(poll(&looper).woken);
    }

    let calls = [Call::TimerfdSet, Call::EventfdWrite, Call::EpollAdd].map(|call| kernel.calls(call));
    assert_eq!(calls, [0, 0, 2], "the two that a looper is made with");
    assert_eq!(kernel.calls(Call::EpollWait), 100);
}

#[test]
fn o1_a_hosted_turn_without_news_sets_no_timer_again() {
    let (looper, kernel) = hosted();
    looper.post_delayed(DAY, |_| ()).unwrap();
    poll(&looper);
    let before = kernel.all_calls();

    (0..100).for_each(|_| assert_eq!(poll(&looper), timed_out()));

    assert_eq!(kernel.all_calls() - before, 100, "one wait each");
}

#[test]
fn o1_without_an_fd_for_a_set_of_its_own_the_host_gets_the_loopers_set() {
    for (call, errno) in [(Call::EpollCreate, Errno::EMFILE), (Call::EpollAdd, Errno::ENOSPC)] {
        let (looper, kernel) = fake();
        let objects = kernel.open_objects();
        kernel.fail(call, errno);
        logged();

        let host = looper.as_raw_fd();

        assert_eq!((logged().len(), kernel.open_objects()), (1, objects));
        assert!(!kernel.is_readable());
        looper.post_delayed(ms(5), |_| ()).unwrap();
        assert!(kernel.is_readable());
        assert_eq!(poll(&looper), timed_out());
        assert!(!kernel.is_readable());
        kernel.advance(ms(5));
        assert!(kernel.is_readable());
        assert_eq!(poll(&looper), ran(1));
        assert!(!kernel.is_readable());
        assert_eq!(looper.as_raw_fd(), host, "it stays with that");
    }
}

#[test]
fn o1_a_timer_that_cannot_be_set_makes_the_host_come_back() {
    let (looper, kernel) = hosted();
    looper.post_delayed(ms(50), |_| ()).unwrap();
    poll(&looper);
    looper.post_delayed(ms(10), |_| ()).unwrap();
    kernel.fail(Call::TimerfdSet, Errno::ENOMEM);
    logged();

    assert_eq!(poll(&looper), timed_out());

    assert!(kernel.is_host_readable());
    assert_eq!(logged().len(), 1);
    assert_eq!(poll(&looper), timed_out());
    assert!(!kernel.is_host_readable());
    assert_eq!(kernel.timer(), Some(kernel.clock().now().after(ms(10))));
}

#[test]
fn o1_x1_after_a_turn_that_panicked_the_host_comes_back_for_the_wake() {
    let (looper, kernel) = hosted();
    looper.wake().unwrap();
    looper.post(|_| panic!("planned")).unwrap();
    assert!(panic::catch_unwind(panic::AssertUnwindSafe(|| poll(&looper))).is_err());

    assert!(kernel.is_host_readable());
    assert_eq!(poll(&looper), woken());
    assert!(!kernel.is_host_readable());
}

#[test]
fn o1_t3_a_wake_before_the_quit_is_told_with_it() {
    let (looper, _) = hosted();
    looper.wake().unwrap();
    looper.quit();

    assert_eq!(poll(&looper), Turn { woken: true, quit: true, ..Turn::default() });
}

#[test]
fn o1_c68_after_a_turn_that_failed_the_host_comes_back() {
    let (looper, kernel) = hosted();
    looper.wake().unwrap();
    kernel.fail(Call::EpollWait, Errno::EBADF);

    looper.poll_once(Duration::ZERO).unwrap_err();

    assert!(kernel.is_host_readable());
    assert_eq!(poll(&looper), woken());
    assert!(!kernel.is_host_readable());
}
