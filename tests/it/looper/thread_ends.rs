//! The end of a thread ends its own looper, whoever still has an `Rc` of it: its callbacks are dropped and its fds
//! closed. In processes of their own, since fds are counted.
//!
//! Holds L2, M9, X2, X3, C60.

use std::{
    cell::{OnceCell, RefCell},
    env, fs,
    io::Write,
    mem,
    ops::ControlFlow,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    process::{self, Command},
    rc::Rc,
    sync::mpsc,
    thread,
    time::Duration,
};

use alooper::{CallError, FdNext, Handler, HandlerThread, Interest, Looper, Observer, RejectReason};

use crate::support::{
    HOUR,
    alone::{alone, full_name},
    fds::poll_now,
    forks::{assert_echild, in_child, looper_fds},
    handlers::{Told, told},
};

fn count_fds() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// What a callback keeps: its own looper, and something that tells of its end.
struct Held {
    looper: Rc<Looper>,
    _told: Told,
}

impl Held {
    fn quit(&self) {
        self.looper.quit();
    }
}

impl Observer for Held {}

/// A source that keeps its own looper.
struct Source {
    stream: UnixStream,
    _held: Held,
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Gives a looper something that has an `Rc` of it.
type Give = fn(&Looper, Held);

/// All kinds of what a looper holds. None of it runs here.
const GIVES: [(&str, Give); 7] = [
    ("the callback of an fd", |looper, held| {
        let (near, _) = UnixStream::pair().unwrap();
        let callback = move |_: &Looper, _: &mut _, _| {
            held.quit();
            FdNext::Keep
        };
        looper.add_fd(near, Interest::INPUT, callback).unwrap();
    }),
    ("the source of an fd", |looper, held| {
        let (stream, _) = UnixStream::pair().unwrap();
        looper.add_ident(Source { stream, _held: held }, Interest::INPUT, 1).unwrap();
    }),
    ("an idle handler", |looper, held| {
        let idle = move |_: &Looper| {
            held.quit();
            ControlFlow::Continue(())
        };
        looper.add_idle(idle).unwrap();
    }),
    ("an observer", |looper, held| looper.set_observer(Some(Rc::new(held)))),
    ("a message that is pending", |looper, held| {
        looper.post_delayed(HOUR, move |_| held.quit()).unwrap();
    }),
    ("a repeating post", |looper, held| {
        let tick = move |_: &Looper| {
            held.quit();
            ControlFlow::Continue(())
        };
        looper.post_every(HOUR, tick).unwrap();
    }),
    ("a handler that has its own front, and its message", |looper, held| {
        let own = (held.looper.clone(), Rc::new(OnceCell::new()));
        let front = own.1.clone();
        let handler = Handler::new(looper, move |_, _: Held| drop(own.clone()));
        handler.send_delayed(HOUR, held).unwrap();
        assert!(front.set(handler).is_ok());
    }),
];

/// A thread that prepares its looper and ends, once it has run `use_it`.
type Thread = fn(Box<dyn FnOnce(&Looper) + Send>);

const THREADS: [(&str, Thread); 3] = [
    ("a thread", |use_it| thread::spawn(|| use_it(&Looper::prepare().unwrap())).join().unwrap()),
    ("one that builds it", |use_it| {
        thread::spawn(|| use_it(&Looper::builder().name("built").prepare().unwrap())).join().unwrap();
    }),
    ("a handler thread that has quit", |use_it| {
        let prepare = |looper: &Looper| {
            use_it(looper);
            Ok(())
        };
        let thread = HandlerThread::builder().on_prepared(prepare).spawn().unwrap();
        thread.quit();
        thread.join().unwrap();
    }),
];

/// C60.
#[test]
fn l2_the_end_of_the_thread_drops_all_that_its_looper_holds_though_that_has_an_rc_of_it() {
    alone("l2_the_end_of_the_thread_drops_all_that_its_looper_holds_though_that_has_an_rc_of_it", || {
        for (thread_name, on_thread) in THREADS {
            for (name, give) in GIVES {
                let (told, dropped) = told();
                let fds = count_fds();

                on_thread(Box::new(move |looper| {
                    give(looper, Held { looper: Looper::current().unwrap(), _told: told });
                }));

                assert_eq!(dropped.try_iter().count(), 1, "{thread_name}: {name}");
                assert_eq!(count_fds(), fds, "{thread_name}: {name}");
            }
        }
    });
}

/// C60: what the row says, with a callback that has run.
#[test]
fn l2_a_thread_whose_callback_quits_by_an_rc_of_its_own_looper_leaves_no_fd_behind() {
    alone("l2_a_thread_whose_callback_quits_by_an_rc_of_its_own_looper_leaves_no_fd_behind", || {
        let fds = count_fds();
        let thread = thread::spawn(|| {
            let looper = Looper::prepare_main().unwrap();
            let own = looper.clone();
            let (near, mut far) = UnixStream::pair().unwrap();
            far.write_all(b"x").unwrap();
            let callback = move |_: &Looper, _: &mut _, _| {
                own.quit();
                FdNext::Keep
            };
            looper.add_fd(near, Interest::INPUT, callback).unwrap();
            looper.run().unwrap();
        });

        thread.join().unwrap();

        // The main looper is known for good, by its handle, which has the eventfd.
        assert_eq!(count_fds(), fds + 1);
        assert_eq!(Looper::main_handle().unwrap().post(|_| ()).unwrap_err().reason(), RejectReason::Dropped);
    });
}

/// What is dropped first has the last `Rc`: the others are dropped all the same, messages with their handlers.
#[test]
fn l2_what_the_end_drops_may_have_the_last_rc() {
    alone("l2_what_the_end_drops_may_have_the_last_rc", || {
        let (dropped_on, dropped) = mpsc::channel();
        let fds = count_fds();
        let thread = thread::spawn(move || {
            let looper = Looper::prepare().unwrap();
            let handler = Handler::new(&looper, |_, _: mpsc::Sender<i32>| ());
            for at_front in [1, 2, 3] {
                looper
                    .post_delayed(HOUR * at_front, {
                        let own = looper.clone();
                        move |_| drop(own)
                    })
                    .unwrap();
                handler.send_delayed(HOUR * at_front, dropped_on.clone()).unwrap();
            }
        });

        thread.join().unwrap();

        assert_eq!(dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected), "all that could send is dropped");
        assert_eq!(count_fds(), fds);
    });
}

