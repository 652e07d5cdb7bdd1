//! How a turn waits: what ends it, what only interrupts it, and that nothing runs early.
//!
//! Holds T6, T12, T13, T14, C40, C41.

use std::{
    cell::{Cell, RefCell},
    io::{Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use alooper::{FdNext, Interest, Looper, LooperHandle, PollCode, Turn};
use nix::{
    libc::c_int,
    sys::{
        signal::{SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction},
        timer::{Expiration, Timer, TimerSetTimeFlags},
    },
    time::ClockId,
    unistd::gettid,
};

use crate::support::{HOUR, dice::Dice, ms, until_polling, watched};

/// A thread that polls once without a timeout.
struct Polling<T> {
    handle: LooperHandle,
    /// What its preparation returned.
    prepared: T,
    thread: thread::JoinHandle<Turn>,
}

fn poll_elsewhere<T: Send + 'static>(prepare: impl FnOnce(&Looper) -> T + Send + 'static) -> Polling<T> {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let looper = Looper::new().unwrap();
        sender.send((looper.handle(), prepare(&looper))).unwrap();
        looper.poll_once(None).unwrap()
    });
    let (handle, prepared) = receiver.recv().unwrap();
    until_polling(&handle);
    Polling { handle, prepared, thread }
}

extern "C" fn ignore(_: c_int) {}

/// Interrupts the calling thread's system calls a thousand times a second, until it is dropped.
struct Storm {
    _timer: Timer,
}

impl Storm {
    fn start() -> Storm {
        install_handler();
        let notify = SigevNotify::SigevThreadId { signal: Signal::SIGUSR1, thread_id: gettid().as_raw(), si_value: 0 };
        let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify)).unwrap();
        timer.set(Expiration::Interval(ms(1).into()), TimerSetTimeFlags::empty()).unwrap();
        Storm { _timer: timer }
    }
}

#[allow(unsafe_code, reason = "there is no other way to have a signal that interrupts")]
fn install_handler() {
    let action = SigAction::new(SigHandler::Handler(ignore), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, which is async-signal-safe, and nobody else here uses this signal.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
}

#[test]
fn t14_what_is_posted_for_later_or_cancelled_elsewhere_does_not_end_a_turn() {
    watched(|| {
        let (payload, reaped) = mpsc::channel::<()>();
        let Polling { handle, prepared: local, thread } =
            poll_elsewhere(move |looper| looper.post_delayed(HOUR, move |_| drop(payload)).unwrap());

        let earlier = handle.post_delayed(HOUR / 2, |_| ()).unwrap();
        until_polling(&handle);
        assert!(earlier.cancel());
        assert!(local.cancel());
        // Its closure is dropped by the looper's thread, which gets up for it.
        assert!(reaped.recv().is_err());
        until_polling(&handle);

        assert!(!thread.is_finished());
        handle.wake().unwrap();
        let turn = thread.join().unwrap();
        assert!(turn.woken && !turn.timed_out, "{turn:?}");
        assert_eq!((turn.messages, turn.fds), (0, 0));
    });
}

#[test]
fn t14_fds_that_are_added_and_removed_elsewhere_do_not_end_a_turn() {
    watched(|| {
        let Polling { handle, thread, .. } = poll_elsewhere(|_| ());
        let (near, far) = UnixStream::pair().unwrap();

        let added = handle.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        assert!(added.remove());
        // The source is closed by the looper's thread.
        assert_eq!((&far).read(&mut [0]).unwrap(), 0);
        until_polling(&handle);

        assert!(!thread.is_finished());
        handle.post(|_| ()).unwrap();
        let turn = thread.join().unwrap();
        assert_eq!((turn.messages, turn.fds, turn.woken), (1, 0, false));
    });
}

#[test]
fn t14_a_turn_whose_only_message_was_cancelled_lasts_until_its_own_timeout() {
    watched(|| {
        let looper = Looper::new().unwrap();
        // Until the other thread comes before the message does, on a machine of whatever speed.
        let is_cancelled = (0..).map(|round| ms(5 << round)).any(|delay| {
            let start = looper.now();
            let posted = looper.post_delayed(delay, |_| ()).unwrap();
            let canceller = thread::spawn(move || posted.cancel());

            let turn = looper.poll_once(3 * delay).unwrap();

            let is_cancelled = canceller.join().unwrap();
            assert_eq!((turn.timed_out, turn.messages, turn.woken), (is_cancelled, usize::from(!is_cancelled), false));
            assert!(!is_cancelled || looper.now() - start >= 3 * delay);
            is_cancelled
        });
        assert!(is_cancelled);
    });
}

#[test]
fn t14_a_post_a_wake_and_a_quit_from_elsewhere_each_end_a_turn_that_waits() {
    watched(|| {
        let end_by = |end: fn(&LooperHandle)| {
            let Polling { handle, thread, .. } = poll_elsewhere(|_| ());
            end(&handle);
            let turn = thread.join().unwrap();
            assert!(!turn.timed_out);
            (turn.messages, turn.woken, turn.quit)
        };

        assert_eq!(end_by(|handle| drop(handle.post(|_| ()))), (1, false, false));
        assert_eq!(end_by(|handle| drop(handle.post_delayed(ms(2), |_| ()))), (1, false, false));
        assert_eq!(end_by(|handle| drop(handle.post_at_front(|_| ()))), (1, false, false));
        assert_eq!(end_by(|handle| handle.wake().unwrap()), (0, true, false));
        assert_eq!(end_by(LooperHandle::quit), (0, false, true));
        assert_eq!(end_by(LooperHandle::quit_safely), (0, false, true));
    });
}

#[test]
fn t13_a_looper_is_polling_only_while_its_thread_waits() {
    watched(|| {
        let (sender, seen) = mpsc::channel();
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        assert!(!handle.is_polling());
        looper.poll_once(Duration::ZERO).unwrap();
        assert!(!handle.is_polling());
        drop(looper);
        assert!(!handle.is_polling());

        let Polling { handle, thread, .. } = poll_elsewhere(|_| ());
        handle.post(move |looper| sender.send(looper.handle().is_polling()).unwrap()).unwrap();

        assert!(!seen.recv().unwrap());
        thread.join().unwrap();
        assert!(!handle.is_polling());
    });
}

/// C41.
#[test]
fn t12_signals_neither_end_a_wait_nor_push_its_deadline_out() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let storm = Storm::start();

        // Again if this thread was so slow that its time had passed before it slept.
        let is_interrupted = (0..100).any(|_| {
            let start = looper.now();
            // Were each wait as long as the first, the storm would keep this turn for ever.
            let turn = looper.poll_once(ms(40)).unwrap();
            assert!(looper.now() - start >= ms(40));
            assert!(turn.timed_out && !turn.woken, "{turn:?}");
            assert_eq!((turn.messages, turn.fds), (0, 0));
            assert_eq!(turn.code(), if turn.interrupted { PollCode::Wake } else { PollCode::Timeout });
            turn.interrupted
        });

        assert!(is_interrupted);
        drop(storm);
        assert!(!looper.poll_once(Duration::ZERO).unwrap().interrupted);
    });
}

