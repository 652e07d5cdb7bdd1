//! The idle handlers of a looper, on its thread: which of them have still to run, and what they are.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    mem,
};

use crate::{
    drops::{drop_each, drop_quietly},
    looper::Looper,
};

/// What becomes of an idle handler after it has run: what it returns.
///
/// # Android
/// The `true` and `false` of `IdleHandler.queueIdle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleNext {
    /// Keeps it: it runs again when the looper falls idle anew.
    Keep,
    /// Removes it, and drops the closure.
    Remove,
}

/// An idle handler. It answers `None` if it was removed and did not run.
pub(crate) type IdleCallback = Box<dyn FnMut(&Looper) -> Option<IdleNext>>;

/// Keeps idle handlers, in the order in which they were added, by a number that says so.
#[derive(Default)]
pub(crate) struct Idlers {
    entries: RefCell<BTreeMap<u64, Entry>>,
    /// How often there was something to do.
    busy: Cell<u64>,
    /// As `busy` was when all entries had run.
    rested: Cell<u64>,
}

struct Entry {
    /// `None` while it runs.
    callback: Option<IdleCallback>,
    /// As `busy` was when it ran last.
    ran: Option<u64>,
}

impl Idlers {
    /// Notes that there was something to do: the looper has to fall idle anew.
    pub(crate) fn note_work(&self) {
        self.busy.set(self.busy.get() + 1);
    }

    /// Whether some handler has to run when the looper is idle.
    pub(crate) fn is_any_due(&self) -> bool {
        self.rested.get() != self.busy.get() && !self.entries.borrow().is_empty()
    }

    pub(crate) fn insert(&self, id: u64, callback: IdleCallback) {
        self.entries.borrow_mut().insert(id, Entry { callback: Some(callback), ran: None });
        // What is new has to run though the others have rested.
        self.rested.set(u64::MAX);
    }

    /// Takes a handler out; one that runs is dropped after that.
    pub(crate) fn remove(&self, id: u64) -> Option<IdleCallback> {
        self.entries.borrow_mut().remove(&id)?.callback
    }

    /// Takes out everything, to drop it.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = IdleCallback> + use<> {
        let entries = mem::take(&mut *self.entries.borrow_mut());
        entries.into_values().filter_map(|entry| entry.callback)
    }

    /// Takes the first handler after `last` that has not run since there was something to do.
    fn take_next(&self, last: Option<u64>) -> Option<(u64, IdleCallback)> {
        let busy = self.busy.get();
        let mut entries = self.entries.borrow_mut();
        let later = entries.range_mut(last.map_or(0, |last| last + 1)..);
        for (id, entry) in later {
            if entry.ran != Some(busy)
                && let Some(callback) = entry.callback.take()
            {
                entry.ran = Some(busy);
                return Some((*id, callback));
            }
        }
        None
    }

    /// Runs each handler that has not run since there was something to do, for as long as `may_go_on`. Gives how many
    /// ran.
    ///
    /// A panic removes the handler and goes on.
    pub(crate) fn run(&self, looper: &Looper, may_go_on: impl Fn() -> bool) -> usize {
        self.rested.set(self.busy.get());
        let mut count = 0;
        let mut last = None;
        while may_go_on()
            && let Some((id, callback)) = self.take_next(last)
        {
            last = Some(id);
            let mut run = Run { idlers: self, id, callback: Some(callback), next: IdleNext::Remove };
            if let Some(next) = run.callback.as_mut().and_then(|callback| callback(looper)) {
                run.next = next;
                count += 1;
            }
        }
        count
    }

    /// Puts a handler back, or drops it if it was removed meanwhile.
    fn put_back(&self, id: u64, callback: IdleCallback) {
        let mut entries = self.entries.borrow_mut();
        match entries.get_mut(&id) {
            Some(entry) => entry.callback = Some(callback),
            None => {
                drop(entries);
                drop_each([callback]);
            }
        }
    }
}

/// A handler that runs. It is removed unless it says otherwise.
struct Run<'a> {
    idlers: &'a Idlers,
    id: u64,
    callback: Option<IdleCallback>,
    next: IdleNext,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let Some(callback) = self.callback.take() else {
            return;
        };
        match self.next {
            IdleNext::Keep => self.idlers.put_back(self.id, callback),
            IdleNext::Remove => {
                self.idlers.remove(self.id);
                if std::thread::panicking() {
                    drop_quietly(callback);
                } else {
                    drop_each([callback]);
                }
            }
        }
    }
}
