//! How a `HandlerThread` ends: by quitting, by a panic, joined or dropped.
//!
//! Holds L5.

use std::{io::ErrorKind, panic, sync::mpsc, thread};

use alooper::{CallError, HandlerThread, JoinError, Looper, LooperHandle, RejectReason};

use crate::support::{
    HOUR, give_way,
    handlers::told,
    panic_of,
    threads::{HELD, Slow, assert_gone},
    until_polling, watched,
};

/// Holds up the thread until the looper is told to quit.
fn wait_for_quit(looper: &Looper) {
    while !looper.has_quit() {
        thread::yield_now();
    }
}

#[test]
fn l5_join_waits_for_the_quit_and_gives_the_exit_report() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        let handle = worker.handle().clone();
        handle.post_delayed(HOUR, |_| ()).unwrap();
        assert!(handle.post_delayed(HOUR, |_| ()).unwrap().cancel());
        handle.call(|_| ()).unwrap();
        until_polling(&handle);
        let quitter = thread::spawn(move || handle.quit());

        let report = worker.join().unwrap();

        assert_eq!((report.posted, report.run, report.removed, report.dropped), (3, 1, 1, 1));
        quitter.join().unwrap();
    });
}

#[test]
fn l5_join_gives_the_panic_of_the_thread_and_later_posts_are_refused() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        let handle = worker.handle().clone();
        let (told, dropped) = told();
        handle.post_delayed(HOUR, move |_| drop(told)).unwrap();
        handle.post(|_| panic::panic_any(42_u8)).unwrap();

        let Err(JoinError::Panicked(panic)) = worker.join() else { panic!("it panicked") };

        assert_eq!(panic.into_payload().downcast_ref::<u8>(), Some(&42));
        assert!(dropped.try_recv().is_ok());
        assert_gone(&handle);
        let Err(CallError::Rejected(refused)) = handle.call(|_| ()) else { panic!("nobody is there") };
        assert_eq!(refused.reason(), RejectReason::Dropped);
        let report = handle.message_counts();
        assert_eq!((report.posted, report.run, report.dropped), (2, 1, 1));
    });
}

#[test]
fn l5_quit_gives_up_what_is_due_and_quit_safely_runs_it() {
    let outcome = |quit: fn(&HandlerThread)| {
        watched(move || {
            let worker = HandlerThread::spawn("worker").unwrap();
            let handle = worker.handle();
            handle.post(wait_for_quit).unwrap();
            handle.post(|_| ()).unwrap();
            handle.post_delayed(HOUR, |_| ()).unwrap();
            until_begun(handle);
            quit(&worker);
            let refused = handle.post(|_| ()).unwrap_err().reason();
            // Dropped, if the thread was at its end already.
            assert!(matches!(refused, RejectReason::Quit | RejectReason::Dropped), "{refused:?}");
            worker.join().unwrap()
        })
    };

    let (quit, safely) = (outcome(HandlerThread::quit), outcome(HandlerThread::quit_safely));

    assert_eq!((quit.run, quit.dropped), (1, 2));
    assert_eq!((safely.run, safely.dropped), (2, 1));
}

/// Waits until the first message has begun.
fn until_begun(handle: &LooperHandle) {
    while handle.stats().messages == 0 {
        thread::yield_now();
    }
}

#[test]
fn l5_drop_runs_what_is_due_gives_up_the_rest_and_waits() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        let handle = worker.handle().clone();
        let worker_thread = worker.thread().unwrap().id();
        let (told, dropped) = told();
        let (sender, ran) = mpsc::channel();
        handle.post(wait_for_quit).unwrap();
        for number in 0..3 {
            let sender = sender.clone();
            handle.post(move |_| sender.send(number).unwrap()).unwrap();
        }
        handle.post_delayed(HOUR, move |_| drop(told)).unwrap();

        drop(worker);

        assert_eq!(ran.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(dropped.try_recv(), Ok(worker_thread));
        let report = handle.message_counts();
        assert_eq!((report.posted, report.run, report.dropped), (5, 4, 1));
        assert_gone(&handle);
    });
}

