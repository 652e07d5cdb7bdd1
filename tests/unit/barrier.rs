//! Barriers: what they hold up, what that costs, and whom their end wakes.
//!
//! Holds B1, B2, B3, M3, T3, T5, T14, Q3, X3, C56.

use std::sync::mpsc;

use super::*;
use crate::{Barrier, Handler};

/// A looper with no alarm for barriers, so that nothing but messages and timeouts ends a sleep.
pub(super) fn unalarmed() -> (Looper, Arc<FakeKernel>) {
    fake_with(|builder| builder.barrier_alarm(Duration::ZERO))
}

/// A handler that notes what it is sent.
fn noting(looper: &Looper, log: &Log<&'static str>) -> Handler<&'static str> {
    let log = log.clone();
    Handler::new(looper, move |_, word| log.note(word))
}

/// Puts up a barrier on another thread in the next sleep. It stands while the receiver lives.
pub(super) fn put_up_in_next_sleep(looper: &Looper, kernel: &FakeKernel) -> mpsc::Receiver<Barrier> {
    let (sender, receiver) = mpsc::channel();
    let handle = looper.handle();
    kernel.during_next_wait(move || elsewhere(move || sender.send(handle.barrier().unwrap()).unwrap()));
    receiver
}

pub(super) fn writes(kernel: &FakeKernel) -> usize {
    kernel.calls(Call::EventfdWrite)
}

#[test]
fn b1_what_is_due_stands_before_a_barrier_and_a_nanosecond_later_behind_it() {
    let (looper, kernel) = unalarmed();
    let log = Log::new();
    looper.post_delayed(ms(10), log.noting("due")).unwrap();
    looper.post_delayed(ms(10) + NANOSECOND, log.noting("a nanosecond late")).unwrap();
    kernel.advance(ms(10));
    let barrier = looper.barrier().unwrap();
    looper.post(log.noting("posted after it")).unwrap();

    assert_eq!(looper.poll_once(ms(1)).unwrap(), ran(1));
    assert_eq!(looper.poll_once(ms(1)).unwrap(), timed_out());

    assert_eq!(log.take(), ["due"]);
    drop(barrier);
    assert_eq!(looper.poll_once(None).unwrap(), ran(2));
    assert_eq!(log.take(), ["posted after it", "a nanosecond late"]);
}

#[test]
fn b1_a_message_that_puts_one_up_holds_up_what_it_posts_and_not_what_was_due_with_it() {
    let (looper, _) = unalarmed();
    let log = Log::new();
    let barrier = Rc::new(Cell::new(None));
    let (keeping, posting) = (barrier.clone(), log.clone());
    looper
        .post(move |looper| {
            keeping.set(Some(looper.barrier().unwrap()));
            looper.post(posting.noting("posted after it")).unwrap();
        })
        .unwrap();
    looper.post(log.noting("due")).unwrap();

    assert_eq!(looper.poll_once(ms(1)).unwrap(), ran(2), "and there is no more to do");

    assert_eq!(log.take(), ["due"]);
    drop(barrier.take());
    assert_eq!(looper.poll_once(None).unwrap(), ran(1));
}

/// Nor does it end a sleep when its time comes.
#[test]
fn b2_t14_what_is_posted_behind_a_barrier_wakes_nobody_and_writes_nothing() {
    let (looper, kernel) = unalarmed();
    let start = looper.now();
    let barrier = looper.barrier().unwrap();
    let handle = looper.handle();
    kernel.during_next_wait(move || {
        elsewhere(move || {
            for delay in [Duration::ZERO, NANOSECOND, ms(10), DAY, Duration::MAX] {
                handle.post_delayed(delay, |_| ()).unwrap();
            }
        });
    });
    looper.post_delayed(ms(5), |_| ()).unwrap();

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());

    assert_eq!((looper.now() - start, looper.len()), (ms(500), 6));
    assert_eq!((writes(&kernel), kernel.calls(Call::EpollWait)), (0, 1));
    drop(barrier);
    assert_eq!(looper.poll_once(None).unwrap(), ran(4));
    assert_eq!(writes(&kernel), 0, "the looper was awake");
}

