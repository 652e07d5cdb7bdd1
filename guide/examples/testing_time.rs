//! cargo run -p alooper-guide --example testing_time
//!
//! docs/guide/how-to/testing-time.md: a client that tries again with longer and longer pauses, and its tests.
//! `cargo test -p alooper-guide --example testing_time` runs them as tests.

use std::{
    cell::{Cell, RefCell},
    io,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    thread,
    time::Duration,
};

use alooper::{
    Handler, Looper,
    testing::{TestClock, TestLooper},
};

// [code]
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Tries until it succeeds, after longer and longer pauses.
fn retry(looper: &Looper, pause: Duration, mut attempt: impl FnMut(&Looper) -> bool + 'static) -> io::Result<()> {
    if !attempt(looper) {
        let again = move |looper: &Looper| {
            // Refused only if the looper has quit.
            let _ = retry(looper, (pause * 2).min(LONGEST_PAUSE), attempt);
        };
        looper.post_delayed(pause, again)?;
    }
    Ok(())
}
// [/code]

const SECOND: Duration = Duration::from_secs(1);

// [test]
#[cfg_attr(test, test)]
fn the_pauses_double_up_to_a_minute() {
    let looper = TestLooper::new().unwrap();
    let start = looper.now();
    let tried = Rc::new(RefCell::new(Vec::new()));
    let log = tried.clone();
    let attempt = move |looper: &Looper| {
        log.borrow_mut().push((looper.now() - start).as_secs());
        log.borrow().len() == 10
    };

    retry(&looper, SECOND, attempt).unwrap();
    looper.advance(3600 * SECOND);

    assert_eq!(*tried.borrow(), [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
}
// [/test]

// [two]
#[cfg_attr(test, test)]
fn a_server_that_is_back_after_a_minute_is_found_within_the_next_one() {
    let clock = TestClock::new();
    let [client, server] = [(); 2].map(|()| clock.build(Looper::builder()).unwrap());
    let is_up = Rc::new(Cell::new(false));
    let comes_up = is_up.clone();
    server.post_delayed(60 * SECOND, move |_| comes_up.set(true)).unwrap();
    let found = Rc::new(Cell::new(None));
    let note = found.clone();
    let attempt = move |looper: &Looper| {
        note.set(is_up.get().then(|| looper.now()));
        is_up.get()
    };
    let start = clock.now();

    retry(&client, SECOND, attempt).unwrap();
    clock.advance(120 * SECOND);

    assert_eq!(found.get(), Some(start + 63 * SECOND));
}
// [/two]

// [late]
#[cfg_attr(test, test)]
fn a_callback_that_takes_long_makes_the_next_one_late_and_is_seen() {
    let looper = TestLooper::new().unwrap();
    let clock = looper.clock().clone();
    let late = Rc::new(Cell::new(Duration::ZERO));
    let note = late.clone();
    let due = looper.now() + SECOND;

    looper.post(move |_| clock.pass(3 * SECOND)).unwrap();
    looper.post_at(due, move |looper| note.set(looper.now() - due)).unwrap();
    looper.run_until_idle();

    assert_eq!(late.get(), 2 * SECOND);
}
// [/late]

// [thread]
#[cfg_attr(test, test)]
fn a_worker_may_take_its_time_while_a_timeout_is_pending() {
    let looper = TestLooper::new().unwrap();
    let timeout = looper.post_delayed(10 * SECOND, |_| panic!("no answer")).unwrap();
    let answer = Rc::new(Cell::new(None));
    let note = answer.clone();
    let handler = Handler::new(&looper, move |_, number: u64| note.set(Some(number)));
    let worker = thread::spawn(move || handler.send((1..=20).product()).is_ok());

    while answer.get().is_none() {
        // At most a minute of real time for each thing that happens, so that a busy machine is no failure.
        looper.wait_for_others(60 * SECOND);
    }

    assert_eq!(answer.get(), Some(2_432_902_008_176_640_000));
    assert!(timeout.cancel() && worker.join().unwrap());
}
// [/thread]

// [forgets]
/// A test that forgets something: the attempts go on when it ends.
fn a_test_that_ends_too_early() {
    let looper = TestLooper::new().unwrap();
    let log = Handler::new(&looper, |_, _: &str| ());

    retry(&looper, SECOND, |_| false).unwrap();
    looper.advance(10 * SECOND);
    log.message("still to be written").what(7).send_delayed(SECOND / 2).unwrap();
}
// [/forgets]

fn main() {
    the_pauses_double_up_to_a_minute();
    println!("ok: the pauses double up to a minute");
    a_server_that_is_back_after_a_minute_is_found_within_the_next_one();
    println!("ok: a server that is back after a minute is found within the next one");
    a_callback_that_takes_long_makes_the_next_one_late_and_is_seen();
    println!("ok: a callback that takes long makes the next one late and is seen");
    a_worker_may_take_its_time_while_a_timeout_is_pending();
    println!("ok: a worker may take its time while a timeout is pending");

    panic::set_hook(Box::new(|_| ()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(a_test_that_ends_too_early));
    let _ = panic::take_hook();
    let message = outcome.expect_err("it leaves something behind");
    println!("failed: {}", message.downcast_ref::<String>().expect("a message"));
}
