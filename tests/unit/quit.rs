//! Quitting: what still runs, by the exact time, and what ends.
//!
//! Holds T3, T7, Q1, Q2, Q4, Q5, C12, C58.

use super::*;
use crate::{RejectReason, looper::report::ReadyIdent};

fn quit() -> Turn {
    Turn { quit: true, ..Turn::default() }
}

#[test]
fn q1_quit_drops_everything_queued_also_what_is_due() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let value = Rc::new(());
    let held = value.clone();
    looper.post(log.noting("front")).unwrap();
    looper.post(|looper| looper.quit()).unwrap();
    looper.post(log.noting("due")).unwrap();
    looper.post_delayed(ms(1), move |_| drop(held)).unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), Turn { messages: 2, quit: true, ..Turn::default() });

    assert_eq!((log.take(), Rc::strong_count(&value)), (vec!["front"], 1));
    assert_eq!(looper.message_counts(), MessageCounts { posted: 4, run: 2, removed: 0, dropped: 2 });
    assert_eq!(kernel.calls(Call::EpollWait), 1);
}

#[test]
fn q1_c58_quit_safely_runs_what_is_due_at_the_moment_of_the_call_to_the_nanosecond() {
    let (looper, kernel) = fake();
    let log = Log::new();
    looper.post_delayed(ms(10), log.noting("first")).unwrap();
    let quitter = kernel.clone();
    looper
        .post_delayed(ms(10), move |looper| {
            looper.post(|_| ()).unwrap();
            looper.quit_safely();
            quitter.advance(ms(5));
        })
        .unwrap();
    looper.post_delayed(ms(10), log.noting("due with it")).unwrap();
    looper.post_delayed(ms(10) + NANOSECOND, log.noting("a nanosecond later")).unwrap();
    looper.post_delayed(ms(12), log.noting("due when the call has returned")).unwrap();
    looper.post_delayed(Duration::MAX, log.noting("never")).unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), Turn { messages: 4, quit: true, ..Turn::default() });

    assert_eq!(log.take(), ["first", "due with it"]);
    assert_eq!(looper.message_counts(), MessageCounts { posted: 7, run: 4, removed: 0, dropped: 3 });
}

#[test]
fn q1_quit_safely_keeps_what_stands_at_the_front_and_in_the_past() {
    let (looper, _) = fake();
    let log = Log::new();
    looper.post(log.noting("now")).unwrap();
    looper.post_at(looper.now() - ms(1), log.noting("past")).unwrap();
    looper.handle().post_at_front(|_| ()).unwrap();
    looper.quit_safely();

    assert_eq!(looper.run().unwrap(), MessageCounts { posted: 3, run: 3, removed: 0, dropped: 0 });

    assert_eq!(log.take(), ["past", "now"]);
}

#[test]
fn q1_the_first_call_wins() {
    let (looper, _) = fake();
    looper.post(|_| ()).unwrap();
    looper.quit_safely();
    looper.quit();
    assert_eq!(looper.run().unwrap(), MessageCounts { posted: 1, run: 1, removed: 0, dropped: 0 });

    let (looper, _) = fake();
    looper.post(|_| ()).unwrap();
    looper.quit();
    looper.quit_safely();
    assert_eq!(looper.run().unwrap(), MessageCounts { posted: 1, run: 0, removed: 0, dropped: 1 });
}

#[test]
fn q1_c12_a_quit_before_run_is_kept_and_costs_no_system_call() {
    let (looper, kernel) = fake();
    looper.quit();
    let before = kernel.all_calls();

    looper.run().unwrap();
    assert_eq!(looper.poll_once(None).unwrap(), quit());
    assert_eq!(looper.poll_once(DAY).unwrap(), quit());
    assert_eq!(looper.poll_all(None).unwrap(), quit());

    assert_eq!(kernel.all_calls(), before);
}

#[test]
fn q2_quitting_ends_a_sleep_and_later_posts_get_their_value_back() {
    for how in [crate::LooperHandle::quit, crate::LooperHandle::quit_safely] {
        let (looper, kernel) = fake();
        let start = looper.now();
        looper.post_delayed(ms(50), |_| panic!("ran")).unwrap();
        let handle = looper.handle();
        kernel.during_next_wait(move || elsewhere(move || how(&handle)));

        assert_eq!(looper.run().unwrap(), MessageCounts { posted: 1, run: 0, removed: 0, dropped: 1 });

        assert_eq!(looper.now(), start);
        assert_eq!(kernel.calls(Call::EventfdWrite), 1);
        let value = Box::new(5);
        let rejected = looper.handle().post(move |_| drop(value)).unwrap_err();
        assert_eq!(rejected.reason(), RejectReason::Quit);
        (rejected.into_value().unwrap())(&looper);
        assert_eq!(looper.post_every(ms(1), |_| panic!("ran")).unwrap_err().reason(), RejectReason::Quit);
        assert!(looper.has_quit() && looper.is_empty());
    }
}

