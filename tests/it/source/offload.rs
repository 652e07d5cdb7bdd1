//! Work on other threads, and what runs after it on the looper's.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    sync::mpsc,
    thread,
    time::Duration,
};

use alooper::{Looper, RejectReason};

use crate::support::{
    alone::alone,
    forks::{end, split},
    watched,
};

#[test]
fn g5_work_runs_elsewhere_and_then_at_home() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let home = thread::current().id();
        let not_send = Rc::new(Cell::new(0));
        let own = not_send.clone();
        let then = move |looper: &Looper, outcome: Result<_, _>| {
            let worker = outcome.unwrap();
            assert!(worker != home && thread::current().id() == home);
            own.set(own.get() + 1);
            looper.quit();
        };

        let offload = looper.offload(|| thread::current().id(), then).unwrap();
        assert!(offload.is_pending());
        looper.run().unwrap();

        assert_eq!((not_send.get(), Rc::strong_count(&not_send)), (1, 1));
        assert!(!offload.is_pending() && !offload.cancel());
    });
}

/// W1: the message that runs `then` is seen with the place of the call.
#[test]
fn g5_w1_what_runs_at_home_has_the_place_of_the_call() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (posted, has_posted) = mpsc::channel();
        let spawner = |job: Box<dyn FnOnce() + Send>| {
            job();
            posted.send(()).unwrap();
        };
        looper.offload_with(spawner, || (), |_, _| ()).unwrap();
        has_posted.recv().unwrap();

        let dump = looper.handle().dump();

        assert!(dump.to_string().contains("source/offload.rs"), "{dump}");
    });
}

/// X1: a panic of the work ends there; its value comes home, where it may go on.
#[test]
fn g5_x1_a_panic_of_the_work_is_what_then_gets() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let work = || -> u32 { panic!("no") };
        looper
            .offload(work, |_, outcome| {
                let panic = outcome.unwrap_err();
                assert_eq!(panic.text(), Some("no"));
                resume_unwind(panic.into_payload());
            })
            .unwrap();

        let panic = catch_unwind(AssertUnwindSafe(|| looper.poll_once(None))).unwrap_err();

        assert_eq!(panic.downcast_ref(), Some(&"no"));
        looper.poll_once(Some(Duration::ZERO)).unwrap();
    });
}

/// Q1, E1: after a quit nothing is taken, and `then` is never called; it is dropped here with the looper at the latest.
#[test]
fn g5_q1_a_quit_keeps_then_from_running_and_drops_it_at_home() {
    watched(|| {
        struct Home(thread::ThreadId, Rc<()>);
        impl Drop for Home {
            fn drop(&mut self) {
                assert_eq!(self.0, thread::current().id());
            }
        }
        let looper = Looper::new().unwrap();
        let kept = Rc::new(());
        let home = Home(thread::current().id(), kept.clone());
        let (go, may_go) = mpsc::channel::<()>();
        let (ended, has_ended) = mpsc::channel::<()>();
        let work = move || {
            _ = may_go.recv();
            ended
        };
        looper.offload(work, move |_, _| panic!("it has quit: {:?}", home.1)).unwrap();

        looper.quit();
        let refused = looper.offload(|| 5, |_, _| ()).unwrap_err();
        assert_eq!(refused.reason(), RejectReason::Quit);
        assert!(refused.place().file().ends_with("offload.rs"));
        let (work, _then) = refused.into_value().unwrap();
        assert_eq!(work(), 5);
        go.send(()).unwrap();
        // What came of the work is dropped there: the sender is gone.
        assert!(
            has_ended.recv_timeout(Duration::from_secs(60)).is_err_and(|e| e == mpsc::RecvTimeoutError::Disconnected)
        );
        drop(looper);

        assert_eq!(Rc::strong_count(&kept), 1);
    });
}

#[test]
fn g5_what_is_cancelled_does_not_begin_and_then_does_not_run() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let kept = Rc::new(());
        let jobs = Rc::new(Cell::new(None));
        let (own, place) = (kept.clone(), jobs.clone());
        let spawner = move |job| place.set(Some(job));
        let guard = looper
            .offload_with(spawner, || panic!("it was cancelled"), move |_, _: Result<(), _>| drop(own))
            .unwrap()
            .guard();

        drop(guard);
        assert_eq!(Rc::strong_count(&kept), 1, "it is dropped at once");
        let job: Box<dyn FnOnce() + Send> = jobs.take().unwrap();
        thread::spawn(job).join().unwrap();

        assert_eq!(looper.poll_once(Some(Duration::ZERO)).unwrap().messages, 0);
    });
}

#[test]
fn g5_a_job_that_a_pool_drops_takes_then_along() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let kept = Rc::new(());
        let own = kept.clone();
        let offload = looper.offload_with(drop, || (), move |_, _| drop(own)).unwrap();

        looper.poll_once(Some(Duration::ZERO)).unwrap();
        drop(offload);

        assert_eq!(Rc::strong_count(&kept), 1);
    });
}

/// X2: a forked child has none of the threads of its parent's pool.
#[test]
fn g5_x2_a_forked_child_offloads_to_threads_of_its_own() {
    alone("g5_x2_a_forked_child_offloads_to_threads_of_its_own", || {
        let run = |looper: &Looper| {
            looper.offload(|| 5, |looper, outcome| assert_eq!(outcome.map(|_| looper.quit()).ok(), Some(()))).unwrap();
            looper.run().unwrap();
        };
        let looper = Looper::new().unwrap();
        run(&looper);

        let Some(child) = split() else {
            end(|| {
                assert_eq!(looper.offload(|| (), |_, _| ()).unwrap_err().reason(), RejectReason::Forked);
                run(&Looper::new().unwrap());
            })
        };

        child.join("it offloads");
    });
}
