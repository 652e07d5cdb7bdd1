//! Virtual time: a clock that moves only when a test says so, and to where.
//!
//! Holds V1.

use std::{
    cell::{Cell, RefCell},
    io::{Read, Write},
    ops::ControlFlow,
    rc::Rc,
    time::{Duration, Instant},
};

use alooper::{FdNext, Handler, Interest, Looper, Posted, testing::TestLooper};

use crate::support::{
    HOUR,
    diary::{Diary, two_on_one_clock},
    fds::ready_stream,
    ms, watched,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn v1_the_clock_stands_still_until_it_is_told() {
    let looper = TestLooper::new().unwrap();
    let before = looper.now();
    looper.post_delayed(Duration::from_nanos(1), |_| panic!("no time passes")).unwrap();

    assert_eq!(looper.run_until_idle(), 0);
    assert!(looper.poll_once(Duration::ZERO).unwrap().timed_out);

    assert_eq!((looper.now(), looper.handle().now(), looper.clock().now()), (before, before, before));
    looper.allow_leftovers();
}

#[test]
fn v1_advance_goes_from_deadline_to_deadline_and_each_message_sees_its_own_time() {
    let looper = TestLooper::new().unwrap();
    let diary = Diary::new(&looper);
    let next = diary.note("posted at 5, for 7");
    looper.post_delayed(ms(10), diary.note("at 10")).unwrap();
    looper.post_delayed(ms(5), move |looper| drop(looper.post_delayed(ms(2), next).unwrap())).unwrap();
    looper.post_delayed(ms(11), diary.note("at 11")).unwrap();
    looper.post(diary.note("at once")).unwrap();

    assert_eq!(looper.advance(ms(10)), 4);

    let expected = [("at once", Duration::ZERO), ("posted at 5, for 7", ms(7)), ("at 10", ms(10))];
    assert_eq!(diary.take(), expected);
    assert_eq!(looper.now() - diary.start, ms(10));
    assert_eq!(looper.advance(ms(1) - Duration::from_nanos(1)), 0);
    assert_eq!(looper.advance(Duration::from_nanos(1)), 1);
    assert_eq!(diary.take(), [("at 11", ms(11))]);
}

#[test]
fn v1_advance_serves_what_is_ready_at_each_stop_before_time_goes_on() {
    let looper = TestLooper::new().unwrap();
    let diary = Diary::new(&looper);
    let (near, far) = ready_stream();
    let mut writer = far.try_clone().unwrap();
    let mut fd_notes = vec![diary.note("fd again"), diary.note("fd")];
    let source = looper.add_fd(near, Interest::INPUT, move |looper, stream, _| {
        stream.read_exact(&mut [0]).unwrap();
        fd_notes.pop().unwrap()(looper);
        FdNext::Keep
    });
    looper.post_delayed(ms(5), move |_| writer.write_all(b"x").unwrap()).unwrap();
    looper.post_delayed(ms(6), diary.note("message")).unwrap();

    assert_eq!(looper.advance(ms(10)), 2);

    assert_eq!(diary.take(), [("fd", Duration::ZERO), ("fd again", ms(5)), ("message", ms(6))]);
    drop((source.unwrap().remove(), far));
}

#[test]
fn v1_advance_by_nothing_is_idle_and_a_clock_with_nothing_to_do_moves_all_the_same() {
    let looper = TestLooper::new().unwrap();
    let start = looper.now();
    looper.post(|_| ()).unwrap();

    assert_eq!(looper.advance(Duration::ZERO), 1);
    assert_eq!(looper.now(), start);

    assert_eq!(looper.advance(DAY), 0);
    assert_eq!(looper.now(), start + DAY);
}

#[test]
fn v1_advance_without_end_runs_all_that_ever_comes_due() {
    let looper = TestLooper::new().unwrap();
    let start = looper.now();
    looper.post_delayed(365 * DAY, |_| ()).unwrap();
    let never = looper.post_delayed(Duration::MAX, |_| panic!("never")).unwrap();

    assert_eq!(looper.advance(Duration::MAX), 1);

    assert_eq!(looper.now(), start + 365 * DAY);
    assert!(never.cancel());
}

#[test]
fn v1_a_repeating_post_runs_at_each_of_its_times() {
    let looper = TestLooper::new().unwrap();
    let diary = Diary::new(&looper);
    let own = diary.clone();
    let tick = move |looper: &Looper| {
        own.note("tick")(looper);
        if looper.now() - own.start < ms(70) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    looper.post_every(ms(20), tick).unwrap();

    assert_eq!(looper.advance(ms(65)), 3);
    assert_eq!(diary.take(), [20, 40, 60].map(|count| ("tick", ms(count))));

    assert_eq!(looper.advance(HOUR), 1);
    assert_eq!(diary.take(), [("tick", ms(80))]);
}

#[test]
fn v1_run_one_runs_one_message_at_its_time() {
    let (clock, looper, other) = two_on_one_clock();
    let diary = Diary::new(&looper);
    let (near, mut far) = ready_stream();
    let source = looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("fds are not served")).unwrap();
    far.write_all(b"x").unwrap();
    other.post(|_| panic!("others are not served")).unwrap();
    looper.post_delayed(ms(3), diary.note("second")).unwrap();
    looper.post(diary.note("first")).unwrap();
    looper.post_delayed(ms(3), diary.note("third")).unwrap();

    assert!(looper.run_one());
    assert_eq!(diary.take(), [("first", Duration::ZERO)]);
    assert!(looper.run_one());
    assert_eq!(diary.take(), [("second", ms(3))]);
    assert!(looper.run_one());
    assert_eq!(diary.take(), [("third", ms(3))]);

    assert!(!looper.run_one());
    assert_eq!(clock.now() - diary.start, ms(3));
    drop(source.remove());
    other.allow_leftovers();
}

#[test]
fn v1_run_one_passes_over_what_never_comes_due_or_stands_behind_a_barrier() {
    let looper = TestLooper::new().unwrap();
    let start = looper.now();
    let never = looper.post_delayed(Duration::MAX, |_| panic!("never")).unwrap();
    let barrier = looper.barrier().unwrap();
    looper.post_delayed(ms(1), |_| ()).unwrap();
    looper.handle().asynchronous().post_delayed(ms(2), |_| ()).unwrap();

    assert!(looper.run_one(), "the asynchronous one");
    assert!(!looper.run_one(), "it is held up");
    drop(barrier);
    assert!(looper.run_one());
    assert!(!looper.run_one(), "it never comes due");

    assert_eq!(looper.now(), start + ms(2));
    assert!(never.cancel());
}

#[test]
fn v1_run_to_next_moves_to_the_next_deadline_of_all() {
    let (_clock, looper, other) = two_on_one_clock();
    let diary = Diary::new(&looper);
    looper.post_delayed(ms(9), diary.note("later")).unwrap();
    other.post_delayed(ms(4), diary.note("of the other")).unwrap();
    looper.post_delayed(ms(4), diary.note("same time")).unwrap();

    assert_eq!(looper.run_to_next(), 2);
    assert_eq!(diary.take(), [("same time", ms(4)), ("of the other", ms(4))]);

    assert_eq!(looper.run_to_next(), 1);
    assert_eq!(diary.take(), [("later", ms(9))]);
    assert_eq!((looper.run_to_next(), looper.now() - diary.start), (0, ms(9)));
}

#[test]
fn v1_run_to_end_moves_to_the_last_deadline_of_now_and_not_to_those_that_come_up() {
    let looper = TestLooper::new().unwrap();
    let diary = Diary::new(&looper);
    let (within, beyond) = (diary.note("within"), diary.note("beyond"));
    looper
        .post_delayed(ms(6), move |looper| {
            looper.post_delayed(ms(2), within).unwrap();
            looper.post_delayed(ms(60), beyond).unwrap();
        })
        .unwrap();
    looper.post_delayed(ms(8), diary.note("last")).unwrap();
    let never = looper.post_delayed(Duration::MAX, |_| panic!("never")).unwrap();

    assert_eq!(looper.run_to_end(), 3);
    assert_eq!(diary.take(), [("last", ms(8)), ("within", ms(8))]);

    assert_eq!(looper.run_to_end(), 1);
    assert_eq!(diary.take(), [("beyond", ms(66))]);
    assert_eq!(looper.run_to_end(), 0);
    assert!(never.cancel());
}

#[test]
fn v1_deadlines_are_those_of_the_first_message_that_may_run_and_of_the_last_one() {
    let (clock, looper, other) = two_on_one_clock();
    let start = looper.now();
    let deadlines = || (looper.next_deadline(), looper.last_deadline());
    assert_eq!(deadlines(), (None, None));

    let never = looper.post_delayed(Duration::MAX, |_| ()).unwrap();
    assert_eq!(deadlines(), (None, None));

    looper.post_delayed(ms(7), |_| ()).unwrap();
    looper.post_delayed(ms(5), |_| ()).unwrap();
    other.post_delayed(ms(2), |_| ()).unwrap();
    assert_eq!(deadlines(), (Some(start + ms(5)), Some(start + ms(7))));
    assert_eq!(clock.next_deadline(), Some(start + ms(2)));

    let barrier = looper.barrier().unwrap();
    assert_eq!(deadlines(), (None, Some(start + ms(7))), "held up");
    looper.handle().asynchronous().post_delayed(ms(6), |_| ()).unwrap();
    assert_eq!(looper.next_deadline(), Some(start + ms(6)));
    drop(barrier);
    assert_eq!(looper.next_deadline(), Some(start + ms(5)));

    looper.post_at(start - ms(3), |_| ()).unwrap();
    assert_eq!(looper.next_deadline(), Some(start - ms(3)), "overdue");
    looper.post_at_front(|_| ()).unwrap();
    assert!(looper.next_deadline().unwrap() < start - HOUR);

    assert!(never.cancel());
    clock.advance(ms(7));
    assert_eq!((deadlines(), clock.next_deadline()), ((None, None), None));
}

#[test]
fn v1_run_moves_the_clock_and_does_not_sleep() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let diary = Diary::new(&looper);
        looper.post_delayed(30 * DAY, |looper| looper.quit()).unwrap();
        looper.post_delayed(DAY, diary.note("after a day")).unwrap();

        assert_eq!(looper.run().unwrap().run, 2);

        assert_eq!(diary.take(), [("after a day", DAY)]);
        assert_eq!(looper.now() - diary.start, 30 * DAY);
    });
}

