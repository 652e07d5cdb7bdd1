//! What shows that a handler thread has ended.

use std::cell::RefCell;

use alooper::{LooperHandle, RejectReason};

use crate::support::{give_way, handlers::Told};

/// Takes its time to be dropped, so that who does not wait for it misses it.
pub(crate) struct Slow(#[expect(dead_code, reason = "it tells when it is dropped")] pub(crate) Told);

impl Drop for Slow {
    fn drop(&mut self) {
        give_way();
    }
}

thread_local! {
    /// What a thread holds until it ends.
    pub(crate) static HELD: RefCell<Option<Slow>> = const { RefCell::new(None) };
}

#[track_caller]
pub(crate) fn assert_gone(handle: &LooperHandle) {
    assert_eq!(handle.post(|_| ()).unwrap_err().reason(), RejectReason::Dropped);
}
