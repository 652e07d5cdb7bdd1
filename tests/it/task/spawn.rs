//! Where and when tasks are polled, and who sees it.
//!
//! Holds A1, A6.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io::{Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::Poll,
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper, RejectReason};

use crate::support::{
    Elsewhere, ms,
    recorder::Recorder,
    tasks::{Hung, Wakers, settle, wait_for, yield_now},
    timed::line_of,
    watched,
};

#[test]
fn a1_tasks_take_their_turns_among_messages_in_posting_order() {
    let looper = Looper::new().unwrap();
    let said = Rc::new(RefCell::new(Vec::new()));
    let say = |word: &'static str| {
        let said = said.clone();
        move || said.borrow_mut().push(word)
    };

    let first = say("post 1");
    looper.post(move |_| first()).unwrap();
    let (poll, again) = (say("poll 1"), say("poll 2"));
    looper
        .spawn(async move {
            poll();
            yield_now().await;
            again();
        })
        .unwrap();
    let second = say("post 2");
    looper.post(move |_| second()).unwrap();

    assert_eq!(looper.len(), 3, "what is to be polled is pending");
    assert_eq!(looper.poll_once(Duration::ZERO).unwrap().messages, 4);
    assert_eq!(*said.borrow(), ["post 1", "poll 1", "post 2", "poll 2"]);
}

/// A2: what a task leaves serves the next one, whatever that is, and nothing of the former one's.
#[test]
fn a2_tasks_of_all_types_and_sizes_follow_each_other() {
    fn spawn<const BYTES: usize>(looper: &Looper, said: &Rc<RefCell<Vec<usize>>>, yields: bool) {
        let (said, bytes) = (said.clone(), [BYTES as u8; BYTES]);
        let task = looper.spawn(async move {
            if yields {
                yield_now().await;
            }
            said.borrow_mut().push(bytes.iter().filter(|byte| **byte == BYTES as u8).count());
        });
        drop(task.unwrap());
    }
    let looper = Looper::new().unwrap();
    let said = Rc::new(RefCell::new(Vec::new()));
    for yields in [false, true, false] {
        spawn::<1>(&looper, &said, yields);
        spawn::<2000>(&looper, &said, yields);
        spawn::<1>(&looper, &said, yields);
        spawn::<300>(&looper, &said, yields);
        settle(&looper);

        assert_eq!((said.take(), Rc::strong_count(&said)), (vec![1, 2000, 1, 300], 1), "all are dropped");
    }
}

#[test]
fn a1_a_task_from_another_thread_is_polled_on_the_loopers() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let home = elsewhere.handle.call(|_| thread::current().id()).unwrap();

        let polled = elsewhere
            .handle
            .spawn(async {
                yield_now().await;
                thread::current().id()
            })
            .unwrap();
        let made = elsewhere
            .handle
            .spawn_with(|| {
                let made = Rc::new(thread::current().id());
                async move {
                    yield_now().await;
                    *made
                }
            })
            .unwrap();

        assert_eq!((wait_for(polled), wait_for(made)), (Ok(home), Ok(home)));
        elsewhere.handle.quit();
        elsewhere.join();
    });
}

#[test]
fn a1_a6_polls_count_in_the_budget() {
    let looper = Looper::builder().budget(4).build().unwrap();
    let wakers = Wakers::default();
    for _ in 0..6 {
        looper.spawn(Hung(wakers.clone())).unwrap();
    }

    let turn = looper.poll_once(None).unwrap();

    assert_eq!((turn.messages, turn.more, wakers.count()), (4, true, 4));
}

#[test]
fn a1_a_barrier_holds_tasks_up_unless_their_handle_is_asynchronous() {
    let looper = Looper::new().unwrap();
    let counts = [0, 1].map(|_| Arc::new(AtomicU32::new(0)));
    let count = |count: &Arc<AtomicU32>| {
        let count = count.clone();
        async move {
            for _ in 0..3 {
                count.fetch_add(1, Relaxed);
                yield_now().await;
            }
        }
    };
    let barrier = looper.barrier().unwrap();
    looper.handle().spawn(count(&counts[0])).unwrap();
    looper.handle().asynchronous().spawn(count(&counts[1])).unwrap();

    settle(&looper);
    assert_eq!(counts.each_ref().map(|count| count.load(Relaxed)), [0, 3], "its wakes pass the barrier, too");

    drop(barrier);
    settle(&looper);
    assert_eq!(counts.map(|count| count.load(Relaxed)), [3, 3]);
}

