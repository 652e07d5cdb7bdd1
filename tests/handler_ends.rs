//! How handlers and their messages end: quitting, dropped loopers, ended threads, dropped fronts.
//!
//! Holds H2, L4, M6, M9, M10, Q1, Q2, Q4, X3, X4, C53, C57, C58, C59, C60, C61, C62.

mod support;
#[path = "support/handlers.rs"]
mod handlers;

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{Handler, Looper, LooperHandle, Reason, Rejected, Token, WeakHandler, testing::TestLooper};
use handlers::{HOUR, Meddler, Parcel, Told, assert_report, elsewhere, keeper, told, told_many};
use support::{Elsewhere, ms, until_polling, watched};

/// Both ways to quit, for what holds of both.
const QUITS: [fn(&LooperHandle); 2] = [LooperHandle::quit, LooperHandle::quit_safely];

/// Asserts that nothing is pending, however it is asked.
#[track_caller]
fn assert_nothing_pending<M: 'static>(handler: &Handler<M>, what: i32, token: Token) {
    assert_eq!((handler.len(), handler.is_empty(), handler.looper().len()), (0, true, 0));
    assert!(!handler.has_what(what) && !handler.has_token(token) && !handler.has_what_with_token(what, token));
    assert!(!handler.has_if(|_| panic!("there is nothing to look at")));
    assert_eq!(handler.remove_if(|_| panic!("there is nothing to look at")), 0);
    assert_eq!((handler.remove_what(what), handler.remove_token(token), handler.remove()), (0, 0, 0));
}

/// Q4 and C58: asked at home and from elsewhere, as soon as `quit` has returned.
#[test]
fn q1_quit_drops_all_messages_of_handlers_on_the_loopers_thread_and_queries_read_zero_at_once() {
    watched(|| {
        for by_another in [false, true] {
            let looper = Looper::new().unwrap();
            let (values, dropped) = told_many(4);
            let (handler, kept) = keeper(&looper);
            let token = Token::new();
            for (value, delay) in values.into_iter().zip([Duration::ZERO, HOUR, Duration::ZERO, Duration::MAX]) {
                handler.message(value).what(1).token(token).send_delayed(delay).unwrap();
            }

            let quit = || {
                handler.looper().quit();
                assert_nothing_pending(&handler, 1, token);
            };
            if by_another {
                elsewhere(quit)
            } else {
                quit()
            }
            let report = looper.run().unwrap();

            assert_report(report, 4, 0, 0, 4);
            assert_eq!(kept.take().len(), 0);
            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id(); 4]);
        }
    });
}

/// C58.
#[test]
fn q1_quit_safely_handles_what_is_due_in_order_and_drops_the_rest() {
    let looper = TestLooper::new().unwrap();
    let list: Rc<RefCell<Vec<i32>>> = Rc::default();
    let kept = list.clone();
    let handler = Handler::new(&looper, move |_, number| kept.borrow_mut().push(number));
    handler.send_delayed(HOUR, 100).unwrap();
    handler.send_delayed(Duration::from_nanos(1), 101).unwrap();
    handler.send(3).unwrap();
    let kept = list.clone();
    looper.post(move |_| kept.borrow_mut().push(4)).unwrap();
    elsewhere(|| handler.send(5).unwrap());
    handler.send_at(looper.now() - HOUR, 2).unwrap();
    handler.send_at_front(1).unwrap();

    looper.quit_safely();

    assert_eq!(handler.len(), 4);
    assert_report(looper.run().unwrap(), 7, 5, 0, 2);
    assert_eq!(*list.borrow(), [1, 2, 3, 4, 5]);
}

#[test]
fn q1_while_quit_safely_drains_handlers_remove_and_are_refused() {
    let looper = Looper::new().unwrap();
    let own = Rc::new(RefCell::new(None::<Handler<u32>>));
    let front = own.clone();
    let handler = Handler::new(&looper, move |_, number| {
        assert_eq!(number, 1, "removed");
        let handler = front.take().unwrap();
        let rejected = handler.send_at_front(9).unwrap_err();
        assert_eq!((rejected.value, rejected.reason), (9, Reason::Quit));
        assert_eq!((handler.len(), handler.remove_what(7), handler.len()), (2, 1, 1));
        assert_eq!(elsewhere(|| handler.remove_if(|number| *number == 3)), 1);
    });
    handler.send(1).unwrap();
    handler.message(2).what(7).send().unwrap();
    handler.send(3).unwrap();
    own.replace(Some(handler));

    looper.quit_safely();

    assert_report(looper.run().unwrap(), 3, 1, 2, 0);
}

