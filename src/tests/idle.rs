//! Idle handlers: when they run, how often, what ends a round, and what they cost a sleep.
//!
//! Holds I1, I2, I3, I4, T1, T3, T14, M8, M10, Q5, O1, X1.

use std::{
    os::fd::AsRawFd,
    panic::{self, AssertUnwindSafe},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{IdleHandler, IdleNext};

/// The report of a turn that waited out its timeout, and in which `count` idle handlers ran.
fn idled(count: usize) -> Turn {
    Turn { idles: count, ..timed_out() }
}

/// Adds an idle handler that notes `name`, and stays.
fn add_idle<T: Clone + 'static>(looper: &Looper, log: &Log<T>, name: T) -> IdleHandler {
    let log = log.clone();
    let note = move |_: &Looper| {
        log.note(name.clone());
        IdleNext::Keep
    };
    looper.add_idle(note).unwrap()
}

/// Polls once without waiting.
fn poll(looper: &Looper) -> Turn {
    looper.poll_once(Duration::ZERO).unwrap()
}

#[test]
fn i1_t3_an_idle_handler_runs_before_the_sleep_and_does_not_end_the_turn() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    let noting = log.clone();
    looper
        .add_idle(move |looper| {
            noting.note(looper.now() - start);
            IdleNext::Keep
        })
        .unwrap();

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(1));

    assert_eq!((log.take(), looper.now() - start), (vec![Duration::ZERO], ms(500)));
    assert_eq!((kernel.calls(Call::EpollWait), kernel.calls(Call::EventfdWrite)), (1, 0));
}

#[test]
fn i1_t1_it_runs_in_a_turn_that_does_not_block() {
    let (looper, kernel) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "idle");

    let turn = poll(&looper);

    assert_eq!((turn.clone(), log.take()), (idled(1), vec!["idle"]));
    assert!(turn.is_empty(), "a host need not come back for it");
    assert_eq!((kernel.calls(Call::EpollWait), kernel.calls(Call::TimerfdSet)), (1, 0));
}

#[test]
fn i1_it_does_not_run_while_a_message_is_due_and_runs_while_the_first_one_is_in_the_future() {
    let (looper, _) = fake_with(|builder| builder.budget(1));
    let start = looper.now();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    looper.post(log.noting("due")).unwrap();
    looper.post_at(start - ms(1), log.noting("overdue")).unwrap();
    looper.post_at_front(log.noting("front")).unwrap();
    looper.post_delayed(NANOSECOND, log.noting("later")).unwrap();

    let turns = [(); 4].map(|()| looper.poll_once(None).unwrap());

    assert_eq!(log.take(), ["front", "overdue", "due", "idle", "later"]);
    assert_eq!(turns.map(|turn| (turn.messages, turn.idles)), [(1, 0), (1, 0), (1, 0), (1, 1)]);
    assert_eq!(looper.now() - start, NANOSECOND);
}

#[test]
fn i1_it_does_not_run_while_a_barrier_stands_though_nothing_is_queued() {
    let (looper, _) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    let first = looper.barrier().unwrap();
    let second = looper.barrier().unwrap();

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());
    drop(first);
    assert_eq!(poll(&looper), timed_out());
    assert_eq!(log.take(), [""; 0]);
    drop(second);

    assert_eq!((poll(&looper), log.take()), (idled(1), vec!["idle"]));
}

/// The looper falls idle by that, and slept on until the next message.
#[test]
fn i1_it_runs_when_the_last_barrier_goes_while_the_looper_sleeps() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    let noting = log.clone();
    looper
        .add_idle(move |looper| {
            noting.note(looper.now() - start);
            IdleNext::Keep
        })
        .unwrap();
    let barrier = looper.barrier().unwrap();
    kernel.during_next_wait(move || elsewhere(move || drop(barrier)));

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(1));

    assert_eq!((log.take(), looper.now() - start), (vec![Duration::ZERO], ms(500)));
}

/// Nobody signals a looper that is awake: it has to look again when it says until when it sleeps.
#[test]
fn i1_it_runs_when_the_last_barrier_goes_just_before_the_looper_sleeps() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    let noting = log.clone();
    looper
        .add_idle(move |looper| {
            noting.note(looper.now() - start);
            IdleNext::Keep
        })
        .unwrap();
    let barrier = looper.barrier().unwrap();
    kernel.before_next(Call::TimerfdSet, move || elsewhere(move || drop(barrier)));

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(1));

    assert_eq!((log.take(), looper.now() - start), (vec![Duration::ZERO], ms(500)));
}

