//! What user code may do from inside a callback and from a `Drop`, and on which thread values are dropped.
//!
//! Holds M8, M9, M10, C59, C60, C62, C78.

use std::{
    cell::{Cell, RefCell},
    ops::ControlFlow,
    os::unix::net::UnixStream,
    rc::Rc,
    sync::mpsc,
    thread::{self, ThreadId},
    time::Duration,
};

use alooper::{FdHandle, FdNext, Interest, Looper, LooperHandle, Posted};

use crate::support::{Elsewhere, HOUR, until_polling, watched};

/// Does with a looper's handle everything that does not end the looper.
fn meddle(handle: &LooperHandle) {
    let _ = handle.wake();
    let _ = handle.post(|_| ()).map(|posted| (posted.is_pending(), posted.cancel()));
    let _ = handle.post_delayed(HOUR, |_| ()).map(Posted::guard);
    let _ = handle.post_at(handle.now(), |_| ()).map(Posted::guard);
    let _ = handle.post_at_front(|_| ()).map(Posted::guard);
    let _ = handle.post_every(HOUR, |_| ControlFlow::Continue(())).map(Posted::guard);
    let (near, _far) = UnixStream::pair().unwrap();
    let _ = handle.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).map(|watched| watched.remove());
    let _ = (handle.len(), handle.is_empty(), handle.message_counts(), handle.has_quit(), handle.name());
    let _ = (handle.is_polling(), handle.is_current());
}

/// Does with a looper, on its thread, everything that does not end it.
fn meddle_at_home(looper: &Looper) {
    meddle(&looper.handle());
    let _ = looper.wake();
    let _ = looper.post(|_| ()).map(|posted| (posted.is_pending(), posted.cancel()));
    let _ = looper.post_delayed(HOUR, |_| ()).map(Posted::guard);
    let _ = looper.post_at(looper.now(), |_| ()).map(Posted::guard);
    let _ = looper.post_at_front(|_| ()).map(Posted::guard);
    let _ = looper.post_every(HOUR, |_| ControlFlow::Continue(())).map(Posted::guard);
    let (near, _far) = UnixStream::pair().unwrap();
    if let Ok(source) = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep) {
        source.set_interest(Interest::OUTPUT).unwrap();
        source.repoll().unwrap();
        assert!(source.with(|near| near.peer_addr().is_ok()).unwrap());
        assert!(source.remove().is_some());
    }
    let (named, _far) = UnixStream::pair().unwrap();
    let _ = looper.add_ident(named, Interest::INPUT, 1).map(|source| source.guard());
    let _ = (looper.len(), looper.message_counts(), looper.has_quit());
    // An error inside a turn, and a turn outside of one.
    let _ = looper.poll_once(Duration::ZERO);
}

/// A value that meddles with the looper when it is dropped, and tells on which thread that was.
struct Meddler {
    handle: LooperHandle,
    /// Another message, which it cancels.
    victim: Option<Posted>,
    watched: Option<FdHandle>,
    dropped: mpsc::Sender<ThreadId>,
}

impl Meddler {
    fn new(handle: &LooperHandle) -> (Meddler, mpsc::Receiver<ThreadId>) {
        let (dropped, receiver) = mpsc::channel();
        let victim = handle.post_delayed(HOUR, |_| ()).ok();
        let (near, _far) = UnixStream::pair().unwrap();
        let watched = handle.add_fd(near, Interest::empty(), |_, _, _| FdNext::Keep).ok();
        (Meddler { handle: handle.clone(), victim, watched, dropped }, receiver)
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        meddle(&self.handle);
        if let Some(looper) = Looper::current() {
            meddle_at_home(&looper);
        }
        if let Some(victim) = &self.victim {
            victim.cancel();
        }
        if let Some(watched) = &self.watched {
            watched.remove();
        }
        self.handle.quit_safely();
        self.handle.quit();
        self.dropped.send(thread::current().id()).unwrap();
    }
}

#[test]
fn m8_everything_but_polling_is_callable_from_inside_a_message() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let done = Rc::new(Cell::new(false));
        let is_done = done.clone();
        looper
            .post(move |looper| {
                meddle_in_callback(looper);
                is_done.set(true);
            })
            .unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert!(done.get());
        assert_eq!(turn.messages, 1);
        assert!(looper.is_empty());
    });
}

/// All that a callback may do.
fn meddle_in_callback(looper: &Looper) {
    meddle(&looper.handle());
    assert!(looper.poll_once(Duration::ZERO).is_err());
    meddle_at_home(looper);
}

#[test]
fn m8_everything_but_polling_is_callable_from_inside_a_fd_callback_and_a_repeating_one() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        let callback = |looper: &Looper, _: &mut UnixStream, _| {
            meddle_in_callback(looper);
            FdNext::Remove
        };
        looper.add_fd(near, Interest::OUTPUT, callback).unwrap();
        let tick = |looper: &Looper| {
            meddle_in_callback(looper);
            ControlFlow::Break(())
        };
        looper.post_every(Duration::ZERO, tick).unwrap();

        let turn = looper.poll_all(None).unwrap();

        assert_eq!((turn.messages, turn.fds), (1, 1));
        assert!(looper.is_empty());
    });
}

