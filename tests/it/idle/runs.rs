//! Idle handlers: when they run, how often, and when they do not run any more.
//!
//! Holds I1, I2, I3, I4, T3.

use std::{
    cell::RefCell,
    ops::ControlFlow,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper, testing::TestLooper};

use crate::support::{
    Elsewhere, HOUR,
    fds::{poll_now, ready_stream},
    idles::add_counting,
    ms,
    rounds::rounds,
    until_polling, watched,
};

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
            ControlFlow::Break(())
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
                assert_eq!(looper.message_counts().run, 1, "the work comes first");
                looper.quit();
                ControlFlow::Continue(())
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
    looper.run_until_idle();

    assert_eq!(runs.get(), 1);
}

#[test]
fn i2_fds_and_wakes_do_not_repeat_it_and_a_message_does_once() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (_, runs) = add_counting(&looper);
        let (near, _far) = ready_stream();
        looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

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
                ControlFlow::Continue(())
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
                ControlFlow::Continue(())
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
        for round in rounds(1000) {
            let sender = sender.clone();
            (0..round % 5).for_each(|_| thread::yield_now());
            elsewhere
                .handle
                .add_idle(move |_| {
                    sender.send(round).unwrap();
                    ControlFlow::Break(())
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
                ControlFlow::Continue(())
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

#[test]
fn i3_a_guard_removes_it_unless_it_is_kept() {
    let looper = TestLooper::new().unwrap();
    let (guarded, guarded_runs) = add_counting(&looper);
    let (kept, kept_runs) = add_counting(&looper);
    let guard = guarded.guard();
    let handler = guard.handler().clone();
    let kept = kept.guard().keep();
    looper.run_until_idle();

    drop(guard);
    looper.post(|_| ()).unwrap();
    looper.run_until_idle();
    looper.run_until_idle();

    assert_eq!((guarded_runs.get(), kept_runs.get()), (1, 2));
    assert_eq!((handler.is_added(), kept.is_added()), (false, true));
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