#[test]
fn q2_l4_each_way_to_send_gives_a_refused_message_back() {
    type Send = fn(&Handler<Box<u32>>, Box<u32>) -> Option<Rejected<Box<u32>>>;
    let ways: [Send; 8] = [
        |handler, message| handler.send(message).err(),
        |handler, message| handler.send_delayed(HOUR, message).err(),
        |handler, message| handler.send_at(handler.looper().now(), message).err(),
        |handler, message| handler.send_at_front(message).err(),
        |handler, message| handler.message(message).what(1).token(Token::new()).send().err(),
        |handler, message| handler.message(message).asynchronous().send_delayed(HOUR).err(),
        |handler, message| handler.message(message).send_at(handler.looper().now()).err(),
        |handler, message| handler.asynchronous().message(message).send_at_front().err(),
    ];
    for quit in QUITS {
        let looper = Looper::new().unwrap();
        let (handler, _kept) = keeper(&looper);
        let assert_refused = |reason| {
            for send in ways {
                let rejected = send(&handler, Box::new(7)).unwrap();
                assert_eq!((*rejected.value, rejected.reason), (7, reason));
            }
        };

        quit(&looper.handle());
        assert_refused(Reason::Quit);
        elsewhere(|| assert_refused(Reason::Quit));
        looper.run().unwrap();
        assert_refused(Reason::Quit);
        drop(looper);
        assert_refused(Reason::Dropped);
        elsewhere(|| assert_refused(Reason::Dropped));

        assert_report(handler.looper().exit_report(), 0, 0, 0, 0);
    }
}

/// Also of a handler that was made elsewhere and that the looper has not seen in any turn.
#[test]
fn l4_a_dropped_looper_drops_closures_and_messages_and_leaves_fronts_that_are_empty() {
    watched(|| {
        for made_at_home in [true, false] {
            let looper = Looper::new().unwrap();
            let (values, dropped) = told_many(3);
            let (own, closure_dropped) = told();
            let callback = move |_: &Looper, _: Told| own.hold();
            let handle = looper.handle();
            let handler = match made_at_home {
                true => Handler::new(&looper, callback),
                false => elsewhere(move || handle.handler(callback).unwrap()),
            };
            let token = Token::new();
            for value in values {
                handler.message(value).what(1).token(token).send().unwrap();
            }
            let posted = handler.send_delayed(HOUR, told().0).unwrap();

            drop(looper);

            let home = thread::current().id();
            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [home; 3], "made at home: {made_at_home}");
            assert_eq!(closure_dropped.try_iter().collect::<Vec<_>>(), [home], "dropped with the looper");
            assert_nothing_pending(&handler, 1, token);
            elsewhere(|| assert_nothing_pending(&handler, 1, token));
            assert!(!posted.is_pending() && !posted.cancel());
            assert!(handler.downgrade().upgrade().is_some(), "there is a front");
            assert_report(handler.looper().exit_report(), 4, 0, 0, 4);
        }
    });
}

#[test]
fn l4_a_thread_that_ends_takes_its_handlers_and_messages_with_it() {
    watched(|| {
        let (values, dropped) = told_many(2);
        let (own, closure_dropped) = told();

        let ending = thread::spawn(move || {
            let looper = Looper::prepare().unwrap();
            // Not `Send`: it has to be dropped here.
            let own = Rc::new(own);
            let handler = Handler::new(&looper, move |_, _: Told| own.hold());
            for value in values {
                handler.send(value).unwrap();
            }
            handler
        });
        let there = ending.thread().id();
        let handler = ending.join().unwrap();

        assert_eq!(dropped.iter().take(2).collect::<Vec<_>>(), [there; 2]);
        assert_eq!(closure_dropped.recv(), Ok(there));
        assert_eq!(handler.send(told().0).unwrap_err().reason, Reason::Dropped);
        assert_nothing_pending(&handler, 0, Token::new());
    });
}

/// M10: nothing but the front leaves the looper's thread.
#[test]
fn h2_a_last_front_that_is_dropped_elsewhere_leaves_the_closure_to_the_sleeping_looper() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (own, dropped) = told();
        let own = Rc::new(own);
        let handler = Handler::new(&looper, move |_, _: u32| own.hold());
        let handle = looper.handle();
        let home = thread::current().id();
        let last = thread::spawn(move || {
            until_polling(&handle);
            drop(handler);
            // Nothing else wakes the looper for it.
            assert_eq!(dropped.recv(), Ok(home));
            handle.post(|_| ()).unwrap();
            dropped
        });

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.woken), (1, false));
        assert_eq!(last.join().unwrap().try_iter().count(), 0);
    });
}

