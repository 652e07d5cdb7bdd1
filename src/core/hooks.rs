//! The hooks of a looper, on its thread: callbacks that run before each wait and after it, in the order in which they
//! were added.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    mem,
};

use crate::{core::activity::Kind, looper::Looper, mem::drop::drop_each, queue::message::Origin};

/// What a [`before_wait`](Looper::before_wait) hook says of the wait that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The looper may block until something happens.
    MayBlock,
    /// The looper looks at its fds without blocking, and goes on with the turn.
    DontBlock,
}

/// The hooks of a looper.
#[derive(Default)]
pub(crate) struct WaitHooks {
    pub(crate) before: Hooks<Wait>,
    pub(crate) after: Hooks<()>,
}

impl WaitHooks {
    /// Takes out all hooks, to drop them.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = Dropped> + use<> {
        let before = self.before.take_all().map(Dropped::Before);
        before.chain(self.after.take_all().map(Dropped::After))
    }

    /// Removes and drops a hook; whether it was there.
    pub(crate) fn remove(&self, id: u64) -> bool {
        let (before, after) = (self.before.remove(id), self.after.remove(id));
        let was_there = before.is_some() || after.is_some();
        let after = after.flatten().map(Dropped::After);
        drop_each(before.flatten().map(Dropped::Before).into_iter().chain(after));
        was_there
    }
}

/// A hook that is to be dropped.
pub(crate) enum Dropped {
    Before(#[expect(dead_code, reason = "is dropped")] HookCallback<Wait>),
    After(#[expect(dead_code, reason = "is dropped")] HookCallback<()>),
}

/// A hook. It is lent the looper.
pub(crate) type HookCallback<R> = Box<dyn FnMut(&Looper) -> R>;

struct Entry<R: 'static> {
    /// `None` while it runs.
    callback: Option<HookCallback<R>>,
    /// Where it was added.
    place: Origin,
}

/// The hooks of one moment, by a number that says in which order they were added.
pub(crate) struct Hooks<R: 'static> {
    entries: RefCell<BTreeMap<u64, Entry<R>>>,
    /// Looked at in each turn.
    is_empty: Cell<bool>,
}

impl<R> Default for Hooks<R> {
    fn default() -> Self {
        Hooks { entries: RefCell::default(), is_empty: Cell::new(true) }
    }
}

impl<R> Hooks<R> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty.get()
    }

    pub(crate) fn insert(&self, id: u64, callback: HookCallback<R>, place: Origin) {
        self.entries.borrow_mut().insert(id, Entry { callback: Some(callback), place });
        self.is_empty.set(false);
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.entries.borrow().contains_key(&id)
    }

    /// Takes a hook out, to drop it: one that runs is dropped after that. `None` if there is none of this number.
    pub(crate) fn remove(&self, id: u64) -> Option<Option<HookCallback<R>>> {
        let mut entries = self.entries.borrow_mut();
        let removed = entries.remove(&id);
        self.is_empty.set(entries.is_empty());
        removed.map(|entry| entry.callback)
    }

    /// Takes out everything, to drop it.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = HookCallback<R>> + use<R> {
        self.is_empty.set(true);
        let entries = mem::take(&mut *self.entries.borrow_mut());
        entries.into_values().filter_map(|entry| entry.callback)
    }

    /// Runs each hook, for as long as `may_go_on`, and passes on what it says. One that is added meanwhile waits for the
    /// next round.
    ///
    /// A panic removes the hook and goes on; those after it wait for the next round.
    pub(crate) fn run(&self, looper: &Looper, may_go_on: impl Fn() -> bool, mut tell: impl FnMut(R)) {
        let round: Vec<u64> = self.entries.borrow().keys().copied().collect();
        for id in round {
            if !may_go_on() {
                break;
            }
            let take = |entry: &mut Entry<R>| Some((entry.callback.take()?, entry.place));
            let taken = self.entries.borrow_mut().get_mut(&id).and_then(take);
            if let Some((callback, place)) = taken {
                let mut run = Run { hooks: self, id, callback: Some(callback), has_returned: false };
                let call = || run.callback.as_mut().map(|callback| callback(looper));
                let said = looper.run_inside(Kind::Hook, place, call);
                run.has_returned = true;
                drop(run);
                said.map(&mut tell);
            }
        }
    }
}

/// A hook that runs. It is put back after that, unless it panics or was removed meanwhile.
struct Run<'a, R: 'static> {
    hooks: &'a Hooks<R>,
    id: u64,
    callback: Option<HookCallback<R>>,
    has_returned: bool,
}

impl<R> Drop for Run<'_, R> {
    fn drop(&mut self) {
        if !self.has_returned {
            self.hooks.remove(self.id);
        }
        if let Some(entry) = self.hooks.entries.borrow_mut().get_mut(&self.id) {
            entry.callback = self.callback.take();
        }
        drop_each(self.callback.take());
    }
}
