//! Bounded handlers: exact bounds, waiting for room, and how the waiting ends.
//!
//! Holds K2, E1, A4, Q2, X1, M10.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use alooper::{BoundedHandler, HandlerEvent, HandlerThread, Looper, RejectReason, testing::TestLooper};

use crate::support::{Elsewhere, HOUR, ms, tasks::settle, watched};

/// A handler that notes what it gets.
fn noting(looper: &Looper, capacity: usize) -> (BoundedHandler<u32>, Rc<RefCell<Vec<u32>>>) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = seen.clone();
    let handler = looper.bounded_handler(capacity, move |_, message| noted.borrow_mut().push(message));
    (handler.unwrap(), seen)
}

#[test]
fn k2_e1_a_full_handler_gives_the_message_back() {
    let looper = TestLooper::new().unwrap();
    let (handler, seen) = noting(&looper, 2);
    handler.try_send(1).unwrap();
    handler.send(2).unwrap();

    let refused = handler.try_send(3).unwrap_err();

    assert_eq!((refused.reason(), refused.into_value()), (RejectReason::Full, Some(3)));
    assert_eq!((handler.len(), handler.capacity(), handler.is_empty()), (2, 2, false));
    looper.run_until_idle();
    handler.try_send(4).unwrap();
    looper.run_until_idle();
    assert_eq!(seen.take(), [1, 2, 4]);
}

#[test]
fn k2_a_place_is_free_when_its_message_begins_is_cancelled_or_removed() {
    let looper = TestLooper::new().unwrap();
    let slot = Rc::new(RefCell::new(None::<BoundedHandler<u32>>));
    let own = slot.clone();
    let handler = looper
        .bounded_handler(1, move |_, left: u32| {
            if left > 0 {
                own.borrow().as_ref().unwrap().try_send(left - 1).unwrap();
            }
        })
        .unwrap();
    *slot.borrow_mut() = Some(handler.clone());

    handler.try_send(3).unwrap();
    assert_eq!(looper.run_until_idle(), 4, "the one that runs takes no place");
    let posted = handler.try_send(0).unwrap();
    assert!(posted.is_pending() && handler.try_send(0).is_err());
    assert!(posted.cancel() && !posted.cancel());
    handler.try_send(5).unwrap();
    assert_eq!((handler.remove_if(|message| *message == 4), handler.remove_if(|message| *message == 5)), (0, 1));
    handler.try_send(0).unwrap();
    assert_eq!(handler.clear(), 1);
    handler.try_send(0).unwrap();
    assert_eq!(looper.run_until_idle(), 1);
    slot.take();
}

#[test]
fn k2_e1_bad_input_is_refused_with_a_reason() {
    let looper = TestLooper::new().unwrap();
    let refused = looper.bounded_handler(0, |_, _: u32| ()).unwrap_err();
    assert_eq!(refused.reason(), RejectReason::ZeroCapacity);
    assert!(refused.into_value().is_some());
    let refused = looper.handle().bounded_handler(0, |_, _: u32| ()).unwrap_err();
    assert_eq!(std::io::Error::from(refused).kind(), std::io::ErrorKind::InvalidInput);

    let (handler, _) = noting(&looper, 1);
    handler.send(1).unwrap();
    let refused = handler.send(2).unwrap_err();
    assert_eq!((refused.reason(), refused.into_value()), (RejectReason::OwnThread, Some(2)));
    handler.clear();

    looper.quit();
    let refused = handler.send(3).unwrap_err();
    assert_eq!((refused.reason(), refused.into_value()), (RejectReason::Quit, Some(3)));
    assert_eq!(handler.try_send(4).unwrap_err().reason(), RejectReason::Quit);
    assert_eq!(looper.handle().bounded_handler(1, |_, _: u32| ()).unwrap_err().reason(), RejectReason::Quit);
}

/// However many send, no more than the bound is ever pending; all arrive, those of one thread in their order.
#[test]
fn k2_four_producers_wait_for_a_consumer_and_lose_nothing() {
    watched(|| {
        const EACH: u32 = 500;
        let looper = Looper::new().unwrap();
        let left = Rc::new(Cell::new(4 * EACH));
        let last = Rc::new(RefCell::new([None::<u32>; 4]));
        let most = Arc::new(AtomicUsize::new(0));
        let handler = looper.bounded_handler(3, move |looper: &Looper, (thread, number): (usize, u32)| {
            assert!(last.borrow_mut()[thread].replace(number).is_none_or(|last| last + 1 == number));
            left.set(left.get() - 1);
            if left.get() == 0 {
                looper.quit();
            }
        });
        let handler = handler.unwrap();
        let producers: Vec<_> = (0..4)
            .map(|thread| {
                let (handler, most) = (handler.clone(), most.clone());
                thread::spawn(move || {
                    for number in 0..EACH {
                        handler.send((thread, number)).unwrap();
                        most.fetch_max(handler.len(), SeqCst);
                    }
                })
            })
            .collect();

        looper.run().unwrap();

        producers.into_iter().for_each(|producer| producer.join().unwrap());
        assert!(most.load(SeqCst) <= 3, "{most:?}");
    });
}

