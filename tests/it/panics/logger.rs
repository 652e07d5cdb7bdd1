//! A logger that panics, and one that asks the looper: it is called with nothing locked, and its panic ends where it was
//! called. Each test has a process of its own, which has its own logger.
//!
//! Holds L2, M9, X1, X3, B4, F7, W2.

use std::{
    cell::Cell,
    fs,
    mem::ManuallyDrop,
    ops::ControlFlow,
    os::{fd::AsFd, unix::net::UnixStream},
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper, LooperHandle, Posted};
use nix::unistd::close;

use crate::support::{
    HOUR,
    alone::alone,
    fds::{poll_now, ready_stream},
    forks, ms, panic_of,
};

/// How often it was called.
static LOGGED: AtomicUsize = AtomicUsize::new(0);
/// What it asks of the looper.
static ASKED: OnceLock<(LooperHandle, Posted)> = OnceLock::new();

thread_local! {
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {
        LOGGED.fetch_add(1, Ordering::Relaxed);
        // Nothing that is logged for what it does itself.
        if let Some((handle, posted)) = ASKED.get().filter(|_| !ASKING.replace(true)) {
            _ = (posted.is_pending(), posted.cancel(), handle.len(), handle.dump().to_string());
            _ = handle.post(|_| ());
            ASKING.set(false);
        }
        panic!("logger");
    }

    fn flush(&self) {}
}

/// Runs `body` in a process whose logger panics.
#[track_caller]
fn with_logger(test: &str, body: impl FnOnce() + Send + 'static) {
    alone(test, || {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        body();
    });
}

fn logged() -> usize {
    LOGGED.swap(0, Ordering::Relaxed)
}

/// Panics when it is dropped, and counts that.
#[derive(Default)]
struct Explosive(Arc<AtomicUsize>);

impl Explosive {
    fn hold(&self) {}
}

impl Drop for Explosive {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("explosive");
    }
}

/// What is logged there comes from a thread-local's destructor, which no panic may leave.
#[test]
fn x3_l2_a_thread_ends_with_its_looper_though_what_that_holds_and_the_logger_panic() {
    with_logger("x3_l2_a_thread_ends_with_its_looper_though_what_that_holds_and_the_logger_panic", || {
        let gone_off = Arc::<AtomicUsize>::default();
        let explosive = Explosive(gone_off.clone());
        let thread = thread::spawn(|| {
            let looper = Looper::prepare().unwrap();
            looper.post(move |_| explosive.hold()).map_err(drop).unwrap();
        });

        thread.join().unwrap();

        assert_eq!((gone_off.load(Ordering::Relaxed), logged()), (1, 1));
    });
}

/// X2.
#[test]
fn x3_a_child_prepares_its_looper_though_what_its_parents_holds_and_the_logger_panic() {
    with_logger("x3_a_child_prepares_its_looper_though_what_its_parents_holds_and_the_logger_panic", || {
        let looper = Looper::prepare().unwrap();
        let explosive = Explosive::default();
        let idle = move |_: &Looper| {
            explosive.hold();
            ControlFlow::Continue(())
        };
        looper.add_idle(idle).map_err(drop).unwrap();

        forks::in_child("prepare", || {
            assert!(poll_now(&Looper::prepare().unwrap()).timed_out);
            assert_eq!(logged(), 1);
        });
        std::mem::forget(looper);
    });
}

