//! The values of one handler's messages, which the shared queue knows only by their slots.
//!
//! Who takes a message out of the queue owns its value and takes it from here: the queue alone says what is pending. So
//! the lock here is taken with no other one held, and for no longer than a value takes to move.

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
    slots::{Key, Slots},
    sys::sync::Mutex,
};

pub(crate) struct Store<M> {
    pub(crate) shared: Arc<Shared>,
    /// The handler, by the name that the queue has for it.
    pub(crate) target: Key,
    /// `None` while a predicate looks at it.
    values: Mutex<Slots<Option<M>>>,
}

impl<M> Store<M> {
    pub(crate) fn new(shared: &Arc<Shared>, target: Key) -> Arc<Store<M>> {
        Arc::new(Store { shared: shared.clone(), target, values: Mutex::new(Slots::default()) })
    }

    pub(crate) fn put(&self, value: M) -> Key {
        self.values.lock().insert(Some(value))
    }

    /// Takes a value out; `None` if it is gone, or lent to a predicate.
    pub(crate) fn take(&self, slot: Key) -> Option<M> {
        let mut values = self.values.lock();
        values.get(slot)?.as_ref()?;
        values.remove(slot)?
    }

    /// Lends a value to a predicate.
    pub(crate) fn lend(&self, slot: Key) -> Option<M> {
        self.values.lock().get_mut(slot)?.take()
    }

    /// Takes a lent value back.
    pub(crate) fn give_back(&self, slot: Key, value: M) {
        let mut values = self.values.lock();
        let place = values.get_mut(slot).expect("a lent value keeps its slot");
        *place = Some(value);
    }
}

impl<M> Store<M> {
    /// Drops messages that were taken out of the queue because they were cancelled; how many they are.
    pub(crate) fn drop_cancelled(&self, taken: impl IntoIterator<Item = Taken<Item>>) -> usize {
        let taken: Vec<Taken<Item>> = taken.into_iter().collect();
        // Also if a value panics when it is dropped.
        let _end = taken.iter().any(|taken| taken.ends_target).then(|| EndTargets(&self.shared));
        let count = taken.len();
        let slots = taken.into_iter().filter_map(|taken| taken.value.sent()).map(|sent| sent.slot);
        drop_each(slots.filter_map(|slot| self.take(slot)));
        count
    }
}

/// Drops the closures of handlers that are gone for good when it is dropped.
pub(crate) struct EndTargets<'a>(pub(crate) &'a Shared);

impl Drop for EndTargets<'_> {
    fn drop(&mut self) {
        home::drop_ended_targets(self.0);
    }
}

impl<M> Drop for Store<M> {
    fn drop(&mut self) {
        let left = self.values.lock().take_all();
        drop_each(left);
    }
}

impl<M> Debug for Store<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("of", &any::type_name::<M>()).finish_non_exhaustive()
    }
}
