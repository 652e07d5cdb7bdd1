//! Predicates on a handler's messages: what they look at, and what they may do meanwhile.
//!
//! Holds R6, S1.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::mpsc,
    thread,
    time::Duration,
};

use alooper::{CallError, Handler, Looper, LooperHandle, Message, Posted, RejectReason, Token, testing::TestLooper};

use crate::support::{
    Elsewhere, HOUR,
    handlers::{WHERES, Where, assert_report, elsewhere, keeper, send_each, told, told_many},
    watched,
};

#[test]
fn r6_a_predicate_looks_at_what_is_pending_when_it_is_asked_once_and_in_order() {
    let looper = TestLooper::new().unwrap();
    let (handler, kept) = keeper(&looper);
    handler.send_delayed(HOUR, 5).unwrap();
    handler.send(3).unwrap();
    elsewhere(|| handler.send(4).unwrap());
    handler.send_at(looper.now() - HOUR, 2).unwrap();
    handler.send_at_front(1).unwrap();

    let mut seen = Vec::new();
    let removed = handler.remove_if(|number| {
        seen.push(*number);
        // Ahead of, between and behind those that it looks at.
        handler.send_at_front(10 + number).unwrap();
        handler.send(20 + number).unwrap();
        handler.send_delayed(2 * HOUR, 30 + number).unwrap();
        number % 2 == 1
    });

    assert_eq!((seen, removed, handler.len()), (vec![1, 2, 3, 4, 5], 3, 2 + 15));
    looper.run_to_end();
    let expected = [15, 14, 13, 12, 11, 2, 4, 21, 22, 23, 24, 25, 31, 32, 33, 34, 35];
    assert_eq!(kept.take(), expected);
}

#[test]
fn r6_has_if_removes_nothing_and_stops_at_the_first() {
    let looper = TestLooper::new().unwrap();
    let (handler, kept) = keeper(&looper);
    send_each(&handler, [1, 2, 3]);

    let mut asked = 0;
    let found = handler.has_if(|number| {
        asked += 1;
        *number == 2
    });

    assert_eq!((found, asked, handler.has_if(|number| *number == 4), handler.len()), (true, 2, false, 3));
    looper.run_until_idle();
    assert_eq!(kept.take(), [1, 2, 3]);
}

/// What a predicate does to the handler while it looks at the first of three messages, and how many it removes so.
type Act = fn(&Handler<u32>, &Posted<u32>) -> usize;

#[test]
fn r6_each_message_that_a_predicate_itself_removes_counts_once() {
    // Then how often it is asked, whatever it answers.
    let acts: [(&str, Act, usize); 6] = [
        ("nothing", |_, _| 0, 3),
        ("cancels the one it looks at", |_, posted| usize::from(posted.cancel()), 3),
        ("removes all", |handler, _| handler.clear(), 1),
        ("removes what all are", |handler, _| handler.remove(7), 1),
        ("removes all by predicate", |handler, _| handler.remove_if(|_| true), 1),
        ("removes another by predicate", |handler, _| handler.remove_if(|number| *number == 2), 2),
    ];
    watched(move || {
        for (name, act, asks) in acts {
            for (answer, inner, outer) in [true, false]
                .into_iter()
                .flat_map(|answer| WHERES.into_iter().flat_map(move |inner| WHERES.map(|outer| (answer, inner, outer))))
            {
                if matches!(inner, Where::Elsewhere) && name.ends_with("by predicate") {
                    // See `remove_if`: two threads look at one message in turn, so that this would wait for itself.
                    continue;
                }
                let looper = TestLooper::new().unwrap();
                let (handler, _kept) = keeper(&looper);
                let first = handler.message(1).what(7).send().unwrap();
                for number in [2, 3] {
                    handler.message(number).what(7).send().unwrap();
                }

                let (mut asked, mut by_act) = (0, 0);
                let removed = outer.ask(|| {
                    handler.remove_if(|number| {
                        asked += 1;
                        if *number == 1 {
                            by_act = inner.ask(|| act(&handler, &first));
                        }
                        answer
                    })
                });

                let ended = looper.message_counts().removed as usize;
                let context = format!("{name}, then {answer}, {inner:?} in {outer:?}");
                assert_eq!((asked, removed + by_act, 3 - handler.len()), (asks, ended, ended), "{context}");
                assert_eq!(looper.run_until_idle(), 3 - ended, "{context}");
            }
        }
    });
}

