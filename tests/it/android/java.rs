//! Android's Java side as an Android engineer uses it, with plain messages: `Looper`, `HandlerThread` and `Handler`.
//! What belongs to the `MessageQueue` is in java_queue.rs.
//!
//! Each test holds a rule to what Java does, or, where its comment says so, to something better.
//!
//! Holds L2, L3, L5, M1, M2, M3, M6, M7, R1, R2, R3, R4, R5, H2, V1.

use std::{
    cell::{Cell, RefCell},
    io::ErrorKind,
    rc::Rc,
    sync::mpsc,
    thread,
    time::Duration,
};

use alooper::{Handler, HandlerThread, Looper, Message, Token, testing::TestLooper};

use crate::support::{
    alone::alone,
    codes::{Log, logging},
    costs::assert_in_proportion,
    handlers::elsewhere,
    ms, watched,
};

const SHOW: i32 = 1;
const HIDE: i32 = 2;
const SAVE: i32 = 3;
const SECOND: Duration = Duration::from_secs(1);

// Looper and HandlerThread

/// Better than Java: preparing twice gives the same looper, and throws nothing.
#[test]
fn l2_my_looper_is_null_until_prepare_and_stays_the_same_after_quit() {
    watched(|| {
        assert!(Looper::current().is_none());

        let looper = Looper::prepare().unwrap();
        let mine = || Looper::current().unwrap();

        assert!(Rc::ptr_eq(&looper, &mine()));
        assert!(Rc::ptr_eq(&looper, &Looper::prepare().unwrap()));
        looper.quit();
        assert!(Rc::ptr_eq(&looper, &mine()));
        assert!(Looper::prepare().unwrap().has_quit(), "it is not replaced");
    });
}

#[test]
fn l3_any_thread_posts_to_the_main_looper_and_nobody_prepares_a_second_one() {
    alone("l3_any_thread_posts_to_the_main_looper_and_nobody_prepares_a_second_one", || {
        assert!(Looper::main_handle().is_none());
        let main = Looper::prepare_main().unwrap();

        let (second, sent) = elsewhere(|| {
            let ui = Looper::main_handle().unwrap().handler(|looper, message: Message| {
                assert_eq!((message.what, message.arg1, message.arg2), (SHOW, 20, 300));
                looper.quit();
            });
            let sent = ui.unwrap().send(Message { arg1: 20, arg2: 300, ..Message::new(SHOW) }).is_ok();
            (Looper::prepare_main().unwrap_err().kind(), sent)
        });

        assert_eq!((second, sent), (ErrorKind::AlreadyExists, true));
        assert_eq!(main.run().unwrap().run, 1);
        assert_eq!(Looper::prepare_main().unwrap_err().kind(), ErrorKind::AlreadyExists);
    });
}

#[test]
fn l5_a_handler_thread_prepares_before_it_handles_and_refuses_after_it_ends() {
    watched(|| {
        let (tell, told) = mpsc::channel();
        let on_prepared = tell.clone();
        let worker = HandlerThread::builder().name("worker").on_prepared(move |looper| {
            assert_eq!(looper.name(), Some("worker"));
            on_prepared.send(("prepared", thread::current().id())).unwrap();
            Ok(())
        });
        let worker = worker.spawn().unwrap();
        let id = worker.thread().unwrap().id();
        assert_eq!(told.try_recv(), Ok(("prepared", id)));
        let handler = worker.handle().handler(move |_, message: Message| {
            assert_eq!(message.what, SAVE);
            tell.send(("handled", thread::current().id())).unwrap();
        });
        let handler = handler.unwrap();

        handler.send(Message::new(SAVE)).unwrap();
        worker.quit_safely();
        let report = worker.join().unwrap();

        assert_eq!(told.try_recv(), Ok(("handled", id)));
        assert_eq!((report.posted, report.run), (1, 1));
        assert_eq!(handler.send(Message::new(SAVE)).unwrap_err().into_value().unwrap().what, SAVE);
    });
}

// Messages

#[test]
fn m1_messages_sort_by_when_and_those_of_one_time_keep_their_order() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    let now = looper.now();
    for (what, when) in [(1, now), (2, now), (3, now - SECOND), (4, now + ms(5)), (5, now - 60 * SECOND), (6, now)] {
        handler.send_at(when, Message::new(what)).unwrap();
    }

    looper.run_until_idle();

    assert_eq!(*handled.borrow(), [5, 3, 1, 2, 6]);
    looper.advance(ms(5));
    assert_eq!(handled.borrow().last(), Some(&4));
}

/// A posted closure is a message among the others.
#[test]
fn m2_what_is_posted_stands_behind_what_is_due_and_before_what_is_not() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    let log = handled.clone();
    handler.send_at(looper.now() - ms(5), Message::new(1)).unwrap();
    handler.send_delayed(Duration::from_nanos(1), Message::new(5)).unwrap();
    handler.send(Message::new(2)).unwrap();
    looper.post(move |_| log.borrow_mut().push(3)).unwrap();
    handler.send_delayed(Duration::ZERO, Message::new(4)).unwrap();

    looper.run_until_idle();

    assert_eq!(*handled.borrow(), [1, 2, 3, 4]);
    looper.advance(Duration::from_nanos(1));
    assert_eq!(handled.borrow().last(), Some(&5));
}

