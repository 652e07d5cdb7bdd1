//! Idle handlers: when they run, who may add and remove them, and what they may do.
//!
//! Holds I1, I2, I3, I4, T3, M8, M9, M10, Q2, Q5, X1, C61.

#[path = "support/fds.rs"]
mod fds;
mod support;

use std::{
    cell::{Cell, RefCell},
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
    Handler, IdleHandler, IdleNext, Interest, Looper, LooperHandle, Next, Posted, Reason, testing::TestLooper,
};
use fds::{Witness, poll_now, ready_stream, witnessed_ready};
use support::{Elsewhere, ms, until_polling, watched};

const HOUR: Duration = Duration::from_secs(3600);

/// Adds an idle handler that stays, and counts its runs.
fn add_counting(looper: &Looper) -> (IdleHandler, Rc<Cell<u32>>) {
    let runs = Rc::new(Cell::new(0));
    let counting = runs.clone();
    let idle = looper.add_idle(move |_| {
        counting.set(counting.get() + 1);
        IdleNext::Keep
    });
    (idle.unwrap(), runs)
}

/// A value that tells on which thread it is dropped, and where that is heard.
fn witness() -> (Witness, mpsc::Receiver<ThreadId>) {
    let (_, witness, heard, _) = witnessed_ready();
    // What comes with it has told of its end already.
    heard.recv().unwrap();
    (witness, heard)
}

#[test]
fn i1_it_runs_once_nothing_is_due_and_before_what_is_due_later() {
    let looper = TestLooper::new().unwrap();
    let order = Rc::new(RefCell::new(Vec::new()));
    let note = |word| {
        let order = order.clone();
        move || order.borrow_mut().push(word)
    };
    let idle = note("idle");
    looper
        .add_idle(move |_| {
            idle();
            IdleNext::Remove
        })
        .unwrap();
    for (delay, word) in [(ms(10), "later"), (Duration::ZERO, "due"), (Duration::ZERO, "due, too")] {
        let noting = note(word);
        looper.post_delayed(delay, move |_| noting()).unwrap();
    }

    assert_eq!(looper.advance(ms(10)), 3);

    assert_eq!(order.take(), ["due", "due, too", "idle", "later"]);
}

#[test]
fn i1_t3_it_is_told_in_the_turn_that_ran_it_and_does_not_end_that() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let start = looper.now();
        let (_, runs) = add_counting(&looper);
        add_counting(&looper);

        let turn = looper.poll_once(ms(10)).unwrap();

        assert!(looper.now() - start >= ms(10));
        assert_eq!((turn.idles, turn.messages, turn.timed_out, turn.woken), (2, 0, true, false));
        assert_eq!((poll_now(&looper).idles, runs.get()), (0, 1));
    });
}

#[test]
fn i1_a_looper_that_runs_falls_idle_before_it_sleeps() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.post(|_| ()).unwrap();
        looper
            .add_idle(|looper| {
                assert_eq!(looper.exit_report().run, 1, "the work comes first");
                looper.quit();
                IdleNext::Keep
            })
            .unwrap();

        assert_eq!(looper.run().unwrap().run, 1);
    });
}

#[test]
fn i1_none_runs_while_a_barrier_stands() {
    let looper = TestLooper::new().unwrap();
    let (_, runs) = add_counting(&looper);
    let barrier = looper.barrier().unwrap();
    looper.advance(HOUR);
    assert_eq!(runs.get(), 0);

    drop(barrier);
    looper.idle();

    assert_eq!(runs.get(), 1);
}

#[test]
fn i2_fds_and_wakes_do_not_repeat_it_and_a_message_does_once() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (_, runs) = add_counting(&looper);
        let (near, _far) = ready_stream();
        looper.add_fd(near, Interest::INPUT, |_, _, _| Next::Keep).unwrap();

        let idles = |looper: &Looper| (0..5).map(|_| poll_now(looper).idles).sum::<usize>();
        assert_eq!(idles(&looper), 1);
        looper.wake().unwrap();
        assert_eq!(idles(&looper), 0);
        (0..3).for_each(|_| drop(looper.post(|_| ()).unwrap()));
        assert_eq!(idles(&looper), 1);
        assert!(looper.post(|_| ()).unwrap().cancel());
        assert_eq!(idles(&looper), 0);

        assert_eq!(runs.get(), 2);
    });
}

#[test]
fn i2_each_of_many_falls_of_the_looper_into_idleness_runs_it_once() {
    let looper = TestLooper::new().unwrap();
    let (_, runs) = add_counting(&looper);
    let ticks = looper.post_every(ms(10), |_| ControlFlow::Continue(())).unwrap();

    assert_eq!(looper.advance(ms(1000)), 100);

    assert_eq!(runs.get(), 101, "before the first one, too");
    ticks.cancel();
}

#[test]
fn i3_what_it_posts_runs_before_the_looper_sleeps() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper
            .add_idle(|looper| {
                looper.post(Looper::quit).unwrap();
                IdleNext::Keep
            })
            .unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.idles, turn.messages, turn.quit), (1, 1, true));
    });
}

#[test]
fn i4_one_that_is_added_while_the_looper_sleeps_runs_on_its_thread_without_a_message() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let (sender, ran) = mpsc::channel();
        for _ in 0..3 {
            until_polling(&elsewhere.handle);
            let sender = sender.clone();
            let idler = move |looper: &Looper| {
                sender.send(looper.handle().is_current()).unwrap();
                IdleNext::Keep
            };
            elsewhere.handle.add_idle(idler).unwrap();
            assert_eq!(ran.recv(), Ok(true));
        }

        elsewhere.handle.quit();
        let report = elsewhere.join();

        assert_eq!((report.posted, ran.try_iter().count()), (0, 0), "those that have run rest");
    });
}

