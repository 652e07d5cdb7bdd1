//! What several test files need: a watchdog, ways to meet another thread without sleeping, and what a panic says.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it, from its root")]

use std::{
    env,
    panic::{self, AssertUnwindSafe},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use alooper::{Looper, LooperHandle};

/// After this many seconds a test hangs, unless `ALOOPER_WATCHDOG` says so: the sanitizers are slow. Each takes less
/// than one, so that a machine that is busy with a hundred other things is no hang.
const WATCHDOG: u64 = 100;

/// Runs `test` on a thread of its own, and fails if it hangs.
pub fn watched<R: Send + 'static>(test: impl FnOnce() -> R + Send + 'static) -> R {
    let patience = env::var("ALOOPER_WATCHDOG").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(WATCHDOG);
    let (done, is_done) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _done = done;
        test()
    });
    if is_done.recv_timeout(Duration::from_secs(patience)) == Err(RecvTimeoutError::Timeout) {
        panic!("the test hangs");
    }
    thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
}

/// Waits until the looper's thread waits in epoll.
pub fn until_polling(handle: &LooperHandle) {
    while !handle.is_polling() {
        thread::yield_now();
    }
}

/// Lets other threads run for a millisecond, or, on a busy machine, once: for what a test gives the time to go wrong,
/// and waits for no end of. A number of yields would not do, since each may take tens of milliseconds there.
#[allow(clippy::disallowed_methods, reason = "it bounds what the test does, and no assertion depends on it")]
pub fn give_way() {
    let begun = Instant::now();
    while begun.elapsed() < ms(1) {
        thread::yield_now();
    }
}

/// A looper that runs on a thread of its own until it quits.
pub struct Elsewhere {
    pub handle: LooperHandle,
    thread: thread::JoinHandle<alooper::ExitReport>,
}

impl Elsewhere {
    /// Starts the looper after `prepare` has set it up.
    pub fn run(prepare: impl FnOnce(&Looper) + Send + 'static) -> Elsewhere {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            let looper = Looper::new().unwrap();
            prepare(&looper);
            sender.send(looper.handle()).unwrap();
            looper.run().unwrap()
        });
        Elsewhere { handle: receiver.recv().unwrap(), thread }
    }

    /// Waits for the looper to quit.
    pub fn join(self) -> alooper::ExitReport {
        self.thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    }
}

/// The panic of `action`.
#[track_caller]
pub fn panic_of<T>(action: impl FnOnce() -> T) -> &'static str {
    match panic::catch_unwind(AssertUnwindSafe(action)) {
        Ok(_) => panic!("it did not panic"),
        Err(panic) => panic.downcast_ref::<&'static str>().expect("a panic of this test"),
    }
}

/// `count` milliseconds.
pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
