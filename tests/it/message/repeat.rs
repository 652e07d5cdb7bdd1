//! Posts that repeat: when they run, and how they end.
//!
//! Holds T7, M10, R1, Q1, Q2.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    ops::ControlFlow,
    os::unix::net::UnixStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use alooper::{FdNext, Interest, Looper, Posted, RejectReason};

use crate::support::{Elsewhere, HOUR, ms, watched};

/// Keeps the looper's thread busy until the clock shows `time`.
fn work_until(looper: &Looper, time: Instant) {
    while looper.now() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn post_every_runs_once_a_period_and_never_early() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let ran: Rc<RefCell<Vec<Instant>>> = Rc::default();
        let start = looper.now();
        let times = ran.clone();
        let tick = move |looper: &Looper| {
            times.borrow_mut().push(looper.now());
            ControlFlow::Continue(())
        };
        let own = looper.post_every(ms(1), tick.clone()).unwrap();
        let remote = looper.handle().post_every(HOUR, |_| ControlFlow::Continue(())).unwrap();

        while ran.borrow().len() < 20 {
            assert!(own.is_pending());
            assert_eq!(looper.len(), 2);
            looper.poll_once(None).unwrap();
        }

        for (run, at) in (1..).zip(ran.borrow().iter()) {
            assert!(*at >= start + ms(run), "run {run}");
        }
        assert!(remote.is_pending());
        assert_eq!(looper.message_counts().posted, 2 + looper.message_counts().run);
    });
}

#[test]
fn post_every_skips_the_runs_that_were_missed_and_keeps_to_its_periods() {
    watched(|| {
        let period = ms(4);
        let looper = Looper::new().unwrap();
        let ran: Rc<RefCell<Vec<Instant>>> = Rc::default();
        let times = ran.clone();
        let start = looper.now();
        let tick = move |looper: &Looper| {
            times.borrow_mut().push(looper.now());
            if times.borrow().len() == 1 {
                work_until(looper, start + period * 7 / 2);
            }
            ControlFlow::Continue(())
        };
        looper.post_every(period, tick).unwrap();

        while ran.borrow().len() < 3 {
            looper.poll_once(None).unwrap();
        }

        let ran = ran.borrow();
        assert!(ran[0] >= start + period);
        assert!(ran[1] >= start + 4 * period);
        assert!(ran[2] >= start + 5 * period);
    });
}

/// After a run that ends half a period late, one that drifts waits for a whole period more. One try that is in time
/// shows that this one does not; a busy machine may need several.
#[test]
fn post_every_does_not_drift_by_what_its_runs_take() {
    watched(|| {
        let period = ms(20);

        let in_time = (0..1000).map(|_| second_run_after_a_long_one(period)).find(|since_start| {
            assert!(*since_start >= 3 * period);
            *since_start < period * 34 / 10
        });

        assert!(in_time.is_some());
    });
}

/// How long after the start the second run is, if the first one ends two and a half periods after it.
fn second_run_after_a_long_one(period: Duration) -> Duration {
    let looper = Looper::new().unwrap();
    let start = looper.now();
    let mut is_first = true;
    let tick = move |looper: &Looper| {
        if !is_first {
            looper.quit();
        }
        is_first = false;
        work_until(looper, start + period * 5 / 2);
        ControlFlow::Continue(())
    };
    looper.post_every(period, tick).unwrap();
    looper.run().unwrap();
    looper.now() - start
}

#[test]
fn post_every_ends_when_its_closure_breaks_and_drops_it_then() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let alive = Arc::new(());
        for remote in [false, true] {
            let (held, mut left) = (alive.clone(), 3);
            let tick = move |_: &Looper| {
                let _ = &held;
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let posted = match remote {
                false => looper.post_every(Duration::from_micros(100), tick).unwrap(),
                true => looper.handle().post_every(Duration::from_micros(100), tick).unwrap(),
            };

            let mut runs = 0;
            while posted.is_pending() {
                runs += looper.poll_once(None).unwrap().messages;
            }

            assert_eq!((runs, looper.len(), Arc::strong_count(&alive)), (3, 0, 1));
            assert!(!posted.cancel());
        }
        let report = looper.message_counts();
        assert_eq!((report.posted, report.run, report.removed), (6, 6, 0));
    });
}

