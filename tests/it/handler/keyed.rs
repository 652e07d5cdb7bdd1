//! Keyed messages: what is sent replaces what is pending, or is sent only if nothing is.
//!
//! Holds K1, E1, M9, R5, B2, H2.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use alooper::{Handler, Looper, Message, MessageFilter, RejectReason, Token, testing::TestLooper};

use crate::support::{HOUR, ms, panic_of, watched};

fn noting(looper: &Looper) -> (Handler<u32>, Rc<RefCell<Vec<u32>>>) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = seen.clone();
    (looper.handler(move |_, message| noted.borrow_mut().push(message)), seen)
}

#[test]
fn k1_a_message_replaces_those_of_its_label_and_no_others() {
    let looper = TestLooper::new().unwrap();
    let (handler, seen) = noting(&looper);
    let (other, _) = noting(&looper);
    let token = Token::new();
    other.message(0).what(1).send().unwrap();
    looper.post(|_| ()).unwrap();
    handler.send(1).unwrap();
    handler.message(2).what(1).send().unwrap();
    handler.message(3).what(1).token(token).send_delayed(HOUR).unwrap();
    handler.message(4).what(2).token(token).send().unwrap();

    let new = handler.replace(1, 5).unwrap();
    assert_eq!((handler.count(1), handler.len(), new.is_pending()), (1, 3, true));
    handler.replace(token, 6).unwrap();
    assert_eq!((handler.count(token), handler.len()), (1, 3));
    handler.replace((2, token), 7).unwrap();
    assert_eq!((handler.count((2, token)), handler.count(2), handler.len()), (1, 1, 4));

    looper.run_until_idle();
    assert_eq!(seen.take(), [1, 5, 6, 7]);
    assert_eq!(looper.message_counts().removed, 3);
}

#[test]
fn k1_all_of_a_handlers_messages_are_replaced() {
    let looper = TestLooper::new().unwrap();
    let (handler, seen) = noting(&looper);
    (0..1000).for_each(|message| _ = handler.send(message).unwrap());
    handler.send_delayed(HOUR, 1000).unwrap();

    handler.replace(MessageFilter::All, 1001).unwrap();

    assert_eq!(handler.len(), 1);
    looper.run_until_idle();
    assert_eq!(seen.take(), [1001]);
}

/// Debounce: what comes again and again is handled once, when it has not come for the delay.
#[test]
fn k1_replace_delayed_debounces() {
    let looper = TestLooper::new().unwrap();
    let (handler, seen) = noting(&looper);
    for key in 0..5 {
        handler.replace_delayed(1, ms(10), key).unwrap();
        assert_eq!(looper.advance(ms(9)), 0);
    }

    assert_eq!((looper.advance(ms(1)), seen.take()), (1, vec![4]));
}

/// Throttle: the first of what comes again and again is handled, once per delay.
#[test]
fn k1_e1_send_unless_pending_throttles_and_gives_the_message_back() {
    let looper = TestLooper::new().unwrap();
    let (handler, seen) = noting(&looper);
    let mut refused = 0;
    for message in 0..20 {
        if let Err(error) = handler.send_delayed_unless_pending(1, ms(10), message) {
            assert_eq!(error.reason(), RejectReason::Pending);
            assert_eq!(error.into_value(), Some(message));
            refused += 1;
        }
        looper.advance(ms(4));
    }

    assert_eq!(seen.take(), [0, 3, 6, 9, 12, 15]);
    assert_eq!(refused, 20 - 7);
    assert_eq!(looper.len(), 1);
    handler.clear();
}

#[test]
fn k1_what_runs_is_not_pending() {
    let looper = TestLooper::new().unwrap();
    let handler = Handler::new_cyclic(&looper, |weak| {
        let weak = weak.clone();
        move |_: &Looper, left: u32| {
            if left > 0 {
                weak.upgrade().unwrap().send_unless_pending(1, left - 1).unwrap();
            }
        }
    });
    handler.send_unless_pending(1, 3).unwrap();

    assert_eq!(looper.run_until_idle(), 4);
}

#[test]
fn k1_androids_message_is_replaced_by_its_what() {
    let looper = TestLooper::new().unwrap();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = seen.clone();
    let handler = looper.handler(move |_, message: Message| noted.borrow_mut().push((message.what, message.arg1)));
    for arg1 in 0..3 {
        handler.replace(7, Message { arg1, ..Message::new(0) }).unwrap();
    }

    looper.run_until_idle();

    assert_eq!(seen.take(), [(7, 2)]);
}

