//! Quitting: what still runs, what is dropped where, what is refused, and the sum of it.
//!
//! Holds Q1, Q2, Q4, Q5, X4, C12, C57, C58, C59, C79.

use std::{
    cell::Cell,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, ThreadId},
    time::Duration,
};

use alooper::{FdNext, Interest, Looper, LooperHandle, Posted, RejectReason};

use crate::support::{Elsewhere, HOUR, handlers::assert_report, ms, rounds::rounds, until_polling, watched};

/// Both ways to quit, for what holds of both.
const QUITS: [fn(&LooperHandle); 2] = [LooperHandle::quit, LooperHandle::quit_safely];

/// Posts one message of each kind, which say their name when they run.
fn post_all_kinds(looper: &Looper) -> mpsc::Receiver<&'static str> {
    let (sender, said) = mpsc::channel();
    let say = |word: &'static str| {
        let sender = sender.clone();
        move |_: &Looper| sender.send(word).unwrap()
    };
    looper.post_delayed(HOUR, say("later")).unwrap();
    looper.post(say("second")).unwrap();
    looper.handle().post(say("third")).unwrap();
    looper.handle().post_delayed(HOUR, say("remote later")).unwrap();
    looper.post_at(looper.now() - HOUR, say("first")).unwrap();
    looper.post_at_front(say("front")).unwrap();
    said
}

/// Tells where it is dropped.
struct Told(mpsc::Sender<ThreadId>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send(thread::current().id()).unwrap();
    }
}

/// C58.
#[test]
fn q1_quit_drops_everything_that_is_queued() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let said = post_all_kinds(&looper);

        looper.quit();
        let turn = looper.poll_once(None).unwrap();

        assert!(turn.quit);
        assert_eq!((turn.messages, said.try_iter().count()), (0, 0));
        assert_report(looper.run().unwrap(), 6, 0, 0, 6);
    });
}

/// C58.
#[test]
fn q1_quit_safely_runs_what_is_due_in_order_and_drops_the_rest() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let said = post_all_kinds(&looper);

        looper.quit_safely();
        let report = looper.run().unwrap();

        assert_eq!(said.try_iter().collect::<Vec<_>>(), ["front", "first", "second", "third"]);
        assert_report(report, 6, 4, 0, 2);
    });
}

#[test]
fn q1_quit_safely_does_not_run_what_becomes_due_while_it_drains() {
    watched(|| {
        // Tried again if this thread was so slow that the delay passed before it quit.
        let report = loop {
            let looper = Looper::new().unwrap();
            let due = looper.now() + ms(10);
            looper.post_at(due, |_| panic!("not due at the quit")).unwrap();
            let until_due = move |looper: &Looper| {
                while looper.now() < due + ms(1) {
                    std::hint::spin_loop();
                }
            };
            looper.post(until_due).unwrap();
            looper.post(|_| ()).unwrap();
            looper.quit_safely();
            if looper.now() < due {
                break looper.run().unwrap();
            }
        };

        assert_report(report, 3, 2, 0, 1);
    });
}

#[test]
fn q1_the_first_call_wins_and_later_ones_do_nothing() {
    watched(|| {
        let outcome = |quits: [fn(&Looper); 2]| {
            let looper = Looper::new().unwrap();
            let said = post_all_kinds(&looper);
            for quit in quits {
                quit(&looper);
            }
            let run = looper.run().unwrap().run;
            assert_eq!(run, said.try_iter().count() as u64);
            run
        };

        assert_eq!(outcome([Looper::quit_safely, Looper::quit]), 4);
        assert_eq!(outcome([Looper::quit, Looper::quit_safely]), 0);
        assert_eq!(outcome([Looper::quit_safely, Looper::quit_safely]), 4);
    });
}

#[test]
fn q1_a_quit_inside_the_drain_of_quit_safely_does_nothing() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.post(Looper::quit).unwrap();
        looper.post(|_| ()).unwrap();

        looper.quit_safely();

        assert_report(looper.run().unwrap(), 2, 2, 0, 0);
    });
}

