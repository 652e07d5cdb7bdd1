//! A turn: what it does, in which order, how much of it, and what it reports and costs.
//!
//! Holds T2, T3, T7, T8, T9, T10, W4, C48, C50, C51, C75.

use std::{io::ErrorKind, panic::Location};

use super::*;
use crate::{
    fd::{registration::Registration, registrations::Duplicate},
    looper::report::ReadyIdent,
    mem::slots::Key,
};

/// Registers `count` idents, of fds that only the fake kernel has.
fn add_idents(looper: &Looper, count: u32) -> Vec<Key> {
    let add = |ident| {
        let new = Registration::new(fd_of(ident), Interest::INPUT, Some(ident), Location::caller());
        looper.shared().fds.add(new, Duplicate::Refuse).unwrap().key
    };
    (0..count).map(add).collect()
}

fn fd_of(ident: u32) -> RawFd {
    1_000_000 + ident as RawFd
}

/// Posts a message that posts itself again, for ever.
fn post_hot(looper: &Looper, log: &Log<&'static str>) {
    let log = log.clone();
    looper
        .post(move |looper| {
            log.note("hot");
            post_hot(looper, &log);
        })
        .unwrap();
}

#[test]
fn t2_t3_messages_run_before_fds_and_everything_is_in_one_report() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let (_first, a) = add_noting(&looper, &log, "fd a");
    let ident = source();
    let ident_fd = number(&ident);
    looper.add_ident(ident, Interest::INPUT, 7).unwrap();
    let (_second, b) = add_noting(&looper, &log, "fd b");
    for fd in [b, ident_fd, a] {
        kernel.set_ready(fd, IN);
    }
    looper.post(log.noting("message")).unwrap();
    looper.wake().unwrap();

    let turn = looper.poll_once(None).unwrap();

    let idents = vec![ReadyIdent::new(7, Events::INPUT)];
    assert_eq!(turn, Turn { woken: true, messages: 1, fds: 2, idents, ..Turn::default() });
    assert_eq!(log.take(), ["message", "fd a", "fd b"], "fds in the kernel's order");
}

#[test]
fn t3_a_wake_is_told_though_a_callback_ran_in_the_same_turn() {
    let (looper, kernel) = fake();
    let (_source, fd) = add(&looper, |_, _| FdNext::Remove);
    let (handle, other_kernel) = (looper.handle(), kernel.clone());
    kernel.during_next_wait(move || {
        other_kernel.set_ready(fd, IN);
        handle.wake().unwrap();
        handle.post(|_| ()).unwrap();
    });

    let turn = looper.poll_all(ms(200)).unwrap();

    assert_eq!(turn, Turn { woken: true, messages: 1, fds: 1, ..Turn::default() });
    assert_eq!(kernel.calls(Call::EventfdWrite), 1);
}

#[test]
fn t7_a_turn_runs_no_more_messages_than_its_budget_old_or_new() {
    let (looper, kernel) = fake_with(|builder| builder.budget(10));
    let start = looper.now();
    let log = Log::new();
    (0..24).for_each(|_| drop(looper.post(log.noting("old")).unwrap()));
    looper.post(|looper| drop(looper.post(|_| ()).unwrap())).unwrap();

    let turns: [_; 3] = std::array::from_fn(|_| looper.poll_once(None).unwrap());

    assert_eq!(turns.each_ref().map(|turn| (turn.messages, turn.more)), [(10, true), (10, true), (6, false)]);
    assert_eq!((looper.now(), kernel.calls(Call::TimerfdSet)), (start, 0), "none of them slept");
}

#[test]
fn t7_the_budget_is_256_unless_set_and_at_least_one() {
    for (budget, expected) in [(None, 256), (Some(0), 1), (Some(1), 1), (Some(1000), 1000)] {
        let (looper, _) = fake_with(|builder| budget.map_or(builder.clone(), |budget| builder.budget(budget)));
        (0..1001).for_each(|_| drop(looper.post(|_| ()).unwrap()));

        assert_eq!(looper.poll_once(None).unwrap().messages, expected);
    }
}

#[test]
fn t7_a_budget_that_fits_exactly_leaves_nothing_to_tell() {
    let (looper, _) = fake_with(|builder| builder.budget(2));
    (0..2).for_each(|_| drop(looper.post(|_| ()).unwrap()));
    looper.post_delayed(NANOSECOND, |_| ()).unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), ran(2));
}

