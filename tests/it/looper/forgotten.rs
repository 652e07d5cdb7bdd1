//! What user values become of when several threads end things at once.
//!
//! Holds M10, Q4, R1.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{Handler, Looper, Posted};

use crate::support::{rounds::rounds, watched};

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

/// It was forgotten when the looper was dropped between the two steps of a cancel: so many are cancelled one after the
/// other, and the looper is dropped meanwhile.
#[test]
fn m10_a_closure_that_is_cancelled_from_elsewhere_while_its_looper_is_dropped_is_dropped() {
    const EACH: usize = 200;
    watched(|| {
        let (mut leaked, mut cancelled) = (0, 0);
        for round in rounds(300) {
            let looper = Looper::new().unwrap();
            let held = Rc::new(());
            let post = |_| {
                let kept = held.clone();
                looper.post(move |_| drop(kept)).unwrap()
            };
            let posted: Vec<Posted> = (0..EACH).map(post).collect();
            let tried = Arc::new(AtomicUsize::new(0));
            let trying = tried.clone();
            let canceller = thread::spawn(move || {
                let cancel = |posted: &&Posted| {
                    trying.fetch_add(1, Ordering::Relaxed);
                    posted.cancel()
                };
                posted.iter().filter(cancel).count()
            });
            while tried.load(Ordering::Relaxed) < round % (EACH / 4) {
                thread::yield_now();
            }

            drop(looper);

            cancelled += canceller.join().unwrap();
            leaked += Rc::strong_count(&held) - 1;
        }

        println!("{cancelled} cancelled");
        assert_eq!(leaked, 0, "of {cancelled} that were cancelled");
    });
}
