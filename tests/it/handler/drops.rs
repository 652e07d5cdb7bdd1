//! Handlers' messages and closures whose `Drop` uses everything, sends again, or panics, whatever drops them.
//!
//! Holds M9, X3, X4, C59, C61.

use std::{
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use alooper::{Handler, Looper, Posted, WeakHandler, testing::TestLooper};

use crate::support::{
    HOUR,
    handlers::{Meddler, Parcel, Told, WHERES, assert_report, elsewhere, keeper, send_each, told, told_many},
    ms, watched,
};

/// A removal of all messages of a handler of values that are hard to drop.
type RemoveParcels = fn(&Handler<Parcel>, &Posted<Parcel>) -> usize;

/// C59.
#[test]
fn m9_a_removed_value_whose_drop_uses_everything_is_dropped_with_nothing_held() {
    let removals: [(&str, RemoveParcels); 5] = [
        ("all", |handler, _| handler.clear()),
        ("what", |handler, _| handler.remove(1)),
        ("predicate", |handler, _| handler.remove_if(|parcel| parcel.is_some())),
        ("cancel", |_, posted| usize::from(posted.cancel())),
        ("cancel in a predicate", |handler, posted| {
            let mut cancelled = 0;
            handler.remove_if(|_| {
                cancelled += usize::from(posted.cancel());
                false
            });
            cancelled
        }),
    ];
    watched(move || {
        for ((name, removal), place) in removals.into_iter().flat_map(|removal| WHERES.map(|place| (removal, place))) {
            let looper = TestLooper::new().unwrap();
            let (handler, _kept) = keeper::<Parcel>(&looper);
            let (meddler, dropped) = Meddler::new(&handler);
            // Of the meddler's own victim, there is nothing left to remove.
            handler.remove_if(|parcel| parcel.is_none());
            let posted = handler.message(Some(meddler)).what(1).send().unwrap();
            let front = handler.message(None).what(1).send_at_front().unwrap();

            let (removed, there) = place.ask(|| (removal(&handler, &posted), thread::current().id()));

            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [there], "{name}, {place:?}");
            let left = usize::from(front.is_pending());
            assert_eq!((removed, handler.len()), (2 - left, left), "{name}, {place:?}");
            assert_eq!(looper.run_until_idle(), left);
            let report = looper.message_counts();
            assert_eq!((report.posted, report.dropped), (report.run + report.removed, 0), "{name}, {place:?}");
        }
    });
}

/// What gives a parcel to a handler, and ends its stay there.
type EndParcel = fn(&Looper, &Handler<Parcel>, Meddler);

/// C59.
#[test]
fn m9_messages_whose_drop_uses_everything_are_dropped_with_nothing_held() {
    let ends: [(&str, EndParcel); 5] = [
        ("handled", |looper, handler, meddler| {
            handler.send(Some(meddler)).unwrap();
            looper.poll_once(None).unwrap();
        }),
        ("quit", |looper, handler, meddler| {
            handler.send(Some(meddler)).unwrap();
            looper.quit();
            looper.run().unwrap();
        }),
        ("quit elsewhere", |looper, handler, meddler| {
            elsewhere(|| {
                handler.send_delayed(HOUR, Some(meddler)).unwrap();
                handler.looper().quit();
            });
            looper.run().unwrap();
        }),
        ("quit safely", |looper, handler, meddler| {
            handler.send_delayed(HOUR, Some(meddler)).unwrap();
            looper.quit_safely();
            looper.run().unwrap();
        }),
        ("refused", |looper, handler, meddler| {
            looper.quit();
            drop(handler.send(Some(meddler)).unwrap_err());
        }),
    ];
    watched(move || {
        for (name, end) in ends {
            let looper = Looper::new().unwrap();
            let handler = Handler::new(&looper, |_, parcel: Parcel| drop(parcel));
            let (meddler, dropped) = Meddler::new(&handler);

            end(&looper, &handler, meddler);

            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id()], "{name}");
            looper.quit();
            let report = looper.run().unwrap();
            assert_eq!(report.posted, report.run + report.removed + report.dropped, "{name}");
        }
    });
}