/// Does everything with a looper that has ended.
fn use_ended(looper: &Rc<Looper>) {
    assert!(Looper::current().is_none());
    let handle = looper.handle();
    assert_eq!(looper.post(|_| ()).unwrap_err().reason(), RejectReason::Dropped);
    assert_eq!(handle.post(|_| ()).unwrap_err().reason(), RejectReason::Dropped);
    assert_eq!(looper.add_idle(|_| ControlFlow::Continue(())).unwrap_err().reason(), RejectReason::Dropped);
    assert!(handle.barrier().is_err() && handle.handler(|_, ()| ()).is_err());
    assert!(
        matches!(handle.call(|_| ()), Err(CallError::Rejected(refused)) if refused.reason() == RejectReason::Dropped)
    );
    let (near, _far) = UnixStream::pair().unwrap();
    assert!(looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).is_err());

    // What would be kept is dropped at once.
    let kept = Rc::new(());
    let (by_handler, by_observer) = (kept.clone(), Watcher(kept.clone()));
    let handler = Handler::new(looper, move |_, ()| drop(by_handler.clone()));
    looper.set_observer(Some(Rc::new(by_observer)));
    assert_eq!(Rc::strong_count(&kept), 1);
    assert_eq!(handler.send(()).unwrap_err().reason(), RejectReason::Dropped);
    drop(handler);

    let report = looper.message_counts();
    assert_eq!((report.posted, report.dropped, looper.len()), (1, 1, 0));
    handle.wake().unwrap();
    for _ in 0..2 {
        assert!(poll_now(looper).quit && looper.poll_once(None).unwrap().quit && looper.poll_all(HOUR).unwrap().quit);
        assert_eq!(looper.run().unwrap(), report);
    }
    assert!(looper.as_fd().try_clone_to_owned().is_ok() && poll_now(looper).quit);
    looper.quit();
    assert!(looper.has_quit() && looper.dump().to_string().contains("has quit"));
}