#[test]
fn b2_m3_what_passes_a_barrier_ends_a_sleep_with_one_write() {
    type Pass = fn(&crate::LooperHandle);
    let passes: [Pass; 4] = [
        |handle| drop(handle.post_at_front(|_| ()).unwrap()),
        |handle| drop(handle.asynchronous().post(|_| ()).unwrap()),
        |handle| drop(handle.asynchronous().post_at_front(|_| ()).unwrap()),
        |handle| drop(handle.post_at(handle.now() - NANOSECOND, |_| ()).unwrap()),
    ];
    for pass in passes {
        let (looper, kernel) = unalarmed();
        let start = looper.now();
        let _barrier = looper.barrier().unwrap();
        looper.post(|_| panic!("it is held up")).unwrap();
        let handle = looper.handle();
        kernel.during_next_wait(move || elsewhere(move || pass(&handle)));

        assert_eq!(looper.poll_once(DAY).unwrap(), ran(1));

        assert_eq!((looper.now(), looper.len()), (start, 1));
        assert_eq!(writes(&kernel), 1);
    }
}

#[test]
fn b2_t5_the_sleep_is_until_the_next_asynchronous_message() {
    let (looper, kernel) = unalarmed();
    let start = looper.now();
    let log = Log::new();
    let handler = noting(&looper, &log);
    let _barrier = looper.barrier().unwrap();
    handler.send_delayed(ms(10), "held up").unwrap();
    handler.asynchronous().send_delayed(ms(40), "second").unwrap();
    handler.asynchronous().send_delayed(ms(30), "first").unwrap();

    for (at, word) in [(30, "first"), (40, "second")] {
        assert_eq!(looper.poll_once(None).unwrap(), ran(1));
        assert_eq!((looper.now() - start, log.take()), (ms(at), vec![word]));
    }

    assert_eq!((kernel.calls(Call::EpollWait), looper.len()), (2, 1));
}

#[test]
fn b2_t5_an_asynchronous_message_that_was_removed_does_not_shorten_the_sleep() {
    let (looper, kernel) = unalarmed();
    let start = looper.now();
    let handler = Handler::new(&looper, |_, ()| panic!("ran"));
    let _barrier = looper.barrier().unwrap();
    handler.send(()).unwrap();
    assert!(handler.asynchronous().send_delayed(ms(50), ()).unwrap().cancel());

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());

    assert_eq!((looper.now() - start, kernel.calls(Call::EpollWait)), (ms(500), 1));
}

#[test]
fn b2_t3_what_is_held_up_is_not_more_to_do() {
    let (looper, kernel) = fake_with(|builder| builder.barrier_alarm(Duration::ZERO).budget(1));
    let start = looper.now();
    let handler = Handler::new(&looper, |_, ()| ());
    let _barrier = looper.barrier().unwrap();
    (0..3).for_each(|_| drop(handler.send(()).unwrap()));
    (0..2).for_each(|_| drop(handler.asynchronous().send(()).unwrap()));

    assert_eq!(looper.poll_once(ms(1)).unwrap(), Turn { messages: 1, more: true, ..Turn::default() });
    assert_eq!(looper.poll_once(ms(1)).unwrap(), ran(1));
    assert_eq!(looper.poll_all(ms(1)).unwrap(), timed_out());

    assert_eq!((looper.now() - start, kernel.calls(Call::EpollWait)), (ms(1), 3));
}

#[test]
fn b2_t14_a_barrier_put_up_in_a_sleep_lengthens_it_and_ends_no_turn() {
    let (looper, kernel) = unalarmed();
    let start = looper.now();
    looper.post_delayed(ms(10), |_| panic!("it is held up")).unwrap();
    let barrier = put_up_in_next_sleep(&looper, &kernel);

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());

    assert_eq!((looper.now() - start, writes(&kernel)), (ms(500), 0));
    assert!(kernel.calls(Call::EpollWait) <= 2, "one for the timer that was set already");
    drop(barrier);
}

