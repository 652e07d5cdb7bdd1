//! Virtual time with several loopers on one clock, and with other threads.
//!
//! Holds V1, V3.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    ops::ControlFlow,
    os::unix::net::UnixStream,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::mpsc,
    thread,
    time::Duration,
};

use alooper::{CallError, FdNext, Handler, Interest, Looper, LooperHandle, testing::TestLooper};

use crate::support::{
    HOUR,
    diary::{Diary, two_on_one_clock},
    ms, until_polling, watched,
};

/// The report of a turn that only ran idle handlers names nothing, and yet there may be something new to do.
#[test]
fn v1_v3_idle_also_runs_what_an_idle_handler_posts_to_a_looper_that_was_at_rest() {
    let (clock, first, second) = two_on_one_clock();
    let other = first.handle();
    let idle = second.add_idle(move |_| {
        other.post(|_| ()).unwrap();
        ControlFlow::Break(())
    });
    assert!(idle.unwrap().is_added());

    assert_eq!((clock.run_until_idle(), first.len()), (1, 0));
}

/// Nor does that of a turn that only dropped what another thread has cancelled.
#[test]
fn v1_v3_idle_also_runs_what_a_drop_posts_to_a_looper_that_was_at_rest() {
    struct PostsWhenDropped(LooperHandle);

    impl Drop for PostsWhenDropped {
        fn drop(&mut self) {
            self.0.post(|_| ()).unwrap();
        }
    }

    let (clock, first, second) = two_on_one_clock();
    let (posts, local) = (PostsWhenDropped(first.handle()), Rc::new(()));
    let posted = second
        .post_delayed(HOUR, move |_| {
            // Not `Send`, so that it is dropped at home.
            drop((posts, local));
        })
        .unwrap();
    thread::spawn(move || assert!(posted.cancel())).join().unwrap();

    assert_eq!((clock.run_until_idle(), first.len()), (1, 0));
}

/// With no deadline there is nothing to move the clock to.
#[test]
fn v1_v3_a_poll_without_a_deadline_waits_for_another_thread() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let (handle, start) = (looper.handle(), looper.now());
        let poster = thread::spawn(move || {
            until_polling(&handle);
            handle.post(|_| ()).unwrap();
        });

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        poster.join().unwrap();
        assert_eq!(looper.now(), start);
    });
}

#[test]
fn v3_loopers_on_one_clock_take_turns_at_each_deadline() {
    let (clock, first, second) = two_on_one_clock();
    let diary = Diary::new(&first);
    second.post_delayed(ms(1), diary.note("second at 1")).unwrap();
    second.post_delayed(ms(3), diary.note("second at 3")).unwrap();
    first.post_delayed(ms(3), diary.note("first at 3")).unwrap();
    let (answer, other) = (diary.note("answer"), first.handle());
    let ask = move |_: &Looper| {
        other.post(|_| ()).unwrap();
    };
    second.post_delayed(ms(2), ask).unwrap();
    first.post_delayed(ms(2), answer).unwrap();

    assert_eq!(second.advance(ms(3)), 6);

    let expected = [("second at 1", ms(1)), ("answer", ms(2)), ("first at 3", ms(3)), ("second at 3", ms(3))];
    assert_eq!(diary.take(), expected);
    assert_eq!((first.now(), second.now()), (clock.now(), clock.now()));
    assert_eq!((first.message_counts().run, second.message_counts().run), (3, 3));
}

#[test]
fn v3_loopers_that_send_each_other_on_come_to_rest() {
    struct Ball(u32);

    let (clock, first, second) = two_on_one_clock();
    let other: Rc<RefCell<Option<Handler<Ball>>>> = Rc::default();
    let to_second = other.clone();
    let to_first = Handler::new(&first, move |_, Ball(left): Ball| {
        if left > 0 {
            to_second.borrow().as_ref().unwrap().send_delayed(ms(1), Ball(left - 1)).unwrap();
        }
    });
    let back = to_first.clone();
    *other.borrow_mut() = Some(Handler::new(&second, move |_, ball: Ball| drop(back.send(ball).unwrap())));
    to_first.send(Ball(5)).unwrap();

    assert_eq!(clock.advance(ms(4)), 9);
    assert_eq!(clock.advance(ms(1)), 2);
    assert_eq!(clock.advance(HOUR), 0);
}

#[test]
fn v3_a_looper_that_is_gone_or_has_quit_leaves_the_clock_to_the_others() {
    let (clock, first, second) = two_on_one_clock();
    let start = clock.now();
    second.post_delayed(ms(2), |_| ()).unwrap();
    first.post_delayed(ms(1), |_| panic!("given up")).unwrap();

    first.quit();
    assert_eq!(clock.next_deadline(), Some(start + ms(2)));
    assert_eq!(clock.run_until_idle(), 0);
    drop(first);

    assert_eq!(clock.advance(ms(2)), 1);
}

#[test]
fn v3_other_threads_post_by_the_virtual_clock() {
    let looper = TestLooper::new().unwrap();
    let diary = Diary::new(&looper);
    looper.advance(ms(7));
    let due = thread::scope(|scope| {
        let post = || {
            let handle = looper.handle();
            handle.post(|_| ()).unwrap();
            handle.post_delayed(ms(3), |_| ()).unwrap();
            handle.now() + ms(3)
        };
        let handle = looper.handle();
        let worker = scope.spawn(move || {
            handle.post_delayed(ms(3), |looper| looper.post(|_| ()).map(drop).unwrap()).unwrap();
            handle.now()
        });
        assert_eq!(worker.join().unwrap() - diary.start, ms(7));
        post()
    });

    assert_eq!((looper.run_until_idle(), looper.next_deadline()), (1, Some(due)));
    assert_eq!(looper.advance(ms(3)), 3);
    assert_eq!(looper.now(), due);
}

