//! What a handler is sent, as a stream for a task.
//!
//! Holds A7, A3, H2, R2.

use std::{cell::RefCell, rc::Rc, thread};

use alooper::{Handler, Looper, task::Receiver};
use futures_util::StreamExt;

use crate::support::{
    ms,
    tasks::{settle, wait_for},
    watched,
};

/// Collects what comes, and `None` at the end.
fn collect<M: 'static>(looper: &Looper, mut receiver: Receiver<M>) -> Rc<RefCell<Vec<Option<M>>>> {
    let collected = Rc::new(RefCell::new(Vec::new()));
    let into = collected.clone();
    let receive = async move {
        loop {
            let message = receiver.recv().await;
            let is_last = message.is_none();
            into.borrow_mut().push(message);
            if is_last {
                break;
            }
        }
    };
    looper.spawn(receive).unwrap();
    settle(looper);
    collected
}

#[test]
fn a7_what_is_sent_comes_in_the_order_of_the_handler() {
    let looper = Looper::new().unwrap();
    let (sender, receiver) = looper.channel();
    let collected = collect(&looper, receiver);

    sender.send(2).unwrap();
    sender.send_at_front(1).unwrap();
    sender.send(3).unwrap();
    settle(&looper);

    assert_eq!(*collected.borrow(), [Some(1), Some(2), Some(3)]);
}

#[test]
fn a7_a3_a_task_that_waits_is_polled_in_the_message() {
    let looper = Looper::new().unwrap();
    let (sender, receiver) = looper.channel();
    let collected = collect(&looper, receiver);
    let before = looper.message_counts().posted;

    sender.send(1).unwrap();
    let turn = looper.poll_once(ms(0)).unwrap();

    assert_eq!(*collected.borrow(), [Some(1)]);
    assert_eq!((turn.messages, looper.message_counts().posted - before), (1, 1));
}

#[test]
fn a7_r2_what_is_removed_before_is_not_received() {
    let looper = Looper::new().unwrap();
    let (sender, receiver) = looper.channel();
    let collected = collect(&looper, receiver);

    sender.message(1).what(7).send().unwrap();
    sender.send(2).unwrap();
    let removed = sender.remove(7);
    settle(&looper);

    assert_eq!((removed, collected.borrow().clone()), (1, vec![Some(2)]));
}

#[test]
fn a7_h2_it_ends_after_the_last_front_and_the_last_message() {
    let looper = Looper::new().unwrap();
    let (sender, receiver) = looper.channel();
    let collected = collect(&looper, receiver);

    let second = sender.clone();
    drop(sender);
    settle(&looper);
    assert!(collected.borrow().is_empty());
    second.send(1).unwrap();
    drop(second);
    settle(&looper);

    assert_eq!(*collected.borrow(), [Some(1), None]);
}

#[test]
fn a7_it_is_a_stream_that_other_threads_fill() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (sender, receiver) = looper.channel();
        let threads = [0, 1].map(|thread| {
            let sender: Handler<u32> = sender.clone();
            thread::spawn(move || (0..500).for_each(|number| _ = sender.send(thread * 1000 + number).unwrap()))
        });
        drop(sender);

        let all: Vec<u32> = looper.block_on(receiver.collect()).unwrap();

        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let of = |thread| all.iter().filter(|number| *number / 1000 == thread).collect::<Vec<_>>();
        assert_eq!((of(0).len(), of(1).len()), (500, 500));
        assert!(of(0).is_sorted() && of(1).is_sorted());
    });
}

#[test]
fn a7_what_has_come_is_received_after_the_looper_was_dropped() {
    let looper = Looper::new().unwrap();
    let (sender, mut receiver) = looper.channel();
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    looper.poll_once(ms(0)).unwrap();
    sender.send(3).unwrap();

    drop(looper);

    let all = wait_for(async { [receiver.recv().await, receiver.recv().await, receiver.recv().await] });
    assert_eq!(all, [Some(1), Some(2), None], "what was pending was dropped with the looper");
}

/// Sends again when it is dropped.
struct Again(Option<Handler<Again>>);

impl Drop for Again {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            sender.send(Again(None)).unwrap();
        }
    }
}

#[test]
fn a7_m9_nothing_is_borrowed_while_unread_messages_are_dropped() {
    let looper = Looper::new().unwrap();
    let (sender, receiver) = looper.channel();
    sender.send(Again(Some(sender.clone()))).unwrap();
    looper.poll_once(ms(0)).unwrap();

    drop(receiver);
    let turn = looper.poll_once(ms(0)).unwrap();

    assert_eq!(turn.messages, 1, "who sends to a receiver that was dropped is not told");
}

#[test]
fn a7_a_receiver_in_a_task_that_is_cancelled_loses_nothing_that_it_has_not_taken() {
    let looper = Looper::new().unwrap();
    let (sender, receiver) = looper.channel();
    let shared = Rc::new(RefCell::new(Some(receiver)));
    let lent = shared.clone();
    let task = looper
        .spawn(async move {
            let mut receiver = lent.borrow_mut().take().unwrap();
            let first = receiver.recv().await;
            *lent.borrow_mut() = Some(receiver);
            first
        })
        .unwrap();
    settle(&looper);

    sender.send(1).unwrap();
    sender.send(2).unwrap();
    settle(&looper);

    assert_eq!(looper.block_on(task).unwrap().unwrap(), Some(1));
    assert_eq!(shared.borrow_mut().as_mut().unwrap().try_recv(), Some(2));
}