#[test]
fn r1_post_every_is_cancelled_from_inside_its_run() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let own: Rc<RefCell<Option<Posted>>> = Rc::default();
        let is_own = own.clone();
        let runs = Rc::new(Cell::new(0));
        let count = runs.clone();
        let tick = move |_: &Looper| {
            count.set(count.get() + 1);
            let posted = is_own.borrow();
            let posted = posted.as_ref().unwrap();
            assert!(!posted.is_pending());
            assert!(posted.cancel());
            assert!(!posted.cancel());
            ControlFlow::Continue(())
        };
        let posted = looper.post_every(Duration::ZERO, tick).unwrap();
        own.replace(Some(posted.clone()));

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        assert!(looper.poll_once(ms(2)).unwrap().timed_out);
        assert_eq!((runs.get(), looper.len(), posted.is_pending()), (1, 0, false));
        assert_eq!(Rc::strong_count(&runs), 1);
    });
}

#[test]
fn r1_post_every_is_cancelled_from_outside_before_and_after_its_first_run() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let alive = Arc::new(());
        for runs in [0, 1] {
            let held = alive.clone();
            let tick = move |_: &Looper| {
                let _ = &held;
                ControlFlow::Continue(())
            };
            let posted = looper.post_every(Duration::from_micros(100), tick).unwrap();
            for _ in 0..runs {
                looper.poll_once(None).unwrap();
            }

            assert!(posted.is_pending() && posted.cancel());
            assert!(!posted.is_pending() && !posted.cancel());

            assert_eq!((looper.len(), Arc::strong_count(&alive)), (0, 1));
            assert!(looper.poll_once(ms(1)).unwrap().timed_out);
        }
        assert_eq!(looper.message_counts().removed, 2);
    });
}

#[test]
fn r1_post_every_starts_no_run_after_its_cancel_on_another_thread_has_returned() {
    watched(|| {
        for _ in 0..50 {
            let elsewhere = Elsewhere::run(|_| ());
            let runs = Arc::new(AtomicU64::new(0));
            let count = runs.clone();
            let tick = move |_: &Looper| {
                count.fetch_add(1, Ordering::Relaxed);
                ControlFlow::Continue(())
            };
            let posted = elsewhere.handle.post_every(Duration::ZERO, tick).unwrap();
            let pass_by = || {
                let (sender, receiver) = mpsc::channel();
                elsewhere.handle.post(move |_| sender.send(()).unwrap()).unwrap();
                receiver.recv().unwrap();
            };
            pass_by();

            posted.cancel();

            let at_cancel = runs.load(Ordering::Relaxed);
            pass_by();
            let after = runs.load(Ordering::Relaxed);
            pass_by();
            // At most the one that was running then.
            assert!(after <= at_cancel + 1);
            assert_eq!(runs.load(Ordering::Relaxed), after);
            assert!(!posted.is_pending() && elsewhere.handle.is_empty());
            elsewhere.handle.quit();
            let report = elsewhere.join();
            assert_eq!(report.posted, report.run + report.removed);
        }
    });
}

/// Whether it is just being started or waits, a cancel keeps it from running again, and has to say so.
#[test]
fn r1_the_first_cancel_of_post_every_says_that_it_ended_it_also_while_a_run_starts() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let denied = (0..100).filter(|_| {
            let runs = Arc::new(AtomicU64::new(0));
            let count = runs.clone();
            let tick = move |_: &Looper| {
                count.fetch_add(1, Ordering::Relaxed);
                ControlFlow::Continue(())
            };
            let posted = elsewhere.handle.post_every(Duration::ZERO, tick).unwrap();
            while runs.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            !posted.cancel()
        });
        let denied = denied.count();
        elsewhere.handle.quit();
        elsewhere.join();

        assert_eq!(denied, 0, "of 100 cancels that ended it");
    });
}