#[test]
fn v1_a_poll_moves_the_clock_to_its_deadline_or_to_what_comes_first() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let diary = Diary::new(&looper);

        assert!(looper.poll_once(HOUR).unwrap().timed_out);
        assert_eq!(looper.now() - diary.start, HOUR);

        looper.post_delayed(HOUR, diary.note("in time")).unwrap();
        assert_eq!(looper.poll_once(DAY).unwrap().messages, 1);
        assert_eq!(diary.take(), [("in time", 2 * HOUR)]);

        looper.wake().unwrap();
        assert!(looper.poll_once(HOUR).unwrap().woken);
        let (near, _far) = ready_stream();
        looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
        assert_eq!(looper.poll_once(HOUR).unwrap().fds, 1);
        assert_eq!(looper.now() - diary.start, 2 * HOUR, "no time passes while there is something to do");
    });
}

/// Sends what it is given when nothing more has come for a while.
struct Debounce {
    handler: Handler<()>,
    last: RefCell<Option<Posted<()>>>,
}

impl Debounce {
    const QUIET: Duration = ms(20);

    fn new(looper: &Looper, times: &Rc<RefCell<Vec<Instant>>>) -> Debounce {
        let times = times.clone();
        let handler = Handler::new(looper, move |looper, ()| times.borrow_mut().push(looper.now()));
        Debounce { handler, last: RefCell::default() }
    }