#[test]
fn a1_observers_and_the_dump_see_the_place_of_the_spawn() {
    let looper = Looper::new().unwrap();
    let recorder = Recorder::watch(&looper);
    let wakers = Wakers::default();

    let line = line!() + 1;
    looper.spawn(Hung(wakers.clone())).unwrap();
    let place = line_of(file!(), line);
    let seen_pending = looper.dump().to_string();
    assert!(seen_pending.contains(&place), "{seen_pending}");
    settle(&looper);
    assert_eq!(recorder.only().place.line(), line);

    let waker = wakers.last();
    thread::scope(|scope| _ = scope.spawn(move || waker.wake()));
    settle(&looper);
    assert_eq!(recorder.only().place.line(), line, "a wake has it, too");

    let sleep = looper.sleep(ms(0));
    looper.spawn(sleep).unwrap();
    let spawned = line!() - 1;
    settle(&looper);
    looper.poll_once(ms(1)).unwrap();
    let places: Vec<u32> = recorder.take("started").iter().map(|(dispatch, _)| dispatch.place.line()).collect();
    assert_eq!(places, [spawned, spawned], "and so has what it sleeps by");
}

/// C84.
#[test]
fn a6_a_task_that_wakes_itself_for_ever_starves_nobody() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let (reads, others, timers) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let count = |count: &Rc<Cell<u32>>| {
            let count = count.clone();
            move || count.set(count.get() + 1)
        };
        let read = count(&reads);
        looper
            .add_fd(near, Interest::INPUT, move |_, near, _| {
                near.read_exact(&mut [0]).unwrap();
                read();
                FdNext::Keep
            })
            .unwrap();
        let endless = looper
            .spawn(async {
                loop {
                    yield_now().await;
                }
            })
            .unwrap()
            .guard();
        let other = count(&others);
        looper
            .spawn(async move {
                for _ in 0..3 {
                    other();
                    yield_now().await;
                }
            })
            .unwrap();
        let timer = count(&timers);
        looper.post_delayed(ms(1), move |_| timer()).unwrap();

        while (reads.get(), others.get(), timers.get()) != (3, 3, 1) {
            if reads.get() < 3 {
                far.write_all(&[1]).unwrap();
            }
            assert!(looper.poll_once(None).unwrap().messages > 0);
        }

        assert!(!endless.task().is_finished());
    });
}

/// A sleep of nothing, and one that is over before it is awaited, is a message all the same.
#[test]
fn a6_a_task_that_sleeps_for_no_time_lets_others_run() {
    let looper = Looper::new().unwrap();
    let handle = looper.handle();
    let task = looper.spawn(async move {
        loop {
            handle.sleep(Duration::ZERO).await;
        }
    });
    let task = task.unwrap().guard();

    let turn = looper.poll_once(Duration::ZERO).unwrap();

    assert!(turn.messages <= 256, "{turn:?}");
    assert!(!task.task().is_finished());
}

#[test]
fn a4_e1_a_future_that_comes_too_late_comes_back() {
    let looper = Looper::new().unwrap();
    let handle = looper.handle();
    looper.quit();
    let value = Rc::new(7);

    let refused = looper.spawn({
        let value = value.clone();
        async move { *value }
    });
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason(), RejectReason::Quit);
    assert_eq!(wait_for(refused.into_value().unwrap()), 7);
    assert_eq!(Rc::strong_count(&value), 1);

    let refused = handle.spawn(async { 8 }).unwrap_err();
    assert_eq!(wait_for(refused.into_value().unwrap()), 8);
    drop(looper);
    let refused = handle.spawn_with(|| async { 9 }).unwrap_err();
    assert_eq!(refused.reason(), RejectReason::Dropped);
    assert_eq!(wait_for(refused.into_value().unwrap()()), 9);
}

/// M12: it is boxed at the door.
#[test]
fn m12_a_large_future_needs_little_of_the_stack() {
    let large = || {
        let bytes = [7_u8; 128 << 10];
        poll_fn(move |_| Poll::Ready(bytes[9]))
    };
    let bodies: [fn(&Looper, _); 4] = [
        |looper, large: fn() -> _| assert_eq!(looper.block_on(looper.spawn(large()).unwrap()).unwrap(), Ok(7)),
        |looper, large| assert_eq!(looper.block_on(looper.handle().spawn(large()).unwrap()).unwrap(), Ok(7)),
        |looper, large| {
            looper.quit();
            drop(looper.spawn(large()).unwrap_err());
        },
        |looper, large| {
            looper.quit();
            drop(looper.handle().spawn(large()).unwrap_err());
        },
    ];
    for body in bodies {
        // Four copies of it, and what all else takes.
        let small_stack = thread::Builder::new().stack_size(800 << 10);
        small_stack.spawn(move || body(&Looper::new().unwrap(), large)).unwrap().join().unwrap();
    }
}

#[test]
fn a1_with_looper_lends_the_looper_at_home_alone() {
    watched(|| {
        let looper = Looper::builder().name("home").build().unwrap();
        let handle = looper.handle();

        let name = handle.with_looper(|looper| looper.name().map(str::to_owned));
        assert_eq!(name.flatten().as_deref(), Some("home"));
        let afar = handle.clone();
        assert!(thread::spawn(move || afar.with_looper(|_| ()).is_none()).join().unwrap());

        drop(looper);
        assert!(handle.with_looper(|_| ()).is_none());
    });
}
