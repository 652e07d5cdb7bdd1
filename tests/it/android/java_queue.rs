//! Android's Java side as an Android engineer uses it, with plain messages: barriers, idle handlers, quitting, calls
//! and slow messages, which are the matters of the `MessageQueue`. The rest is in java.rs.
//!
//! Each test holds a rule to what Java does, or, where its comment says so, to something better.
//!
//! Holds B1, B2, B3, B4, B5, I1, I2, I3, I4, Q1, Q2, Q3, Q4, S1, S2, S3, W2.

use std::{cell::Cell, ops::ControlFlow, rc::Rc, sync::mpsc, thread, time::Duration};

use alooper::{
    CallError, FdNext, Handler, HandlerThread, Interest, Looper, LooperHandle, Message,
    testing::{TestClock, TestLooper},
};

use crate::support::{
    codes::logging,
    fds::ready_pipe,
    ms,
    rest::{assert_not_warned, assert_warned_once_of, warnings},
    until_polling, watched,
};

const INPUT: i32 = 1;
const DRAW: i32 = 2;
const SECOND: Duration = Duration::from_secs(1);

/// Adds an idle handler that answers `next`; how often it ran.
fn count_idle(looper: &Looper, next: ControlFlow<()>) -> Rc<Cell<usize>> {
    let runs = Rc::new(Cell::new(0));
    let counted = runs.clone();
    let idle = move |_: &Looper| {
        counted.set(counted.get() + 1);
        next
    };
    looper.add_idle(idle).unwrap();
    runs
}

// postSyncBarrier, removeSyncBarrier, asynchronous messages

#[test]
fn b1_a_barrier_stands_behind_what_is_due_already() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    handler.send(Message::new(1)).unwrap();
    handler.send_delayed(ms(5), Message::new(4)).unwrap();
    let barrier = looper.barrier().unwrap();
    handler.send(Message::new(2)).unwrap();
    // Older than the barrier, by its own account.
    handler.send_at(looper.now() - SECOND, Message::new(0)).unwrap();

    looper.advance(SECOND);

    assert_eq!(*handled.borrow(), [0, 1]);
    drop(barrier);
    looper.run_until_idle();
    assert_eq!(*handled.borrow(), [0, 1, 2, 4]);
}

#[test]
fn b2_behind_a_barrier_only_asynchronous_messages_run_and_only_they_end_the_sleep() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    let start = looper.now();
    let barrier = looper.barrier().unwrap();
    handler.send_delayed(ms(10), Message::new(INPUT)).unwrap();
    handler.asynchronous().send_delayed(ms(50), Message::new(DRAW)).unwrap();

    assert_eq!(looper.poll_once(SECOND).unwrap().messages, 1);
    assert_eq!((handled.borrow().as_slice(), looper.now() - start), (&[DRAW][..], ms(50)));

    assert!(looper.poll_once(ms(100)).unwrap().timed_out);
    assert_eq!(looper.now() - start, ms(150));
    drop(barrier);
    assert_eq!(looper.poll_once(SECOND).unwrap().messages, 1);
    assert_eq!((handled.borrow().as_slice(), looper.now() - start), (&[DRAW, INPUT][..], ms(150)));
}

/// Better than Java, where a token that is lost, by an exception for instance, stops the app.
#[test]
fn b3_each_barrier_is_lifted_on_its_own_by_whoever_lets_go_of_it() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (handler, handled) = logging(&looper);
        let first = looper.barrier().unwrap();
        handler.send(Message::new(1)).unwrap();
        let second = looper.barrier().unwrap();
        handler.send(Message::new(2)).unwrap();

        drop(second);
        assert!(looper.poll_once(Duration::ZERO).unwrap().timed_out, "the first one stands");
        let handle = looper.handle();
        let traversal = thread::spawn(move || {
            let _first = first;
            until_polling(&handle);
            panic!("it fails while it has the barrier");
        });
        let turn = looper.poll_once(None).unwrap();

        assert!(traversal.join().is_err());
        assert_eq!((turn.messages, turn.woken), (2, false));
        assert_eq!(*handled.borrow(), [1, 2]);
    });
}

