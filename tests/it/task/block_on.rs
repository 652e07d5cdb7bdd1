//! Futures that the looper's thread runs to their end.
//!
//! Holds A1, A4, A5, F9, T10, T4.

use std::{
    cell::Cell,
    future,
    io::{ErrorKind, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    thread,
    time::Duration,
};

use alooper::{Interest, Looper, task::TaskError, testing::TestLooper};

use crate::support::{
    HOUR, ms, panic_of,
    tasks::{Hung, Wakers, yield_now},
    until_polling, watched,
};

#[test]
fn a5_t10_inside_a_callback_or_a_task_it_is_the_nested_polls_error() {
    let looper = Rc::new(Looper::new().unwrap());
    let kinds = Rc::new(Cell::new(Vec::new()));
    let note = |kinds: &Rc<Cell<Vec<_>>>, looper: &Looper| {
        let mut all = kinds.take();
        all.push(looper.block_on(async { 1 }).unwrap_err().kind());
        all.push(looper.poll_once(Duration::ZERO).unwrap_err().kind());
        kinds.set(all);
    };
    let noted = kinds.clone();
    looper.post(move |looper| note(&noted, looper)).unwrap();
    let (noted, handle) = (kinds.clone(), looper.handle());
    looper.spawn(async move { handle.with_looper(|looper| note(&noted, looper)).unwrap() }).unwrap();

    let value = looper.block_on(async {
        yield_now().await;
        yield_now().await;
        note(&kinds, &looper);
        7
    });

    assert_eq!(value.unwrap(), 7);
    assert_eq!(kinds.take(), [ErrorKind::Deadlock; 6]);
}

/// It stayed ready for ever, and the thread was busy until the future ended.
#[test]
fn f9_an_ident_that_is_ready_is_ignored_as_under_run() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        looper.add_ident(near, Interest::INPUT, 7).unwrap();
        far.write_all(b"x").unwrap();

        looper.block_on(looper.sleep(ms(5))).unwrap();

        let stats = looper.handle().stats();
        assert_eq!(stats.ignored_idents, 1);
        assert!(stats.turns < 10, "{stats:?}");
    });
}

#[test]
fn a1_it_borrows_what_its_caller_has_and_all_else_goes_on() {
    let looper = TestLooper::new().unwrap();
    let count = Rc::new(Cell::new(0));
    let counted = count.clone();
    let repeating = looper.post_every(ms(1), move |_| {
        counted.set(counted.get() + 1);
        std::ops::ControlFlow::Continue(())
    });
    let words = ["borrowed".to_owned()];

    let length = looper.block_on(async {
        looper.sleep(ms(10)).await;
        words[0].len()
    });

    assert_eq!((length.unwrap(), count.get()), (8, 10));
    repeating.unwrap().cancel();
}

#[test]
fn a2_a_wake_from_another_thread_ends_its_sleep() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = thread::spawn(move || {
            until_polling(&handle);
            sender.send(7).unwrap();
        });

        assert_eq!(looper.block_on(receiver).unwrap(), Ok(7));

        thread.join().unwrap();
        assert!(!looper.poll_once(Duration::ZERO).unwrap().woken, "that was no `wake()`");
    });
}

#[test]
fn a4_a_quit_ends_it_with_an_error() {
    watched(|| {
        for quit in [Looper::quit, Looper::quit_safely] {
            let looper = Looper::new().unwrap();
            looper.post_delayed(ms(1), quit).unwrap();

            let error = looper.block_on(future::pending::<()>()).unwrap_err();

            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            assert_eq!(error.get_ref().unwrap().downcast_ref(), Some(&TaskError::Quit));
            let wakers = Wakers::default();
            assert!(looper.block_on(Hung(wakers.clone())).is_err());
            assert_eq!(wakers.count(), 0, "nothing is polled after a quit");
        }
    });
}

#[test]
fn a4_a_future_that_quits_and_ends_has_its_value() {
    let looper = Looper::new().unwrap();

    let value = looper.block_on(async {
        looper.quit();
        7
    });

    assert_eq!(value.unwrap(), 7);
}

#[test]
fn a5_a_panic_goes_through_it_and_the_looper_works_on() {
    let looper = Looper::new().unwrap();

    assert_eq!(panic_of(|| looper.block_on(async { panic!("in the future") })), "in the future");

    let task = looper.spawn(async { 7 }).unwrap();
    assert_eq!(looper.block_on(task).unwrap(), Ok(7));
}

#[test]
fn a3_a_future_that_waits_for_idleness_is_polled_though_nothing_else_happens() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.post_delayed(HOUR, |_| ()).unwrap();
        looper.block_on(looper.next_idle()).unwrap();
    });
}

#[test]
fn a2_a_waker_that_outlives_it_does_nothing() {
    let looper = Looper::new().unwrap();
    let mut kept = None;

    looper
        .block_on(future::poll_fn(|context| {
            kept = Some(context.waker().clone());
            std::task::Poll::Ready(())
        }))
        .unwrap();
    kept.unwrap().wake();

    assert!(looper.is_empty());
}
