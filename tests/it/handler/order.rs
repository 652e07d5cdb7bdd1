//! Handlers: the order of what was sent, and what a message may do while it is handled.
//!
//! Holds M1, M2, M3, M4, M5, M7, M8, M11, T8, C49.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use alooper::{
    Handler, Looper, LooperHandle, Posted, Token, WeakHandler,
    testing::{TestClock, TestLooper},
};

use crate::support::{
    Elsewhere, HOUR,
    dice::Dice,
    handlers::{Said, assert_report, elsewhere, keeper, told},
    ms, watched,
};

/// Two handlers and the looper's own posts, at home and from elsewhere, against a list that is sorted.
#[test]
fn m1_messages_and_closures_run_by_due_time_and_then_in_the_order_of_posting() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let said = Said::default();
        let say = said.clone();
        let own = Handler::new(&looper, move |_, number| say.say(number));
        let say = said.clone();
        let remote: Handler<usize> = looper.handle().handler(move |_, number| say.say(number)).unwrap();
        let handle = looper.handle();
        let mut dice = Dice(0xfeed_5eed);
        let start = looper.now();
        let (mut front, mut timed) = (Vec::new(), Vec::new());

        for number in 0..600 {
            let when = start + ms(dice.below(7)) - ms(3);
            let at_front = dice.below(10) == 0;
            match at_front {
                true => front.push(number),
                false => timed.push((when, number)),
            }
            match (dice.below(5), at_front) {
                (0, false) => drop(own.send_at(when, number).unwrap()),
                (0, true) => drop(own.send_at_front(number).unwrap()),
                (1, false) => drop(remote.message(number).what(1).send_at(when).unwrap()),
                (1, true) => drop(remote.message(number).what(1).send_at_front().unwrap()),
                (2, false) => drop(elsewhere(|| remote.send_at(when, number)).unwrap()),
                (2, true) => drop(elsewhere(|| remote.send_at_front(number)).unwrap()),
                (3, false) => drop(looper.post_at(when, said.closure(number)).unwrap()),
                (3, true) => drop(looper.post_at_front(said.closure(number)).unwrap()),
                (_, false) => drop(handle.post_at(when, said.closure(number)).unwrap()),
                (_, true) => drop(handle.post_at_front(said.closure(number)).unwrap()),
            }
        }
        looper.run_to_end();

        timed.sort_by_key(|(when, _)| *when);
        let expected: Vec<usize> = front.into_iter().rev().chain(timed.into_iter().map(|(_, number)| number)).collect();
        assert_eq!(said.take(), expected);
    });
}

#[test]
fn m1_past_due_times_sort_by_their_time() {
    let looper = TestLooper::new().unwrap();
    let (handler, kept) = keeper(&looper);
    let now = looper.now();

    handler.send_at(now, "first at now").unwrap();
    handler.send_at(now, "second at now").unwrap();
    handler.send_at(now - ms(1), "just past").unwrap();
    handler.send_at(now - HOUR, "long past").unwrap();

    assert_eq!(looper.poll_once(None).unwrap().messages, 4);
    assert_eq!(kept.take(), ["long past", "just past", "first at now", "second at now"]);
}