#[test]
fn i2_it_runs_once_and_neither_wakes_nor_fds_nor_the_librarys_own_signals_repeat_it() {
    let (looper, kernel) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    assert_eq!((poll(&looper), log.take()), (idled(1), vec!["idle"]));

    looper.wake().unwrap();
    assert_eq!(looper.poll_once(None).unwrap(), woken());
    let (source, fd) = add(&looper, |_, _| Next::Keep);
    kernel.set_ready(fd, IN);
    (0..3).for_each(|_| assert_eq!(looper.poll_once(None).unwrap(), served(1)));
    drop(source.remove());
    kernel.return_with_nothing();
    kernel.fail(Call::EpollWait, Errno::EINTR);
    assert_eq!(looper.poll_once(ms(5)).unwrap(), Turn { interrupted: true, ..timed_out() });
    let posted = looper.post_delayed(ms(1), |_| panic!("ran")).unwrap();
    kernel.during_next_wait(move || elsewhere(move || assert!(posted.cancel())));
    assert_eq!(looper.poll_once(ms(5)).unwrap(), timed_out());
    drop(looper.barrier().unwrap());
    assert_eq!(looper.poll_all(ms(5)).unwrap(), timed_out());

    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn i2_it_runs_again_once_after_any_number_of_messages() {
    let (looper, _) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    poll(&looper);
    log.take();

    for count in [1, 3] {
        (0..count).for_each(|_| drop(looper.post(log.noting("message")).unwrap()));
        assert_eq!(poll(&looper), ran(count), "it has not fallen idle yet");
        assert_eq!(poll(&looper), idled(1));
        assert_eq!(poll(&looper), timed_out());
        assert_eq!(log.take(), [vec!["message"; count], vec!["idle"]].concat());
    }
}

#[test]
fn i2_a_message_that_panicked_was_one_too() {
    let (looper, _) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    poll(&looper);
    looper.post(|_| panic!("planned")).unwrap();
    panic::catch_unwind(AssertUnwindSafe(|| poll(&looper))).unwrap_err();

    assert_eq!(poll(&looper), idled(1));
}

#[test]
fn i2_one_that_was_not_run_because_of_a_barrier_runs_once_when_that_is_gone() {
    let (looper, _) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    poll(&looper);
    let barrier = looper.barrier().unwrap();
    (0..2).for_each(|_| drop(looper.handle().asynchronous().post(|_| ()).unwrap()));
    assert_eq!(poll(&looper), ran(2));
    assert_eq!(poll(&looper), timed_out());
    drop(barrier);

    assert_eq!([(); 2].map(|()| poll(&looper)), [idled(1), timed_out()]);
}

#[test]
fn t11_poll_all_runs_it_when_the_messages_are_done_and_counts_it() {
    let (looper, _) = fake_with(|builder| builder.budget(1));
    let start = looper.now();
    let log = Log::new();
    add_idle(&looper, &log, "idle");
    (0..3).for_each(|_| drop(looper.post(log.noting("message")).unwrap()));

    let turn = looper.poll_all(ms(500)).unwrap();

    assert_eq!((turn.messages, turn.idles, looper.now()), (3, 1, start));
    assert_eq!(log.take(), ["message", "message", "message", "idle"]);
}

#[test]
fn i3_several_run_in_the_order_of_adding_and_each_stays_or_goes_by_itself() {
    let (looper, _) = fake();
    let log = Log::new();
    let value = Rc::new(());
    let add = |name, next| {
        let (log, held) = (log.clone(), value.clone());
        let run = move |_: &Looper| {
            let _ = &held;
            log.note(name);
            next
        };
        looper.add_idle(run).unwrap()
    };
    let handlers = [add("a", IdleNext::Keep), add("b", IdleNext::Remove), add("c", IdleNext::Keep)];

    assert_eq!((poll(&looper), log.take()), (idled(3), vec!["a", "b", "c"]));
    assert_eq!(handlers.each_ref().map(IdleHandler::is_added), [true, false, true]);
    assert_eq!(Rc::strong_count(&value), 3, "the closure of the second is dropped");
    looper.post(|_| ()).unwrap();
    poll(&looper);
    assert_eq!((poll(&looper), log.take()), (idled(2), vec!["a", "c"]));

    assert_eq!(handlers.each_ref().map(IdleHandler::remove), [true, false, true]);
    assert_eq!(Rc::strong_count(&value), 1);
}

#[test]
fn i3_what_an_idle_handler_posts_runs_in_the_same_turn_without_sleep_or_write() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    let posting = log.clone();
    looper
        .add_idle(move |looper| {
            looper.post(posting.noting("posted")).unwrap();
            looper.handle().post_at_front(|_| ()).unwrap();
            IdleNext::Keep
        })
        .unwrap();

    for _ in 0..3 {
        let turn = looper.poll_once(DAY).unwrap();
        assert_eq!((turn, log.take()), (Turn { messages: 2, idles: 1, ..Turn::default() }, vec!["posted"]));
    }

    assert_eq!((looper.now(), kernel.calls(Call::EpollWait)), (start, 3));
    assert_eq!((kernel.calls(Call::EventfdWrite), kernel.calls(Call::TimerfdSet)), (0, 0));
}

