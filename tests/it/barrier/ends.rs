//! How barriers end: wherever they are dropped, and whom that wakes.
//!
//! Holds B3, M5, M8, M9, X1, C56.

use std::{
    cell::{Cell, RefCell},
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::mpsc,
    thread,
};

use alooper::{Barrier, FdNext, Handler, Interest, Looper, LooperHandle, RejectReason, testing::TestLooper};

use crate::support::{
    Elsewhere, HOUR,
    fds::{poll_now, ready_stream},
    rounds::rounds,
    until_polling, watched,
};

/// C56.
#[test]
fn b3_the_end_of_a_barrier_on_another_thread_gets_a_looper_up_that_sleeps_on_it() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let barrier = elsewhere.handle.barrier().unwrap();
        let (sender, ran) = mpsc::channel();
        elsewhere.handle.post(move |looper| sender.send(looper.handle().is_current()).unwrap()).unwrap();
        until_polling(&elsewhere.handle);
        assert!(ran.try_recv().is_err());

        drop(barrier);

        assert!(ran.recv().unwrap());
        elsewhere.handle.quit();
        elsewhere.join();
    });
}

/// C56: with the looper on its way to sleep, asleep, and on its way up.
#[test]
fn b3_no_end_of_a_barrier_is_lost_on_a_looper_that_goes_to_sleep() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let handle = elsewhere.handle.clone();
        let (sender, ran) = mpsc::channel();

        let mut run = 0;
        for round in rounds(1000) {
            let barriers = [handle.barrier().unwrap(), handle.barrier().unwrap()];
            let sender = sender.clone();
            handle.post(move |_| sender.send(round).unwrap()).unwrap();
            (0..round % 7).for_each(|_| thread::yield_now());
            drop(barriers);
            assert_eq!(ran.recv(), Ok(round));
            run += 1;
        }

        handle.quit_safely();
        assert_eq!(elsewhere.join().run, run);
    });
}

#[test]
fn b3_a_barrier_is_refused_after_quit_and_after_the_looper() {
    let looper = Looper::new().unwrap();
    let handle = looper.handle();
    looper.quit();
    assert_eq!(looper.barrier().unwrap_err().reason(), RejectReason::Quit);
    assert_eq!(handle.barrier().unwrap_err().reason(), RejectReason::Quit);

    drop(looper);

    assert_eq!(handle.barrier().unwrap_err().reason(), RejectReason::Dropped);
}

/// Gives `release` a barrier that holds up a message, and sees that this then runs without anybody waiting.
#[track_caller]
fn is_released_by(release: impl FnOnce(&Looper, Barrier)) {
    let looper = TestLooper::new().unwrap();
    let start = looper.now();
    let ran = Rc::new(Cell::new(false));
    let is_run = ran.clone();
    let barrier = looper.barrier().unwrap();
    looper.post(move |_| is_run.set(true)).unwrap();
    poll_now(&looper);
    assert!(!ran.get());

    release(&looper, barrier);

    // The callback that releases it may be in a turn of its own.
    assert!((0..3).any(|_| looper.poll_once(HOUR).is_ok() && ran.get()));
    assert_eq!(looper.now(), start);
}

#[test]
fn m8_a_barrier_may_be_dropped_in_any_callback() {
    is_released_by(|looper, barrier| {
        looper.handle().asynchronous().post(move |_| drop(barrier)).unwrap();
    });
    is_released_by(|looper, barrier| {
        let mut barrier = Some(barrier);
        let handler = Handler::new(looper, move |_, ()| drop(barrier.take()));
        handler.asynchronous().send(()).unwrap();
    });
    is_released_by(|looper, barrier| {
        let (near, _far) = ready_stream();
        let mut barrier = Some(barrier);
        let release = move |_: &Looper, _: &mut _, _| {
            drop(barrier.take());
            FdNext::Remove
        };
        looper.add_fd(near, Interest::INPUT, release).unwrap();
    });
}

/// It puts up one of its own: while another one stands, no idle handler runs.
#[test]
fn m8_an_idle_handler_may_put_up_a_barrier_and_drop_it() {
    let looper = TestLooper::new().unwrap();
    let idler = |looper: &Looper| {
        let barrier = looper.barrier().unwrap();
        looper.post(|_| ()).unwrap();
        drop(barrier);
        ControlFlow::Break(())
    };
    looper.add_idle(idler).unwrap();

    assert_eq!(looper.run_until_idle(), 1);
}