/// A thread that waits for room is released by a quit, at once, though nobody polls the looper.
#[test]
fn k2_q2_who_waits_is_released_by_quit_and_quit_safely_and_the_end_of_the_looper() {
    watched(|| {
        let ends: [fn(Looper) -> Option<Looper>; 3] = [
            |looper| {
                looper.handle().quit();
                Some(looper)
            },
            |looper| {
                looper.quit_safely();
                Some(looper)
            },
            |_| None,
        ];
        for (end, reason) in ends.into_iter().zip([RejectReason::Quit, RejectReason::Quit, RejectReason::Dropped]) {
            let looper = Looper::new().unwrap();
            let (handler, _) = noting(&looper, 1);
            handler.send(1).unwrap();
            let (waits, is_waiting) = mpsc::channel();
            let other = thread::spawn(move || {
                assert!(handler.try_send(2).is_err());
                waits.send(()).unwrap();
                let refused = handler.send(2).unwrap_err();
                (refused.reason(), refused.into_value())
            });
            is_waiting.recv().unwrap();

            let _not_polled = end(looper);

            assert_eq!(other.join().unwrap(), (reason, Some(2)));
        }
    });
}

/// Polls a future once.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn k2_places_go_to_those_who_wait_in_their_order_and_not_past_them() {
    let looper = TestLooper::new().unwrap();
    let (handler, seen) = noting(&looper, 1);
    handler.try_send(0).unwrap();
    let (mut first, mut second) = (pin!(handler.send_async(1)), pin!(handler.send_async(2)));
    assert!(poll_once(first.as_mut()).is_pending() && poll_once(second.as_mut()).is_pending());

    looper.run_until_idle();

    assert_eq!(handler.try_send(3).unwrap_err().reason(), RejectReason::Full, "the place is the first one's");
    assert!(poll_once(second.as_mut()).is_pending());
    assert!(matches!(poll_once(first.as_mut()), Poll::Ready(Ok(_))));
    looper.run_until_idle();
    assert!(matches!(poll_once(second.as_mut()), Poll::Ready(Ok(_))));
    looper.run_until_idle();
    assert_eq!(seen.take(), [0, 1, 2]);
}

#[test]
fn k2_a_place_that_was_granted_and_not_taken_goes_to_the_next() {
    let looper = TestLooper::new().unwrap();
    let (handler, _) = noting(&looper, 1);
    handler.try_send(0).unwrap();
    let mut first = Box::pin(handler.send_async(1));
    let mut second = Box::pin(handler.send_async(2));
    let mut third = Box::pin(handler.send_async(3));
    for waiting in [&mut first, &mut second, &mut third] {
        assert!(poll_once(waiting.as_mut()).is_pending());
    }
    drop(second);
    looper.run_until_idle();

    drop(first);

    assert!(matches!(poll_once(third.as_mut()), Poll::Ready(Ok(_))));
    assert_eq!(looper.run_until_idle(), 1);
    handler.try_send(4).unwrap();
    assert_eq!(looper.run_until_idle(), 1, "no place was lost");
}

#[test]
fn k2_a4_a_task_on_the_looper_itself_waits_for_room_and_is_released_by_a_quit() {
    let looper = TestLooper::new().unwrap();
    let (handler, seen) = noting(&looper, 1);
    let sender = handler.clone();
    let task = looper.spawn(async move {
        for number in 0..5 {
            sender.send_async(number).await?;
        }
        std::io::Result::Ok(())
    });
    settle(&looper);
    assert_eq!(seen.take(), [0, 1, 2, 3, 4]);
    assert!(task.unwrap().is_finished());

    handler.try_send(5).unwrap();
    let mut waiting = pin!(handler.send_async(6));
    assert!(poll_once(waiting.as_mut()).is_pending());
    looper.quit();
    let Poll::Ready(Err(refused)) = poll_once(waiting) else { panic!("it is released") };
    assert_eq!((refused.reason(), refused.into_value()), (RejectReason::Quit, Some(6)));
}

