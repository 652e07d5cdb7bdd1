//! Who waits for something of the looper's, on whatever thread, and is released when that cannot come any more (S3, A4, K2).

use std::sync::{Arc, Weak};

use crate::{
    mem::{
        drop::caught,
        slots::{Key, Slots},
    },
    sys::sync::Mutex,
};

/// Somebody who waits.
pub(crate) trait Waiting: Send + Sync {
    /// Lets it wait no longer, unless what it waits for has begun.
    fn give_up(&self);
}

/// Those who wait for one kind of thing. A forked child does not lock this.
#[derive(Debug)]
pub(crate) struct Waiters(Mutex<State>);

#[derive(Debug)]
struct State {
    waiting: Slots<Weak<dyn Waiting>>,
    /// Nothing comes any more: who comes later need not wait.
    is_over: bool,
}

impl Waiters {
    pub(crate) fn new() -> Waiters {
        Waiters(Mutex::new(State { waiting: Slots::default(), is_over: false }))
    }

    /// Notes somebody who waits. Gives the key to take that back by; `None` if nothing comes any more.
    pub(crate) fn note(&self, waiting: &Arc<impl Waiting + 'static>) -> Option<Key> {
        let waiting: Weak<dyn Waiting> = Arc::downgrade(waiting) as _;
        let mut state = self.0.lock();
        (!state.is_over).then(|| state.waiting.insert(waiting))
    }

    /// Forgets somebody who has waited.
    pub(crate) fn forget(&self, key: Key) {
        let forgotten = self.0.lock().waiting.remove(key);
        drop(forgotten);
    }

    /// Releases all who wait, and whoever comes later: nothing comes any more.
    pub(crate) fn end(&self) {
        let waiting = {
            let mut state = self.0.lock();
            state.is_over = true;
            state.waiting.take_all()
        };
        // A waker may be a user's, and panic: that must not keep the others waiting.
        waiting.iter().filter_map(Weak::upgrade).for_each(|one| _ = caught(|| one.give_up()));
    }
}
