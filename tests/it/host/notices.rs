//! A looper inside another loop: cancels, other threads, panics and quit, as its host notices them.
//!
//! Holds T4, T5, Q2, F11, O1, X1.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    os::{fd::AsRawFd, unix::net::UnixStream},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    thread,
};

use alooper::{FdNext, Interest, Looper, LooperHandle};

use crate::support::{
    fds::{poll_now, ready_stream},
    host::{drain, hosted, is_readable, is_readable_within, wait_readable},
    ms, until_polling, watched,
};

#[test]
fn o1_t5_a_cancelled_message_leaves_nothing_to_do() {
    watched(|| {
        let looper = hosted();
        let due = looper.post(|_| panic!("it was cancelled")).unwrap();
        let delayed = looper.post_delayed(ms(2), |_| panic!("it was cancelled")).unwrap();
        assert!(is_readable(&looper));

        assert!(due.cancel() && delayed.cancel());

        assert_eq!(drain(&looper), (0, 0));
        let longer_than_the_delay = 10_u8;
        assert!(!is_readable_within(&looper, longer_than_the_delay));
    });
}

/// The timer was published for the message; when it comes, there is one empty turn at most.
#[test]
fn o1_a_message_that_is_cancelled_while_the_host_sleeps_costs_one_empty_turn_at_most() {
    watched(|| {
        let looper = hosted();
        let posted = looper.post_delayed(ms(2), |_| ()).unwrap();
        poll_now(&looper);
        if !posted.cancel() {
            // This thread stood still for too long: the message has run.
            return;
        }
        let mut empty_turns = 0;

        let longer_than_the_delay = 10_u8;
        while is_readable_within(&looper, longer_than_the_delay) {
            assert!(poll_now(&looper).timed_out);
            empty_turns += 1;
        }

        assert!(empty_turns <= 1, "{empty_turns}");
    });
}

