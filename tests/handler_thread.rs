//! `HandlerThread`: how a thread with a looper starts, fails to start, ends, and is joined or dropped.
//!
//! Holds L5, C65.

mod support;
#[path = "support/alone.rs"]
mod own_process;

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    hint::black_box,
    io::{self, ErrorKind},
    panic::{self, AssertUnwindSafe},
    ptr,
    rc::Rc,
    sync::mpsc,
    thread::{self, ThreadId},
    time::Duration,
};

use alooper::{CallError, Handler, HandlerThread, JoinError, Looper, LooperHandle, OsError, Reason};
use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
};
use own_process::alone;
use support::{until_polling, watched};

const HOUR: Duration = Duration::from_secs(3600);

/// Tells where it is dropped.
struct Told(mpsc::Sender<ThreadId>);

impl Drop for Told {
    fn drop(&mut self) {
        // Nobody may be listening any more.
        let _ = self.0.send(thread::current().id());
    }
}

fn told() -> (Told, mpsc::Receiver<ThreadId>) {
    let (dropped_on, dropped) = mpsc::channel();
    (Told(dropped_on), dropped)
}

/// Takes its time to be dropped, so that who does not wait for it misses it.
struct Slow(#[expect(dead_code, reason = "is dropped")] Told);

impl Drop for Slow {
    fn drop(&mut self) {
        (0..1000).for_each(|_| thread::yield_now());
    }
}

thread_local! {
    /// What a thread holds until it ends.
    static HELD: RefCell<Option<Slow>> = const { RefCell::new(None) };
}

/// Holds up the thread until the looper is told to quit.
fn wait_for_quit(looper: &Looper) {
    while !looper.has_quit() {
        thread::yield_now();
    }
}

/// The panic of `action`.
#[track_caller]
fn panic_of<T>(action: impl FnOnce() -> T) -> &'static str {
    match panic::catch_unwind(AssertUnwindSafe(action)) {
        Ok(_) => panic!("it did not panic"),
        Err(panic) => panic.downcast_ref::<&'static str>().expect("a panic of this test"),
    }
}

#[track_caller]
fn assert_gone(handle: &LooperHandle) {
    assert_eq!(handle.post(|_| ()).unwrap_err().reason, Reason::Dropped);
}

fn open_fds() -> BTreeSet<i32> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    // Without the one that the listing itself opens.
    let targets = entries.filter_map(|entry| {
        let entry = entry.unwrap();
        let is_listing = fs::read_link(entry.path()).ok()?.to_string_lossy().ends_with("/fd");
        (!is_listing).then(|| entry.file_name().to_str()?.parse().ok())?
    });
    targets.collect()
}

/// Runs `attempt` while no more than `free` further fds can be opened.
fn with_free_fds<T>(free: usize, attempt: impl FnOnce() -> T) -> T {
    let open = open_fds();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let first_forbidden = (0..).filter(|number| !open.contains(number)).nth(free).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, first_forbidden.try_into().unwrap(), hard).unwrap();
    let result = attempt();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    result
}

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
        assert_eq!((handle.exit_report().run, handle.exit_report().dropped), (0, 1));
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
fn l5_a_thread_that_the_kernel_does_not_start_is_an_error() {
    let impossible = 1 << 60;

    let error = HandlerThread::builder().stack_size(impossible).spawn().unwrap_err();

    assert!(error.raw_os_error().is_some(), "the kernel's: {error:?}");
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

        assert_eq!(panic.downcast_ref::<u8>(), Some(&42));
        assert!(dropped.try_recv().is_ok());
        assert_gone(&handle);
        let Err(CallError::Rejected(refused)) = handle.call(|_| ()) else { panic!("nobody is there") };
        assert_eq!(refused.reason, Reason::Dropped);
        let report = handle.exit_report();
        assert_eq!((report.posted, report.run, report.dropped), (2, 1, 1));
    });
}

#[test]
fn l5_a_join_error_says_what_the_panic_said() {
    let panicked = |panic: Box<dyn std::any::Any + Send>| JoinError::Panicked(panic);

    let texts = [
        (panicked(Box::new("literal")), "the looper's thread panicked: literal", "Panicked(Some(\"literal\"))"),
        (panicked(Box::new("owned".to_owned())), "the looper's thread panicked: owned", "Panicked(Some(\"owned\"))"),
        (panicked(Box::new(5)), "the looper's thread panicked: see the panic there", "Panicked(None)"),
    ];

    for (error, text, debug) in texts {
        assert_eq!((error.to_string().as_str(), format!("{error:?}").as_str()), (text, debug));
        let error = io::Error::from(error);
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Other, text));
    }
    let error = io::Error::from(JoinError::Io(ErrorKind::OutOfMemory.into()));
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
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
            assert_eq!(handle.post(|_| ()).unwrap_err().reason, Reason::Quit);
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
        let report = handle.exit_report();
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
                (0..100).for_each(|_| thread::yield_now());
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
        let report = handle.exit_report();
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
