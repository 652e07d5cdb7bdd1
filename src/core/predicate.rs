//! Whether this thread is in a predicate that looks at a message.

use std::cell::Cell;

thread_local! {
    /// How many predicates this thread is in.
    static IN_PREDICATE: Cell<usize> = const { Cell::new(0) };
}

/// A predicate that runs on this thread.
pub(crate) struct InPredicate;

impl InPredicate {
    pub(crate) fn begin() -> InPredicate {
        let _ = IN_PREDICATE.try_with(|count| count.set(count.get() + 1));
        InPredicate
    }
}

impl Drop for InPredicate {
    fn drop(&mut self) {
        let _ = IN_PREDICATE.try_with(|count| count.set(count.get() - 1));
    }
}

/// Whether this thread is in a predicate, and must not wait for a looper.
pub(crate) fn in_predicate() -> bool {
    IN_PREDICATE.try_with(|count| count.get() > 0).unwrap_or(false)
}
