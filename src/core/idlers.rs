//! The idle handlers of a looper, on its thread: which of them have still to run, and what they are.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    mem,
    ops::ControlFlow,
};

use crate::{core::activity::Kind, looper::Looper, mem::drop::drop_each, queue::message::Origin};

/// An idle handler. It answers `None` if it was removed and did not run.
pub(crate) type IdleCallback = Box<dyn FnMut(&Looper) -> Option<ControlFlow<()>>>;

/// Keeps idle handlers, in the order in which they were added, by a number that says so.
#[derive(Default)]
pub(crate) struct Idlers {
    entries: RefCell<BTreeMap<u64, Entry>>,
    /// How many messages had begun when all entries had run; `None` if some have still to.
    rested: Cell<Option<u64>>,
}

struct Entry {
    /// `None` while it runs.
    callback: Option<IdleCallback>,
    /// How many messages had begun when it ran last.
    ran: Option<u64>,
    /// Where it was added.
    place: Origin,
}

impl Idlers {
    /// Whether some handler has to run when the looper, of which so many messages have `begun`, is idle.
    #[inline]
    pub(crate) fn is_any_due(&self, begun: u64) -> bool {
        self.rested.get() != Some(begun) && !self.entries.borrow().is_empty()
    }

    pub(crate) fn insert(&self, id: u64, callback: IdleCallback, place: Origin) {
        self.entries.borrow_mut().insert(id, Entry { callback: Some(callback), ran: None, place });
        self.rested.set(None);
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.entries.borrow().contains_key(&id)
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

    /// Runs each handler that has not run since the last of the messages that have `begun`, for as long as `may_go_on`.
    /// Gives how many ran. One that is added meanwhile waits for the next round.
    ///
    /// A panic removes the handler and goes on; those after it wait for the next round.
    pub(crate) fn run(&self, looper: &Looper, begun: u64, may_go_on: impl Fn() -> bool) -> usize {
        let round: Vec<u64> = self.entries.borrow().keys().copied().collect();
        let mut count = 0;
        for id in round {
            if !may_go_on() {
                break;
            }
            count += usize::from(self.run_one(id, begun, looper));
        }
        let have_all_run = self.entries.borrow().values().all(|entry| entry.ran == Some(begun));
        self.rested.set(have_all_run.then_some(begun));
        count
    }

    /// Runs a handler unless it has run since the last message. Whether it did.
    fn run_one(&self, id: u64, begun: u64, looper: &Looper) -> bool {
        let taken = {
            let mut entries = self.entries.borrow_mut();
            let due = entries.get_mut(&id).filter(|entry| entry.ran != Some(begun));
            due.and_then(|entry| {
                entry.ran = Some(begun);
                Some((entry.callback.take()?, entry.place))
            })
        };
        let Some((callback, place)) = taken else {
            return false;
        };
        let mut run = Run { idlers: self, id, callback: Some(callback), next: ControlFlow::Break(()) };
        let next = looper.run_inside(Kind::Idle, place, || run.callback.as_mut().and_then(|callback| callback(looper)));
        run.next = next.unwrap_or(ControlFlow::Break(()));
        next.is_some()
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
    next: ControlFlow<()>,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let Some(callback) = self.callback.take() else {
            return;
        };
        match self.next {
            ControlFlow::Continue(()) => self.idlers.put_back(self.id, callback),
            ControlFlow::Break(()) => {
                self.idlers.remove(self.id);
                drop_each([callback]);
            }
        }
    }
}