#[test]
fn x3_a_turn_goes_on_though_the_logger_panics() {
    with_logger("x3_a_turn_goes_on_though_the_logger_panics", || {
        let looper = Looper::builder().slow_dispatch(Duration::ZERO).barrier_alarm(ms(1)).build().unwrap();
        let (near, _far) = ready_stream();
        let dropped = Rc::new(());
        let held = dropped.clone();
        let exchange = move |_: &Looper, source: &mut UnixStream, _| {
            let _ = &held;
            drop(std::mem::replace(source, UnixStream::pair().unwrap().0));
            FdNext::Keep
        };
        let source = looper.add_fd(near, Interest::INPUT, exchange).unwrap();

        assert_eq!((poll_now(&looper).fds, logged()), (1, 2), "it is slow, and its source is another one");
        assert!(!source.is_registered());
        assert_eq!(Rc::strong_count(&dropped), 1, "its source was exchanged");

        // One that will be overdue.
        let barrier = looper.handle().barrier().unwrap();
        while LOGGED.load(Ordering::Relaxed) == 0 {
            looper.poll_once(ms(1)).unwrap();
        }
        logged();
        drop(barrier);
        looper.post(|_| ()).unwrap();
        assert_eq!((poll_now(&looper).messages, logged()), (1, 1));
    });
}

#[test]
fn x3_a_message_that_panics_is_the_panic_that_goes_on_though_it_was_slow_and_the_logger_panics() {
    with_logger("x3_a_message_that_panics_is_the_panic_that_goes_on_though_it_was_slow_and_the_logger_panics", || {
        let looper = Looper::builder().slow_dispatch(Duration::ZERO).build().unwrap();
        looper.post(|_| panic!("message")).unwrap();

        assert_eq!(panic_of(|| poll_now(&looper)), "message");

        assert_eq!(logged(), 1);
        looper.post(|_| ()).unwrap();
        assert_eq!(poll_now(&looper).messages, 1);
    });
}

/// A looper that says so in the log when it has to be woken: its eventfd was closed from outside. It must not be dropped.
fn cannot_be_woken() -> ManuallyDrop<Looper> {
    let numbers = || {
        let entries = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap());
        let is_eventfd = |entry: &fs::DirEntry| {
            fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().contains("[eventfd]"))
        };
        let eventfds = entries.filter(is_eventfd);
        eventfds.map(|entry| entry.file_name().to_str().unwrap().parse::<i32>().unwrap()).collect::<Vec<_>>()
    };
    let before = numbers();
    let looper = ManuallyDrop::new(Looper::new().unwrap());
    let own = numbers().into_iter().find(|number| !before.contains(number)).unwrap();
    // Hosted: it sleeps between the polls.
    _ = looper.as_fd();
    close(own).unwrap();
    looper
}

#[test]
fn x3_a_guard_that_goes_while_a_panic_unwinds_may_log_though_the_logger_panics() {
    with_logger("x3_a_guard_that_goes_while_a_panic_unwinds_may_log_though_the_logger_panics", || {
        let looper = cannot_be_woken();
        let barrier = looper.handle().barrier().unwrap();
        looper.post(|_| ()).unwrap();
        logged();

        let panic = panic_of(|| {
            let _barrier = barrier;
            panic!("scope")
        });

        assert_eq!((panic, logged()), ("scope", 1));
        // So may a poll that ends by a panic, and tells its host to come again.
        looper.post(|_| panic!("message")).unwrap();
        looper.post(|_| ()).unwrap();
        logged();
        let until_it_panics = || while !looper.poll_once(Duration::ZERO).unwrap().timed_out {};
        assert_eq!(panic_of(until_it_panics), "message");
        assert!(logged() > 0);
    });
}

/// M9: the logger is called with nothing locked, whoever cannot wake the looper.
#[test]
fn m9_a_logger_may_ask_and_cancel_what_is_being_cancelled() {
    with_logger("m9_a_logger_may_ask_and_cancel_what_is_being_cancelled", || {
        let looper = cannot_be_woken();
        let handle = looper.handle();
        let kept = Rc::new(Cell::new(0));
        let tick = move |_: &Looper| {
            kept.set(1);
            ControlFlow::Continue(())
        };
        let posted = looper.post_every(HOUR, tick).unwrap();
        logged();
        ASKED.set((handle, posted.clone())).ok().unwrap();

        // It has to be dropped at home, for which the looper is woken.
        let (told, is_told) = mpsc::channel();
        thread::spawn(move || told.send(posted.cancel()).unwrap());

        assert!(is_told.recv().unwrap());
        assert!(logged() > 0);
    });
}
