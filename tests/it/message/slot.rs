//! Slots: one pending closure, which the next post replaces.
//!
//! Holds K1, E1, M9, Q1, X2.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use alooper::{Looper, RejectReason, Slot, testing::TestLooper};

use crate::support::{HOUR, ms, watched};

fn is_send_and_sync<T: Send + Sync>(_: &T) {}

#[test]
fn k1_a_post_replaces_what_is_in_the_slot() {
    let looper = TestLooper::new().unwrap();
    let slot = looper.handle().slot();
    is_send_and_sync(&slot);
    let dropped = Arc::new(());
    let kept = dropped.clone();
    slot.post_delayed(HOUR, move |_| drop(kept)).unwrap();
    assert!(slot.is_pending());

    slot.post(|looper| looper.quit()).unwrap();

    assert_eq!((looper.len(), Arc::strong_count(&dropped)), (1, 1), "the first was dropped at once");
    assert_eq!(looper.run().unwrap().run, 1);
    assert!(!slot.is_pending() && !slot.cancel());
}

#[test]
fn k1_what_has_run_or_was_cancelled_is_not_replaced() {
    let looper = TestLooper::new().unwrap();
    let slot = looper.handle().slot();
    slot.post_at(looper.now() + ms(1), |_| ()).unwrap();
    looper.advance(ms(1));
    slot.post(|_| ()).unwrap();

    assert!(slot.cancel() && !slot.is_pending());
    slot.post(|_| ()).unwrap();

    assert_eq!(looper.run_until_idle(), 1);
    assert_eq!(looper.message_counts().removed, 1);
}

#[test]
fn k1_e1_after_a_quit_the_closure_comes_back_and_what_is_there_stays() {
    let looper = Looper::new().unwrap();
    let slot = looper.handle().slot();
    slot.post(|_| ()).unwrap();
    looper.quit_safely();

    let refused = slot.post(|looper| looper.quit()).unwrap_err();

    assert_eq!(refused.reason(), RejectReason::Quit);
    refused.into_value().unwrap()(&looper);
    assert_eq!(looper.run().unwrap().run, 1);
}

#[test]
fn k1_dropping_a_slot_leaves_what_is_in_it() {
    let looper = TestLooper::new().unwrap();
    looper.handle().slot().post(|_| ()).unwrap();

    assert_eq!(looper.run_until_idle(), 1);
}

/// M9: a closure whose `Drop` posts to the same slot.
#[test]
fn k1_m9_what_is_replaced_may_post_to_the_slot_as_it_is_dropped() {
    struct Posts(Slot);
    impl Drop for Posts {
        fn drop(&mut self) {
            self.0.post(|_| ()).unwrap();
        }
    }
    let looper = TestLooper::new().unwrap();
    let slot = looper.handle().slot();
    let posts = Posts(slot.clone());
    slot.post(move |_| drop(posts)).unwrap();

    slot.post(|_| panic!("it was replaced, in turn")).unwrap();

    assert_eq!((looper.len(), looper.run_until_idle()), (1, 1));
}

/// Exact from any thread: one is pending, and the last one runs.
#[test]
fn k1_threads_that_post_to_one_slot_leave_one() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let slot = looper.handle().slot();
        let dropped = Arc::new(AtomicUsize::new(0));
        struct Counts(Arc<AtomicUsize>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        thread::scope(|scope| {
            for _ in 0..4 {
                let slot = slot.clone();
                let dropped = &dropped;
                scope.spawn(move || {
                    for _ in 0..250 {
                        let counts = Counts(dropped.clone());
                        slot.post(move |_| drop(counts)).unwrap();
                    }
                });
            }
        });

        assert_eq!((looper.len(), dropped.load(SeqCst)), (1, 999));
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap().messages, 1);
        assert_eq!(looper.message_counts().removed, 999);
    });
}