#[test]
fn q2_quit_safely_during_a_sleep_runs_what_was_just_posted() {
    let (looper, kernel) = fake();
    let handle = looper.handle();
    kernel.during_next_wait(move || {
        elsewhere(move || {
            (0..3).for_each(|_| drop(handle.post(|_| ()).unwrap()));
            handle.post_delayed(NANOSECOND, |_| panic!("ran")).unwrap();
            handle.quit_safely();
        })
    });

    assert_eq!(looper.run().unwrap(), MessageCounts { posted: 4, run: 3, removed: 0, dropped: 1 });

    assert_eq!((kernel.calls(Call::EpollWait), kernel.calls(Call::EventfdWrite)), (1, 1));
}

#[test]
fn q4_every_message_is_in_exactly_one_sum() {
    let (looper, _) = fake();
    let handle = looper.handle();
    looper.post(|_| ()).unwrap();
    looper.post(|_| ()).unwrap().cancel();
    let cancelled = looper.post_delayed(ms(5), |_| ()).unwrap();
    looper.post_delayed(ms(10), |looper| looper.quit_safely()).unwrap();
    looper.post_every(ms(4), |_| std::ops::ControlFlow::Continue(())).unwrap();
    elsewhere(move || {
        cancelled.cancel();
        handle.post_delayed(DAY, |_| ()).unwrap();
    });

    let report = looper.run().unwrap();

    // Of the repeating one, two have run, and the one of 12 ms is dropped.
    assert_eq!(report, MessageCounts { posted: 8, run: 4, removed: 2, dropped: 2 });
    assert_eq!((looper.message_counts(), looper.handle().message_counts()), (report, report));
}

#[test]
fn q4_queries_read_zero_as_soon_as_quit_returns() {
    let (looper, _) = fake();
    let posted = looper.post_delayed(ms(1), |_| ()).unwrap();
    let handle = looper.handle();

    let seen = elsewhere(move || {
        handle.quit();
        (handle.len(), posted.is_pending(), posted.cancel())
    });

    assert_eq!(seen, (0, false, false));
    assert_eq!(looper.message_counts().dropped, 1);
}

#[test]
fn q4_a_value_that_another_thread_gives_up_is_dropped_in_the_next_turn() {
    let (looper, _) = fake();
    let value = Rc::new(());
    let held = value.clone();
    looper.post_delayed(ms(1), move |_| drop(held)).unwrap();
    let handle = looper.handle();
    elsewhere(move || handle.quit());
    assert_eq!(Rc::strong_count(&value), 2);

    assert_eq!(looper.poll_once(None).unwrap(), quit());

    assert_eq!(Rc::strong_count(&value), 1);
}

#[test]
fn q5_after_a_quit_no_callback_of_any_kind_starts_in_that_turn() {
    for how in [Looper::quit, Looper::quit_safely] {
        let (looper, kernel) = fake();
        let ident = source();
        let ident_fd = number(&ident);
        looper.add_ident(ident, Interest::INPUT, 1).unwrap();
        let (_quitter, a) = add(&looper, move |looper, _| {
            how(looper);
            FdNext::Keep
        });
        let (kept, b) = add(&looper, |_, _| panic!("called"));
        for fd in [a, b, ident_fd] {
            kernel.set_ready(fd, IN);
        }

        assert_eq!(looper.poll_once(None).unwrap(), Turn { fds: 1, quit: true, ..Turn::default() });

        assert!(kept.is_registered(), "registrations stay until the looper is dropped");
        assert_eq!(looper.poll_once(None).unwrap(), quit());
        let refused = looper.add_fd(source(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
        assert_eq!(refused.error().kind(), std::io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn q5_a_message_that_quits_keeps_ready_fds_from_being_served() {
    for how in [Looper::quit, Looper::quit_safely] {
        let (looper, kernel) = fake();
        let (_source, fd) = add(&looper, |_, _| panic!("called"));
        kernel.set_ready(fd, IN);
        looper.post(how).unwrap();

        assert_eq!(looper.poll_once(None).unwrap(), Turn { messages: 1, quit: true, ..Turn::default() });
    }
}

#[test]
fn q5_t7_draining_neither_sleeps_nor_serves_fds_and_keeps_the_budget() {
    let (looper, kernel) = fake_with(|builder| builder.budget(2));
    let ident = source();
    kernel.set_ready(number(&ident), IN);
    looper.add_ident(ident, Interest::INPUT, 1).unwrap();
    (0..5).for_each(|_| drop(looper.post(|_| ()).unwrap()));
    looper.quit_safely();
    let before = kernel.all_calls();

    let turns: [_; 3] = std::array::from_fn(|_| looper.poll_once(None).unwrap());

    let told = turns.each_ref().map(|turn| (turn.messages, turn.more, turn.quit, turn.idents.as_slice()));
    let none: &[ReadyIdent] = &[];
    assert_eq!(told, [(2, true, false, none), (2, true, false, none), (1, false, true, none)]);
    assert_eq!(kernel.all_calls(), before);
}

#[test]
fn q5_t3_a_wake_before_the_quit_is_told_with_it() {
    let (looper, _) = fake();
    looper.wake().unwrap();
    looper.quit();

    assert_eq!(looper.poll_once(None).unwrap(), Turn { woken: true, quit: true, ..Turn::default() });
}
