//! Handlers, barriers, idle handlers and calls against a looper that runs.
//!
//! Holds K1, K2, K4, H1, H2, M6, R1, R6, S2, S3, I4, C52, C56, C60.

use std::{
    cell::Cell,
    ops::ControlFlow,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use loom::thread;

use super::{check, looper};
use crate::{
    handler::Handler,
    looper::{Looper, call::CallError},
};

/// A handler that counts what it handles.
fn counting(looper: &Looper) -> (Handler<u32>, Rc<Cell<usize>>) {
    let count = Rc::new(Cell::new(0));
    let handled = count.clone();
    (Handler::new(looper, move |_, _| handled.set(handled.get() + 1)), count)
}

#[test]
fn r1_c52_a_message_is_either_handled_or_removed() {
    check(|| {
        let (looper, _) = looper();
        let (handler, handled) = counting(&looper);
        handler.message(1).what(7).send().unwrap();
        handler.message(2).what(7).send().unwrap();
        let remover = thread::spawn(move || handler.remove(7));

        looper.poll_once(Duration::ZERO).unwrap();

        let removed = remover.join().unwrap();
        assert_eq!(handled.get() + removed, 2);
        assert_eq!(looper.message_counts().removed, removed as u64);
    });
}

#[test]
fn r6_a_message_that_a_predicate_lets_be_is_handled_after_that() {
    check(|| {
        let (looper, _) = looper();
        let (handler, handled) = counting(&looper);
        handler.send(1).unwrap();
        let remover = thread::spawn(move || handler.remove_if(|_| false));

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        assert_eq!((remover.join().unwrap(), handled.get()), (0, 1));
    });
}

#[test]
fn r6_a_message_that_a_predicate_names_is_either_handled_or_removed() {
    check(|| {
        let (looper, _) = looper();
        let (handler, handled) = counting(&looper);
        handler.send(1).unwrap();
        let remover = thread::spawn(move || handler.remove_if(|_| true));

        looper.poll_once(Duration::ZERO).unwrap();

        assert_eq!(handled.get() + remover.join().unwrap() + looper.len(), 1);
    });
}

#[test]
fn r1_two_threads_that_remove_by_predicate_remove_each_message_once() {
    check(|| {
        let (looper, _) = looper();
        let (handler, _) = counting(&looper);
        handler.send(1).unwrap();
        let other = handler.clone();
        let remover = thread::spawn(move || other.remove_if(|_| true));

        let removed = handler.remove_if(|_| true);

        assert!(looper.is_empty(), "whoever has returned knows that it is gone");
        assert_eq!(removed + remover.join().unwrap(), 1);
    });
}

#[test]
fn m6_a_quit_against_a_predicate_ends_the_message_in_one_way() {
    check(|| {
        let (looper, _) = looper();
        let value = Arc::new(());
        let handler = Handler::new(&looper, |_, _: Arc<()>| ());
        handler.send(value.clone()).unwrap();
        let remover = thread::spawn(move || handler.remove_if(|_| true));

        looper.quit();
        assert!(looper.poll_once(None).unwrap().quit);

        let removed = remover.join().unwrap() as u64;
        let report = looper.message_counts();
        assert_eq!((report.removed, report.removed + report.dropped), (removed, 1));
        drop(looper);
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

#[test]
fn c56_a_barrier_that_goes_ends_a_sleep_for_what_it_held_up() {
    check(|| {
        let (looper, _) = looper();
        let barrier = looper.barrier().unwrap();
        looper.post(|_| ()).unwrap();
        let releaser = thread::spawn(move || drop(barrier));

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        releaser.join().unwrap();
    });
}

#[test]
fn c56_a_post_against_the_end_of_a_barrier_runs() {
    check(|| {
        let (looper, _) = looper();
        let barrier = looper.barrier().unwrap();
        let handle = looper.handle();
        let poster = thread::spawn(move || drop(handle.post(|_| ()).unwrap()));
        let releaser = thread::spawn(move || drop(barrier));

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        poster.join().unwrap();
        releaser.join().unwrap();
    });
}

#[test]
fn i4_an_idle_handler_from_another_thread_runs_though_the_looper_falls_asleep() {
    check(|| {
        let (looper, _) = looper();
        let handle = looper.handle();
        let adder = thread::spawn(move || {
            let wake = |looper: &Looper| {
                looper.wake().unwrap();
                ControlFlow::Break(())
            };
            drop(handle.add_idle(wake).unwrap());
        });

        assert!(looper.poll_once(None).unwrap().woken);

        adder.join().unwrap();
    });
}

#[test]
fn h2_c60_the_last_front_against_the_last_message_drops_the_closure_once_and_at_home() {
    check(|| {
        let (looper, _) = looper();
        let held = Rc::new(());
        let state = held.clone();
        let handler = Handler::new(&looper, move |_, _: u32| drop(state.clone()));
        handler.send(1).unwrap();
        let other = thread::spawn(move || drop(handler));

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        other.join().unwrap();
        looper.poll_once(Duration::ZERO).unwrap();

        assert_eq!(Rc::strong_count(&held), 1);
    });
}

#[test]
fn h1_a_handler_from_another_thread_handles_what_is_sent_to_it() {
    check(|| {
        let (looper, _) = looper();
        let handle = looper.handle();
        let sum = Arc::new(AtomicUsize::new(0));
        let handled = sum.clone();
        let other = thread::spawn(move || {
            let add = move |_: &Looper, number: usize| _ = handled.fetch_add(number, Relaxed);
            handle.handler(add).unwrap().send(7).unwrap();
        });

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        assert_eq!(sum.load(Relaxed), 7);
        other.join().unwrap();
    });
}

#[test]
fn s3_a_quit_against_a_call_releases_the_caller() {
    check(|| {
        let (looper, _) = looper();
        let (handle, quitter) = (looper.handle(), looper.handle());
        let caller = thread::spawn(move || handle.call(|_| 7).map_err(|error| error.to_string()));
        let quitter = thread::spawn(move || quitter.quit());

        looper.run().unwrap();

        let ran = looper.message_counts().run;
        assert_eq!(caller.join().unwrap().ok(), (ran == 1).then_some(7));
        quitter.join().unwrap();
    });
}

#[test]
fn s3_the_end_of_the_looper_against_a_call_releases_the_caller() {
    check(|| {
        let (looper, _) = looper();
        let handle = looper.handle();
        let caller = thread::spawn(move || handle.call(|_| 7).is_ok());

        drop(looper);

        assert!(!caller.join().unwrap());
    });
}

#[test]
fn s2_a_call_that_times_out_comes_back_or_runs() {
    check(|| {
        let (looper, _) = looper();
        let handle = looper.handle();
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = runs.clone();
        // In a model a time that is set has passed at once.
        let call = move || handle.call_timeout(Duration::ZERO, move |_| counted.fetch_add(1, Relaxed));
        let caller = thread::spawn(move || match call() {
            Ok(before) => Some(before + 1),
            Err(CallError::TimedOut(_)) => Some(0),
            Err(CallError::StillRunning) => None,
            Err(error) => panic!("{error}"),
        });

        looper.poll_once(Duration::ZERO).unwrap();

        let known = caller.join().unwrap();
        looper.poll_once(Duration::ZERO).unwrap();
        assert_eq!(runs.load(Relaxed), known.unwrap_or(1));
        assert!(looper.is_empty());
    });
}

/// K2: a sender waits for a consumer that empties a full handler; its wake is not lost.
#[test]
fn k2_a_sender_that_waits_for_room_gets_it() {
    check(|| {
        let (looper, _) = looper();
        let handler = looper
            .bounded_handler(1, |looper: &Looper, last: bool| {
                if last {
                    looper.quit()
                }
            })
            .unwrap();
        handler.try_send(false).unwrap();
        let sender = thread::spawn(move || handler.send(true).is_ok());

        looper.run().unwrap();

        assert!(sender.join().unwrap());
    });
}

/// K2: a quit releases a sender that waits, or begins to, though nobody polls.
#[test]
fn k2_a_sender_that_waits_for_room_is_released_by_a_quit() {
    check(|| {
        let (looper, _) = looper();
        let handler = looper.bounded_handler(1, |_, _: bool| ()).unwrap();
        handler.try_send(false).unwrap();
        let sender = thread::spawn(move || handler.send(true).is_err());

        looper.quit_safely();

        assert!(sender.join().unwrap());
    });
}

/// K1: two that replace at once leave one, and a timer that is put off runs once.
#[test]
fn k1_one_message_is_left_of_two_threads_that_replace() {
    check(|| {
        let (looper, _) = looper();
        let (handler, handled) = counting(&looper);
        let other = handler.clone();
        let replacer = thread::spawn(move || other.replace(1, 1).is_ok());
        handler.replace(1, 2).unwrap();
        assert!(replacer.join().unwrap());

        looper.poll_once(Duration::ZERO).unwrap();

        assert_eq!((handled.get(), looper.message_counts().removed), (1, 1));
    });
}

/// K4: who takes away the last thing ends the run, also if the looper is just falling asleep.
#[test]
fn k4_a_run_ends_when_another_thread_cancels_the_last_message() {
    check(|| {
        let (looper, _) = looper();
        // One that never comes due, and that the canceller may drop: nothing is left for the looper's thread to do.
        let posted = looper.handle().post_delayed(Duration::MAX, |_| ()).unwrap();
        let canceller = thread::spawn(move || posted.cancel());

        let counts = looper.run_while_alive().unwrap();

        assert!(canceller.join().unwrap());
        assert_eq!((counts.posted, counts.removed), (1, 1));
    });
}