/// Whether the looper is about to sleep, asleep, or on its way up.
#[test]
fn i4_none_of_many_that_are_added_one_after_the_other_is_overslept() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let (sender, ran) = mpsc::channel();
        for round in 0..1000 {
            let sender = sender.clone();
            (0..round % 5).for_each(|_| thread::yield_now());
            elsewhere
                .handle
                .add_idle(move |_| {
                    sender.send(round).unwrap();
                    IdleNext::Remove
                })
                .unwrap();
            assert_eq!(ran.recv(), Ok(round));
        }

        elsewhere.handle.quit();
        elsewhere.join();
    });
}

#[test]
fn i3_one_that_another_thread_has_removed_is_not_begun_any_more() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let handle = elsewhere.handle.clone();
        for _ in 0..300 {
            let runs = Arc::new(AtomicU32::new(0));
            let counting = runs.clone();
            let idler = move |_: &Looper| {
                counting.fetch_add(1, Ordering::Relaxed);
                IdleNext::Keep
            };
            let idle = handle.add_idle(idler).unwrap();
            handle.post(|_| ()).unwrap();
            assert!(idle.remove() && !idle.remove() && !idle.is_added());
            // One that was begun ends before this.
            handle.call(|_| ()).unwrap();
            let before = runs.load(Ordering::Relaxed);
            handle.call(|_| ()).unwrap();
            until_polling(&handle);
            assert_eq!(runs.load(Ordering::Relaxed), before);
            assert_eq!(Arc::strong_count(&runs), 1, "its closure is dropped");
        }
        handle.quit();
        elsewhere.join();
    });
}

/// Does with a looper's handle everything that does not end the looper.
fn meddle(handle: &LooperHandle) {
    let _ = handle.wake();
    let _ = handle.post_delayed(HOUR, |_| ()).map(Posted::guard);
    let _ = handle.post_at_front(|_| ()).map(|posted| (posted.is_pending(), posted.cancel()));
    let _ = handle.post_every(HOUR, |_| ControlFlow::Continue(())).map(Posted::guard);
    let _ = handle.barrier().map(|barrier| (handle.asynchronous().post(|_| ()).map(Posted::guard), drop(barrier)));
    let _ = handle.handler(|_, ()| ()).map(|handler| (handler.send_delayed(HOUR, ()).is_ok(), handler.remove()));
    let _ = handle.add_idle(|_| IdleNext::Keep).map(|idle| (idle.is_added(), idle.remove()));
    let (near, _far) = ready_stream();
    let _ = handle.add_fd(near, Interest::INPUT, |_, _, _| Next::Keep).map(|watched| watched.remove());
    let _ = (handle.len(), handle.exit_report(), handle.has_quit(), handle.is_polling(), handle.stats());
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
    let _ = looper.add_idle(|_| IdleNext::Keep).map(IdleHandler::guard);
    let (near, _far) = ready_stream();
    if let Ok(source) = looper.add_fd(near, Interest::INPUT, |_, _, _| Next::Keep) {
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
                    handle.add_idle(|_| IdleNext::Remove).unwrap().remove();
                    handle.wake().unwrap();
                })
                .join()
                .unwrap();
                assert!(looper.poll_once(Duration::ZERO).is_err());
                is_done.set(true);
                looper.quit_safely();
                looper.quit();
                meddle_at_home(looper);
                IdleNext::Keep
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
                IdleNext::Remove
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
                IdleNext::Keep
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
                    IdleNext::Keep
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
fn i3_a_guard_removes_it_unless_it_is_kept() {
    let looper = TestLooper::new().unwrap();
    let (guarded, guarded_runs) = add_counting(&looper);
    let (kept, kept_runs) = add_counting(&looper);
    let guard = guarded.guard();
    let handler = guard.handler().clone();
    let kept = kept.guard().keep();
    looper.idle();

    drop(guard);
    looper.post(|_| ()).unwrap();
    looper.idle();
    looper.idle();

    assert_eq!((guarded_runs.get(), kept_runs.get()), (1, 2));
    assert_eq!((handler.is_added(), kept.is_added()), (false, true));
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
            IdleNext::Keep
        }
    };

    looper.quit_safely();
    let mut refused = vec![looper.add_idle(count()).unwrap_err(), handle.add_idle(count()).unwrap_err()];
    assert!(refused.iter().all(|refused| refused.reason == Reason::Quit));
    drop(looper);
    refused.push(handle.add_idle(count()).unwrap_err());
    assert_eq!(refused[2].reason, Reason::Dropped);

    for refused in refused {
        let idler = refused.value;
        assert_eq!(idler(&other), IdleNext::Keep);
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
                IdleNext::Remove
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

/// As `MessageQueue.isIdle`, but for barriers.
#[test]
fn i1_a_looper_is_idle_when_nothing_is_due_and_no_barrier_stands() {
    let looper = TestLooper::new().unwrap();
    let handle = looper.handle();
    assert!(looper.is_idle() && handle.is_idle());

    let later = looper.post_delayed(ms(5), |_| ()).unwrap();
    assert!(handle.is_idle(), "it is not due");
    let due = looper.post(|_| ()).unwrap();
    assert!(!handle.is_idle());
    due.cancel();
    assert!(handle.is_idle());
    let barrier = handle.barrier().unwrap();
    assert!(!looper.is_idle());
    drop(barrier);
    assert!(looper.is_idle());
    later.cancel();
}
