//! Panics of callbacks and of values that are dropped: they unwind to the caller and spoil nothing.
//!
//! Holds X1, X3, C61, C74.

use std::{
    cell::Cell,
    io::Read,
    ops::ControlFlow,
    os::{fd::AsFd, unix::net::UnixStream},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper, RejectReason};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::support::{HOUR, alone::alone, handlers::assert_report, ms, panic_of, watched};

/// Panics when it is dropped, and counts that.
struct Explosive(Arc<AtomicU64>);

impl Drop for Explosive {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("explosive");
    }
}

/// Makes explosives, and counts how many of them have gone off.
#[derive(Clone, Default)]
struct Explosives(Arc<AtomicU64>);

impl Explosives {
    fn make(&self) -> Explosive {
        Explosive(self.0.clone())
    }

    fn gone_off(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// C74.
#[test]
fn x1_a_panic_of_a_message_unwinds_out_of_the_turn_and_the_others_run_in_the_next() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let ran = Rc::new(Cell::new(0));
        let count = || {
            let ran = ran.clone();
            move |_: &Looper| ran.set(ran.get() + 1)
        };
        looper.post(count()).unwrap();
        let panicking = looper.post(|_| panic!("message")).unwrap();
        looper.post(count()).unwrap();
        handle.post(|_| panic!("remote message")).unwrap();
        looper.post(count()).unwrap();

        assert_eq!(panic_of(|| looper.poll_once(None)), "message");
        assert_eq!((ran.get(), looper.len(), handle.is_polling()), (1, 3, false));
        assert!(!panicking.is_pending() && !panicking.cancel());
        assert_eq!(panic_of(|| looper.poll_once(None)), "remote message");
        assert_eq!(ran.get(), 2);
        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, ran.get()), (1, 3));
        assert!(looper.poll_once(Duration::ZERO).unwrap().timed_out);
        assert_report(looper.message_counts(), 5, 5, 0, 0);
    });
}

#[test]
fn x1_a_panic_of_a_delayed_message_leaves_the_other_timers_as_they_were() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let start = looper.now();
        looper.post_at(start + ms(2), |_| panic!("delayed")).unwrap();
        looper.post_at(start + ms(4), move |looper| assert!(looper.now() >= start + ms(4))).unwrap();
        let much_later = looper.post_delayed(HOUR, |_| ()).unwrap();

        assert_eq!(panic_of(|| looper.poll_once(None)), "delayed");

        assert_eq!(looper.len(), 2);
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        assert!(much_later.cancel());
    });
}

#[test]
fn x1_a_panic_ends_post_every_and_drops_its_closure() {
    watched(|| {
        let looper = Looper::new().unwrap();
        for remote in [false, true] {
            let alive = Arc::new(());
            let (held, mut left) = (alive.clone(), 2);
            let tick = move |_: &Looper| {
                let _ = &held;
                left -= 1;
                if left == 0 {
                    panic!("tick");
                }
                ControlFlow::Continue(())
            };
            let posted = match remote {
                false => looper.post_every(ms(1), tick).unwrap(),
                true => looper.handle().post_every(ms(1), tick).unwrap(),
            };

            // A slow turn has both runs.
            let until_it_panics = || -> () {
                loop {
                    looper.poll_once(None).unwrap();
                }
            };
            assert_eq!(panic_of(until_it_panics), "tick");

            assert!(!posted.is_pending() && !posted.cancel());
            assert_eq!((looper.len(), Arc::strong_count(&alive)), (0, 1));
            assert!(looper.poll_once(ms(2)).unwrap().timed_out);
        }
        assert_report(looper.message_counts(), 4, 4, 0, 0);
    });
}

#[test]
fn x1_a_wake_and_ready_fds_of_a_turn_that_panics_are_reported_by_the_next() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        let (named, _other_far) = UnixStream::pair().unwrap();
        looper.add_fd(near, Interest::OUTPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.add_ident(named, Interest::OUTPUT, 4).unwrap();
        looper.post(|_| panic!("message")).unwrap();
        looper.wake().unwrap();

        assert_eq!(panic_of(|| looper.poll_once(None)), "message");
        let turn = looper.poll_once(None).unwrap();

        assert!(turn.woken);
        assert_eq!((turn.messages, turn.fds, turn.idents.len()), (0, 1, 1));
        assert!(!looper.poll_once(None).unwrap().woken);
    });
}

#[test]
fn x1_poll_all_and_run_unwind_too_and_can_be_called_again() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.post(|_| panic!("first")).unwrap();
        looper.post(|_| panic!("second")).unwrap();
        looper.post(|_| panic!("third")).unwrap();
        looper.post(Looper::quit_safely).unwrap();

        assert_eq!(panic_of(|| looper.poll_all(None)), "first");
        assert_eq!(panic_of(|| looper.run()), "second");
        assert_eq!(panic_of(|| looper.run()), "third");

        assert_report(looper.run().unwrap(), 4, 4, 0, 0);
    });
}

