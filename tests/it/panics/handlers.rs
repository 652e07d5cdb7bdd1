//! Several panics at a time: of messages, predicates and observers, and of the values and closures that end with them.
//! The first one goes on, everything is dropped, and nothing aborts the process, which would take this binary down.
//!
//! Holds C61, M9, Q4, W1, X1, X3.

use std::{
    cell::{Cell, RefCell},
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use alooper::{DispatchInfo, FdNext, Handler, Interest, Looper, LooperHandle, Observer, Posted};

use crate::support::{
    HOUR,
    alone::alone,
    fds::{poll_now, ready_stream},
    handlers::{WHERES, Where, assert_report},
    panic_of,
};

/// Panics when it is dropped, and counts that.
struct Explosive(Arc<AtomicUsize>);

impl Explosive {
    /// Keeps it for as long as the closure that calls this.
    fn hold(&self) {}
}

impl Drop for Explosive {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("explosive");
    }
}

/// Makes explosives, and counts how many of them have gone off.
#[derive(Clone, Default)]
struct Explosives(Arc<AtomicUsize>);

impl Explosives {
    fn make(&self) -> Explosive {
        Explosive(self.0.clone())
    }

    /// A handler whose closure is explosive, too.
    fn handler(&self, looper: &Looper) -> Handler<Explosive> {
        let own = self.make();
        Handler::new(looper, move |_, _| own.hold())
    }

