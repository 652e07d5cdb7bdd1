//! What user values become of when several threads end things at once.
//!
//! Holds M10, Q4, R1.

mod support;
#[path = "support/rounds.rs"]
mod rounds;

use std::{
    cell::Cell,
    hint,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{Handler, Looper, Posted};
use rounds::rounds;
use support::watched;

/// Does something when it is dropped.
struct OnDrop(Option<Box<dyn FnOnce() + Send>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(action) = self.0.take() {
            action();
        }
    }
}

/// It was forgotten: its handler was taken before it was looked for.
#[test]
fn q4_what_a_predicate_looked_at_when_a_quit_gave_it_up_is_dropped_though_its_handler_ends_first() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handler: Handler<OnDrop> = Handler::new(&looper, |_, _| ());
        let held = Arc::new(());
        let (looks, is_looked_at) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let kept = held.clone();
        handler.send(OnDrop(Some(Box::new(move || drop(kept))))).unwrap();
        let other = thread::spawn({
            let handler = handler.clone();
            move || {
                handler.remove_if(|_| {
                    looks.send(()).unwrap();
                    let _ = may_go_on.recv();
                    false
                })
            }
        });
        is_looked_at.recv().unwrap();
        // Dropped while the looper's thread tidies up, after it has taken what was left to it: only now does the other
        // thread leave it the message and then drop the last front.
        let other_ends = move || {
            drop(go_on);
            assert_eq!(other.join().unwrap(), 0);
        };
        handler.send(OnDrop(Some(Box::new(other_ends)))).unwrap();
        drop(handler);

        looper.quit();
        while !looper.poll_once(Duration::ZERO).unwrap().quit {}
        looper.poll_once(Duration::ZERO).unwrap();

        assert_eq!(Arc::strong_count(&held), 1, "it is dropped in the turn after that");
    });
}

/// It was forgotten when the looper was dropped between the two steps of a cancel.
#[test]
fn m10_a_closure_that_is_cancelled_from_elsewhere_while_its_looper_is_dropped_is_dropped() {
    watched(|| {
        let place: Arc<Mutex<Option<Posted>>> = Arc::default();
        let round = Arc::new(AtomicU32::new(0));
        let done = Arc::new(AtomicU32::new(0));
        let last = rounds(30_000);
        let canceller = thread::spawn({
            let (place, round, done) = (place.clone(), round.clone(), done.clone());
            move || {
                let mut cancelled = 0;
                for next in 1..=last {
                    while round.load(Ordering::Acquire) != next {
                        thread::yield_now();
                    }
                    let posted = place.lock().unwrap().take().unwrap();
                    (0..next % 53 * 4).for_each(|_| hint::spin_loop());
                    cancelled += u32::from(posted.cancel());
                    done.store(next, Ordering::Release);
                }
                cancelled
            }
        });
        let mut leaked = 0;
        for next in 1..=last {
            let held = Rc::new(Cell::new(0));
            let looper = Looper::new().unwrap();
            let kept = held.clone();
            *place.lock().unwrap() = Some(looper.post(move |_| kept.set(1)).unwrap());
            round.store(next, Ordering::Release);
            (0..next % 61 * 4).for_each(|_| hint::spin_loop());
            drop(looper);
            while done.load(Ordering::Acquire) != next {
                thread::yield_now();
            }
            leaked += usize::from(Rc::strong_count(&held) != 1);
        }

        let cancelled = canceller.join().unwrap();
        println!("{cancelled} cancelled");
        assert_eq!(leaked, 0, "of {cancelled} that were cancelled");
    });
}
