//! A looper's life: prepared for a thread or for the process, reached by handles, outlived by them.
//!
//! Holds L2, L3, L4, C73, C77.

use std::{
    cell::{Cell, RefCell},
    io::ErrorKind,
    ops::ControlFlow,
    os::unix::net::UnixStream,
    rc::Rc,
    sync::{Arc, Barrier, mpsc},
    thread,
    time::Duration,
};

use alooper::{FdNext, Handler, Interest, Looper, LooperHandle, MessageCounts, Posted, RejectReason};

use crate::support::{alone::alone, ms, watched};

#[test]
fn l2_prepare_makes_the_threads_looper_once_and_gives_the_same_one_later() {
    watched(|| {
        assert!(Looper::current().is_none());

        let first = Looper::prepare().unwrap();
        let second = Looper::prepare().unwrap();

        assert!(Rc::ptr_eq(&first, &second));
        assert!(Rc::ptr_eq(&first, &Looper::current().unwrap()));
        assert!(first.handle().is_current());
    });
}

#[test]
fn l2_each_thread_has_its_own_looper() {
    watched(|| {
        let looper = Looper::prepare().unwrap();
        let handle = looper.handle();

        let others = thread::spawn(move || {
            assert!(Looper::current().is_none());
            assert!(!handle.is_current());
            let looper = Looper::prepare().unwrap();
            handle.post(|_| ()).unwrap();
            looper.len()
        });

        assert_eq!(others.join().unwrap(), 0);
        assert_eq!(looper.len(), 1);
    });
}

#[test]
fn l2_a_looper_that_was_made_with_new_is_not_the_threads_own() {
    watched(|| {
        let free = Looper::new().unwrap();
        assert!(Looper::current().is_none());

        let own = Looper::prepare().unwrap();
        own.post(|_| ()).unwrap();

        assert_eq!((own.len(), free.len()), (1, 0));
    });
}

#[test]
fn l2_the_thread_keeps_its_looper_after_it_has_quit() {
    watched(|| {
        let looper = Looper::prepare().unwrap();
        looper.quit();
        looper.run().unwrap();

        assert!(Rc::ptr_eq(&looper, &Looper::current().unwrap()));
        assert!(Rc::ptr_eq(&looper, &Looper::prepare().unwrap()));
        assert!(looper.has_quit());
        assert_eq!(looper.post(|_| ()).unwrap_err().reason(), RejectReason::Quit);
    });
}

#[test]
fn l2_a_builder_prepares_the_threads_looper_but_not_a_second_one() {
    watched(|| {
        let looper = Looper::builder().name("first").prepare().unwrap();

        let error = Looper::builder().name("second").prepare().unwrap_err();

        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(Rc::ptr_eq(&looper, &Looper::current().unwrap()));
        assert_eq!(Looper::prepare().unwrap().name(), Some("first"));
    });
}

/// What code sees that runs while its thread ends.
struct Seen {
    by: &'static str,
    current: bool,
    prepared: Option<ErrorKind>,
    dropped: bool,
    refused: Option<RejectReason>,
    made: bool,
}

/// Uses everything about loopers when it is dropped, and tells what came of it.
struct LastWords {
    name: &'static str,
    handle: LooperHandle,
    listener: mpsc::Sender<Seen>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        let seen = Seen {
            by: self.name,
            current: Looper::current().is_some(),
            prepared: Looper::prepare().err().map(|error| error.kind()),
            dropped: self.handle.has_quit(),
            refused: self.handle.post(|_| ()).err().map(|refused| refused.reason()),
            made: Looper::new().is_ok(),
        };
        let _ = self.listener.send(seen);
    }
}

thread_local! {
    static TOUCHED_FIRST: RefCell<Option<LastWords>> = const { RefCell::new(None) };
    static TOUCHED_LAST: RefCell<Option<LastWords>> = const { RefCell::new(None) };
    static KEEPS_LOOPER: RefCell<Option<Rc<Looper>>> = const { RefCell::new(None) };
}

/// C73: in which order a thread's destructors run is not promised, so each must see one of two states, both whole.
#[test]
fn l2_destructors_of_an_ending_thread_see_the_looper_or_see_that_it_is_gone() {
    watched(|| {
        let (listener, seen) = mpsc::channel();
        let ending = thread::spawn(move || {
            TOUCHED_FIRST.with(|value| assert!(value.borrow().is_none()));
            let looper = Looper::prepare().unwrap();
            let words = |name| LastWords { name, handle: looper.handle(), listener: listener.clone() };
            TOUCHED_FIRST.set(Some(words("touched first")));
            TOUCHED_LAST.set(Some(words("touched last")));
        });
        ending.join().unwrap();

        let seen: Vec<Seen> = seen.iter().collect();

        assert_eq!(seen.len(), 2);
        for Seen { by, current, prepared, dropped, refused, made } in seen {
            assert!(made, "{by}");
            if current {
                assert_eq!((prepared, dropped, refused), (None, false, None), "{by}");
            } else {
                let gone = (Some(ErrorKind::Unsupported), true, Some(RejectReason::Dropped));
                assert_eq!((prepared, dropped, refused), gone, "{by}");
            }
        }
    });
}

