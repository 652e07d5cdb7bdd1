//! What a looper keeps of its tasks: their futures, on its thread, and what all threads share of each ([`header`]).
//!
//! A future that need not be `Send` never leaves the table. What travels, in wakers and in messages, is the header and
//! the key of its entry. A task that nobody awaits leaves its slot, its header and the room of its future, once nothing
//! else reaches them, for a later task ([`local_task`]).

pub(crate) mod context;
pub(crate) mod header;
pub(crate) mod local_task;

use std::{
    any::Any,
    cell::{Cell, RefCell},
    sync::Arc,
    task::Waker,
    thread,
};

use crate::{
    core::{
        item::Stamp,
        shared::Shared,
        tasks::{
            header::Header,
            local_task::{BoxedTask, LocalTask},
        },
    },
    mem::{
        drop::caught,
        slots::{Key, Slots},
    },
    queue::{capacity::is_roomy, message::Origin},
};

/// How many free tasks are kept when nothing is due: as many as a turn polls tasks, unless its budget is changed.
const SPARE: usize = 256;

/// Wakes whoever waits. A waker of a user's that panics must not abort what unwinds already (X3).
#[inline]
pub(crate) fn wake(waker: Option<Waker>) {
    match waker {
        Some(waker) if thread::panicking() => _ = caught(|| waker.wake()),
        Some(waker) => waker.wake(),
        None => {}
    }
}

/// A task that is being polled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polled {
    /// Barriers do not hold it up.
    pub(crate) asynchronous: bool,
    /// Where it was spawned.
    pub(crate) origin: Origin,
}

/// The tasks of a looper, on its thread. No user code runs while the table is borrowed.
#[derive(Default)]
pub(crate) struct Tasks {
    /// `None` while a task is being polled, is ending, or is still to come.
    entries: RefCell<Slots<Option<BoxedTask>>>,
    /// The keys of free tasks, which nobody else has.
    free: RefCell<Vec<Key>>,
    /// How many tasks have not ended.
    live: Cell<usize>,
    /// How many have ended since room was given back.
    ended: Cell<usize>,
    /// The task that is being polled.
    polled: Cell<Option<Polled>>,
}