/// C12.
#[test]
fn q1_a_quit_before_run_is_kept() {
    watched(|| {
        for quit in QUITS {
            let looper = Looper::new().unwrap();

            quit(&looper.handle());

            assert!(looper.has_quit());
            assert_report(looper.run().unwrap(), 0, 0, 0, 0);
        }
    });
}

#[test]
fn q2_a_quit_from_another_thread_ends_a_sleep() {
    watched(|| {
        for quit in QUITS {
            let elsewhere = Elsewhere::run(|looper| drop(looper.post_delayed(HOUR, |_| ()).unwrap()));
            until_polling(&elsewhere.handle);

            quit(&elsewhere.handle);

            assert_report(elsewhere.join(), 1, 0, 0, 1);
        }
    });
}

#[test]
fn q2_posts_after_a_quit_are_refused_and_give_their_closure_back_also_while_it_drains() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let other = Looper::new().unwrap();
        let runs = Arc::new(AtomicU64::new(0));
        let count = || {
            let runs = runs.clone();
            move |_: &Looper| {
                runs.fetch_add(1, Ordering::Relaxed);
            }
        };
        let while_draining = count();
        let draining = move |looper: &Looper| {
            let refused = looper.post(while_draining).unwrap_err();
            assert_eq!(refused.reason(), RejectReason::Quit);
            refused.into_value().unwrap()(looper);
        };
        looper.post(draining).unwrap();
        let handle = looper.handle();

        handle.quit_safely();

        let refused = [
            looper.post(count()).unwrap_err(),
            looper.post_delayed(HOUR, count()).unwrap_err(),
            looper.post_at(looper.now(), count()).unwrap_err(),
            looper.post_at_front(count()).unwrap_err(),
            handle.post(count()).unwrap_err(),
            handle.post_delayed(HOUR, count()).unwrap_err(),
            handle.post_at(handle.now(), count()).unwrap_err(),
            handle.post_at_front(count()).unwrap_err(),
        ];
        assert_report(looper.run().unwrap(), 1, 1, 0, 0);
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        for refused in refused {
            assert_eq!(refused.reason(), RejectReason::Quit);
            refused.into_value().unwrap()(&other);
        }
        assert_eq!(runs.load(Ordering::Relaxed), 9);
    });
}

#[test]
fn q4_queries_say_nothing_is_pending_as_soon_as_quit_has_returned() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let posted = [
            looper.post(|_| ()).unwrap(),
            looper.post_delayed(HOUR, |_| ()).unwrap(),
            handle.post(|_| ()).unwrap(),
            handle.post_delayed(HOUR, |_| ()).unwrap(),
        ];

        let elsewhere = thread::spawn(move || {
            handle.quit();
            let queries = (handle.len(), handle.is_empty(), handle.has_quit());
            (queries, posted.iter().any(Posted::is_pending), posted.iter().any(Posted::cancel))
        });

        assert_eq!(elsewhere.join().unwrap(), ((0, true, true), false, false));
        assert_report(looper.message_counts(), 4, 0, 0, 4);
    });
}

#[test]
fn q4_after_quit_safely_only_what_will_run_is_pending_and_can_still_be_cancelled() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let due = [looper.post(|_| ()).unwrap(), looper.post(|_| ()).unwrap()];
        let later = looper.post_delayed(HOUR, |_| ()).unwrap();

        looper.handle().quit_safely();

        assert_eq!(looper.len(), 2);
        assert!(due.iter().all(Posted::is_pending));
        assert!(!later.is_pending() && !later.cancel());
        assert!(due[1].cancel());
        assert_report(looper.run().unwrap(), 3, 1, 1, 1);
    });
}

