//! Plain posts have approximate times: what must not be seen of that, on the real clock.
//!
//! Holds B2, M1, M2, O1.

use std::{
    cell::RefCell,
    hint,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use alooper::Looper;

use crate::support::{
    host::{drain, hosted, is_readable},
    ms, watched,
};

/// Keeps this thread busy until it is `when`.
fn busy_until(looper: &Looper, when: Instant) {
    while looper.now() < when {
        hint::spin_loop();
    }
}

/// It did, since the time of a plain post may be one before the barrier's until it is in the queue.
#[test]
fn b2_o1_a_post_that_is_held_up_does_not_call_the_host() {
    watched(|| {
        for _ in 0..20 {
            let looper = hosted();
            let barrier = looper.barrier().unwrap();
            drain(&looper);

            looper.post(|_| ()).unwrap();

            assert!(!is_readable(&looper), "a barrier holds it up");
            drop(barrier);
            assert!(is_readable(&looper));
            assert_eq!(drain(&looper), (1, 0));
        }
    });
}

/// It ran after it whenever the system's coarse clock lagged by more than was thought possible, as it does when the
/// processor that keeps the time is busy or stolen.
#[test]
fn m2_what_was_due_before_a_plain_post_runs_before_it_on_a_busy_machine() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let end = looper.now() + ms(150);
        let is_over = Arc::new(AtomicBool::new(false));
        let load: Vec<_> = (0..4)
            .map(|_| {
                let is_over = is_over.clone();
                thread::spawn(move || while !is_over.load(Ordering::Relaxed) {})
            })
            .collect();
        let order = Rc::new(RefCell::new(Vec::new()));
        let note = |word: &'static str| {
            let order = order.clone();
            move |_: &Looper| order.borrow_mut().push(word)
        };
        let (mut wrong, mut rounds) = (0, 0);
        while looper.now() < end {
            let due = looper.now() + Duration::from_micros(rounds % 90);
            looper.post_at(due, note("due")).unwrap();
            busy_until(&looper, due);
            looper.post(note("plain")).unwrap();
            looper.poll_once(Duration::ZERO).unwrap();
            wrong += usize::from(order.take() != ["due", "plain"]);
            rounds += 1;
        }
        is_over.store(true, Ordering::Relaxed);
        load.into_iter().for_each(|thread| thread.join().unwrap());

        assert_eq!(wrong, 0, "of {rounds}");
    });
}

/// Also from another thread, whose post before that one had still an earlier time.
#[test]
fn m2_what_has_become_due_runs_before_what_another_thread_posts_after_that() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let order: Arc<Mutex<Vec<&'static str>>> = Arc::default();
        let note = |word| {
            let order = order.clone();
            move |_: &Looper| order.lock().unwrap().push(word)
        };
        let due = looper.now() + ms(5);
        looper.post_at(due, note("timed")).unwrap();
        let (handle, earlier, later) = (looper.handle(), note("earlier"), note("later"));
        let poster = thread::spawn(move || {
            handle.post(earlier).unwrap();
            while handle.now() <= due {
                hint::spin_loop();
            }
            handle.post(later).unwrap();
        });
        poster.join().unwrap();

        while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}

        let order = order.lock().unwrap();
        assert_eq!((order.len(), order[2]), (3, "later"), "{order:?}");
    });
}