    fn gone_off(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Asserts that nothing is left but so many handlers, and that the looper works.
#[track_caller]
fn assert_left(looper: &Looper, handlers: usize) {
    let dump = looper.dump().to_string();
    assert!(dump.contains(&format!("handlers: {handlers}")), "{dump}");
    let before = looper.message_counts().run;
    looper.post(|_| ()).unwrap();
    assert_eq!(poll_now(looper).messages, 1);
    assert_eq!((looper.len(), looper.message_counts().run), (0, before + 1));
}

#[test]
fn x3_a_message_that_panics_may_be_the_end_of_a_closure_that_panics_when_it_is_dropped() {
    for drops_it_itself in [true, false] {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        let (own, front) = (explosives.make(), Rc::new(Cell::new(None)));
        let last = front.clone();
        let handler = Handler::new(&looper, move |_, ()| {
            own.hold();
            drop(last.take());
            panic!("message");
        });
        handler.send(()).unwrap();
        front.set(drops_it_itself.then_some(handler));

        assert_eq!(panic_of(|| poll_now(&looper)), "message");

        assert_eq!(explosives.gone_off(), 1);
        assert_left(&looper, 0);
    }
}

/// What a predicate does to the message that it looks at, before it panics.
type End = fn(&Handler<Explosive>, &Posted<Explosive>);

const ENDS: [(&str, End); 5] = [
    ("cancel", |_, posted| assert!(posted.cancel())),
    ("remove", |handler, _| assert_eq!(handler.clear(), 1)),
    ("remove by what", |handler, _| assert_eq!(handler.remove(0), 1)),
    ("quit", |handler, _| handler.looper().quit()),
    ("quit safely", |handler, _| handler.looper().quit_safely()),
];

/// Its value is dropped when the predicate unwinds, or, if another thread looks while the looper quits, at home.
#[test]
fn x3_a_predicate_that_ends_the_message_it_looks_at_and_panics_is_the_panic_that_goes_on() {
    for ((name, end), place) in ENDS.into_iter().flat_map(|end| WHERES.map(|place| (end, place))) {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        let handler = Handler::new(&looper, |_, _: Explosive| ());
        let posted = handler.message(explosives.make()).what(0).send_delayed(HOUR).unwrap();
        let explode = |_: &Explosive| {
            end(&handler, &posted);
            panic!("predicate")
        };

        let panic = place.ask(|| panic_of(|| handler.remove_if(explode)));

        assert_eq!(panic, "predicate", "{name}, {place:?}");
        let is_at_home = matches!(place, Where::Elsewhere) && name.starts_with("quit");
        assert_eq!(explosives.gone_off(), usize::from(!is_at_home), "{name}, {place:?}");
        if is_at_home {
            assert_eq!(panic_of(|| poll_now(&looper)), "explosive");
        }
        let report = looper.message_counts();
        assert_eq!((explosives.gone_off(), report.removed + report.dropped), (1, 1), "{name}, {place:?}");
        assert_eq!(poll_now(&looper).quit, name.starts_with("quit"));
    }
}

/// The last front of another handler, in an explosive value.
struct Ender {
    _explosive: Explosive,
    _other: Option<Handler<Explosive>>,
}

/// The values are found through their handler: it must not go before all of them.
#[test]
fn x3_q4_given_up_values_that_panic_and_end_other_handlers_are_all_dropped_in_one_turn() {
    for has_front in [true, false] {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        let handler = Handler::new(&looper, |_, _: Ender| ());
        for ends_another in [true, false, true, false] {
            let other = ends_another.then(|| explosives.handler(&looper));
            handler.send(Ender { _explosive: explosives.make(), _other: other }).unwrap();
        }
        let front = has_front.then_some(handler);
        looper.quit();

        assert_eq!(panic_of(|| poll_now(&looper)), "explosive");

        assert_eq!(explosives.gone_off(), 6);
        assert!(poll_now(&looper).quit);
        assert_report(looper.message_counts(), 4, 0, 0, 4);
        let handlers = usize::from(front.is_some());
        assert!(looper.dump().to_string().contains(&format!("handlers: {handlers}")));
    }
}

/// A front's own end has nothing to do with them.
#[test]
fn x1_q4_given_up_values_panic_in_the_next_turn_and_not_where_a_front_is_dropped() {
    let looper = Looper::new().unwrap();
    let explosives = Explosives::default();
    let handler = Handler::new(&looper, |_, _: Explosive| ());
    handler.send(explosives.make()).unwrap();
    handler.send(explosives.make()).unwrap();
    drop(handler);
    let other = Handler::new(&looper, |_, ()| ());
    looper.quit();

    drop(other);
    assert_eq!(panic_of(|| poll_now(&looper)), "explosive");

    assert_eq!(explosives.gone_off(), 2);
    assert!(looper.dump().to_string().contains("handlers: 0"));
}

/// Panics when it is told of this, and when it is dropped.
struct Panicking {
    at: &'static str,
    _explosive: Explosive,
}

impl Panicking {
    fn watch(looper: &Looper, explosives: &Explosives, at: &'static str) {
        looper.set_observer(Some(Rc::new(Panicking { at, _explosive: explosives.make() })));
    }

    fn panic_at(&self, when: &str) {
        assert!(self.at != when, "observer");
    }
}

impl Observer for Panicking {
    fn started(&self, _: &DispatchInfo) {
        self.panic_at("started");
    }

    fn finished(&self, _: &DispatchInfo, _: Duration) {
        self.panic_at("finished");
    }

    fn panicked(&self, _: &DispatchInfo, _: Duration) {
        self.panic_at("panicked");
    }
}

/// Posts explosives of each kind that the observer can keep from running, and how many there are with each.
type Post = fn(&Looper, &Explosives) -> usize;

#[test]
fn x3_w1_an_observer_that_panics_at_the_start_is_the_panic_that_goes_on_though_the_message_panics_when_dropped() {
    let posts: [Post; 4] = [
        |looper, explosives| {
            let own = explosives.make();
            looper.post(move |_| drop(own)).unwrap();
            1
        },
        |looper, explosives| {
            let own = explosives.make();
            looper.handle().post(move |_| drop(own)).unwrap();
            1
        },
        |looper, explosives| {
            Handler::new(looper, |_, _: Explosive| ()).send(explosives.make()).unwrap();
            1
        },
        |looper, explosives| {
            explosives.handler(looper).send(explosives.make()).unwrap();
            2
        },
    ];
    for post in posts {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        let observer = Rc::new(Panicking { at: "started", _explosive: Explosives::default().make() });
        looper.set_observer(Some(observer.clone()));
        let count = post(&looper, &explosives);

        assert_eq!(panic_of(|| poll_now(&looper)), "observer");

        assert_eq!(explosives.gone_off(), count);
        looper.set_observer(None);
        assert_left(&looper, 0);
        assert_eq!(panic_of(|| drop(observer)), "explosive");
    }
}

#[test]
fn x3_w1_an_observer_that_a_panicking_message_has_replaced_may_panic_when_it_is_dropped() {
    let looper = Looper::new().unwrap();
    let explosives = Explosives::default();
    Panicking::watch(&looper, &explosives, "never");
    let unwatch_and_panic = |looper: &Looper| {
        looper.set_observer(None);
        panic!("message");
    };
    looper.post(unwatch_and_panic).unwrap();

    assert_eq!(panic_of(|| poll_now(&looper)), "message");

    assert_eq!(explosives.gone_off(), 1);
    assert_left(&looper, 0);
}

/// In a process of its own: an abort would hide what the other tests say.
#[test]
fn x3_w1_an_observer_that_panics_about_a_message_that_has_replaced_it_may_panic_when_it_is_dropped() {
    alone("x3_w1_an_observer_that_panics_about_a_message_that_has_replaced_it_may_panic_when_it_is_dropped", || {
        for (at, panic) in [("panicked", "message"), ("finished", "observer")] {
            let looper = Looper::new().unwrap();
            let explosives = Explosives::default();
            Panicking::watch(&looper, &explosives, at);
            let unwatch = move |looper: &Looper| {
                looper.set_observer(None);
                assert!(at != "panicked", "message");
            };
            looper.post(unwatch).unwrap();

            assert_eq!(panic_of(|| poll_now(&looper)), panic);

            assert_eq!(explosives.gone_off(), 1, "{at}");
            assert_left(&looper, 0);
        }
    });
}

/// Removes itself when a message starts, and panics then, and when it is dropped.
struct Leaving {
    looper: Weak<Looper>,
    _explosive: Explosive,
}

impl Observer for Leaving {
    fn started(&self, _: &DispatchInfo) {
        self.looper.upgrade().unwrap().set_observer(None);
        panic!("observer");
    }
}

/// In a process of its own, as the one before.
#[test]
fn x3_w1_an_observer_that_removes_itself_and_panics_at_the_start_may_panic_when_it_is_dropped() {
    alone("x3_w1_an_observer_that_removes_itself_and_panics_at_the_start_may_panic_when_it_is_dropped", || {
        let looper = Rc::new(Looper::new().unwrap());
        let explosives = Explosives::default();
        looper.set_observer(Some(Rc::new(Leaving { looper: Rc::downgrade(&looper), _explosive: explosives.make() })));
        looper.post(|_| panic!("it was consumed")).unwrap();

        assert_eq!(panic_of(|| poll_now(&looper)), "observer");

        assert_eq!(explosives.gone_off(), 1);
        assert_left(&looper, 0);
    });
}

/// Drops a guard while a panic unwinds, which goes on.
#[track_caller]
fn unwind_through(guard: impl Sized) {
    let panic = panic_of(|| {
        let _guard = guard;
        panic!("scope")
    });
    assert_eq!(panic, "scope");
}

#[test]
fn x3_each_guard_may_end_something_that_panics_while_a_panic_unwinds() {
    let looper = Looper::new().unwrap();
    let explosives = Explosives::default();
    let [own, remote, idle, remote_idle, fd, every, sent] = [(); 7].map(|()| explosives.make());
    let handler = Handler::new(&looper, |_, _: Explosive| ());
    let (near, _far) = ready_stream();
    let idle = move |_: &Looper| {
        idle.hold();
        ControlFlow::Continue(())
    };
    let remote_idle = move |_: &Looper| {
        remote_idle.hold();
        ControlFlow::Continue(())
    };
    let tick = move |_: &Looper| {
        every.hold();
        ControlFlow::Continue(())
    };
    let watch = looper.add_fd(near, Interest::INPUT, move |_, _, _| {
        fd.hold();
        FdNext::Keep
    });

    unwind_through(looper.post(move |_| drop(own)).unwrap().guard());
    unwind_through(looper.handle().post(move |_| drop(remote)).unwrap().guard());
    unwind_through(looper.post_every(HOUR, tick).unwrap().guard());
    unwind_through(handler.send(sent).unwrap().guard());
    unwind_through(looper.add_idle(idle).unwrap().guard());
    unwind_through(looper.handle().add_idle(remote_idle).unwrap().guard());
    unwind_through(watch.unwrap().guard());

    assert_eq!(explosives.gone_off(), 7);
    assert_left(&looper, 1);
}

#[test]
fn x3_a_last_front_that_goes_while_a_panic_unwinds_may_end_a_closure_that_panics() {
    let looper = Looper::new().unwrap();
    let explosives = Explosives::default();

    unwind_through(explosives.handler(&looper));

    assert_eq!(explosives.gone_off(), 1);
    assert_left(&looper, 0);
}

/// Gives a looper explosives of every kind, ten in all, and the fronts of two handlers, one of them made from afar.
fn load(looper: &Looper, explosives: &Explosives) -> [Handler<Explosive>; 2] {
    let [own, remote, idle, remote_idle, fd, afar] = [(); 6].map(|()| explosives.make());
    Panicking::watch(looper, explosives, "never");
    let handlers = [explosives.handler(looper), looper.handle().handler(move |_, _| afar.hold()).unwrap()];
    handlers[0].send(explosives.make()).unwrap();
    handlers[1].send_delayed(HOUR, explosives.make()).unwrap();
    looper.post(move |_| drop(own)).unwrap();
    looper.handle().post(move |_| drop(remote)).unwrap();
    let idle = move |_: &Looper| {
        idle.hold();
        ControlFlow::Continue(())
    };
    looper.add_idle(idle).unwrap();
    let remote_idle = move |_: &Looper| {
        remote_idle.hold();
        ControlFlow::Continue(())
    };
    looper.handle().add_idle(remote_idle).unwrap();
    let (near, _far) = ready_stream();
    let callback = move |_: &Looper, _: &mut _, _| {
        fd.hold();
        FdNext::Keep
    };
    looper.add_fd(near, Interest::INPUT, callback).unwrap();
    handlers
}

#[test]
fn x3_c61_a_looper_drops_everything_though_all_of_it_and_its_observer_panic() {
    for unwinds in [false, true] {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        let handlers = load(&looper, &explosives);

        if unwinds {
            unwind_through(looper);
        } else {
            assert_eq!(panic_of(|| drop(looper)), "explosive");
        }

        assert_eq!(explosives.gone_off(), 10);
        assert_report(handlers[0].looper().message_counts(), 4, 0, 0, 4);
    }
}

thread_local! {
    /// What a thread drops when it ends.
    static FRONTS: RefCell<Vec<Handler<Explosive>>> = const { RefCell::new(Vec::new()) };
}

/// A panic that leaves a thread's last destructors would abort the process.
#[test]
fn x3_c61_a_thread_ends_though_all_that_its_looper_has_and_the_observer_panic() {
    for fronts_go_last in [false, true] {
        let explosives = Explosives::default();
        let made = explosives.clone();
        let prepare = move || -> LooperHandle {
            if fronts_go_last {
                FRONTS.with(|_| ());
            }
            let looper = Looper::prepare().unwrap();
            FRONTS.with_borrow_mut(|fronts| fronts.extend(load(&looper, &made)));
            looper.handle()
        };

        let handle = thread::spawn(prepare).join().unwrap();

        assert_eq!(explosives.gone_off(), 10, "fronts go last: {fronts_go_last}");
        assert_report(handle.message_counts(), 4, 0, 0, 4);
    }
}

/// As a turn does, so does a quit that another thread calls.
#[test]
fn x3_a_turn_after_a_quit_drops_all_that_panics_and_the_next_one_reports_it() {
    let looper = Looper::new().unwrap();
    let explosives = Explosives::default();
    drop(load(&looper, &explosives));
    let handle = looper.handle();
    thread::spawn(move || handle.quit()).join().unwrap();

    assert!(panic::catch_unwind(AssertUnwindSafe(|| poll_now(&looper))).is_err());

    // The idle handlers, the fd's callback and the observer stay until the looper is dropped.
    assert_eq!(explosives.gone_off(), 6);
    assert!(poll_now(&looper).quit);
    assert_eq!(panic_of(|| drop(looper)), "explosive");
    assert_eq!(explosives.gone_off(), 10);
}
