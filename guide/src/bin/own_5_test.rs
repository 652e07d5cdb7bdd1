//! cargo run -p alooper-guide --bin own_5_test
//!
//! Chapter 13 of docs/guide: the test of the runner, in virtual time. `cargo test -p alooper-guide --bin own_5_test`
//! runs it as a test.

#[path = "own/runner.rs"]
mod runner;

// [test]
use std::{cell::RefCell, io, rc::Rc, time::Duration};

use alooper::{Handler, testing::TestLooper};

use crate::runner::{Event, LIMIT, World};

/// A world in which nothing runs, and everything is noted.
#[derive(Clone, Default)]
struct Notes(Rc<RefCell<Vec<String>>>);

impl World for Notes {
    type Process = ();

    fn start(&mut self, slot: usize, _: usize, job: &str, _: Handler<Event>) -> io::Result<()> {
        self.0.borrow_mut().push(format!("{job} starts in slot {slot}"));
        Ok(())
    }

    fn report(&mut self, job: &str, outcome: &str) {
        self.0.borrow_mut().push(format!("{job}: {outcome}"));
    }
}

#[cfg_attr(test, test)]
fn a_job_that_takes_too_long_makes_room_for_the_next() {
    let looper = TestLooper::new().unwrap();
    let notes = Notes::default();
    let jobs = ["long", "short", "next"].map(str::to_owned);
    let runner = crate::runner::new(&looper, jobs, 2, notes.clone());

    runner.send(Event::Start).unwrap();
    looper.advance(Duration::from_secs(1));
    runner.send(Event::Done { id: 1, output: "fine".to_owned() }).unwrap();
    looper.advance(LIMIT - Duration::from_secs(1));
    runner.send(Event::Stop).unwrap();
    looper.run_until_idle();

    let seen = [
        "long starts in slot 0",
        "short starts in slot 1",
        "short: fine",
        "next starts in slot 1",
        "long: takes too long",
        "next: stopped",
    ];
    assert_eq!(*notes.0.borrow(), seen);
    assert!(looper.has_quit());
}
// [/test]

fn main() {
    a_job_that_takes_too_long_makes_room_for_the_next();
    println!("ok: a job that takes too long makes room for the next");
}
