//! The cases of Android's own test of its native `Looper`, one test each, named as there: waiting, and messages. Those
//! of fds are in fds.rs.
//!
//! Where time matters, it is virtual: what a poll takes is exact. Where Android's expectation is a fault, the better
//! promise is tested, and the comment says so. README.md lists all cases with their tests.
//!
//! Holds T1, T4, T5, T6, M1, R1, R2.

use std::{cell::RefCell, rc::Rc, time::Duration};

use alooper::{Handler, Looper, Message, PollCode, testing::TestLooper};

use crate::support::{Elsewhere, HOUR, ms, watched};

const SECOND: Duration = Duration::from_secs(1);
const AT_ONCE: Duration = Duration::ZERO;

/// Polls once: Android's code for that, and how much of the looper's time it took.
#[track_caller]
fn poll(looper: &Looper, timeout: Duration) -> (PollCode, Duration) {
    let start = looper.now();
    let code = looper.poll_once(timeout).unwrap().code();
    (code, looper.now() - start)
}

type Log<T> = Rc<RefCell<Vec<T>>>;

/// A handler that logs the codes of its messages.
fn logging(looper: &Looper) -> (Handler<Message>, Log<i32>) {
    let whats = Log::default();
    let log = whats.clone();
    (Handler::new(looper, move |_, message: Message| log.borrow_mut().push(message.what)), whats)
}

/// A looper on another thread that runs `then` when 100 ms have passed.
fn after_100_ms(then: impl FnOnce() + Send + 'static) -> Elsewhere {
    Elsewhere::run(move |looper| {
        let last = |looper: &Looper| {
            then();
            looper.quit();
        };
        looper.post_delayed(ms(100), last).unwrap();
    })
}

// pollOnce

/// T1.
#[test]
fn poll_once_when_non_zero_timeout_and_not_awoken_waits_for_timeout() {
    let looper = TestLooper::new().unwrap();

    assert_eq!(poll(&looper, ms(100)), (PollCode::Timeout, ms(100)));
}

/// T4.
#[test]
fn poll_once_when_non_zero_timeout_and_awoken_before_waiting_immediately_returns() {
    let looper = TestLooper::new().unwrap();
    looper.wake().unwrap();

    assert_eq!(poll(&looper, SECOND), (PollCode::Wake, AT_ONCE));
}

/// T4: on the real clock, which tells only that it was not too early.
#[test]
fn poll_once_when_non_zero_timeout_and_awoken_while_waiting_promptly_returns() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let start = looper.now();
        let handle = looper.handle();
        let waker = after_100_ms(move || handle.wake().unwrap());

        let (code, _) = poll(&looper, HOUR);

        assert_eq!(code, PollCode::Wake);
        assert!(looper.now() - start >= ms(100));
        waker.join();
    });
}

/// T1.
#[test]
fn poll_once_when_zero_timeout_and_no_registered_fds_immediately_returns() {
    let looper = TestLooper::new().unwrap();

    assert_eq!(poll(&looper, Duration::ZERO), (PollCode::Timeout, AT_ONCE));
}

// sendMessage

/// M1: what is due runs in the next poll.
#[test]
fn send_message_when_one_message_is_enqueue_should_invoke_handler_during_next_poll() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    handler.send(Message::new(1)).unwrap();

    assert_eq!(poll(&looper, ms(100)), (PollCode::Callback, AT_ONCE));

    assert_eq!(*handled.borrow(), [1]);
}

/// M1: whichever handler they are for.
#[test]
fn send_message_when_multiple_messages_are_enqueued_should_invoke_handlers_in_order_during_next_poll() {
    let looper = TestLooper::new().unwrap();
    let handled = Log::default();
    let [first, second] = ["first", "second"].map(|name| {
        let log = handled.clone();
        Handler::new(&looper, move |_, message: Message| log.borrow_mut().push((name, message.what)))
    });
    first.send(Message::new(1)).unwrap();
    second.send(Message::new(2)).unwrap();
    first.send(Message::new(3)).unwrap();
    first.send(Message::new(4)).unwrap();

    assert_eq!(poll(&looper, SECOND), (PollCode::Callback, AT_ONCE));

    assert_eq!(*handled.borrow(), [("first", 1), ("second", 2), ("first", 3), ("first", 4)]);
}

