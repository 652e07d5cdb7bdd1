//! Virtual time: a test's looper, what it runs until it is at rest, what it tells of that, and what it may leave.
//!
//! Holds V1, V2, X1.

use std::{
    cell::RefCell,
    io::{ErrorKind, Read, Write},
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    time::Duration,
};

use alooper::{
    FdNext, Handler, Interest, Looper,
    testing::{TestClock, TestLooper},
};

use crate::support::{diary::Diary, fds::ready_stream, ms, watched};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the panic of `action` says.
#[track_caller]
fn panic_text<T>(action: impl FnOnce() -> T) -> String {
    let Err(panic) = panic::catch_unwind(AssertUnwindSafe(action)) else { panic!("it did not panic") };
    let literal = panic.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
    literal.or_else(|| panic.downcast_ref::<String>().cloned()).expect("a text")
}

/// A line of this file.
fn place(line: u32) -> String {
    format!("{}:{line}:", file!())
}

#[test]
fn v1_idle_runs_all_that_is_due_also_what_is_posted_meanwhile_and_counts_it() {
    let clock = TestClock::new();
    let looper = clock.build(Looper::builder().budget(2)).unwrap();
    let diary = Diary::new(&looper);
    let (inner, later) = (diary.note("inner"), diary.note("later"));
    looper
        .post(move |looper| {
            looper.post(inner).unwrap();
            looper.post_delayed(ms(1), later).unwrap();
        })
        .unwrap();
    for word in ["a", "b", "c", "d"] {
        looper.post(diary.note(word)).unwrap();
    }

    assert_eq!(looper.run_until_idle(), 6, "beyond the budget of a turn");
    assert_eq!(looper.run_until_idle(), 0);

    assert_eq!(diary.take(), ["a", "b", "c", "d", "inner"].map(|word| (word, Duration::ZERO)));
    assert_eq!(looper.advance(ms(1)), 1);
}

#[test]
fn v1_pending_names_what_waits_in_its_order() {
    let looper = TestLooper::new().unwrap();
    let now = looper.now();
    let handler = Handler::new(&looper, |_, _: u8| ());
    let line = line!();
    handler.message(0).what(4).asynchronous().send_delayed(ms(2)).unwrap();
    looper.post(|_| ()).unwrap();
    looper.post_at_front(|_| ()).unwrap();

    let pending = looper.pending();

    let told: Vec<_> = pending.iter().map(|message| (message.handler, message.what, message.due)).collect();
    assert_eq!(told, [(None, None, None), (None, None, Some(now)), (Some("u8"), Some(4), Some(now + ms(2)))]);
    assert_eq!(pending.iter().map(|message| message.place.line() - line).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(pending.iter().map(|message| message.asynchronous).collect::<Vec<_>>(), [false, false, true]);
    looper.advance(ms(2));
    assert!(looper.pending().is_empty());
}

#[test]
fn v1_it_is_idle_when_nothing_is_due_and_no_barrier_stands() {
    let looper = TestLooper::new().unwrap();
    assert!(looper.is_idle());

    looper.post_delayed(ms(1), |_| ()).unwrap();
    assert!(looper.is_idle(), "in the future");
    looper.post(|_| ()).unwrap();
    assert!(!looper.is_idle());
    looper.run_until_idle();
    assert!(looper.is_idle());
    let barrier = looper.barrier().unwrap();
    assert!(!looper.is_idle());

    drop(barrier);
    looper.advance(ms(1));
    assert!(looper.is_idle());
}

#[test]
fn v1_idle_serves_fds_until_none_is_ready() {
    let looper = TestLooper::new().unwrap();
    let (near, mut far) = ready_stream();
    let read = Rc::new(RefCell::new(Vec::new()));
    let got = read.clone();
    let echoes = far.try_clone().unwrap();
    let source = looper.add_fd(near, Interest::INPUT, move |looper, stream, _| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        got.borrow_mut().push(byte[0]);
        if byte[0] == b'x' {
            let mut echoes = echoes.try_clone().unwrap();
            looper.post(move |_| echoes.write_all(b"yz").unwrap()).unwrap();
        }
        FdNext::Keep
    });
    far.write_all(b"w").unwrap();

    assert_eq!(looper.run_until_idle(), 1, "messages, not fds");

    assert_eq!(*read.borrow(), b"xwyz");
    assert!(source.unwrap().is_registered());
}

#[test]
fn v1_idle_runs_idle_handlers_and_what_they_post() {
    let looper = TestLooper::new().unwrap();
    let diary = Diary::new(&looper);
    let own = diary.clone();
    let idle = looper.add_idle(move |looper| {
        looper.post(own.note("posted when idle")).unwrap();
        ControlFlow::Break(())
    });

    assert_eq!(looper.run_until_idle(), 1);

    assert_eq!(diary.take(), [("posted when idle", Duration::ZERO)]);
    assert!(!idle.unwrap().is_added());
}

