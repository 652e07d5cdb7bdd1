//! Observers say what they want, and are told that and nothing else.
//!
//! Holds W5, W2, X1, M9, F8.

use std::{
    cell::{Cell, RefCell},
    ops::ControlFlow,
    os::unix::net::UnixStream,
    rc::Rc,
    time::Duration,
};

use alooper::{
    DispatchInfo, FdNext, Handler, Interest, Looper, Notice, Observer, RunInfo, RunningKind, WaitInfo, Wants,
    testing::{TestClock, TestLooper},
};

use crate::support::{
    fds::{poll_now, ready_stream},
    ms, panic_of,
    rest::{assert_not_warned, assert_warned_once_of, warnings},
    timed::{Timed, line_of},
};

/// Keeps a word for each thing that it is told, and panics or acts at one of them.
#[derive(Default)]
struct Told {
    wants: Cell<Option<Wants>>,
    words: RefCell<Vec<&'static str>>,
    runs: RefCell<Vec<(RunInfo, Duration)>>,
    messages: RefCell<Vec<(DispatchInfo, Duration)>>,
    waits: RefCell<Vec<WaitInfo>>,
    panics_at: Cell<Option<&'static str>>,
    acts: RefCell<Option<Box<dyn Fn()>>>,
}

impl Told {
    fn new(looper: &Looper, wants: Wants) -> Rc<Told> {
        let told = Rc::new(Told::default());
        told.wants.set(Some(wants));
        looper.set_observer(Some(told.clone()));
        told
    }

    fn say(&self, word: &'static str) {
        self.words.borrow_mut().push(word);
        if let Some(act) = &*self.acts.borrow() {
            act();
        }
        if self.panics_at.get() == Some(word) {
            panic!("{}", "at the observer's");
        }
    }
}

impl Observer for Told {
    fn wants(&self) -> Wants {
        self.wants.get().unwrap_or_default()
    }

    fn started(&self, _: &DispatchInfo) {
        self.say("started");
    }

    fn finished(&self, dispatch: &DispatchInfo, took: Duration) {
        self.messages.borrow_mut().push((dispatch.clone(), took));
        self.say("finished");
    }

    fn panicked(&self, _: &DispatchInfo, _: Duration) {
        self.say("panicked");
    }

    fn began(&self, run: &RunInfo) {
        self.say(match run.kind {
            RunningKind::Fd => "fd began",
            RunningKind::Idle => "idle began",
            RunningKind::Task => "task began",
            _ => "something began",
        });
    }

    fn ended(&self, run: &RunInfo, took: Duration, panicked: bool) {
        self.runs.borrow_mut().push((run.clone(), took));
        self.say(if panicked { "run panicked" } else { "ended" });
    }

    fn waited(&self, wait: &WaitInfo) {
        self.waits.borrow_mut().push(wait.clone());
        self.say("waited");
    }

    fn noticed(&self, _: &Notice) {
        self.say("noticed");
    }
}

/// Everything of which an observer can be told, once each: a message, an idle handler, an fd, a notice.
fn do_everything(looper: &TestLooper) {
    let (near, _far) = ready_stream();
    let idle = looper.add_idle(|_| ControlFlow::Break(()));
    let fd = looper.add_fd(near, Interest::INPUT, |_, source: &mut UnixStream, _| {
        *source = UnixStream::pair().unwrap().0;
        FdNext::Keep
    });
    assert!(idle.is_ok() && fd.is_ok());
    poll_now(looper);
    looper.post(|_| ()).unwrap();
    poll_now(looper);
}

#[test]
fn w5_an_observer_is_told_what_it_wants_and_nothing_else() {
    assert_not_warned();
    let cases: [(Wants, &[&str]); 7] = [
        (Wants::MESSAGES, &["started", "finished"]),
        (Wants::FDS, &["fd began", "ended"]),
        (Wants::IDLE, &["idle began", "ended"]),
        (Wants::WAITS, &["waited", "waited"]),
        (Wants::NOTICES, &["noticed"]),
        (Wants::TIMES | Wants::POSTS, &[]),
        (Wants::default(), &["noticed", "started", "finished"]),
    ];
    for (wants, words) in cases {
        let looper = TestLooper::new().unwrap();
        let told = Told::new(&looper, wants);

        do_everything(&looper);

        assert_eq!(*told.words.borrow(), words, "{wants:?}");
    }
    assert_eq!(warnings().len(), 7, "the notice is logged whoever is told");
}

