//! What other threads do in the gaps between the looper's own steps, and against one that really sleeps.
//!
//! Before it sleeps, the looper looks at what is due, sets the timer, and then publishes its sleep: so the timer is
//! where others come between. `tests/unit/models/` checks all the gaps that there are.
//!
//! Holds T4, T5, T6, R4, Q2, O1, C1, C8, C63.

use std::{os::fd::AsRawFd, sync::mpsc};

use super::*;
use crate::LooperHandle;

/// Lets `act` happen on another thread after the looper has decided how long to sleep, and gives the turn.
fn poll_with(act: fn(&LooperHandle)) -> Turn {
    let (looper, kernel) = fake();
    let start = looper.now();
    let handle = looper.handle();
    kernel.before_next(Call::TimerfdSet, move || elsewhere(move || act(&handle)));

    let turn = looper.poll_once(ms(500)).unwrap();

    assert_eq!(looper.now(), start, "it does not sleep over it");
    assert_eq!(kernel.calls(Call::EventfdWrite), 0, "and needs no signal for it");
    turn
}

#[test]
fn c1_a_post_after_the_look_at_the_queue_is_not_slept_over() {
    assert_eq!(poll_with(|handle| drop(handle.post(|_| ()).unwrap())), ran(1));
}

#[test]
fn c1_r4_nor_is_one_that_somebody_asks_about_just_then() {
    assert_eq!(poll_with(|handle| assert!(handle.post(|_| ()).unwrap().is_pending())), ran(1));
    let turn = poll_with(|handle| {
        handle.post(|_| ()).unwrap();
        assert!(handle.post(|_| ()).unwrap().cancel());
    });
    assert_eq!(turn, ran(1));
}

#[test]
fn c1_t4_a_wake_after_the_look_at_the_queue_is_not_slept_over() {
    assert_eq!(poll_with(|handle| handle.wake().unwrap()), woken());
}

#[test]
fn c1_q2_a_quit_after_the_look_at_the_queue_is_not_slept_over() {
    assert_eq!(poll_with(LooperHandle::quit), Turn { quit: true, ..Turn::default() });
    assert_eq!(poll_with(LooperHandle::quit_safely), Turn { quit: true, ..Turn::default() });
}

#[test]
fn c1_c8_a_post_of_an_earlier_time_after_the_look_at_the_queue_sets_the_timer_again() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let handle = looper.handle();
    let post = move || drop(handle.post_delayed(ms(20), |_| ()).unwrap());
    kernel.before_next(Call::TimerfdSet, move || elsewhere(post));

    assert_eq!(looper.poll_once(ms(500)).unwrap(), ran(1));

    assert_eq!(looper.now() - start, ms(20));
    assert_eq!((kernel.calls(Call::TimerfdSet), kernel.calls(Call::EventfdWrite)), (2, 0));
}

#[test]
fn c1_o1_a_post_or_wake_while_a_hosted_turn_ends_shows() {
    let acts: [fn(&LooperHandle); 2] = [|handle| drop(handle.post(|_| ()).unwrap()), |handle| handle.wake().unwrap()];
    for act in acts {
        let (looper, kernel) = fake();
        looper.as_raw_fd();
        looper.post_delayed(ms(500), |_| ()).unwrap();
        let handle = looper.handle();
        kernel.before_next(Call::TimerfdSet, move || elsewhere(move || act(&handle)));

        assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), timed_out());

        assert!(kernel.is_host_readable());
        assert!(!looper.poll_once(Duration::ZERO).unwrap().timed_out);
        assert!(!kernel.is_host_readable());
    }
}

#[test]
fn t5_a_cancel_after_the_look_at_the_queue_only_costs_a_wait() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let posted = looper.handle().post_delayed(ms(50), |_| panic!("ran")).unwrap();
    kernel.before_next(Call::TimerfdSet, move || elsewhere(move || assert!(posted.cancel())));

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());

    assert_eq!(looper.now() - start, ms(500));
    assert_eq!((kernel.calls(Call::EpollWait), kernel.calls(Call::EventfdWrite)), (2, 0));
}

#[test]
fn t6_a_looper_that_was_held_up_before_it_slept_is_late_but_never_early() {
    let (looper, kernel) = fake();
    let start = looper.now();
    looper.post_delayed(ms(50), |_| ()).unwrap();
    let busy = kernel.clone();
    kernel.before_next(Call::TimerfdSet, move || busy.advance(ms(70)));

    assert_eq!(looper.poll_once(None).unwrap(), ran(1));

    assert!(looper.now() - start >= ms(70));
}

#[test]
fn c1_c63_posts_of_four_threads_against_a_looper_that_really_sleeps() {
    const EACH: u32 = 5_000;
    let kernel = FakeKernel::new(Stuck::Wait);
    let looper = builder_on(&kernel).build().unwrap();
    let (sender, ran) = mpsc::channel();
    for poster in 0..4 {
        let (handle, sender) = (looper.handle(), sender.clone());
        thread::spawn(move || {
            for i in 0..EACH {
                let sender = sender.clone();
                handle.post(move |_| sender.send((poster, i)).unwrap()).unwrap();
            }
        });
    }

    // A wake that is lost would let it wait for ever.
    let (over, is_over) = mpsc::channel::<()>();
    let (watched, handle) = (kernel.clone(), looper.handle());
    let watch = thread::spawn(move || {
        let has_hung = is_over.recv_timeout(Duration::from_secs(100)) == Err(mpsc::RecvTimeoutError::Timeout);
        if has_hung {
            watched.write_eventfd(1).unwrap();
            handle.quit();
        }
        has_hung
    });
    let mut turns = 0;
    let mut count = 0;
    while count < 4 * EACH as usize && !looper.has_quit() {
        count += looper.poll_once(None).unwrap().messages;
        turns += 1;
    }
    drop(over);
    assert!(!watch.join().unwrap(), "it has waited for what had come");

    let ran: Vec<_> = ran.try_iter().collect();
    for poster in 0..4 {
        assert!(ran.iter().filter(|(by, _)| *by == poster).map(|(_, i)| *i).eq(0..EACH), "all of one thread, in order");
    }
    assert!(kernel.calls(Call::EventfdWrite) <= turns, "a sleep is ended by one write");
}