#[test]
fn a_guard_ends_post_every() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let guard = looper.post_every(ms(1), |_| ControlFlow::Continue(())).unwrap().guard();
        looper.poll_once(None).unwrap();

        drop(guard);

        assert!(looper.is_empty());
    });
}

#[test]
fn t7_post_every_with_no_period_keeps_to_the_budget_and_starves_nobody() {
    watched(|| {
        let looper = Looper::builder().budget(5).build().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"!").unwrap();
        looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.post_every(Duration::ZERO, |_| ControlFlow::Continue(())).unwrap();

        for _ in 0..10 {
            let turn = looper.poll_once(None).unwrap();
            assert_eq!((turn.messages, turn.fds, turn.more), (5, 1, true));
        }
        let (sender, ran) = mpsc::channel();
        looper.post(move |_| sender.send(()).unwrap()).unwrap();
        looper.poll_once(None).unwrap();
        ran.try_recv().unwrap();
    });
}

#[test]
fn q2_post_every_after_a_quit_gives_the_closure_back() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let other = Looper::new().unwrap();
        looper.quit();
        let runs = Rc::new(Cell::new(0));
        let count = runs.clone();
        let tick = move |_: &Looper| {
            count.set(count.get() + 1);
            ControlFlow::Break(())
        };

        let refused = looper.post_every(ms(1), tick).unwrap_err();

        assert_eq!(refused.reason(), RejectReason::Quit);
        other.post_every(Duration::ZERO, refused.into_value().unwrap()).unwrap();
        other.poll_once(None).unwrap();
        assert_eq!(runs.get(), 1);
        let remote = looper.handle().post_every(ms(1), |_| ControlFlow::Break(())).unwrap_err();
        assert_eq!(remote.reason(), RejectReason::Quit);
        assert!(remote.into_value().unwrap()(&other).is_break());
        assert_eq!(looper.message_counts().posted, 0);
    });
}

#[test]
fn q1_a_quit_inside_a_run_is_its_last_and_drops_the_closure() {
    watched(|| {
        for quit in [Looper::quit, Looper::quit_safely] {
            let looper = Looper::new().unwrap();
            let alive = Rc::new(());
            let held = alive.clone();
            let tick = move |looper: &Looper| {
                let _ = &held;
                quit(looper);
                ControlFlow::Continue(())
            };
            let posted = looper.post_every(Duration::ZERO, tick).unwrap();

            let report = looper.run().unwrap();

            assert_eq!((report.posted, report.run, report.dropped), (1, 1, 0));
            assert_eq!((Rc::strong_count(&alive), posted.is_pending()), (1, false));
        }
    });
}

#[test]
fn q1_quit_safely_lets_a_run_that_is_due_be_the_last() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.post_every(Duration::ZERO, |_| ControlFlow::Continue(())).unwrap();
        looper.post_every(HOUR, |_| ControlFlow::Continue(())).unwrap();

        looper.quit_safely();

        let report = looper.run().unwrap();
        assert_eq!((report.posted, report.run, report.dropped), (2, 1, 1));
    });
}

/// Tells where it is dropped.
struct Told(mpsc::Sender<thread::ThreadId>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send(thread::current().id()).unwrap();
    }
}

#[test]
fn q1_a_quit_between_runs_drops_the_next_one() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (sender, dropped_on) = mpsc::channel();
        let told = Told(sender);
        let tick = move |_: &Looper| {
            let _ = &told;
            ControlFlow::Continue(())
        };
        looper.handle().post_every(HOUR, tick).unwrap();
        let handle = looper.handle();
        thread::spawn(move || handle.quit()).join().unwrap();

        let report = looper.run().unwrap();

        assert_eq!((report.posted, report.dropped), (1, 1));
        assert_eq!(dropped_on.try_recv(), Ok(thread::current().id()));
    });
}