#[cfg(feature = "async")]
#[test]
fn w5_each_poll_of_a_task_is_told_with_its_place_whatever_causes_it() {
    let looper = TestLooper::new().unwrap();
    let told = Told::new(&looper, Wants::TASKS | Wants::TIMES);
    let (handle, clock) = (looper.handle(), looper.clock().clone());

    let line = line!() + 1;
    let task = looper.spawn(async move {
        clock.pass(ms(2));
        handle.sleep(ms(5)).await;
        clock.pass(ms(3));
    });
    looper.advance(ms(10));

    assert!(task.is_ok());
    assert_eq!(*told.words.borrow(), ["task began", "ended", "task began", "ended"]);
    let runs: Vec<_> = told.runs.borrow().iter().map(|(run, took)| (run.place.line(), *took)).collect();
    assert_eq!(runs, [(line, ms(2)), (line, ms(3))]);
}

#[test]
fn w5_without_times_nothing_is_timed_and_without_posts_no_post_is() {
    let looper = TestLooper::new().unwrap();
    let run = |wants| {
        let told = Told::new(&looper, wants);
        looper.post(|_| ()).unwrap();
        poll_now(&looper);
        let (dispatch, took) = told.messages.borrow()[0].clone();
        assert_eq!(took, Duration::ZERO);
        (dispatch.started, dispatch.posted)
    };
    let now = Some(looper.now());

    assert_eq!(run(Wants::MESSAGES), (None, None));
    assert_eq!(run(Wants::MESSAGES | Wants::TIMES), (now, None));
    assert_eq!(run(Wants::MESSAGES | Wants::POSTS), (None, now));
}

/// W5: one message begins when the one before has ended, but not while an observer takes its time in between.
#[test]
fn w5_what_an_observer_takes_after_a_message_is_no_time_of_the_next_one() {
    let timed = Timed::new();
    let told = Told::new(&timed.looper, Wants::MESSAGES | Wants::TIMES);
    let (second, turn) = (timed.second.clone(), Cell::new(false));
    *told.acts.borrow_mut() = Some(Box::new(move || {
        if turn.replace(!turn.get()) {
            assert!(second.poll_once(ms(7)).unwrap().timed_out, "it is told of an end");
        }
    }));
    let start = timed.looper.now();

    for length in [2, 3] {
        timed.looper.post(timed.work(ms(length))).unwrap();
    }
    poll_now(&timed.looper);

    let messages = told.messages.borrow();
    let times: Vec<_> = messages.iter().map(|(dispatch, took)| (dispatch.started.unwrap() - start, *took)).collect();
    assert_eq!(times, [(ms(0), ms(2)), (ms(2 + 7), ms(3))]);
}

/// W5: what ran unwatched in between is no time of the next one, either.
#[test]
fn w5_a_message_after_unwatched_ones_begins_when_it_does() {
    let timed = Timed::new();
    let told = Told::new(&timed.looper, Wants::MESSAGES | Wants::TIMES);
    let start = timed.looper.now();

    timed.looper.post(|looper| looper.set_observer(None)).unwrap();
    timed.looper.post(timed.work(ms(5))).unwrap();
    let again = told.clone();
    timed.looper.post(move |looper| looper.set_observer(Some(again))).unwrap();
    timed.looper.post(timed.work(ms(1))).unwrap();
    poll_now(&timed.looper);

    let messages = told.messages.borrow();
    let times: Vec<_> = messages.iter().map(|(dispatch, took)| (dispatch.started.unwrap() - start, *took)).collect();
    assert_eq!(times, [(ms(0), ms(0)), (ms(5), ms(1))]);
}

/// W5, H2: the closure of a handler that has ended is dropped between two messages, and is the time of neither.
#[test]
fn w5_what_a_handlers_end_takes_is_no_time_of_the_next_message() {
    struct Slow(Rc<TestLooper>);
    impl Drop for Slow {
        fn drop(&mut self) {
            assert!(self.0.poll_once(ms(7)).unwrap().timed_out);
        }
    }
    let timed = Timed::new();
    timed.looper.set_slow_thresholds(Some(ms(5)), None);
    let slow = Slow(timed.second.clone());
    assert_not_warned();

    let handler = Handler::new(&timed.looper, move |_, ()| _ = &slow);
    handler.send(()).unwrap();
    drop(handler);
    timed.looper.post(|_| ()).unwrap();
    let start = timed.looper.now();
    poll_now(&timed.looper);

    assert_eq!(timed.looper.now() - start, ms(7));
    assert_not_warned();
}