#[test]
fn m2_send_comes_after_what_is_due_and_before_what_is_later() {
    let looper = TestLooper::new().unwrap();
    let said = Said::default();
    let say = said.clone();
    let handler = Handler::new(&looper, move |_, number| say.say(number));

    handler.send_delayed(ms(1), 5).unwrap();
    looper.post_delayed(ms(1), said.closure(6)).unwrap();
    handler.send_delayed(Duration::ZERO, 1).unwrap();
    looper.post(said.closure(2)).unwrap();
    handler.send(3).unwrap();
    elsewhere(|| handler.send(4).unwrap());

    assert_eq!(looper.run_until_idle(), 4);
    assert_eq!(looper.advance(ms(1)), 2);
    assert_eq!(said.take(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn m3_at_front_comes_before_everything_last_first_and_passes_barriers() {
    let looper = TestLooper::new().unwrap();
    let said = Said::default();
    let say = said.clone();
    let handler = Handler::new(&looper, move |_, number| say.say(number));
    handler.send_at(looper.now() - HOUR, 3).unwrap();
    let barrier = looper.barrier().unwrap();
    handler.send(4).unwrap();

    looper.post_at_front(said.closure(2)).unwrap();
    handler.message(1).send_at_front().unwrap();
    elsewhere(|| handler.send_at_front(0).unwrap());

    assert_eq!(looper.run_until_idle(), 4);
    assert_eq!(said.take(), [0, 1, 2, 3]);
    handler.send_at_front(5).unwrap();
    assert_eq!(looper.run_until_idle(), 1);
    drop(barrier);
    assert_eq!(looper.run_until_idle(), 1);
    assert_eq!(said.take(), [5, 4]);
}

#[test]
fn m4_a_delay_that_overflows_stays_pending_and_can_be_asked_for_and_removed() {
    let looper = TestLooper::new().unwrap();
    let (handler, kept) = keeper(&looper);
    let endless = handler.message("cancelled").what(1).send_delayed(Duration::MAX).unwrap();
    handler.message("removed").what(2).send_delayed(Duration::MAX).unwrap();
    handler.send_delayed(HOUR, "an hour").unwrap();

    assert_eq!(looper.advance(24 * 365 * 300 * HOUR), 1);

    assert_eq!(kept.take(), ["an hour"]);
    assert_eq!((handler.len(), looper.next_deadline()), (2, None));
    assert!(endless.is_pending() && handler.has(2));
    assert!(endless.cancel());
    assert_eq!(handler.remove(2), 1);
    assert!(handler.is_empty() && looper.is_empty());
}

#[test]
fn m5_sends_of_two_threads_of_which_one_happens_first_keep_their_order() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let said = Said::default();
        let handlers = [said.clone(), said.clone()].map(|said| {
            let handler = looper.handle().handler(move |_, number| said.say(number));
            handler.unwrap()
        });

        for number in 0..200 {
            let handler = &handlers[number / 2 % 2];
            let send = || drop(handler.send(number).unwrap());
            match number % 3 {
                0 => elsewhere(send),
                1 => send(),
                _ => drop(looper.post(said.closure(number)).unwrap()),
            }
        }

        assert_eq!(looper.run_until_idle(), 200);
        assert!(said.take().into_iter().eq(0..200));
    });
}

#[test]
fn m5_threads_that_take_turns_keep_their_order_on_a_looper_that_runs() {
    const COUNT: usize = 3000;
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let said = Said::default();
        let fronts = [said.clone(), said.clone()].map(|said| {
            let handler = elsewhere.handle.handler(move |_, number| said.say(number));
            handler.unwrap()
        });
        // The number is an atomic for the thread sanitizer, which does not see std's lock when threads wait for it.
        let (turn, next) = (Mutex::new(()), AtomicUsize::new(0));

        thread::scope(|scope| {
            for sender in 0..3 {
                let (fronts, turn, next, said, handle) = (fronts.clone(), &turn, &next, &said, &elsewhere.handle);
                scope.spawn(move || {
                    loop {
                        let _turn = turn.lock().unwrap();
                        let number = next.load(Ordering::Relaxed);
                        if number == COUNT {
                            break;
                        }
                        match sender {
                            0 => drop(handle.post(said.closure(number)).unwrap()),
                            _ => drop(fronts[number % 2].send(number).unwrap()),
                        }
                        next.store(number + 1, Ordering::Relaxed);
                    }
                });
            }
        });
        elsewhere.handle.quit_safely();

        assert_report(elsewhere.join(), COUNT as u64, COUNT as u64, 0, 0);
        assert!(said.take().into_iter().eq(0..COUNT));
    });
}

