//! What several test files need: ways to meet another thread without sleeping, and what a panic says.

pub(crate) mod alone;
#[cfg(feature = "signals")]
pub(crate) mod blocked;
pub(crate) mod calls;
pub(crate) mod codes;
pub(crate) mod costs;
pub(crate) mod counters;
pub(crate) mod diary;
pub(crate) mod dice;
mod elsewhere;
pub(crate) mod fds;
pub(crate) mod forks;
pub(crate) mod handlers;
pub(crate) mod host;
pub(crate) mod idles;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod recorder;
pub(crate) mod rest;
pub(crate) mod rounds;
#[cfg(feature = "async")]
pub(crate) mod tasks;
pub(crate) mod threads;
pub(crate) mod timed;
mod watched;

use std::{
    panic::{self, AssertUnwindSafe},
    thread,
    time::{Duration, Instant},
};

use alooper::LooperHandle;

pub(crate) use elsewhere::Elsewhere;
pub(crate) use watched::watched;

/// Longer than any test.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Waits until the looper's thread waits in epoll.
pub(crate) fn until_polling(handle: &LooperHandle) {
    while !handle.is_polling() {
        thread::yield_now();
    }
}

/// Lets other threads run for a millisecond, or, on a busy machine, once: for what a test gives the time to go wrong,
/// and waits for no end of. A number of yields would not do, since each may take tens of milliseconds there.
#[allow(clippy::disallowed_methods, reason = "it bounds what the test does, and no assertion depends on it")]
pub(crate) fn give_way() {
    let begun = Instant::now();
    while begun.elapsed() < ms(1) {
        thread::yield_now();
    }
}

/// The panic of `action`.
#[track_caller]
pub(crate) fn panic_of<T>(action: impl FnOnce() -> T) -> &'static str {
    match panic::catch_unwind(AssertUnwindSafe(action)) {
        Ok(_) => panic!("it did not panic"),
        Err(panic) => panic.downcast_ref::<&'static str>().expect("a panic of this test"),
    }
}

/// `count` milliseconds.
pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
