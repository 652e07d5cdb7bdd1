//! Watching: what an observer sees of each message, and where it says that it was posted.
//!
//! Holds W1, W4.

use std::{
    cell::RefCell,
    ops::ControlFlow,
    panic::Location,
    rc::Rc,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use alooper::{DispatchInfo, Handler, Looper, Message, Observer, testing::TestLooper};

use crate::support::{
    Elsewhere, ms,
    recorder::Recorder,
    timed::{Timed, line_of},
    watched,
};

fn place_of(place: &Location<'_>) -> String {
    format!("{}:{}", place.file(), place.line())
}

/// A line of this file, as it stands in the log.
fn place(line: u32) -> String {
    line_of(file!(), line)
}

#[test]
fn w1_an_observer_sees_each_message_before_and_after_it_runs() {
    let looper = TestLooper::new().unwrap();
    let recorder = Recorder::watch(&looper);
    let handler = Handler::new(&looper, {
        let recorder = recorder.clone();
        move |looper, (): ()| recorder.say("message")(looper)
    });
    looper.post(recorder.say("closure")).unwrap();
    handler.send(()).unwrap();
    let worker = thread::spawn({
        let handle = looper.handle();
        move || handle.post(|_| ()).unwrap()
    });
    worker.join().unwrap();

    assert_eq!(looper.run_until_idle(), 3);

    let expected = ["started", "closure", "finished", "started", "message", "finished", "started", "finished"];
    assert_eq!(recorder.words(), expected);
}

#[test]
fn w1_it_is_told_of_handler_what_due_time_posting_time_and_duration() {
    let timed = Timed::new();
    let looper = &timed.looper;
    let recorder = Recorder::watch(looper);
    let work = RefCell::new(Some(timed.work(ms(3))));
    let handler = Handler::new(looper, move |looper, _: u16| work.take().unwrap()(looper));
    let now = looper.now();
    looper.post_at(now + ms(4), timed.work(ms(8))).unwrap();
    handler.message(1).what(-6).send_at(now + ms(5)).unwrap();

    assert_eq!(looper.advance(ms(20)), 2);

    let seen = recorder.take("finished");
    let [(closure, of_closure), (message, of_message)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((closure.handler, closure.what), (None, None));
    assert_eq!((closure.due, closure.posted, closure.started), (Some(now + ms(4)), Some(now), Some(now + ms(4))));
    assert_eq!((message.handler, message.what), (Some("u16"), Some(-6)));
    assert_eq!((message.due, message.posted, message.started), (Some(now + ms(5)), Some(now), Some(now + ms(12))));
    assert_eq!((*of_closure, *of_message), (ms(8), ms(3)));
}

#[test]
fn w1_what_was_posted_at_the_front_has_no_due_time() {
    let looper = TestLooper::new().unwrap();
    let recorder = Recorder::watch(&looper);
    let handler = Handler::new(&looper, |_, _: Message| ());

    looper.post_at_front(|_| ()).unwrap();
    handler.send_at_front(Message::new(11)).unwrap();
    looper.run_until_idle();

    let [(message, _), (closure, _)] = &recorder.take("started")[..] else { panic!("two ran") };
    assert_eq!((message.due, message.what, message.posted), (None, Some(11), Some(looper.now())));
    assert_eq!((closure.due, closure.what, closure.posted), (None, None, Some(looper.now())));
}

/// As below, on the system's clock, which a plain post is spared as long as nobody watches.
#[test]
fn w1_w4_the_posting_time_is_known_of_a_plain_post_from_the_moment_on_that_somebody_watches() {
    let looper = Looper::new().unwrap();
    looper.post(|_| ()).unwrap();
    let recorder = Recorder::watch(&looper);
    looper.post(|_| ()).unwrap();

    assert_eq!(looper.poll_once(ms(0)).unwrap().messages, 2);

    let times: Vec<bool> = recorder.take("started").iter().map(|(dispatch, _)| dispatch.posted.is_some()).collect();
    assert_eq!(times, [false, true]);
}

#[test]
fn w1_w4_the_posting_time_is_known_only_of_what_was_posted_while_somebody_watched() {
    let looper = TestLooper::new().unwrap();
    let handle = looper.handle();
    let recorder = Rc::new(Recorder::default());
    let post = || {
        looper.post(|_| ()).unwrap();
        handle.post(|_| ()).unwrap();
    };
    let start = looper.now();
    post();
    looper.set_observer(Some(recorder.clone()));
    looper.advance(Duration::ZERO);
    assert!(recorder.take("started").iter().all(|(dispatch, _)| dispatch.posted.is_none()));

    looper.post_delayed(ms(1), |_| ()).unwrap();
    looper.set_observer(None);
    post();
    looper.set_slow_thresholds(None, Some(Duration::MAX));
    post();
    looper.set_slow_thresholds(None, None);
    looper.set_observer(Some(recorder.clone()));
    looper.advance(ms(1));

    let posted: Vec<Option<Instant>> = recorder.take("started").iter().map(|(dispatch, _)| dispatch.posted).collect();
    assert_eq!(posted, [None, None, Some(start), Some(start), Some(start)]);
}

/// Posts one thing, lets it run, and asserts that the observer was told of this very line.
macro_rules! assert_seen_here {
    ($looper:expr, $recorder:expr, $post:expr) => {{
        let _posted = $post;
        assert_eq!($looper.advance(ms(1)), 1);
        assert_eq!(place_of($recorder.only().place), place(line!()));
    }};
}

#[test]
fn w1_the_place_is_that_of_the_post_whatever_posts_a_closure() {
    let looper = TestLooper::new().unwrap();
    let handle = looper.handle();
    let asynchronous = handle.asynchronous();
    let recorder = Recorder::watch(&looper);
    let now = looper.now();
    let end = |_: &Looper| ControlFlow::Break(());

    assert_seen_here!(looper, recorder, looper.post(|_| ()).unwrap());
    assert_seen_here!(looper, recorder, looper.post_delayed(ms(1), |_| ()).unwrap());
    assert_seen_here!(looper, recorder, looper.post_at(now, |_| ()).unwrap());
    assert_seen_here!(looper, recorder, looper.post_at_front(|_| ()).unwrap());
    assert_seen_here!(looper, recorder, looper.post_every(ms(1), end).unwrap());

    assert_seen_here!(looper, recorder, handle.post(|_| ()).unwrap());
    assert_seen_here!(looper, recorder, handle.post_delayed(ms(1), |_| ()).unwrap());
    assert_seen_here!(looper, recorder, handle.post_at(now, |_| ()).unwrap());
    assert_seen_here!(looper, recorder, handle.post_at_front(|_| ()).unwrap());
    assert_seen_here!(looper, recorder, handle.post_every(ms(1), end).unwrap());
    assert_seen_here!(looper, recorder, asynchronous.post(|_| ()).unwrap());
}

#[test]
fn w1_the_place_is_that_of_the_sending_whatever_sends_a_message() {
    let looper = TestLooper::new().unwrap();
    let recorder = Recorder::watch(&looper);
    let now = looper.now();
    let own = Handler::new(&looper, |_, _: u8| ());
    let remote = looper.handle().handler(|_, _: u8| ()).unwrap();

    for handler in [own.clone(), own.asynchronous(), remote] {
        assert_seen_here!(looper, recorder, handler.send(0).unwrap());
        assert_seen_here!(looper, recorder, handler.send_delayed(ms(1), 0).unwrap());
        assert_seen_here!(looper, recorder, handler.send_at(now, 0).unwrap());
        assert_seen_here!(looper, recorder, handler.send_at_front(0).unwrap());

        assert_seen_here!(looper, recorder, handler.message(0).send().unwrap());
        assert_seen_here!(looper, recorder, handler.message(0).send_delayed(ms(1)).unwrap());
        assert_seen_here!(looper, recorder, handler.message(0).send_at(now).unwrap());
        assert_seen_here!(looper, recorder, handler.message(0).asynchronous().send_at_front().unwrap());
    }
    // A draft may be made elsewhere: it is the sending that counts.
    let draft = own.message(0).what(1);
    assert_seen_here!(looper, recorder, draft.send().unwrap());
}

/// As that of the library's own functions, for those that pass `#[track_caller]` on.
#[test]
fn w1_the_place_of_a_post_in_a_function_that_tracks_its_caller_is_that_callers() {
    #[track_caller]
    fn post_twice(looper: &Looper) {
        looper.post(|_| ()).unwrap();
        Handler::new(looper, |_, (): ()| ()).message(()).send().unwrap();
    }
    let looper = TestLooper::new().unwrap();
    let recorder = Recorder::watch(&looper);

    post_twice(&looper);
    let line = line!() - 1;
    looper.run_until_idle();

    let places: Vec<String> = recorder.take("started").iter().map(|(seen, _)| place_of(seen.place)).collect();
    assert_eq!(places, [place(line), place(line)]);
}

#[test]
fn w1_each_run_of_a_repeating_post_has_its_place_and_its_own_due_time() {
    let looper = TestLooper::new().unwrap();
    let recorder = Recorder::watch(&looper);
    let start = looper.now();
    let local = looper.post_every(ms(10), |_| ControlFlow::Continue(())).unwrap();
    let remote = looper.handle().post_every(ms(10), |_| ControlFlow::Continue(())).unwrap();
    let line = line!() - 1;

    assert_eq!(looper.advance(ms(30)), 6);

    let seen = recorder.take("started");
    let runs = |line| seen.iter().filter(move |(seen, _)| place_of(seen.place) == place(line));
    for line in [line - 1, line] {
        let dues: Vec<Option<Instant>> = runs(line).map(|(seen, _)| seen.due).collect();
        assert_eq!(dues, [10, 20, 30].map(|count| Some(start + ms(count))));
        let posted: Vec<Option<Instant>> = runs(line).map(|(seen, _)| seen.posted).collect();
        assert_eq!(posted, [0, 10, 20].map(|count| Some(start + ms(count))));
    }
    assert!(local.cancel() && remote.cancel());
}

#[test]
fn w1_the_place_of_a_synchronous_call_is_that_of_the_call() {
    #[derive(Clone, Default)]
    struct Places(Arc<Mutex<Vec<String>>>);

    impl Observer for Places {
        fn started(&self, dispatch: &DispatchInfo) {
            self.0.lock().unwrap().push(place_of(dispatch.place));
        }
    }

    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let places = Places::default();
        let observer = places.clone();
        elsewhere.handle.call(move |looper| looper.set_observer(Some(Rc::new(observer)))).unwrap();

        elsewhere.handle.call(|_| ()).unwrap();
        elsewhere.handle.call_timeout(Duration::MAX, |_| ()).unwrap();
        let line = line!() - 1;

        elsewhere.handle.quit();
        elsewhere.join();
        assert_eq!(*places.0.lock().unwrap(), [place(line - 1), place(line)]);
    });
}