/// M9: with the value that holds it, wherever that goes.
#[test]
fn m9_a_barrier_may_be_dropped_with_a_value_that_the_looper_drops() {
    is_released_by(|looper, barrier| {
        assert!(looper.post_delayed(HOUR, move |_| drop(barrier)).unwrap().cancel());
    });
    is_released_by(|looper, barrier| {
        let posted = looper.post_delayed(HOUR, move |_| drop(barrier)).unwrap();
        assert!(thread::spawn(move || posted.cancel()).join().unwrap());
    });
    is_released_by(|looper, barrier| {
        let handler = Handler::new(looper, |_, _: Option<Barrier>| ());
        handler.send_delayed(HOUR, Some(barrier)).unwrap();
        assert_eq!(handler.remove_if(|message| message.is_some()), 1);
    });
    is_released_by(|looper, barrier| {
        let (near, _far) = ready_stream();
        let release = move |_: &Looper, _: &mut _, _| {
            let _ = &barrier;
            FdNext::Remove
        };
        looper.add_fd(near, Interest::INPUT, release).unwrap();
    });
    is_released_by(|looper, barrier| {
        let idle = looper
            .add_idle(move |_| {
                let _ = &barrier;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(idle.remove());
    });
    is_released_by(|looper, barrier| {
        let handler = Handler::new(looper, move |_, ()| {
            let _ = &barrier;
        });
        drop(handler);
    });
}

#[test]
fn m9_a_predicate_may_drop_a_barrier_and_put_one_up() {
    is_released_by(|looper, barrier| {
        let handler = Handler::new(looper, |_, ()| ());
        handler.send_delayed(HOUR, ()).unwrap();
        let handle = looper.handle();
        let mut barrier = Some(barrier);
        let removed = handler.remove_if(|()| {
            drop(barrier.take());
            drop(handle.barrier().unwrap());
            true
        });
        assert_eq!(removed, 1);
    });
}

/// X1.
#[test]
fn m8_a_panic_that_unwinds_through_a_barrier_releases_it() {
    is_released_by(|looper, barrier| {
        let unlucky = move |_: &Looper| {
            let _barrier = barrier;
            panic!("planned");
        };
        looper.handle().asynchronous().post(unlucky).unwrap();
        panic::catch_unwind(AssertUnwindSafe(|| poll_now(looper))).unwrap_err();
    });
}

#[test]
fn m8_a_barrier_may_outlive_its_looper_and_be_dropped_on_any_thread() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let barriers = [(); 3].map(|()| looper.barrier().unwrap());
        let [after_quit, elsewhere, after_the_looper] = barriers;
        looper.post(|_| panic!("the looper has quit")).unwrap();
        looper.quit();

        drop(after_quit);
        thread::spawn(move || drop(elsewhere)).join().unwrap();
        assert_eq!(looper.run().unwrap().dropped, 1);
        drop(looper);

        thread::spawn(move || drop(after_the_looper)).join().unwrap();
    });
}

/// Whether the thread's looper or what the thread keeps is the first to go.
#[test]
fn m8_a_barrier_may_be_dropped_by_the_teardown_of_the_loopers_thread() {
    thread_local! {
        static KEPT: RefCell<Vec<Barrier>> = const { RefCell::new(Vec::new()) };
    }
    for looper_is_first in [true, false] {
        watched(move || {
            if !looper_is_first {
                assert_eq!(KEPT.with_borrow(Vec::len), 0);
            }
            let looper = Looper::prepare().unwrap();
            KEPT.with_borrow_mut(|kept| kept.extend([(); 2].map(|()| looper.barrier().unwrap())));
            looper.post(|_| ()).unwrap();
        });
    }
}

/// Posters, barriers of several threads and a looper that sleeps in between: nothing is lost, all keep their order.
#[test]
fn b3_threads_that_put_up_and_release_barriers_lose_nothing_and_keep_m5() {
    const COUNT: u32 = 500;
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let (sender, ran) = mpsc::channel();
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let (handle, sender) = (elsewhere.handle.clone(), sender.clone());
                thread::spawn(move || put_up_and_post(&handle, thread, &sender))
            })
            .collect();
        drop(sender);

        let mut next = [0; 3];
        for (thread, index) in ran.iter() {
            assert_eq!(index, next[thread]);
            next[thread] += 1;
        }

        assert_eq!(next, [COUNT; 3]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        elsewhere.handle.quit();
        assert_eq!(elsewhere.join().run, u64::from(3 * COUNT));
    });

    fn put_up_and_post(handle: &LooperHandle, thread: usize, sender: &mpsc::Sender<(usize, u32)>) {
        for index in 0..COUNT {
            let barrier = handle.barrier().unwrap();
            let sender = sender.clone();
            handle.post(move |_| sender.send((thread, index)).unwrap()).unwrap();
            if index % 3 == 0 {
                thread::yield_now();
            }
            drop(barrier);
        }
    }
}
