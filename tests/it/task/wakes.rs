//! Wakes: how many polls they make, and when nobody is there any more.
//!
//! Holds A2, A3.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::Poll,
    thread,
    time::Duration,
};

use alooper::{Looper, testing::TestLooper};

use crate::support::{
    Elsewhere, ms,
    tasks::{Hung, Wakers, settle, wait_for},
    watched,
};

#[test]
fn a2_wakes_before_a_poll_are_one() {
    let looper = Looper::new().unwrap();
    let wakers = Wakers::default();
    looper.spawn(Hung(wakers.clone())).unwrap();
    assert_eq!((settle(&looper), wakers.count()), (1, 1));

    let waker = wakers.last();
    for _ in 0..10 {
        waker.wake_by_ref();
        let waker = waker.clone();
        thread::spawn(move || waker.wake()).join().unwrap();
    }

    assert_eq!(looper.len(), 1);
    assert_eq!((settle(&looper), wakers.count()), (1, 2));
}

#[test]
fn a2_a_wake_during_a_poll_polls_again() {
    let looper = Looper::new().unwrap();
    let polls = Rc::new(Cell::new(0));
    let counted = polls.clone();
    let task = looper.spawn(std::future::poll_fn(move |context| {
        counted.set(counted.get() + 1);
        if counted.get() == 3 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        let waker = context.waker().clone();
        thread::spawn(move || waker.wake()).join().unwrap();
        Poll::Pending
    }));

    assert_eq!(settle(&looper), 3);
    assert!(task.unwrap().is_finished());
    assert_eq!(polls.get(), 3);
}

#[test]
fn a2_wakes_of_many_threads_lose_none() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let sum = Arc::new(AtomicU32::new(0));
        let seen = sum.clone();
        let (sender, wakers) = std::sync::mpsc::channel();
        let task = elsewhere.handle.spawn(std::future::poll_fn(move |context| {
            let _ = sender.send(context.waker().clone());
            if seen.load(Relaxed) == 4000 { Poll::Ready(()) } else { Poll::Pending }
        }));
        let waker = wakers.recv().unwrap();

        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        sum.fetch_add(1, Relaxed);
                        waker.wake_by_ref();
                    }
                });
            }
        });

        assert_eq!(wait_for(task.unwrap()), Ok(()));
        elsewhere.handle.quit();
        elsewhere.join();
    });
}

/// C82.
#[test]
fn a2_a_waker_outlives_its_task_and_its_looper() {
    let looper = Looper::new().unwrap();
    let wakers = Wakers::default();
    let task = looper.spawn(Hung(wakers.clone())).unwrap();
    settle(&looper);
    let waker = wakers.last();

    assert!(task.cancel());
    waker.wake_by_ref();
    assert!(looper.is_empty(), "one that has ended is not polled");
    let other = looper.spawn(Hung(wakers.clone())).unwrap();
    waker.wake_by_ref();
    assert_eq!((settle(&looper), wakers.count()), (1, 2), "nor is the next one in its place");
    let last = wakers.last();
    looper.quit();
    last.wake_by_ref();
    drop(looper);
    last.wake_by_ref();
    thread::spawn(move || (waker.wake(), last.wake())).join().unwrap();

    assert!(other.is_finished());
}

/// Though what a task and its wakers share is used again when nobody has it any more.
#[test]
fn a2_a_waker_of_a_task_that_has_ended_wakes_no_later_one() {
    let looper = Looper::new().unwrap();
    let wakers = Wakers::default();
    let spawn = |ends: bool| {
        let hung = wakers.clone();
        // All of them are spawned here.
        drop(looper.spawn(std::future::poll_fn(move |context| {
            hung.keep(context.waker());
            if ends { Poll::Ready(()) } else { Poll::Pending }
        })));
        settle(&looper);
    };
    spawn(true);
    let of_ended = wakers.last();
    spawn(false);
    assert_eq!(wakers.count(), 2);

    of_ended.wake_by_ref();
    of_ended.wake();

    assert_eq!((settle(&looper), wakers.count()), (0, 2));
    wakers.last().wake();
    assert_eq!((settle(&looper), wakers.count()), (1, 3));
}

#[test]
fn a3_a_sleep_is_one_message_which_polls_the_task() {
    let looper = TestLooper::new().unwrap();
    let handle = looper.handle();
    let task = looper.spawn(async move {
        handle.sleep(ms(5)).await;
        handle.now()
    });
    let begun = looper.now();

    assert_eq!(looper.run_until_idle(), 1, "to spawn it");
    assert_eq!(looper.len(), 1, "the timer's");
    assert_eq!(looper.advance(ms(5)), 1, "and no second one");

    assert!(looper.is_empty());
    assert_eq!(looper.block_on(task.unwrap()).unwrap().unwrap() - begun, ms(5));
    assert_eq!(looper.message_counts().posted, 2, "who awaits what has ended needs none");
}

/// C85: what a waker of the user's does around the task's own must not matter: the poll comes after the wake.
#[test]
fn a3_a_task_is_not_polled_inside_the_wake() {
    let looper = TestLooper::new().unwrap();
    let handle = looper.handle();
    let tasks = futures_util::stream::FuturesUnordered::new();
    for count in 1..=3 {
        let handle = handle.clone();
        tasks.push(async move {
            handle.sleep(ms(count)).await;
            count
        });
    }
    let all = looper.spawn(async move {
        use futures_util::StreamExt;
        tasks.collect::<Vec<u64>>().await
    });

    assert_eq!(looper.block_on(all.unwrap()).unwrap(), Ok(vec![1, 2, 3]));
}

#[test]
fn a3_a_task_that_is_woken_already_is_polled_once() {
    let looper = TestLooper::new().unwrap();
    let handle = looper.handle();
    let polls = Rc::new(Cell::new(0));
    let counted = polls.clone();
    let wakers = Wakers::default();
    let kept = wakers.clone();
    looper
        .spawn(async move {
            let mut sleep = std::pin::pin!(handle.sleep(ms(1)));
            let mut hung = std::pin::pin!(Hung(kept));
            std::future::poll_fn(|context| {
                counted.set(counted.get() + 1);
                let _ = hung.as_mut().poll(context);
                sleep.as_mut().poll(context)
            })
            .await;
        })
        .unwrap();
    looper.run_until_idle();

    // The wake's message comes before the timer's, and the poll then finds the time passed.
    looper.clock().pass(Duration::ZERO);
    wakers.last().wake();
    looper.advance(ms(1));

    assert_eq!(polls.get(), 3);
    assert!(looper.is_empty());
}