/// Makes a looper when it is dropped, and does with it what needs to know that this is its thread.
struct Latecomer(mpsc::Sender<(bool, bool, bool)>);

impl Drop for Latecomer {
    fn drop(&mut self) {
        let looper = Looper::new().unwrap();
        let called = looper.handle().call(|looper| looper.len());
        let handler = Handler::new(&looper, |_, _: u32| ());
        handler.send(1).unwrap();
        let polled = Cell::new(None);
        handler.has_if(|_| {
            polled.set(looper.poll_once(Duration::ZERO).err().map(|error| error.kind()));
            true
        });
        let kept = Rc::new(());
        let held = kept.clone();
        looper.post(move |_| drop(held)).unwrap().cancel();
        let refused = polled.get() == Some(ErrorKind::Deadlock);
        self.0.send((matches!(called, Ok(0)), refused, Rc::strong_count(&kept) == 1)).unwrap();
    }
}

thread_local! {
    static LATE_FIRST: RefCell<Option<Latecomer>> = const { RefCell::new(None) };
    static LATE_LAST: RefCell<Option<Latecomer>> = const { RefCell::new(None) };
}

/// M10, R6, S1, C73: whichever of the thread's destructors have run already.
#[test]
fn l2_a_looper_that_is_made_while_its_thread_ends_works_as_any_other() {
    watched(|| {
        let (told, heard) = mpsc::channel();
        let ending = thread::spawn(move || {
            LATE_FIRST.with_borrow(|late| assert!(late.is_none()));
            Looper::prepare().unwrap();
            LATE_FIRST.set(Some(Latecomer(told.clone())));
            LATE_LAST.set(Some(Latecomer(told)));
        });
        ending.join().unwrap();

        // It is called at once, polling in a predicate is refused, and what is cancelled is dropped at once.
        assert_eq!(heard.iter().collect::<Vec<_>>(), [(true, true, true); 2]);
    });
}

#[test]
fn l2_c73_when_an_ending_thread_drops_its_looper_current_is_none_already() {
    watched(|| {
        let (listener, seen) = mpsc::channel();
        let ending = thread::spawn(move || {
            let looper = Looper::prepare().unwrap();
            let words = LastWords { name: "queued", handle: looper.handle(), listener };
            looper.post(move |_| drop(words)).unwrap();
        });
        ending.join().unwrap();

        let Seen { current, prepared, refused, made, .. } = seen.recv().unwrap();

        assert!(!current);
        assert_eq!(prepared, Some(ErrorKind::Unsupported));
        assert!(refused.is_some());
        assert!(made);
    });
}

#[test]
fn l2_c73_a_looper_that_a_thread_local_value_keeps_is_dropped_with_it() {
    watched(|| {
        let ending = thread::spawn(move || {
            KEEPS_LOOPER.with(|kept| assert!(kept.borrow().is_none()));
            let looper = Looper::prepare().unwrap();
            KEEPS_LOOPER.set(Some(looper.clone()));
            looper.post(|_| ()).unwrap();
            looper.handle()
        });

        let handle = ending.join().unwrap();

        assert_eq!(handle.post(|_| ()).unwrap_err().reason(), RejectReason::Dropped);
        assert_eq!(handle.message_counts().dropped, 1);
    });
}

#[test]
fn l3_the_main_looper_is_prepared_once_and_reached_from_any_thread() {
    alone("l3_the_main_looper_is_prepared_once_and_reached_from_any_thread", || {
        assert!(Looper::main_handle().is_none());

        let looper = Looper::prepare_main().unwrap();

        assert!(Rc::ptr_eq(&looper, &Looper::current().unwrap()));
        assert_eq!(Looper::prepare_main().unwrap_err().kind(), ErrorKind::AlreadyExists);
        let elsewhere = thread::spawn(|| {
            let error = Looper::prepare_main().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            assert!(error.to_string().contains("main looper"), "{error}");
            assert!(Looper::current().is_none());
            Looper::main_handle().unwrap().post(|looper| looper.quit()).unwrap();
        });
        assert_eq!(looper.run().unwrap().run, 1);
        elsewhere.join().unwrap();
        assert_eq!(Looper::prepare_main().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(Looper::main_handle().unwrap().has_quit());
    });
}

#[test]
fn l3_a_looper_that_its_thread_has_already_can_become_the_main_one() {
    alone("l3_a_looper_that_its_thread_has_already_can_become_the_main_one", || {
        let looper = Looper::prepare().unwrap();

        let main = Looper::prepare_main().unwrap();

        assert!(Rc::ptr_eq(&looper, &main));
        Looper::main_handle().unwrap().post(|_| ()).unwrap();
        assert_eq!(looper.len(), 1);
    });
}

#[test]
fn l3_of_threads_that_prepare_the_main_looper_at_once_one_succeeds() {
    alone("l3_of_threads_that_prepare_the_main_looper_at_once_one_succeeds", || {
        let start = Arc::new(Barrier::new(4));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let start = start.clone();
                thread::spawn(move || {
                    start.wait();
                    let result = Looper::prepare_main();
                    // Until all have tried, so that the winner's looper lives.
                    start.wait();
                    result.is_ok()
                })
            })
            .collect();

        let winners = threads.into_iter().map(|thread| thread.join().unwrap());

        assert_eq!(winners.filter(|won| *won).count(), 1);
        assert!(Looper::main_handle().is_some());
    });
}

