//! What idle handlers may do, and how they end: removed, refused, dropped, or by a panic.
//!
//! Holds M8, M9, M10, Q2, X1, C61.

use std::{
    cell::Cell,
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::{self, ThreadId},
    time::Duration,
};

use alooper::{
    FdNext, Handler, IdleHandler, Interest, Looper, LooperHandle, Posted, RejectReason, testing::TestLooper,
};

use crate::support::{
    Elsewhere, HOUR,
    fds::{Witness, poll_now, ready_stream, witnessed_ready},
    idles::add_counting,
    until_polling, watched,
};

/// A value that tells on which thread it is dropped, and where that is heard.
fn witness() -> (Witness, mpsc::Receiver<ThreadId>) {
    let (_, witness, heard, _) = witnessed_ready();
    // What comes with it has told of its end already.
    heard.recv().unwrap();
    (witness, heard)
}

/// Does with a looper's handle everything that does not end the looper.
fn meddle(handle: &LooperHandle) {
    let _ = handle.wake();
    let _ = handle.post_delayed(HOUR, |_| ()).map(Posted::guard);
    let _ = handle.post_at_front(|_| ()).map(|posted| (posted.is_pending(), posted.cancel()));
    let _ = handle.post_every(HOUR, |_| ControlFlow::Continue(())).map(Posted::guard);
    let _ = handle.barrier().map(|barrier| (handle.asynchronous().post(|_| ()).map(Posted::guard), drop(barrier)));
    let _ = handle.handler(|_, ()| ()).map(|handler| (handler.send_delayed(HOUR, ()).is_ok(), handler.clear()));
    let _ = handle.add_idle(|_| ControlFlow::Continue(())).map(|idle| (idle.is_added(), idle.remove()));
    let (near, _far) = ready_stream();
    let _ = handle.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).map(|watched| watched.remove());
    let _ = (handle.len(), handle.message_counts(), handle.has_quit(), handle.is_polling(), handle.stats());
    assert!(!handle.dump().to_string().is_empty());
    let _ = handle.call(|looper| looper.len());
}

/// Does with a looper, on its thread, everything that does not end it.
fn meddle_at_home(looper: &Looper) {
    meddle(&looper.handle());
    let _ = looper.barrier();
    let handler = Handler::new(looper, |_, _: u32| ());
    let sent = handler.asynchronous().send_delayed(HOUR, 5).is_ok();
    assert_eq!(handler.has_if(|message| *message == 5), sent);
    assert_eq!(handler.remove_if(|_| true), usize::from(sent));
    let _ = looper.add_idle(|_| ControlFlow::Continue(())).map(IdleHandler::guard);
    let (near, _far) = ready_stream();
    if let Ok(source) = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep) {
        assert!(source.with(|near| near.peer_addr().is_ok()).unwrap());
        assert!(source.remove().is_some());
    }
    looper.set_observer(None);
}

#[test]
fn m8_everything_is_callable_from_inside_an_idle_handler() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let done = Rc::new(Cell::new(false));
        let is_done = done.clone();
        looper
            .add_idle(move |looper| {
                meddle_at_home(looper);
                let handle = looper.handle();
                thread::spawn(move || {
                    let _ = handle.barrier();
                    handle.add_idle(|_| ControlFlow::Break(())).unwrap().remove();
                    handle.wake().unwrap();
                })
                .join()
                .unwrap();
                assert!(looper.poll_once(Duration::ZERO).is_err());
                is_done.set(true);
                looper.quit_safely();
                looper.quit();
                meddle_at_home(looper);
                ControlFlow::Continue(())
            })
            .unwrap();

        let report = looper.run().unwrap();

        assert!(done.get());
        assert_eq!(report.posted, report.run + report.removed + report.dropped);
    });
}

/// A value that meddles with its looper when it is dropped.
struct Meddler {
    handle: LooperHandle,
    dropped: Arc<AtomicU32>,
}

