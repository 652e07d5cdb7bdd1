//! Handlers: making them, what they take, and panics.
//!
//! Holds H1, H3, X1, C62.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{Arc, mpsc},
    time::Duration,
};

use alooper::{Handler, Looper, Message, Posted, PostedGuard, RejectReason, Token, WeakHandler, testing::TestLooper};

use crate::support::{
    Elsewhere,
    handlers::{Said, assert_report, elsewhere, keeper, told},
    watched,
};

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

    assert_eq!(looper.run_until_idle(), 2);
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
        let reason = rejected.reason();
        drop(rejected.into_value().unwrap());
        assert_eq!(Arc::strong_count(&part), 1, "nothing else holds it");
        reason
    };

    looper.quit();
    assert_eq!((refused(), elsewhere(refused)), (RejectReason::Quit, RejectReason::Quit));
    drop(looper);
    assert_eq!((refused(), elsewhere(refused)), (RejectReason::Dropped, RejectReason::Dropped));
}

/// There is nothing to give back: it is what is sent that is refused.
#[test]
fn h1_on_a_looper_that_has_quit_a_handler_is_made_and_refuses_what_is_sent() {
    let looper = Looper::new().unwrap();
    looper.quit();
    let (own, dropped) = told();

    let handler = Handler::new(&looper, move |_, _: &str| own.hold());

    let rejected = handler.send("refused").unwrap_err();
    assert_eq!((rejected.reason(), rejected.into_value()), (RejectReason::Quit, Some("refused")));
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
        assert!([1, 2, 3].into_iter().all(|what| front.has(what)));
    }
    assert_eq!(looper.run_until_idle(), 3);
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

    let found: Vec<i32> = [i32::MIN, 0, 2, 3, 4].into_iter().filter(|what| handler.has(*what)).collect();
    assert_eq!(found, [i32::MIN, 2, 4]);
    assert!(handler.has((2, token)) && !handler.has((4, token)));
    looper.run_until_idle();
    let mut messages = kept.take();
    assert_eq!(
        messages.iter().map(|message| message.what).collect::<Vec<_>>(),
        [i32::MIN, 2, 4],
        "what was set is what it carries (R2)"
    );
    assert_eq!((messages[0].arg1, messages[0].arg2), (11, -12));
    assert_eq!(messages[0].take::<u32>(), None);
    assert_eq!(messages[0].take::<String>().unwrap(), "object");
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
    assert_report(looper.message_counts(), 4, 4, 0, 0);
}

#[test]
fn h3_a_handler_that_is_made_cyclic_sends_to_itself_and_ends_with_its_last_front() {
    let looper = Looper::new().unwrap();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let handler = Handler::new_cyclic(&looper, |weak: &WeakHandler<u32>| {
        assert!(weak.upgrade().is_none(), "it is not made yet");
        let (weak, seen) = (weak.clone(), seen.clone());
        move |_: &Looper, left: u32| {
            seen.borrow_mut().push(left);
            if let Some(this) = weak.upgrade().filter(|_| left > 0) {
                this.send(left - 1).unwrap();
            }
        }
    });
    handler.send(2).unwrap();

    looper.poll_all(Duration::ZERO).unwrap();

    assert_eq!(*seen.borrow(), [2, 1, 0]);
    drop(handler);
    assert_eq!(Rc::strong_count(&seen), 1, "the closure keeps itself alive by nothing");
}

#[test]
fn h3_x1_a_handler_whose_making_panics_is_none() {
    let looper = Looper::new().unwrap();
    let make = |_: &WeakHandler<u32>| -> fn(&Looper, u32) { panic!("on purpose") };

    assert!(panic::catch_unwind(AssertUnwindSafe(|| Handler::new_cyclic(&looper, make))).is_err());

    assert_eq!(looper.dump().to_string().lines().filter(|line| line.contains("u32")).count(), 0);
}

#[test]
fn h1_a_looper_makes_a_handler_whose_closure_need_not_be_send() {
    let looper = Looper::new().unwrap();
    let seen = Rc::new(Cell::new(0));
    let handler = looper.handler({
        let seen = seen.clone();
        move |_, number: u32| seen.set(number)
    });

    handler.send(7).unwrap();
    looper.poll_once(Duration::ZERO).unwrap();

    assert_eq!(seen.get(), 7);
}