#[test]
fn w5_fds_and_waits_are_told_with_their_number_and_time() {
    let clock = TestClock::new();
    let looper = clock.build(Looper::builder()).unwrap();
    let told = Told::new(&looper, Wants::FDS | Wants::WAITS | Wants::TIMES);
    let (near, _far) = ready_stream();
    let number = std::os::fd::AsRawFd::as_raw_fd(&near);
    let begin = looper.now();

    let line = line!() + 1;
    let fd = looper.add_fd(near, Interest::INPUT, move |_, _, _| (clock.pass(ms(4)), FdNext::Remove).1);
    poll_now(&looper);
    looper.poll_once(ms(7)).unwrap();

    assert!(fd.is_ok());
    let (run, took) = told.runs.borrow()[0].clone();
    assert_eq!((run.kind, run.fd, run.place.line(), run.started), (RunningKind::Fd, Some(number), line, Some(begin)));
    assert_eq!(took, ms(4));
    let waits: Vec<_> = told.waits.borrow().iter().map(|wait| (wait.blocked, wait.ready, wait.took)).collect();
    assert_eq!(waits, [(false, 1, Duration::ZERO), (true, 0, ms(7))]);
}

#[test]
fn w2_a_slow_fd_callback_idle_handler_and_task_are_logged_with_their_places() {
    assert_not_warned();
    let clock = TestClock::new();
    let looper = clock.build(Looper::builder().name("timed").slow_dispatch(ms(20))).unwrap();
    let (near, _far) = ready_stream();
    let (by_fd, by_idle) = (clock.clone(), clock.clone());

    let line = line!();
    let fd = looper.add_fd(near, Interest::INPUT, move |_, _, _| (by_fd.pass(ms(20)), FdNext::Remove).1);
    let idle = looper.add_idle(move |_| (by_idle.pass(ms(21)), ControlFlow::Break(())).1);
    poll_now(&looper);

    assert!(fd.is_ok() && idle.is_ok());
    let [idle, fd] = &warnings()[..] else { panic!("two warnings") };
    for part in ["looper \"timed\"", "20ms", "the callback of an fd, added at", &line_of(file!(), line + 1)] {
        assert!(fd.contains(part), "{part} in {fd}");
    }
    for part in ["21ms", "an idle handler, added at", &line_of(file!(), line + 2)] {
        assert!(idle.contains(part), "{part} in {idle}");
    }

    #[cfg(feature = "async")]
    {
        let line = line!() + 1;
        let task = looper.spawn(async move { clock.pass(ms(20)) });
        poll_now(&looper);
        assert!(task.is_ok());
        assert_warned_once_of(&line_of(file!(), line));
    }
}

/// X1, F8: its panic goes through the turn, and nothing is lost by it.
#[test]
fn w5_x1_an_observer_that_panics_before_an_fd_callback_takes_no_event_from_it() {
    let looper = TestLooper::new().unwrap();
    let told = Told::new(&looper, Wants::FDS | Wants::WAITS);
    let (near, _far) = ready_stream();
    let calls = Rc::new(Cell::new(0));
    let counted = calls.clone();
    let fd = looper.add_fd(near, Interest::INPUT, move |_, _, _| (counted.set(counted.get() + 1), FdNext::Remove).1);

    for (word, called) in [("waited", 0), ("fd began", 0), ("ended", 1)] {
        told.panics_at.set(Some(word));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll_now(&looper))).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().map(String::as_str), Some("at the observer's"), "{word}");
        assert_eq!(calls.get(), called, "{word}");
    }
    assert!(fd.is_ok());
    told.panics_at.set(None);
    assert_eq!(poll_now(&looper).fds, 0);
}

#[test]
fn w5_x1_a_callback_that_panics_is_told_so_and_goes_on() {
    let looper = TestLooper::new().unwrap();
    let told = Told::new(&looper, Wants::FDS | Wants::IDLE);
    let (near, _far) = ready_stream();
    let fd = looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("fd"));
    let idle = looper.add_idle(|_| panic!("idle"));

    assert_eq!(panic_of(|| poll_now(&looper)), "idle");
    assert_eq!(panic_of(|| poll_now(&looper)), "fd");

    assert!(fd.is_ok() && idle.is_ok());
    assert_eq!(*told.words.borrow(), ["idle began", "run panicked", "fd began", "run panicked"]);
}

/// M9: it is called with no lock and no borrow held.
#[test]
fn w5_m9_an_observer_may_do_everything_but_poll() {
    let looper = Rc::new(TestLooper::new().unwrap());
    let told = Told::new(&looper, Wants::all());
    let own = looper.clone();
    *told.acts.borrow_mut() = Some(Box::new(move || {
        own.post(|_| ()).unwrap().cancel();
        _ = own.dump();
        assert!(own.handle().running().is_some());
        let (near, _far) = UnixStream::pair().unwrap();
        own.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap().remove();
        own.set_slow_thresholds(None, None);
        assert!(own.poll_once(Duration::ZERO).is_err());
    }));

    do_everything(&looper);

    assert!(told.words.borrow().len() > 8, "{:?}", told.words.borrow());
    told.acts.take();
}