impl Drop for Meddler {
    fn drop(&mut self) {
        meddle(&self.handle);
        if let Some(looper) = Looper::current() {
            meddle_at_home(&looper);
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// By each way on which a looper lets go of an idle handler.
#[test]
fn m9_the_closure_of_an_idle_handler_is_dropped_with_nothing_locked_or_borrowed() {
    let ends: [fn(Rc<Looper>, IdleHandler); 5] = [
        |_, idle| assert!(idle.remove()),
        |_, idle| drop(idle.guard()),
        |looper, _| assert_eq!(poll_now(&looper).idles, 2, "with the one that stays"),
        |looper, idle| {
            thread::spawn(move || assert!(idle.remove())).join().unwrap();
            poll_now(&looper);
        },
        |looper, _| drop(looper),
    ];
    for end in ends {
        watched(move || {
            let looper = Rc::new(Looper::new().unwrap());
            let dropped = Arc::new(AtomicU32::new(0));
            let meddler = Meddler { handle: looper.handle(), dropped: dropped.clone() };
            add_counting(&looper);
            let idler = move |_: &Looper| {
                let _ = &meddler;
                ControlFlow::Break(())
            };
            let idle = looper.add_idle(idler).unwrap();

            end(looper, idle.clone());

            assert_eq!((dropped.load(Ordering::Relaxed), idle.is_added()), (1, false));
        });
    }
}

#[test]
fn m10_a_closure_that_is_not_send_is_dropped_on_the_loopers_thread_wherever_it_is_removed() {
    watched(|| {
        let (witness, heard) = witness();
        let (sender, idle) = mpsc::channel();
        let elsewhere = Elsewhere::run(move |looper| {
            let not_send = (Rc::new(()), witness);
            let idler = move |_: &Looper| {
                let _ = &not_send;
                ControlFlow::Continue(())
            };
            sender.send((looper.add_idle(idler).unwrap(), thread::current().id())).unwrap();
        });
        let (idle, home) = idle.recv().unwrap();
        until_polling(&elsewhere.handle);

        assert!(idle.remove());

        assert_eq!(heard.recv(), Ok(home));
        elsewhere.handle.quit();
        elsewhere.join();
    });
}

#[test]
fn m10_one_that_has_not_come_home_yet_is_dropped_there_too() {
    watched(|| {
        for is_removed in [true, false] {
            let (witness, heard) = witness();
            let looper = Looper::new().unwrap();
            let handle = looper.handle();
            let other = thread::spawn(move || {
                let idler = move |_: &Looper| {
                    let _ = &witness;
                    ControlFlow::Continue(())
                };
                let idle = handle.add_idle(idler).unwrap();
                assert!(!is_removed || idle.remove());
                idle
            });
            let idle = other.join().unwrap();

            drop(looper);

            assert_eq!(heard.try_recv(), Ok(thread::current().id()));
            assert!(!idle.is_added() && !idle.remove());
        }
    });
}

#[test]
fn q2_it_is_refused_after_a_quit_and_after_the_looper_and_comes_back() {
    let looper = Looper::new().unwrap();
    let other = TestLooper::new().unwrap();
    let handle = looper.handle();
    let runs = Arc::new(AtomicU32::new(0));
    let count = || {
        let runs = runs.clone();
        move |_: &Looper| {
            runs.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        }
    };

    looper.quit_safely();
    let mut refused = vec![looper.add_idle(count()).unwrap_err(), handle.add_idle(count()).unwrap_err()];
    assert!(refused.iter().all(|refused| refused.reason() == RejectReason::Quit));
    drop(looper);
    refused.push(handle.add_idle(count()).unwrap_err());
    assert_eq!(refused[2].reason(), RejectReason::Dropped);

    for refused in refused {
        let idler = refused.into_value().unwrap();
        assert_eq!(idler(&other), ControlFlow::Continue(()));
    }
    assert_eq!(runs.load(Ordering::Relaxed), 3);
}

#[test]
fn x1_a_panic_goes_through_the_turn_and_removes_that_one_alone() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (first, first_runs) = add_counting(&looper);
        let panicking = looper.add_idle(|_| panic!("planned")).unwrap();
        let (last, last_runs) = add_counting(&looper);
        looper.wake().unwrap();

        let panic = panic::catch_unwind(AssertUnwindSafe(|| poll_now(&looper))).unwrap_err();

        assert_eq!(*panic.downcast::<&str>().unwrap(), "planned");
        assert_eq!([&first, &panicking, &last].map(IdleHandler::is_added), [true, false, true]);
        assert!(poll_now(&looper).woken, "nothing is lost");
        assert_eq!((first_runs.get(), last_runs.get()), (1, 1), "the round goes on where it was");
        looper.post(|_| ()).unwrap();
        poll_now(&looper);
        assert_eq!(poll_now(&looper).idles, 2);
    });
}

/// C61.
#[test]
fn x1_a_panic_in_the_drop_of_a_closure_goes_through_and_spoils_nothing() {
    struct Explosive;

    impl Drop for Explosive {
        fn drop(&mut self) {
            panic!("explosive");
        }
    }

    watched(|| {
        let looper = Looper::new().unwrap();
        let add = || {
            let explosive = Explosive;
            let idler = move |_: &Looper| {
                let _ = &explosive;
                ControlFlow::Break(())
            };
            looper.add_idle(idler).unwrap()
        };
        let returns_remove = add();
        panic::catch_unwind(AssertUnwindSafe(|| poll_now(&looper))).unwrap_err();
        let removed = add();
        panic::catch_unwind(AssertUnwindSafe(|| removed.remove())).unwrap_err();

        let (_, runs) = add_counting(&looper);
        assert_eq!((poll_now(&looper).idles, runs.get()), (1, 1));
        assert!(!returns_remove.is_added() && !removed.is_added());
        let [one, other] = [add(), add()];
        panic::catch_unwind(AssertUnwindSafe(|| drop(looper))).unwrap_err();
        assert!(!one.is_added() && !other.is_added());
    });
}
