//! Forking inside a callback, a child's own loopers, and what is started with `exec`.
//!
//! Holds X2, C71, C72, C73.

use std::{
    cell::{Cell, RefCell},
    io::{self, Read, Write},
    ops::ControlFlow,
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{
    DispatchInfo, Events, FdNext, Handler, HandlerThread, Interest, Looper, LooperHandle, Observer, RejectReason, Turn,
};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    unistd::getpid,
};

use crate::support::{
    HOUR,
    alone::alone,
    forks::{self, assert_echild, in_child, looper_fds, split, while_locked},
    ms,
};

thread_local! {
    /// The child that a callback of this thread has forked, and what it waits to be closed before it goes on.
    static CHILD: RefCell<Option<(forks::Child, io::PipeWriter)>> = const { RefCell::new(None) };
}

/// Forks in a callback, which returns in both processes: first in the parent.
fn fork() {
    let (mut reader, writer) = io::pipe().unwrap();
    let child = split();
    if child.is_none() {
        drop(writer);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        return;
    }
    CHILD.set(child.map(|child| (child, writer)));
}

/// Runs `act` until a callback of `looper` has forked in it. The child is told that the looper is not its own, nothing
/// more of it runs there, and the parent's fds stay as they are.
fn assert_child_stops<R>(what: &str, looper: &Looper, act: impl Fn() -> io::Result<R>) {
    let parent = getpid();
    let ran_in = Rc::new(Cell::new(None));
    let run = {
        let ran_in = ran_in.clone();
        move |_: &Looper| ran_in.set(Some(getpid()))
    };
    looper.post(run).unwrap();

    let (child, go_on) = loop {
        let result = act();
        if getpid() != parent {
            forks::end(|| {
                assert_echild(result.err().expect("the child's poll fails"));
                assert_echild(looper.poll_once(None).unwrap_err());
                assert_ne!(ran_in.get(), Some(getpid()), "what is due is the parent's to run");
            })
        }
        result.unwrap();
        if let Some(child) = CHILD.take() {
            break child;
        }
    };

    let before = looper_fds();
    drop(go_on);
    child.join(what);
    assert_eq!(looper_fds(), before, "{what}");
    assert_eq!(ran_in.get(), Some(parent));
}

/// Polls once.
fn poll(looper: &Looper) -> io::Result<Turn> {
    looper.poll_once(None)
}

