//! `HandlerThread`: how a thread with a looper starts, or fails to start.
//!
//! Holds L5, C65.

use std::{
    cell::RefCell,
    hint::black_box,
    io::{self, ErrorKind},
    ptr,
    rc::Rc,
    sync::mpsc,
    thread,
};

use alooper::{Handler, HandlerThread, Looper, OsError};
use nix::errno::Errno;

use crate::support::{
    alone::alone,
    handlers::told,
    limits::{open_fds, with_free_fds},
    panic_of,
    threads::{HELD, Slow, assert_gone},
    watched,
};

#[test]
fn l5_spawn_returns_with_a_looper_that_is_the_threads_own() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();

        let (is_own, thread) = worker
            .handle()
            .call(|looper| {
                let own = Looper::current().unwrap();
                let prepared = Looper::prepare().unwrap();
                (ptr::eq(&*own, looper) && Rc::ptr_eq(&own, &prepared), thread::current().id())
            })
            .unwrap();

        assert!(is_own);
        assert_eq!(worker.thread().unwrap().id(), thread);
        assert!(!worker.handle().is_current() && !worker.is_finished());
        assert!(Looper::current().is_none());
    });
}

#[test]
fn l5_thread_and_looper_have_the_name_unless_the_looper_has_its_own() {
    watched(|| {
        let names = |worker: HandlerThread| {
            let names =
                |looper: &Looper| (thread::current().name().map(str::to_owned), looper.name().map(str::to_owned));
            let names = worker.handle().call(names).unwrap();
            assert_eq!(worker.handle().name().map(str::to_owned), names.1);
            names
        };
        let named = |name: &str| Some(name.to_owned());
        let builder = HandlerThread::builder;

        assert_eq!(names(HandlerThread::spawn("a").unwrap()), (named("a"), named("a")));
        assert_eq!(names(builder().spawn().unwrap()), (None, None));
        let own = Looper::builder().name("own");
        assert_eq!(names(builder().name("a").looper(own.clone()).spawn().unwrap()), (named("a"), named("own")));
        assert_eq!(names(builder().looper(own.clone()).name("a").spawn().unwrap()), (named("a"), named("own")));
        assert_eq!(names(builder().looper(own).spawn().unwrap()), (None, named("own")));
        assert!(format!("{:?}", HandlerThread::spawn("in debug").unwrap()).contains("in debug"));
    });
}

#[test]
fn l5_a_name_with_a_nul_is_refused_before_anything_starts() {
    let builder = HandlerThread::builder().on_prepared(|_| panic!("nothing starts"));

    let error = builder.name("a\0b").spawn().unwrap_err();

    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("NUL"), "{error}");
}

#[test]
fn l5_on_prepared_runs_before_spawn_returns_and_before_the_loop() {
    watched(|| {
        let (sender, said) = mpsc::channel();
        let say = |word: &'static str| {
            let sender = sender.clone();
            move || sender.send(word).unwrap()
        };
        let (prepared, first, second) = (say("prepared"), say("posted when prepared"), say("posted after spawn"));
        let worker = HandlerThread::builder()
            .on_prepared(move |looper| {
                assert!(Looper::current().is_some_and(|own| ptr::eq(&*own, looper)));
                assert!(!looper.handle().is_polling());
                looper.post(move |_| first())?;
                assert_eq!(looper.stats().turns, 0);
                prepared();
                Ok(())
            })
            .spawn()
            .unwrap();

        assert_eq!(said.try_recv(), Ok("prepared"), "before spawn returns");
        worker.handle().post(move |_| second()).unwrap();

        drop(worker);
        assert_eq!(said.try_iter().collect::<Vec<_>>(), ["posted when prepared", "posted after spawn"]);
    });
}

#[test]
fn l5_on_prepared_is_the_place_for_what_is_not_send() {
    watched(|| {
        let (handlers, handler) = mpsc::channel();
        let worker = HandlerThread::builder()
            .on_prepared(move |looper| {
                let sum = Rc::new(RefCell::new(0));
                handlers
                    .send(Handler::new(looper, move |_, (number, answer): (u32, mpsc::Sender<u32>)| {
                        *sum.borrow_mut() += number;
                        answer.send(*sum.borrow()).unwrap();
                    }))
                    .unwrap();
                Ok(())
            })
            .spawn()
            .unwrap();
        let handler = handler.recv().unwrap();
        let (answer, answers) = mpsc::channel();

        handler.send((3, answer.clone())).unwrap();
        handler.send((4, answer)).unwrap();

        assert_eq!(answers.iter().collect::<Vec<_>>(), [3, 7]);
        drop(worker);
    });
}