#[test]
fn m7_inside_its_own_handler_a_message_is_not_pending() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let token = Token::new();
        let own = Rc::new(RefCell::new(None::<(Handler<u32>, Posted<u32>)>));
        let is_own = own.clone();
        let answered = Rc::new(Cell::new(0));
        let count = answered.clone();
        let handler = Handler::new(&looper, move |looper: &Looper, number| {
            let (handler, posted) = is_own.take().unwrap();
            let ask = || {
                assert_eq!((handler.has(7), handler.has(token)), (false, false));
                assert!(!handler.has((7, token)) && !handler.has_if(|_| true));
                assert!(!posted.is_pending() && !posted.cancel());
                assert_eq!((handler.len(), handler.is_empty()), (0, true));
                assert_eq!((handler.remove(7), handler.remove(token)), (0, 0));
                assert_eq!((handler.remove_if(|_| true), handler.clear()), (0, 0));
            };
            ask();
            elsewhere(ask);
            assert!(looper.is_empty());
            count.set(count.get() + number);
        });
        let posted = handler.message(1).what(7).token(token).send().unwrap();
        assert!(posted.is_pending() && handler.has(7) && handler.has(token));
        own.replace(Some((handler, posted)));

        assert_eq!(looper.run_until_idle(), 1);

        assert_eq!(answered.get(), 1);
        assert_report(looper.message_counts(), 1, 1, 0, 0);
    });
}

/// T8 and C49: what a handler sends runs after what is due, in the same turn while the budget lasts.
#[test]
fn m8_a_handler_that_sends_to_itself_goes_on_in_the_same_turn_up_to_the_budget() {
    let looper = TestClock::new().build(Looper::builder().budget(4)).unwrap();
    let said = Said::default();
    let say = said.clone();
    let own = Rc::new(RefCell::new(None::<WeakHandler<usize>>));
    let weak = own.clone();
    let handler = Handler::new(&looper, move |_, number| {
        say.say(number);
        let handler = weak.borrow().as_ref().unwrap().upgrade();
        handler.unwrap().send(number + 10).unwrap();
    });
    own.replace(Some(handler.downgrade()));
    handler.send(0).unwrap();
    looper.post(said.closure(1)).unwrap();

    let turn = looper.poll_once(None).unwrap();

    assert_eq!((turn.messages, turn.more), (4, true));
    assert_eq!(said.take(), [0, 1, 10, 20]);
    assert_eq!(handler.clear(), 1);
}

#[test]
fn m8_a_handler_may_drop_the_last_front_of_itself_and_quit() {
    watched(|| {
        for quit in [LooperHandle::quit, LooperHandle::quit_safely] {
            let looper = Looper::new().unwrap();
            let (own, dropped) = told();
            let front = Rc::new(RefCell::new(None::<Handler<u32>>));
            let last = front.clone();
            let handler = Handler::new(&looper, move |looper: &Looper, number| {
                let handler = last.take().unwrap();
                quit(&looper.handle());
                assert_eq!(handler.send(number).unwrap_err().into_value(), Some(number));
                drop(handler);
                own.hold();
            });
            handler.send(1).unwrap();
            front.replace(Some(handler));

            let report = looper.run().unwrap();
            drop(looper);

            assert_report(report, 1, 1, 0, 0);
            assert_eq!(dropped.try_iter().count(), 1);
        }
    });
}

#[test]
fn m11_an_at_front_of_another_thread_is_the_next_to_run() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let said = Said::default();
        let say = said.clone();
        let other: Handler<usize> = looper.handle().handler(move |_, number| say.say(number)).unwrap();
        let say = said.clone();
        let front = other.clone();
        let handler = Handler::new(&looper, move |_, number| {
            say.say(number);
            elsewhere(|| front.send_at_front(number + 10).unwrap());
            elsewhere(|| front.send(number + 20).unwrap());
        });

        handler.send(0).unwrap();
        handler.send(1).unwrap();

        assert_eq!(looper.poll_once(None).unwrap().messages, 6);
        assert_eq!(said.take(), [0, 10, 1, 11, 20, 21]);
    });
}