#[test]
fn k2_handlers_made_elsewhere_are_bounded_too_and_messages_need_not_be_send() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let local = looper.bounded_handler(1, |_, _: Rc<()>| ()).unwrap();
        local.try_send(Rc::new(())).unwrap();
        assert!(local.try_send(Rc::new(())).unwrap_err().into_value().is_some());
        assert_eq!(looper.run_until_idle(), 1);

        let thread = HandlerThread::spawn("bounded").unwrap();
        let (told, heard) = mpsc::channel();
        let handler = thread.handle().bounded_handler(2, move |_, number: u32| told.send(number).unwrap()).unwrap();
        (0..100).for_each(|number| _ = handler.send(number).unwrap());
        assert!(heard.iter().take(100).eq(0..100));
        thread.quit_safely();
        thread.join().unwrap();
    });
}

/// X1: a panic in the handler frees the place all the same.
#[test]
fn k2_x1_a_panic_takes_no_place_for_good() {
    let looper = TestLooper::new().unwrap();
    let handler = looper.bounded_handler(1, |_, panics: bool| assert!(!panics)).unwrap();
    handler.try_send(true).unwrap();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| looper.run_until_idle())).is_err());

    handler.try_send(false).unwrap();

    assert_eq!(looper.run_until_idle(), 1);
}

#[test]
fn k2_b2_asynchronous_messages_share_the_bound_and_pass_barriers() {
    let looper = TestLooper::new().unwrap();
    let (handler, seen) = noting(&looper, 2);
    let _barrier = looper.barrier().unwrap();
    handler.try_send(1).unwrap();
    handler.asynchronous().try_send(2).unwrap();
    assert!(handler.try_send(3).is_err());

    looper.run_until_idle();

    assert_eq!(seen.take(), [2]);
    handler.clear();
}

// with_disconnect

type Events = Rc<RefCell<Vec<HandlerEvent<u32>>>>;

fn events(looper: &Looper) -> (impl FnMut(&Looper, u32) + use<>, Events) {
    let events = Events::default();
    let noted = events.clone();
    (looper.with_disconnect(move |_, event| noted.borrow_mut().push(event)), events)
}

#[test]
fn k2_h2_the_last_front_that_is_dropped_is_told_after_the_last_message_once() {
    let looper = TestLooper::new().unwrap();
    let (callback, seen) = events(&looper);
    let handler = looper.handler(callback);
    let other = handler.clone();
    handler.send(1).unwrap();
    other.send_delayed(ms(1), 2).unwrap();
    drop(handler);
    drop(other);

    assert_eq!(looper.run_until_idle(), 1);
    assert_eq!(seen.borrow().as_slice(), [HandlerEvent::Message(1)]);
    looper.advance(HOUR);

    assert_eq!(seen.take(), [HandlerEvent::Message(1), HandlerEvent::Message(2), HandlerEvent::Disconnected]);
    assert_eq!(Rc::strong_count(&seen), 1, "the closure was dropped");
}

#[test]
fn k2_a_front_that_is_dropped_on_another_thread_is_told_at_home() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let (callback, seen) = events(&looper);
        let handler = looper.bounded_handler(1, callback).unwrap();
        thread::spawn(move || handler.send(7).map(drop)).join().unwrap().unwrap();

        looper.run_until_idle();

        assert_eq!(seen.take(), [HandlerEvent::Message(7), HandlerEvent::Disconnected]);
    });
}

#[test]
fn k2_q2_a_looper_that_quits_tells_nobody() {
    let looper = Looper::new().unwrap();
    let (callback, seen) = events(&looper);
    let handler = looper.handler(callback);
    handler.send(1).unwrap();
    looper.quit();
    drop(handler);
    looper.poll_once(Duration::ZERO).unwrap();
    drop(looper);

    assert!(seen.take().is_empty());
    assert_eq!(Rc::strong_count(&seen), 1);
}

/// The thread that sends is not the one that a queue would be read on: `Elsewhere` is the looper of another thread.
#[test]
fn k2_a_looper_that_sends_to_another_ones_full_handler_waits_and_goes_on() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let handler = elsewhere.handle.bounded_handler(1, |_, _: u32| ()).unwrap();
        let looper = Looper::new().unwrap();
        looper
            .post(move |looper| {
                (0..50).for_each(|number| {
                    _ = handler.send(number).unwrap();
                    looper.quit()
                })
            })
            .unwrap();

        looper.run().unwrap();

        elsewhere.handle.quit_safely();
        assert_eq!(elsewhere.join().run, 50);
    });
}
