//! Synchronous calls that do not end well: no time left, no looper left, or a panic.
//!
//! Holds S2, S3, M6, X1.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{CallError, DispatchInfo, HandlerThread, Looper, LooperHandle, Observer, RejectReason};

use crate::support::{
    Elsewhere,
    calls::{assert_account, queued_call},
    handlers::Told,
    ms, watched,
};

/// Why a call was refused.
#[track_caller]
fn rejected<T, F>(outcome: Result<T, CallError<F>>) -> RejectReason {
    match outcome {
        Err(CallError::Rejected(refused)) => refused.reason(),
        other => panic!("{:?}", other.err()),
    }
}

/// Both ways to quit, for what holds of both.
const QUITS: [fn(&LooperHandle); 2] = [LooperHandle::quit, LooperHandle::quit_safely];

/// Two loopers that call each other: the one that sets a limit comes free, and with it both.
#[test]
fn s2_of_two_loopers_that_call_each_other_the_one_that_sets_a_limit_comes_free() {
    watched(|| {
        let (one, two) = (Elsewhere::run(|_| ()), Elsewhere::run(|_| ()));
        let (to_one, to_two) = (one.handle.clone(), two.handle.clone());

        let outcome = one.handle.call(move |_| {
            to_two.call(move |_| matches!(to_one.call_timeout(ms(5), |_| ()), Err(CallError::TimedOut(_)))).unwrap()
        });

        assert!(outcome.unwrap());
        one.handle.quit();
        two.handle.quit();
        assert_eq!((one.join().run, two.join().removed), (1, 0));
    });
}

#[test]
fn s2_a_timeout_before_the_start_gives_the_closure_back_and_leaves_nothing_queued() {
    watched(|| {
        for timeout in [Duration::ZERO, ms(2)] {
            let looper = Looper::new().unwrap();
            let handle = looper.handle();
            let (dropped_on, dropped) = mpsc::channel();
            let told = Told(dropped_on);
            let caller = thread::spawn(move || {
                let before = handle.now();
                let outcome = handle.call_timeout(timeout, move |_: &Looper| drop(told));
                assert!(handle.now() >= before + timeout);
                let Err(CallError::TimedOut(closure)) = outcome else { panic!("{outcome:?}") };
                assert!(dropped.try_recv().is_err());
                drop(closure);
                assert_eq!(dropped.try_recv(), Ok(thread::current().id()));
            });
            caller.join().unwrap();

            assert_eq!(looper.len(), 0);
            assert_account(&looper.handle(), 1, 0, 1, 0);
            assert_eq!(looper.poll_once(Duration::ZERO).unwrap().messages, 0);
        }
    });
}

#[test]
fn s2_a_closure_that_came_back_can_be_called_anew() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let call = move || handle.call_timeout(Duration::ZERO, |looper: &Looper| looper.len());
        let Err(CallError::TimedOut(closure)) = thread::spawn(call).join().unwrap() else { panic!("nobody polls") };

        assert_eq!(looper.handle().call(closure.into_value().unwrap()).unwrap(), 0);
    });
}

#[test]
fn s2_after_the_start_the_caller_is_told_that_it_runs_and_the_value_is_dropped_on_the_loopers_thread() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let looper_thread = elsewhere.handle.call(|_| thread::current().id()).unwrap();
        let mut timeout = ms(1);
        // Tried again if the looper was so slow that the time passed before the start.
        let (go_on, dropped, ended) = loop {
            let (go_on, may_go_on) = mpsc::channel::<()>();
            let (dropped_on, dropped) = mpsc::channel();
            let (is_ended, ended) = mpsc::channel();
            let told = Told(dropped_on);
            let outcome = elsewhere.handle.call_timeout(timeout, move |_| {
                may_go_on.recv().unwrap();
                is_ended.send(()).unwrap();
                told
            });
            match outcome {
                Err(CallError::TimedOut(_)) => timeout *= 2,
                Err(CallError::StillRunning) => break (go_on, dropped, ended),
                other => panic!("{:?}", other.map(|_| ())),
            }
        };

        assert!(dropped.try_recv().is_err());
        go_on.send(()).unwrap();

        assert_eq!(ended.recv(), Ok(()), "it goes on");
        assert_eq!(dropped.recv(), Ok(looper_thread));
        assert_eq!(elsewhere.handle.call(|_| 9).unwrap(), 9);
        elsewhere.handle.quit();
        elsewhere.join();
    });
}

