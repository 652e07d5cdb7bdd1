//! Predicates on a handler's messages while other threads run, remove and look at the same ones.
//!
//! Holds R1, R6.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper, Token, testing::TestLooper};

use crate::support::{
    Elsewhere, HOUR, give_way,
    handlers::{assert_report, elsewhere, keeper, send_each, told_many},
    ms,
    rounds::rounds,
    until_polling, watched,
};

/// No lock is held: what the other thread does is done before the predicate returns.
#[test]
fn r6_a_predicate_may_wait_for_a_thread_that_sends_to_and_removes_from_and_asks_the_same_handler() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let (handler, kept) = keeper(&looper);
        let token = Token::new();
        for number in 1..=4 {
            handler.message(number).what(number).token(token).send().unwrap();
        }

        let mut seen = Vec::new();
        let removed = handler.remove_if(|number| {
            seen.push(*number);
            elsewhere(|| {
                handler.message(number + 10).what(10).send().unwrap();
                handler.message(number + 20).what(20).send_at_front().unwrap();
                assert!(handler.has(*number) && handler.has(token) && handler.len() >= 3);
                assert_eq!(handler.remove(20), 1);
                // The one behind.
                assert_eq!(handler.remove(number + 1), 1);
                assert_eq!(handler.remove((10, token)), 0);
                let clone = handler.clone().asynchronous();
                assert!(clone.send_delayed(HOUR, 0).unwrap().cancel());
            });
            *number == 3
        });

        assert_eq!((seen, removed), (vec![1, 3], 1));
        looper.run_until_idle();
        assert_eq!(kept.take(), [1, 11, 13]);
    });
}

/// The looper sleeps before the message that is looked at, serves fds, and gets up when the predicate has answered.
#[test]
fn r6_the_looper_serves_fds_while_the_next_message_is_looked_at_and_goes_on_after_that() {
    watched(|| {
        for (answer, after) in [(true, vec![2, 3]), (false, vec![1, 2, 3])] {
            let looper = Looper::new().unwrap();
            let handle = looper.handle();
            let (handler, kept) = keeper(&looper);
            send_each(&handler, [1, 2, 3]);
            let (near, mut far) = UnixStream::pair().unwrap();
            let (served, is_served) = mpsc::channel();
            let callback = move |_: &Looper, _: &mut UnixStream, _| {
                served.send(()).unwrap();
                FdNext::Remove
            };
            looper.add_fd(near, Interest::INPUT, callback).unwrap();
            let (looks, is_looked_at) = mpsc::channel();
            let in_predicate = handler.clone();
            let remover = thread::spawn(move || {
                handler.remove_if(|number| {
                    if *number != 1 {
                        return false;
                    }
                    // What is looked at already is left out, and stays as it is.
                    assert!(!in_predicate.has_if(|number| *number == 1));
                    assert_eq!(in_predicate.remove_if(|number| *number == 1), 0);
                    looks.send(()).unwrap();
                    until_polling(&handle);
                    far.write_all(b"x").unwrap();
                    is_served.recv().unwrap();
                    until_polling(&handle);
                    answer
                })
            });
            is_looked_at.recv().unwrap();

            let turn = looper.poll_once(None).unwrap();
            assert_eq!((turn.messages, turn.fds), (0, 1));
            let mut ran = 0;
            while ran < after.len() {
                let turn = looper.poll_once(None).unwrap();
                assert!(!turn.woken, "it was nobody's wake");
                ran += turn.messages;
            }

            assert_eq!(remover.join().unwrap(), usize::from(answer));
            assert_eq!(kept.take(), after);
        }
    });
}

/// Only what stands behind it waits for the answer.
#[test]
fn r6_what_stands_before_the_message_that_is_looked_at_runs_meanwhile() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (handler, kept) = keeper(&looper);
        send_each(&handler, [1, 2, 3]);
        let (looks, is_looked_at) = mpsc::channel();
        let (answer, is_answered) = mpsc::channel();
        let remover = thread::spawn(move || {
            handler.remove_if(|number| {
                if *number == 2 {
                    looks.send(()).unwrap();
                    is_answered.recv().unwrap();
                }
                false
            })
        });
        is_looked_at.recv().unwrap();

        assert_eq!(looper.poll_once(ms(0)).unwrap().messages, 1);

        answer.send(()).unwrap();
        assert_eq!(remover.join().unwrap(), 0);
        let mut ran = 0;
        while ran < 2 {
            ran += looper.poll_once(None).unwrap().messages;
        }
        assert_eq!(kept.take(), [1, 2, 3]);
    });
}