/// C56. The sleep is the longest there is, or until a timeout; the message is due now, in time, or too late for it.
#[test]
fn b3_the_end_of_a_barrier_writes_once_if_something_is_due_before_the_looper_gets_up_and_else_not() {
    let cases = [
        (None, Duration::ZERO, 1, ran(1), Duration::ZERO),
        (None, ms(10), 1, ran(1), ms(10)),
        (Some(ms(500)), ms(500) - NANOSECOND, 1, ran(1), ms(500) - NANOSECOND),
        (Some(ms(500)), ms(500), 0, ran(1), ms(500)),
        (Some(ms(500)), ms(500) + NANOSECOND, 0, timed_out(), ms(500)),
        (Some(ms(500)), Duration::MAX, 0, timed_out(), ms(500)),
    ];
    for (timeout, delay, expected_writes, turn, at) in cases {
        let (looper, kernel) = unalarmed();
        let start = looper.now();
        let barrier = looper.barrier().unwrap();
        looper.post_delayed(delay, |_| ()).unwrap();
        looper.post_delayed(Duration::MAX, |_| ()).unwrap();
        kernel.during_next_wait(move || elsewhere(move || drop(barrier)));

        assert_eq!(looper.poll_once(timeout).unwrap(), turn, "due after {delay:?}");

        assert_eq!((writes(&kernel), looper.now() - start), (expected_writes, at), "due after {delay:?}");
    }
}

/// C56: between the looper's look at the queue and its sleep.
#[test]
fn b3_the_end_of_a_barrier_just_before_the_looper_sleeps_is_not_overslept() {
    let (looper, kernel) = unalarmed();
    let start = looper.now();
    let barrier = looper.barrier().unwrap();
    looper.post(|_| ()).unwrap();
    kernel.before_next(Call::TimerfdSet, move || elsewhere(move || drop(barrier)));

    assert_eq!(looper.poll_once(DAY).unwrap(), ran(1));

    assert_eq!((looper.now(), writes(&kernel)), (start, 0));
}

#[test]
fn b3_the_end_of_a_barrier_that_holds_up_nothing_writes_nothing() {
    let (looper, kernel) = unalarmed();
    let start = looper.now();
    let barrier = looper.barrier().unwrap();
    looper.handle().asynchronous().post_delayed(ms(50), |_| ()).unwrap();
    kernel.during_next_wait(move || elsewhere(move || drop(barrier)));

    assert_eq!(looper.poll_once(None).unwrap(), ran(1));

    assert_eq!((writes(&kernel), kernel.calls(Call::EpollWait)), (0, 1));
    assert_eq!(looper.now() - start, ms(50));
}

/// C56.
#[test]
fn b3_of_many_barriers_that_end_in_a_sleep_only_the_last_one_writes() {
    let (looper, kernel) = unalarmed();
    let start = looper.now();
    let barriers = [(); 10].map(|()| looper.barrier().unwrap());
    looper.post(|_| ()).unwrap();
    let (sender, counts) = mpsc::channel();
    let counting = kernel.clone();
    kernel.during_next_wait(move || {
        for barrier in barriers {
            drop(barrier);
            sender.send(writes(&counting)).unwrap();
        }
    });

    assert_eq!(looper.poll_once(None).unwrap(), ran(1));

    assert_eq!(counts.iter().collect::<Vec<_>>(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(looper.now(), start);
}

#[test]
fn b3_each_barrier_lets_go_of_what_stands_before_the_next_one() {
    let (looper, kernel) = unalarmed();
    let log = Log::new();
    let first = looper.barrier().unwrap();
    looper.post(log.noting("between them")).unwrap();
    let second = looper.barrier().unwrap();
    looper.post(log.noting("behind both")).unwrap();

    kernel.during_next_wait(move || elsewhere(move || drop(first)));
    assert_eq!(looper.poll_once(DAY).unwrap(), ran(1));
    assert_eq!((log.take(), writes(&kernel)), (vec!["between them"], 1));
    assert_eq!(looper.poll_once(ms(5)).unwrap(), timed_out());
    kernel.during_next_wait(move || elsewhere(move || drop(second)));
    assert_eq!(looper.poll_once(DAY).unwrap(), ran(1));

    assert_eq!((log.take(), writes(&kernel)), (vec!["behind both"], 2));
}

#[test]
fn b3_the_end_of_a_barrier_that_is_not_the_first_changes_nothing() {
    let (looper, kernel) = unalarmed();
    let start = looper.now();
    let _first = looper.barrier().unwrap();
    looper.post(|_| panic!("it is held up")).unwrap();
    let second = looper.barrier().unwrap();
    looper.post(|_| panic!("it is held up")).unwrap();
    kernel.during_next_wait(move || elsewhere(move || drop(second)));

    assert_eq!(looper.poll_once(ms(500)).unwrap(), timed_out());

    assert_eq!((writes(&kernel), kernel.calls(Call::EpollWait)), (0, 1));
    assert_eq!((looper.now() - start, looper.len()), (ms(500), 2));
}

/// It is the first barrier that decides: what stands between two of them is held up as well.
#[test]
fn b3_what_is_posted_to_stand_between_two_barriers_wakes_nobody() {
    let (looper, kernel) = unalarmed();
    let first = looper.barrier().unwrap();
    let between = looper.now() + ms(1);
    kernel.advance(ms(2));
    let _second = looper.barrier().unwrap();
    let handle = looper.handle();
    kernel.during_next_wait(move || drop(elsewhere(move || handle.post_at(between, |_| ()).unwrap())));

    assert_eq!(looper.poll_once(ms(5)).unwrap(), timed_out());
    assert_eq!((writes(&kernel), kernel.calls(Call::EpollWait)), (0, 1));
    drop(first);

    assert_eq!(looper.poll_once(ms(5)).unwrap(), ran(1));
}

#[test]
fn b3_a_message_that_ends_a_barrier_lets_the_rest_run_in_the_same_turn_without_a_write() {
    let (looper, kernel) = unalarmed();
    let log = Log::new();
    let barrier = looper.barrier().unwrap();
    looper.post(log.noting("held up")).unwrap();
    looper.handle().asynchronous().post(move |_| drop(barrier)).unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), ran(2));

    assert_eq!(log.take(), ["held up"]);
    assert_eq!((writes(&kernel), kernel.calls(Call::EpollWait)), (0, 1));
}

