//! The order of what several threads post and what is timed, where the clock stands still in between.
//!
//! Holds M1, M2.

use std::sync::Mutex;

use super::*;

/// What messages of several threads note, in their order.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<&'static str>>>);

impl Notes {
    /// A message that notes `name`.
    fn noting(&self, name: &'static str) -> impl FnOnce(&Looper) + Send + use<> {
        let notes = self.clone();
        move |_| notes.0.lock().unwrap().push(name)
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Posts from another thread a message that notes `name`.
fn post_remotely(looper: &Looper, notes: &Notes, name: &'static str) {
    let (handle, message) = (looper.handle(), notes.noting(name));
    elsewhere(move || drop(handle.post(message).unwrap()));
}

/// The queue has the timed one alone, and the inbox is not looked at but for what runs next.
#[test]
fn m2_what_another_thread_posts_before_a_timed_message_is_due_runs_before_it() {
    let (looper, kernel) = fake();
    let notes = Notes::default();
    looper.post_delayed(ms(5), notes.noting("timed")).unwrap();
    post_remotely(&looper, &notes, "plain");
    kernel.advance(ms(10));

    assert_eq!(poll(&looper), ran(2));

    assert_eq!(notes.take(), ["plain", "timed"]);
}

/// As above, while a turn runs messages, of which none has to look at what has come meanwhile.
#[test]
fn m2_what_another_thread_posts_in_a_turn_before_a_timed_message_is_due_runs_before_it() {
    let (looper, kernel) = fake();
    let notes = Notes::default();
    looper.post_delayed(ms(5), notes.noting("timed")).unwrap();
    let (remote, clock) = (notes.clone(), kernel.clone());
    let first = move |looper: &Looper| {
        post_remotely(looper, &remote, "plain");
        clock.advance(ms(10));
    };
    looper.post(first).unwrap();

    while !looper.is_empty() {
        poll(&looper);
    }

    assert_eq!(notes.take(), ["plain", "timed"]);
}

/// Also where nothing timed was pending when they were posted, so that their times seemed not to matter.
#[test]
fn m1_m2_a_time_that_has_passed_is_before_what_was_posted_after_it_and_behind_what_was_before() {
    let from_here: fn(&Looper, &Notes, &'static str) =
        |looper, notes, name| drop(looper.post(notes.noting(name)).unwrap());
    for post in [from_here, post_remotely] {
        let (looper, kernel) = fake();
        let notes = Notes::default();
        let start = looper.now();
        post(&looper, &notes, "first");
        kernel.advance(ms(10));
        post(&looper, &notes, "second");
        looper.post_at(start + ms(5), notes.noting("between")).unwrap();

        assert_eq!(poll(&looper), ran(3));

        assert_eq!(notes.take(), ["first", "between", "second"]);
    }
}

/// On the system's clock, which is spared where nothing can have become due.
#[test]
fn m1_m2_a_time_an_hour_ago_is_before_what_another_thread_has_just_posted() {
    for with_front in [false, true] {
        let looper = Looper::new().unwrap();
        let notes = Notes::default();
        if with_front {
            let (handle, front) = (looper.handle(), notes.noting("front"));
            elsewhere(move || drop(handle.post_at_front(front).unwrap()));
        }
        post_remotely(&looper, &notes, "plain");
        let hour_ago = looper.now().checked_sub(Duration::from_secs(3600)).expect("a clock that has run for that long");
        looper.post_at(hour_ago, notes.noting("timed")).unwrap();

        looper.poll_once(Duration::ZERO).unwrap();

        assert_eq!(notes.take(), if with_front { vec!["front", "timed", "plain"] } else { vec!["timed", "plain"] });
    }
}

/// On the system's clock, as above, though the inbox has a plain message already.
#[test]
fn m2_what_another_thread_posts_after_a_timed_message_was_due_runs_after_it() {
    let looper = Looper::new().unwrap();
    let notes = Notes::default();
    let (handle, timed) = (looper.handle(), notes.noting("timed"));
    let now = looper.now();
    elsewhere(move || drop(handle.post_at(now, timed).unwrap()));
    post_remotely(&looper, &notes, "plain");
    post_remotely(&looper, &notes, "next");

    looper.poll_once(Duration::ZERO).unwrap();

    assert_eq!(notes.take(), ["timed", "plain", "next"]);
}