fn is_for_any_thread<T: Clone + Send + Sync + 'static>() {}

#[test]
fn l4_handles_are_for_any_thread_whatever_was_posted() {
    is_for_any_thread::<LooperHandle>();
    is_for_any_thread::<Posted>();
}

#[test]
fn l4_a_handle_does_what_another_thread_may_do() {
    watched(|| {
        let looper = Looper::builder().name("worker").build().unwrap();
        let handle = looper.handle();
        let (near, _far) = UnixStream::pair().unwrap();

        let elsewhere = thread::spawn(move || {
            assert_eq!(handle.name(), Some("worker"));
            assert!(!handle.is_current() && !handle.is_polling() && !handle.has_quit() && handle.is_empty());
            handle.wake().unwrap();
            handle.post(|_| ()).unwrap();
            handle.post_delayed(Duration::MAX, |_| ()).unwrap();
            handle.post_at(handle.now(), |_| ()).unwrap();
            handle.post_at_front(|_| ()).unwrap();
            handle.post_every(Duration::MAX, |_| ControlFlow::Continue(())).unwrap();
            handle.add_fd(near, Interest::OUTPUT, |_, _, _| FdNext::Remove).unwrap();
            assert_eq!((handle.len(), handle.message_counts().posted), (5, 5));
        });
        elsewhere.join().unwrap();
        let turn = looper.poll_once(None).unwrap();

        assert!(turn.woken);
        assert_eq!((turn.messages, turn.fds, looper.len()), (3, 1, 2));
    });
}

/// C77: and what is refused comes back as it was, so that another looper can run it.
#[test]
fn l4_posts_to_a_dropped_looper_are_refused_and_give_their_closure_back() {
    watched(|| {
        let other = Looper::new().unwrap();
        let handle = Looper::new().unwrap().handle();
        let (sender, said) = mpsc::channel();
        let say = |word: &'static str| {
            let sender = sender.clone();
            move |_: &Looper| sender.send(word).unwrap()
        };
        let mut refused = vec![
            handle.post(say("post")).unwrap_err(),
            handle.post_delayed(ms(1), say("delayed")).unwrap_err(),
            handle.post_at(handle.now(), say("at")).unwrap_err(),
            handle.post_at_front(say("front")).unwrap_err(),
        ];
        let every = say("every");
        let repeating = handle.post_every(ms(1), move |looper| {
            every(looper);
            ControlFlow::Break(())
        });
        let repeating = repeating.unwrap_err();

        assert!(refused.iter().all(|refused| refused.reason() == RejectReason::Dropped));
        assert_eq!(repeating.reason(), RejectReason::Dropped);
        assert!(said.try_recv().is_err());
        for refused in refused.drain(..) {
            refused.into_value().unwrap()(&other);
        }
        assert!(repeating.into_value().unwrap()(&other).is_break());
        assert_eq!(said.try_iter().collect::<Vec<_>>(), ["post", "delayed", "at", "front", "every"]);
    });
}

#[test]
fn l4_a_fd_for_a_dropped_looper_is_refused_and_given_back() {
    watched(|| {
        let handle = Looper::new().unwrap().handle();
        let (near, far) = UnixStream::pair().unwrap();

        let refused = handle.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();

        assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
        refused.into_source().unwrap().shutdown(std::net::Shutdown::Both).unwrap();
        drop(far);
    });
}

#[test]
fn l4_what_a_handle_asks_of_a_dropped_looper_has_an_answer() {
    watched(|| {
        let looper = Looper::builder().name("gone").build().unwrap();
        let handle = looper.handle();
        let posted = handle.post(|_| ()).unwrap();
        drop(looper);

        handle.wake().unwrap();
        handle.quit();
        handle.quit_safely();

        assert!(handle.has_quit() && handle.is_empty() && !handle.is_polling());
        assert!(!posted.is_pending() && !posted.cancel());
        assert_eq!(handle.name(), Some("gone"));
        let MessageCounts { posted, run, removed, dropped, .. } = handle.message_counts();
        assert_eq!((posted, run, removed, dropped), (1, 0, 0, 1));
    });
}

#[test]
fn l4_c77_a_dropped_looper_drops_its_queue_once_and_its_last_handle_may_die_elsewhere() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let payload = Arc::new(());
        for delay in [Duration::ZERO, ms(1), Duration::MAX] {
            let payload = payload.clone();
            handle.post_delayed(delay, move |_| drop(payload)).unwrap();
        }
        assert_eq!(Arc::strong_count(&payload), 4);

        drop(looper);

        assert_eq!(Arc::strong_count(&payload), 1);
        thread::spawn(move || drop(handle)).join().unwrap();
    });
}