#[test]
fn i3_one_that_posts_itself_work_for_ever_keeps_no_fd_waiting() {
    let (looper, kernel) = fake();
    looper
        .add_idle(|looper| {
            looper.post(|_| ()).unwrap();
            IdleNext::Keep
        })
        .unwrap();
    let (_source, fd) = add(&looper, |_, _| Next::Keep);
    kernel.set_ready(fd, IN);

    for _ in 0..10 {
        let expected = Turn { idles: 1, messages: 1, fds: 1, ..Turn::default() };
        assert_eq!(looper.poll_once(None).unwrap(), expected);
    }
}

#[test]
fn i3_t5_the_sleep_is_decided_after_the_round() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    let (posting, first) = (log.clone(), looper.post_delayed(ms(10), |_| panic!("ran")).unwrap());
    looper
        .add_idle(move |looper| {
            assert!(first.cancel());
            looper.post_delayed(ms(30), posting.noting("posted")).unwrap();
            IdleNext::Remove
        })
        .unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), Turn { messages: 1, idles: 1, ..Turn::default() });

    assert_eq!((looper.now() - start, log.take()), (ms(30), vec!["posted"]));
    assert_eq!(kernel.calls(Call::EpollWait), 1);
}

#[test]
fn i3_what_comes_due_while_a_round_takes_long_runs_without_a_sleep() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let busy = kernel.clone();
    looper
        .add_idle(move |_| {
            busy.advance(ms(20));
            IdleNext::Keep
        })
        .unwrap();
    looper.post_delayed(ms(10), |_| ()).unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), Turn { messages: 1, idles: 1, ..Turn::default() });

    assert_eq!((looper.now() - start, kernel.calls(Call::TimerfdSet)), (ms(20), 0));
}

#[test]
fn i3_an_idle_handler_that_puts_up_a_barrier_lets_the_round_end_and_the_looper_sleep() {
    let (looper, _) = fake();
    let log = Log::new();
    let barrier = Rc::new(Cell::new(None));
    let keeping = barrier.clone();
    looper
        .add_idle(move |looper| {
            keeping.set(Some(looper.barrier().unwrap()));
            looper.post(|_| ()).unwrap();
            IdleNext::Remove
        })
        .unwrap();
    add_idle(&looper, &log, "second");

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(2));

    assert_eq!((log.take(), looper.len()), (vec!["second"], 1));
    drop(barrier.take());
    assert_eq!(poll(&looper), ran(1));
}

/// Runs `add` on another thread in a sleep, and sees that the idle handler it adds runs at once and the turn goes on.
#[test]
fn i4_t14_one_that_is_added_while_the_looper_sleeps_runs_in_that_sleep_and_no_other_one_does() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    add_idle(&looper, &log, "rested");
    poll(&looper);
    log.take();
    let waits = kernel.calls(Call::EpollWait);
    let handle = looper.handle();
    let ran_at = Arc::new(AtomicUsize::new(usize::MAX));
    let noting = ran_at.clone();
    kernel.during_next_wait(move || {
        let run = move |looper: &Looper| {
            noting.store((looper.now() - start).as_millis() as usize, Ordering::Relaxed);
            IdleNext::Keep
        };
        elsewhere(move || handle.add_idle(run).unwrap());
    });

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(1), "and it is not told as a wake");

    assert_eq!((ran_at.load(Ordering::Relaxed), log.take()), (0, vec![]));
    assert_eq!(looper.now() - start, ms(500));
    assert_eq!((kernel.calls(Call::EventfdWrite), kernel.calls(Call::EpollWait) - waits), (1, 2));
    assert_eq!(poll(&looper), timed_out(), "once");
    looper.post(|_| ()).unwrap();
    poll(&looper);
    assert_eq!(poll(&looper), idled(2));
}