#[test]
fn m8_a_message_may_cancel_all_others_and_drop_the_last_handle() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let others: Vec<_> = (0..100).map(|_| handle.post(|_| panic!("cancelled")).unwrap()).collect();
        let last = move |_: &Looper| {
            assert!(others.iter().all(Posted::cancel));
            drop(handle);
        };
        looper.post_at_front(last).unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, looper.message_counts().removed), (1, 100));
    });
}

#[test]
fn m8_a_callback_may_quit_and_go_on_using_the_looper() {
    watched(|| {
        for quit in [Looper::quit, Looper::quit_safely] {
            let looper = Looper::new().unwrap();
            let ending = move |looper: &Looper| {
                quit(looper);
                meddle_in_callback(looper);
                assert!(looper.post(|_| ()).is_err());
            };
            looper.post(ending).unwrap();

            assert_eq!(looper.run().unwrap().run, 1);
        }
    });
}

/// C78: the callback has the looper by reference, so it can drop no more than its own claim to it.
#[test]
fn m8_a_callback_may_drop_an_rc_of_its_own_looper() {
    watched(|| {
        let looper = Looper::prepare().unwrap();
        let own = looper.clone();
        looper.post(move |_| drop(own)).unwrap();

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        assert_eq!(Rc::strong_count(&looper), 2);
    });
}

/// Gives a value to a looper, and ends its stay there.
type End = fn(&Looper, Meddler);

/// C59, with the looper as the thread's own, so that the values reach it too.
#[test]
fn m9_values_whose_drop_calls_the_looper_are_dropped_with_nothing_held() {
    let ends: [(&str, End); 8] = [
        ("ran", |looper, meddler| {
            looper.post(move |_| drop(meddler)).unwrap();
            looper.poll_once(None).unwrap();
        }),
        ("ran remotely", |looper, meddler| {
            looper.handle().post(move |_| drop(meddler)).unwrap();
            looper.poll_once(None).unwrap();
        }),
        ("cancelled", |looper, meddler| {
            assert!(looper.post(move |_| drop(meddler)).unwrap().cancel());
        }),
        ("cancelled remotely", |looper, meddler| {
            assert!(looper.handle().post_delayed(HOUR, move |_| drop(meddler)).unwrap().cancel());
        }),
        ("repeated", |looper, meddler| {
            let tick = move |_: &Looper| {
                let _ = &meddler;
                ControlFlow::Break(())
            };
            looper.post_every(Duration::ZERO, tick).unwrap();
            looper.poll_once(None).unwrap();
        }),
        ("quit", |looper, meddler| {
            looper.post(move |_| drop(meddler)).unwrap();
            looper.quit();
            looper.run().unwrap();
        }),
        ("quit safely", |looper, meddler| {
            looper.post_delayed(HOUR, move |_| drop(meddler)).unwrap();
            looper.quit_safely();
            looper.run().unwrap();
        }),
        ("refused", |looper, meddler| {
            looper.quit();
            drop(looper.post(move |_| drop(meddler)).unwrap_err());
        }),
    ];
    for (end, end_it) in ends {
        let dropped_at_home = watched(move || {
            let looper = Looper::prepare().unwrap();
            let (meddler, dropped) = Meddler::new(&looper.handle());
            end_it(&looper, meddler);
            dropped.try_recv() == Ok(thread::current().id())
        });
        assert!(dropped_at_home, "{end}");
    }
}

#[test]
fn m9_values_in_a_looper_that_is_dropped_may_call_it() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let mut drops = Vec::new();
        for delay in [Duration::ZERO, HOUR] {
            let (own, own_dropped) = Meddler::new(&looper.handle());
            let (remote, remote_dropped) = Meddler::new(&looper.handle());
            looper.post_delayed(delay, move |_| drop(own)).unwrap();
            looper.handle().post_delayed(delay, move |_| drop(remote)).unwrap();
            drops.extend([own_dropped, remote_dropped]);
        }
        let handle = looper.handle();

        drop(looper);

        let here = thread::current().id();
        assert!(drops.iter().all(|dropped| dropped.try_iter().eq([here])));
        // The values and what each of them would have cancelled.
        assert_eq!(handle.message_counts().posted, 8);
        assert_eq!(handle.message_counts().dropped, 8);
    });
}

/// C60.
#[test]
fn m9_a_message_may_own_the_last_handle_or_a_whole_other_looper() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let other = Looper::new().unwrap();
        let (meddler, dropped) = Meddler::new(&looper.handle());
        let (handle, other_handle) = (looper.handle(), other.handle());
        other.post(move |_| drop((meddler, handle))).unwrap();
        looper.post_delayed(HOUR, move |_| drop((other, other_handle))).unwrap();

        looper.quit();
        looper.run().unwrap();

        assert_eq!(dropped.try_iter().count(), 1);
    });
}

