//! Who waits for tasks, on whatever thread, and is released when the looper quits (A4).

use std::sync::{Arc, Weak};

use super::Waiting;
use crate::{
    mem::{
        drop::caught,
        slots::{Key, Slots},
    },
    sys::sync::Mutex,
};

/// A forked child does not lock this.
#[derive(Debug)]
pub(crate) struct Joins(Mutex<State>);

#[derive(Debug)]
struct State {
    waiting: Slots<Weak<dyn Waiting>>,
    /// No task is polled any more: who comes later need not wait.
    is_over: bool,
}

impl Joins {
    pub(crate) fn new() -> Joins {
        Joins(Mutex::new(State { waiting: Slots::default(), is_over: false }))
    }

    /// Notes that somebody waits for `task`. Gives the key to take that back by; `None` if no task is polled any more.
    pub(crate) fn note(&self, task: &Arc<impl Waiting + 'static>) -> Option<Key> {
        let task: Weak<dyn Waiting> = Arc::downgrade(task) as _;
        let mut state = self.0.lock();
        (!state.is_over).then(|| state.waiting.insert(task))
    }

    /// Forgets somebody who has waited.
    pub(crate) fn forget(&self, key: Key) {
        let forgotten = self.0.lock().waiting.remove(key);
        drop(forgotten);
    }

    /// Releases all who wait, and whoever comes later: no task is polled any more.
    pub(crate) fn end(&self) {
        let waiting = {
            let mut state = self.0.lock();
            state.is_over = true;
            state.waiting.take_all()
        };
        // A waker may be a user's, and panic: that must not keep the others waiting.
        waiting.iter().filter_map(Weak::upgrade).for_each(|task| _ = caught(|| task.give_up()));
    }
}
