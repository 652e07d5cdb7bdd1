//! Other threads that post without end: what a turn does is bounded, and the order is that of the posts.
//!
//! Holds T7, M2, M5, M11, R4, Q1, Q4.

use std::{
    cell::RefCell,
    io::Write,
    os::unix::net::UnixStream,
    rc::Rc,
    sync::{Arc, Mutex},
    thread,
};

use alooper::{FdNext, Handler, Interest, Looper, LooperHandle};

use crate::support::{costs::assert_in_proportion, ms, watched};

/// More than a turn runs.
const FEW: u32 = 300;
const MANY: u32 = 20_000;
/// As often as costs are compared at most.
const LOOPERS: usize = 30;

/// What `run` gives on another thread.
fn elsewhere<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    // That a scope waits for its threads, the thread sanitizer does not see.
    thread::scope(|scope| scope.spawn(run).join().unwrap())
}

/// Posts so many messages from another thread, of which the first does something.
fn flood(handle: &LooperHandle, count: u32, first: fn(&Looper)) {
    elsewhere(|| {
        handle.post(first).unwrap();
        (1..count).for_each(|_| _ = handle.post(|_| ()).unwrap());
    });
}

/// Loopers for which so many messages wait, and what polls one after the other, each once.
fn flooded(count: u32, first: fn(&Looper)) -> (Rc<RefCell<Vec<Looper>>>, impl FnMut()) {
    let loopers = (0..LOOPERS).map(|_| {
        let looper = Looper::new().unwrap();
        flood(&looper.handle(), count, first);
        looper
    });
    let fresh = RefCell::new(loopers.collect::<Vec<_>>());
    let polled = Rc::new(RefCell::new(Vec::new()));
    let done = polled.clone();
    let poll = move || {
        let looper = fresh.borrow_mut().pop().expect("there are as many as are polled");
        assert_eq!(looper.poll_once(ms(0)).unwrap().messages, 256);
        // What is left is dropped later, and not counted.
        done.borrow_mut().push(looper);
    };
    (polled, poll)
}

/// A turn moved all that waited before it served an fd: half a second for ten million messages.
#[test]
fn t7_what_a_turn_costs_does_not_grow_with_what_waits() {
    watched(|| {
        let (_few, few) = flooded(FEW, |_| ());
        let (_many, many) = flooded(MANY, |_| ());

        assert_in_proportion("a turn", 4, few, many);
    });
}

/// Nor does it if a callback posts, whose post comes after all that waits.
#[test]
fn t7_m5_a_turn_whose_callbacks_post_does_not_move_all_that_waits_either() {
    watched(|| {
        let post = |looper: &Looper| {
            looper.post(|_| ()).unwrap();
            looper.post_delayed(ms(1000), |_| ()).unwrap();
            looper.post_at_front(|_| ()).unwrap();
        };
        let (_few, few) = flooded(FEW, post);
        let (_many, many) = flooded(MANY, post);

        assert_in_proportion("a turn in which one posts", 4, few, many);
    });
}

#[test]
fn t7_an_fd_is_served_after_a_budget_of_messages_however_many_wait() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        far.write_all(b"x").unwrap();
        flood(&looper.handle(), 100_000, |_| ());

        for _ in 0..10 {
            let turn = looper.poll_once(ms(0)).unwrap();
            assert_eq!((turn.messages, turn.fds, turn.more), (256, 1, true));
        }

        assert_eq!(looper.len(), 100_000 - 10 * 256, "it is known how many wait");
    });
}

/// A note of each message that has run.
type Notes = Arc<Mutex<Vec<u32>>>;

fn note(notes: &Notes, number: u32) -> impl FnOnce(&Looper) + Send + use<> {
    let notes = notes.clone();
    move |_| notes.lock().unwrap().push(number)
}

