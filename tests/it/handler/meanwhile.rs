//! Handlers that end, or come, while a message of theirs starts, is looked at, or is dropped: nothing of them is lost,
//! and nothing stays.
//!
//! Holds H2, L5, M8, M9, M10, Q4, R6, W1, W3, X1.

use std::{
    cell::{Cell, RefCell},
    io::ErrorKind,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{DispatchInfo, Handler, HandlerThread, JoinError, Looper, LooperHandle, Observer, Posted};

use crate::support::{
    handlers::{Told, WHERES, assert_report, elsewhere, told, told_many},
    panic_of, watched,
};

/// Polls once without waiting; how many messages ran.
#[track_caller]
fn poll_now(looper: &Looper) -> usize {
    looper.poll_once(Duration::ZERO).unwrap().messages
}

#[track_caller]
fn assert_handlers(handle: &LooperHandle, count: usize) {
    let dump = handle.dump().to_string();
    assert!(dump.contains(&format!("handlers: {count}\n")), "{dump}");
}

/// A handler that counts its messages, and tells of the end of its closure.
fn counting(looper: &Looper) -> (Handler<u32>, Rc<Cell<u32>>, mpsc::Receiver<thread::ThreadId>) {
    let (own, dropped) = told();
    let ran = Rc::new(Cell::new(0));
    let count = ran.clone();
    let handler = Handler::new(looper, move |_, _| {
        own.hold();
        count.set(count.get() + 1);
    });
    (handler, ran, dropped)
}

/// Acts once, when a message starts.
struct AtStart<A>(Cell<Option<A>>);

impl<A: FnOnce()> AtStart<A> {
    fn new(act: A) -> Rc<AtStart<A>> {
        Rc::new(AtStart(Cell::new(Some(act))))
    }
}

impl<A: FnOnce()> Observer for AtStart<A> {
    fn started(&self, _: &DispatchInfo) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}

/// The message was taken out of the queue: nothing but the turn knows that the handler is still needed.
#[test]
fn h2_w1_the_last_message_runs_though_the_observer_drops_the_last_front_as_it_starts() {
    let looper = Looper::new().unwrap();
    let (handler, ran, dropped) = counting(&looper);
    handler.send(1).unwrap();
    looper.set_observer(Some(AtStart::new(move || drop(handler))));

    assert_eq!((poll_now(&looper), ran.get()), (1, 1));

    assert_eq!(dropped.try_iter().count(), 1);
    assert_report(looper.message_counts(), 1, 1, 0, 0);
    assert_handlers(&looper.handle(), 0);
}

#[test]
fn h2_w1_the_last_message_of_a_handler_without_fronts_runs_though_the_observer_ends_another_handler() {
    let looper = Looper::new().unwrap();
    let (handler, ran, dropped) = counting(&looper);
    handler.send(1).unwrap();
    drop(handler);
    let (other, _, other_dropped) = counting(&looper);
    looper.set_observer(Some(AtStart::new(move || drop(other))));

    assert_eq!((poll_now(&looper), ran.get()), (1, 1));

    assert_eq!((dropped.try_iter().count(), other_dropped.try_iter().count()), (1, 1));
    assert_handlers(&looper.handle(), 0);
}

/// Consumed by this panic as by its own, and not kept for who can still ask for it.
#[test]
fn w1_x1_a_message_whose_handler_the_observer_ends_before_it_panics_is_dropped() {
    let looper = Looper::new().unwrap();
    let (value, dropped) = told();
    let handler = Handler::new(&looper, |_, _: Told| ());
    let posted = handler.send(value).unwrap();
    let end_and_panic = move || {
        drop(handler);
        panic!("observer");
    };
    looper.set_observer(Some(AtStart::new(end_and_panic)));

    assert_eq!(panic_of(|| poll_now(&looper)), "observer");

    assert_eq!((dropped.try_iter().count(), posted.is_pending()), (1, false));
    assert_report(looper.message_counts(), 1, 1, 0, 0);
    assert_handlers(&looper.handle(), 0);
}

/// What the ended handler has left may be used again.
#[test]
fn h2_w1_the_last_message_of_a_handler_without_fronts_runs_though_the_observer_makes_new_ones() {
    for is_remote in [false, true] {
        let looper = Rc::new(Looper::new().unwrap());
        let (handler, ran, dropped) = counting(&looper);
        handler.send(1).unwrap();
        drop(handler);
        let (weak, made) = (Rc::downgrade(&looper), Rc::new(RefCell::new(Vec::new())));
        let keep = made.clone();
        looper.set_observer(Some(AtStart::new(move || {
            let looper = weak.upgrade().unwrap();
            for _ in 0..3 {
                let handler = match is_remote {
                    false => Handler::new(&looper, |_, _: u32| ()),
                    true => elsewhere({
                        let handle = looper.handle();
                        move || handle.handler(|_, _: u32| ()).unwrap()
                    }),
                };
                handler.send(1).unwrap();
                keep.borrow_mut().push(handler);
            }
        })));

        assert_eq!((poll_now(&looper), ran.get()), (4, 1));

        assert_eq!(dropped.try_iter().count(), 1);
        assert_report(looper.message_counts(), 4, 4, 0, 0);
        assert_handlers(&looper.handle(), 3);
    }
}

/// Panics when it is dropped.
struct Explosive;

impl Explosive {
    fn hold(&self) {}
}

impl Drop for Explosive {
    fn drop(&mut self) {
        panic!("explosive");
    }
}

/// The panic unwinds out of one turn, and is nobody's loss: neither the new handler nor its message goes with it.
#[test]
fn x1_m9_a_closure_that_panics_when_it_is_dropped_takes_no_message_of_a_newer_handler_with_it() {
    let looper = Looper::new().unwrap();
    let (handle, ran, explosive) = (looper.handle(), Arc::new(AtomicUsize::new(0)), Explosive);
    let old = handle.handler(move |_, _: u32| explosive.hold()).unwrap();
    poll_now(&looper);
    let count = ran.clone();
    let replace = move |_: &Looper| {
        elsewhere(|| {
            drop(old);
            for _ in 0..3 {
                let count = count.clone();
                let new = handle.handler(move |_, _: u32| _ = count.fetch_add(1, Ordering::Relaxed)).unwrap();
                new.send(1).unwrap();
            }
        });
    };
    looper.post(replace).unwrap();

    let turns = (0..4).map(|_| panic::catch_unwind(AssertUnwindSafe(|| poll_now(&looper))));
    let panics = turns.filter(Result::is_err).count();

    assert_eq!((panics, ran.load(Ordering::Relaxed)), (1, 3));
    assert_report(looper.message_counts(), 4, 4, 0, 0);
    assert_handlers(&looper.handle(), 0);
}

/// Its handler was made through a handle, and no turn has taken it home.
#[test]
fn r6_m10_what_a_predicate_cancels_while_a_safe_quit_drains_is_dropped_though_its_handler_is_not_at_home() {
    type Cancel = fn(&Handler<Told>, &Posted<Told>) -> usize;
    let cancels: [Cancel; 2] = [|_, posted| usize::from(posted.cancel()), |handler, _| handler.clear()];
    for (cancel, place) in cancels.into_iter().flat_map(|cancel| WHERES.map(|place| (cancel, place))) {
        let looper = Looper::new().unwrap();
        let (value, dropped) = told();
        let handler = looper.handle().handler(|_, _: Told| ()).unwrap();
        let posted = handler.send(value).unwrap();
        looper.quit_safely();

        let mut cancelled = 0;
        let removed = place.ask(|| {
            handler.remove_if(|_| {
                cancelled = cancel(&handler, &posted);
                true
            })
        });

        assert_eq!((cancelled, removed), (1, 0));
        let early = dropped.try_iter().count();
        assert!(looper.poll_once(Duration::ZERO).unwrap().quit);
        assert_eq!(early + dropped.try_iter().count(), 1, "{place:?}: dropped, with a front left");
        assert_report(looper.message_counts(), 1, 0, 1, 0);
    }
}

/// What a quit has given up is found through its handler, which must not go before.
#[test]
fn q4_what_a_quit_gives_up_is_dropped_in_the_turn_though_it_ends_other_handlers_and_is_asked_for_still() {
    type Value = (Told, Option<Handler<u32>>);
    for first_ends_another in [true, false] {
        let looper = Looper::new().unwrap();
        let (values, dropped) = told_many(3);
        let handler = Handler::new(&looper, |_, _: Value| ());
        let posted: Vec<_> = values
            .into_iter()
            .enumerate()
            .map(|(number, value)| {
                let ends_another = (number == 0) == first_ends_another;
                let other = ends_another.then(|| Handler::new(&looper, |_, _| ()));
                handler.send((value, other)).unwrap()
            })
            .collect();
        drop(handler);
        let other = Handler::new(&looper, |_, _: u32| ());
        looper.quit();
        drop(other);

        assert!(looper.poll_once(None).unwrap().quit);

        assert_eq!(dropped.try_iter().count(), 3, "before the last `Posted` goes");
        assert!(posted.iter().all(|posted| !posted.is_pending()));
        assert_handlers(&looper.handle(), 0);
    }
}

thread_local! {
    /// What a thread drops when it ends.
    static FRONTS: RefCell<Vec<Handler<u32>>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn h2_m10_a_front_that_the_end_of_another_thread_drops_leaves_message_and_closure_to_the_looper() {
    watched(|| {
        for messages in [0, 1] {
            let looper = Looper::new().unwrap();
            let (handler, ran, dropped) = counting(&looper);
            (0..messages).for_each(|_| drop(handler.send(1).unwrap()));

            thread::spawn(move || FRONTS.with_borrow_mut(|fronts| fronts.push(handler))).join().unwrap();

            assert_eq!(dropped.try_iter().count(), 0);
            assert_eq!((poll_now(&looper), ran.get()), (messages as usize, messages));
            assert!(dropped.try_iter().eq([thread::current().id()]));
            assert_handlers(&looper.handle(), 0);
        }
    });
}

#[test]
fn h2_m8_fronts_that_the_end_of_the_loopers_own_thread_drops_may_go_before_and_after_the_looper() {
    watched(|| {
        for fronts_go_last in [false, true] {
            let (sender, receiver) = mpsc::channel();
            let thread = thread::spawn(move || {
                if fronts_go_last {
                    FRONTS.with(|_| ());
                }
                let looper = Looper::prepare().unwrap();
                let (idle, _, idle_dropped) = counting(&looper);
                let (busy, _, busy_dropped) = counting(&looper);
                busy.send(1).unwrap();
                FRONTS.with_borrow_mut(|fronts| fronts.extend([idle, busy]));
                sender.send((looper.handle(), idle_dropped, busy_dropped)).unwrap();
            });
            let home = thread.thread().id();
            thread.join().unwrap();

            let (handle, idle_dropped, busy_dropped) = receiver.recv().unwrap();
            assert!(idle_dropped.try_iter().eq([home]) && busy_dropped.try_iter().eq([home]));
            assert_report(handle.message_counts(), 1, 0, 0, 1);
        }
    });
}

/// No turn comes any more that could forget those that have ended.
#[test]
fn h2_w3_a_looper_that_is_gone_counts_no_handler_whose_last_front_went_before_or_after_it() {
    for looper_goes_last in [true, false] {
        let looper = Looper::new().unwrap();
        let (handler, _, dropped) = counting(&looper);
        let handle = looper.handle();

        if looper_goes_last {
            elsewhere(|| drop(handler));
            drop(looper);
        } else {
            drop(looper);
            drop(handler);
        }

        assert_eq!(dropped.try_iter().count(), 1);
        assert_handlers(&handle, 0);
    }
}

/// A worker whose first message runs until the gate opens or its other end is gone, a message behind that, and how one
/// learns of the thread's end.
fn busy_worker() -> (HandlerThread, mpsc::Sender<()>, Handler<Told>, mpsc::Receiver<thread::ThreadId>) {
    let worker = HandlerThread::spawn("worker").unwrap();
    let (gate, is_open) = mpsc::channel();
    worker.handle().post(move |_| _ = is_open.recv()).unwrap();
    let handler = worker.handle().handler(|_, _: Told| ()).unwrap();
    let (value, dropped) = told();
    handler.send(value).unwrap();
    (worker, gate, handler, dropped)
}

/// It would wait for the message that it keeps from running.
#[test]
fn r6_l5_a_handler_thread_that_is_dropped_in_a_predicate_is_not_waited_for_and_ends_after_it() {
    watched(|| {
        let (worker, gate, handler, dropped) = busy_worker();
        let home = worker.thread().unwrap().id();
        let mut owned = Some((worker, gate));

        assert!(handler.has_if(|_| {
            drop(owned.take());
            true
        }));

        assert_eq!(dropped.recv(), Ok(home), "the message has run");
        assert!(handler.looper().has_quit());
    });
}

#[test]
fn r6_l5_joining_a_handler_thread_in_a_predicate_is_an_error_and_ends_it_after_that() {
    watched(|| {
        let (worker, gate, handler, dropped) = busy_worker();
        let home = worker.thread().unwrap().id();
        let mut owned = Some((worker, gate));
        let mut kind = None;

        assert!(handler.has_if(|_| {
            let (worker, _gate) = owned.take().unwrap();
            kind = match worker.join() {
                Err(JoinError::Io(error)) => Some(error.kind()),
                _ => None,
            };
            true
        }));

        assert_eq!(kind, Some(ErrorKind::Deadlock));
        assert_eq!(dropped.recv(), Ok(home), "the message has run");
        assert!(handler.looper().has_quit());
    });
}
