//! Rounds of idle handlers: what these post, add and remove in one, and what other threads remove.
//!
//! Holds I3, T5, T14, M8, M10.

use super::{
    idle::{add_idle, idled},
    *,
};
use crate::IdleHandler;
use std::ops::ControlFlow;

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
    let handlers =
        [add("a", ControlFlow::Continue(())), add("b", ControlFlow::Break(())), add("c", ControlFlow::Continue(()))];

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
            ControlFlow::Continue(())
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
            ControlFlow::Continue(())
        })
        .unwrap();
    let (_source, fd) = add(&looper, |_, _| FdNext::Keep);
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
            ControlFlow::Break(())
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
            ControlFlow::Continue(())
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
            ControlFlow::Break(())
        })
        .unwrap();
    add_idle(&looper, &log, "second");

    assert_eq!(looper.poll_once(ms(500)).unwrap(), idled(2));

    assert_eq!((log.take(), looper.len()), (vec!["second"], 1));
    drop(barrier.take());
    assert_eq!(poll(&looper), ran(1));
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
            ControlFlow::Break(())
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
        ControlFlow::Break(())
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
            ControlFlow::Break(())
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
            ControlFlow::Continue(())
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
            ControlFlow::Continue(())
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
            ControlFlow::Continue(())
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
            ControlFlow::Continue(())
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
            ControlFlow::Continue(())
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
        ControlFlow::Continue(())
    };
    let idle = looper.handle().add_idle(run).unwrap();

    assert!(idle.remove());

    assert_eq!(Arc::strong_count(&value), 1);
}
