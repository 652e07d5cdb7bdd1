//! Quitting while barriers stand and idle handlers wait: what still runs, what is dropped, and what is refused.
//!
//! Holds B3, M6, M9, Q1, Q3, Q4, Q5, C55, C57.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, ThreadId},
    time::Duration,
};

use alooper::{Barrier, Handler, Looper, LooperHandle, MessageCounts, RejectReason, testing::TestLooper};

use crate::support::{Elsewhere, HOUR, codes::scribe, handlers::assert_report, ms, until_polling, watched};

/// Both ways to quit, for what holds of both.
const QUITS: [fn(&LooperHandle); 2] = [LooperHandle::quit, LooperHandle::quit_safely];

/// Polls a looper that quits to its end, which is near.
#[track_caller]
fn drain(looper: &Looper) -> MessageCounts {
    assert!((0..10).any(|_| looper.poll_once(Duration::ZERO).unwrap().quit), "it does not come to its end");
    looper.message_counts()
}

/// Tells where it is dropped.
struct Told(mpsc::Sender<ThreadId>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send(thread::current().id()).unwrap();
    }
}

/// Sends messages before, between and behind two barriers, due and later, plain and asynchronous.
fn send_all_kinds(looper: &Looper, handler: &Handler<&'static str>) -> [Barrier; 2] {
    let asynchronous = handler.asynchronous();
    handler.send("before").unwrap();
    let first = looper.barrier().unwrap();
    handler.send("between").unwrap();
    asynchronous.send_delayed(HOUR, "asynchronous, later").unwrap();
    asynchronous.send("asynchronous").unwrap();
    let second = looper.barrier().unwrap();
    handler.send_delayed(HOUR, "later").unwrap();
    handler.send("behind").unwrap();
    handler.send_at_front("front").unwrap();
    [first, second]
}

/// C55.
#[test]
fn q3_quit_safely_lifts_barriers_and_runs_all_that_is_due_in_the_order_of_the_queue() {
    let looper = TestLooper::new().unwrap();
    let (handler, written) = scribe(&looper);
    let barriers = send_all_kinds(&looper, &handler);

    looper.quit_safely();

    assert_eq!(looper.len(), 5);
    let report = drain(&looper);
    assert_eq!(written.take(), ["front", "before", "between", "asynchronous", "behind"]);
    assert_report(report, 7, 5, 0, 2);
    drop(barriers);
    assert_report(looper.message_counts(), 7, 5, 0, 2);
}

/// C55.
#[test]
fn q1_quit_drops_all_that_stands_before_and_behind_barriers() {
    let looper = TestLooper::new().unwrap();
    let (handler, written) = scribe(&looper);
    let _barriers = send_all_kinds(&looper, &handler);

    looper.quit();

    assert!(looper.is_empty());
    assert_report(drain(&looper), 7, 0, 0, 7);
    assert_eq!(written.take(), [""; 0]);
}

#[test]
fn q1_the_first_call_wins_also_for_what_a_barrier_holds_up() {
    let run_after = |quits: [fn(&Looper); 2]| {
        let looper = TestLooper::new().unwrap();
        let (handler, _) = scribe(&looper);
        let _barriers = send_all_kinds(&looper, &handler);
        quits.into_iter().for_each(|quit| quit(&looper));
        drain(&looper).run
    };

    assert_eq!(run_after([Looper::quit_safely, Looper::quit]), 5);
    assert_eq!(run_after([Looper::quit, Looper::quit_safely]), 0);
}

#[test]
fn q3_a_safe_quit_on_another_thread_gets_a_looper_up_that_sleeps_on_a_barrier() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let handle = elsewhere.handle.clone();
        let barrier = handle.barrier().unwrap();
        for delay in [Duration::ZERO, Duration::ZERO, HOUR] {
            handle.post_delayed(delay, |_| ()).unwrap();
        }
        until_polling(&handle);
        assert_eq!(handle.len(), 3);

        handle.quit_safely();

        assert_report(elsewhere.join(), 3, 2, 0, 1);
        drop(barrier);
    });
}