#[test]
fn l5_drop_waits_for_the_message_that_runs() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        let (told, dropped) = told();
        worker
            .handle()
            .post(move |looper| {
                wait_for_quit(looper);
                give_way();
                drop(told);
            })
            .unwrap();
        until_begun(worker.handle());
        assert!(dropped.try_recv().is_err());

        drop(worker);

        assert!(dropped.try_recv().is_ok());
    });
}

#[test]
fn l5_drop_on_its_own_thread_quits_safely_and_does_not_wait() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        let handle = worker.handle().clone();
        let (told, dropped) = told();
        let (sender, said) = mpsc::channel();
        let after = sender.clone();
        handle
            .call(move |looper| {
                looper.post(move |_| after.send("due").unwrap()).unwrap();
                looper.post_delayed(HOUR, move |_| drop(told)).unwrap();
                drop(worker);
                sender.send("dropped").unwrap();
            })
            .unwrap();

        assert_eq!(said.iter().collect::<Vec<_>>(), ["dropped", "due"]);
        dropped.recv().unwrap();
        let report = handle.message_counts();
        assert_eq!((report.run, report.dropped), (2, 1));
    });
}

#[test]
fn l5_join_on_its_own_thread_is_an_error_and_quits_safely() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        let handle = worker.handle().clone();
        let (told, dropped) = told();

        let joined = handle.call(move |looper| {
            HELD.set(Some(Slow(told)));
            (worker.join(), looper.has_quit())
        });

        let (Err(JoinError::Io(error)), true) = joined.unwrap() else { panic!("it cannot wait for itself") };
        assert_eq!(error.kind(), ErrorKind::Deadlock);
        assert!(error.to_string().contains("its own end"), "{error}");
        dropped.recv().unwrap();
    });
}

/// A panic of the thread that nobody joined ends with the drop, with all that it carries.
#[test]
fn l5_drop_after_a_panic_of_the_thread_is_quiet() {
    struct Explosive;

    impl Drop for Explosive {
        fn drop(&mut self) {
            panic!("the payload's own");
        }
    }

    watched(|| {
        for payload in [0, 1] {
            let worker = HandlerThread::spawn("worker").unwrap();
            let handle = worker.handle().clone();
            let panics = move |_: &Looper| match payload {
                0 => panic!("nobody joins"),
                _ => panic::panic_any(Explosive),
            };
            handle.post(panics).unwrap();
            while !worker.is_finished() {
                thread::yield_now();
            }

            drop(worker);

            assert_gone(&handle);
        }
    });
}

#[test]
fn l5_drop_by_a_panic_of_its_owner_ends_the_thread() {
    watched(|| {
        let (handles, handle) = mpsc::channel();
        let owner = move || {
            let worker = HandlerThread::spawn("worker").unwrap();
            handles.send(worker.handle().clone()).unwrap();
            panic!("the owner's")
        };

        assert_eq!(panic_of::<()>(owner), "the owner's");

        assert_gone(&handle.recv().unwrap());
    });
}

#[test]
fn l5_one_that_has_ended_is_finished_and_may_be_joined_or_dropped() {
    watched(|| {
        for joins in [true, false] {
            let worker = HandlerThread::spawn("worker").unwrap();
            worker.handle().post(|looper| looper.quit()).unwrap();
            while !worker.is_finished() {
                thread::yield_now();
            }

            assert!(worker.handle().has_quit());
            if joins {
                assert_eq!(worker.join().unwrap().run, 1);
            }
        }
    });
}

#[test]
fn l5_a_handler_thread_goes_to_other_threads_and_starts_others() {
    fn assert_send_and_sync<T: Send + Sync>(_: &T) {}
    watched(|| {
        let outer = HandlerThread::spawn("outer").unwrap();
        assert_send_and_sync(&outer);

        let inner = outer.handle().call(|_| HandlerThread::spawn("inner").unwrap()).unwrap();
        drop(outer);

        assert_eq!(inner.handle().call(|looper| looper.name().map(str::to_owned)).unwrap().as_deref(), Some("inner"));
        let report = thread::spawn(move || {
            inner.quit_safely();
            inner.join().unwrap().run
        });
        assert_eq!(report.join().unwrap(), 1);
    });
}