/// C59: values and closures, of two handlers that use each other.
#[test]
fn m9_what_a_dropped_looper_drops_may_use_it() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let receivers: Vec<_> = (0..2)
            .flat_map(|_| {
                let other = looper.handle().handler(|_, _: Parcel| ()).unwrap();
                let (in_closure, closure_dropped) = Meddler::new(&other);
                let handler = Handler::new(&looper, move |_, parcel: Parcel| drop((&in_closure, parcel)));
                let drops = [Duration::ZERO, HOUR].map(|delay| {
                    let (meddler, dropped) = Meddler::new(&handler);
                    handler.send_delayed(delay, Some(meddler)).unwrap();
                    dropped
                });
                drops.into_iter().chain([closure_dropped])
            })
            .collect();
        let handle = looper.handle();

        drop(looper);

        let home = thread::current().id();
        assert!(receivers.iter().all(|dropped| dropped.try_iter().eq([home])));
        let report = handle.message_counts();
        assert_eq!((report.posted, report.dropped), (10, 10), "the victims, too");
    });
}

#[test]
fn m9_a_closure_whose_drop_uses_everything_is_dropped_with_nothing_held() {
    watched(|| {
        for by_another in [false, true] {
            let looper = TestLooper::new().unwrap();
            let (other, _kept) = keeper::<Parcel>(&looper);
            let (meddler, dropped) = Meddler::new(&other);
            let handler = Handler::new(&looper, move |_, _: Parcel| {
                let _ = &meddler;
            });

            if by_another {
                elsewhere(|| drop(handler))
            } else {
                drop(handler)
            }
            looper.run_until_idle();

            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id()]);
            assert!(other.is_empty() && looper.is_empty());
        }
    });
}

/// Sends another one of its kind when it is dropped, for as long as it is taken.
struct Again(Option<WeakHandler<Again>>);

impl Drop for Again {
    fn drop(&mut self) {
        let Some(weak) = self.0.take() else {
            return;
        };
        if let Some(Err(rejected)) = weak.upgrade().map(|handler| handler.send(Again(Some(weak)))) {
            rejected.into_value().unwrap().0 = None;
        }
    }
}

#[test]
fn x4_removing_values_whose_drop_sends_again_removes_what_was_there_once() {
    watched(|| {
        for place in WHERES {
            let looper = Looper::new().unwrap();
            let handler = looper.handle().handler(|_, _: Again| ()).unwrap();
            for _ in 0..100 {
                handler.message(Again(Some(handler.downgrade()))).what(1).send().unwrap();
            }

            assert_eq!(place.ask(|| handler.remove(1)), 100);
            assert_eq!((handler.len(), handler.has(1)), (100, false));
            assert_eq!(place.ask(|| handler.clear()), 100);
            assert_eq!(place.ask(|| handler.remove_if(|_| true)), 100);
            let turn = looper.poll_once(None).unwrap();
            assert_eq!((turn.messages, turn.more, handler.len()), (256, true, 100), "what is handled sends again, too");
            looper.quit();

            let report = looper.run().unwrap();
            assert_eq!((report.removed, report.posted), (300, report.run + report.removed + report.dropped));
        }
    });
}

/// Sends another one of its kind when it is dropped, and counts that it was refused.
struct Refused(WeakHandler<Option<Refused>>, Arc<AtomicU64>);

impl Drop for Refused {
    fn drop(&mut self) {
        if self.0.upgrade().is_some_and(|handler| handler.send(None).is_err()) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// C59.
#[test]
fn x4_what_is_given_up_and_sends_again_is_refused() {
    type End = fn(Looper);
    let ends: [End; 3] = [
        |looper| {
            looper.quit();
            looper.run().unwrap();
        },
        |looper| {
            looper.quit_safely();
            looper.run().unwrap();
        },
        drop,
    ];
    watched(move || {
        for end in ends {
            let looper = Looper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            let refused = Arc::new(AtomicU64::new(0));
            for _ in 0..100 {
                handler.send_delayed(HOUR, Some(Refused(handler.downgrade(), refused.clone()))).unwrap();
            }

            end(looper);

            assert_eq!(refused.load(Ordering::Relaxed), 100);
            assert_report(handler.looper().message_counts(), 100, 0, 0, 100);
        }
    });
}

/// Many of them, on a thread with a small stack.
#[test]
fn x4_thousands_of_messages_are_dropped_without_deep_recursion() {
    watched(|| {
        let small = thread::Builder::new().stack_size(64 * 1024);
        let ended = small.spawn(|| {
            let looper = Looper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            for number in 0..20_000_u32 {
                handler.send_delayed(ms(u64::from(number)), Box::new(number)).unwrap();
            }
            assert_eq!(handler.remove_if(|number| **number % 10 == 0), 2000);
            assert_eq!(handler.remove(1), 0);
            drop(looper);
            handler.looper().message_counts()
        });

        let report = ended.unwrap().join().unwrap();
        assert_eq!((report.posted, report.removed, report.run + report.dropped), (20_000, 2000, 18_000));
    });
}

/// Panics when it is dropped, if it is to.
struct Fragile(bool, #[expect(dead_code, reason = "is dropped")] Told);

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.0, "fragile");
    }
}

