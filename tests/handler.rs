//! Handlers: making them, sending, the order of what was sent, and how long a handler lives.
//!
//! Holds H1, H2, M1, M2, M3, M4, M5, M7, M8, M11, T8, X1, C49, C62.

mod support;
#[path = "support/dice.rs"]
mod dice;
#[path = "support/handlers.rs"]
mod handlers;

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use alooper::{
    Handler, Looper, LooperHandle, Message, Posted, PostedGuard, Reason, Token, WeakHandler,
    testing::{TestClock, TestLooper},
};
use dice::Dice;
use handlers::{HOUR, assert_report, elsewhere, keeper, told};
use support::{Elsewhere, ms, watched};

/// What is known of a type: the constants of the type itself hide those of the trait, where their bounds hold.
struct Is<T>(PhantomData<T>);

trait Unless {
    const SEND: bool = false;
    const SYNC: bool = false;
}

impl<T> Unless for Is<T> {}

impl<T: Send> Is<T> {
    const SEND: bool = true;
}

impl<T: Sync> Is<T> {
    const SYNC: bool = true;
}

/// Whether `T` is `Send`, and whether it is `Sync`. A macro, since the bounds of a function's `T` would not be known.
macro_rules! is_send_and_sync {
    ($T:ty) => {
        (Is::<$T>::SEND, Is::<$T>::SYNC)
    };
}

/// C62: a value that is not `Send` cannot reach another thread through what names it.
#[test]
fn h1_what_names_a_message_is_send_and_sync_exactly_if_the_message_is_send() {
    type SendOnly = Cell<u32>;
    assert_eq!(is_send_and_sync!(SendOnly), (true, false), "the macro tells the one from the other");

    assert_eq!(is_send_and_sync!(Handler<SendOnly>), (true, true));
    assert_eq!(is_send_and_sync!(WeakHandler<SendOnly>), (true, true));
    assert_eq!(is_send_and_sync!(Posted<SendOnly>), (true, true));
    assert_eq!(is_send_and_sync!(PostedGuard<SendOnly>), (true, true));
    assert_eq!(is_send_and_sync!(Handler<Message>), (true, true));
    assert_eq!(is_send_and_sync!(Handler<Rc<()>>), (false, false));
    assert_eq!(is_send_and_sync!(WeakHandler<Rc<()>>), (false, false));
    assert_eq!(is_send_and_sync!(Posted<Rc<()>>), (false, false));
    assert_eq!(is_send_and_sync!(PostedGuard<Rc<()>>), (false, false));
}

#[test]
fn h1_a_handler_on_the_loopers_thread_takes_state_and_messages_that_are_not_send() {
    let looper = TestLooper::new().unwrap();
    let total = Rc::new(Cell::new(0));
    let sum = total.clone();
    let mut count = 0;
    let handler = Handler::new(&looper, move |_, number: Rc<u32>| {
        count += 1;
        sum.set(sum.get() + *number * count);
    });

    for number in [5, 7] {
        handler.send(Rc::new(number)).unwrap();
    }

    assert_eq!(looper.idle(), 2);
    assert_eq!(total.get(), 5 + 2 * 7);
}

#[test]
fn h1_a_handler_is_made_from_any_thread_and_runs_on_the_loopers() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let (sender, said) = mpsc::channel();
        let mut count = 0;
        let handler = elsewhere.handle.handler(move |looper, number: u32| {
            count += number;
            sender.send((looper.handle().is_current(), count)).unwrap();
        });
        let handler = handler.unwrap();

        for number in [5, 7] {
            handler.send(number).unwrap();
        }

        assert_eq!([said.recv().unwrap(), said.recv().unwrap()], [(true, 5), (true, 12)]);
        handler.looper().quit();
        assert_report(elsewhere.join(), 2, 2, 0, 0);
    });
}

#[test]
fn h1_a_handler_may_be_made_and_sent_to_in_a_callback_and_runs_in_the_same_turn() {
    let looper = TestLooper::new().unwrap();
    let said = Said::default();
    let in_callback = said.clone();
    looper
        .post(move |looper| {
            let say = in_callback.clone();
            Handler::new(looper, move |_, number| say.say(number)).send(1).unwrap();
            let say = in_callback.clone();
            let remote = looper.handle().handler(move |_, number| say.say(number)).unwrap();
            remote.send(2).unwrap();
        })
        .unwrap();

    assert_eq!(looper.poll_once(None).unwrap().messages, 3);
    assert_eq!(said.take(), [1, 2]);
}

#[test]
fn h1_a_looper_that_has_quit_or_is_gone_gives_the_closure_back() {
    let looper = Looper::new().unwrap();
    let handle = looper.handle();
    let refused = || {
        let part = Arc::new(());
        let in_closure = part.clone();
        let callback = move |_: &Looper, _: u32| drop(in_closure.clone());
        let rejected = handle.handler(callback).unwrap_err();
        assert_eq!(Arc::strong_count(&part), 2, "the closure is whole");
        drop(rejected.value);
        assert_eq!(Arc::strong_count(&part), 1, "nothing else holds it");
        rejected.reason
    };

    looper.quit();
    assert_eq!((refused(), elsewhere(refused)), (Reason::Quit, Reason::Quit));
    drop(looper);
    assert_eq!((refused(), elsewhere(refused)), (Reason::Dropped, Reason::Dropped));
}