#[test]
fn t12_under_a_storm_of_signals_messages_are_not_early_and_nothing_is_lost() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let _storm = Storm::start();
        let early = Rc::new(Cell::new(0));
        for delay in 1..=30 {
            let (due, early) = (looper.now() + ms(delay), early.clone());
            looper.post_at(due, move |looper| early.set(early.get() + u32::from(looper.now() < due))).unwrap();
        }
        let (near, mut far) = UnixStream::pair().unwrap();
        let read = Rc::new(Cell::new(0));
        let count = read.clone();
        let read_some = move |_: &Looper, near: &mut UnixStream, _| {
            count.set(count.get() + near.read(&mut [0; 64]).unwrap());
            FdNext::Keep
        };
        looper.add_fd(near, Interest::INPUT, read_some).unwrap();
        let handle = looper.handle();
        let writer = thread::spawn(move || {
            for _ in 0..20 {
                until_polling(&handle);
                far.write_all(b"!").unwrap();
                handle.post(|_| ()).unwrap();
                handle.wake().unwrap();
            }
            far
        });
        let (mut messages, mut wakes) = (0, 0);

        while messages < 50 || read.get() < 20 {
            let turn = looper.poll_once(None).unwrap();
            messages += turn.messages;
            wakes += usize::from(turn.woken);
            assert!(!turn.timed_out, "{turn:?}");
        }

        let _far = writer.join().unwrap();
        wakes += usize::from(looper.poll_once(Duration::ZERO).unwrap().woken);
        assert_eq!((messages, read.get(), early.get()), (50, 20, 0));
        assert!((1..=20).contains(&wakes), "{wakes} wakes");
        assert!(looper.is_empty());
    });
}

/// C40, with lower bounds only: how late they are is the machine's business.
#[test]
fn t6_of_ten_thousand_random_timers_none_runs_early_nor_out_of_order() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let mut dice = Dice(0x0dd_ba11);
        let ran: Rc<RefCell<Vec<(Instant, Instant)>>> = Rc::default();
        // When all of them have been posted, so that the looper sleeps for them.
        let start = looper.now() + ms(100);
        for _ in 0..10_000 {
            let (ran, due) = (ran.clone(), start + Duration::from_nanos(dice.below(5_000_000)));
            looper.post_at(due, move |looper| ran.borrow_mut().push((due, looper.now()))).unwrap();
        }

        while !looper.is_empty() {
            looper.poll_once(None).unwrap();
        }

        let ran = ran.borrow();
        assert_eq!(ran.len(), 10_000);
        assert!(ran.iter().all(|(due, at)| at >= due));
        assert!(ran.is_sorted_by_key(|(due, _)| due));
    });
}

#[test]
fn t6_of_timers_that_wait_one_after_another_none_runs_early() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let mut dice = Dice(0xfee_1dead);
        for _ in 0..100 {
            let delay = Duration::from_nanos(dice.below(500_000));
            let due = looper.now() + delay;
            looper.post_delayed(delay, move |looper| assert!(looper.now() >= due)).unwrap();

            assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        }
    });
}

#[test]
fn t6_a_remote_timer_that_shortens_a_sleep_is_not_early() {
    watched(|| {
        for micros in [0, 100, 900, 2500] {
            let Polling { handle, thread, .. } =
                poll_elsewhere(|looper| drop(looper.post_delayed(HOUR, |_| ()).unwrap()));
            let due = handle.now() + Duration::from_micros(micros);

            handle.post_at(due, move |looper| assert!(looper.now() >= due)).unwrap();

            assert_eq!(thread.join().unwrap().messages, 1);
        }
    });
}