#[test]
fn t7_c48_c50_c51_a_hot_message_starves_neither_fds_nor_other_messages_nor_other_threads() {
    let (looper, kernel) = fake_with(|builder| builder.budget(3));
    let log = Log::new();
    post_hot(&looper, &log);
    looper.post(log.noting("second")).unwrap();
    let (_source, fd) = add_noting(&looper, &log, "fd");
    kernel.set_ready(fd, IN);

    looper.poll_once(None).unwrap();
    assert_eq!(log.take(), ["hot", "second", "hot", "fd"]);
    let handle = looper.handle();
    let (sender, ran) = std::sync::mpsc::channel();
    elsewhere(move || drop(handle.post(move |_| sender.send(()).unwrap()).unwrap()));
    let turn = looper.poll_once(None).unwrap();

    assert_eq!(turn, Turn { messages: 3, fds: 1, more: true, ..Turn::default() });
    assert_eq!(log.take(), ["hot", "hot", "fd"]);
    ran.try_recv().unwrap();
}

#[test]
fn t7_c48_a_message_that_is_always_overdue_does_not_starve_fds_either() {
    fn again(looper: &Looper, kernel: &Arc<FakeKernel>) {
        let busy = kernel.clone();
        let message = move |looper: &Looper| {
            busy.advance(ms(1));
            again(looper, &busy);
        };
        looper.post_at(looper.now() - ms(1), message).unwrap();
    }
    let (looper, kernel) = fake_with(|builder| builder.budget(5));
    again(&looper, &kernel);
    let (_source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, IN);

    for _ in 0..20 {
        let turn = looper.poll_once(ms(1)).unwrap();
        assert_eq!(turn, Turn { messages: 5, fds: 1, more: true, ..Turn::default() });
    }
}

#[test]
fn t7_an_fd_that_is_ready_in_every_turn_does_not_starve_messages() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    let busy = kernel.clone();
    let (_source, fd) = add(&looper, move |_, _| {
        busy.advance(ms(3));
        FdNext::Keep
    });
    kernel.set_ready(fd, IN);
    for delay in [ms(5), ms(10)] {
        let log = log.clone();
        looper.post_delayed(delay, move |looper| log.note(looper.now() - start)).unwrap();
    }

    (0..5).for_each(|_| assert_eq!(looper.poll_once(None).unwrap().fds, 1));

    assert_eq!(log.take(), [ms(6), ms(12)], "each in the first turn after it became due");
}

#[test]
fn t8_what_a_message_posts_runs_in_the_same_turn_and_what_an_fd_posts_in_the_next() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let posting = log.clone();
    let (_source, fd) = add(&looper, move |looper, _| {
        looper.post(posting.noting("posted by an fd")).unwrap();
        FdNext::Remove
    });
    kernel.set_ready(fd, IN);
    let posting = log.clone();
    looper.post(move |looper| drop(looper.post(posting.noting("posted by a message")).unwrap())).unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), Turn { messages: 2, fds: 1, more: true, ..Turn::default() });
    assert_eq!(log.take(), ["posted by a message"]);
    assert_eq!(looper.poll_once(None).unwrap(), ran(1));
    assert_eq!(log.take(), ["posted by an fd"]);
}

#[test]
fn t8_what_becomes_due_while_messages_run_still_runs_in_that_turn() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let busy = kernel.clone();
    looper.post(move |_| busy.advance(ms(10))).unwrap();
    looper.post_delayed(ms(10), log.noting(10)).unwrap();
    looper.post_delayed(ms(11), log.noting(11)).unwrap();

    assert_eq!(looper.poll_once(None).unwrap().messages, 2);

    assert_eq!(log.take(), [10]);
}