/// Better than Java, where nothing tells of a barrier that was forgotten, but that the app hangs.
#[test]
fn b4_a_barrier_that_stands_for_five_seconds_is_logged_once_with_its_place() {
    let looper = TestLooper::new().unwrap();
    warnings();
    let place = format!("{}:{}", file!(), line!() + 1);
    let _forgotten = looper.barrier().unwrap();

    looper.advance(ms(4_999));
    assert_not_warned();
    looper.advance(ms(1));
    assert_warned_once_of(&place);
    looper.advance(60 * SECOND);
    assert_not_warned();
}

/// `Handler.createAsync`, `Message.setAsynchronous`, and a closure.
#[test]
fn b5_a_handler_or_a_single_message_or_a_post_is_asynchronous() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    let _barrier = looper.barrier().unwrap();
    handler.send(Message::new(4)).unwrap();

    handler.asynchronous().send(Message::new(1)).unwrap();
    handler.message(Message::new(2)).asynchronous().send().unwrap();
    let posted = looper.handle().asynchronous().post(|_| ()).unwrap();
    looper.run_until_idle();

    assert_eq!((handled.borrow().as_slice(), posted.is_pending()), (&[1, 2][..], false));
    assert_eq!(handler.clear(), 1, "the one that waits");
}

// IdleHandler

#[test]
fn i1_queue_idle_is_called_when_nothing_is_due_also_in_a_poll_that_does_not_wait() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    let idles = count_idle(&looper, ControlFlow::Continue(()));
    handler.send_delayed(SECOND, Message::new(DRAW)).unwrap();
    let barrier = looper.barrier().unwrap();

    looper.poll_once(Duration::ZERO).unwrap();
    assert_eq!(idles.get(), 0, "a barrier is not idleness");
    handler.send(Message::new(INPUT)).unwrap();
    drop(barrier);
    looper.poll_once(Duration::ZERO).unwrap();
    assert_eq!((idles.get(), handled.borrow().len()), (0, 1), "first the message");

    let turn = looper.poll_once(Duration::ZERO).unwrap();

    assert_eq!((turn.idles, idles.get()), (1, 1), "the next message is not due");
    handler.clear();
}

#[test]
fn i2_queue_idle_is_called_again_only_after_another_message() {
    let looper = TestLooper::new().unwrap();
    let (handler, _handled) = logging(&looper);
    let (reader, _writer) = ready_pipe();
    let idles = count_idle(&looper, ControlFlow::Continue(()));
    looper.poll_once(Duration::ZERO).unwrap();

    looper.add_fd(reader, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
    looper.wake().unwrap();
    for _ in 0..3 {
        assert_eq!(looper.poll_once(SECOND).unwrap().fds, 1);
    }
    assert_eq!(idles.get(), 1, "neither fds nor wakes count");

    handler.send(Message::new(INPUT)).unwrap();
    looper.poll_once(SECOND).unwrap();
    looper.poll_once(SECOND).unwrap();

    assert_eq!(idles.get(), 2);
}

/// `return false` removes it. What it sends is not slept over.
#[test]
fn i3_what_queue_idle_sends_is_handled_before_the_looper_sleeps() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    let start = looper.now();
    let once = count_idle(&looper, ControlFlow::Break(()));
    let sender = handler.clone();
    let send = move |_: &Looper| {
        sender.send(Message::new(DRAW)).unwrap();
        ControlFlow::Break(())
    };
    looper.add_idle(send).unwrap();

    let turn = looper.poll_once(SECOND).unwrap();

    assert_eq!((turn.idles, turn.messages, looper.now() - start), (2, 1, Duration::ZERO));
    assert!(looper.poll_once(SECOND).unwrap().timed_out);
    assert_eq!((once.get(), handled.borrow().as_slice()), (1, &[DRAW][..]));
}

