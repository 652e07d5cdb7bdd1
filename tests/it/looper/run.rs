//! Running until a condition holds, or while something is left; values that belong to a looper.
//!
//! Holds K4, L2, L6, X1.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    ops::ControlFlow,
    os::unix::net::UnixStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper, testing::TestLooper};

use crate::support::{HOUR, ms, panic_of, until_polling, watched};

#[test]
fn k4_run_until_ends_when_its_condition_holds_and_the_looper_can_be_run_again() {
    let looper = TestLooper::new().unwrap();
    let ran = Rc::new(Cell::new(0));
    let count = ran.clone();
    let tick = move |_: &Looper| {
        count.set(count.get() + 1);
        ControlFlow::Continue(())
    };
    let ticking = looper.post_every(ms(1), tick).unwrap();

    assert!(looper.run_until(|| ran.get() == 3).unwrap());
    assert!(looper.run_until(|| ran.get() == 3).unwrap(), "it holds already");
    assert_eq!(ran.get(), 3);
    assert!(looper.run_until(|| ran.get() == 5).unwrap() && !looper.has_quit());
    ticking.cancel();
}

#[test]
fn k4_run_until_says_that_the_looper_has_quit() {
    let looper = TestLooper::new().unwrap();
    looper.post(|looper| looper.quit()).unwrap();

    assert!(!looper.run_until(|| false).unwrap());
    assert!(looper.run_until(|| true).unwrap());
    assert_eq!(panic_of(|| looper.run_until(|| panic!("the condition's"))), "the condition's");
}

#[test]
fn k4_run_until_looks_again_after_a_wake() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (is_done, handle) = (Arc::new(AtomicBool::new(false)), looper.handle());
        let done = is_done.clone();
        let other = thread::spawn(move || {
            until_polling(&handle);
            done.store(true, SeqCst);
            handle.wake().unwrap();
        });

        assert!(looper.run_until(|| is_done.load(SeqCst)).unwrap());
        other.join().unwrap();
    });
}

#[test]
fn k4_run_while_alive_ends_after_the_last_message_and_timer() {
    let looper = TestLooper::new().unwrap();
    assert_eq!(looper.run_while_alive().unwrap().run, 0, "nothing is there");
    let start = looper.now();
    looper.post(|looper| drop(looper.post_delayed(HOUR, |_| ()))).unwrap();
    let mut left = 3;
    let tick = move |_: &Looper| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    looper.post_every(ms(1), tick).unwrap();

    assert_eq!(looper.run_while_alive().unwrap().run, 5);

    assert_eq!(looper.now() - start, HOUR);
    looper.post(|_| ()).unwrap();
    assert_eq!(looper.run_while_alive().unwrap().run, 6, "it goes on");
}

#[test]
fn k4_fds_idle_handlers_and_tasks_keep_it_alive() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (idle, fd, task) = (seen.clone(), seen.clone(), seen.clone());
        let on_idle = move |_: &Looper| {
            idle.borrow_mut().push("idle");
            far.write_all(b"!").unwrap();
            ControlFlow::Break(())
        };
        looper.add_idle(on_idle).unwrap();
        let sleep = looper.sleep(ms(1));
        let callback = move |looper: &Looper, _: &mut UnixStream, _| {
            fd.borrow_mut().push("fd");
            let task = task.clone();
            let sleep = looper.sleep(ms(1));
            let last = async move {
                sleep.await;
                task.borrow_mut().push("task");
            };
            looper.spawn(last).unwrap();
            FdNext::Remove
        };
        looper.add_fd(near, Interest::INPUT, callback).unwrap();
        drop(sleep);

        looper.run_while_alive().unwrap();

        assert_eq!(seen.take(), ["idle", "fd", "task"]);
    });
}