#[test]
fn t9_all_ready_fds_are_taken_in_one_wait() {
    let (looper, kernel) = fake();
    looper.poll_once(Duration::ZERO).unwrap();
    add_idents(&looper, 300);
    (0..300).for_each(|ident| kernel.set_ready(fd_of(ident), IN));
    looper.post_delayed(ms(1), |_| ()).unwrap();
    kernel.advance(ms(1));
    let waits = kernel.calls(Call::EpollWait);

    let turn = looper.poll_once(None).unwrap();

    assert_eq!(turn.idents.iter().map(|ready| ready.ident).collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
    assert_eq!(kernel.calls(Call::EpollWait) - waits, 1);
}

#[test]
fn t9_the_room_for_events_follows_the_number_of_fds_down_and_up_again() {
    let (looper, kernel) = fake();
    (0..300).for_each(|ident| kernel.set_ready(fd_of(ident), IN));
    for count in [300, 1, 40, 0, 300] {
        let keys = add_idents(&looper, count);

        assert_eq!(looper.poll_once(Duration::ZERO).unwrap().idents.len(), count as usize);

        for key in keys {
            looper.shared().fds.remove(key).unwrap();
        }
    }
    assert_eq!(kernel.calls(Call::EpollWait), 5);
}

#[test]
fn t10_c75_polling_inside_a_callback_is_an_error_at_once_and_harms_nothing() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    let nested = |looper: &Looper| {
        let kinds = [
            looper.poll_once(None).unwrap_err().kind(),
            looper.poll_all(ms(300)).unwrap_err().kind(),
            looper.run().unwrap_err().kind(),
        ];
        assert_eq!(kinds, [ErrorKind::Deadlock; 3]);
    };
    looper.post(nested).unwrap();
    looper.post_delayed(ms(20), log.noting(20)).unwrap();
    let (_source, fd) = add(&looper, move |looper, _| {
        nested(looper);
        FdNext::Remove
    });
    kernel.set_ready(fd, IN);

    assert_eq!(looper.poll_once(None).unwrap(), Turn { messages: 1, fds: 1, ..Turn::default() });
    assert_eq!((looper.now(), log.take()), (start, vec![]));
    assert_eq!(looper.poll_once(None).unwrap(), ran(1));
    assert_eq!((looper.now() - start, kernel.calls(Call::EpollWait)), (ms(20), 2));
}

#[test]
fn a_thousand_messages_to_a_busy_looper_cost_at_most_eight_system_calls() {
    fn post_all(handle: &crate::LooperHandle) {
        (0..999).for_each(|_| drop(handle.post(|_| ()).unwrap()));
        handle.post(|looper| looper.quit()).unwrap();
    }
    let from_here: fn(&Looper) = |looper| post_all(&looper.handle());
    let from_elsewhere: fn(&Looper) = |looper| {
        let handle = looper.handle();
        elsewhere(move || post_all(&handle));
    };
    for post in [from_here, from_elsewhere] {
        let (looper, kernel) = fake();
        looper.post(post).unwrap();
        let before = kernel.all_calls();

        assert_eq!(looper.run().unwrap().run, 1001);

        let cost = kernel.all_calls() - before;
        assert!(cost <= 8, "{cost}");
        assert_eq!(kernel.calls(Call::EventfdWrite), 0);
    }
}

#[test]
fn w4_a_looper_that_nobody_watches_reads_no_clock_for_the_messages_that_it_runs() {
    fn readings(count: usize, set: fn(LooperBuilder) -> LooperBuilder) -> i64 {
        let (looper, kernel) = fake_with(set);
        (0..count).for_each(|_| drop(looper.post(|_| ()).unwrap()));
        let before = kernel.clock_readings();

        assert_eq!(looper.poll_once(None).unwrap().messages, count);

        kernel.clock_readings() - before
    }
    let watched = |builder: LooperBuilder| builder.slow_dispatch(ms(1));

    assert_eq!(readings(200, |builder| builder), readings(1, |builder| builder));
    assert_eq!(readings(200, watched), readings(1, watched) + 199, "one begins when the one before has ended");
}

#[test]
fn an_idle_looper_with_a_thousand_fds_and_a_timer_sleeps_a_minute_in_one_wait() {
    let (looper, kernel) = fake();
    let start = looper.now();
    add_idents(&looper, 1000);
    looper.post_delayed(DAY, |_| ()).unwrap();
    let before = kernel.all_calls();

    assert!(looper.poll_once(Duration::from_secs(60)).unwrap().timed_out);

    assert_eq!(looper.now() - start, Duration::from_secs(60));
    assert_eq!((kernel.calls(Call::EpollWait), kernel.all_calls() - before), (1, 2), "one of them sets the timer");
}

/// C51: threads that post without end keep the looper off their lock, which it has to take for a timer's sake only when
/// that comes next. If it took it here, this would hang.
#[test]
fn t7_c51_with_a_timer_pending_plain_messages_run_while_another_thread_is_leaving_one() {
    let (looper, _kernel) = fake_with(|builder| builder.budget(2));
    let log = Log::new();
    looper.post_delayed(Duration::from_secs(1), |_| ()).unwrap();
    for name in ["first", "second", "third"] {
        let log = log.clone();
        looper.post(move |_| log.note(name)).unwrap();
    }
    let handle = looper.handle();
    thread::spawn(move || handle.post(|_| ()).unwrap()).join().unwrap();

    let leaving = looper.shared().inbox.open().unwrap();
    let turn = looper.poll_once(Duration::ZERO).unwrap();
    drop(leaving);

    assert_eq!((log.take(), turn.messages, turn.more), (vec!["first", "second"], 2, true));
}