/// Better than Java, where it waits for the next message, for ever if there is none.
#[test]
fn i4_an_idle_handler_that_is_added_while_the_looper_sleeps_runs() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        until_polling(worker.handle());
        let (tell, told) = mpsc::channel();

        let added = worker.handle().add_idle(move |looper| {
            tell.send(looper.is_empty()).unwrap();
            ControlFlow::Break(())
        });

        assert!(added.is_ok());
        assert_eq!(told.recv(), Ok(true));
    });
}

// quit, quitSafely

/// Better than Java in one point: quitting before the loop is kept as well.
#[test]
fn q1_quit_safely_handles_what_is_due_and_quit_handles_nothing() {
    watched(|| {
        for (quit, expected) in [(Looper::quit as fn(&Looper), &[][..]), (Looper::quit_safely, &[1, 2])] {
            let looper = TestLooper::new().unwrap();
            let (handler, handled) = logging(&looper);
            handler.send_delayed(ms(1), Message::new(3)).unwrap();
            handler.send_at(looper.now() - SECOND, Message::new(1)).unwrap();
            handler.send(Message::new(2)).unwrap();

            quit(&looper);
            looper.quit();
            looper.quit_safely();
            let report = looper.run().unwrap();

            assert_eq!(*handled.borrow(), expected, "only the first call counts");
            assert_eq!(report.run as usize, expected.len());
        }
    });
}

/// Better than Java: the message comes back.
#[test]
fn q2_quit_on_another_thread_ends_the_sleep_and_then_sending_is_refused() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        let handler = worker.handle().handler(|_, _: Message| ()).unwrap();
        handler.send_delayed(3600 * SECOND, Message::new(INPUT)).unwrap();
        until_polling(worker.handle());

        worker.quit();
        let refused = handler.send(Message { arg1: 7, ..Message::with_obj(DRAW, "frame") }).unwrap_err();

        let mut message = refused.into_value().unwrap();
        assert_eq!((message.what, message.arg1, message.take()), (DRAW, 7, Some("frame")));
        assert_eq!(worker.join().unwrap().dropped, 1);
    });
}

/// Better than Java, which drops it without a word.
#[test]
fn q3_quit_safely_handles_what_is_due_behind_a_barrier() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let (handler, handled) = logging(&looper);
        let _barrier = looper.barrier().unwrap();
        handler.send(Message::new(INPUT)).unwrap();
        handler.send_delayed(ms(1), Message::new(DRAW)).unwrap();

        looper.quit_safely();
        let report = looper.run().unwrap();

        assert_eq!(*handled.borrow(), [INPUT]);
        assert_eq!((report.run, report.dropped), (1, 1));
    });
}

/// Better than Java, where nobody knows.
#[test]
fn q4_the_exit_report_tells_how_each_message_has_ended() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let (handler, _handled) = logging(&looper);
        for what in [1, 2, 2, 2] {
            handler.send(Message::new(what)).unwrap();
        }
        handler.remove(1);
        looper.run_one();

        looper.quit();
        let pending = (looper.len(), handler.len(), handler.has(2));
        let report = looper.run().unwrap();

        assert_eq!(pending, (0, 0, false));
        assert_eq!((report.posted, report.run, report.removed, report.dropped), (4, 1, 1, 2));
    });
}

// runWithScissors

/// Better than Java: it brings a value.
#[test]
fn s1_a_call_runs_at_once_on_the_loopers_thread_and_in_its_turn_from_another() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        let (tell, told) = mpsc::channel();
        let handled = tell.clone();
        let handler = worker.handle().handler(move |_, message: Message| handled.send(message.what).unwrap()).unwrap();
        handler.send(Message::new(1)).unwrap();

        let value = worker.handle().call(move |looper| {
            handler.send(Message::new(3)).unwrap();
            let within = looper.handle().call(move |_| tell.send(2).is_ok()).unwrap();
            (within, thread::current().id())
        });

        assert_eq!(value.unwrap(), (true, worker.thread().unwrap().id()));
        worker.quit_safely();
        worker.join().unwrap();
        assert_eq!(told.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    });
}

/// Occupies a looper until the sender is dropped; returns when it has begun.
fn occupy(handle: &LooperHandle) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    let occupied = handle.post(move |_| {
        begin.send(()).unwrap();
        let _: Result<(), _> = released.recv();
    });
    occupied.unwrap();
    begun.recv().unwrap();
    release
}

