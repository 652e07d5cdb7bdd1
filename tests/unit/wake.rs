//! How other threads end a sleep, and how much that costs: wakes, posts, signals, and what must not end it.
//!
//! Holds T4, T12, T13, T14, M10, F4, C3, C6, C8, C9, C10, C41, C68.

use std::sync::mpsc;

use super::*;
use crate::looper::report::PollCode;

#[test]
fn t4_c3_a_million_wakes_before_a_poll_are_one_and_cost_nothing() {
    let (looper, kernel) = fake();
    let handle = looper.handle();

    elsewhere(move || (0..1_000_000).for_each(|_| handle.wake().unwrap()));

    assert_eq!(looper.poll_once(None).unwrap(), woken());
    assert_eq!(kernel.calls(Call::EventfdWrite), 0);
    assert_eq!(looper.poll_once(ms(50)).unwrap(), timed_out());
    assert_eq!(kernel.calls(Call::EpollWait), 2);
}

#[test]
fn t4_c3_a_thousand_wakes_of_a_sleeping_looper_are_one_and_cost_one_write() {
    let (looper, kernel) = fake();
    let handle = looper.handle();
    kernel.during_next_wait(move || elsewhere(move || (0..1000).for_each(|_| handle.wake().unwrap())));

    assert_eq!(looper.poll_once(None).unwrap(), woken());

    assert_eq!((kernel.calls(Call::EpollWait), kernel.calls(Call::EventfdWrite)), (1, 1));
    assert_eq!(looper.poll_once(ms(50)).unwrap(), timed_out());
    assert_eq!(kernel.calls(Call::EpollWait), 2);
}

#[test]
fn t4_a_wake_out_of_a_callback_is_for_the_next_turn() {
    let (looper, kernel) = fake();
    looper.post(|looper| looper.wake().unwrap()).unwrap();

    assert!(!looper.poll_once(None).unwrap().woken);

    assert_eq!(looper.poll_once(None).unwrap(), woken());
    assert_eq!(kernel.calls(Call::EventfdWrite), 0);
}

#[test]
fn t4_neither_a_post_nor_its_removal_is_a_wake() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let handle = looper.handle();

    elsewhere(move || assert!(handle.post(|_| ()).unwrap().cancel()));

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());
    let handle = looper.handle();
    kernel.during_next_wait(move || assert!(handle.post(|_| ()).unwrap().cancel()));
    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());
    assert_eq!(looper.now() - start, ms(1000));
}

#[test]
fn c6_a_wait_that_ends_for_nothing_goes_back_to_waiting() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    looper.post_delayed(ms(30), log.noting("due")).unwrap();
    (0..5).for_each(|_| kernel.return_with_nothing());
    kernel.inject(crate::sys::fake::EVENTFD, IN);
    kernel.inject(crate::sys::fake::TIMERFD, IN);

    assert_eq!(looper.poll_once(ms(20)).unwrap(), timed_out());
    assert_eq!((looper.now() - start, log.take()), (ms(20), vec![]));
    kernel.inject(crate::sys::fake::TIMERFD, IN);
    assert_eq!(looper.poll_once(None).unwrap().messages, 1);

    assert_eq!(looper.now() - start, ms(30));
}

#[test]
fn c8_an_earlier_message_shortens_the_sleep() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let log = Log::new();
    looper.post_delayed(ms(100), log.noting("late")).unwrap();
    let handle = looper.handle();
    kernel.during_next_wait(move || drop(elsewhere(move || handle.post_delayed(ms(30), |_| ()).unwrap())));

    let turn = looper.poll_once(None).unwrap();

    assert_eq!(turn, ran(1), "a wake of the library's own is not told");
    assert_eq!(looper.now() - start, ms(30));
    assert_eq!((kernel.calls(Call::EventfdWrite), kernel.calls(Call::EpollWait)), (1, 2));
    assert_eq!(looper.poll_once(None).unwrap().messages, 1);
    assert_eq!((looper.now() - start, log.take()), (ms(100), vec!["late"]));
}