#[test]
fn r6_in_a_predicate_the_message_it_looks_at_is_pending() {
    watched(|| {
        for (inner, outer) in WHERES.into_iter().flat_map(|inner| WHERES.map(|outer| (inner, outer))) {
            let looper = TestLooper::new().unwrap();
            let (handler, kept) = keeper(&looper);
            let token = Token::new();
            let posted = handler.message("looked at").what(7).token(token).send().unwrap();

            let mut asked = 0;
            let removed = outer.ask(|| {
                handler.remove_if(|_| {
                    inner.ask(|| {
                        assert!(posted.is_pending() && handler.has(7) && handler.has(token));
                        assert!(handler.has((7, token)));
                        assert_eq!((handler.len(), handler.looper().len()), (1, 1));
                    });
                    asked += 1;
                    false
                })
            });

            assert_eq!((asked, removed, handler.len()), (1, 0, 1));
            looper.run_until_idle();
            assert_eq!(kept.take(), ["looked at"]);
        }
    });
}

/// R6: answers or errors, and afterwards everything works.
#[test]
fn r6_polling_and_calls_in_a_predicate_are_errors_and_everything_else_works() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let other = Looper::new().unwrap();
        let (handler, kept) = keeper(&other);
        for (is_own, handle) in [(false, elsewhere.handle.clone()), (true, other.handle())] {
            handler.send(Message::new(1)).unwrap();

            let mut asked = 0;
            let removed = handler.remove_if(|_| {
                asked += 1;
                assert!(other.poll_once(Duration::ZERO).is_err());
                assert!(other.poll_all(Duration::ZERO).is_err());
                match handle.call(|_| "called") {
                    // S1: on the looper's own thread nobody has to wait.
                    Ok(called) => assert!(is_own && called == "called"),
                    Err(CallError::InPredicate(refused)) => {
                        let closure = refused.into_value().unwrap();
                        assert!(!is_own && closure(&other) == "called");
                    }
                    Err(error) => panic!("{error:?}"),
                }
                assert_eq!(handle.call_timeout(HOUR, |_| ()).is_ok(), is_own);
                assert!(handle.post_delayed(HOUR, |_| ()).unwrap().cancel());
                let more = handle.handler(|_, _: u32| ()).unwrap();
                let pending = more.message(1).what(3).send_delayed(HOUR).unwrap().guard();
                assert!(more.has_if(|number| *number == 1) && more.remove_if(|_| true) == 1);
                assert!(!pending.posted().is_pending());
                handle.wake().unwrap();
                false
            });
            assert_eq!((asked, removed), (1, 0));

            assert_eq!(other.poll_once(None).unwrap().messages, 1);
            assert_eq!(kept.take().len(), 1);
            assert_eq!(handle.call(|_| 7).unwrap(), 7);
        }
        elsewhere.handle.quit();
        elsewhere.join();
    });
}

#[test]
fn r6_quitting_in_a_predicate_drops_the_messages_once_and_ends_the_looking() {
    watched(|| {
        let quits = [LooperHandle::quit, LooperHandle::quit_safely];
        for (quit, place) in quits.into_iter().flat_map(|quit| WHERES.map(|place| (quit, place))) {
            for answer in [true, false] {
                let looper = Looper::new().unwrap();
                let (values, dropped) = told_many(3);
                let (handler, kept) = keeper(&looper);
                for value in values {
                    handler.send_delayed(HOUR, value).unwrap();
                }
                let mut asked = 0;
                let removed = place.ask(|| {
                    handler.remove_if(|_| {
                        asked += 1;
                        quit(&handler.looper());
                        assert_eq!((handler.len(), handler.looper().len()), (0, 0));
                        answer
                    })
                });
                let report = looper.run().unwrap();

                assert_eq!((asked, removed), (1, 0), "quit comes first: {answer}, {place:?}");
                assert_report(report, 3, 0, 0, 3);
                let home = thread::current().id();
                let mut drops = dropped.try_iter().collect::<Vec<_>>();
                assert_eq!((drops.len(), kept.take().len()), (3, 0));
                drops.retain(|thread| *thread != home);
                assert_eq!(drops, [], "dropped elsewhere: {answer}, {place:?}");
            }
        }
    });
}