/// Better than Java, where it stays queued and runs when nobody expects it any more.
#[test]
fn s2_a_call_that_timed_out_comes_back_and_does_not_run() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        let occupied = occupy(worker.handle());

        let late = worker.handle().call_timeout(ms(5), |_| "late");
        drop(occupied);

        let Err(CallError::TimedOut(back)) = late else { panic!("{late:?}") };
        let back = back.into_value().unwrap();
        assert_eq!(back(&Looper::new().unwrap()), "late");
        worker.quit_safely();
        let report = worker.join().unwrap();
        assert_eq!((report.run, report.removed), (1, 1), "only what occupied it ran");
    });
}

/// Better than Java, whose answer is the same whether it has begun or not.
#[test]
fn s2_a_caller_is_told_that_its_call_has_begun_but_not_ended() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        let (release, released) = mpsc::channel::<()>();
        let mut call = move |_: &Looper| released.recv().is_ok();

        let outcome = loop {
            match worker.handle().call_timeout(ms(20), call) {
                Err(CallError::TimedOut(back)) => call = back.into_value().unwrap(),
                other => break other,
            }
        };

        assert!(matches!(outcome, Err(CallError::StillRunning)), "{outcome:?}");
        release.send(()).unwrap();
        worker.quit_safely();
        assert_eq!(worker.join().unwrap().run, 1);
    });
}

/// Better than Java, where the caller waits for ever.
#[test]
fn s3_quitting_and_a_panic_release_who_waits_for_a_call() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        let occupied = occupy(worker.handle());
        let handle = worker.handle().clone();
        let caller = thread::spawn(move || handle.call(|_| "never").map_err(drop));
        while worker.handle().is_empty() {
            thread::yield_now();
        }

        worker.quit();
        drop(occupied);

        assert_eq!(caller.join().unwrap(), Err(()));
        let worker = HandlerThread::spawn("worker").unwrap();
        let panicked = worker.handle().call(|_| panic!("it fails"));
        assert!(matches!(panicked, Err::<(), _>(CallError::Panicked)), "{panicked:?}");
    });
}

// setSlowLogThresholdMs

/// A looper, and a second one on its clock. When that runs a message, time passes for both.
fn looper_and_pastime() -> (TestLooper, Rc<TestLooper>) {
    let clock = TestClock::new();
    let [looper, other] = [(); 2].map(|()| clock.build(Looper::builder()).unwrap());
    (looper, Rc::new(other))
}

fn pass(pastime: &TestLooper, time: Duration) {
    pastime.post_delayed(time, |_| ()).unwrap();
    assert!(pastime.run_one());
}

/// As Java: after one report of a slow delivery, the next one comes when the looper has caught up in between.
#[test]
fn w2_slow_messages_are_logged_with_their_place_and_slow_deliveries_once_until_caught_up() {
    let (looper, pastime) = looper_and_pastime();
    looper.set_slow_thresholds(Some(ms(300)), Some(ms(200)));
    let time = pastime.clone();
    let handler = Handler::new(&looper, move |_, message: Message| pass(&time, ms(message.arg1 as u64)));
    warnings();

    let place = format!("{}:{}", file!(), line!() + 1);
    handler.send(Message { arg1: 300, ..Message::new(DRAW) }).unwrap();
    looper.run_one();
    assert_warned_once_of(&place);

    // Each of them is 200 ms late.
    for expected in [1, 0, 0] {
        handler.send(Message::new(INPUT)).unwrap();
        pass(&pastime, ms(200));
        looper.run_one();
        assert_eq!(warnings().len(), expected);
    }
    handler.send(Message::new(INPUT)).unwrap();
    looper.run_one();
    assert!(warnings().concat().contains("caught up"));
    let place = format!("{}:{}", file!(), line!() + 1);
    handler.send(Message::new(INPUT)).unwrap();
    pass(&pastime, ms(200));
    looper.run_one();
    assert_warned_once_of(&place);
}
