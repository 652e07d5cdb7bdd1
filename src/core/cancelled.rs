//! What becomes of a handler's messages that were taken out of the queue.

use crate::{
    core::{item::Body, local, shared::Shared},
    looper::Looper,
    mem::{drop::drop_each, erased::TypeToken},
    queue::Taken,
};

/// Drops messages that were taken out of the queue because they were cancelled; how many they are.
pub(crate) fn drop_cancelled<M: 'static>(
    shared: &Shared,
    of: TypeToken<M>,
    taken: impl IntoIterator<Item = Taken<Looper>>,
) -> usize {
    let taken: Vec<Taken<Looper>> = taken.into_iter().collect();
    // Also if a value panics when it is dropped.
    let _end = taken.iter().any(|taken| taken.ends_target).then(|| EndTargets(shared));
    let count = taken.len();
    // Who looks at a message has it, and drops it.
    if const { Body::has_room_for::<M>() } {
        drop_each(taken.into_iter().filter_map(|mut taken| taken.body.open(of)));
    } else {
        drop_each(taken.into_iter().filter_map(|mut taken| taken.body.open_boxed(of)));
    }
    count
}

/// Drops the closures of handlers that are gone for good when it is dropped.
pub(crate) struct EndTargets<'a>(pub(crate) &'a Shared);

impl Drop for EndTargets<'_> {
    fn drop(&mut self) {
        local::drop_ended_targets(self.0);
    }
}