#[test]
fn r6_a_predicate_may_drop_the_looper() {
    watched(|| {
        for answer in [true, false] {
            let looper = Looper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            send_each(&handler, [1, 2, 3]);
            let handle = looper.handle();
            let mut looper = Some(looper);

            let mut asked = 0;
            let removed = handler.remove_if(|_| {
                asked += 1;
                drop(looper.take());
                assert!(handler.is_empty());
                answer
            });

            assert_eq!((asked, removed), (1, 0));
            assert_report(handle.message_counts(), 3, 0, 0, 3);
            let rejected = handler.send(4).unwrap_err();
            assert_eq!((rejected.reason(), rejected.into_value()), (RejectReason::Dropped, Some(4)));
        }
    });
}

/// There is no looper any more that could drop it; it must not stay until the last front goes.
#[test]
fn r6_what_is_looked_at_when_its_looper_is_dropped_is_dropped_when_the_predicate_has_returned() {
    watched(|| {
        for place in WHERES {
            let looper = Looper::new().unwrap();
            let (values, dropped) = told_many(3);
            let (handler, _kept) = keeper(&looper);
            send_each(&handler, values);
            let (looks, is_looked_at) = mpsc::channel();
            let (gone, is_gone) = mpsc::channel();

            match place {
                Where::Home => {
                    let mut looper = Some(looper);
                    handler.remove_if(|_| {
                        drop(looper.take());
                        true
                    });
                }
                Where::Elsewhere => thread::scope(|scope| {
                    let handler = &handler;
                    let remover = scope.spawn(move || {
                        handler.remove_if(|_| {
                            looks.send(()).unwrap();
                            is_gone.recv().unwrap();
                            true
                        })
                    });
                    is_looked_at.recv().unwrap();
                    drop(looper);
                    gone.send(()).unwrap();
                    assert_eq!(remover.join().unwrap(), 0);
                }),
            }

            assert_eq!(dropped.try_iter().count(), 3, "{place:?}, with a front left");
        }
    });
}

/// The temporary front is the last one then.
#[test]
fn r6_a_predicate_may_drop_the_last_other_front() {
    watched(|| {
        for place in WHERES {
            let looper = TestLooper::new().unwrap();
            let (own, dropped) = told();
            let handler = Handler::new(&looper, move |_, _: u32| own.hold());
            send_each(&handler, [1, 2, 3]);
            let weak = handler.downgrade();

            let removed = place.ask(|| {
                let mut front = Some(handler);
                weak.upgrade().unwrap().remove_if(|_| {
                    drop(front.take());
                    true
                })
            });
            looper.run_until_idle();

            assert_eq!((removed, weak.upgrade().is_none()), (3, true));
            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id()], "{place:?}");
        }
    });
}

#[test]
fn r6_a_panic_of_a_predicate_leaves_the_message_and_what_follows() {
    watched(|| {
        for place in WHERES {
            let looper = TestLooper::new().unwrap();
            let (handler, kept) = keeper(&looper);
            send_each(&handler, [1, 2, 3, 4]);
            let explode = |number: &u32| {
                assert!(*number != 3, "three");
                number % 2 == 1
            };

            let panicked = place.ask(|| {
                let remove = || handler.remove_if(explode);
                panic::catch_unwind(AssertUnwindSafe(remove)).unwrap_err().downcast_ref::<&str>().copied()
            });

            assert_eq!((panicked, handler.len()), (Some("three"), 3), "{place:?}");
            assert!(panic::catch_unwind(AssertUnwindSafe(|| handler.has_if(explode))).is_err());
            assert!(handler.looper().call(|_| ()).is_ok(), "it is in no predicate any more");
            assert_eq!(handler.remove_if(|number| *number == 4), 1);
            looper.run_until_idle();
            assert_eq!(kept.take(), [2, 3]);
            assert_report(looper.message_counts(), 4, 2, 2, 0);
        }
    });
}