#[test]
fn q4_what_a_quit_elsewhere_gives_up_is_dropped_on_the_loopers_thread() {
    watched(|| {
        for quit in QUITS {
            let looper = Looper::new().unwrap();
            let (sender, dropped_on) = mpsc::channel();
            let (own, remote) = (Told(sender.clone()), Told(sender));
            looper.post_delayed(HOUR, move |_| drop(own)).unwrap();
            looper.handle().post_delayed(HOUR, move |_| drop(remote)).unwrap();
            let handle = looper.handle();

            thread::spawn(move || quit(&handle)).join().unwrap();
            looper.poll_once(None).unwrap();

            let here = thread::current().id();
            assert_eq!(dropped_on.try_iter().collect::<Vec<_>>(), [here; 2]);
        }
    });
}

/// Whether the message quits itself or another thread does while it runs.
#[test]
fn q5_after_a_quit_no_message_and_no_fd_callback_starts_in_the_same_turn() {
    watched(|| {
        let elsewhere = |looper: &Looper| {
            let handle = looper.handle();
            thread::spawn(move || handle.quit()).join().unwrap();
        };
        for quit in [Looper::quit, elsewhere] {
            let looper = Looper::new().unwrap();
            let (near, mut far) = UnixStream::pair().unwrap();
            far.write_all(b"!").unwrap();
            looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("the looper has quit")).unwrap();
            looper.post(quit).unwrap();
            looper.post(|_| panic!("the looper has quit")).unwrap();

            let turns = [(); 2].map(|()| looper.poll_once(None).unwrap());

            assert!(turns.iter().all(|turn| turn.quit));
            assert_eq!(turns.each_ref().map(|turn| (turn.messages, turn.fds)), [(1, 0), (0, 0)]);
        }
    });
}

#[test]
fn q5_after_quit_safely_in_a_message_what_is_due_still_runs_but_no_fd_callback_does() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"!").unwrap();
        looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("the looper has quit")).unwrap();
        looper.post(Looper::quit_safely).unwrap();
        looper.post(|_| ()).unwrap();
        looper.post_delayed(HOUR, |_| ()).unwrap();

        assert_report(looper.run().unwrap(), 3, 2, 0, 1);
    });
}

#[test]
fn q5_after_a_fd_callback_quits_no_other_one_starts() {
    watched(|| {
        for quit in QUITS {
            let looper = Looper::new().unwrap();
            let (sender, calls) = mpsc::channel();
            let fars = [(); 3].map(|()| {
                let (near, mut far) = UnixStream::pair().unwrap();
                far.write_all(b"!").unwrap();
                let sender = sender.clone();
                let callback = move |looper: &Looper, _: &mut UnixStream, _| {
                    sender.send(()).unwrap();
                    quit(&looper.handle());
                    FdNext::Keep
                };
                looper.add_fd(near, Interest::INPUT, callback).unwrap();
                far
            });

            let turn = looper.poll_once(None).unwrap();
            looper.run().unwrap();

            assert_eq!((turn.fds, calls.try_iter().count()), (1, 1));
            drop(fars);
        }
    });
}

#[test]
fn q5_quit_safely_drains_more_than_a_budget_without_sleeping_or_serving_fds() {
    watched(|| {
        let looper = Looper::builder().budget(2).build().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"!").unwrap();
        looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("the looper has quit")).unwrap();
        for _ in 0..9 {
            looper.post(|_| ()).unwrap();
        }
        looper.quit_safely();

        let mut messages = 0;
        loop {
            let turn = looper.poll_once(None).unwrap();
            messages += turn.messages;
            assert_eq!(turn.fds, 0);
            if turn.quit {
                break;
            }
            assert!(messages < 9);
        }

        assert_eq!(messages, 9);
        assert_report(looper.run().unwrap(), 9, 9, 0, 0);
    });
}

