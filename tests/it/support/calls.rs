//! Calls that are queued, and what became of them.

use std::thread::{self, JoinHandle};

use alooper::{CallError, Looper, LooperHandle};

/// What a call comes to whose closure and value are told of.
pub(crate) type Outcome<T> = Result<T, CallError<Box<dyn FnOnce(&Looper) -> T + Send>>>;

/// Calls from a thread of its own, and returns when the call is queued.
pub(crate) fn queued_call<T: Send + 'static>(
    handle: &LooperHandle,
    callback: impl FnOnce(&Looper) -> T + Send + 'static,
) -> JoinHandle<Outcome<T>> {
    let before = handle.message_counts().posted;
    let caller = thread::spawn({
        let handle = handle.clone();
        move || handle.call(Box::new(callback) as Box<dyn FnOnce(&Looper) -> T + Send>)
    });
    while handle.message_counts().posted == before {
        thread::yield_now();
    }
    caller
}

#[track_caller]
pub(crate) fn assert_account(handle: &LooperHandle, posted: u64, run: u64, removed: u64, dropped: u64) {
    let report = handle.message_counts();
    assert_eq!((report.posted, report.run, report.removed, report.dropped), (posted, run, removed, dropped));
}
