//! What gets a looper that is idle, or its host, up for idle handlers.
//!
//! Holds B3, I2, I4, O1, Q5, W3.

use std::{ops::ControlFlow, sync::mpsc, thread, time::Duration};

use alooper::Looper;

use crate::support::{
    host::{drain, hosted, is_readable},
    idles::add_counting,
    until_polling, watched,
};

/// The host polls when the fd says so, and the looper's own thread is between two turns.
#[test]
fn i4_o1_one_that_the_own_thread_adds_between_turns_makes_the_fd_of_a_hosted_looper_readable() {
    let looper = hosted();
    drain(&looper);

    let (first, runs) = add_counting(&looper);

    assert!(is_readable(&looper));
    drain(&looper);
    let (second, more_runs) = add_counting(&looper);
    assert!(is_readable(&looper), "also the second time");
    drain(&looper);
    assert_eq!((runs.get(), more_runs.get()), (1, 1));
    assert!(first.is_added() && second.is_added());
}

/// What one callback adds, the same turn runs; a looper that is barred or has quit has nothing to run.
#[test]
fn i4_o1_one_that_cannot_run_or_has_run_already_leaves_the_fd_unreadable() {
    let looper = hosted();
    looper.post(|looper| drop(looper.add_idle(|_| ControlFlow::Continue(())).unwrap())).unwrap();
    drain(&looper);

    let barrier = looper.barrier().unwrap();
    drain(&looper);
    let (_barred, runs) = add_counting(&looper);
    drain(&looper);
    assert_eq!(runs.get(), 0);
    drop(barrier);
    assert!(is_readable(&looper));
    drain(&looper);
    assert_eq!(runs.get(), 1);

    looper.quit();
    assert!(looper.poll_once(Duration::ZERO).unwrap().quit);
    assert!(looper.add_idle(|_| ControlFlow::Continue(())).is_err());
    assert!(!is_readable(&looper));
}

/// W3: the looper got up for something, though its turn has nothing to report.
#[test]
fn b3_i2_w3_a_sleep_that_the_end_of_a_barrier_ends_for_idle_handlers_is_not_spurious() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (ran, has_run) = mpsc::channel();
        looper.post(|_| ()).unwrap();
        let barrier = looper.barrier().unwrap();
        let idle = move |_: &Looper| {
            ran.send(()).unwrap();
            ControlFlow::Continue(())
        };
        looper.add_idle(idle).unwrap();
        let turn = looper.poll_once(Duration::ZERO).unwrap();
        assert_eq!((turn.messages, turn.idles), (1, 0));
        let handle = looper.handle();
        let other = thread::spawn(move || {
            until_polling(&handle);
            drop(barrier);
            has_run.recv().unwrap();
            handle.post(|_| ()).unwrap();
            has_run
        });

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.idles), (1, 1));
        assert_eq!(looper.stats().spurious_wakes, 0);
        assert!(other.join().unwrap().try_recv().is_err(), "it ran once");
    });
}