/// What the thread had is dropped when `spawn` returns: nothing of it runs any more.
#[test]
fn l5_an_error_of_on_prepared_reaches_the_spawner_and_the_thread_is_gone() {
    watched(|| {
        let (told, dropped) = told();
        let (handles, handle) = mpsc::channel();
        let result = HandlerThread::builder()
            .name("fails")
            .on_prepared(move |looper| {
                HELD.set(Some(Slow(told)));
                handles.send(looper.handle()).unwrap();
                looper.post(|_| panic!("the loop does not begin"))?;
                Err(io::Error::new(ErrorKind::AddrInUse, "no device"))
            })
            .spawn();

        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::AddrInUse, "no device"));
        assert_ne!(dropped.try_recv().unwrap(), thread::current().id());
        let handle = handle.recv().unwrap();
        assert_gone(&handle);
        assert_eq!((handle.message_counts().run, handle.message_counts().dropped), (0, 1));
    });
}

#[test]
fn l5_a_panic_of_on_prepared_reaches_the_spawner_and_the_thread_is_gone() {
    watched(|| {
        let (told, dropped) = told();
        let (handles, handle) = mpsc::channel();
        let builder = HandlerThread::builder().on_prepared(move |looper| {
            HELD.set(Some(Slow(told)));
            handles.send(looper.handle()).unwrap();
            panic!("prepared badly")
        });

        assert_eq!(panic_of(|| builder.spawn()), "prepared badly");

        assert!(dropped.try_recv().is_ok());
        assert_gone(&handle.recv().unwrap());
    });
}

#[test]
fn l5_a_looper_that_quits_while_it_is_prepared_does_not_run() {
    watched(|| {
        let quit = |looper: &Looper| {
            looper.post(|_| panic!("it has quit"))?;
            looper.quit();
            Ok(())
        };
        let worker = HandlerThread::builder().on_prepared(quit).spawn().unwrap();

        let report = worker.join().unwrap();

        assert_eq!((report.posted, report.run, report.dropped), (1, 0, 1));
    });
}

/// C65, at each fd that the looper opens.
#[test]
fn l5_c65_without_free_fds_the_error_reaches_the_spawner_and_nothing_leaks() {
    alone("l5_c65_without_free_fds_the_error_reaches_the_spawner_and_nothing_leaks", || {
        let before = open_fds();

        for free in 0..3 {
            let spawn = || HandlerThread::builder().on_prepared(|_| panic!("there is no looper")).spawn();
            let error = with_free_fds(free, spawn).unwrap_err();

            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<OsError>()).unwrap();
            assert_eq!(inner.raw_os_error(), Errno::EMFILE as i32);
            assert_eq!(open_fds(), before);
        }
        let worker = with_free_fds(3, || HandlerThread::spawn("enough")).unwrap();
        assert_eq!(worker.handle().call(|_| 1).unwrap(), 1);
        drop(worker);
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn l5_c65_a_thread_that_cannot_be_made_is_an_error_that_says_which_call_failed_and_what_to_do() {
    let impossible = 1 << 60;

    let error = HandlerThread::builder().stack_size(impossible).spawn().unwrap_err();

    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<OsError>()).unwrap();
    assert_eq!((inner.operation(), inner.raw_os_error()), ("pthread_create", Errno::EAGAIN as i32));
    assert!(error.to_string().contains("ulimit -u"), "{error}");
}

/// In a process of its own: a stack that is too small ends it.
#[test]
fn l5_the_stack_is_as_large_as_was_asked_for() {
    alone("l5_the_stack_is_as_large_as_was_asked_for", || {
        const MEBIBYTE: usize = 1 << 20;
        let worker = HandlerThread::builder().stack_size(64 * MEBIBYTE).spawn().unwrap();

        let used = worker.handle().call(|_| {
            let room = black_box([1_u8; 16 * MEBIBYTE]);
            room.iter().map(|byte| usize::from(*byte)).sum::<usize>()
        });

        assert_eq!(used.unwrap(), 16 * MEBIBYTE);
    });
}
