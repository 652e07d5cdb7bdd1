//! What a looper keeps of its tasks: their futures, on its thread, and what all threads share of each ([`header`]).
//!
//! A future that need not be `Send` never leaves the table. What travels, in wakers and in messages, is the header and
//! the key of its entry. The header of a task that nobody awaits is kept, once nothing reaches it, for a later task.

pub(crate) mod context;
pub(crate) mod header;

use std::{
    cell::{Cell, RefCell},
    mem,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    thread,
};

use crate::{
    core::{
        item::{Body, Stamp},
        shared::Shared,
        tasks::header::Header,
    },
    mem::{
        drop::{Shielded, caught},
        slots::{Key, Slots},
    },
    queue::{capacity::is_roomy, message::Origin},
};

/// How many headers are kept when nothing is due: as many as a turn polls tasks, unless its budget is changed.
const SPARE: usize = 256;

/// A future, whatever its type.
pub(crate) trait Run {
    /// Polls it. Its value goes to `value`, for `thread` alone to drop.
    fn run(self: Pin<&mut Self>, context: &mut Context<'_>, value: &mut Body, thread: u32) -> Poll<()>;
}

impl<F> Run for F
where
    F: Future + 'static,
{
    #[inline]
    fn run(self: Pin<&mut Self>, context: &mut Context<'_>, value: &mut Body, thread: u32) -> Poll<()> {
        self.poll(context).map(|result| value.fill_message(result, thread))
    }
}

/// Wakes whoever waits. A waker of a user's that panics must not abort what unwinds already (X3).
#[inline]
pub(crate) fn wake(waker: Option<Waker>) {
    match waker {
        Some(waker) if thread::panicking() => _ = caught(|| waker.wake()),
        Some(waker) => waker.wake(),
        None => {}
    }
}

/// A task at home.
pub(crate) struct Job {
    pub(crate) header: Arc<Header>,
    /// The header as a waker: made once, lent to each poll.
    pub(crate) waker: Waker,
    pub(crate) future: Shielded<Pin<Box<dyn Run>>>,
}

impl Job {
    pub(crate) fn new(future: Pin<Box<dyn Run>>, header: &Arc<Header>) -> Job {
        Job { future: Shielded::new(future), header: header.clone(), waker: Waker::from(header.clone()) }
    }
}

/// What there is at a key.
pub(crate) enum Entry {
    /// Its future is being polled, or is still to come.
    Out,
    Task(Job),
    /// The future of a `block_on`, which is kept there: it is told to be polled.
    Root(Rc<Cell<bool>>, Arc<Header>),
}

impl Entry {
    /// Tells who waits for a task that it will not be polled any more.
    pub(crate) fn give_up(&self) {
        if let Entry::Task(job) = self {
            job.header.give_up();
        }
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
    entries: RefCell<Slots<Entry>>,
    /// Headers that are free, of tasks that were spawned by [`Looper::spawn`](crate::Looper::spawn).
    spare: RefCell<Vec<Arc<Header>>>,
    /// Their wakers, in the same order. Not pairs: these would go through memory when they are moved.
    spare_wakers: RefCell<Vec<Waker>>,
    /// How many entries were removed since room was given back.
    removed: Cell<usize>,
    /// The task that is being polled.
    polled: Cell<Option<Polled>>,
}

impl Tasks {
    /// Whether there is none that has not ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.borrow().len() == 0
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
        self.entries.borrow().next_key()
    }

    /// Adds a task at `key`, with its header.
    #[inline]
    pub(crate) fn add(&self, shared: &Arc<Shared>, stamp: Stamp, key: Key, future: Pin<Box<dyn Run>>) -> Arc<Header> {
        let spare = self.spare.borrow_mut().pop();
        let waker = self.spare_wakers.borrow_mut().pop();
        let spare = match (spare, waker) {
            (Some(header), Some(waker)) => header.reuse(waker, stamp, key),
            _ => None,
        };
        let (header, waker) = spare.unwrap_or_else(|| {
            let header = Header::new(shared, stamp, Some(key), shared.owner.get());
            let waker = Waker::from(header.clone());
            (header, waker)
        });
        let job = |at| {
            debug_assert_eq!(at, key, "nothing was added since");
            Entry::Task(Job { header: header.clone(), waker, future: Shielded::new(future) })
        };
        self.entries.borrow_mut().insert_with(job);
        header
    }

    /// Drops a task that has ended, but for its header if the next one can have that.
    #[inline]
    pub(crate) fn drop_ended(&self, Job { header, waker, future }: Job) {
        drop(future);
        if header.is_free() {
            self.spare.borrow_mut().push(header);
            self.spare_wakers.borrow_mut().push(waker);
        }
    }

    /// Whether a burst has left more room than is kept when nothing is due.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        self.spare.borrow().len() > 2 * SPARE || self.has_roomy_entries()
    }

    /// Whether there is much more room for entries than is needed. To give it back looks at each, which is paid for by half as
    /// many that were removed.
    #[inline]
    fn has_roomy_entries(&self) -> bool {
        let entries = self.entries.borrow();
        is_roomy(entries.len(), entries.capacity()) && self.removed.get() > entries.capacity() / 2
    }

    /// Gives back what a burst has left, but for a few headers.
    #[cold]
    pub(crate) fn give_back_room(&self) {
        // There is nothing of a user's in them.
        self.spare.borrow_mut().truncate(SPARE);
        self.spare.borrow_mut().shrink_to(2 * SPARE);
        self.spare_wakers.borrow_mut().truncate(SPARE);
        self.spare_wakers.borrow_mut().shrink_to(2 * SPARE);
        if self.has_roomy_entries() {
            self.removed.set(0);
            self.entries.borrow_mut().shrink_to_fit();
        }
    }

    /// Adds an entry.
    #[inline]
    pub(crate) fn insert(&self, entry: Entry) -> Key {
        self.entries.borrow_mut().insert(entry)
    }

    /// Takes out what is at `key`, to be polled; `None` if the task has ended.
    #[inline]
    pub(crate) fn take(&self, key: Key) -> Option<Entry> {
        self.entries.borrow_mut().get_mut(key).map(|entry| mem::replace(entry, Entry::Out))
    }

    /// Puts `present` to `key`; gives it back if the task has ended.
    #[inline]
    pub(crate) fn put(&self, key: Key, present: Entry) -> Option<Entry> {
        match self.entries.borrow_mut().get_mut(key) {
            Some(entry @ Entry::Out) => {
                *entry = present;
                None
            }
            Some(_) | None => Some(present),
        }
    }

    /// What a future of a `block_on` at `key` shares.
    pub(crate) fn root(&self, key: Key) -> Option<Arc<Header>> {
        match self.entries.borrow().get(key) {
            Some(Entry::Root(_, header)) => Some(header.clone()),
            _ => None,
        }
    }

    /// Where the task at `key` was spawned.
    pub(crate) fn origin_of(&self, key: Key) -> Option<Origin> {
        match self.entries.borrow().get(key) {
            Some(Entry::Task(job)) => Some(job.header.polled().origin),
            _ => None,
        }
    }

    /// Ends a task. Gives what has to be dropped for that; one that is being polled is dropped after its poll.
    #[must_use = "it has to be dropped, with nothing borrowed"]
    pub(crate) fn remove(&self, key: Key) -> Option<Entry> {
        self.removed.set(self.removed.get() + 1);
        self.entries.borrow_mut().remove(key)
    }

    /// Takes out everything, to drop it.
    pub(crate) fn take_all(&self) -> Vec<Entry> {
        self.entries.borrow_mut().take_all()
    }
}