/// C61.
#[test]
fn x3_values_that_panic_when_they_are_removed_do_not_keep_the_others_from_being_dropped() {
    type Remove = fn(&Handler<Fragile>) -> usize;
    let removals: [Remove; 2] = [|handler| handler.clear(), |handler| handler.remove(0)];
    watched(move || {
        for (removal, place) in removals.into_iter().flat_map(|removal| WHERES.map(|place| (removal, place))) {
            let looper = TestLooper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            let (values, dropped) = told_many(5);
            for (told, is_fragile) in values.into_iter().zip([false, true, true, false, true]) {
                handler.message(Fragile(is_fragile, told)).what(0).send().unwrap();
            }

            let panicked = place.ask(|| panic::catch_unwind(AssertUnwindSafe(|| removal(&handler))).is_err());

            assert!(panicked);
            assert_eq!((dropped.try_iter().count(), handler.len()), (5, 0), "{place:?}");
            assert_report(looper.message_counts(), 5, 0, 5, 0);
            handler.send(Fragile(false, told().0)).unwrap();
            assert_eq!(looper.run_until_idle(), 1);
        }
    });
}

/// C61: it ends there, and can be asked for again.
#[test]
fn x3_a_value_that_panics_when_a_predicate_has_it_removed_leaves_the_others_pending() {
    watched(|| {
        for place in WHERES {
            let looper = TestLooper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            let (values, dropped) = told_many(3);
            send_each(
                &handler,
                values.into_iter().zip([true, false, true]).map(|(told, is_fragile)| Fragile(is_fragile, told)),
            );
            let remove = || panic::catch_unwind(AssertUnwindSafe(|| handler.remove_if(|_| true))).ok();

            assert_eq!((place.ask(remove), handler.len(), dropped.try_iter().count()), (None, 2, 1));
            assert_eq!((place.ask(remove), handler.len(), dropped.try_iter().count()), (None, 0, 2));
            assert_eq!(place.ask(remove), Some(0));
            assert_report(looper.message_counts(), 3, 0, 3, 0);
        }
    });
}

/// C61.
#[test]
fn x3_values_and_closures_that_panic_in_drop_do_not_keep_the_others_from_being_dropped() {
    watched(|| {
        for quits in [true, false] {
            let looper = Looper::new().unwrap();
            let (closures, closures_dropped) = told_many(3);
            let (values, values_dropped) = told_many(6);
            let handlers: Vec<Handler<Fragile>> = closures
                .into_iter()
                .zip([true, false, true])
                .map(|(told, is_fragile)| {
                    let own = Fragile(is_fragile, told);
                    Handler::new(&looper, move |_, _| {
                        let _ = &own;
                    })
                })
                .collect();
            for (number, told) in values.into_iter().enumerate() {
                handlers[number % 3].send(Fragile(number % 2 == 0, told)).unwrap();
            }
            let handle = looper.handle();

            if quits {
                looper.quit();
                assert!(panic::catch_unwind(AssertUnwindSafe(|| looper.poll_once(None))).is_err());
                assert_eq!(values_dropped.try_iter().count(), 6);
                assert!(looper.poll_once(None).unwrap().quit);
            }
            assert!(panic::catch_unwind(AssertUnwindSafe(|| drop(looper))).is_err());

            assert_eq!(values_dropped.try_iter().count(), if quits { 0 } else { 6 });
            assert_eq!(closures_dropped.try_iter().count(), 3);
            assert_report(handle.message_counts(), 6, 0, 0, 6);
        }
    });
}

/// The looper's thread is known as its home also after another looper of that thread has gone.
#[test]
fn h2_the_last_front_takes_the_closure_with_it_though_another_looper_of_the_thread_has_gone() {
    let gone = Looper::new().unwrap();
    let looper = Looper::new().unwrap();
    let probe = Rc::new(());
    let held = probe.clone();
    let handler: Handler<()> = Handler::new(&looper, move |_, ()| _ = &held);

    drop(gone);
    drop(handler);

    assert_eq!(Rc::strong_count(&probe), 1, "it was dropped here and now");
}
