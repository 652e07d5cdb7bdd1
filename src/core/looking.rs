//! Whether this thread is in a predicate that looks at a message.

use std::cell::Cell;

thread_local! {
    /// How many predicates this thread is in.
    static LOOKING: Cell<usize> = const { Cell::new(0) };
}

/// A predicate that runs on this thread.
pub(crate) struct Looking;

impl Looking {
    pub(crate) fn begin() -> Looking {
        let _ = LOOKING.try_with(|count| count.set(count.get() + 1));
        Looking
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        let _ = LOOKING.try_with(|count| count.set(count.get() - 1));
    }
}

/// Whether this thread is in a predicate, and must not wait for a looper.
pub(crate) fn is_looking() -> bool {
    LOOKING.try_with(|count| count.get() > 0).unwrap_or(false)
}