/// The observer holds the looper up where the message is out of the queue, and the closure has not begun.
#[test]
fn s2_m6_a_call_that_is_given_back_between_its_taking_and_its_beginning_counts_as_removed() {
    struct Holding(Cell<Option<mpsc::Receiver<()>>>);

    impl Observer for Holding {
        fn started(&self, _: &DispatchInfo) {
            if let Some(may_go_on) = self.0.take() {
                may_go_on.recv().unwrap();
            }
        }
    }

    watched(|| {
        let looper = Looper::new().unwrap();
        let (go_on, may_go_on) = mpsc::channel();
        looper.set_observer(Some(Rc::new(Holding(Cell::new(Some(may_go_on))))));
        let handle = looper.handle();
        let caller = thread::spawn(move || {
            let outcome = handle.call_timeout(ms(50), |_: &Looper| ());
            // Nobody waits any more if the time passed before the looper came to it.
            let _ = go_on.send(());
            outcome.err().map(|error| matches!(error, CallError::TimedOut(_)))
        });
        while looper.message_counts().posted == 0 {
            thread::yield_now();
        }

        let turn = looper.poll_once(Duration::ZERO).unwrap();

        assert_eq!(caller.join().unwrap(), Some(true));
        assert_eq!(turn.messages, 0);
        assert_account(&looper.handle(), 1, 0, 1, 0);
    });
}

#[test]
fn s2_a_timeout_that_races_with_the_start_gives_the_closure_back_or_lets_it_run() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let ran = Arc::new(AtomicU64::new(0));
        let (mut begun, mut given_back) = (0, 0);

        for round in 0..1000 {
            let counter = ran.clone();
            let timeout = Duration::from_micros(round % 20);
            let outcome = elsewhere.handle.call_timeout(timeout, move |_| counter.fetch_add(1, Ordering::Relaxed));
            match outcome {
                Ok(_) | Err(CallError::StillRunning) => begun += 1,
                Err(CallError::TimedOut(_)) => given_back += 1,
                Err(other) => panic!("{other:?}"),
            }
        }

        elsewhere.handle.quit_safely();
        let report = elsewhere.join();
        assert_eq!((report.run, report.removed, report.dropped), (begun, given_back, 0));
        assert_eq!(ran.load(Ordering::Relaxed), begun);
    });
}

#[test]
fn s2_the_longest_timeout_waits_as_if_there_was_none() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let caller = thread::spawn(move || handle.call_timeout(Duration::MAX, |_| 4).unwrap());

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        assert_eq!(caller.join().unwrap(), 4);
    });
}

#[test]
fn s3_quit_releases_the_caller_with_the_closure() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let _barrier = elsewhere.handle.barrier().unwrap();
        let caller = queued_call(&elsewhere.handle, |_| 6);

        elsewhere.handle.quit();
        let outcome = caller.join().unwrap();

        let Err(CallError::Rejected(refused)) = outcome else { panic!("{outcome:?}") };
        assert!(matches!(refused.reason(), RejectReason::Quit | RejectReason::Dropped));
        let closure = refused.into_value().unwrap();
        assert_eq!(closure(&Looper::new().unwrap()), 6, "it is the closure");
        assert_eq!(elsewhere.join().dropped, 1);
    });
}

/// The caller depends on the quit alone, not on when the looper's thread comes round to dropping what was given up.
#[test]
fn s3_quit_releases_the_caller_though_the_looper_does_not_come_to_it() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let caller = queued_call(&looper.handle(), |_| ());

        looper.quit();

        assert_eq!(rejected(caller.join().unwrap()), RejectReason::Quit);
        assert_account(&looper.handle(), 1, 0, 0, 1);
    });
}

#[test]
fn s3_quit_safely_still_runs_a_call_that_is_due_and_later_ones_are_refused() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let barrier = looper.barrier().unwrap();
        let caller = queued_call(&looper.handle(), |looper| looper.has_quit());

        looper.quit_safely();
        let handle = looper.handle();
        let late = thread::spawn(move || handle.call(|_| ())).join().unwrap();
        let report = looper.run().unwrap();

        assert_eq!(rejected(late), RejectReason::Quit);
        assert!(caller.join().unwrap().unwrap());
        assert_eq!((report.posted, report.run), (1, 1));
        let own = looper.handle().call(|_| ());
        assert_eq!(rejected(own), RejectReason::Quit);
        drop(barrier);
    });
}