#[test]
fn h2_a_last_front_that_is_dropped_elsewhere_leaves_what_is_pending_to_be_handled() {
    watched(|| {
        for made_at_home in [true, false] {
            let looper = TestLooper::new().unwrap();
            let (own, dropped) = told();
            let (sender, handled) = mpsc::channel();
            let callback = move |_: &Looper, number: u32| {
                own.hold();
                sender.send(number).unwrap();
            };
            let handle = looper.handle();
            let handler = match made_at_home {
                true => Handler::new(&looper, callback),
                false => elsewhere(move || handle.handler(callback).unwrap()),
            };
            handler.send_delayed(HOUR, 2).unwrap();

            elsewhere(|| {
                handler.send(1).unwrap();
                drop(handler);
            });
            assert_eq!((looper.idle(), dropped.try_iter().count()), (1, 0));
            assert_eq!(looper.advance(HOUR), 1);

            assert_eq!(handled.try_iter().collect::<Vec<_>>(), [1, 2]);
            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id()]);
        }
    });
}

/// What becomes of a looper and a front.
type End = fn(Looper, Handler<u32>);

#[test]
fn h2_a_closure_is_dropped_once_and_at_home_whatever_ends_it() {
    let ends: [(&str, End); 11] = [
        ("the front at home", |looper, handler| {
            drop(handler);
            looper.poll_once(Duration::ZERO).unwrap();
        }),
        ("the front elsewhere", |looper, handler| {
            elsewhere(|| drop(handler));
            looper.poll_once(Duration::ZERO).unwrap();
        }),
        ("the front elsewhere, and then the looper without a turn", |looper, handler| {
            elsewhere(|| drop(handler));
            drop(looper);
        }),
        ("the front and then the looper", |looper, handler| {
            drop(handler);
            drop(looper);
        }),
        ("the looper and then the front", |looper, handler| {
            drop(looper);
            elsewhere(|| drop(handler));
        }),
        ("the last message", |looper, handler| {
            handler.send(1).unwrap();
            drop(handler);
            looper.poll_once(None).unwrap();
        }),
        ("the last message removed elsewhere", |looper, handler| {
            let posted = handler.send_delayed(HOUR, 1).unwrap();
            drop(handler);
            assert!(elsewhere(|| posted.cancel()));
            looper.poll_once(Duration::ZERO).unwrap();
        }),
        ("quit with a front", |looper, handler| {
            handler.send(1).unwrap();
            looper.quit();
            looper.run().unwrap();
            elsewhere(|| drop(handler));
        }),
        ("quit without a front", |looper, handler| {
            handler.send(1).unwrap();
            drop(handler);
            elsewhere({
                let handle = looper.handle();
                move || handle.quit()
            });
            looper.run().unwrap();
        }),
        ("quit safely without a front", |looper, handler| {
            handler.send(1).unwrap();
            handler.send_delayed(HOUR, 2).unwrap();
            drop(handler);
            looper.quit_safely();
            assert_report(looper.run().unwrap(), 2, 1, 0, 1);
        }),
        ("the looper with messages and no front", |looper, handler| {
            handler.send(1).unwrap();
            elsewhere(|| handler.send_delayed(HOUR, 2).unwrap());
            drop(handler);
            drop(looper);
        }),
    ];
    watched(move || {
        for (name, end) in ends {
            for made_at_home in [true, false] {
                let looper = Looper::new().unwrap();
                let (own, dropped) = told();
                let callback = move |_: &Looper, _: u32| own.hold();
                let handle = looper.handle();
                let handler = match made_at_home {
                    true => Handler::new(&looper, callback),
                    false => elsewhere(move || handle.handler(callback).unwrap()),
                };

                end(looper, handler);

                let drops = dropped.try_iter().collect::<Vec<_>>();
                assert_eq!(drops, [thread::current().id()], "{name}, made at home: {made_at_home}");
            }
        }
    });
}