impl Tasks {
    /// Whether there is none that has not ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.live.get() == 0
    }

    /// The task that is being polled.
    pub(crate) fn polled(&self) -> Option<Polled> {
        self.polled.get()
    }

    /// Notes that a task is being polled, or none. Gives what was noted before.
    #[inline]
    pub(crate) fn note_polled(&self, polled: Option<Polled>) -> Option<Polled> {
        self.polled.replace(polled)
    }

    /// The key that the next task will have.
    #[inline]
    pub(crate) fn next_key(&self) -> Key {
        self.free.borrow().last().copied().unwrap_or_else(|| self.entries.borrow().next_key())
    }

    /// Adds a task at `key`, which is the next one, with its header.
    #[inline]
    pub(crate) fn add<F>(&self, shared: &Arc<Shared>, stamp: Stamp, key: Key, future: F) -> Arc<Header>
    where
        F: Future + 'static,
    {
        let mut future = Some(future);
        if let Some(header) = self.reuse(stamp, key, &mut future) {
            return header;
        }
        let (header, waker) = self.header_for(shared, stamp, key);
        self.put_new(key, Box::pin(LocalTask::with(header.clone(), waker, future)));
        header
    }

    /// Adds a task at `key` whose future is in `future`, if one is free there that has had one of its type.
    fn reuse(&self, stamp: Stamp, key: Key, future: &mut dyn Any) -> Option<Arc<Header>> {
        let mut entries = self.entries.borrow_mut();
        let task = entries.get_mut(key)?.as_mut()?;
        if !task.as_mut().reuse(stamp, key, future) {
            return None;
        }
        let header = task.header().clone();
        drop(entries);
        self.free.borrow_mut().pop();
        self.live.set(self.live.get() + 1);
        Some(header)
    }

    /// The header of a task at `key`, and a waker: those of the task that is free there, if there is one.
    #[inline(never)]
    fn header_for(&self, shared: &Arc<Shared>, stamp: Stamp, key: Key) -> (Arc<Header>, Waker) {
        match self.take(key) {
            Some(free) => free.hand_over(stamp, key),
            None => {
                let header = Header::new(shared, stamp, Some(key), shared.owner().get());
                let waker = Waker::from(header.clone());
                (header, waker)
            }
        }
    }

    /// Adds a task at `key`.
    #[inline(never)]
    fn put_new(&self, key: Key, task: BoxedTask) {
        let mut entries = self.entries.borrow_mut();
        if let Some(entry) = entries.get_mut(key) {
            *entry = Some(task);
            self.free.borrow_mut().pop();
        } else {
            let at = entries.insert(Some(task));
            debug_assert_eq!(at, key, "nothing was added since");
        }
        self.live.set(self.live.get() + 1);
    }

    /// Notes that the task at `key` has ended, which was being polled. Gives the key at which it may be kept.
    #[inline]
    pub(crate) fn end(&self, key: Key) -> Option<Key> {
        let next = self.entries.borrow_mut().renew(key);
        match next {
            Some(_) => self.note_ended(),
            // It was cancelled, or the keys of its slot are used up.
            None => drop(self.remove(key)),
        }
        next
    }

    #[inline]
    fn note_ended(&self) {
        self.live.set(self.live.get() - 1);
        self.ended.set(self.ended.get() + 1);
    }

    /// Keeps a task that has ended, whose future is dropped, at `key` for the next task, if that can have it.
    #[inline]
    pub(crate) fn keep(&self, key: Option<Key>, task: BoxedTask) {
        let Some(key) = key else {
            return;
        };
        if task.header().is_free() {
            if self.put(key, task).is_none() {
                self.free.borrow_mut().push(key);
            }
        } else {
            self.entries.borrow_mut().remove(key);
        }
    }

    /// Whether a burst has left more room than is kept when nothing is due.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        self.free.borrow().len() > 2 * SPARE || self.has_roomy_entries()
    }

    /// Whether there is much more room for entries than is needed. To give it back looks at each, which is paid for by half as
    /// many that have ended.
    #[inline]
    fn has_roomy_entries(&self) -> bool {
        let capacity = self.entries.borrow().capacity();
        is_roomy(self.live.get(), capacity) && self.ended.get() > capacity / 2
    }

    /// Gives back what a burst has left, but for a few free tasks.
    #[cold]
    pub(crate) fn give_back_room(&self) {
        let has_roomy_entries = self.has_roomy_entries();
        let (mut entries, mut free) = (self.entries.borrow_mut(), self.free.borrow_mut());
        // A single one would keep all slots before its own.
        let kept = if has_roomy_entries { 0 } else { SPARE.min(free.len()) };
        // There is nothing of a user's in them.
        free.drain(kept..).for_each(|key| _ = entries.remove(key));
        free.shrink_to(2 * SPARE);
        if has_roomy_entries {
            self.ended.set(0);
            entries.shrink_to_fit();
        }
    }

    /// Adds a task that is to come.
    #[inline]
    pub(crate) fn reserve(&self) -> Key {
        self.live.set(self.live.get() + 1);
        self.entries.borrow_mut().insert(None)
    }

    /// Takes out what is at `key`, to be polled; `None` if the task has ended.
    #[inline]
    pub(crate) fn take(&self, key: Key) -> Option<BoxedTask> {
        self.entries.borrow_mut().get_mut(key)?.take()
    }

    /// Puts `task` to `key`; gives it back if the task has ended.
    #[inline]
    pub(crate) fn put(&self, key: Key, task: BoxedTask) -> Option<BoxedTask> {
        match self.entries.borrow_mut().get_mut(key) {
            Some(entry @ None) => {
                *entry = Some(task);
                None
            }
            Some(_) | None => Some(task),
        }
    }

    /// What a future of a `block_on` at `key` shares.
    pub(crate) fn root(&self, key: Key) -> Option<Arc<Header>> {
        let entries = self.entries.borrow();
        let task = entries.get(key)?.as_ref()?;
        task.is_root().then(|| task.header().clone())
    }

    /// Where the task at `key` was spawned.
    pub(crate) fn origin_of(&self, key: Key) -> Option<Origin> {
        let entries = self.entries.borrow();
        let task = entries.get(key)?.as_ref()?;
        (!task.is_root()).then(|| task.header().polled().origin)
    }

    /// Ends a task. Gives what has to be dropped for that; one that is being polled is dropped after its poll.
    #[must_use = "it has to be dropped, with nothing borrowed"]
    pub(crate) fn remove(&self, key: Key) -> Option<BoxedTask> {
        let removed = self.entries.borrow_mut().remove(key)?;
        self.note_ended();
        removed
    }

    /// Takes out everything, to drop it.
    pub(crate) fn take_all(&self) -> Vec<BoxedTask> {
        self.free.borrow_mut().clear();
        self.live.set(0);
        self.entries.borrow_mut().take_all().into_iter().flatten().collect()
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::time::Duration;

    use crate::looper::Looper;

    /// C17, A2: after 2^32 tasks at one place.
    #[test]
    fn c17_a_task_in_a_slot_whose_keys_are_used_up_ends_as_any_other() {
        let looper = Looper::new().unwrap();
        let spawn = || {
            drop(looper.spawn(async {}).unwrap());
            while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}
        };
        spawn();
        let tasks = &looper.local_state().tasks;
        let key = tasks.free.borrow()[0];
        let last = tasks.entries.borrow_mut().use_up(key);
        tasks.free.borrow_mut()[0] = last;

        spawn();

        assert!(tasks.is_empty() && tasks.free.borrow().is_empty());
        assert_eq!(tasks.entries.borrow().len(), 0);
        spawn();
        assert_ne!(tasks.free.borrow()[0].index(), last.index());
    }
}