#[test]
fn q3_a_safe_quit_in_an_asynchronous_message_lets_the_rest_run_in_the_same_turn() {
    let looper = TestLooper::new().unwrap();
    let (handler, written) = scribe(&looper);
    let _barrier = looper.barrier().unwrap();
    handler.send("held up").unwrap();
    looper.handle().asynchronous().post(Looper::quit_safely).unwrap();
    handler.send("held up, too").unwrap();

    let turn = looper.poll_once(None).unwrap();

    assert_eq!((turn.messages, turn.quit), (3, true));
    assert_eq!(written.take(), ["held up", "held up, too"]);
}

#[test]
fn q3_what_a_barrier_held_up_can_still_be_cancelled_while_a_safe_quit_drains() {
    let looper = TestLooper::new().unwrap();
    let (handler, written) = scribe(&looper);
    let _barrier = looper.barrier().unwrap();
    let cancelled = handler.send("cancelled").unwrap();
    handler.send("run").unwrap();
    let later = handler.send_delayed(HOUR, "later").unwrap();

    looper.quit_safely();

    assert!(cancelled.cancel() && !later.cancel());
    assert_report(drain(&looper), 3, 1, 1, 1);
    assert_eq!(written.take(), ["run"]);
}

#[test]
fn q5_a_drain_longer_than_a_budget_runs_all_that_a_barrier_held_up() {
    watched(|| {
        let looper = Looper::builder().budget(2).build().unwrap();
        let _barrier = looper.barrier().unwrap();
        (0..9).for_each(|_| drop(looper.post(|_| ()).unwrap()));
        looper.quit_safely();

        let turns: Vec<_> = std::iter::from_fn(|| Some(looper.poll_once(None).unwrap())).take(10).collect();

        assert_eq!(turns.iter().map(|turn| turn.messages).sum::<usize>(), 9);
        assert_eq!(turns.iter().position(|turn| turn.quit), Some(4));
        assert!(turns.iter().all(|turn| turn.more != turn.quit));
    });
}

#[test]
fn b3_a_barrier_is_refused_while_a_safe_quit_drains() {
    let looper = TestLooper::new().unwrap();
    let ask = |looper: &Looper| assert_eq!(looper.barrier().unwrap_err().reason(), RejectReason::Quit);
    looper.post(ask).unwrap();
    looper.post(|_| ()).unwrap();

    looper.quit_safely();

    assert_report(drain(&looper), 2, 2, 0, 0);
}

/// The barrier is in the message that it holds up: nothing but the end of the looper, or a cancel, releases it.
#[test]
fn m9_a_message_that_holds_the_barrier_before_it_is_dropped_by_a_quit() {
    watched(|| {
        for quit in QUITS {
            let looper = Looper::new().unwrap();
            let barrier = looper.barrier().unwrap();
            looper.post_delayed(HOUR, move |_| drop(barrier)).unwrap();
            let barrier = looper.barrier().unwrap();
            let handler = Handler::new(&looper, |_, _: Barrier| ());
            handler.send_delayed(HOUR, barrier).unwrap();
            assert!(looper.poll_once(Duration::ZERO).unwrap().timed_out);

            quit(&looper.handle());

            assert_report(drain(&looper), 2, 0, 0, 2);
        }
    });
}

#[test]
fn m9_and_by_the_end_of_the_looper() {
    let looper = Looper::new().unwrap();
    let handle = looper.handle();
    let barriers = [(); 3].map(|()| looper.barrier().unwrap());
    let [with_closure, with_idler, after] = barriers;
    looper.post(move |_| drop(with_closure)).unwrap();
    let idler = move |_: &Looper| {
        let _ = &with_idler;
        ControlFlow::Continue(())
    };
    looper.add_idle(idler).unwrap();

    drop(looper);
    drop(after);

    assert_report(handle.message_counts(), 1, 0, 0, 1);
}

