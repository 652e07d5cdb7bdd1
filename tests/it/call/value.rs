//! Synchronous calls: run on the looper's thread, and wait for the value, but never for nothing.
//!
//! Holds S1, R3, R6, C64.

use std::{
    cell::RefCell,
    io::{self, ErrorKind, Write},
    os::unix::net::UnixStream,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{Arc, Barrier, mpsc},
    thread,
    time::Duration,
};

use alooper::{CallError, FdNext, Handler, Interest, Looper, RejectReason};

use crate::support::{
    Elsewhere, HOUR,
    calls::{assert_account, queued_call},
    handlers::Told,
    ms, until_polling, watched,
};

#[test]
fn s1_c64_on_the_loopers_own_thread_it_runs_at_once() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        looper.post(|_| panic!("nobody polls")).unwrap();

        let called = handle.call(|looper| (thread::current().id(), looper.len())).unwrap();
        let in_time = handle.call_timeout(Duration::ZERO, |_| 7).unwrap();

        assert_eq!((called, in_time), ((thread::current().id(), 1), 7));
        assert_account(&handle, 1, 0, 0, 0);
    });
}

#[test]
fn s1_c64_from_inside_a_message_an_fd_callback_and_a_call_it_runs_at_once() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"x").unwrap();
        let (sender, said) = mpsc::channel();
        let from_fd = sender.clone();
        let message = move |looper: &Looper| {
            sender.send("begin").unwrap();
            let (handle, inner, outer) = (looper.handle(), sender.clone(), sender.clone());
            handle.call(|looper| looper.handle().call(move |_| inner.send("inner"))).unwrap().unwrap().unwrap();
            handle.call(move |_| outer.send("outer")).unwrap().unwrap();
            sender.send("end").unwrap();
        };
        looper.post(message).unwrap();
        looper
            .add_fd(near, Interest::INPUT, move |looper, _, _| {
                let sender = from_fd.clone();
                looper.handle().call(move |_| sender.send("fd")).unwrap().unwrap();
                FdNext::Remove
            })
            .unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.fds), (1, 1));
        assert_eq!(said.try_iter().collect::<Vec<_>>(), ["begin", "inner", "outer", "end", "fd"]);
        assert_account(&looper.handle(), 1, 1, 0, 0);
    });
}

#[test]
fn s1_c64_a_looper_that_is_not_its_threads_own_is_called_at_once_too() {
    watched(|| {
        let own = Looper::prepare().unwrap();
        let other = Looper::builder().name("other").build().unwrap();
        let handle = other.handle();

        let (sender, names) = mpsc::channel();
        own.post(move |_| {
            let name = handle.call(|looper| {
                assert!(Looper::current().is_some_and(|own| own.name().is_none()));
                looper.name().map(str::to_owned)
            });
            sender.send(name.unwrap()).unwrap();
        })
        .unwrap();
        own.poll_once(None).unwrap();

        assert_eq!(names.try_recv().unwrap().as_deref(), Some("other"));
        assert_account(&other.handle(), 0, 0, 0, 0);
    });
}

/// What a call is lent is the looper, but not its life.
#[test]
fn s1_c64_a_call_at_once_neither_ends_the_looper_nor_keeps_it() {
    thread_local!(static OWN: RefCell<Option<Looper>> = const { RefCell::new(None) });
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        handle.call(|_| ()).unwrap();
        looper.post(|_| ()).unwrap();
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        OWN.set(Some(looper));
        let refused = handle.call(|looper| {
            drop(OWN.take());
            looper.post(|_| ()).unwrap_err().reason()
        });

        assert_eq!(refused.unwrap(), RejectReason::Dropped);
        let Err(CallError::Rejected(refused)) = handle.call(|_| ()) else { panic!("it is gone") };
        assert_eq!(refused.reason(), RejectReason::Dropped);
    });
}

#[test]
fn s1_c64_a_panic_of_a_call_at_once_goes_on_in_its_caller() {
    watched(|| {
        let looper = Looper::new().unwrap();

        let call = || looper.handle().call(|_| -> u32 { panic!("here") }).is_ok();
        let panic = panic::catch_unwind(AssertUnwindSafe(call)).unwrap_err();

        assert_eq!(panic.downcast_ref::<&str>(), Some(&"here"));
        assert_eq!(looper.handle().call(|_| 8).unwrap(), 8);
    });
}