#[test]
fn i4_a_thousand_that_are_added_in_one_sleep_cost_one_write() {
    let (looper, kernel) = fake();
    let handle = looper.handle();
    kernel.during_next_wait(move || {
        elsewhere(move || (0..1000).for_each(|_| drop(handle.add_idle(|_| IdleNext::Remove).unwrap())));
    });

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(1000));

    assert_eq!((kernel.calls(Call::EventfdWrite), kernel.calls(Call::EpollWait)), (1, 2));
}

#[test]
fn i4_one_that_is_added_in_a_sleep_while_a_barrier_stands_waits_for_that() {
    let (looper, kernel) = fake();
    let barrier = looper.barrier().unwrap();
    let handle = looper.handle();
    kernel.during_next_wait(move || drop(elsewhere(move || handle.add_idle(|_| IdleNext::Keep).unwrap())));

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());
    drop(barrier);

    assert_eq!(poll(&looper), idled(1));
}

#[test]
fn i4_one_that_the_loopers_own_thread_adds_to_rested_ones_runs_alone() {
    let (looper, _) = fake();
    let log = Log::new();
    add_idle(&looper, &log, "rested");
    poll(&looper);
    add_idle(&looper, &log, "new");

    assert_eq!(poll(&looper), idled(1));

    assert_eq!(log.take(), ["rested", "new"]);
}

/// What was left through a handle was taken home after the round of the turn, which then ended without it.
#[test]
fn i1_t1_one_that_was_added_through_a_handle_runs_in_the_next_turn_also_if_that_does_not_block() {
    let (looper, _) = fake();
    looper.handle().add_idle(|_| IdleNext::Keep).unwrap();

    assert_eq!(poll(&looper), idled(1));
}

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
    elsewhere(move || handle.add_idle(|_| IdleNext::Keep).unwrap());

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
fn m8_an_idle_handler_that_adds_another_one_lets_it_run_once_before_the_sleep() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let adding = log.clone();
    looper
        .add_idle(move |looper| {
            adding.note("first");
            add_idle(looper, &adding, "added");
            IdleNext::Remove
        })
        .unwrap();

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(2));

    assert_eq!((log.take(), kernel.calls(Call::EventfdWrite)), (vec!["first", "added"], 0));
    assert_eq!(poll(&looper), timed_out());
}

/// Adds an idle handler that adds the next one, `left` times.
fn add_chain(looper: &Looper, links: &Rc<Cell<usize>>, left: usize) {
    let links = links.clone();
    let link = move |looper: &Looper| {
        links.set(links.get() + 1);
        if left > 0 {
            add_chain(looper, &links, left - 1);
        }
        IdleNext::Remove
    };
    looper.add_idle(link).unwrap();
}

/// Each new one joined the round that was under way, so that the round did not end.
#[test]
fn i3_idle_handlers_that_add_each_other_do_not_keep_a_message_waiting() {
    let (looper, _) = fake();
    let links = Rc::new(Cell::new(0));
    let seen = links.clone();
    let links_at_message = Rc::new(Cell::new(0));
    let noting = links_at_message.clone();
    add_chain(&looper, &links, 1000);
    looper
        .add_idle(move |looper| {
            let (seen, noting) = (seen.clone(), noting.clone());
            looper.post(move |_| noting.set(seen.get())).unwrap();
            IdleNext::Remove
        })
        .unwrap();

    assert_eq!(poll(&looper).messages, 1);

    assert!(links_at_message.get() < 10, "{} ran before it", links_at_message.get());
}

#[test]
fn m8_an_idle_handler_that_removes_others_and_itself_is_obeyed_at_once() {
    let (looper, _) = fake();
    let log = Log::new();
    let own: Rc<RefCell<Vec<IdleHandler>>> = Rc::default();
    let victims = own.clone();
    let (removing, value) = (log.clone(), Rc::new(()));
    let held = value.clone();
    let first = looper
        .add_idle(move |_| {
            let _ = &held;
            removing.note("first");
            assert!(victims.borrow().iter().all(IdleHandler::remove));
            assert!(!victims.borrow().iter().any(|victim| victim.remove() || victim.is_added()));
            IdleNext::Keep
        })
        .unwrap();
    own.borrow_mut().extend([first, add_idle(&looper, &log, "second")]);
    add_idle(&looper, &log, "third");

    assert_eq!((poll(&looper), log.take()), (idled(2), vec!["first", "third"]));

    assert_eq!(Rc::strong_count(&value), 1, "what it returned does not bring it back");
    looper.post(|_| ()).unwrap();
    poll(&looper);
    assert_eq!((poll(&looper), log.take()), (idled(1), vec!["third"]));
}