/// A looper that waits for the predicate's answer gets up also if there is none.
#[test]
fn r6_a_predicate_that_panics_lets_the_looper_go_on() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let (handler, kept) = keeper(&looper);
        handler.send(1).unwrap();
        let (looks, is_looked_at) = mpsc::channel();
        let remover = thread::spawn(move || {
            handler.remove_if(|_| {
                looks.send(()).unwrap();
                until_polling(&handle);
                panic!("no answer");
            })
        });
        is_looked_at.recv().unwrap();

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        assert!(remover.join().is_err());
        assert_eq!(kept.take(), [1]);
    });
}

/// R1 holds of a message that another thread looks at, too, and then lets be.
#[test]
fn r1_a_removal_by_predicate_passes_over_nothing_that_another_thread_looks_at() {
    watched(|| {
        for _ in rounds(50) {
            let looper = TestLooper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            send_each(&handler, [1, 2]);
            let (looks, is_looked_at) = mpsc::channel();
            let (comes, is_coming) = mpsc::channel();

            let (kept, removed) = thread::scope(|scope| {
                let handler = &handler;
                let keeping = scope.spawn(move || {
                    handler.remove_if(|number| {
                        if *number == 2 {
                            looks.send(()).unwrap();
                            is_coming.recv().unwrap();
                            // The other one comes to this message meanwhile.
                            while handler.len() > 1 {
                                thread::yield_now();
                            }
                            give_way();
                        }
                        false
                    })
                });
                is_looked_at.recv().unwrap();
                let removed = handler.remove_if(|number| {
                    if *number == 1 {
                        comes.send(()).unwrap();
                    }
                    true
                });
                (keeping.join().unwrap(), removed)
            });

            assert_eq!((kept, removed, handler.len()), (0, 2, 0));
        }
    });
}

#[test]
fn r6_threads_that_remove_by_predicate_at_once_remove_each_message_once() {
    const COUNT: usize = 5000;
    watched(|| {
        for runs in [false, true] {
            let (start, ran) = (Arc::new(Barrier::new(4)), Arc::new(AtomicUsize::new(0)));
            let (values, dropped) = told_many(COUNT);
            let elsewhere = Elsewhere::run({
                let start = start.clone();
                move |looper| {
                    looper
                        .post(move |_| {
                            start.wait();
                        })
                        .unwrap();
                }
            });
            let count = ran.clone();
            let handler = elsewhere.handle.handler(move |_, _| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            let handler = handler.unwrap();
            let delay = if runs { Duration::ZERO } else { HOUR };
            for value in values {
                handler.send_delayed(delay, value).unwrap();
            }

            let removers = [0, 1, 2].map(|_| {
                let (handler, start) = (handler.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    let mut asked = 0;
                    let removed = handler.remove_if(|_| {
                        asked += 1;
                        true
                    });
                    assert!(asked >= removed);
                    removed
                })
            });
            let removed: usize = removers.map(|remover| remover.join().unwrap()).iter().sum();
            elsewhere.handle.quit_safely();
            let report = elsewhere.join();

            let ran = ran.load(Ordering::Relaxed);
            assert_report(report, COUNT as u64 + 1, ran as u64 + 1, removed as u64, 0);
            assert_eq!(dropped.try_iter().count(), COUNT);
            assert!(runs || ran == 0);
        }
    });
}

/// Two that wait for each other's message would wait for ever.
#[test]
fn r6_a_removal_inside_a_predicate_does_not_wait_for_what_another_thread_looks_at() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let (first, kept_first) = keeper(&looper);
        let (second, kept_second) = keeper(&looper);
        first.send(1).unwrap();
        second.send(2).unwrap();
        let (looks, is_looked_at) = mpsc::channel();
        let (goes_on, may_go_on) = mpsc::channel::<()>();
        let theirs = first.clone();
        let other = thread::spawn(move || {
            theirs.remove_if(|_| {
                looks.send(()).unwrap();
                may_go_on.recv().unwrap();
                false
            })
        });
        is_looked_at.recv().unwrap();

        let removed = second.remove_if(|_| {
            assert_eq!(first.remove_if(|_| true), 0, "it is looked at already");
            false
        });

        goes_on.send(()).unwrap();
        assert_eq!((removed, other.join().unwrap()), (0, 0));
        looper.run_until_idle();
        assert_eq!((kept_first.take(), kept_second.take()), (vec![1], vec![2]));
    });
}