/// C60: such a looper owns itself until it quits.
#[test]
fn m9_a_message_may_own_its_own_looper() {
    watched(|| {
        let looper = Rc::new(Looper::new().unwrap());
        let own = looper.clone();
        looper.post_delayed(HOUR, move |_| drop(own)).unwrap();

        looper.quit();
        looper.run().unwrap();

        assert_eq!(Rc::strong_count(&looper), 1);
    });
}

/// A value that must not leave its thread, and tells where it is dropped.
struct Homebody {
    dropped: mpsc::Sender<ThreadId>,
    _not_send: Rc<()>,
}

impl Drop for Homebody {
    fn drop(&mut self) {
        self.dropped.send(thread::current().id()).unwrap();
    }
}

fn homebody() -> (Homebody, mpsc::Receiver<ThreadId>) {
    let (dropped, receiver) = mpsc::channel();
    (Homebody { dropped, _not_send: Rc::new(()) }, receiver)
}

/// C62.
#[test]
fn m10_a_value_that_is_not_send_and_is_cancelled_elsewhere_is_dropped_on_its_thread_in_the_next_turn() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (value, dropped) = homebody();
        let posted = looper.post(move |_| drop(value)).unwrap();

        assert!(thread::spawn(move || posted.cancel()).join().unwrap());
        assert!(looper.is_empty());
        assert!(dropped.try_recv().is_err());
        let turn = looper.poll_once(Duration::ZERO).unwrap();

        assert_eq!(dropped.try_recv(), Ok(thread::current().id()));
        assert!(turn.timed_out && !turn.woken && turn.messages == 0, "{turn:?}");
    });
}

#[test]
fn m10_a_sleeping_looper_gets_up_to_drop_what_was_cancelled_elsewhere() {
    watched(|| {
        let (sender, receiver) = mpsc::channel();
        let elsewhere = Elsewhere::run(move |looper| {
            let (value, dropped) = homebody();
            let posted = looper.post_delayed(HOUR, move |_| drop(value)).unwrap();
            sender.send((posted, dropped, thread::current().id())).unwrap();
        });
        let (posted, dropped, home) = receiver.recv().unwrap();
        until_polling(&elsewhere.handle);

        assert!(posted.cancel());

        assert_eq!(dropped.recv(), Ok(home));
        elsewhere.handle.quit();
        elsewhere.join();
    });
}

#[test]
fn m10_a_value_that_is_not_send_is_dropped_on_its_thread_however_its_message_ends() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (values, dropped): (Vec<_>, Vec<_>) = (0..4).map(|_| homebody()).unzip();
        let mut values = values.into_iter().map(|value| move |_: &Looper| drop(value));
        let mut post = |delay| looper.post_delayed(delay, values.next().unwrap()).unwrap();
        post(Duration::ZERO);
        let (cancelled_here, cancelled_after_quit) = (post(HOUR), post(HOUR));
        post(HOUR);
        assert!(cancelled_here.cancel());
        looper.poll_once(None).unwrap();
        let handle = looper.handle();
        let quitter = thread::spawn(move || {
            handle.quit();
            cancelled_after_quit.cancel()
        });
        assert!(!quitter.join().unwrap());

        drop(looper);

        let here = thread::current().id();
        assert!(dropped.iter().all(|dropped| dropped.try_iter().eq([here])));
    });
}

/// C62.
#[test]
fn m10_a_send_value_is_dropped_by_the_thread_that_cancels_it_before_cancel_returns() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let canceller = thread::spawn(move || {
            for delay in [Duration::ZERO, HOUR] {
                let (dropped, receiver) = mpsc::channel();
                let value = Told(dropped);
                let posted = handle.post_delayed(delay, move |_| drop(value)).unwrap();
                assert!(posted.cancel());
                assert_eq!(receiver.try_recv(), Ok(thread::current().id()));
            }
        });
        canceller.join().unwrap();

        assert!(looper.poll_once(Duration::ZERO).unwrap().timed_out);
    });
}

/// Tells where it is dropped.
struct Told(mpsc::Sender<ThreadId>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send(thread::current().id()).unwrap();
    }
}

#[test]
fn m10_a_remote_repeating_closure_is_dropped_at_home_once_it_has_run() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (dropped, receiver) = mpsc::channel();
        let value = Told(dropped);
        let runs = RefCell::new(0);
        let tick = move |_: &Looper| {
            let _ = &value;
            *runs.borrow_mut() += 1;
            ControlFlow::Continue(())
        };
        let posted = looper.handle().post_every(Duration::from_millis(1), tick).unwrap();
        looper.poll_once(None).unwrap();

        assert!(thread::spawn(move || posted.cancel()).join().unwrap());
        looper.poll_once(Duration::ZERO).unwrap();

        assert_eq!(receiver.try_recv(), Ok(thread::current().id()));
    });
}