#[test]
fn q4_what_a_barrier_held_up_is_dropped_on_the_loopers_thread() {
    watched(|| {
        for quit in QUITS {
            let looper = Looper::new().unwrap();
            let handle = looper.handle();
            let barrier = looper.barrier().unwrap();
            let (sender, dropped_on) = mpsc::channel();
            let (own, remote) = (Told(sender.clone()), Told(sender));
            looper.post_delayed(HOUR, move |_| drop(own)).unwrap();
            handle.post_delayed(HOUR, move |_| drop(remote)).unwrap();

            thread::spawn(move || {
                quit(&handle);
                drop(barrier);
                assert!(handle.is_empty());
            })
            .join()
            .unwrap();
            looper.poll_once(None).unwrap();

            let here = thread::current().id();
            assert_eq!(dropped_on.try_iter().collect::<Vec<_>>(), [here; 2]);
        }
    });
}

#[test]
fn q5_no_idle_handler_runs_after_a_quit_though_the_looper_falls_idle() {
    for quit in QUITS {
        let looper = TestLooper::new().unwrap();
        looper.add_idle(|_| panic!("the looper has quit")).unwrap();
        let barrier = looper.barrier().unwrap();
        looper.poll_once(Duration::ZERO).unwrap();
        looper.post(|_| ()).unwrap();

        quit(&looper.handle());
        drain(&looper);
        drop(barrier);

        let turn = looper.poll_once(HOUR).unwrap();
        assert_eq!((turn.idles, turn.quit), (0, true));
    }
}

#[test]
fn q5_a_quit_in_an_idle_handler_keeps_the_following_ones_and_messages_from_starting() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper
            .add_idle(|looper| {
                looper.post(|_| panic!("the looper has quit")).unwrap();
                looper.quit();
                ControlFlow::Continue(())
            })
            .unwrap();
        looper.add_idle(|_| panic!("the looper has quit")).unwrap();
        looper.handle().add_idle(|_| panic!("the looper has quit")).unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.idles, turn.messages, turn.quit), (1, 0, true));
        assert_report(drain(&looper), 1, 0, 0, 1);
    });
}

#[test]
fn q3_a_safe_quit_in_an_idle_handler_runs_what_it_has_posted_behind_its_own_barrier() {
    let looper = TestLooper::new().unwrap();
    looper
        .add_idle(|looper| {
            let barrier = looper.barrier().unwrap();
            looper.post(move |_| drop(barrier)).unwrap();
            looper.post_delayed(ms(1), |_| panic!("not due at the quit")).unwrap();
            looper.quit_safely();
            ControlFlow::Continue(())
        })
        .unwrap();

    assert_report(drain(&looper), 2, 1, 0, 1);
}

/// C57, with threads that put up barriers and release them.
#[test]
fn m6_posts_that_race_with_barriers_and_a_quit_end_in_exactly_one_way() {
    watched(|| {
        for round in 0..20 {
            let quit = QUITS[round % 2];
            let elsewhere = Elsewhere::run(|_| ());
            let ran = Arc::new(AtomicU64::new(0));
            let posters: Vec<_> = (0..3)
                .map(|_| {
                    let (handle, ran) = (elsewhere.handle.clone(), ran.clone());
                    thread::spawn(move || post_behind_barriers(&handle, &ran))
                })
                .collect();
            (0..round).for_each(|_| thread::yield_now());

            quit(&elsewhere.handle);

            let accepted: u64 = posters.into_iter().map(|poster| poster.join().unwrap()).sum();
            let report = elsewhere.join();
            assert_eq!((report.posted, report.run), (accepted, ran.load(Ordering::Relaxed)));
            assert_eq!(report.posted, report.run + report.removed + report.dropped);
        }
    });

    /// Posts until the looper has quit, and not so much that a slow machine has to drain it for long; tells how many
    /// posts it took.
    fn post_behind_barriers(handle: &LooperHandle, ran: &Arc<AtomicU64>) -> u64 {
        for accepted in 0..200 {
            let barrier = handle.barrier();
            let ran = ran.clone();
            if handle.post(move |_| _ = ran.fetch_add(1, Ordering::Relaxed)).is_err() {
                return accepted;
            }
            drop(barrier);
        }
        200
    }
}