#[test]
fn h2_a_closure_that_holds_its_own_front_lives_as_long_as_the_looper_and_a_weak_one_does_not() {
    let looper = TestLooper::new().unwrap();
    let (strong, strong_dropped) = told();
    let (weak, weak_dropped) = told();
    let own = Rc::new(RefCell::new(None::<Handler<u32>>));
    let front = own.clone();
    let holding = Handler::new(&looper, move |_, _| {
        strong.hold();
        assert!(front.borrow().is_some());
    });
    let own_weak = Rc::new(RefCell::new(None::<WeakHandler<u32>>));
    let weak_front = own_weak.clone();
    let released = Handler::new(&looper, move |_, number| {
        weak.hold();
        let last = weak_front.borrow().as_ref().unwrap().upgrade().is_none();
        assert_eq!(number, u32::from(last));
    });
    own_weak.replace(Some(released.downgrade()));
    released.send(0).unwrap();
    looper.idle();
    released.send(1).unwrap();
    own.replace(Some(holding.clone()));
    drop((holding, released, own));

    assert_eq!(looper.idle(), 1);
    assert_eq!((strong_dropped.try_iter().count(), weak_dropped.try_iter().count()), (0, 1));
    drop(looper);

    assert_eq!((strong_dropped.try_iter().count(), weak_dropped.try_iter().count()), (1, 0));
}

#[test]
fn h2_a_weak_front_outlives_the_looper_and_upgrades_while_a_front_is_left() {
    let looper = Looper::new().unwrap();
    let (handler, _kept) = keeper::<u32>(&looper);
    let weak = handler.downgrade();
    drop(looper);

    let upgraded = weak.upgrade().unwrap();
    assert_eq!(upgraded.send(7).unwrap_err().reason, Reason::Dropped);
    drop((upgraded, handler));

    assert!(weak.upgrade().is_none());
}

/// What gives a parcel to a handler, and ends its stay there.
type EndParcel = fn(&Looper, &Handler<Parcel>, Meddler);

/// C59.
#[test]
fn m9_messages_whose_drop_uses_everything_are_dropped_with_nothing_held() {
    let ends: [(&str, EndParcel); 5] = [
        ("handled", |looper, handler, meddler| {
            handler.send(Some(meddler)).unwrap();
            looper.poll_once(None).unwrap();
        }),
        ("quit", |looper, handler, meddler| {
            handler.send(Some(meddler)).unwrap();
            looper.quit();
            looper.run().unwrap();
        }),
        ("quit elsewhere", |looper, handler, meddler| {
            elsewhere(|| {
                handler.send_delayed(HOUR, Some(meddler)).unwrap();
                handler.looper().quit();
            });
            looper.run().unwrap();
        }),
        ("quit safely", |looper, handler, meddler| {
            handler.send_delayed(HOUR, Some(meddler)).unwrap();
            looper.quit_safely();
            looper.run().unwrap();
        }),
        ("refused", |looper, handler, meddler| {
            looper.quit();
            drop(handler.send(Some(meddler)).unwrap_err());
        }),
    ];
    watched(move || {
        for (name, end) in ends {
            let looper = Looper::new().unwrap();
            let handler = Handler::new(&looper, |_, parcel: Parcel| drop(parcel));
            let (meddler, dropped) = Meddler::new(&handler);

            end(&looper, &handler, meddler);

            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id()], "{name}");
            looper.quit();
            let report = looper.run().unwrap();
            assert_eq!(report.posted, report.run + report.removed + report.dropped, "{name}");
        }
    });
}

/// C59: values and closures, of two handlers that use each other.
#[test]
fn m9_what_a_dropped_looper_drops_may_use_it() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let receivers: Vec<_> = (0..2)
            .flat_map(|_| {
                let other = looper.handle().handler(|_, _: Parcel| ()).unwrap();
                let (in_closure, closure_dropped) = Meddler::new(&other);
                let handler = Handler::new(&looper, move |_, parcel: Parcel| drop((&in_closure, parcel)));
                let drops = [Duration::ZERO, HOUR].map(|delay| {
                    let (meddler, dropped) = Meddler::new(&handler);
                    handler.send_delayed(delay, Some(meddler)).unwrap();
                    dropped
                });
                drops.into_iter().chain([closure_dropped])
            })
            .collect();
        let handle = looper.handle();

        drop(looper);

        let home = thread::current().id();
        assert!(receivers.iter().all(|dropped| dropped.try_iter().eq([home])));
        let report = handle.exit_report();
        assert_eq!((report.posted, report.dropped), (10, 10), "the victims, too");
    });
}

