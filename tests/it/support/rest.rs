//! Whether a looper comes to rest: what its thread has logged, and whether it sleeps.

use std::{
    cell::RefCell,
    env,
    io::Write,
    os::{fd::AsFd, unix::net::UnixStream},
    panic::Location,
    sync::Once,
    thread,
    time::Duration,
};

use alooper::{Events, FdNext, FdSource, Interest, Looper};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

use crate::support::until_polling;

thread_local! {
    /// What was logged on this thread as a warning or worse.
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            // A thread that ends has none any more.
            _ = LOGGED.try_with(|logged| logged.borrow_mut().push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// The warnings of this thread since the last call; they are kept from the first call on.
pub(crate) fn warnings() -> Vec<String> {
    static SET: Once = Once::new();
    SET.call_once(|| {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
    LOGGED.take()
}

/// A looper whose warnings are kept.
pub(crate) fn logged_looper() -> Looper {
    warnings();
    Looper::new().unwrap()
}

/// Asserts that this thread was warned exactly once, and of what was added at `place`.
#[track_caller]
pub(crate) fn assert_warned_once_of(place: &str) {
    let warnings = warnings();
    assert!(warnings.len() == 1 && warnings[0].contains(place), "{warnings:?} of {place}");
}

#[track_caller]
pub(crate) fn assert_not_warned() {
    assert_eq!(warnings(), [""; 0]);
}

/// Asserts that a wait for nothing is a sleep, and not a spin: for 50 ms, or as many as `ALOOPER_SLEEP` says, since
/// under valgrind what runs for the first time takes that long.
#[track_caller]
pub(crate) fn assert_sleeps(looper: &Looper) {
    fn microseconds_on_cpu() -> i64 {
        let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
    }

    let sleep = env::var("ALOOPER_SLEEP").ok().and_then(|sleep| sleep.parse().ok()).unwrap_or(50_u32);
    let before = microseconds_on_cpu();
    let turn = looper.poll_once(Duration::from_millis(sleep.into())).unwrap();
    let spent = microseconds_on_cpu() - before;

    assert!(turn.timed_out, "{turn:?}");
    assert!(spent < i64::from(sleep) * 200, "awake for {spent} us of {sleep} ms");
}

/// In this many waits at most does an fd that died keep its looper busy (C14).
pub(crate) const PATIENCE: usize = 100;

/// How often the epoll set was made anew, while an fd that died may keep the looper busy.
pub(crate) fn count_rebuilds(looper: &Looper) -> usize {
    (0..PATIENCE).filter(|_| looper.poll_once(Duration::ZERO).unwrap().rebuilt).count()
}

/// Asserts that messages, timers, wakes and fds work, and that the looper sleeps when there is nothing to do.
#[track_caller]
pub(crate) fn assert_works(looper: &Looper) {
    let (near, mut far) = UnixStream::pair().unwrap();
    let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
    looper.post_delayed(Duration::from_millis(1), move |_| far.write_all(b"x").unwrap()).unwrap();
    assert_eq!(looper.poll_once(None).unwrap().messages, 1);
    assert_eq!(looper.poll_once(None).unwrap().fds, 1);
    assert!(!source.is_registered());

    let handle = looper.handle();
    let waker = thread::spawn(move || {
        until_polling(&handle);
        handle.wake().unwrap();
    });
    assert!(looper.poll_once(None).unwrap().woken);
    waker.join().unwrap();
    assert_sleeps(looper);
}

/// Watches `source` for input, and gives the place of the call as it stands in the log.
#[track_caller]
pub(crate) fn watch<S, F>(looper: &Looper, source: S, callback: F) -> (FdSource<S>, String)
where
    S: AsFd + 'static,
    F: FnMut(&Looper, &mut S, Events) -> FdNext + 'static,
{
    let place = Location::caller();
    let source = looper.add_fd(source, Interest::INPUT, callback).unwrap();
    (source, format!("{}:{}", place.file(), place.line()))
}
