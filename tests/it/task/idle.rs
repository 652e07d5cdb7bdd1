//! Waiting until the looper is idle.
//!
//! Holds A3, I1.

use std::{cell::RefCell, rc::Rc};

use alooper::Looper;

use crate::support::{
    Elsewhere, ms,
    tasks::{settle, wait_for, yield_now},
    watched,
};

#[test]
fn i1_a3_it_ends_when_nothing_is_due_and_polls_the_task_at_once() {
    let looper = Looper::new().unwrap();
    let said = Rc::new(RefCell::new(Vec::new()));
    let (words, handle) = (said.clone(), looper.handle());
    looper
        .spawn(async move {
            handle.next_idle().await;
            words.borrow_mut().push("idle");
        })
        .unwrap();
    let words = said.clone();
    looper
        .spawn(async move {
            for _ in 0..3 {
                words.borrow_mut().push("work");
                yield_now().await;
            }
        })
        .unwrap();

    settle(&looper);
    let turn = looper.poll_once(ms(1)).unwrap();

    assert_eq!(*said.borrow(), ["work", "work", "work", "idle"]);
    assert_eq!((turn.messages, looper.message_counts().posted), (0, 5), "no message is posted for it");
}

#[test]
fn i1_one_that_is_dropped_is_no_idle_handler_any_more() {
    let looper = Looper::new().unwrap();
    let handle = looper.handle();
    let task = looper.spawn(async move { handle.next_idle().await }).unwrap();
    let turn = looper.poll_once(ms(1)).unwrap();
    assert!(turn.messages == 1 && !task.is_finished());

    drop(task.guard());

    assert_eq!(looper.poll_once(ms(1)).unwrap().idles, 0);
}

#[test]
fn i1_it_is_awaited_on_any_thread() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());

        wait_for(elsewhere.handle.next_idle());

        elsewhere.handle.quit();
        elsewhere.join();
    });
}