#[test]
fn s1_from_another_thread_it_runs_on_the_loopers_thread_after_what_is_due() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (sender, said) = mpsc::channel();
        let say = |word: &'static str| {
            let sender = sender.clone();
            move |_: &Looper| sender.send(word).unwrap()
        };
        looper.post(say("due before")).unwrap();
        looper.post_delayed(HOUR, say("later")).unwrap();
        let call = say("call");
        let caller = queued_call(&looper.handle(), move |looper| {
            call(looper);
            thread::current().id()
        });
        looper.post(say("due after")).unwrap();

        assert_eq!(looper.poll_once(None).unwrap().messages, 3);

        assert_eq!(caller.join().unwrap().unwrap(), thread::current().id());
        assert_eq!(said.try_iter().collect::<Vec<_>>(), ["due before", "call", "due after"]);
        assert_account(&looper.handle(), 4, 3, 0, 0);
    });
}

#[test]
fn s1_the_closure_is_dropped_on_the_loopers_thread_and_the_value_on_the_callers() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let (captured_on, captured) = mpsc::channel();
        let (value_on, value) = mpsc::channel();
        let (capture, result) = (Told(captured_on), Told(value_on));

        let (told, looper_thread) = elsewhere
            .handle
            .call(move |_| {
                let _capture = capture;
                (result, thread::current().id())
            })
            .unwrap();

        assert_eq!(captured.try_recv(), Ok(looper_thread), "before the caller goes on");
        assert!(value.try_recv().is_err());
        drop(told);
        assert_eq!(value.try_recv(), Ok(thread::current().id()));
        elsewhere.handle.quit();
        elsewhere.join();
    });
}

/// R3: a call has no name by which others could find it.
#[test]
fn s1_no_removal_by_handler_finds_a_call() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handler = Handler::new(&looper, |_, (): ()| panic!("removed"));
        handler.message(()).what(0).send().unwrap();
        let caller = queued_call(&looper.handle(), |_| 5);

        assert_eq!((handler.remove(0), handler.clear()), (1, 0));

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        assert_eq!(caller.join().unwrap().unwrap(), 5);
    });
}

#[test]
fn s1_a_barrier_holds_up_a_call_unless_its_handle_is_asynchronous() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let barrier = elsewhere.handle.barrier().unwrap();

        let held_up = elsewhere.handle.call_timeout(ms(5), |_| 1);
        let passed = elsewhere.handle.asynchronous().call(|_| 2);

        assert!(matches!(held_up, Err(CallError::TimedOut(_))));
        assert_eq!(passed.unwrap(), 2);
        drop(barrier);
        assert_eq!(elsewhere.handle.call(|_| 3).unwrap(), 3);
        elsewhere.handle.quit();
        elsewhere.join();
    });
}

#[test]
fn s1_many_callers_at_once_each_get_their_own_value() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let start = Arc::new(Barrier::new(8));
        let callers: Vec<_> = (0..8_u64)
            .map(|caller| {
                let (handle, start) = (elsewhere.handle.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    (0..200).all(|call| handle.call(move |_| (caller, call)).unwrap() == (caller, call))
                })
            })
            .collect();

        assert!(callers.into_iter().all(|caller| caller.join().unwrap()));

        elsewhere.handle.quit();
        let report = elsewhere.join();
        assert_eq!((report.posted, report.run), (1600, 1600));
    });
}

/// R6.
#[test]
fn s1_r6_a_predicate_may_not_wait_for_a_looper_and_gets_its_closure_back() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let looper = Looper::new().unwrap();
        let handler = Handler::new(&looper, |_, (): ()| ());
        handler.send(()).unwrap();
        let (sender, outcomes) = mpsc::channel();

        let removed = handler.remove_if(|()| {
            sender.send(elsewhere.handle.call(|_| ())).unwrap();
            true
        });

        assert_eq!(removed, 1);
        let refused = outcomes.try_recv().unwrap().unwrap_err();
        assert!(matches!(refused, CallError::InPredicate(_)));
        assert!(refused.to_string().contains("predicate"), "{refused}");
        assert_eq!(io::Error::from(refused).kind(), ErrorKind::Deadlock);
        elsewhere.handle.quit();
        assert_eq!(elsewhere.join().posted, 0);
    });
}

#[test]
fn s1_a_caller_wakes_a_looper_that_sleeps() {
    watched(|| {
        let elsewhere = Elsewhere::run(|looper| {
            let never = Rc::new(());
            looper.post_delayed(HOUR, move |_| drop(never)).unwrap();
        });
        until_polling(&elsewhere.handle);

        assert_eq!(elsewhere.handle.call(|looper| looper.len()).unwrap(), 1);

        elsewhere.handle.quit();
        assert_eq!(elsewhere.join().dropped, 1);
    });
}