#[test]
fn x1_a_panic_while_quit_safely_drains_leaves_the_rest_to_be_drained() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.post(|_| panic!("draining")).unwrap();
        looper.post(|_| ()).unwrap();
        looper.post_delayed(HOUR, |_| ()).unwrap();
        looper.quit_safely();

        assert_eq!(panic_of(|| looper.run()), "draining");

        assert_report(looper.run().unwrap(), 3, 2, 0, 1);
    });
}

#[test]
fn x1_a_panic_after_the_message_has_quit_does_not_undo_the_quit() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let quit_and_panic = |looper: &Looper| {
            looper.quit();
            panic!("after quit");
        };
        looper.post(quit_and_panic).unwrap();
        looper.post(|_| ()).unwrap();

        assert_eq!(panic_of(|| looper.run()), "after quit");

        assert!(looper.poll_once(None).unwrap().quit);
        assert_report(looper.run().unwrap(), 2, 1, 0, 1);
    });
}

/// C74: as it would be if a lock stayed held or poisoned.
#[test]
fn x1_after_a_panic_other_threads_use_the_looper_as_before() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let stays = looper.post_delayed(HOUR, |_| ()).unwrap();
        looper.post(|_| panic!("message")).unwrap();
        assert_eq!(panic_of(|| looper.poll_once(None)), "message");

        let elsewhere = thread::spawn(move || {
            assert_eq!((handle.len(), stays.is_pending(), stays.cancel()), (1, true, true));
            handle.post(|_| ()).unwrap();
            let (near, far) = UnixStream::pair().unwrap();
            handle.add_fd(near, Interest::OUTPUT, |_, _, _| FdNext::Remove).unwrap();
            handle.wake().unwrap();
            far
        });
        let _far = elsewhere.join().unwrap();
        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.fds, turn.woken), (1, 1, true));
    });
}

#[test]
fn x1_a_hosted_looper_stays_readable_after_a_panic_while_there_is_more_to_do() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let is_readable =
            || poll(&mut [PollFd::new(looper.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1;
        looper.post(|_| panic!("message")).unwrap();
        looper.post(|_| ()).unwrap();
        assert!(is_readable());

        assert_eq!(panic_of(|| looper.poll_once(Duration::ZERO)), "message");

        assert!(is_readable());
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap().messages, 1);
        assert!(!is_readable());
    });
}

/// And its handles learn of it.
#[test]
fn x1_a_panic_that_ends_the_thread_drops_the_looper_and_all_it_had() {
    watched(|| {
        let (sender, receiver) = mpsc::channel();
        let alive = Arc::new(());
        let held = alive.clone();
        let thread = thread::spawn(move || {
            let looper = Looper::new().unwrap();
            looper.post(|_| panic!("the end")).unwrap();
            looper.post_delayed(HOUR, move |_| drop(held)).unwrap();
            sender.send(looper.handle()).unwrap();
            looper.run()
        });
        let handle = receiver.recv().unwrap();

        let panic = thread.join().unwrap_err();

        assert_eq!(panic.downcast_ref::<&str>(), Some(&"the end"));
        assert_eq!(handle.post(|_| ()).unwrap_err().reason(), RejectReason::Dropped);
        assert_eq!(Arc::strong_count(&alive), 1);
        assert_report(handle.message_counts(), 2, 1, 0, 1);
    });
}

#[test]
fn c61_a_payload_that_panics_when_it_is_cancelled_does_so_in_the_canceller_and_is_gone() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        let [own, remote] = [(); 2].map(|()| explosives.make());
        let own = looper.post(move |_| drop(own)).unwrap();
        let remote = looper.handle().post(move |_| drop(remote)).unwrap();
        looper.post(|_| ()).unwrap();

        assert_eq!(panic_of(|| own.cancel()), "explosive");
        let elsewhere = thread::spawn(move || assert_eq!(panic_of(|| remote.cancel()), "explosive"));
        elsewhere.join().unwrap();

        assert!(!own.is_pending() && !own.cancel());
        assert_eq!((looper.len(), explosives.gone_off()), (1, 2));
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        assert_report(looper.message_counts(), 3, 1, 2, 0);
    });
}

#[test]
fn c61_a_local_payload_that_was_cancelled_elsewhere_panics_in_the_next_turn_which_harms_nothing() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        let posted: Vec<_> = (0..3)
            .map(|_| {
                let payload = explosives.make();
                looper.post_delayed(HOUR, move |_| drop(payload)).unwrap()
            })
            .collect();
        looper.post(|_| ()).unwrap();
        let canceller = thread::spawn(move || posted.iter().all(|posted| posted.cancel()));
        assert!(canceller.join().unwrap());
        assert_eq!(explosives.gone_off(), 0);

        assert_eq!(panic_of(|| looper.poll_once(None)), "explosive");

        assert_eq!(explosives.gone_off(), 3);
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        assert_report(looper.message_counts(), 4, 1, 3, 0);
    });
}

