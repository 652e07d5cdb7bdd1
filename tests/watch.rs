//! Watching: what an observer sees of each message, and where it says that it was posted.
//!
//! Holds W1, W4.

mod support;
#[path = "support/timed.rs"]
mod timed;

use std::{
    cell::{Cell, RefCell},
    io::ErrorKind,
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe, Location},
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use alooper::{
    Dispatch, Handler, Looper, LooperHandle, Message, Observer,
    testing::{TestClock, TestLooper},
};
use support::{Elsewhere, ms, watched};
use timed::{Timed, line_of};

/// What an observer was told, in its order.
#[derive(Default)]
struct Recorder {
    seen: RefCell<Vec<(&'static str, Dispatch, Duration)>>,
    /// Messages write here, too.
    words: RefCell<Vec<&'static str>>,
}

impl Recorder {
    fn watch(looper: &Looper) -> Rc<Recorder> {
        let recorder = Rc::new(Recorder::default());
        looper.set_observer(Some(recorder.clone()));
        recorder
    }

    fn record(&self, word: &'static str, dispatch: &Dispatch, took: Duration) {
        self.words.borrow_mut().push(word);
        self.seen.borrow_mut().push((word, dispatch.clone(), took));
    }

    /// A message that says `word` when it runs.
    fn say(self: &Rc<Self>, word: &'static str) -> impl FnOnce(&Looper) + use<> {
        let recorder = self.clone();
        move |_| recorder.words.borrow_mut().push(word)
    }

    fn words(&self) -> Vec<&'static str> {
        self.words.take()
    }

    /// The messages of which it was told `word` since the last call.
    fn take(&self, word: &str) -> Vec<(Dispatch, Duration)> {
        let seen = self.seen.take().into_iter();
        seen.filter(|seen| seen.0 == word).map(|(_, dispatch, took)| (dispatch, took)).collect()
    }

    /// The only message that was begun since the last call.
    #[track_caller]
    fn only(&self) -> Dispatch {
        let seen = self.take("started");
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].0.clone()
    }
}

impl Observer for Recorder {
    fn started(&self, dispatch: &Dispatch) {
        self.record("started", dispatch, Duration::ZERO);
    }

    fn finished(&self, dispatch: &Dispatch, took: Duration) {
        self.record("finished", dispatch, took);
    }

    fn panicked(&self, dispatch: &Dispatch, took: Duration) {
        self.record("panicked", dispatch, took);
    }
}

fn place_of(place: &Location<'_>) -> String {
    format!("{}:{}", place.file(), place.line())
}

/// A line of this file, as it stands in the log.
fn place(line: u32) -> String {
    line_of(file!(), line)
}

fn panic_of<T>(action: impl FnOnce() -> T) -> &'static str {
    match panic::catch_unwind(AssertUnwindSafe(action)) {
        Ok(_) => panic!("it did not panic"),
        Err(panic) => panic.downcast_ref::<&'static str>().expect("a panic of this test"),
    }
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

    assert_eq!(looper.idle(), 3);

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
    assert_eq!((closure.due, closure.posted, closure.started), (Some(now + ms(4)), Some(now), now + ms(4)));
    assert_eq!((message.handler, message.what), (Some("u16"), Some(-6)));
    assert_eq!((message.due, message.posted, message.started), (Some(now + ms(5)), Some(now), now + ms(12)));
    assert_eq!((*of_closure, *of_message), (ms(8), ms(3)));
}