/// The write is what fails, not the release: the next one to leave something wakes the looper for both.
#[test]
fn b3_x3_a_write_that_fails_at_the_end_of_a_barrier_is_logged_and_tried_again_by_the_next() {
    let (looper, kernel) = unalarmed();
    let start = looper.now();
    let barrier = looper.barrier().unwrap();
    looper.post(|_| ()).unwrap();
    kernel.fail(Call::EventfdWrite, Errno::EBADF);
    let handle = looper.handle();
    logged();
    kernel.during_next_wait(move || {
        drop(barrier);
        handle.post(|_| ()).unwrap();
    });

    assert_eq!(looper.poll_once(DAY).unwrap(), ran(2));

    assert_eq!((looper.now(), writes(&kernel)), (start, 2));
    assert_eq!(logged().len(), 1);
}

#[test]
fn q3_quit_safely_runs_what_is_due_behind_barriers_in_its_order_to_the_nanosecond() {
    let (looper, kernel) = unalarmed();
    let log = Log::new();
    let handler = noting(&looper, &log);
    handler.send("before").unwrap();
    let first = looper.barrier().unwrap();
    handler.send("between").unwrap();
    handler.asynchronous().send("asynchronous").unwrap();
    let _second = looper.barrier().unwrap();
    handler.send_delayed(ms(10), "due at the quit").unwrap();
    handler.send_delayed(ms(10) + NANOSECOND, "a nanosecond later").unwrap();
    handler.asynchronous().send_delayed(ms(10) + NANOSECOND, "a nanosecond later").unwrap();
    kernel.advance(ms(10));

    looper.quit_safely();
    kernel.advance(ms(10));
    drop(first);

    assert_eq!(looper.poll_once(None).unwrap(), Turn { messages: 4, quit: true, ..Turn::default() });
    assert_eq!(looper.message_counts(), MessageCounts { posted: 6, run: 4, removed: 0, dropped: 2 });
    assert_eq!(log.take(), ["before", "between", "asynchronous", "due at the quit"]);
    assert_eq!((writes(&kernel), kernel.calls(Call::EpollWait)), (0, 0));
}

#[test]
fn q3_quit_safely_of_a_looper_that_sleeps_on_a_barrier_runs_what_that_held_up() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let _barrier = looper.barrier().unwrap();
    looper.post(|_| ()).unwrap();
    let handle = looper.handle();
    kernel.during_next_wait(move || elsewhere(move || handle.quit_safely()));
    logged();

    assert_eq!(looper.poll_once(None).unwrap(), Turn { messages: 1, quit: true, ..Turn::default() });

    assert_eq!((looper.now(), writes(&kernel)), (start, 1));
    kernel.advance(DAY);
    assert_eq!(looper.poll_once(None).unwrap(), Turn { quit: true, ..Turn::default() });
    assert_eq!(logged(), [""; 0], "a barrier that was lifted is not told of");
}