#[test]
fn v3_s1_a_synchronous_call_of_another_thread_is_served_by_idle() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let handle = looper.handle();
        let caller = thread::spawn(move || (handle.call(|looper| looper.now()).unwrap(), handle));
        while looper.is_empty() {
            thread::yield_now();
        }

        assert_eq!(looper.run_until_idle(), 1);

        let (called_at, handle) = caller.join().unwrap();
        assert_eq!(called_at, looper.now());
        // Its limit is on the system's clock, or nobody would ever come free here.
        let outcome = thread::spawn(move || handle.call_timeout(ms(1), |_| ())).join().unwrap();
        assert!(matches!(outcome, Err(CallError::TimedOut(_))));
    });
}

/// Longer than any machine is busy: only a test that fails waits for so long.
const LIMIT: Duration = Duration::from_secs(90);

/// The clock jumped to the timeout before the thread could answer.
#[test]
fn v3_a_thread_that_takes_its_time_is_waited_for_while_a_timeout_is_pending() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let start = looper.now();
        let timeout = looper.post_delayed(ms(10_000), |_| panic!("it has answered")).unwrap();
        let answered = Rc::new(Cell::new(false));
        let note = answered.clone();
        let handler = Handler::new(&looper, move |_, answer: bool| note.set(answer));
        let handle = looper.handle();
        let worker = thread::spawn(move || {
            // It does not answer before the looper waits for it.
            until_polling(&handle);
            handler.send(true).map(drop)
        });

        let turn = looper.wait_for_others(LIMIT);

        worker.join().unwrap().unwrap();
        assert!(answered.get() && turn.messages == 1 && !turn.woken, "{turn:?}");
        assert_eq!(looper.now(), start);
        assert_eq!(looper.advance(ms(9_999)), 0, "its time is the test's");
        assert!(timeout.cancel());
    });
}

#[test]
fn v3_an_fd_and_a_wake_are_waited_for_too_and_what_is_due_already_is_not_waited_for() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let start = looper.now();
        let timeout = looper.post_delayed(ms(1), |_| panic!("the clock stands")).unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
        let handle = looper.handle();
        let (goes_on, may_go_on) = mpsc::channel();
        let other = thread::spawn(move || {
            until_polling(&handle);
            far.write_all(b"!").unwrap();
            may_go_on.recv().unwrap();
            until_polling(&handle);
            handle.wake().unwrap();
        });

        assert_eq!(looper.wait_for_others(LIMIT).fds, 1);
        goes_on.send(()).unwrap();
        assert!(looper.wait_for_others(LIMIT).woken);
        looper.post(|_| ()).unwrap();
        assert_eq!(looper.wait_for_others(LIMIT).messages, 1);

        other.join().unwrap();
        assert_eq!(looper.now(), start);
        assert!(timeout.cancel());
    });
}

#[test]
fn v3_waiting_for_others_in_vain_fails_the_test_and_leaves_all_as_it_was() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let start = looper.now();
        looper.post_delayed(ms(5), |_| ()).unwrap();

        let failed = panic::catch_unwind(AssertUnwindSafe(|| looper.wait_for_others(ms(1)))).unwrap_err();

        let told = failed.downcast_ref::<String>().unwrap();
        assert!(told.contains("gave a looper") && told.contains("within 1ms") && told.contains("due in 5ms"), "{told}");
        assert_eq!(looper.now(), start);
        let turn = looper.poll_once(None).unwrap();
        assert_eq!((turn.messages, turn.woken, looper.now()), (1, false, start + ms(5)), "it advances by itself again");
    });
}

/// Its panic neither hangs nor leaves the clock standing.
#[test]
fn v3_a_panic_goes_through_who_waits_for_others() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        looper.post(|_| panic!("planned")).unwrap();

        let failed = panic::catch_unwind(AssertUnwindSafe(|| looper.wait_for_others(LIMIT))).unwrap_err();

        assert_eq!(failed.downcast_ref::<&str>(), Some(&"planned"));
        assert!(looper.poll_once(ms(1)).unwrap().timed_out);
    });
}

#[test]
fn v1_without_auto_advance_a_poll_waits_for_another_thread_and_no_time_passes() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let start = looper.now();
        let timeout = looper.post_delayed(ms(10_000), |_| ()).unwrap();
        looper.clock().set_auto_advance(false);
        for time in [None, Some(ms(1))] {
            let handle = looper.handle();
            let other = thread::spawn(move || {
                until_polling(&handle);
                handle.post(|_| ()).map(drop)
            });

            let turn = looper.poll_once(time).unwrap();

            other.join().unwrap().unwrap();
            assert_eq!((turn.messages, turn.timed_out, looper.now()), (1, false, start));
        }
        assert!(looper.poll_once(ms(0)).unwrap().timed_out, "which does not wait");
        assert_eq!((looper.advance(ms(9_999)), timeout.is_pending()), (0, true));

        looper.clock().set_auto_advance(true);
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        assert_eq!(looper.now(), start + ms(10_000));
    });
}