/// T5, T6. Better than Android: the send is no wake, so that the first poll waits for the message and handles it.
#[test]
fn send_message_delayed_when_sent_to_the_future_should_invoke_handler_after_delay_time() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    handler.send_delayed(ms(100), Message::new(1)).unwrap();

    assert_eq!(poll(&looper, SECOND), (PollCode::Callback, ms(100)));
    assert_eq!(poll(&looper, ms(100)), (PollCode::Timeout, ms(100)));

    assert_eq!(*handled.borrow(), [1]);
}

/// M1: no `Duration` is negative, so the past is said by an `Instant`.
#[test]
fn send_message_delayed_when_sent_to_the_past_should_invoke_handler_during_next_poll() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    handler.send_at(looper.now() - SECOND, Message::new(1)).unwrap();

    assert_eq!(poll(&looper, ms(100)), (PollCode::Callback, AT_ONCE));

    assert_eq!(*handled.borrow(), [1]);
}

/// T6.
#[test]
fn send_message_delayed_when_sent_to_the_present_should_invoke_handler_during_next_poll() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    handler.send_delayed(Duration::ZERO, Message::new(1)).unwrap();

    assert_eq!(poll(&looper, ms(100)), (PollCode::Callback, AT_ONCE));

    assert_eq!(*handled.borrow(), [1]);
}

/// T5, T6. Better than Android: as the delayed one.
#[test]
fn send_message_at_time_when_sent_to_the_future_should_invoke_handler_after_delay_time() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    handler.send_at(looper.now() + ms(100), Message::new(1)).unwrap();

    assert_eq!(poll(&looper, SECOND), (PollCode::Callback, ms(100)));
    assert_eq!(poll(&looper, ms(100)), (PollCode::Timeout, ms(100)));

    assert_eq!(*handled.borrow(), [1]);
}

/// M1: it sorts by its time, before what was sent earlier to be handled now.
#[test]
fn send_message_at_time_when_sent_to_the_past_should_invoke_handler_during_next_poll() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    handler.send(Message::new(2)).unwrap();
    handler.send_at(looper.now() - SECOND, Message::new(1)).unwrap();

    assert_eq!(poll(&looper, ms(100)), (PollCode::Callback, AT_ONCE));

    assert_eq!(*handled.borrow(), [1, 2]);
}

/// T6.
#[test]
fn send_message_at_time_when_sent_to_the_present_should_invoke_handler_during_next_poll() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    handler.send_at(looper.now(), Message::new(1)).unwrap();

    assert_eq!(poll(&looper, ms(100)), (PollCode::Callback, AT_ONCE));

    assert_eq!(*handled.borrow(), [1]);
}

// removeMessages

/// R1, R2, T4. Better than Android: neither the sends nor the removal leave a wake behind.
#[test]
fn remove_message_when_removing_all_messages_for_handler_should_remove_those_message() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    for what in [1, 2, 3] {
        handler.send(Message::new(what)).unwrap();
    }

    assert_eq!(handler.clear(), 3);

    assert_eq!(poll(&looper, Duration::ZERO), (PollCode::Timeout, AT_ONCE));
    assert_eq!(poll(&looper, Duration::ZERO), (PollCode::Timeout, AT_ONCE));
    assert_eq!(*handled.borrow(), [0; 0]);
}

/// R1, R2.
#[test]
fn remove_message_when_removing_some_messages_for_handler_should_remove_those_message() {
    let looper = TestLooper::new().unwrap();
    let (handler, handled) = logging(&looper);
    for what in [1, 2, 3, 4] {
        handler.send(Message::new(what)).unwrap();
    }

    assert_eq!((handler.remove(3), handler.remove(1)), (1, 1));

    assert_eq!(poll(&looper, Duration::ZERO), (PollCode::Callback, AT_ONCE));
    assert_eq!(poll(&looper, Duration::ZERO), (PollCode::Timeout, AT_ONCE));
    assert_eq!(*handled.borrow(), [2, 4]);
}
