//! Who a handler's messages are for: which handler of which looper, and the passport that seals and opens them.

use std::{
    any,
    fmt::{self, Debug, Formatter},
    sync::Arc,
};

use crate::{
    drops::drop_each,
    home,
    item::Item,
    queue::Taken,
    shared::Shared,
    slots::Key,
    sys::letter::{Letter, Passport},
};

pub(crate) struct Recipient<M> {
    pub(crate) shared: Arc<Shared>,
    /// The handler, by the name that the queue has for it.
    pub(crate) target: Key,
    /// Whoever has it may have an `M` on this thread.
    pub(crate) passport: Passport<M>,
}

impl<M> Recipient<M> {
    pub(crate) fn new(shared: &Arc<Shared>, target: Key) -> Arc<Recipient<M>> {
        Arc::new(Recipient { shared: shared.clone(), target, passport: Passport::issue() })
    }
}

impl<M> Debug for Recipient<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient").field("of", &any::type_name::<M>()).finish_non_exhaustive()
    }
}

/// Drops messages that were taken out of the queue because they were cancelled; how many they are.
pub(crate) fn drop_cancelled<M: 'static>(
    shared: &Shared,
    passport: Passport<M>,
    taken: impl IntoIterator<Item = Taken<Item>>,
) -> usize {
    let taken: Vec<Taken<Item>> = taken.into_iter().collect();
    // Also if a value panics when it is dropped.
    let _end = taken.iter().any(|taken| taken.ends_target).then(|| EndTargets(shared));
    let count = taken.len();
    // Who looks at a message has it, and drops it.
    if const { Letter::has_room_for::<M>() } {
        drop_each(taken.into_iter().filter_map(|mut taken| taken.value.letter()?.open(passport)));
    } else {
        drop_each(taken.into_iter().filter_map(|mut taken| taken.value.letter()?.open_boxed(passport)));
    }
    count
}

/// Drops the closures of handlers that are gone for good when it is dropped.
pub(crate) struct EndTargets<'a>(pub(crate) &'a Shared);

impl Drop for EndTargets<'_> {
    fn drop(&mut self) {
        home::drop_ended_targets(self.0);
    }
}
