//! Calls that are awaited, by tasks of loopers and of other executors.
//!
//! Holds A4, S2, S3, Q2.

use std::{sync::mpsc, thread};

use alooper::{CallError, Looper, RejectReason};

use crate::support::{
    Elsewhere, panic_of,
    tasks::{has_come_back, settle, wait_for},
    watched,
};

#[test]
fn a4_a_tokio_program_awaits_what_runs_on_a_looper() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let handle = elsewhere.handle.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

        let sum = runtime.block_on(async move {
            let calls = (1..=3).map(|number| handle.call_async(move |_| number * 10));
            let mut sum = 0;
            for call in calls.collect::<Vec<_>>() {
                sum += tokio::task::spawn(call).await.unwrap().unwrap();
            }
            handle.quit();
            sum
        });

        assert_eq!(sum, 60);
        assert_eq!(elsewhere.join().run, 3);
    });
}

/// As synchronous calls, they would wait for each other for ever.
#[test]
fn s2_two_loopers_call_each_other() {
    watched(|| {
        let (one, two) = (Elsewhere::run(|_| ()), Elsewhere::run(|_| ()));
        let (to_one, to_two) = (one.handle.clone(), two.handle.clone());

        let task = one.handle.spawn(async move {
            let inner = to_two.call_async(move |_| to_one.call_async(|_| 7)).await.unwrap();
            inner.await.unwrap()
        });

        assert_eq!(wait_for(task.unwrap()), Ok(7));
        one.handle.quit();
        two.handle.quit();
        one.join();
        two.join();
    });
}

#[test]
fn s3_a_quit_gives_the_closure_back_at_once() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let call = handle.call_async(|_| 7);
        let waiter = thread::spawn(move || wait_for(call));

        handle.quit();

        let Err(CallError::Rejected(refused)) = waiter.join().unwrap() else { panic!("it is rejected") };
        assert_eq!(refused.reason(), RejectReason::Quit);
        assert_eq!(refused.into_value().unwrap()(&looper), 7);
        let late = wait_for(handle.call_async(|_| 8));
        assert!(has_come_back(late));
        looper.run().unwrap();
        let counts = looper.message_counts();
        assert_eq!((counts.posted, counts.dropped), (1, 1));
    });
}

#[test]
fn s3_a_dropped_looper_gives_the_closure_back() {
    let looper = Looper::new().unwrap();
    let call = looper.handle().call_async(|_| 7);

    drop(looper);

    let told = wait_for(call);
    assert!(has_come_back(told));
}

#[test]
fn s3_a_panic_of_the_closure_is_told_and_goes_on_on_the_loopers_thread() {
    let looper = Looper::new().unwrap();
    let call = looper.handle().call_async(|_| -> u32 { panic!("in a call") });

    assert_eq!(panic_of(|| settle(&looper)), "in a call");

    assert!(matches!(wait_for(call), Err(CallError::Panicked)));
}

#[test]
fn s2_a_call_that_is_dropped_does_not_begin() {
    let looper = Looper::new().unwrap();
    let (sender, ran) = mpsc::channel::<()>();

    drop(looper.handle().call_async(move |_| sender.send(()).unwrap()));

    assert!(looper.is_empty());
    assert!(ran.recv().is_err(), "the closure was dropped by who has dropped the call");
    assert_eq!(looper.message_counts().removed, 1);
}

#[test]
fn s2_the_value_of_a_call_that_was_dropped_meanwhile_is_dropped_at_home() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let (tattler, dropped) = crate::support::tasks::Tattler::new();
        let call = elsewhere.handle.call_async(move |_| {
            begun.send(thread::current().id()).unwrap();
            let _ = may_go_on.recv();
            tattler
        });
        let home = has_begun.recv().unwrap();

        drop(call);
        drop(go_on);

        assert_eq!(dropped.recv(), Ok(home));
        elsewhere.handle.quit();
        elsewhere.join();
    });
}

#[test]
fn s1_on_the_loopers_own_thread_it_is_a_message_too() {
    let looper = Looper::new().unwrap();
    let call = looper.handle().call_async(|looper| looper.len());
    assert_eq!(looper.len(), 1);

    assert_eq!(looper.block_on(call).unwrap().unwrap(), 0);
}
