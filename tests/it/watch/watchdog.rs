//! A watchdog: who is stuck is named while that lasts, and nobody else is.
//!
//! Holds W7, M9.

use std::{
    ops::ControlFlow,
    rc::Rc,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use alooper::{
    FdNext, HandlerThread, Interest, Looper, RunningKind, Stuck, Watchdog,
    testing::{TestClock, TestLooper},
};

use crate::support::{fds::ready_stream, handlers::elsewhere, ms, watched};

/// What a watchdog has told: who is stuck, and who goes on.
type Told = Arc<Mutex<Vec<(&'static str, Stuck)>>>;

/// A looper, the looper of its watchdog, on one clock, and what that tells.
struct Watching {
    looper: TestLooper,
    second: Rc<TestLooper>,
    dog: Watchdog,
    told: Told,
}

impl Watching {
    /// With a threshold of 120 ms, so that the watchdog looks every 10 ms.
    fn new() -> Watching {
        let clock = TestClock::new();
        let looper = clock.build(Looper::builder().name("ui")).unwrap();
        let second = Rc::new(clock.build(Looper::builder()).unwrap());
        second.allow_leftovers();
        let told = Told::default();
        let tell = |word| {
            let told = told.clone();
            move |stuck: &Stuck| told.lock().unwrap().push((word, stuck.clone()))
        };
        let builder = Watchdog::builder().threshold(ms(120)).on_stuck(tell("stuck")).on_resumed(tell("goes on"));
        let dog = builder.run_on(&second).unwrap();
        dog.watch(&looper.handle());
        Watching { looper, second, dog, told }
    }

    /// Lets time pass inside a callback, in which the watchdog's looper runs.
    fn pass(&self) -> impl Fn(Duration) + use<> {
        let second = self.second.clone();
        move |duration| {
            for _ in 0..duration.as_millis() {
                let until = second.now() + ms(1);
                while second.now() < until {
                    second.poll_once(until - second.now()).unwrap();
                }
            }
        }
    }

    fn told(&self) -> Vec<(&'static str, RunningKind, Option<u32>)> {
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        told.iter().map(|(word, stuck)| (*word, stuck.running.kind, stuck.running.place.map(|at| at.line()))).collect()
    }
}

#[test]
fn w7_a_message_is_named_within_a_fifth_of_the_threshold_and_told_once_more_when_it_ends() {
    let watching = Watching::new();
    let (pass, told) = (watching.pass(), watching.told.clone());
    let line = line!() + 3;
    watching
        .looper
        .post(move |_| {
            pass(ms(120));
            assert!(told.lock().unwrap().is_empty(), "it is not stuck yet");
            pass(ms(24));
            let (word, stuck) = told.lock().unwrap()[0].clone();
            assert_eq!((word, stuck.waiting, stuck.looper.name()), ("stuck", 2, Some("ui")));
            assert!(stuck.lasted >= ms(120), "{stuck}");
            pass(ms(500));
            assert_eq!(told.lock().unwrap().len(), 1, "it is told once");
        })
        .unwrap();
    watching.looper.post(|_| ()).unwrap();
    watching.looper.handle().post(|_| ()).unwrap();
    watching.looper.post_delayed(ms(100_000), |_| ()).unwrap();
    watching.looper.allow_leftovers();

    assert_eq!(watching.looper.poll_once(Duration::ZERO).unwrap().messages, 3);
    watching.pass()(ms(20));

    let lasted = watching.told.lock().unwrap()[1].1.lasted;
    assert!(lasted >= ms(634) && lasted <= ms(664), "{lasted:?}");
    let expected = [("stuck", RunningKind::Message, Some(line)), ("goes on", RunningKind::Message, Some(line))];
    assert_eq!(watching.told(), expected);
}

#[test]
fn w7_an_fd_callback_an_idle_handler_and_a_drop_are_named() {
    let watching = Watching::new();
    let (near, _far) = ready_stream();
    let (by_fd, by_idle) = (watching.pass(), watching.pass());
    let line = line!();
    let fd = watching.looper.add_fd(near, Interest::INPUT, move |_, _, _| (by_fd(ms(150)), FdNext::Remove).1);
    let idle = watching.looper.add_idle(move |_| (by_idle(ms(150)), ControlFlow::Break(())).1);
    assert!(fd.is_ok() && idle.is_ok());

    watching.looper.poll_once(Duration::ZERO).unwrap();
    watching.pass()(ms(20));

    let (idle, fd) = ((RunningKind::Idle, Some(line + 2)), (RunningKind::Fd, Some(line + 1)));
    let expected = [("stuck", idle), ("goes on", idle), ("stuck", fd), ("goes on", fd)];
    assert_eq!(watching.told(), expected.map(|(word, (kind, place))| (word, kind, place)));
}

#[cfg(feature = "async")]
#[test]
fn w7_a_task_is_named_by_its_spawn() {
    let watching = Watching::new();
    let pass = watching.pass();
    let handle = watching.looper.handle();
    let line = line!() + 1;
    let task = watching.looper.spawn(async move {
        handle.sleep(ms(5)).await;
        pass(ms(150));
    });
    watching.looper.poll_once(Duration::ZERO).unwrap();
    watching.looper.poll_once(None).unwrap();

    assert!(task.is_ok());
    assert_eq!(watching.told(), [("stuck", RunningKind::Task, Some(line))]);
}

/// One message after the other, or fd events and messages, for however long: the looper goes on.
#[test]
fn w7_a_looper_that_is_busy_waits_or_is_not_polled_is_not_stuck() {
    let watching = Watching::new();
    let pass = watching.pass();
    for _ in 0..20 {
        let pass = watching.pass();
        watching.looper.post(move |_| pass(ms(100))).unwrap();
    }
    watching.looper.poll_once(Duration::ZERO).unwrap();
    pass(ms(10_000));

    assert_eq!(watching.told(), []);
}

#[test]
fn w7_a_looper_that_waits_in_epoll_is_not_stuck() {
    watched(|| {
        let (sender, told) = mpsc::channel();
        let dog = Watchdog::builder().threshold(ms(10)).on_stuck(move |stuck| sender.send(stuck.clone()).unwrap());
        let dog = dog.spawn().unwrap();
        let (waiting, stuck) = (HandlerThread::spawn("waits").unwrap(), HandlerThread::spawn("is stuck").unwrap());
        dog.watch(waiting.handle());
        dog.watch(stuck.handle());
        let (go_on, waits) = mpsc::channel::<()>();
        stuck.handle().post(move |_| waits.recv().unwrap()).unwrap();

        // On the real clock and a thread of its own: the first that it tells is the one that is stuck.
        assert_eq!(told.recv().unwrap().looper.name(), Some("is stuck"));
        go_on.send(()).unwrap();
        assert!(told.try_recv().is_err());
    });
}

/// A process that was stopped, or a machine that was: the looper is not to blame.
#[test]
fn w7_time_in_which_the_watchdog_did_not_run_does_not_count() {
    let watching = Watching::new();
    let (pass, clock) = (watching.pass(), watching.second.clock().clone());
    watching
        .looper
        .post(move |_| {
            pass(ms(50));
            clock.pass(ms(10_000));
            pass(ms(110));
        })
        .unwrap();

    watching.looper.poll_once(Duration::ZERO).unwrap();
    watching.pass()(ms(50));

    assert_eq!(watching.told(), []);
}

#[test]
fn w7_what_is_unwatched_or_gone_is_not_told() {
    let watching = Watching::new();
    watching.dog.watch(&watching.looper.handle());
    watching.dog.unwatch(&watching.looper.handle());
    let pass = watching.pass();
    watching.looper.post(move |_| pass(ms(500))).unwrap();
    watching.looper.poll_once(Duration::ZERO).unwrap();
    assert_eq!(watching.told(), []);

    watching.dog.watch(&watching.looper.handle());
    let pass = watching.pass();
    let Watching { looper, told, .. } = &watching;
    let clock = looper.clock().clone();
    let gone = clock.build(Looper::builder()).unwrap();
    watching.dog.watch(&gone.handle());
    drop(gone);
    pass(ms(20));
    assert!(told.lock().unwrap().is_empty());
}

/// M9: what it calls may do everything, with the watchdog and the looper, and its panic ends there.
#[test]
fn w7_m9_what_it_calls_may_ask_post_and_panic() {
    let clock = TestClock::new();
    let (looper, second) = (clock.build(Looper::builder()).unwrap(), Rc::new(clock.build(Looper::builder()).unwrap()));
    let dog: Arc<Mutex<Option<Arc<Watchdog>>>> = Arc::default();
    let (own, (sender, calls)) = (dog.clone(), mpsc::channel());
    let tell = move |stuck: &Stuck| {
        let dog = own.lock().unwrap().clone().unwrap();
        _ = stuck.looper.dump().to_string();
        stuck.looper.post(|_| ()).unwrap();
        dog.unwatch(&stuck.looper);
        dog.watch(&stuck.looper);
        sender.send(elsewhere(|| stuck.looper.running().is_some())).unwrap();
        panic!("it ends in the watchdog");
    };
    let watchdog = Arc::new(Watchdog::builder().threshold(ms(120)).on_stuck(tell).run_on(&second).unwrap());
    watchdog.watch(&looper.handle());
    *dog.lock().unwrap() = Some(watchdog);
    for _ in 0..2 {
        let second = second.clone();
        looper
            .post(move |_| {
                let until = second.now() + ms(200);
                while second.now() < until {
                    second.poll_once(ms(5)).unwrap();
                }
            })
            .unwrap();
    }

    looper.poll_once(Duration::ZERO).unwrap();

    assert_eq!(calls.try_iter().collect::<Vec<_>>(), [true, true], "the watchdog goes on");
    drop(dog.lock().unwrap().take());
}

#[test]
fn w7_one_thread_watches_many_loopers_and_ends_with_the_watchdog() {
    watched(|| {
        let (sender, told) = mpsc::channel();
        let builder = Watchdog::builder().threshold(ms(20));
        let dog = builder.on_stuck(move |stuck| sender.send(stuck.looper.name().unwrap().to_owned()).unwrap());
        let dog = dog.spawn().unwrap();
        let threads: Vec<_> = (0..8).map(|at| HandlerThread::spawn(format!("looper {at}")).unwrap()).collect();
        let gates: Vec<_> = threads
            .iter()
            .map(|thread| {
                dog.watch(thread.handle());
                let (go_on, waits) = mpsc::channel::<()>();
                thread.handle().post(move |_| _ = waits.recv()).unwrap();
                go_on
            })
            .collect();

        let mut stuck: Vec<String> = (0..8).map(|_| told.recv().unwrap()).collect();
        stuck.sort();
        assert_eq!(stuck, (0..8).map(|at| format!("looper {at}")).collect::<Vec<_>>());
        drop(gates);
        thread::spawn(move || drop(dog)).join().unwrap();
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    });
}
