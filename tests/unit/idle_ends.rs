//! What ends a round of idle handlers: quitting and panics; and how a hosted looper falls idle.
//!
//! Holds I1, I4, Q5, O1, X1.

use std::{
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
};

use super::{
    idle::{add_idle, idled},
    *,
};

/// A looper whose fd was asked for, and what a host does: it polls while the fd is readable. Tells how many idle
/// handlers ran by that.
fn serve_as_host(looper: &Looper, kernel: &FakeKernel) -> usize {
    let mut idles = 0;
    while kernel.is_host_readable() {
        idles += poll(looper).idles;
    }
    idles
}

#[test]
fn i4_o1_one_that_another_thread_adds_to_a_hosted_looper_runs_though_nothing_else_happens() {
    let (looper, kernel) = fake();
    looper.as_raw_fd();
    let handle = looper.handle();
    elsewhere(move || handle.add_idle(|_| ControlFlow::Continue(())).unwrap());

    assert_eq!(serve_as_host(&looper, &kernel), 1);

    assert_eq!(serve_as_host(&looper, &kernel), 0);
}

/// A host that polls only when the fd is readable left idle handlers waiting for the next message, and so for ever.
#[test]
fn i1_o1_a_hosted_looper_that_has_run_its_messages_falls_idle() {
    let (looper, kernel) = fake();
    looper.as_raw_fd();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    serve_as_host(&looper, &kernel);
    log.take();

    for _ in 0..3 {
        looper.post(log.noting("message")).unwrap();
        assert_eq!(serve_as_host(&looper, &kernel), 1);
        assert_eq!(log.take(), ["message", "idle"]);
    }
}

#[test]
fn i1_o1_the_end_of_a_barrier_calls_the_host_for_idle_handlers_that_waited_for_it() {
    let (looper, kernel) = fake();
    looper.as_raw_fd();
    let barrier = looper.barrier().unwrap();
    add_idle(&looper, &Log::new(), "idle");
    assert_eq!(poll(&looper), timed_out());
    assert!(!kernel.is_host_readable());

    drop(barrier);

    assert_eq!(serve_as_host(&looper, &kernel), 1);
}

#[test]
fn q5_o1_a_hosted_looper_that_has_quit_before_it_fell_idle_is_quiet() {
    let (looper, kernel) = fake();
    looper.as_raw_fd();
    looper.post(|looper| looper.quit()).unwrap();
    looper.add_idle(|_| panic!("the looper has quit")).unwrap();

    assert_eq!(poll(&looper), Turn { messages: 1, quit: true, ..Turn::default() });

    assert!(!kernel.is_host_readable());
    assert_eq!(poll(&looper), Turn { quit: true, ..Turn::default() });
    assert!(!kernel.is_host_readable());
}

#[test]
fn q5_after_a_quit_in_an_idle_handler_nothing_else_starts_in_that_turn() {
    let (looper, kernel) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "first");
    let quitting = log.clone();
    looper
        .add_idle(move |looper| {
            quitting.note("quits");
            looper.post(|_| panic!("the looper has quit")).unwrap();
            looper.quit();
            ControlFlow::Continue(())
        })
        .unwrap();
    add_idle(&looper, &log, "third");
    let (_source, fd) = add_noting(&looper, &log, "fd");
    kernel.set_ready(fd, IN);

    assert_eq!(looper.poll_once(None).unwrap(), Turn { idles: 2, quit: true, ..Turn::default() });
    assert_eq!(looper.poll_once(None).unwrap(), Turn { quit: true, ..Turn::default() });

    assert_eq!(log.take(), ["first", "quits"]);
    assert_eq!(looper.message_counts(), MessageCounts { posted: 1, run: 0, removed: 0, dropped: 1 });
}