#[test]
fn m9_a_closure_whose_drop_uses_everything_is_dropped_with_nothing_held() {
    watched(|| {
        for by_another in [false, true] {
            let looper = TestLooper::new().unwrap();
            let (other, _kept) = keeper::<Parcel>(&looper);
            let (meddler, dropped) = Meddler::new(&other);
            let handler = Handler::new(&looper, move |_, _: Parcel| {
                let _ = &meddler;
            });

            if by_another {
                elsewhere(|| drop(handler))
            } else {
                drop(handler)
            }
            looper.idle();

            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id()]);
            assert!(other.is_empty() && looper.is_empty());
        }
    });
}

/// A message that owns what it is sent to.
enum Owning {
    Front(
        #[expect(dead_code, reason = "is dropped")] Handler<Owning>,
        #[expect(dead_code, reason = "is dropped")] Told,
    ),
}

/// C60.
#[test]
fn m9_a_message_may_own_the_last_front_of_its_own_handler() {
    watched(|| {
        for end in ["handled", "cancelled", "cancelled elsewhere", "quit", "looper dropped"] {
            let looper = Looper::new().unwrap();
            let (value, dropped) = told();
            let (own, closure_dropped) = told();
            let handler = Handler::new(&looper, move |_, message: Owning| {
                own.hold();
                drop(message);
            });
            let posted = handler.clone().send(Owning::Front(handler, value)).unwrap();

            match end {
                "handled" => assert_eq!(looper.poll_once(None).unwrap().messages, 1),
                "cancelled" => assert!(posted.cancel()),
                "cancelled elsewhere" => assert!(elsewhere(|| posted.cancel())),
                "quit" => looper.quit(),
                _ => assert_eq!(end, "looper dropped"),
            }
            if end != "looper dropped" {
                looper.poll_once(Duration::ZERO).unwrap();
            }
            let ended_before = (dropped.try_iter().count(), closure_dropped.try_iter().count());
            drop(looper);
            let ended_with_it = (dropped.try_iter().count(), closure_dropped.try_iter().count());

            let expected = if end == "looper dropped" { ((0, 0), (1, 1)) } else { ((1, 1), (0, 0)) };
            assert_eq!((ended_before, ended_with_it), expected, "{end}");
        }
    });
}

/// C60: such a looper owns itself until it quits.
#[test]
fn m9_a_message_may_own_its_own_looper_or_another_one() {
    watched(|| {
        let looper = Rc::new(Looper::new().unwrap());
        let (handler, _kept) = keeper::<(Rc<Looper>, Told)>(&looper);
        let (value, dropped) = told();
        handler.send_delayed(HOUR, (looper.clone(), value)).unwrap();
        let inner = Rc::new(Looper::new().unwrap());
        let (inner_handler, _kept) = keeper::<Told>(&inner);
        let (inner_value, inner_dropped) = told();
        inner_handler.send(inner_value).unwrap();
        handler.send_delayed(HOUR, (inner, told().0)).unwrap();
        let handle = looper.handle();

        looper.quit();
        looper.run().unwrap();

        assert_eq!((dropped.try_iter().count(), inner_dropped.try_iter().count()), (1, 1));
        assert_eq!(inner_handler.send(told().0).unwrap_err().reason, Reason::Dropped);
        drop(looper);
        assert_report(handle.exit_report(), 2, 0, 0, 2);
    });
}

/// Sends another one of its kind when it is dropped, and counts that it was refused.
struct Again(WeakHandler<Option<Again>>, Arc<AtomicU64>);