#[test]
fn c8_one_that_is_due_now_ends_it() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let handle = looper.handle();
    kernel.during_next_wait(move || drop(elsewhere(move || handle.post(|_| ()).unwrap())));

    assert_eq!(looper.poll_once(DAY).unwrap(), ran(1));

    assert_eq!((looper.now(), kernel.calls(Call::EventfdWrite)), (start, 1));
}

#[test]
fn c9_what_is_due_no_earlier_than_the_looper_gets_up_writes_nothing() {
    let (looper, kernel) = fake();
    let start = looper.now();
    looper.post_delayed(ms(30), |_| ()).unwrap();
    let handle = looper.handle();
    kernel.during_next_wait(move || {
        for delay in [ms(30), ms(30) + NANOSECOND, Duration::MAX] {
            handle.post_delayed(delay, |_| ()).unwrap();
        }
    });

    assert_eq!(looper.poll_once(None).unwrap().messages, 2, "those of 30 ms");

    assert_eq!((looper.now() - start, kernel.calls(Call::EventfdWrite)), (ms(30), 0));
    assert_eq!(kernel.calls(Call::EpollWait), 1);
}

#[test]
fn c9_nor_does_what_is_due_after_the_timeout() {
    let (looper, kernel) = fake();
    let handle = looper.handle();
    kernel.during_next_wait(move || drop(handle.post_delayed(ms(20), |_| ()).unwrap()));

    assert_eq!(looper.poll_once(ms(20)).unwrap(), ran(1));

    assert_eq!((kernel.calls(Call::EventfdWrite), kernel.calls(Call::EpollWait)), (0, 1));
}

#[test]
fn c10_a_post_of_the_loopers_own_thread_writes_nothing_and_the_next_wait_does_not_block() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let (posting, other_kernel) = (log.clone(), kernel.clone());
    let fd = Rc::new(Cell::new(-1));
    let own = fd.clone();
    let (_source, number) = add(&looper, move |looper, _| {
        other_kernel.set_ready(own.get(), NOT_READY);
        looper.post(posting.noting("posted by an fd")).unwrap();
        looper.handle().post_at_front(|_| ()).unwrap();
        FdNext::Keep
    });
    fd.set(number);
    kernel.set_ready(number, IN);

    assert_eq!(looper.poll_once(None).unwrap(), Turn { fds: 1, more: true, ..Turn::default() });
    assert_eq!(looper.poll_once(None).unwrap(), ran(2));

    assert_eq!(log.take(), ["posted by an fd"]);
    assert_eq!((kernel.calls(Call::EventfdWrite), kernel.calls(Call::TimerfdSet)), (0, 0));
}

#[test]
fn t12_c41_c68_two_hundred_signals_do_not_move_the_deadline() {
    let (looper, kernel) = fake();
    let start = looper.now();
    looper.post_delayed(ms(60), |_| ()).unwrap();
    (0..200).for_each(|_| kernel.fail(Call::EpollWait, Errno::EINTR));

    let turn = looper.poll_once(ms(50)).unwrap();

    assert_eq!(turn, Turn { interrupted: true, timed_out: true, ..Turn::default() });
    assert_eq!(turn.code(), PollCode::Wake);
    assert_eq!(looper.now() - start, ms(50));
    assert_eq!((kernel.calls(Call::EpollWait), kernel.calls(Call::TimerfdSet)), (201, 1));
    assert_eq!(looper.poll_once(None).unwrap(), ran(1), "told once");
    assert_eq!(looper.now() - start, ms(60));
}

#[test]
fn t12_a_signal_does_not_hide_what_is_ready() {
    let (looper, kernel) = fake();
    let (_source, fd) = add(&looper, |_, _| FdNext::Remove);
    kernel.set_ready(fd, IN);
    looper.wake().unwrap();
    kernel.fail(Call::EpollWait, Errno::EINTR);

    assert_eq!(looper.poll_once(None).unwrap(), Turn { woken: true, interrupted: true, ..Turn::default() });
    assert_eq!(looper.poll_once(None).unwrap(), served(1));
}

