//! What becomes of a handler's messages that were taken out of the queue.

use crate::{
    core::{item::Item, local, shared::Shared},
    mem::{
        drop::drop_each,
        letter::{Letter, Passport},
    },
    queue::Taken,
};

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
        local::drop_ended_targets(self.0);
    }
}