impl Drop for Again {
    fn drop(&mut self) {
        if self.0.upgrade().is_some_and(|handler| handler.send(None).is_err()) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// C59.
#[test]
fn x4_what_is_given_up_and_sends_again_is_refused() {
    type End = fn(Looper);
    let ends: [End; 3] = [
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
    watched(move || {
        for end in ends {
            let looper = Looper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            let refused = Arc::new(AtomicU64::new(0));
            for _ in 0..100 {
                handler.send_delayed(HOUR, Some(Again(handler.downgrade(), refused.clone()))).unwrap();
            }

            end(looper);

            assert_eq!(refused.load(Ordering::Relaxed), 100);
            assert_report(handler.looper().exit_report(), 100, 0, 0, 100);
        }
    });
}

/// Many of them, on a thread with a small stack.
#[test]
fn x4_a_hundred_thousand_messages_are_dropped_without_deep_recursion() {
    watched(|| {
        let small = thread::Builder::new().stack_size(64 * 1024);
        let ended = small.spawn(|| {
            let looper = Looper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            for number in 0..100_000_u32 {
                handler.send_delayed(ms(u64::from(number)), Box::new(number)).unwrap();
            }
            assert_eq!(handler.remove_if(|number| **number % 10 == 0), 10_000);
            assert_eq!(handler.remove_what(1), 0);
            drop(looper);
            handler.looper().exit_report()
        });

        let report = ended.unwrap().join().unwrap();
        assert_eq!((report.posted, report.removed, report.run + report.dropped), (100_000, 10_000, 90_000));
    });
}

/// Panics when it is dropped, if it is to.
struct Fragile(bool, #[expect(dead_code, reason = "is dropped")] Told);

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.0, "fragile");
    }
}

/// C61.
#[test]
fn x3_values_and_closures_that_panic_in_drop_do_not_keep_the_others_from_being_dropped() {
    watched(|| {
        for quits in [true, false] {
            let looper = Looper::new().unwrap();
            let (closures, closures_dropped) = told_many(3);
            let (values, values_dropped) = told_many(6);
            let handlers: Vec<Handler<Fragile>> = closures
                .into_iter()
                .zip([true, false, true])
                .map(|(told, is_fragile)| {
                    let own = Fragile(is_fragile, told);
                    Handler::new(&looper, move |_, _| {
                        let _ = &own;
                    })
                })
                .collect();
            for (number, told) in values.into_iter().enumerate() {
                handlers[number % 3].send(Fragile(number % 2 == 0, told)).unwrap();
            }
            let handle = looper.handle();

            if quits {
                looper.quit();
                assert!(panic::catch_unwind(AssertUnwindSafe(|| looper.poll_once(None))).is_err());
                assert_eq!(values_dropped.try_iter().count(), 6);
                assert!(looper.poll_once(None).unwrap().quit);
            }
            assert!(panic::catch_unwind(AssertUnwindSafe(|| drop(looper))).is_err());

            assert_eq!(values_dropped.try_iter().count(), if quits { 0 } else { 6 });
            assert_eq!(closures_dropped.try_iter().count(), 3);
            assert_report(handle.exit_report(), 6, 0, 0, 6);
        }
    });
}

/// C57 and C53: three senders, one of them removes, and somebody quits; each message ends once, and is dropped once.
#[test]
fn m6_q4_each_message_is_refused_or_ends_in_exactly_one_way_while_threads_race_with_a_quit() {
    const EACH: usize = 1000;
    watched(|| {
        for (round, quit) in QUITS.into_iter().cycle().take(20).enumerate() {
            let elsewhere = Elsewhere::run(|_| ());
            let (values, dropped) = told_many(3 * EACH);
            let ran = Arc::new(AtomicU64::new(0));
            let fronts = [ran.clone(), ran.clone()].map(|ran| {
                let handler = elsewhere.handle.handler(move |_, _: Told| {
                    ran.fetch_add(1, Ordering::Relaxed);
                });
                handler.unwrap()
            });
            let start = Arc::new(Barrier::new(4));
            let quitter = thread::spawn({
                let (start, handle) = (start.clone(), elsewhere.handle.clone());
                move || {
                    start.wait();
                    // So that the quit comes at different times.
                    while handle.exit_report().posted < 140 * round as u64 {
                        thread::yield_now();
                    }
                    quit(&handle);
                }
            });

            let mut values = values.into_iter();
            let senders = [0, 1, 2].map(|sender| {
                let values: Vec<Told> = values.by_ref().take(EACH).collect();
                let (fronts, start) = (fronts.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    let (mut accepted, mut removed) = (0, 0);
                    for (number, value) in values.into_iter().enumerate() {
                        let front = &fronts[number % 2];
                        let delay = if number % 5 == 0 { HOUR } else { Duration::ZERO };
                        let sent = front.message(value).what(sender).send_delayed(delay);
                        accepted += u64::from(sent.is_ok());
                        removed += match (number % 7, sent) {
                            (0, _) => front.remove_what(sender) as u64,
                            (1, Ok(posted)) => u64::from(posted.cancel()),
                            (2, _) if number % 14 == 2 => front.remove_if(|_| sender == 0) as u64,
                            _ => 0,
                        };
                    }
                    (accepted, removed)
                })
            });
            let sums = senders.map(|sender| sender.join().unwrap());
            quitter.join().unwrap();
            let report = elsewhere.join();

            let (accepted, removed) = sums.iter().fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
            assert_report(report, accepted, ran.load(Ordering::Relaxed), removed, report.dropped);
            assert_eq!(report.posted, report.run + report.removed + report.dropped);
            drop(fronts);
            assert_eq!(dropped.try_iter().count(), 3 * EACH);
        }
    });
}