/// It ends at once when another thread takes away the last thing: it would sleep for an hour, or for ever.
#[test]
fn k4_what_another_thread_takes_away_ends_it() {
    watched(|| {
        for what in 0..5 {
            let looper = Looper::new().unwrap();
            let handle = looper.handle();
            let posted = (what == 0).then(|| looper.post_delayed(HOUR, |_| ()).unwrap());
            let handler = looper.handler(|_, _: u32| ());
            if what == 1 {
                handler.send_delayed(HOUR, 1).unwrap();
            }
            let (near, _far) = UnixStream::pair().unwrap();
            let fd = (what == 2).then(|| {
                let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
                source.handle()
            });
            let guard = (what == 3).then(|| handle.keep_alive());
            let task = (what == 4).then(|| looper.handle().spawn(std::future::pending::<()>()).unwrap());
            let other = thread::spawn(move || {
                until_polling(&handle);
                assert!(posted.is_none_or(|posted| posted.cancel()));
                if what == 1 {
                    assert_eq!(handler.remove_if(|message| *message == 1), 1);
                }
                assert!(fd.is_none_or(|fd| fd.remove()));
                drop(guard);
                assert!(task.is_none_or(|task| task.cancel()));
            });

            looper.run_while_alive().unwrap();

            assert!(!looper.has_quit(), "{what}");
            other.join().unwrap();
        }
    });
}

#[test]
fn k4_a_quit_ends_it_whatever_is_left() {
    let looper = Looper::new().unwrap();
    let _guard = looper.handle().keep_alive();
    looper.post_delayed(HOUR, |_| ()).unwrap();
    looper.post(|looper| looper.quit()).unwrap();

    assert_eq!(looper.run_while_alive().unwrap().dropped, 1);
}

#[test]
fn k4_a_guard_keeps_it_going_for_a_post_that_has_still_to_come() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (handle, guard) = (looper.handle(), looper.handle().keep_alive());
        let other = thread::spawn(move || {
            until_polling(&handle);
            handle.post(|_| ()).unwrap();
            drop(guard);
        });

        assert_eq!(looper.run_while_alive().unwrap().run, 1);
        other.join().unwrap();
    });
}

/// Without `run_while_alive`, nobody is woken by a cancel: `run` goes on.
#[test]
fn k4_t14_a_poll_does_not_end_because_nothing_is_left() {
    let looper = TestLooper::new().unwrap();
    looper.run_while_alive().unwrap();
    let start = looper.now();

    assert!(looper.poll_once(ms(10)).unwrap().timed_out);
    assert_eq!(looper.now() - start, ms(10));
}

// local

#[derive(Default)]
struct Count(Cell<u32>);

#[test]
fn l6_a_value_belongs_to_one_looper_and_one_type() {
    #[derive(Default)]
    struct Other(Cell<u32>);
    let (one, two) = (Looper::new().unwrap(), Looper::new().unwrap());
    one.local::<Count>().0.set(1);
    one.local::<Other>().0.set(2);

    assert_eq!((one.local::<Count>().0.get(), one.local::<Other>().0.get()), (1, 2));
    assert_eq!(two.local::<Count>().0.get(), 0);
    assert!(Rc::ptr_eq(&two.local::<Count>(), &two.local()));
}

#[test]
fn l6_l2_it_is_dropped_with_its_looper_after_what_may_ask_for_it() {
    struct Asks(Rc<Looper>, Rc<Cell<u32>>);
    impl Drop for Asks {
        fn drop(&mut self) {
            self.1.set(self.0.local::<Count>().0.get());
        }
    }
    let looper = Rc::new(Looper::new().unwrap());
    looper.local::<Count>().0.set(7);
    let kept = Rc::downgrade(&looper.local::<Count>());
    let seen = Rc::new(Cell::new(0));
    let asks = Asks(looper.clone(), seen.clone());
    let message = looper.post(move |_| drop(asks)).unwrap();
    assert!(message.cancel());
    assert_eq!(seen.get(), 7);

    drop(looper);

    assert!(kept.upgrade().is_none());
}

#[test]
fn l6_x1_a_default_that_panics_or_asks_for_itself_does_no_harm() {
    thread_local! { static LOOPER: RefCell<Option<Rc<Looper>>> = const { RefCell::new(None) }; }
    struct Panics;
    impl Default for Panics {
        fn default() -> Panics {
            panic!("the default's")
        }
    }
    struct Nested(bool);
    impl Default for Nested {
        fn default() -> Nested {
            let looper = LOOPER.take();
            Nested(looper.is_some_and(|looper| !looper.local::<Nested>().0))
        }
    }
    let looper = Rc::new(Looper::new().unwrap());
    assert_eq!(panic_of(|| looper.local::<Panics>()), "the default's");
    assert_eq!(panic_of(|| looper.local::<Panics>()), "the default's");
    LOOPER.set(Some(looper.clone()));

    assert!(!looper.local::<Nested>().0, "the inner one was first");
    assert_eq!(looper.poll_once(Duration::ZERO).unwrap().messages, 0);
}