#[test]
fn s3_a_looper_that_is_dropped_releases_the_caller_with_the_closure() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let caller = queued_call(&handle, |_| ());

        drop(looper);

        let outcome = caller.join().unwrap();
        assert_eq!(rejected(outcome), RejectReason::Dropped);
        assert_account(&handle, 1, 0, 0, 1);
        assert_eq!(rejected(handle.call(|_| ())), RejectReason::Dropped);
    });
}

/// The end of a thread drops its looper, whether it returns or a panic unwinds it.
#[test]
fn s3_a_thread_that_ends_releases_the_caller() {
    watched(|| {
        for panics in [false, true] {
            let worker = HandlerThread::spawn("worker").unwrap();
            let (end, may_end) = mpsc::channel::<()>();
            let handle = worker.handle().clone();
            handle
                .post(move |looper| {
                    may_end.recv().unwrap();
                    assert!(!panics, "ends the thread");
                    looper.quit();
                })
                .unwrap();
            let caller = queued_call(&handle, |_| ());

            end.send(()).unwrap();

            assert!(matches!(caller.join().unwrap(), Err(CallError::Rejected(_))));
            assert_eq!(worker.join().is_err(), panics);
        }
    });
}

#[test]
fn s3_x1_a_panic_of_the_closure_releases_the_caller_and_goes_on_on_the_loopers_thread() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (dropped_on, dropped) = mpsc::channel();
        let told = Told(dropped_on);
        let caller = queued_call(&looper.handle(), move |_| -> u32 {
            let _told = told;
            panic!("in the call")
        });
        looper.post(|_| ()).unwrap();

        let panic = panic::catch_unwind(AssertUnwindSafe(|| looper.poll_once(None))).unwrap_err();

        assert_eq!(panic.downcast_ref::<&str>(), Some(&"in the call"));
        assert!(matches!(caller.join().unwrap(), Err(CallError::Panicked)));
        assert_eq!(dropped.try_recv(), Ok(thread::current().id()));
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        assert_account(&looper.handle(), 2, 2, 0, 0);
    });
}

#[test]
fn s3_calls_that_race_with_a_quit_are_run_or_come_back() {
    watched(|| {
        for round in 0..40 {
            let elsewhere = Elsewhere::run(|_| ());
            let start = Arc::new(Barrier::new(3));
            let callers = [(); 2].map(|()| {
                let (handle, start) = (elsewhere.handle.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    let mut ran = 0;
                    loop {
                        match handle.call(|_| ()) {
                            Ok(()) => ran += 1,
                            Err(CallError::Rejected(_)) => return ran,
                            Err(other) => panic!("{other:?}"),
                        }
                    }
                })
            });
            start.wait();
            (0..round % 10).for_each(|_| thread::yield_now());
            QUITS[round % 2](&elsewhere.handle);

            let ran: u64 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();

            let report = elsewhere.join();
            assert_eq!((report.run, report.removed), (ran, 0));
            assert_eq!(report.posted, report.run + report.dropped);
        }
    });
}

/// Quits when a message is about to run: between its being taken out of the queue and its first line.
struct QuitsFirst;

impl Observer for QuitsFirst {
    fn started(&self, _: &DispatchInfo) {
        Looper::current().unwrap().quit();
    }
}

/// It was counted as cancelled, which nobody had done.
#[test]
fn s3_q4_a_call_that_a_quit_overtakes_before_its_first_line_counts_as_dropped() {
    watched(|| {
        let thread = HandlerThread::builder().looper(Looper::builder().observer(QuitsFirst)).spawn().unwrap();

        let refused = thread.handle().call(|_| -> u32 { panic!("it has quit") });

        // Its looper may be gone by now, too.
        assert!(matches!(refused, Err(CallError::Rejected(_))), "{refused:?}");
        let report = thread.join().unwrap();
        assert_eq!((report.posted, report.run, report.removed, report.dropped), (1, 0, 0, 1));
    });
}