#[test]
fn m8_polling_in_an_idle_handler_is_an_error_and_harms_nothing() {
    let (looper, _) = fake();
    looper
        .add_idle(|looper| {
            assert_eq!(looper.poll_once(Duration::ZERO).unwrap_err().kind(), std::io::ErrorKind::Deadlock);
            IdleNext::Keep
        })
        .unwrap();

    assert_eq!(poll(&looper), idled(1));
    assert_eq!(looper.poll_once(ms(5)).unwrap(), timed_out());
}

#[test]
fn m10_t14_one_that_another_thread_removes_in_a_sleep_is_dropped_at_home_at_once_and_ends_no_turn() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let value = Rc::new(());
    let held = value.clone();
    let idle = looper
        .add_idle(move |_| {
            let _ = &held;
            IdleNext::Keep
        })
        .unwrap();
    assert_eq!(poll(&looper), idled(1));
    kernel.during_next_wait(move || elsewhere(move || assert!(idle.remove() && !idle.remove())));

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());

    assert_eq!((Rc::strong_count(&value), looper.now() - start), (1, ms(500)));
    assert_eq!(kernel.calls(Call::EventfdWrite), 1);
}

#[test]
fn i3_one_that_another_thread_removes_during_the_round_does_not_begin() {
    let (looper, _) = fake();
    let second: Rc<Cell<Option<IdleHandler>>> = Rc::default();
    let removing = second.clone();
    looper
        .add_idle(move |_| {
            if let Some(second) = removing.take() {
                assert!(elsewhere(move || second.remove()));
            }
            IdleNext::Keep
        })
        .unwrap();
    second.set(Some(looper.add_idle(|_| panic!("it was removed")).unwrap()));

    assert_eq!(poll(&looper), idled(1));
}

#[test]
fn i3_one_that_another_thread_removes_while_it_runs_goes_on_and_does_not_come_back() {
    let (looper, _) = fake();
    let log = Log::new();
    let own: Rc<Cell<Option<IdleHandler>>> = Rc::default();
    let (removing, noting) = (own.clone(), log.clone());
    let idle = looper
        .add_idle(move |_| {
            let own = removing.take().expect("it runs once");
            assert!(elsewhere(move || own.remove()));
            noting.note("went on");
            IdleNext::Keep
        })
        .unwrap();
    own.set(Some(idle.clone()));

    assert_eq!((poll(&looper), log.take()), (idled(1), vec!["went on"]));

    looper.post(|_| ()).unwrap();
    poll(&looper);
    assert_eq!(poll(&looper), timed_out());
    assert_eq!(Rc::strong_count(&own), 1, "its closure is dropped");
}

/// It was still on its way home: its removal did not find it, and it stayed until the looper was idle.
#[test]
fn m10_one_that_was_added_through_a_handle_and_removed_at_home_is_dropped_before_that_returns() {
    let (looper, _) = fake();
    let value = Arc::new(());
    let held = value.clone();
    let run = move |_: &Looper| {
        let _ = &held;
        IdleNext::Keep
    };
    let idle = looper.handle().add_idle(run).unwrap();

    assert!(idle.remove());

    assert_eq!(Arc::strong_count(&value), 1);
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
            IdleNext::Keep
        })
        .unwrap();
    add_idle(&looper, &log, "third");
    let (_source, fd) = add_noting(&looper, &log, "fd");
    kernel.set_ready(fd, IN);

    assert_eq!(looper.poll_once(None).unwrap(), Turn { idles: 2, quit: true, ..Turn::default() });
    assert_eq!(looper.poll_once(None).unwrap(), Turn { quit: true, ..Turn::default() });

    assert_eq!(log.take(), ["first", "quits"]);
    assert_eq!(looper.exit_report(), ExitReport { posted: 1, run: 0, removed: 0, dropped: 1 });
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
            IdleNext::Keep
        })
        .unwrap();
    add_idle(&looper, &log, "second");
    let (_source, fd) = add_noting(&looper, &log, "fd");
    kernel.set_ready(fd, IN);

    let turn = looper.poll_once(None).unwrap();

    assert_eq!(turn, Turn { idles: 1, messages: 1, quit: true, ..Turn::default() });
    assert_eq!(log.take(), ["due"]);
    assert_eq!(looper.run().unwrap(), ExitReport { posted: 2, run: 1, removed: 0, dropped: 1 });
}

#[test]
fn q5_a_quit_on_another_thread_during_a_round_ends_it() {
    let (looper, _) = fake();
    looper
        .add_idle(|looper| {
            let handle = looper.handle();
            elsewhere(move || handle.quit());
            IdleNext::Keep
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
