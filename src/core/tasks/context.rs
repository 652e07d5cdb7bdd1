//! Who does a wake: a message, or whoever causes it.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    thread,
};

use crate::{core::shared::LooperId, mem::slots::Key};

thread_local! {
    static DIRECT: Cell<Direct> = const { Cell::new(Direct::Closed) };
}

/// Whether a wake on this thread is to be done by whoever causes it (A3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direct {
    /// Each wake is a message.
    Closed,
    /// The next wake of a task of this looper is for whoever has opened this: it polls the task when the wake has
    /// returned. Not inside the wake, where a waker of the user's may have something locked.
    Open(LooperId),
    /// So it was with this task's.
    Taken(Key),
}

/// Runs `wake`. Gives the first task of the looper `id` that it wakes, for the caller to poll, and its panic.
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
    DIRECT.with(|direct| {
        let is_open = direct.get() == Direct::Open(id);
        if is_open {
            direct.set(Direct::Taken(key));
        }
        is_open
    })
}