#[test]
fn x2_a_child_that_is_forked_in_a_callback_goes_no_further() {
    alone("x2_a_child_that_is_forked_in_a_callback_goes_no_further", || {
        let looper = Looper::new().unwrap();

        for polls in [
            poll,
            |looper: &Looper| looper.poll_all(ms(10)),
            |looper: &Looper| {
                looper.post_delayed(ms(5), |looper| looper.wake().unwrap()).unwrap();
                loop {
                    let turn = looper.poll_once(None)?;
                    if turn.woken {
                        return Ok(turn);
                    }
                }
            },
        ] {
            looper.post(|_| fork()).unwrap();
            assert_child_stops("a closure", &looper, || polls(&looper));
        }

        let handler = Handler::new(&looper, |_, ()| fork());
        handler.send(()).unwrap();
        assert_child_stops("a handler", &looper, || poll(&looper));

        let repeating = looper
            .post_every(ms(1), {
                let has_forked = Cell::new(false);
                move |_| {
                    if !has_forked.replace(true) {
                        fork();
                    }
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        assert_child_stops("one that repeats", &looper, || {
            let polled = poll(&looper);
            assert_eq!(repeating.is_pending(), polled.is_ok(), "the parent's goes on");
            polled
        });

        repeating.cancel();

        let idle = looper
            .add_idle(|_| {
                fork();
                ControlFlow::Break(())
            })
            .unwrap();
        // So long that it would be seen if the child armed the timer for it.
        assert_child_stops("an idle handler", &looper, || looper.poll_once(ms(100)));
        assert!(!idle.is_added());

        for answer in [FdNext::Keep, FdNext::Remove, FdNext::Interest(Interest::INPUT | Interest::OUTPUT)] {
            let (near, mut far) = UnixStream::pair().unwrap();
            far.write_all(b"x").unwrap();
            let source = looper
                .add_fd(near, Interest::INPUT, move |_, near, events| {
                    if events.contains(Events::INPUT) {
                        assert_eq!(near.read(&mut [0; 8]).unwrap(), 1);
                        fork();
                    }
                    answer
                })
                .unwrap();
            assert_child_stops("an fd callback", &looper, || poll(&looper));
            assert_eq!(source.is_registered(), answer != FdNext::Remove, "the parent's answer counts");
            source.remove();
        }
    });
}

#[test]
fn x2_a_hosted_looper_is_not_armed_anew_by_the_child() {
    alone("x2_a_hosted_looper_is_not_armed_anew_by_the_child", || {
        let looper = Looper::new().unwrap();
        looper.as_fd();
        looper.post_delayed(HOUR, |_| ()).unwrap();
        looper.poll_once(Duration::ZERO).unwrap();
        looper.post(|_| fork()).unwrap();

        assert_child_stops("a closure of a hosted looper", &looper, || looper.poll_once(Duration::ZERO));
    });
}

/// An observer that counts what it sees.
#[derive(Default)]
struct Counting {
    started: Cell<u32>,
    ended: Cell<u32>,
}

impl Observer for Counting {
    fn started(&self, _: &DispatchInfo) {
        self.started.set(self.started.get() + 1);
    }

    fn finished(&self, _: &DispatchInfo, _: Duration) {
        self.ended.set(self.ended.get() + 1);
    }
}

#[test]
fn x2_an_observer_sees_in_the_child_no_end_of_what_the_parent_runs() {
    alone("x2_an_observer_sees_in_the_child_no_end_of_what_the_parent_runs", || {
        let looper = Looper::new().unwrap();
        let observer = Rc::new(Counting::default());
        looper.set_observer(Some(observer.clone()));
        looper.set_slow_thresholds(Some(Duration::ZERO), None);
        looper.post(|_| fork()).unwrap();

        assert_child_stops("a closure that is watched", &looper, || {
            let polled = looper.poll_once(Duration::ZERO);
            assert_eq!(observer.started.get() - observer.ended.get(), u32::from(polled.is_err()));
            polled
        });
    });
}

/// C71: caller and looper share a lock of their own.
#[test]
fn c71_a_child_that_is_forked_in_a_call_or_a_predicate_does_not_wait_for_the_other_thread() {
    alone("c71_a_child_that_is_forked_in_a_call_or_a_predicate_does_not_wait_for_the_other_thread", || {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let parent = getpid();
        for round in 0..100 {
            // The caller has the lock when its time has passed, which is about when the closure begins.
            let timeout = Duration::from_micros(4 * (round % 50));
            let handle = handle.clone();
            let caller = thread::spawn(move || _ = handle.call_timeout(timeout, |_| fork()));
            while !caller.is_finished() || !looper.is_empty() {
                let polled = looper.poll_once(Duration::ZERO);
                if getpid() != parent {
                    forks::end(|| assert_echild(polled.unwrap_err()));
                }
                if let Some((child, go_on)) = CHILD.take() {
                    drop(go_on);
                    child.join("a call");
                }
            }
            caller.join().unwrap();
        }
        let handler = Handler::new(&looper, |_, _: u32| ());
        handler.send_delayed(HOUR, 7).unwrap();
        let (handle, other) = (looper.handle(), handler.clone());
        while_locked(&handle, &other, || {
            for _ in 0..20 {
                let found = handler.has_if(|number| {
                    if *number == 7 {
                        fork();
                    }
                    *number == 7
                });
                match CHILD.take() {
                    Some((child, go_on)) => {
                        drop(go_on);
                        child.join("a predicate");
                    }
                    None => forks::end(|| assert!(!found && handler.is_empty())),
                }
                assert!(found);
            }
        });
        assert_eq!(handler.clear(), 1);
    });
}

/// Uses a looper of this process in every way, with other threads.
fn work_in_full() {
    let looper = Looper::prepare_main().unwrap();
    assert!(Rc::ptr_eq(&looper, &Looper::current().unwrap()) && Rc::ptr_eq(&looper, &Looper::prepare().unwrap()));
    let main = Looper::main_handle().unwrap();
    assert!(main.is_current());
    let ran = Arc::new(AtomicU32::new(0));
    let count = |ran: &Arc<AtomicU32>| {
        let ran = ran.clone();
        move || _ = ran.fetch_add(1, Ordering::Relaxed)
    };
    // Posts and messages, from here and from elsewhere, that contend.
    let handler = Handler::new(&looper, {
        let count = count(&ran);
        move |_, _: u32| count()
    });
    let workers = [(); 3].map(|()| HandlerThread::spawn("worker").unwrap());
    for worker in &workers {
        let (main, handler) = (main.clone(), handler.clone());
        let count = count(&ran);
        let work = move |_: &Looper| {
            for _ in 0..100 {
                let count = count.clone();
                main.post(move |_| count()).unwrap();
                handler.send(1).unwrap();
                // Through the list of all loopers, from afar.
                assert!(main.post_delayed(HOUR, |_| ()).unwrap().cancel());
            }
        };
        worker.handle().post(work).unwrap();
    }
    for worker in &workers {
        for _ in 0..20 {
            assert_eq!(worker.handle().call(|_| 5).unwrap(), 5);
        }
    }
    // Fds, timers, barriers and idle handlers.
    let (near, mut far) = UnixStream::pair().unwrap();
    let source = looper
        .add_fd(near, Interest::INPUT, {
            let count = count(&ran);
            move |_, near, _| {
                assert_eq!(near.read(&mut [0; 8]).unwrap(), 1);
                count();
                FdNext::Keep
            }
        })
        .unwrap();
    far.write_all(b"x").unwrap();
    let start = looper.now();
    looper
        .post_delayed(ms(2), {
            let count = count(&ran);
            move |_| count()
        })
        .unwrap();
    let barrier = looper.barrier().unwrap();
    workers[0].handle().post(move |_| drop(barrier)).unwrap();
    looper
        .add_idle({
            let count = count(&ran);
            move |_| {
                count();
                ControlFlow::Break(())
            }
        })
        .unwrap();
    while ran.load(Ordering::Relaxed) < 603 {
        // The idle handler does not end a turn.
        looper.poll_once(ms(5)).unwrap();
    }
    assert!(looper.now() - start >= ms(2) && source.remove().is_some());
    for worker in workers {
        worker.quit();
        worker.join().unwrap();
    }
    main.quit();
    let report = looper.run().unwrap();
    assert_eq!((report.posted, report.run, report.removed, report.dropped), (901, 601, 300, 0));
}

/// C71: also where the parent's threads wait for each other all the time when it forks.
#[test]
fn x2_a_childs_own_looper_works_in_full() {
    alone("x2_a_childs_own_looper_works_in_full", || {
        const FORKS: u32 = 12;
        let inherited = Looper::prepare_main().unwrap();
        let handle = inherited.handle();
        let handler = handle.handler(|_, _: u32| ()).unwrap();
        let worker = HandlerThread::spawn("parent's").unwrap();
        let is_over = AtomicBool::new(false);
        let before = looper_fds().len();
        thread::scope(|scope| {
            // These park and wake each other.
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        worker.handle().call(|_| ()).unwrap();
                    }
                });
            }
            while_locked(&handle, &handler, || {
                for number in 0..FORKS {
                    in_child(format!("child {number}"), work_in_full);
                }
            });
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(Rc::ptr_eq(&inherited, &Looper::current().unwrap()));
        in_child("a child that prepares", || {
            // It closes the thread's looper of its parent, which is held by `inherited`, and by nobody else then.
            Looper::prepare().unwrap();
            assert_eq!(looper_fds().len(), before + 3);
            assert_echild(inherited.wake().unwrap_err());
        });
    });
}

#[test]
fn x2_a_childs_child_tells_both_from_its_own() {
    alone("x2_a_childs_child_tells_both_from_its_own", || {
        let first = Looper::new().unwrap();
        in_child("the child", || {
            let second = Looper::new().unwrap();
            in_child("the child's child", || {
                assert_eq!(first.post(|_| ()).unwrap_err().reason(), RejectReason::Forked);
                assert_eq!(second.post(|_| ()).unwrap_err().reason(), RejectReason::Forked);
                work_in_full();
            });
            assert_eq!(first.post(|_| ()).unwrap_err().reason(), RejectReason::Forked);
            second.post(|_| ()).unwrap();
            assert_eq!(second.poll_once(None).unwrap().messages, 1);
        });
        first.post(|_| ()).unwrap();
        assert_eq!(first.poll_once(None).unwrap().messages, 1);
    });
}

/// What a closure between fork and exec is told: std runs it in a child of libc's fork.
#[test]
#[allow(unsafe_code, reason = "that closure is what is tested")]
fn x2_also_a_closure_before_exec_is_told() {
    alone("x2_also_a_closure_before_exec_is_told", || {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let mut command = Command::new("true");
        // SAFETY: it takes no lock, and allocates only where libc's fork allows it.
        unsafe {
            command.pre_exec(move || match handle.wake() {
                Ok(()) => Err(io::Error::other("it was the parent's to be woken")),
                Err(error) => {
                    assert_echild(error);
                    Ok(())
                }
            });
        }

        let status = command.status().unwrap();

        assert!(status.success() && !looper.poll_once(Duration::ZERO).unwrap().woken);
    });
}

/// Forks and executes a program that has `fd` open, too, until what this gives is dropped.
fn executed_with(fd: impl AsFd) -> (io::PipeWriter, forks::Child) {
    fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let (reader, writer) = io::pipe().unwrap();
    match split() {
        Some(child) => (writer, child),
        None => forks::end(|| {
            // Its input is over when the parent's end is closed: it has no other, that is close-on-exec.
            let error = Command::new("cat").stdin(Stdio::from(reader)).exec();
            panic!("{error}");
        }),
    }
}

/// Polls for a while in which nothing is to be reported, and counts how often the kernel was asked.
fn waits_in(looper: &Looper, time: Duration) -> u64 {
    let before = looper.stats().waits;
    let deadline = looper.now() + time;
    while looper.now() < deadline {
        let turn = looper.poll_once(deadline.saturating_duration_since(looper.now())).unwrap();
        assert_eq!(turn.fds, 0);
    }
    looper.stats().waits - before
}

#[test]
fn c72_what_a_started_program_keeps_open_does_not_keep_the_looper_busy() {
    alone("c72_what_a_started_program_keeps_open_does_not_keep_the_looper_busy", || {
        let looper = Looper::new().unwrap();

        // Removed before it is closed, as safe code does.
        let (near, mut far) = UnixStream::pair().unwrap();
        let program = executed_with(&near);
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        far.write_all(b"x").unwrap();
        drop(source.remove().unwrap());
        assert!(waits_in(&looper, ms(50)) < 4);
        let (writer, child) = program;
        drop(writer);
        child.join("cat");

        // Closed under its registration: the program keeps it in the epoll set.
        let (near, mut far) = UnixStream::pair().unwrap();
        let (other, _other) = UnixStream::pair().unwrap();
        let program = executed_with(&near);
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        source.with(|near| *near = other).unwrap();
        far.write_all(b"x").unwrap();
        assert!(waits_in(&looper, ms(50)) < 100, "F7: until the set is made anew");
        assert!(waits_in(&looper, ms(50)) < 4);
        let (writer, child) = program;
        drop(writer);
        child.join("cat");
    });
}

/// What a thread's end finds in a child: it holds the last handle of its parent's looper.
struct Late {
    handle: LooperHandle,
    handler: Handler<u32>,
    told: mpsc::Sender<bool>,
}

impl Drop for Late {
    fn drop(&mut self) {
        let are_refused = self.handle.post(|_| ()).is_err() && self.handler.send(1).is_err();
        _ = self.told.send(are_refused && self.handler.clear() == 0 && Looper::current().is_none());
    }
}

thread_local! {
    static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
}

#[test]
fn c73_a_childs_thread_that_ends_uses_and_drops_what_is_its_parents() {
    alone("c73_a_childs_thread_that_ends_uses_and_drops_what_is_its_parents", || {
        let looper = Looper::new().unwrap();
        let handler = Handler::new(&looper, |_, _: u32| ());
        handler.send_delayed(HOUR, 1).unwrap();
        let mut all = Some((looper, handler));

        in_child("a thread that ends", || {
            let (looper, handler) = all.take().unwrap();
            let (told, is_told) = mpsc::channel();
            let late = Late { handle: looper.handle(), handler, told };
            drop(looper);
            thread::spawn(move || LATE.set(Some(late))).join().unwrap();
            assert!(is_told.recv().unwrap());
            assert_eq!(looper_fds().len(), 0);
        });

        let (looper, handler) = all.unwrap();
        assert_eq!((looper.len(), handler.clear()), (1, 1));
    });
}
