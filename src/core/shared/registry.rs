//! The loopers that live, by their ids.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    core::shared::Shared,
    sys::{fork::PerProcess, lock::Mutex},
};

/// Names a looper, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LooperId(u64);

/// The loopers that live: who posts keeps no reference, since counting those would cost more than posting does. A forked
/// child knows none of its parent's.
static LOOPERS: PerProcess<Mutex<HashMap<LooperId, Weak<Shared>>>> = PerProcess::new();

impl LooperId {
    /// The looper, from any thread of the process that made it, as long as it lives.
    pub(crate) fn find(self) -> Option<Arc<Shared>> {
        LOOPERS.get().lock().get(&self)?.upgrade()
    }

    /// All loopers that live, in the order in which they were made.
    #[cfg(feature = "inspect")]
    pub(crate) fn all() -> Vec<Arc<Shared>> {
        let mut all: Vec<_> = LOOPERS.get().lock().values().filter_map(Weak::upgrade).collect();
        all.sort_unstable_by_key(|shared| shared.id);
        all
    }

    /// The number that it is made of.
    #[cfg(feature = "inspect")]
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    pub(super) fn next() -> LooperId {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // Nobody counts to 2^64.
        LooperId(LAST.fetch_add(1, Ordering::Relaxed))
    }

    /// Lets the name be found.
    pub(super) fn list(self, shared: &Arc<Shared>) {
        LOOPERS.get().lock().insert(self, Arc::downgrade(shared));
    }

    /// Lets the name not be found any more.
    pub(super) fn strike(self) {
        LOOPERS.get().lock().remove(&self);
    }
}
