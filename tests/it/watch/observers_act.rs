//! Watching: panics of messages and of observers, and what an observer may do.
//!
//! Holds W1, M9, X1, X3.

use std::{
    cell::Cell,
    io::ErrorKind,
    panic,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use alooper::{
    DispatchInfo, Handler, Looper, LooperHandle, Observer,
    testing::{TestClock, TestLooper},
};

use crate::support::{ms, panic_of, recorder::Recorder, timed::Timed};

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
    timed.looper.run_until_idle();
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
    fn started(&self, _: &DispatchInfo) {
        self.panic_at("started", "observer of the start");
    }

    fn finished(&self, _: &DispatchInfo, _: Duration) {
        self.panic_at("finished", "observer of the end");
    }

    fn panicked(&self, _: &DispatchInfo, _: Duration) {
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
        assert_eq!(looper.run_until_idle(), 0);
        assert_eq!((looper.message_counts().run, looper.len()), (count, 0));
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
    assert_eq!(looper.run_until_idle(), 1);
    assert_eq!(recorder.words(), ["second"]);
}

#[test]
fn w1_x3_an_observer_that_panics_about_a_panic_hides_nothing() {
    let looper = TestLooper::new().unwrap();
    looper.set_observer(Some(Rc::new(Panicking("panicked"))));
    looper.post(|_| panic!("the first")).unwrap();

    assert_eq!(panic_of(|| looper.poll_once(None)), "the first");

    assert_eq!(looper.run_until_idle(), 0);
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
    fn started(&self, dispatch: &DispatchInfo) {
        self.recorder.started(dispatch);
        if !self.at_end {
            self.act();
        }
    }

    fn finished(&self, dispatch: &DispatchInfo, took: Duration) {
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

    assert_eq!(looper.run_until_idle(), 2);

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

    assert_eq!(looper.run_until_idle(), 4);

    assert_eq!(first.words(), ["started", "finished"]);
    assert_eq!(second.words(), ["started", "finished"]);
    assert_eq!((Rc::strong_count(&first), Rc::strong_count(&second)), (1, 1), "they are dropped");
}

#[test]
fn w1_an_observer_of_the_builder_sees_the_first_message_and_a_panic() {
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<&'static str>>>);

    impl Told {
        fn note(&self, word: &'static str, dispatch: &DispatchInfo) {
            assert!(dispatch.posted.is_some());
            self.0.lock().unwrap().push(word);
        }
    }

    impl Observer for Told {
        fn started(&self, dispatch: &DispatchInfo) {
            self.note("started", dispatch);
        }

        fn finished(&self, dispatch: &DispatchInfo, _: Duration) {
            self.note("finished", dispatch);
        }

        fn panicked(&self, dispatch: &DispatchInfo, _: Duration) {
            self.note("panicked", dispatch);
        }
    }

    let told = Told::default();
    let shared = Arc::new(told.clone());
    let looper = TestClock::new().build(Looper::builder().observer(shared)).unwrap();
    looper.post(|_| ()).unwrap();
    looper.post(|_| panic::panic_any("message")).unwrap();

    assert_eq!(panic_of(|| looper.run_until_idle()), "message");

    assert_eq!(*told.0.lock().unwrap(), ["started", "finished", "started", "panicked"]);
}