#[test]
fn q5_after_a_safe_quit_in_an_idle_handler_what_is_due_runs_and_no_idle_handler_does() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let quitting = log.clone();
    looper
        .add_idle(move |looper| {
            looper.post(quitting.noting("due")).unwrap();
            looper.post_delayed(NANOSECOND, |_| panic!("not due at the quit")).unwrap();
            looper.quit_safely();
            ControlFlow::Continue(())
        })
        .unwrap();
    add_idle(&looper, &log, "second");
    let (_source, fd) = add_noting(&looper, &log, "fd");
    kernel.set_ready(fd, IN);

    let turn = looper.poll_once(None).unwrap();

    assert_eq!(turn, Turn { idles: 1, messages: 1, quit: true, ..Turn::default() });
    assert_eq!(log.take(), ["due"]);
    assert_eq!(looper.run().unwrap(), MessageCounts { posted: 2, run: 1, removed: 0, dropped: 1 });
}

#[test]
fn q5_a_quit_on_another_thread_during_a_round_ends_it() {
    let (looper, _) = fake();
    looper
        .add_idle(|looper| {
            let handle = looper.handle();
            elsewhere(move || handle.quit());
            ControlFlow::Continue(())
        })
        .unwrap();
    looper.add_idle(|_| panic!("the looper has quit")).unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), Turn { idles: 1, quit: true, ..Turn::default() });
}

#[test]
fn q5_a_looper_that_has_quit_runs_none_and_keeps_them_until_it_is_dropped() {
    let (looper, _) = fake();
    let value = Rc::new(());
    let held = value.clone();
    let idle = looper
        .add_idle(move |_| {
            let _ = &held;
            panic!("the looper has quit");
        })
        .unwrap();
    looper.post(|_| ()).unwrap();
    looper.quit_safely();

    looper.run().unwrap();

    assert!(idle.is_added());
    assert_eq!(Rc::strong_count(&value), 2);
    drop(looper);
    assert!(!idle.is_added() && !idle.remove());
    assert_eq!(Rc::strong_count(&value), 1);
}

#[test]
fn x1_an_idle_handler_that_panics_is_removed() {
    let (looper, _) = fake();
    let log = Log::new();
    let value = Rc::new(());
    let held = value.clone();
    add_idle(&looper, &log, "first");
    let panicking = looper
        .add_idle(move |_| {
            let _ = &held;
            panic!("planned");
        })
        .unwrap();

    let panic = panic::catch_unwind(AssertUnwindSafe(|| poll(&looper))).unwrap_err();

    assert_eq!(*panic.downcast::<&str>().unwrap(), "planned");
    assert!(!panicking.is_added() && !panicking.remove());
    assert_eq!(Rc::strong_count(&value), 1);
    looper.post(|_| ()).unwrap();
    poll(&looper);
    assert_eq!(poll(&looper), idled(1));
    assert_eq!(log.take(), ["first", "first"]);
}

/// The round counted as done, and those that it had not come to waited for the next message.
#[test]
fn x1_those_after_one_that_panicked_run_in_the_next_turn() {
    let (looper, _) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "first");
    looper.add_idle(|_| panic!("planned")).unwrap();
    add_idle(&looper, &log, "third");
    add_idle(&looper, &log, "fourth");
    panic::catch_unwind(AssertUnwindSafe(|| poll(&looper))).unwrap_err();
    assert_eq!(log.take(), ["first"]);

    assert_eq!(poll(&looper), idled(2), "the first one has had its turn");

    assert_eq!(log.take(), ["third", "fourth"]);
}

#[test]
fn x1_the_host_comes_back_after_an_idle_handler_that_panicked() {
    let (looper, kernel) = fake();
    looper.as_raw_fd();
    looper.add_idle(|_| panic!("planned")).unwrap();
    looper.post_delayed(ms(5), |_| ()).unwrap();
    panic::catch_unwind(AssertUnwindSafe(|| poll(&looper))).unwrap_err();

    kernel.advance(ms(5));

    assert!(kernel.is_host_readable());
    assert_eq!(poll(&looper), ran(1));
}
