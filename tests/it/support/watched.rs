//! A watchdog: a test that hangs fails.

use std::{
    env, panic,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

/// After this many seconds a test hangs, unless `ALOOPER_WATCHDOG` says so: the sanitizers are slow. Each takes less
/// than one, so that a machine that is busy with a hundred other things is no hang.
const WATCHDOG: u64 = 100;

/// Runs `test` on a thread of its own, and fails if it hangs.
pub(crate) fn watched<R: Send + 'static>(test: impl FnOnce() -> R + Send + 'static) -> R {
    run(Box::new(test))
}

/// Compiled once for each result, rather than for each of the seven hundred tests.
fn run<R: Send + 'static>(test: Box<dyn FnOnce() -> R + Send>) -> R {
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