#[test]
fn k1_large_messages_and_messages_that_are_not_send_are_replaced() {
    let looper = TestLooper::new().unwrap();
    let large = looper.handler(|_, message: [u8; 4096]| assert_eq!(message[0], 2));
    large.replace(1, [1; 4096]).unwrap();
    large.replace(1, [2; 4096]).unwrap();
    let value = Rc::new(());
    let local = looper.handler(|_, _: Rc<()>| ());
    local.replace(1, value.clone()).unwrap();
    local.replace(1, value.clone()).unwrap();

    assert_eq!(Rc::strong_count(&value), 2, "the replaced one was dropped at once");
    assert_eq!(looper.run_until_idle(), 2);
}

#[test]
fn k1_b2_an_asynchronous_handlers_message_passes_a_barrier_as_it_replaces() {
    let looper = TestLooper::new().unwrap();
    let (handler, seen) = noting(&looper);
    let _barrier = looper.barrier().unwrap();
    handler.replace(1, 1).unwrap();

    handler.asynchronous().replace(1, 2).unwrap();

    assert_eq!((looper.run_until_idle(), seen.take()), (1, vec![2]));
}

/// E1: nothing is replaced then, and the message comes back.
#[test]
fn k1_e1_after_a_quit_the_message_comes_back_and_nothing_is_replaced() {
    let looper = TestLooper::new().unwrap();
    let (handler, seen) = noting(&looper);
    handler.message(1).what(1).send().unwrap();
    looper.quit_safely();

    let refused = handler.replace(1, 2).unwrap_err();
    assert_eq!((refused.reason(), refused.into_value()), (RejectReason::Quit, Some(2)));
    let refused = handler.send_unless_pending(1, 3).unwrap_err();
    assert_eq!((refused.reason(), refused.into_value()), (RejectReason::Quit, Some(3)));

    looper.run().unwrap();
    assert_eq!(seen.take(), [1]);
}

/// M9: the `Drop` of a replaced message sends and removes itself.
#[test]
fn k1_m9_what_is_replaced_is_dropped_with_nothing_locked() {
    struct Sends(Handler<Option<Box<Sends>>>, Arc<AtomicUsize>);
    impl Drop for Sends {
        fn drop(&mut self) {
            self.1.fetch_add(self.0.len(), SeqCst);
            self.0.replace(2, None).unwrap();
        }
    }
    let looper = TestLooper::new().unwrap();
    let handler = looper.handler(|_, _: Option<Box<Sends>>| ());
    let seen = Arc::new(AtomicUsize::new(0));
    handler.replace(1, Some(Box::new(Sends(handler.clone(), seen.clone())))).unwrap();

    handler.replace(1, None).unwrap();

    assert_eq!((seen.load(SeqCst), handler.len()), (1, 2), "the new one was there already");
    handler.clear();
}

/// X1: the panic of a replaced message's `Drop` goes on; the new message is sent.
#[test]
fn k1_x1_a_panic_of_what_is_replaced_loses_nothing() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.0, "as it is dropped");
        }
    }
    let looper = TestLooper::new().unwrap();
    let handler = looper.handler(|_, _: Bomb| ());
    handler.replace(1, Bomb(true)).unwrap();

    assert_eq!(panic_of(|| handler.replace(1, Bomb(false))), "as it is dropped");

    assert_eq!((handler.len(), looper.run_until_idle()), (1, 1));
}

/// Exact from any thread: of four threads that send at once, one succeeds; and of those that replace, one is left.
#[test]
fn k1_threads_that_replace_or_send_at_once_leave_one() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        for round in 0..100_u32 {
            let handler = looper.handler(|_, _: u32| ());
            let sent = AtomicUsize::new(0);
            thread::scope(|scope| {
                for thread in 0..4 {
                    let (handler, sent) = (handler.clone(), &sent);
                    scope.spawn(move || {
                        for message in 0..5 {
                            if round % 2 == 0 {
                                handler.replace(1, thread * 10 + message).unwrap();
                                assert!(handler.count(1) <= 1);
                            } else if handler.send_unless_pending(1, message).is_ok() {
                                sent.fetch_add(1, SeqCst);
                            }
                        }
                    });
                }
            });
            assert_eq!(handler.len(), 1);
            assert_eq!(sent.load(SeqCst), (round % 2) as usize);
            handler.clear();
        }
    });
}

/// R5: with a hundred thousand others queued, it costs what it replaces.
#[test]
fn k1_r5_to_replace_one_among_many_finds_it_by_its_label() {
    let looper = TestLooper::new().unwrap();
    let (handler, _) = noting(&looper);
    (0..100_000).for_each(|message| _ = handler.message(message).what(2).send().unwrap());
    (0..10_000).for_each(|message| _ = handler.replace(1, message).unwrap());

    assert_eq!((handler.count(1), handler.len()), (1, 100_001));
    handler.clear();
}