/// Those of other threads go into the queue in batches, and what the looper's own thread posts meanwhile between them.
#[test]
fn m5_the_order_is_that_of_the_posts_whoever_posts_and_however_many_wait() {
    watched(|| {
        for own in [1, 3, 250, 256, 257, 600] {
            let looper = Looper::new().unwrap();
            let handle = looper.handle();
            let notes = Notes::default();
            let mut number = 0;
            let mut next = || {
                number += 1;
                number
            };
            for remote in [700, 1, 256, 0, 255, 300] {
                let numbers: Vec<u32> = (0..remote).map(|_| next()).collect();
                elsewhere(|| numbers.into_iter().for_each(|number| _ = handle.post(note(&notes, number)).unwrap()));
                (0..own).for_each(|_| _ = looper.post(note(&notes, next())).unwrap());
                looper.poll_once(ms(0)).unwrap();
            }

            while looper.poll_once(ms(0)).unwrap().more {}

            let expected: Vec<u32> = (1..=number).collect();
            assert_eq!(*notes.lock().unwrap(), expected, "{own} of the looper's own thread at a time");
        }
    });
}

/// M11, M2: what is posted at the front, or for a time that has passed, overtakes what waits.
#[test]
fn m11_m2_what_is_posted_at_the_front_overtakes_all_that_waits() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let notes = Notes::default();
        let hour_ago = looper.now().checked_sub(ms(3_600_000)).expect("a clock that has run for that long");
        flood(&handle, 10_000, |_| ());
        let (front, past) = (note(&notes, 1), note(&notes, 2));
        elsewhere(|| {
            handle.post_at(hour_ago, past).unwrap();
            handle.post_at_front(front).unwrap();
        });

        assert_eq!(looper.poll_once(ms(0)).unwrap().messages, 256);

        assert_eq!(*notes.lock().unwrap(), [1, 2]);
    });
}

/// R1, R4: who asks and who cancels sees all that waits.
#[test]
fn r4_what_waits_can_be_asked_about_and_cancelled() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let posted: Vec<_> =
            elsewhere(|| (0..2000).map(|_| handle.post(|_| panic!("all are cancelled")).unwrap()).collect());
        assert_eq!((handle.len(), looper.len()), (2000, 2000));

        assert!(posted.iter().rev().all(|posted| posted.is_pending() && posted.cancel()));

        assert!(looper.is_empty());
        assert!(looper.poll_once(ms(1)).unwrap().timed_out);
        assert_eq!(looper.message_counts().removed, 2000);
    });
}

/// With a million messages, it held the queue for a tenth of a second, and copied them all.
#[test]
fn q1_what_a_quit_costs_who_quits_does_not_grow_with_what_is_pending() {
    let quitting = |count: u32| {
        let loopers = (0..LOOPERS).map(|_| {
            let looper = Looper::new().unwrap();
            let handler = Handler::new(&looper, |_, _: u32| panic!("it has quit"));
            for number in 0..count / 2 {
                handler.message(number).what(number as i32).send_delayed(ms(u64::from(number))).unwrap();
            }
            assert!(handler.has(1), "they are listed by their labels");
            flood(&looper.handle(), count / 2, |_| panic!("it has quit"));
            looper
        });
        let fresh = RefCell::new(loopers.collect::<Vec<_>>());
        let has_quit = Rc::new(RefCell::new(Vec::new()));
        let done = has_quit.clone();
        let quit = move || {
            let looper = fresh.borrow_mut().pop().expect("there are as many as quit");
            looper.quit();
            done.borrow_mut().push(looper);
        };
        (has_quit, quit)
    };
    watched(move || {
        let (few_loopers, few) = quitting(FEW);
        let (many_loopers, many) = quitting(MANY);

        assert_in_proportion("a quit", 8, few, many);

        for (loopers, count) in [(few_loopers, FEW), (many_loopers, MANY)] {
            for looper in loopers.take() {
                let report = looper.message_counts();
                assert_eq!((report.dropped, looper.len()), (u64::from(count), 0));
                assert!(looper.poll_once(ms(0)).unwrap().quit);
            }
        }
    });
}