#[test]
fn c61_a_payload_that_panics_as_its_message_ends_is_a_panic_of_the_message() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        let [used, kept] = [(); 2].map(|()| explosives.make());
        looper.post(move |_| drop(used)).unwrap();
        let tick = move |_: &Looper| {
            let _ = &kept;
            ControlFlow::Break(())
        };
        looper.post_every(Duration::ZERO, tick).unwrap();
        looper.post_delayed(Duration::ZERO, |_| ()).unwrap();

        assert_eq!(panic_of(|| looper.poll_once(None)), "explosive");
        assert_eq!(panic_of(|| looper.poll_once(None)), "explosive");

        assert_eq!(explosives.gone_off(), 2);
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        assert_report(looper.message_counts(), 3, 3, 0, 0);
    });
}

/// Posts several payloads that panic among some that do not, of this thread and others.
fn post_explosives(looper: &Looper, explosives: &Explosives, alive: &Arc<()>) {
    for index in 0..10 {
        let (explosive, remote, quiet) = (explosives.make(), explosives.make(), alive.clone());
        looper.post_delayed(HOUR * index, move |_| drop(explosive)).unwrap();
        looper.post_delayed(HOUR * index, move |_| drop(quiet)).unwrap();
        looper.handle().post_delayed(HOUR * index, move |_| drop(remote)).unwrap();
    }
}

#[test]
fn c61_though_payloads_panic_a_quit_drops_all_of_them_and_ends() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (explosives, alive) = (Explosives::default(), Arc::new(()));
        post_explosives(&looper, &explosives, &alive);
        let handle = looper.handle();
        thread::spawn(move || handle.quit()).join().unwrap();

        assert_eq!(panic_of(|| looper.run()), "explosive");

        assert_eq!((explosives.gone_off(), Arc::strong_count(&alive)), (20, 1));
        assert!(looper.poll_once(None).unwrap().quit);
        assert_report(looper.run().unwrap(), 30, 0, 0, 30);
    });
}

#[test]
fn c61_though_payloads_panic_a_dropped_looper_drops_all_of_them_and_its_fds() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (explosives, alive) = (Explosives::default(), Arc::new(()));
        post_explosives(&looper, &explosives, &alive);
        let (near, mut far) = UnixStream::pair().unwrap();
        let payload = explosives.make();
        let callback = move |_: &Looper, _: &mut UnixStream, _| {
            let _ = &payload;
            FdNext::Keep
        };
        looper.add_fd(near, Interest::INPUT, callback).unwrap();
        let handle = looper.handle();

        assert_eq!(panic_of(|| drop(looper)), "explosive");

        assert_eq!((explosives.gone_off(), Arc::strong_count(&alive)), (21, 1));
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
        assert_report(handle.message_counts(), 30, 0, 0, 30);
        assert_eq!(handle.post(|_| ()).unwrap_err().reason(), RejectReason::Dropped);
    });
}

#[test]
fn c61_a_refused_payload_panics_in_the_poster_and_the_looper_is_not_touched() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.quit();
        let explosives = Explosives::default();
        let payload = explosives.make();

        let refused = looper.handle().post(move |_| drop(payload)).unwrap_err();

        assert_eq!(explosives.gone_off(), 0);
        assert_eq!(panic_of(move || drop(refused)), "explosive");
        assert!(looper.poll_once(None).unwrap().quit);
    });
}

/// In a process of its own, since a panic that leaves a `Drop` while another one unwinds would abort it.
#[test]
fn x3_a_looper_that_is_dropped_by_a_panic_does_not_abort_though_its_payloads_panic() {
    alone("x3_a_looper_that_is_dropped_by_a_panic_does_not_abort_though_its_payloads_panic", || {
        let (explosives, alive) = (Explosives::default(), Arc::new(()));
        let (made, held) = (explosives.clone(), alive.clone());
        let thread = thread::spawn(move || {
            let looper = Looper::new().unwrap();
            post_explosives(&looper, &made, &held);
            drop(held);
            looper.post_at_front(|_| panic!("the cause")).unwrap();
            looper.run()
        });

        let panic = thread.join().unwrap_err();

        assert_eq!(panic.downcast_ref::<&str>(), Some(&"the cause"));
        assert_eq!((explosives.gone_off(), Arc::strong_count(&alive)), (20, 1));
    });
}

/// In a process of its own, since a panic that leaves a thread-local value's `Drop` would abort it.
#[test]
fn x3_a_thread_that_ends_with_its_looper_does_not_abort_though_payloads_panic() {
    alone("x3_a_thread_that_ends_with_its_looper_does_not_abort_though_payloads_panic", || {
        let (explosives, alive) = (Explosives::default(), Arc::new(()));
        let (made, held) = (explosives.clone(), alive.clone());
        let thread = thread::spawn(move || {
            let looper = Looper::prepare().unwrap();
            post_explosives(&looper, &made, &held);
            looper.handle()
        });

        let handle = thread.join().unwrap();

        assert_eq!((explosives.gone_off(), Arc::strong_count(&alive)), (20, 1));
        assert_report(handle.message_counts(), 30, 0, 0, 30);
    });
}