#[test]
fn m3_what_was_sent_to_the_front_last_comes_first_even_before_a_barrier() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    handler.send_at(looper.now() - SECOND, Message::new(3)).unwrap();
    let barrier = looper.barrier().unwrap();
    handler.send(Message::new(4)).unwrap();

    handler.send_at_front(Message::new(2)).unwrap();
    handler.send_at_front(Message::new(1)).unwrap();
    looper.run_until_idle();

    assert_eq!(*handled.borrow(), [1, 2, 3]);
    drop(barrier);
    looper.run_until_idle();
    assert_eq!(handled.borrow().last(), Some(&4));
}

/// Better than Java, where a message may be accepted while `quitSafely` is called, and never be handled.
#[test]
fn m6_what_was_accepted_while_quit_safely_was_called_is_handled() {
    /// The thread that quits may have to wait for a core.
    const MOST: u32 = 1000;
    watched(|| {
        for _ in 0..50 {
            let worker = HandlerThread::spawn("worker").unwrap();
            let handler = worker.handle().handler(|_, _: Message| ()).unwrap();
            let senders = [0; 3].map(|_| {
                let handler = handler.clone();
                thread::spawn(move || (0..MOST).take_while(|_| handler.send(Message::new(SHOW)).is_ok()).count() as u64)
            });
            while worker.handle().message_counts().posted < 10 {
                thread::yield_now();
            }

            worker.quit_safely();
            let accepted: u64 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
            let report = worker.join().unwrap();

            assert_eq!((report.posted, report.run, report.dropped), (accepted, accepted, 0));
        }
    });
}

#[test]
fn m7_a_handler_has_no_message_of_the_code_that_it_handles_until_it_sends_another() {
    let looper = TestLooper::new().unwrap();
    let seen = Log::default();
    let own: Rc<RefCell<Option<Handler<Message>>>> = Rc::default();
    let (log, itself) = (seen.clone(), own.clone());
    let handler = Handler::new(&looper, move |_, message: Message| {
        let itself = itself.borrow();
        let itself = itself.as_ref().unwrap();
        let before = itself.has(message.what);
        itself.send_delayed(ms(16), Message::new(message.what)).unwrap();
        log.borrow_mut().push((before, itself.has(message.what)));
    });
    *own.borrow_mut() = Some(handler.clone());
    handler.send(Message::new(SHOW)).unwrap();

    looper.advance(ms(16));

    assert_eq!(*seen.borrow(), [(false, true), (false, true)]);
    assert_eq!(handler.remove(SHOW), 1);
    own.take();
}

// Removing and asking

/// Better than Java: the number of removed messages is returned.
#[test]
fn r1_after_remove_messages_on_any_thread_none_of_that_code_is_handled() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    for (delay, what) in [(0, SHOW), (10, HIDE), (20, SHOW), (30, SHOW)] {
        handler.send_delayed(ms(delay), Message::new(what)).unwrap();
    }

    let removed = elsewhere(|| (handler.remove(SHOW), handler.remove(SHOW)));

    assert_eq!(removed, (3, 0));
    looper.advance(SECOND);
    assert_eq!(*handled.borrow(), [HIDE]);
}

/// By code, by token, by both, by the handle of one message, by what a message holds, and all.
#[test]
fn r2_messages_are_removed_by_what_names_them_and_never_those_of_another_handler() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    let (other, handled_by_other) = logging(&looper);
    let [session, view] = [Token::new(), Token::new()];
    for handler in [&handler, &other] {
        handler.message(Message::new(SHOW)).token(session).send().unwrap();
        handler.message(Message::new(HIDE)).token(session).send().unwrap();
        handler.message(Message::new(HIDE)).token(view).send().unwrap();
        handler.send(Message::with_obj(SAVE, "draft")).unwrap();
        handler.send(Message::with_obj(SAVE, "page")).unwrap();
    }
    let last = handler.send(Message::new(SAVE)).unwrap();
    let is_page = |message: &Message| message.obj.as_ref().is_some_and(|obj| obj.downcast_ref() == Some(&"page"));

    assert_eq!(handler.remove((HIDE, session)), 1);
    assert_eq!(handler.remove(session), 1, "the other one");
    assert_eq!(handler.remove_if(is_page), 1);
    assert!(last.cancel());
    assert_eq!(handler.len(), 2);
    assert_eq!(handler.remove(HIDE), 1);

    looper.run_until_idle();
    assert_eq!(*handled.borrow(), [SAVE]);
    assert_eq!(*handled_by_other.borrow(), [SHOW, HIDE, HIDE, SAVE, SAVE]);
}