#[test]
fn t13_the_looper_is_polling_only_while_it_waits() {
    let (looper, kernel) = fake();
    let (sender, seen) = mpsc::channel();
    let (handle, asleep) = (looper.handle(), sender.clone());
    kernel.during_next_wait(move || asleep.send(handle.is_polling()).unwrap());
    let handle = looper.handle();
    let (_source, fd) = add(&looper, move |looper, _| {
        sender.send(looper.handle().is_polling()).unwrap();
        FdNext::Remove
    });
    let other_kernel = kernel.clone();
    kernel.during_next_wait(move || other_kernel.set_ready(fd, IN));
    assert!(!handle.is_polling());

    looper.poll_once(ms(1)).unwrap();
    looper.poll_once(None).unwrap();

    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [true, false]);
    kernel.fail(Call::EpollWait, Errno::EBADF);
    looper.poll_once(ms(1)).unwrap_err();
    assert!(!handle.is_polling());
}

#[test]
fn t14_a_cancel_while_the_looper_sleeps_does_not_end_the_turn() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let handle = looper.handle();
    let posted = handle.post_delayed(ms(50), |_| panic!("ran")).unwrap();
    kernel.during_next_wait(move || elsewhere(move || assert!(posted.cancel())));

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());

    assert_eq!(looper.now() - start, ms(500));
    assert!(kernel.calls(Call::EpollWait) <= 2, "one for the timer that was set already");
}

/// Notes when it is dropped, and sees that this is on the looper's thread.
struct TellsItsEnd(Log<Duration>, crate::LooperHandle, std::time::Instant);

impl Drop for TellsItsEnd {
    fn drop(&mut self) {
        assert!(self.1.is_current());
        self.0.note(self.1.now() - self.2);
    }
}

/// Lets `end` happen on another thread before a sleep, or during it, and sees that the value is dropped at once while
/// the turn goes on.
fn reaps_at_once<E: FnOnce() + Send + 'static>(leave: impl Fn(&Looper, TellsItsEnd) -> E) {
    for during_the_sleep in [false, true] {
        let (looper, kernel) = fake();
        let start = looper.now();
        let log = Log::new();
        let end = leave(&looper, TellsItsEnd(log.clone(), looper.handle(), start));
        if during_the_sleep {
            kernel.during_next_wait(move || elsewhere(end));
        } else {
            elsewhere(end);
        }

        assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());

        assert_eq!((log.take(), looper.now() - start), (vec![Duration::ZERO], ms(500)));
        assert_eq!(kernel.calls(Call::EventfdWrite), usize::from(during_the_sleep));
    }
}

#[test]
fn t14_m10_a_message_cancelled_elsewhere_is_reaped_at_once_and_does_not_end_the_turn() {
    reaps_at_once(|looper, value| {
        let posted = looper.post_delayed(ms(50), move |_| drop(value)).unwrap();
        move || assert!(posted.cancel())
    });
}

#[test]
fn t14_f4_an_fd_removed_elsewhere_is_reaped_at_once_and_does_not_end_the_turn() {
    reaps_at_once(|looper, value| {
        let held = move |_: &Looper, _| {
            let _ = &value;
            FdNext::Keep
        };
        let handle = add(looper, held).0.handle();
        move || assert!(handle.remove())
    });
}

/// A sleep that does not come about costs no timer.
#[test]
fn t4_a_turn_that_finds_a_wake_does_not_set_the_timer() {
    let (looper, kernel) = fake();

    for _ in 0..3 {
        looper.handle().wake().unwrap();
        assert!(looper.poll_once(ms(1000)).unwrap().woken);
    }

    assert_eq!(kernel.calls(Call::TimerfdSet), 0);
}
