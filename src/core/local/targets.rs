//! The handlers' closures.

use std::{
    cell::{Cell, RefCell},
    mem,
};

use crate::{
    core::item::{HandlerFn, HandlerRc},
    mem::{
        drop::drop_each,
        slots::{Key, SecondaryMap},
    },
};

/// The closures of a looper's handlers, by the handlers' keys in the queue's index.
pub(super) struct Targets {
    all: RefCell<SecondaryMap<HandlerRc>>,
    /// The handler whose message ran last, which often is the next one's, too; `None` while it runs.
    latest: Cell<Option<HandlerRc>>,
    /// Which one that is, if there is one.
    latest_key: Cell<Key>,
    /// How often `latest` was given up, for another one or since its closure may have been taken out.
    latest_changes: Cell<u64>,
}

impl Targets {
    pub(super) fn new() -> Targets {
        Targets {
            all: RefCell::default(),
            latest: Cell::default(),
            latest_key: Cell::new(Key::NONE),
            latest_changes: Cell::new(0),
        }
    }

    /// Keeps a handler's closure. Gives what has to be dropped for that.
    #[must_use = "it has to be dropped, with nothing borrowed"]
    pub(super) fn insert(&self, key: Key, target: HandlerRc) -> Option<HandlerRc> {
        let displaced = self.all.borrow_mut().insert(key, target);
        if displaced.is_some() {
            self.forget_latest();
        }
        displaced
    }

    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<HandlerRc> {
        self.all.borrow().get(key).cloned()
    }

    /// Takes out a handler's closure.
    pub(super) fn remove(&self, key: Key) -> Option<HandlerRc> {
        let target = self.all.borrow_mut().remove(key);
        self.forget_latest();
        target
    }

    pub(super) fn take_all(&self) -> impl Iterator<Item = HandlerRc> + use<> {
        self.all.borrow_mut().take_all()
    }

    /// Lets go of the handler whose message ran last, also if it is still running. Drops nothing for good: whoever has
    /// just taken its closure out still has that.
    #[inline]
    pub(super) fn forget_latest(&self) {
        self.latest_changes.set(self.latest_changes.get() + 1);
        self.latest_key.set(Key::NONE);
        self.latest.take();
    }

    /// Takes out the closure of the handler whose message ran last, if that is `key`'s.
    #[inline(always)]
    pub(super) fn take_latest(&self, key: Key) -> Option<HandlerRc> {
        if self.latest_key.get() == key { self.latest.take() } else { None }
    }

    /// Notes that the message that runs is `key`'s.
    #[inline]
    pub(super) fn set_latest(&self, key: Key) {
        self.forget_latest();
        self.latest_key.set(key);
    }

    /// Calls `call` with the closure of the handler whose message runs. It is kept until that has run: what it does may end
    /// the handler.
    #[inline(always)]
    pub(super) fn lend<R>(&self, target: HandlerRc, call: impl FnOnce(&dyn HandlerFn) -> R) -> Option<R> {
        let mut lent = RunningHandler(Some(target));
        let changes = self.latest_changes.get();
        // If it panics, the next message looks for the closure anew.
        let result = call(&***lent.0.as_ref()?);
        // Otherwise some closure was taken out, perhaps this one.
        if self.latest_changes.get() == changes {
            // There is nothing to drop: the place is as it was emptied.
            mem::forget(self.latest.replace(lent.0.take()));
        }
        Some(result)
    }
}

/// A handler's closure while it runs.
struct RunningHandler(Option<HandlerRc>);

impl Drop for RunningHandler {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(target) = self.0.take() {
            let_go(target);
        }
    }
}

/// By value, so that the fast path need not have it in memory.
#[cold]
fn let_go(target: HandlerRc) {
    drop_each([target]);
}