    fn touch(&self) {
        let next = self.handler.send_delayed(Debounce::QUIET, ()).unwrap();
        if let Some(last) = self.last.replace(Some(next)) {
            last.cancel();
        }
    }
}

/// Touches it at 0, 5 and 10 ms, and ends the looper at 60. Gives when it was touched last, and when it sent.
fn debounced(looper: &Looper) -> (Instant, Vec<Instant>) {
    let sent = Rc::default();
    let debounce = Rc::new(Debounce::new(looper, &sent));
    let touched = Rc::new(Cell::new(looper.now()));
    for delay in [0, 5, 10].map(ms) {
        let (debounce, touched) = (debounce.clone(), touched.clone());
        let touch = move |looper: &Looper| {
            touched.set(looper.now());
            debounce.touch();
        };
        looper.post_delayed(delay, touch).unwrap();
    }
    looper.post_delayed(ms(60), |looper| looper.quit()).unwrap();
    looper.run().unwrap();
    (touched.get(), sent.take())
}

#[test]
fn v1_the_same_code_runs_on_a_real_and_on_a_test_looper() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let start = looper.now();
        assert_eq!(debounced(&looper), (start + ms(10), vec![start + ms(30)]));

        // On the system's clock only lower bounds hold.
        let (touched, sent) = debounced(&Looper::new().unwrap());
        assert!(sent.last().is_none_or(|last| *last >= touched + Debounce::QUIET), "{sent:?} after {touched:?}");
    });
}

#[test]
fn v1_time_can_pass_inside_a_callback() {
    let looper = TestLooper::new().unwrap();
    let clock = looper.clock().clone();
    let start = looper.now();
    looper.post(move |_| clock.pass(ms(30))).unwrap();
    let diary = Diary::new(&looper);
    looper.post_delayed(ms(10), diary.note("late")).unwrap();

    assert_eq!(looper.run_until_idle(), 2);

    assert_eq!(diary.take(), [("late", ms(30))]);
    assert_eq!(looper.now() - start, ms(30));
}
