//! What a looper keeps of its tasks: their futures, on its thread, and what all threads share of each ([`header`]).
//!
//! A future that need not be `Send` never leaves the table. What travels, in wakers and in messages, is the header and
//! the key of its place.

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
    core::{item::Body, tasks::header::Header},
    mem::{
        drop::{Shielded, caught},
        slots::{Key, Slots},
    },
    queue::message::Origin,
};

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
    pub(crate) future: Shielded<Pin<Box<dyn Run>>>,
    pub(crate) header: Arc<Header>,
    /// The header as a waker: made once, lent to each poll.
    pub(crate) waker: Waker,
}

impl Job {
    pub(crate) fn new(future: Pin<Box<dyn Run>>, header: &Arc<Header>) -> Job {
        Job { future: Shielded::new(future), header: header.clone(), waker: Waker::from(header.clone()) }
    }
}

impl Drop for Job {
    /// Tells who waits for it, unless it has ended already. The future is dropped after that.
    fn drop(&mut self) {
        self.header.give_up();
    }
}

/// What there is at a key.
pub(crate) enum Place {
    /// Its future is being polled, or is still to come.
    Out,
    Task(Job),
    /// The future of a `block_on`, which is kept there: it is told to be polled.
    Root(Rc<Cell<bool>>, Arc<Header>),
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
    places: RefCell<Slots<Place>>,
    /// The task that is being polled.
    polled: Cell<Option<Polled>>,
}

impl Tasks {
    /// Whether there is none that has not ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.borrow().len() == 0
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
        self.places.borrow().next_key()
    }

    /// Gives a new task its place.
    #[inline]
    pub(crate) fn insert(&self, place: Place) -> Key {
        self.places.borrow_mut().insert(place)
    }

    /// Takes out what is at `key`, to be polled; `None` if the task has ended.
    #[inline]
    pub(crate) fn take(&self, key: Key) -> Option<Place> {
        self.places.borrow_mut().get_mut(key).map(|place| mem::replace(place, Place::Out))
    }

    /// Puts `present` to `key`; gives it back if the task has ended.
    #[inline]
    pub(crate) fn put(&self, key: Key, present: Place) -> Option<Place> {
        match self.places.borrow_mut().get_mut(key) {
            Some(place) => {
                *place = present;
                None
            }
            None => Some(present),
        }
    }

    /// What a future of a `block_on` at `key` shares.
    pub(crate) fn root(&self, key: Key) -> Option<Arc<Header>> {
        match self.places.borrow().get(key) {
            Some(Place::Root(_, header)) => Some(header.clone()),
            _ => None,
        }
    }

    /// Where the task at `key` was spawned.
    pub(crate) fn place_of(&self, key: Key) -> Option<Origin> {
        match self.places.borrow().get(key) {
            Some(Place::Task(job)) => Some(job.header.polled().origin),
            _ => None,
        }
    }

    /// Ends a task. Gives what has to be dropped for that; one that is being polled is dropped after its poll.
    #[must_use = "it has to be dropped, with nothing borrowed"]
    pub(crate) fn remove(&self, key: Key) -> Option<Place> {
        self.places.borrow_mut().remove(key)
    }

    /// Takes out everything, to drop it.
    pub(crate) fn take_all(&self) -> Vec<Place> {
        self.places.borrow_mut().take_all()
    }
}