#[test]
fn q5_registrations_stay_until_the_looper_is_dropped_and_new_ones_are_refused() {
    watched(|| {
        for quit in QUITS {
            let looper = Looper::new().unwrap();
            let (near, mut far) = UnixStream::pair().unwrap();
            far.set_nonblocking(true).unwrap();
            let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
            let handle = looper.handle();

            quit(&handle);
            looper.run().unwrap();

            assert!(source.is_registered());
            assert_eq!(far.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            let (spare, mut peer) = UnixStream::pair().unwrap();
            let refused = looper.add_fd(spare, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
            assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
            let refused =
                looper.replace_fd(refused.into_source().unwrap(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
            assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
            let refused = looper.add_ident(refused.into_source().unwrap(), Interest::INPUT, 1).unwrap_err();
            assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
            let refused =
                handle.add_fd(refused.into_source().unwrap(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
            assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
            refused.into_source().unwrap().write_all(b"!").unwrap();
            peer.read_exact(&mut [0]).unwrap();
            drop(looper);
            assert_eq!(far.read(&mut [0]).unwrap(), 0);
            assert!(!source.is_registered());
        }
    });
}

#[test]
fn q5_polls_after_a_quit_report_it_at_once_each_time() {
    watched(|| {
        for quit in QUITS {
            let looper = Looper::new().unwrap();
            quit(&looper.handle());

            for timeout in [None, Some(Duration::MAX), Some(Duration::ZERO)] {
                assert!(looper.poll_once(timeout).unwrap().quit);
                assert!(looper.poll_all(timeout).unwrap().quit);
            }
            assert_report(looper.run().unwrap(), 0, 0, 0, 0);
        }
    });
}

/// C57: also with messages that the posters take back.
#[test]
fn q4_posters_that_race_with_a_quit_find_each_message_in_exactly_one_sum() {
    watched(|| {
        for round in rounds(40) {
            let elsewhere = Elsewhere::run(|_| ());
            let [ran, dropped_by_quit] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
            let posters = 4;
            let start = Arc::new(Barrier::new(posters + 1));
            let threads: Vec<_> = (0..posters)
                .map(|_| {
                    let (handle, start) = (elsewhere.handle.clone(), start.clone());
                    let (ran, unrun) = (ran.clone(), dropped_by_quit.clone());
                    thread::spawn(move || {
                        start.wait();
                        post_until_refused(&handle, &ran, &unrun)
                    })
                })
                .collect();
            start.wait();
            until_run(&ran, 50);

            QUITS[round % 2](&elsewhere.handle);

            let sums = threads.into_iter().map(|thread| thread.join().unwrap());
            let (posted, removed) = sums.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
            let report = elsewhere.join();
            assert_eq!((report.posted, report.removed), (posted, removed));
            assert_eq!(report.run, ran.load(Ordering::Relaxed));
            assert_eq!(report.posted, report.run + report.removed + report.dropped);
            // Each refused closure went too, and each poster had one.
            let without_run = report.removed + report.dropped + posters as u64;
            assert_eq!(dropped_by_quit.load(Ordering::Relaxed), without_run);
        }
    });
}

fn until_run(ran: &AtomicU64, times: u64) {
    while ran.load(Ordering::Relaxed) < times {
        thread::yield_now();
    }
}

/// Counts its end: as run if it was told so, and otherwise as dropped without.
struct Counted {
    ran: Arc<AtomicU64>,
    unrun: Arc<AtomicU64>,
    has_run: bool,
}

impl Counted {
    fn run(mut self) {
        self.has_run = true;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = if self.has_run { &self.ran } else { &self.unrun };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Posts, and cancels every third, until it is refused. How many were accepted, and how many of them cancelled.
fn post_until_refused(handle: &LooperHandle, ran: &Arc<AtomicU64>, unrun: &Arc<AtomicU64>) -> (u64, u64) {
    let (mut accepted, mut cancelled) = (0, 0);
    loop {
        let counted = Counted { ran: ran.clone(), unrun: unrun.clone(), has_run: false };
        let delay = Duration::from_micros(accepted % 4 * 50);
        match handle.post_delayed(delay, move |_| counted.run()) {
            Ok(posted) => {
                accepted += 1;
                cancelled += u64::from(accepted % 3 == 0 && posted.cancel());
                thread::yield_now();
            }
            Err(_) => return (accepted, cancelled),
        }
    }
}

/// C79: ten million. A debug build, which takes microseconds for each, has fewer, though many times what a recursion of
/// that depth could do on this stack.
#[test]
fn x4_very_many_queued_messages_are_dropped_on_a_small_stack() {
    let count = if cfg!(debug_assertions) { 40_000 } else { 5_000_000 };
    let by_quit: fn(Looper) = |looper| {
        looper.quit();
        looper.run().unwrap();
    };
    for end in [by_quit, drop] {
        watched(move || {
            let small = thread::Builder::new().stack_size(64 * 1024);
            let thread = small.spawn(move || {
                let looper = Looper::new().unwrap();
                let handle = looper.handle();
                for _ in 0..count {
                    handle.post(|_| ()).unwrap();
                    looper.post_delayed(HOUR, |_| ()).unwrap();
                }
                assert_eq!(looper.len(), 2 * count);

                end(looper);

                assert_eq!(handle.message_counts().dropped, 2 * count as u64);
            });
            thread.unwrap().join().unwrap();
        });
    }
}

/// Posts another of its kind when it is dropped, until the chain ends.
struct Chain {
    left: u32,
    handle: LooperHandle,
    refused: Arc<AtomicU64>,
}

impl Drop for Chain {
    fn drop(&mut self) {
        if self.left > 0 {
            let next = Chain { left: self.left - 1, handle: self.handle.clone(), refused: self.refused.clone() };
            if self.handle.post(move |_| drop(next)).is_err() {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// C59.
#[test]
fn x4_a_payload_whose_drop_posts_again_is_refused_once_the_looper_has_quit() {
    watched(|| {
        let ends: [fn(Looper); 3] = [
            |looper| {
                looper.quit();
                looper.run().unwrap();
            },
            |looper| {
                looper.quit_safely();
                looper.run().unwrap();
            },
            drop,
        ];
        for end in ends {
            let looper = Looper::new().unwrap();
            let handle = looper.handle();
            let refused = Arc::new(AtomicU64::new(0));
            for _ in 0..2 {
                let [own, remote] =
                    [(); 2].map(|()| Chain { left: 50, handle: handle.clone(), refused: refused.clone() });
                looper.post_delayed(HOUR, move |_| drop(own)).unwrap();
                handle.post_delayed(HOUR, move |_| drop(remote)).unwrap();
            }

            end(looper);

            assert_eq!(refused.load(Ordering::Relaxed), 4 * 50);
            assert_report(handle.message_counts(), 4, 0, 0, 4);
        }
    });
}

#[test]
fn x4_a_payload_whose_drop_posts_again_runs_on_in_a_looper_that_lives() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let refused = Arc::new(AtomicU64::new(0));
        let chain = Chain { left: 9, handle: looper.handle(), refused: refused.clone() };
        let posted = looper.post_delayed(HOUR, move |_| drop(chain)).unwrap();

        assert!(posted.cancel());

        assert_eq!(looper.len(), 1);
        assert_eq!(looper.poll_all(Duration::ZERO).unwrap().messages, 9);
        assert_eq!(refused.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn q1_run_returns_the_report_of_all_that_was_since_the_looper_was_made() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let runs = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let runs = runs.clone();
            looper.post(move |_| runs.set(runs.get() + 1)).unwrap();
        }
        looper.poll_once(None).unwrap();
        looper.post(Looper::quit).unwrap();
        looper.post_delayed(HOUR, |_| ()).unwrap();

        let report = looper.run().unwrap();

        assert_report(report, 5, 4, 0, 1);
        assert_eq!(runs.get(), 3);
        assert_eq!(looper.message_counts(), report);
        assert_eq!(looper.run().unwrap(), report);
    });
}