struct Watcher(#[expect(dead_code, reason = "is kept")] Rc<()>);

impl Observer for Watcher {}

/// Uses the looper of its thread when that ends, and tells if it had ended.
struct Late {
    looper: Rc<Looper>,
    had_ended: mpsc::Sender<bool>,
}

impl Drop for Late {
    fn drop(&mut self) {
        let had_ended = self.looper.has_quit();
        if had_ended {
            use_ended(&self.looper);
        }
        self.had_ended.send(had_ended).unwrap();
    }
}

thread_local! {
    static TOUCHED_FIRST: RefCell<Option<Late>> = const { RefCell::new(None) };
    static TOUCHED_LAST: RefCell<Option<Late>> = const { RefCell::new(None) };
}

#[test]
fn l2_a_looper_that_has_ended_with_its_thread_is_as_one_that_has_quit() {
    alone("l2_a_looper_that_has_ended_with_its_thread_is_as_one_that_has_quit", || {
        let (had_ended, heard) = mpsc::channel();
        let fds = count_fds();
        let thread = thread::spawn(move || {
            TOUCHED_FIRST.with_borrow(|value| assert!(value.is_none()));
            let looper = Looper::prepare().unwrap();
            let late = || Late { looper: looper.clone(), had_ended: had_ended.clone() };
            TOUCHED_FIRST.set(Some(late()));
            TOUCHED_LAST.set(Some(late()));
            looper.post_delayed(HOUR, |_| ()).unwrap();
        });
        thread.join().unwrap();

        // In which order destructors run is not promised, but one of the two comes after the looper's.
        let heard: Vec<bool> = heard.iter().collect();

        assert_eq!(heard.len(), 2);
        assert!(heard.contains(&true), "{heard:?}");
        assert_eq!(count_fds(), fds);
    });
}

/// C60.
#[test]
fn l2_an_rc_that_was_forgotten_keeps_nothing_but_the_loopers_own_fds() {
    alone("l2_an_rc_that_was_forgotten_keeps_nothing_but_the_loopers_own_fds", || {
        let (told, dropped) = told();
        let fds = count_fds();
        let thread = thread::spawn(move || {
            let looper = Looper::prepare().unwrap();
            mem::forget(looper.clone());
            let (near, _) = UnixStream::pair().unwrap();
            let callback = move |_: &Looper, _: &mut _, _| {
                told.hold();
                FdNext::Keep
            };
            looper.handle().add_fd(near, Interest::INPUT, callback).unwrap();
            (looper.handle(), thread::current().id())
        });

        let (handle, id) = thread.join().unwrap();

        assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [id]);
        assert_eq!(handle.post(|_| ()).unwrap_err().reason(), RejectReason::Dropped);
        assert_eq!(count_fds(), fds + 3);
    });
}

/// X2: but for what is queued, which a child does not look at.
#[test]
fn l2_a_childs_new_looper_ends_the_one_that_its_thread_had() {
    alone("l2_a_childs_new_looper_ends_the_one_that_its_thread_had", || {
        let looper = Looper::prepare().unwrap();
        let (sender, dropped) = mpsc::channel();
        let on_this_thread = &GIVES[..4];
        for (_, give) in on_this_thread {
            give(&looper, Held { looper: looper.clone(), _told: Told(sender.clone()) });
        }

        in_child("there is another `Rc`", || {
            let new = Looper::prepare().unwrap();

            assert_eq!(dropped.try_iter().count(), on_this_thread.len());
            assert!(!Rc::ptr_eq(&new, &looper) && poll_now(&new).timed_out);
            assert_echild(looper.poll_once(Duration::ZERO).unwrap_err());
        });
        in_child("there is none", || {
            drop(looper);
            let _new = Looper::prepare_main().unwrap();

            assert_eq!(dropped.try_iter().count(), on_this_thread.len());
            assert_eq!(looper_fds().len(), 3);
        });
    });
}

/// Prepares another looper when it is dropped, and makes that the main one.
struct Preparing;

impl Drop for Preparing {
    fn drop(&mut self) {
        _ = Looper::prepare_main().unwrap();
    }
}

/// M9, X2.
#[test]
fn l2_what_a_child_drops_of_its_parents_looper_may_prepare_one() {
    alone("l2_what_a_child_drops_of_its_parents_looper_may_prepare_one", || {
        let looper = Looper::prepare().unwrap();
        let preparing = Preparing;
        let idle = move |_: &Looper| {
            let _ = &preparing;
            ControlFlow::Continue(())
        };
        looper.add_idle(idle).unwrap();

        in_child("prepare_main", || {
            let refused = Looper::prepare_main().unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
            assert!(Looper::main_handle().unwrap().is_current());
        });
        in_child("prepare", || {
            let new = Looper::prepare().unwrap();
            assert!(Rc::ptr_eq(&new, &Looper::current().unwrap()));
            assert!(Looper::main_handle().unwrap().post(|_| ()).is_ok());
            assert_eq!(new.len(), 1);
        });
        mem::forget(looper);
    });
}

/// Names the process that exits.
const EXITS: &str = "ALOOPER_TEST_EXITS";

/// What is on its stack would be dropped under it.
#[test]
fn l2_a_process_that_exits_from_inside_a_callback_drops_nothing_of_its_looper() {
    if env::var_os(EXITS).is_some() {
        struct Loud;

        impl Drop for Loud {
            fn drop(&mut self) {
                eprintln!("it is dropped");
            }
        }

        let looper = Looper::prepare().unwrap();
        let loud = Loud;
        let idle = move |_: &Looper| {
            let _ = &loud;
            ControlFlow::Continue(())
        };
        looper.add_idle(idle).unwrap();
        looper.post(|_| process::exit(7)).unwrap();
        looper.run().unwrap();
    }
    let name = full_name("l2_a_process_that_exits_from_inside_a_callback_drops_nothing_of_its_looper");
    let output = Command::new(env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env(EXITS, "1")
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(7) && !said.contains("it is dropped"), "{} {said}", output.status);
}