/// `postAtTime` and `postDelayed` with a token: closures are sent to a handler of closures.
#[test]
fn r2_closures_that_share_a_token_are_removed_together() {
    type Closure = Box<dyn FnOnce(&Looper)>;
    let looper = TestLooper::new().unwrap();
    let closures = Handler::new(&looper, |looper, closure: Closure| closure(looper));
    let [session, other] = [Token::new(), Token::new()];
    let runs = Log::default();
    for (name, token) in [("a", session), ("b", other), ("c", session)] {
        let log = runs.clone();
        let closure: Closure = Box::new(move |_| log.borrow_mut().push(name));
        closures.message(closure).token(token).send_delayed(ms(1)).unwrap();
    }

    assert_eq!(closures.remove(session), 2);
    looper.advance(ms(1));

    assert_eq!(*runs.borrow(), ["b"]);
}

/// Better than Java, where posted `Runnable`s are messages of code zero, and go with them.
#[test]
fn r3_removing_messages_of_code_zero_leaves_posted_closures_alone() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    let runs = Rc::new(Cell::new(0));
    for _ in 0..2 {
        let runs = runs.clone();
        looper.post(move |_| runs.set(runs.get() + 1)).unwrap();
        handler.send(Message::new(0)).unwrap();
    }

    assert_eq!((handler.remove(0), handler.clear()), (2, 0));
    looper.run_until_idle();

    assert_eq!((runs.get(), handled.borrow().len()), (2, 0));
}

/// A barrier is a message without target in Java, and never found there either.
#[test]
fn r4_has_messages_is_exact_on_any_thread_and_finds_no_barrier() {
    let looper = TestLooper::new().unwrap();
    let (handler, _handled) = logging(&looper);
    let view = Token::new();
    let barrier = looper.barrier().unwrap();
    let ask = || elsewhere(|| (handler.has(0), handler.has((SHOW, view)), handler.len()));
    assert_eq!(ask(), (false, false, 0));
    assert!(looper.is_empty());

    handler.message(Message::new(SHOW)).token(view).send_delayed(SECOND).unwrap();

    assert_eq!(ask(), (false, true, 1));
    assert!(handler.has(SHOW) && !handler.has(HIDE) && !handler.has(Token::new()));
    drop(barrier);
    looper.advance(SECOND);
    assert_eq!(ask(), (false, false, 0));
}

/// Better than Java, which looks at the whole queue for each: with many times as many codes, each would take it many
/// times as long, and here it does not even take ten times.
#[test]
fn r5_removing_each_of_thousands_of_codes_does_not_look_at_all_others() {
    const CODES: i32 = 5000;
    const FEW: i32 = 20;
    let looper = TestLooper::new().unwrap();
    let (handler, _handled) = logging(&looper);
    let send_and_remove = |codes: i32| {
        for what in 0..codes {
            handler.send_delayed(SECOND, Message::new(what)).unwrap();
        }
        let removed: usize = (0..codes).rev().map(|what| handler.remove(what)).sum();
        assert_eq!((removed, handler.len()), (codes as usize, 0));
    };

    let factor = 10 * (CODES / FEW) as u32;
    assert_in_proportion("codes", factor, || send_and_remove(FEW), || send_and_remove(CODES));
}

#[test]
fn h2_a_message_is_handled_though_nobody_has_the_handler_any_more() {
    let looper = TestLooper::new().unwrap();
    let activity = Rc::new(Cell::new(0));
    let shown = activity.clone();
    let handler = Handler::new(&looper, move |_, message: Message| shown.set(message.arg1));
    handler.send_delayed(ms(10), Message { arg1: 7, ..Message::new(SHOW) }).unwrap();
    let weak = handler.downgrade();

    drop(handler);
    let alive_before = (weak.upgrade().is_none(), Rc::strong_count(&activity));
    looper.advance(ms(10));

    assert_eq!(alive_before, (true, 2), "nobody can send, and its closure lives");
    assert_eq!((activity.get(), Rc::strong_count(&activity)), (7, 1), "handled, then dropped");
}

/// As Robolectric's paused looper.
#[test]
fn v1_a_test_idles_a_paused_looper_step_by_step() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    let start = looper.now();
    for (delay, what) in [(100, SHOW), (250, HIDE), (250, SAVE), (900, SHOW)] {
        handler.send_delayed(ms(delay), Message::new(what)).unwrap();
    }
    assert_eq!((looper.run_until_idle(), looper.is_idle()), (0, true));
    assert_eq!((looper.next_deadline(), looper.last_deadline()), (Some(start + ms(100)), Some(start + ms(900))));

    assert_eq!(looper.advance(ms(99)), 0);
    assert_eq!((looper.run_to_next(), looper.now() - start), (1, ms(100)));
    assert_eq!((looper.run_one(), looper.now() - start), (true, ms(250)));

    assert_eq!(*handled.borrow(), [SHOW, HIDE]);
    let pending: Vec<_> = looper.pending().iter().map(|pending| (pending.what, pending.due)).collect();
    assert_eq!(pending, [(Some(SAVE), Some(start + ms(250))), (Some(SHOW), Some(start + ms(900)))]);
    assert_eq!((looper.run_to_end(), looper.now() - start), (2, ms(900)));
    assert!(!looper.run_one());
}
