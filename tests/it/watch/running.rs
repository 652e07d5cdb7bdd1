//! What a looper runs now, as other threads see it.
//!
//! Holds W6, X1, X2.

use std::{cell::RefCell, io::Write, ops::ControlFlow, panic::Location, rc::Rc, sync::mpsc, time::Duration};

use alooper::{
    FdNext, Handler, Interest, Looper, LooperHandle, Running, RunningKind,
    testing::{TestClock, TestLooper},
};

use crate::support::{
    Elsewhere,
    fds::{poll_now, ready_stream},
    handlers::elsewhere,
    ms, panic_of,
    rest::{assert_not_warned, assert_warned_once_of},
    timed::line_of,
    until_polling, watched,
};

/// What another thread is told.
fn seen(handle: &LooperHandle) -> Option<Running> {
    elsewhere(|| handle.running())
}

/// Keeps what another thread sees each time that it is called.
#[derive(Clone)]
struct Eye(LooperHandle, Rc<RefCell<Vec<Running>>>);

impl Eye {
    fn on(looper: &Looper) -> Eye {
        Eye(looper.handle(), Rc::default())
    }

    fn look(&self) {
        self.1.borrow_mut().push(seen(&self.0).expect("something runs"));
    }

    fn has_seen(&self) -> Vec<(RunningKind, Option<u32>)> {
        self.1.take().into_iter().map(|running| (running.kind, running.place.map(Location::line))).collect()
    }
}

#[test]
fn w6_a_closure_and_a_message_are_named_with_their_places() {
    let looper = TestLooper::new().unwrap();
    let eye = Eye::on(&looper);
    let looking = eye.clone();
    let handler = Handler::new(&looper, move |_, _: u32| looking.look());
    let looking = eye.clone();

    let line = line!();
    looper.post(move |_| looking.look()).unwrap();
    handler.message(7).what(31).send().unwrap();
    handler.message(7).send_delayed(ms(1)).unwrap();
    looper.advance(ms(1));

    let all = eye.1.borrow().clone();
    assert_eq!(all[0].thread_id, nix::unistd::gettid().as_raw());
    assert!(all[1].to_string().starts_with("a message, posted at "), "{}", all[1]);
    let expected = [(RunningKind::Message, 1), (RunningKind::Message, 2), (RunningKind::Message, 3)];
    assert_eq!(eye.has_seen(), expected.map(|(kind, below)| (kind, Some(line + below))));
}

#[test]
fn w6_fd_callbacks_and_idle_handlers_are_named_with_their_places() {
    let looper = TestLooper::new().unwrap();
    let eye = Eye::on(&looper);
    let (near, _far) = ready_stream();
    let (by_fd, by_idle) = (eye.clone(), eye.clone());

    let line = line!();
    let fd = looper.add_fd(near, Interest::INPUT, move |_, _, _| (by_fd.look(), FdNext::Remove).1);
    let idle = looper.add_idle(move |_| (by_idle.look(), ControlFlow::Break(())).1);
    poll_now(&looper);

    assert!(fd.is_ok() && idle.is_ok());
    let expected = [(RunningKind::Idle, Some(line + 2)), (RunningKind::Fd, Some(line + 1))];
    assert_eq!(eye.has_seen(), expected);
}

#[test]
fn w6_w2_a_hook_is_named_with_its_place_and_may_be_slow() {
    let clock = TestClock::new();
    let looper = clock.build(Looper::builder().slow_dispatch(ms(5))).unwrap();
    assert_not_warned();
    let eye = Eye::on(&looper);
    let looking = eye.clone();

    let line = line!() + 1;
    let hook = looper.after_wait(move |_| (clock.pass(ms(5)), looking.look()).1);
    poll_now(&looper);

    assert!(hook.is_ok());
    assert_warned_once_of(&line_of(file!(), line));
    assert_eq!(eye.has_seen(), [(RunningKind::Hook, Some(line))]);
}

#[cfg(feature = "async")]
#[test]
fn w6_a_task_is_named_by_its_spawn_whatever_resumes_it() {
    use alooper::task::AsyncFd;

    let looper = TestLooper::new().unwrap();
    let eye = Eye::on(&looper);
    let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
    let async_fd = AsyncFd::new(&looper, near).unwrap();
    let (looking, handle) = (eye.clone(), looper.handle());

    let line = line!() + 1;
    let task = looper.spawn(async move {
        looking.look();
        handle.sleep(ms(5)).await;
        looking.look();
        async_fd.readable().await.unwrap();
        looking.look();
        handle.next_idle().await;
        looking.look();
    });
    looper.advance(ms(5));
    far.write_all(b"x").unwrap();
    looper.run_until_idle();

    assert!(task.is_ok());
    assert_eq!(eye.has_seen(), [(RunningKind::Task, Some(line)); 4]);

    let (looking, line) = (eye.clone(), line!() + 1);
    looper.block_on(async move { looking.look() }).unwrap();
    assert_eq!(eye.has_seen(), [(RunningKind::Task, Some(line))]);
    assert!(seen(&looper.handle()).is_none());
}