/// There is nothing to give back: it is what is sent that is refused.
#[test]
fn h1_on_a_looper_that_has_quit_a_handler_is_made_and_refuses_what_is_sent() {
    let looper = Looper::new().unwrap();
    looper.quit();
    let (own, dropped) = told();

    let handler = Handler::new(&looper, move |_, _: &str| own.hold());

    let rejected = handler.send("refused").unwrap_err();
    assert_eq!((rejected.value, rejected.reason), ("refused", Reason::Quit));
    drop((handler, looper));
    assert_eq!(dropped.try_iter().count(), 1);
}

#[test]
fn h1_clones_and_asynchronous_fronts_are_one_handler() {
    let looper = TestLooper::new().unwrap();
    let (handler, kept) = keeper(&looper);
    let (clone, asynchronous) = (handler.clone(), handler.asynchronous());

    handler.message("plain").what(1).send().unwrap();
    clone.message("clone").what(2).send().unwrap();
    asynchronous.message("asynchronous").what(3).send().unwrap();

    for front in [&handler, &clone, &asynchronous] {
        assert_eq!(front.len(), 3);
        assert!([1, 2, 3].into_iter().all(|what| front.has_what(what)));
    }
    assert_eq!(looper.idle(), 3);
    assert_eq!(kept.take(), ["plain", "clone", "asynchronous"]);
}

/// A plain [`Message`] is labelled by its `what`, unless the draft says another one.
#[test]
fn h1_a_plain_message_is_labelled_by_its_what_and_arrives_whole() {
    let looper = TestLooper::new().unwrap();
    let (handler, kept) = keeper::<Message>(&looper);
    let token = Token::new();

    handler.send(Message { arg1: 11, arg2: -12, ..Message::with_obj(i32::MIN, "object".to_owned()) }).unwrap();
    handler.message(Message::new(2)).token(token).send().unwrap();
    handler.message(Message::new(3)).what(4).send().unwrap();

    let found: Vec<i32> = [i32::MIN, 0, 2, 3, 4].into_iter().filter(|what| handler.has_what(*what)).collect();
    assert_eq!(found, [i32::MIN, 2, 4]);
    assert!(handler.has_what_with_token(2, token) && !handler.has_what_with_token(4, token));
    looper.idle();
    let mut messages = kept.take();
    assert_eq!(messages.iter().map(|message| message.what).collect::<Vec<_>>(), [i32::MIN, 2, 3]);
    assert_eq!((messages[0].arg1, messages[0].arg2), (11, -12));
    assert_eq!(messages[0].take::<u32>(), None);
    assert_eq!(messages[0].take::<String>().unwrap(), "object");
}

#[test]
fn h2_pending_messages_keep_the_handler_alive_and_run() {
    let looper = TestLooper::new().unwrap();
    let (own, dropped) = told();
    let ran = Rc::new(RefCell::new(Vec::new()));
    let list = ran.clone();
    let handler = Handler::new(&looper, move |_, word| {
        own.hold();
        list.borrow_mut().push(word);
    });
    let weak = handler.downgrade();
    handler.send("now").unwrap();
    handler.send_delayed(HOUR, "later").unwrap();

    drop(handler);

    assert!(weak.upgrade().is_none());
    assert_eq!(looper.idle(), 1);
    assert_eq!((looper.len(), dropped.try_iter().count()), (1, 0), "dropped before the last message");
    assert_eq!(looper.advance(HOUR), 1);
    assert_eq!(*ran.borrow(), ["now", "later"]);
    assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id()]);
}

#[test]
fn h2_the_closure_is_dropped_with_the_last_front_if_nothing_is_pending() {
    let looper = TestLooper::new().unwrap();
    let (own, dropped) = told();
    let handler = Handler::new(&looper, move |_, ()| own.hold());
    let clone = handler.clone();
    handler.send(()).unwrap();
    looper.idle();

    drop(handler);
    looper.idle();
    assert_eq!(dropped.try_iter().count(), 0, "a front is left");
    drop(clone);
    looper.idle();

    assert_eq!(dropped.try_iter().count(), 1);
}

/// The last thing that keeps the handler alive is a message that does not run.
#[test]
fn h2_the_closure_is_dropped_when_the_last_message_is_cancelled() {
    watched(|| {
        for at_home in [true, false] {
            let looper = TestLooper::new().unwrap();
            let (own, dropped) = told();
            let handler = Handler::new(&looper, move |_, ()| own.hold());
            let posted = handler.send_delayed(HOUR, ()).unwrap();
            drop(handler);
            looper.idle();
            assert_eq!(dropped.try_iter().count(), 0, "a message is left");

            assert!(if at_home { posted.cancel() } else { elsewhere(|| posted.cancel()) });
            looper.idle();

            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id()], "at home: {at_home}");
        }
    });
}

