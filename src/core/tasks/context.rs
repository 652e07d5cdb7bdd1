//! What is going on with tasks on the calling thread.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    thread,
};

use crate::{core::shared::LooperId, mem::slots::Key, queue::message::Origin};

thread_local! {
    /// The task that is being polled.
    static POLLED: Cell<Option<Polled>> = const { Cell::new(None) };
    static DIRECT: Cell<Direct> = const { Cell::new(Direct::Closed) };
}

/// A task that is being polled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polled {
    pub(crate) looper: LooperId,
    /// Barriers do not hold it up.
    pub(crate) asynchronous: bool,
    /// Where it was spawned.
    pub(crate) origin: Origin,
}

/// Whether a wake is to be done by whoever causes it (A3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direct {
    /// Each wake is a message.
    Closed,
    /// The next wake of a task of this looper is for whoever has opened this: it polls the task when the wake has
    /// returned. Not inside the wake, where a waker of the user's may have something locked.
    Open(LooperId),
    /// So it was with this task's.
    Taken(Key),
}

/// Puts things back when it is dropped.
pub(crate) struct Restore<T: 'static>(fn(T), Option<T>);

impl<T> Drop for Restore<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(before) = self.1.take() {
            (self.0)(before);
        }
    }
}

/// Notes that `task` is being polled, until what this gives is dropped. What it wakes meanwhile is a message.
#[inline]
pub(crate) fn polling(task: Polled) -> Restore<(Option<Polled>, Direct)> {
    let before = (POLLED.replace(Some(task)), DIRECT.replace(Direct::Closed));
    Restore(
        |(polled, direct)| {
            POLLED.set(polled);
            DIRECT.set(direct);
        },
        Some(before),
    )
}

/// The task that is being polled, if it is one of the looper `id`.
#[inline]
pub(crate) fn polled_by(id: LooperId) -> Option<Polled> {
    POLLED.get().filter(|polled| polled.looper == id)
}

/// Lets the next wake of a task of the looper `id` be done by the caller, while `wake` runs. Gives that task, and the
/// panic of the user's waker, if there is one.
#[inline]
pub(crate) fn directly(id: LooperId, wake: impl FnOnce()) -> (Option<Key>, thread::Result<()>) {
    let before = DIRECT.replace(Direct::Open(id));
    let result = panic::catch_unwind(AssertUnwindSafe(wake));
    match DIRECT.replace(before) {
        Direct::Taken(key) => (Some(key), result),
        Direct::Open(_) | Direct::Closed => (None, result),
    }
}

/// Whether the wake of the task `key` is done by somebody on this thread.
#[inline]
pub(crate) fn leave_to_direct(id: LooperId, key: Key) -> bool {
    let is_open = DIRECT.get() == Direct::Open(id);
    if is_open {
        DIRECT.set(Direct::Taken(key));
    }
    is_open
}