#[test]
fn w1_what_was_posted_at_the_front_has_no_due_time() {
    let looper = TestLooper::new().unwrap();
    let recorder = Recorder::watch(&looper);
    let handler = Handler::new(&looper, |_, _: Message| ());

    looper.post_at_front(|_| ()).unwrap();
    handler.send_at_front(Message::new(11)).unwrap();
    looper.idle();

    let [(message, _), (closure, _)] = &recorder.take("started")[..] else { panic!("two ran") };
    assert_eq!((message.due, message.what, message.posted), (None, Some(11), Some(looper.now())));
    assert_eq!((closure.due, closure.what, closure.posted), (None, None, Some(looper.now())));
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
    looper.idle();

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
        fn started(&self, dispatch: &Dispatch) {
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

#[test]
fn w1_x1_an_observer_sees_a_message_panic_and_not_finish() {
    let timed = Timed::new();
    let recorder = Recorder::watch(&timed.looper);
    let work = timed.work(ms(6));
    timed
        .looper
        .post(move |looper| {
            work(looper);
            panic!("message")
        })
        .unwrap();
    timed.looper.post(recorder.say("next")).unwrap();

    assert_eq!(panic_of(|| timed.looper.poll_once(None)), "message");

    assert_eq!(recorder.words(), ["started", "panicked"]);
    assert_eq!(recorder.take("panicked")[0].1, ms(6));
    timed.looper.idle();
    assert_eq!(recorder.words(), ["started", "next", "finished"]);
}

/// Panics when it is told of this.
struct Panicking(&'static str);

impl Panicking {
    fn panic_at(&self, when: &str, text: &'static str) {
        if self.0 == when {
            panic::panic_any(text);
        }
    }
}

impl Observer for Panicking {
    fn started(&self, _: &Dispatch) {
        self.panic_at("started", "observer of the start");
    }

    fn finished(&self, _: &Dispatch, _: Duration) {
        self.panic_at("finished", "observer of the end");
    }

    fn panicked(&self, _: &Dispatch, _: Duration) {
        self.panic_at("panicked", "observer of the panic");
    }
}

/// Counts how often it is dropped.
struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Posts something that has this value.
type Post<'a> = Box<dyn Fn(Counted) + 'a>;

/// X1: the message is consumed, which is more than that it does not run: nothing of it stays.
#[test]
fn w1_x1_an_observer_that_panics_at_the_start_consumes_the_message() {
    let looper = TestLooper::new().unwrap();
    let dropped = Arc::new(AtomicU32::new(0));
    let value = || Counted(dropped.clone());
    let never = |_: Counted| panic!("it was consumed");
    let handler = Handler::new(&looper, move |_, value: Counted| never(value));
    let posts: [(&str, Post<'_>); 3] = [
        ("a closure of another thread", Box::new(|value| _ = looper.handle().post(move |_| never(value)).unwrap())),
        ("a closure of this thread", Box::new(|value| _ = looper.post(move |_| never(value)).unwrap())),
        ("a message", Box::new(|value| _ = handler.send(value).unwrap())),
    ];

    for (count, (kind, post)) in (1..).zip(&posts) {
        looper.set_observer(Some(Rc::new(Panicking("started"))));
        post(value());
        assert_eq!(panic_of(|| looper.poll_once(None)), "observer of the start");

        looper.set_observer(None);
        assert_eq!(looper.idle(), 0);
        assert_eq!((looper.exit_report().run, looper.len()), (count, 0));
        assert_eq!(u64::from(dropped.load(Ordering::Relaxed)), count, "{kind} is dropped");
    }
}

#[test]
fn w1_x1_an_observer_that_panics_at_the_end_unwinds_out_of_the_turn() {
    let looper = TestLooper::new().unwrap();
    let recorder = Rc::new(Recorder::default());
    looper.set_observer(Some(Rc::new(Panicking("finished"))));
    looper.post(recorder.say("first")).unwrap();
    looper.post(recorder.say("second")).unwrap();

    assert_eq!(panic_of(|| looper.poll_once(None)), "observer of the end");

    assert_eq!(recorder.words(), ["first"]);
    looper.set_observer(None);
    assert_eq!(looper.idle(), 1);
    assert_eq!(recorder.words(), ["second"]);
}

#[test]
fn w1_x3_an_observer_that_panics_about_a_panic_hides_nothing() {
    let looper = TestLooper::new().unwrap();
    looper.set_observer(Some(Rc::new(Panicking("panicked"))));
    looper.post(|_| panic!("the first")).unwrap();

    assert_eq!(panic_of(|| looper.poll_once(None)), "the first");

    assert_eq!(looper.idle(), 0);
}

type Act = Box<dyn FnOnce(&LooperHandle)>;

/// Does something once, at the start or at the end of a message, and says so.
struct Acting {
    recorder: Rc<Recorder>,
    looper: LooperHandle,
    act: Cell<Option<Act>>,
    at_end: bool,
}

impl Acting {
    fn watch(looper: &Looper, recorder: &Rc<Recorder>, at_end: bool, act: impl FnOnce(&LooperHandle) + 'static) {
        let act = Cell::new(Some(Box::new(act) as Act));
        looper.set_observer(Some(Rc::new(Acting { recorder: recorder.clone(), looper: looper.handle(), act, at_end })));
    }

    fn act(&self) {
        if let Some(act) = self.act.take() {
            act(&self.looper);
        }
    }
}

impl Observer for Acting {
    fn started(&self, dispatch: &Dispatch) {
        self.recorder.started(dispatch);
        if !self.at_end {
            self.act();
        }
    }

    fn finished(&self, dispatch: &Dispatch, took: Duration) {
        self.recorder.finished(dispatch, took);
        if self.at_end {
            self.act();
        }
    }
}

/// M9: it runs with no lock held, and may call everything of the looper but polling it.
#[test]
fn w1_m9_an_observer_may_post_cancel_ask_and_quit() {
    for at_end in [false, true] {
        let looper = Rc::new(TestLooper::new().unwrap());
        let recorder = Rc::new(Recorder::default());
        let victim = looper.post_delayed(ms(1), |_| panic!("cancelled")).unwrap();
        let (ran, polled) = (Rc::new(Cell::new(false)), looper.clone());
        let has_run = ran.clone();
        looper.post(move |_| has_run.set(true)).unwrap();
        Acting::watch(&looper, &recorder, at_end, move |handle| {
            assert_eq!((ran.get(), handle.len()), (at_end, 1));
            assert!(victim.cancel());
            handle.post(|looper| looper.quit()).unwrap();
            assert!(handle.dump().to_string().contains("pending: 1"));
            assert_eq!(handle.call(|looper| looper.len()).unwrap(), 1);
            assert_eq!(polled.poll_once(None).unwrap_err().kind(), ErrorKind::Deadlock);
        });

        let report = looper.run().unwrap();

        assert_eq!((report.posted, report.run, report.removed), (3, 2, 1));
        assert_eq!(recorder.words(), ["started", "finished", "started", "finished"]);
    }
}

/// The observer of a message is one and the same from its beginning to its end.
#[test]
fn w1_an_observer_that_removes_itself_still_sees_the_end_of_that_message_and_no_other() {
    let looper = Rc::new(TestLooper::new().unwrap());
    let recorder = Rc::new(Recorder::default());
    let dropped = Arc::new(AtomicU32::new(0));
    let (own, counted) = (looper.clone(), Counted(dropped.clone()));
    Acting::watch(&looper, &recorder, false, move |_| {
        let _counted = counted;
        own.set_observer(None);
    });
    looper.post(recorder.say("first")).unwrap();
    looper.post(recorder.say("second")).unwrap();

    assert_eq!(looper.idle(), 2);

    assert_eq!(recorder.words(), ["started", "first", "finished", "second"]);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn w1_an_observer_that_is_set_inside_a_message_sees_the_next_one() {
    let looper = TestLooper::new().unwrap();
    let (first, second) = (Rc::new(Recorder::default()), Rc::new(Recorder::default()));
    let (sets_first, sets_second) = (first.clone(), second.clone());
    looper.post(move |looper| looper.set_observer(Some(sets_first))).unwrap();
    looper.post(move |looper| looper.set_observer(Some(sets_second))).unwrap();
    looper.post(|looper| looper.set_observer(None)).unwrap();
    looper.post(|_| ()).unwrap();

    assert_eq!(looper.idle(), 4);

    assert_eq!(first.words(), ["started", "finished"]);
    assert_eq!(second.words(), ["started", "finished"]);
    assert_eq!((Rc::strong_count(&first), Rc::strong_count(&second)), (1, 1), "they are dropped");
}

#[test]
fn w1_an_observer_of_the_builder_sees_the_first_message() {
    #[derive(Clone, Default)]
    struct Count(Arc<AtomicU32>);

    impl Observer for Count {
        fn finished(&self, dispatch: &Dispatch, _: Duration) {
            assert!(dispatch.posted.is_some());
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let count = Count::default();
    let shared = Arc::new(count.clone());
    let looper = TestClock::new().build(Looper::builder().observer(shared)).unwrap();
    looper.post(|_| ()).unwrap();

    looper.idle();

    assert_eq!(count.0.load(Ordering::Relaxed), 1);
}