#[test]
fn v1_a_message_that_posts_itself_again_without_delay_is_a_clear_panic() {
    fn again(looper: &Looper) {
        looper.post(again).unwrap();
    }
    let looper = TestClock::new().build(Looper::builder().budget(1)).unwrap();
    looper.post(again).unwrap();
    let line = line!() - 4;

    let text = panic_text(|| looper.run_until_idle());

    for part in ["do not come to rest", "still something to do", "closure, posted at", &place(line)] {
        assert!(text.contains(part), "{part} in {text}");
    }
    looper.allow_leftovers();
}

#[test]
fn v1_x1_a_panic_of_a_message_goes_on_and_the_rest_runs_after_it() {
    let looper = TestLooper::new().unwrap();
    let diary = Diary::new(&looper);
    looper.post_delayed(ms(2), |_| panic!("at two")).unwrap();
    looper.post_delayed(ms(3), diary.note("at three")).unwrap();

    assert_eq!(panic_text(|| looper.advance(ms(5))), "at two");
    assert_eq!(looper.now() - diary.start, ms(2));
    assert_eq!(looper.advance(ms(3)), 1);

    assert_eq!(diary.take(), [("at three", ms(3))]);
}

#[test]
fn v2_work_that_is_left_panics_with_where_it_was_posted() {
    let looper = TestClock::new().build(Looper::builder().name("leaving")).unwrap();
    let handler = Handler::new(&looper, |_, _: i64| ());
    looper.post_delayed(ms(12), |_| ()).unwrap();
    looper.handle().post(|_| ()).unwrap();
    handler.message(1).what(3).send_at_front().unwrap();
    let line = line!() - 1;

    let text = panic_text(|| drop(looper));

    let parts =
        ["leaves 3 messages on looper \"leaving\"", "at front: message of i64, what 3", "due: closure", "due in 12ms"];
    for part in parts.into_iter().chain([line - 2, line - 1, line].map(place).iter().map(String::as_str)) {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn v2_work_that_ran_was_cancelled_or_given_up_is_not_left() {
    let looper = TestLooper::new().unwrap();
    looper.post(|_| ()).unwrap();
    looper.post_delayed(ms(1), |_| ()).unwrap().cancel();
    looper.run_until_idle();
    drop(looper);

    let quit = TestLooper::new().unwrap();
    quit.post_delayed(ms(1), |_| panic!("given up")).unwrap();
    quit.quit();
    drop(quit);
}

/// Its code has ended it: what is left is dropped with the looper, as everywhere.
#[test]
fn v2_a_looper_that_has_quit_safely_may_leave_what_was_due() {
    let looper = TestLooper::new().unwrap();
    looper.post(|_| panic!("nobody polls")).unwrap();

    looper.quit_safely();

    drop(looper);
}

#[test]
fn v2_work_may_be_left_where_that_is_allowed() {
    let looper = TestLooper::new().unwrap();
    looper.post(|_| panic!("left")).unwrap();

    looper.allow_leftovers();

    drop(looper);
}

#[test]
fn v2_a_test_that_panics_already_is_not_told_of_what_it_leaves() {
    let test = || {
        let looper = TestLooper::new().unwrap();
        looper.post(|_| ()).unwrap();
        panic!("the test's own");
    };

    assert_eq!(panic_text::<()>(test), "the test's own");
}

#[test]
fn v1_a_prepared_test_looper_is_the_threads_own_until_it_is_dropped() {
    watched(|| {
        let looper = TestLooper::prepare().unwrap();
        let own = Looper::current().unwrap();
        assert!(std::ptr::eq(&*own, &*looper) && Rc::ptr_eq(&own, &Looper::prepare().unwrap()));
        assert_eq!(TestLooper::prepare().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(Looper::builder().prepare().unwrap_err().kind(), ErrorKind::AlreadyExists);

        own.post_delayed(DAY, |_| assert!(Looper::current().is_some())).unwrap();
        assert_eq!(looper.advance(DAY), 1);
        drop((own, looper));

        assert!(Looper::current().is_none());
        let unnamed = TestLooper::new().unwrap();
        assert!(Looper::current().is_none());
        let named = TestClock::new().build(Looper::builder().name("own")).unwrap().into_current().unwrap();
        assert_eq!(Looper::current().unwrap().name(), Some("own"));
        assert_eq!(unnamed.into_current().unwrap_err().kind(), ErrorKind::AlreadyExists);
        named.post(|_| ()).unwrap();
        assert!(panic_text(|| drop(named)).contains("leaves 1 messages"));
        assert!(Looper::current().is_none(), "also when it panics");
    });
}