#[test]
fn h2_a_weak_front_keeps_nothing_alive_and_sends_while_a_front_is_left() {
    let looper = TestLooper::new().unwrap();
    let (handler, kept) = keeper(&looper);
    let weak = handler.downgrade();

    weak.upgrade().unwrap().send(1).unwrap();
    let clone = weak.clone();
    drop(handler);

    assert!(weak.upgrade().is_none() && clone.upgrade().is_none());
    assert_eq!(looper.idle(), 1);
    assert_eq!(kept.take(), [1]);
}

/// Says which of several handlers and closures ran, in their order.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<usize>>>);

impl Said {
    fn say(&self, number: usize) {
        self.0.lock().unwrap().push(number);
    }

    fn closure(&self, number: usize) -> impl FnOnce(&Looper) + Send + 'static {
        let said = self.clone();
        move |_| said.say(number)
    }

    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

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

    assert_eq!(looper.idle(), 4);
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

    assert_eq!(looper.idle(), 4);
    assert_eq!(said.take(), [0, 1, 2, 3]);
    handler.send_at_front(5).unwrap();
    assert_eq!(looper.idle(), 1);
    drop(barrier);
    assert_eq!(looper.idle(), 1);
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
    assert!(endless.is_pending() && handler.has_what(2));
    assert!(endless.cancel());
    assert_eq!(handler.remove_what(2), 1);
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

        assert_eq!(looper.idle(), 200);
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
        let turn = Mutex::new(0);

        thread::scope(|scope| {
            for sender in 0..3 {
                let (fronts, turn, said, handle) = (fronts.clone(), &turn, &said, &elsewhere.handle);
                scope.spawn(move || {
                    loop {
                        let mut number = turn.lock().unwrap();
                        if *number == COUNT {
                            break;
                        }
                        match sender {
                            0 => drop(handle.post(said.closure(*number)).unwrap()),
                            _ => drop(fronts[*number % 2].send(*number).unwrap()),
                        }
                        *number += 1;
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
                assert_eq!((handler.has_what(7), handler.has_token(token)), (false, false));
                assert!(!handler.has_what_with_token(7, token) && !handler.has_if(|_| true));
                assert!(!posted.is_pending() && !posted.cancel());
                assert_eq!((handler.len(), handler.is_empty()), (0, true));
                assert_eq!((handler.remove_what(7), handler.remove_token(token)), (0, 0));
                assert_eq!((handler.remove_if(|_| true), handler.remove()), (0, 0));
            };
            ask();
            elsewhere(ask);
            assert!(looper.is_empty());
            count.set(count.get() + number);
        });
        let posted = handler.message(1).what(7).token(token).send().unwrap();
        assert!(posted.is_pending() && handler.has_what(7) && handler.has_token(token));
        own.replace(Some((handler, posted)));

        assert_eq!(looper.idle(), 1);

        assert_eq!(answered.get(), 1);
        assert_report(looper.exit_report(), 1, 1, 0, 0);
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
    assert_eq!(handler.remove(), 1);
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
                assert_eq!(handler.send(number).unwrap_err().value, number);
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

#[test]
fn x1_a_panic_consumes_the_message_and_the_handler_works_on_with_its_state() {
    let looper = TestLooper::new().unwrap();
    let said = Said::default();
    let say = said.clone();
    let mut count: usize = 0;
    let handler = Handler::new(&looper, move |_, number| {
        count += 1;
        assert!(number != 13, "thirteen");
        say.say(number + count);
    });
    handler.send(100).unwrap();
    let panicking = handler.send(13).unwrap();
    handler.send(200).unwrap();

    let poll = || panic::catch_unwind(AssertUnwindSafe(|| looper.poll_once(Duration::ZERO).unwrap().messages));
    let panicked = poll().unwrap_err();

    assert_eq!(panicked.downcast_ref::<&str>(), Some(&"thirteen"));
    assert_eq!((handler.len(), panicking.is_pending()), (1, false));
    assert_eq!(poll().unwrap(), 1);
    handler.send(300).unwrap();
    assert_eq!(poll().unwrap(), 1);
    assert_eq!(said.take(), [101, 203, 304]);
    assert_report(looper.exit_report(), 4, 4, 0, 0);
}

#[test]
fn x1_a_panic_in_the_last_message_of_a_handler_without_fronts_drops_the_closure_once() {
    let looper = TestLooper::new().unwrap();
    let (own, dropped) = told();
    let handler = Handler::new(&looper, move |_, ()| {
        own.hold();
        panic!("the last one");
    });
    handler.send(()).unwrap();
    drop(handler);

    assert!(panic::catch_unwind(AssertUnwindSafe(|| looper.idle())).is_err());
    looper.idle();

    assert_eq!(dropped.try_iter().count(), 1);
    assert_report(looper.exit_report(), 1, 1, 0, 0);
}