#[test]
fn o1_t4_no_signal_but_a_wake_counts_as_woken() {
    watched(|| {
        let looper = hosted();
        let (near, _far) = ready_stream();
        let (again, _again_far) = ready_stream();
        let mut turns = Vec::new();

        looper.post(|_| ()).unwrap();
        turns.push(poll_now(&looper));
        looper.post_delayed(ms(1), |_| ()).unwrap();
        turns.push(poll_now(&looper));
        let handle = looper.handle();
        let others = thread::spawn(move || {
            handle.post(|_| ()).unwrap();
            let source = handle.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
            handle.post_delayed(ms(1), |_| ()).unwrap().cancel();
            source.remove()
        });
        assert!(others.join().unwrap());
        turns.push(poll_now(&looper));
        looper.add_fd(again, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
        turns.push(poll_now(&looper));
        while !looper.is_empty() {
            wait_readable(&looper);
            turns.push(poll_now(&looper));
        }

        assert!(turns.iter().all(|turn| !turn.woken), "{turns:?}");
        drain(&looper);
    });
}

#[test]
fn o1_f11_an_fd_that_another_thread_adds_and_removes_is_the_hosts_business() {
    watched(|| {
        let looper = hosted();
        let handle = looper.handle();
        let (near, _far) = ready_stream();
        let near = Arc::new(near);
        let shared = near.clone();
        let adder = thread::spawn(move || handle.add_fd(shared, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap());

        wait_readable(&looper);
        let source = adder.join().unwrap();
        assert_eq!(poll_now(&looper).fds, 1);

        assert!(thread::spawn(move || source.remove()).join().unwrap());
        wait_readable(&looper);
        assert_eq!(drain(&looper), (0, 0));
        assert_eq!(Arc::strong_count(&near), 1, "the looper's is dropped in the turn that it asked for");
    });
}

#[test]
fn o1_x1_a_panic_leaves_it_readable_while_something_is_left() {
    watched(|| {
        let looper = hosted();
        looper.post(|_| panic!("first")).unwrap();
        looper.post(|_| ()).unwrap();
        looper.wake().unwrap();

        catch_unwind(AssertUnwindSafe(|| poll_now(&looper))).unwrap_err();

        assert!(is_readable(&looper));
        let turn = poll_now(&looper);
        assert!(turn.woken && turn.messages == 1, "{turn:?}");
        drain(&looper);
    });
}

#[test]
fn o1_the_fd_may_be_asked_for_inside_a_callback() {
    watched(|| {
        let looper = Looper::builder().budget(1).build().unwrap();
        let number = Rc::new(Cell::new(-1));
        let asked = number.clone();
        looper.post(move |looper| asked.set(looper.as_raw_fd())).unwrap();
        looper.post(|_| ()).unwrap();

        assert_eq!(poll_now(&looper).messages, 1);

        assert_eq!(looper.as_raw_fd(), number.get());
        assert!(is_readable(&looper), "one message is left");
        assert_eq!(drain(&looper), (1, 0));
    });
}

#[test]
fn o1_a_nested_poll_that_is_refused_changes_nothing_for_the_host() {
    watched(|| {
        let looper = hosted();
        looper.post(|looper| drop(looper.poll_once(None).unwrap_err())).unwrap();
        looper.post_delayed(ms(1), |_| ()).unwrap();

        let mut messages = 0;
        while messages < 2 {
            wait_readable(&looper);
            messages += poll_now(&looper).messages;
        }

        drain(&looper);
    });
}

#[test]
fn o1_q2_a_quit_makes_it_readable_and_every_poll_reports_it() {
    watched(|| {
        for quit in [LooperHandle::quit, LooperHandle::quit_safely] {
            let looper = hosted();
            let handle = looper.handle();
            let other = thread::spawn(move || quit(&handle));

            wait_readable(&looper);

            other.join().unwrap();
            assert!(poll_now(&looper).quit);
            assert!(poll_now(&looper).quit);
        }
    });
}

/// A host that goes on watching a looper that has quit, with nothing left to do, may sleep.
#[test]
fn o1_after_quit_was_reported_it_is_not_readable() {
    watched(|| {
        let looper = hosted();
        looper.handle().quit();
        assert!(is_readable(&looper));

        assert!(poll_now(&looper).quit);

        assert!(!is_readable(&looper));
    });
}

#[test]
fn o1_a_hosted_looper_can_still_wait_for_itself() {
    watched(|| {
        let looper = hosted();
        let handle = looper.handle();
        let other = thread::spawn(move || {
            until_polling(&handle);
            handle.post(|_| ()).unwrap();
        });

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        looper.post_delayed(ms(2), |_| ()).unwrap();
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        other.join().unwrap();
        drain(&looper);
    });
}

#[test]
fn o1_what_a_lent_source_does_between_turns_is_seen() {
    watched(|| {
        let looper = hosted();
        let (near, mut far) = UnixStream::pair().unwrap();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = seen.clone();
        let source = looper
            .add_fd(near, Interest::INPUT, move |_, _, events| {
                log.borrow_mut().push(events);
                FdNext::Interest(Interest::INPUT)
            })
            .unwrap();
        drain(&looper);

        source.set_interest(Interest::OUTPUT).unwrap();
        assert!(is_readable(&looper));
        assert_eq!(drain(&looper), (0, 1));
        far.write_all(b"x").unwrap();
        assert!(is_readable(&looper));
        drop(source.remove());
        drain(&looper);
        assert_eq!(seen.borrow().len(), 1);
    });
}

#[test]
fn o1_dropping_it_while_its_host_watches_does_the_host_no_harm() {
    watched(|| {
        let outer = Looper::new().unwrap();
        let inner = Rc::new(hosted());
        let calls = Rc::new(Cell::new(0));
        let counted = calls.clone();
        inner.post(|_| ()).unwrap();
        let source = outer
            .add_fd(inner, Interest::INPUT, move |_, inner, _| {
                counted.set(counted.get() + poll_now(inner).messages);
                FdNext::Keep
            })
            .unwrap();
        assert_eq!(poll_now(&outer).fds, 1);

        drop(source.remove());

        assert!(outer.poll_once(ms(2)).unwrap().timed_out);
        assert_eq!(calls.get(), 1);
    });
}