/// A2: what a task leaves behind for the next one is not its place.
#[cfg(feature = "async")]
#[test]
fn w6_a_task_that_has_the_room_of_a_former_one_is_named_by_its_own_spawn() {
    let looper = TestLooper::new().unwrap();
    let eye = Eye::on(&looper);
    let look = || {
        let (eye, handle) = (eye.clone(), looper.handle());
        async move {
            eye.look();
            handle.sleep(ms(1)).await;
            eye.look();
        }
    };

    let spawns: [(&dyn Fn(), u32); 2] = [
        (&|| looper.spawn(look()).map(drop).unwrap(), line!()),
        (&|| looper.spawn(look()).map(drop).unwrap(), line!()),
    ];
    for (spawn, line) in spawns {
        spawn();
        looper.advance(ms(1));
        looper.run_until_idle();

        assert_eq!(eye.has_seen(), [(RunningKind::Task, Some(line)); 2]);
    }
}

/// What is dropped in a turn may be stuck, too.
#[test]
fn w6_what_a_turn_drops_is_named_as_no_callback() {
    struct Looks(Eye);

    impl Drop for Looks {
        fn drop(&mut self) {
            self.0.look();
        }
    }

    let looper = TestLooper::new().unwrap();
    let eye = Eye::on(&looper);
    let value = Looks(eye.clone());
    looper.post(|_| ()).unwrap();
    let cancelled = looper.post(move |_| drop(value)).unwrap();
    elsewhere(|| cancelled.cancel());

    poll_now(&looper);

    assert_eq!(eye.has_seen(), [(RunningKind::Other, None)]);
}

#[test]
fn w6_a_looper_that_waits_or_is_not_polled_runs_nothing() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.post(|_| ()).unwrap();
        assert!(seen(&looper.handle()).is_none());
        poll_now(&looper);
        assert!(seen(&looper.handle()).is_none());

        let waiting = Elsewhere::run(|_| ());
        until_polling(&waiting.handle);
        assert!(waiting.handle.running().is_none());
        waiting.handle.quit();
        waiting.join();
    });
}

/// X1: after a panic nothing runs.
#[test]
fn w6_x1_what_has_panicked_does_not_run_any_more() {
    let looper = Looper::new().unwrap();
    let (near, _far) = ready_stream();
    looper.post(|_| panic!("message")).unwrap();
    looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("fd")).unwrap();
    let idle = looper.add_idle(|_| panic!("idle"));

    for panic in ["message", "idle", "fd"] {
        assert_eq!(panic_of(|| poll_now(&looper)), panic);
        assert!(seen(&looper.handle()).is_none(), "{panic}");
    }
    assert!(idle.is_ok());
}

/// The clock is not read for each callback: whoever asks is told since when it is known to run.
#[test]
fn w6_since_when_is_known_from_the_first_question_on() {
    let clock = TestClock::new();
    let looper = clock.build(Looper::builder().name("ui")).unwrap();
    let handle = looper.handle();
    let begin = looper.now();

    looper
        .post(move |_| {
            clock.pass(ms(3));
            let first = seen(&handle).unwrap();
            clock.pass(ms(20));
            let second = seen(&handle).unwrap();

            // An inspector of another test may have looked before.
            assert!([begin, begin + ms(3)].contains(&first.since));
            assert_eq!(first.since + first.lasted, begin + ms(3));
            assert_eq!((second.since, second.lasted, second.is_exact), (first.since, first.lasted + ms(20), false));
            let dump = elsewhere(|| handle.dump().to_string());
            let line = dump.lines().nth(1).unwrap();
            assert!(
                line.starts_with("  runs a message, posted at ")
                    && line.contains(&format!(", for at least {:?}, on ", second.lasted)),
                "{line}"
            );
        })
        .unwrap();
    looper
        .post(|looper| assert_eq!(seen(&looper.handle()).unwrap().lasted, Duration::ZERO, "it is another one"))
        .unwrap();
    assert_eq!(looper.run_until_idle(), 2);
}

/// It is asked while the looper is busy, and while it is stuck.
#[test]
fn w6_any_thread_may_ask_at_any_time() {
    watched(|| {
        let busy = Elsewhere::run(|_| ());
        for _ in 0..500 {
            busy.handle.post(|looper| looper.post(|_| ()).map(drop).unwrap()).unwrap();
            _ = busy.handle.running();
        }
        let (go_on, waits) = mpsc::channel::<()>();
        let line = line!() + 1;
        busy.handle.post(move |_| waits.recv().unwrap()).unwrap();
        while busy.handle.running().is_none_or(|running| running.place.is_none_or(|place| place.line() != line)) {
            std::thread::yield_now();
        }
        go_on.send(()).unwrap();
        busy.handle.quit_safely();
        busy.join();
    });
}
