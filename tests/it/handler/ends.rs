//! How handlers end with their looper: quitting, dropped loopers and ended threads; what is left, and what is refused.
//!
//! Holds L4, M6, Q1, Q2, Q4, C53, C57, C58.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use alooper::{Handler, Looper, LooperHandle, RejectReason, Rejected, Token, testing::TestLooper};

use crate::support::{
    Elsewhere, HOUR,
    handlers::{Told, assert_report, elsewhere, keeper, told, told_many},
    watched,
};

/// Both ways to quit, for what holds of both.
const QUITS: [fn(&LooperHandle); 2] = [LooperHandle::quit, LooperHandle::quit_safely];

/// Asserts that nothing is pending, however it is asked.
#[track_caller]
fn assert_nothing_pending<M: 'static>(handler: &Handler<M>, what: i32, token: Token) {
    assert_eq!((handler.len(), handler.is_empty(), handler.looper().len()), (0, true, 0));
    assert!(!handler.has(what) && !handler.has(token) && !handler.has((what, token)));
    assert!(!handler.has_if(|_| panic!("there is nothing to look at")));
    assert_eq!(handler.remove_if(|_| panic!("there is nothing to look at")), 0);
    assert_eq!((handler.remove(what), handler.remove(token), handler.clear()), (0, 0, 0));
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
        assert_eq!((rejected.reason(), rejected.into_value()), (RejectReason::Quit, Some(9)));
        assert_eq!((handler.len(), handler.remove(7), handler.len()), (2, 1, 1));
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
                assert_eq!((rejected.reason(), rejected.into_value()), (reason, Some(Box::new(7))));
            }
        };

        quit(&looper.handle());
        assert_refused(RejectReason::Quit);
        elsewhere(|| assert_refused(RejectReason::Quit));
        looper.run().unwrap();
        assert_refused(RejectReason::Quit);
        drop(looper);
        assert_refused(RejectReason::Dropped);
        elsewhere(|| assert_refused(RejectReason::Dropped));

        assert_report(handler.looper().message_counts(), 0, 0, 0, 0);
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
            assert_report(handler.looper().message_counts(), 4, 0, 0, 4);
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
        assert_eq!(handler.send(told().0).unwrap_err().reason(), RejectReason::Dropped);
        assert_nothing_pending(&handler, 0, Token::new());
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
                    while handle.message_counts().posted < 140 * round as u64 {
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
                            (0, _) => front.remove(sender) as u64,
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
