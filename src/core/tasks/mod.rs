//! What a looper keeps of its tasks: their futures, on its thread, and what all threads share of each ([`header`]).
//!
//! A future that need not be `Send` never leaves the table. What travels, in wakers and in messages, is the header and
//! the key of its entry. A task that nobody awaits leaves its slot, its header and the room of its future, once nothing
//! else reaches them, for a later task.

pub(crate) mod context;
pub(crate) mod header;

use std::{
    any::Any,
    cell::{Cell, RefCell},
    cmp::Reverse,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    thread,
};

use pin_project_lite::pin_project;

use crate::{
    core::{
        item::{Body, Stamp},
        shared::Shared,
        tasks::header::Header,
    },
    mem::{
        drop::caught,
        slots::{Key, Slots},
    },
    queue::{capacity::is_roomy, message::Origin},
};

/// How many free jobs are kept when nothing is due: as many as a turn polls tasks, unless its budget is changed.
const SPARE: usize = 256;

/// How many bytes a job has at most that is kept for another future.
const LARGEST_SPARE: usize = 512;

/// A future, or where one has been, whatever its type.
pub(crate) trait Run: Any {
    /// Polls it. Its value goes to `value`, for `thread` alone to drop.
    fn run(self: Pin<&mut Self>, context: &mut Context<'_>, value: &mut Body, thread: u32) -> Poll<()>;

    /// Drops the future.
    fn clear(self: Pin<&mut Self>);

    /// Takes a future out of `next`, which is an `Option` of one, if it is of the type that has been here.
    fn refill(self: Pin<&mut Self>, next: &mut dyn Any) -> bool;
}

impl<F> Run for Option<F>
where
    F: Future + 'static,
{
    #[inline]
    fn run(self: Pin<&mut Self>, context: &mut Context<'_>, value: &mut Body, thread: u32) -> Poll<()> {
        let future = self.as_pin_mut().expect("what has ended is not polled");
        future.poll(context).map(|result| value.fill_message(result, thread))
    }

    #[inline]
    fn clear(mut self: Pin<&mut Self>) {
        self.set(None);
    }

    #[inline]
    fn refill(mut self: Pin<&mut Self>, next: &mut dyn Any) -> bool {
        let next = next.downcast_mut::<Self>();
        next.map(|next| self.set(next.take())).is_some()
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

pin_project! {
    /// A task at home.
    pub(crate) struct Room<F: ?Sized> {
        header: Arc<Header>,
        // The header as a waker: made once, lent to each poll.
        waker: Waker,
        // Its future is kept elsewhere: what is polled here only notes that it is to be polled.
        is_root: bool,
        #[pin]
        future: F,
    }
}

/// A task at home, whatever its future is. To move one moves a pointer.
pub(crate) type Job = Pin<Box<Room<dyn Run>>>;

impl<F> Room<Option<F>> {
    #[inline]
    pub(crate) fn new(future: F, header: &Arc<Header>) -> Self {
        Room { header: header.clone(), waker: Waker::from(header.clone()), is_root: false, future: Some(future) }
    }

    /// Its future, which was not polled.
    pub(crate) fn into_future(self) -> F {
        self.future.expect("only its end takes it out")
    }
}

/// In the place of a future of a `block_on`, which is kept there.
struct Root {
    is_due: Rc<Cell<bool>>,
}

impl Run for Root {
    fn run(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut Body, _: u32) -> Poll<()> {
        self.is_due.set(true);
        Poll::Pending
    }

    fn clear(self: Pin<&mut Self>) {}

    fn refill(self: Pin<&mut Self>, _: &mut dyn Any) -> bool {
        false
    }
}

/// A task whose future is kept elsewhere, where `is_due` tells that it is to be polled.
pub(crate) fn root(header: &Arc<Header>, is_due: Rc<Cell<bool>>) -> Job {
    let (header, waker) = (header.clone(), Waker::from(header.clone()));
    Box::pin(Room { header, waker, is_root: true, future: Root { is_due } })
}

impl Room<dyn Run> {
    #[inline]
    pub(crate) fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// Whether its future is kept elsewhere.
    #[inline]
    pub(crate) fn is_root(&self) -> bool {
        self.is_root
    }

    /// Polls its future.
    #[inline]
    pub(crate) fn run(self: Pin<&mut Self>, value: &mut Body) -> Poll<()> {
        let room = self.project();
        room.future.run(&mut Context::from_waker(room.waker), value, room.header.thread())
    }

    /// Drops its future.
    #[inline]
    pub(crate) fn clear(self: Pin<&mut Self>) {
        self.project().future.clear();
    }

    /// Becomes a task at `key` whose future is in `future`, if a future of its type was here. That one has ended.
    #[inline]
    fn reuse(self: Pin<&mut Self>, stamp: Stamp, key: Key, future: &mut dyn Any) -> bool {
        let room = self.project();
        room.header.reuse(room.waker, stamp, key) && room.future.refill(future)
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
    /// `None` while its future is being polled, or is still to come.
    entries: RefCell<Slots<Option<Job>>>,
    /// The keys, which nobody else has, of jobs that have ended and are for the next tasks, of the same thread. There is
    /// nothing of a user's in them.
    free: RefCell<Vec<Key>>,
    /// How many entries are not free.
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
        let header = Header::new(shared, stamp, Some(key), shared.owner.get());
        let future = future.expect("it was not taken");
        self.add_new(key, Box::pin(Room::new(future, &header)));
        header
    }

    /// Gives a task whose future is in `future` what is free at `key`, if a future of its type was there.
    fn reuse(&self, stamp: Stamp, key: Key, future: &mut dyn Any) -> Option<Arc<Header>> {
        let mut entries = self.entries.borrow_mut();
        let job = entries.get_mut(key)?.as_mut()?;
        if !job.as_mut().reuse(stamp, key, future) {
            return None;
        }
        let header = job.header.clone();
        drop(entries);
        self.free.borrow_mut().pop();
        self.live.set(self.live.get() + 1);
        Some(header)
    }

    /// Adds a task at `key`, in the place of what is free there.
    #[inline(never)]
    fn add_new(&self, key: Key, job: Job) {
        match self.take(key) {
            Some(_free) => {
                self.free.borrow_mut().pop();
                self.put(key, job);
            }
            None => _ = self.entries.borrow_mut().insert(Some(job)),
        }
        self.live.set(self.live.get() + 1);
    }

    /// Notes that the task at `key` has ended, which was being polled. Gives the key at which its job may be kept.
    #[inline]
    pub(crate) fn end(&self, key: Key) -> Option<Key> {
        let next = self.entries.borrow_mut().renew(key)?;
        self.note_ended();
        Some(next)
    }

    #[inline]
    fn note_ended(&self) {
        self.live.set(self.live.get() - 1);
        self.ended.set(self.ended.get() + 1);
    }

    /// Keeps the job of a task that has ended, whose future is dropped, at `key` for the next task, if that can have it.
    #[inline]
    pub(crate) fn keep(&self, key: Option<Key>, job: Job) {
        let Some(key) = key else {
            return;
        };
        if job.header.is_free() && size_of_val(&*job) <= LARGEST_SPARE {
            if self.put(key, job).is_none() {
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

    /// Gives back what a burst has left, but for a few free jobs.
    #[cold]
    pub(crate) fn give_back_room(&self) {
        let (mut entries, mut free) = (self.entries.borrow_mut(), self.free.borrow_mut());
        // Those at the end, lest they keep the slots before them.
        free.sort_unstable_by_key(|key| Reverse(key.index()));
        let excess = free.len().saturating_sub(SPARE);
        free.drain(..excess).for_each(|key| _ = entries.remove(key));
        free.shrink_to(2 * SPARE);
        drop((entries, free));
        if self.has_roomy_entries() {
            self.ended.set(0);
            self.entries.borrow_mut().shrink_to_fit();
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
    pub(crate) fn take(&self, key: Key) -> Option<Job> {
        self.entries.borrow_mut().get_mut(key)?.take()
    }

    /// Puts `job` to `key`; gives it back if the task has ended.
    #[inline]
    pub(crate) fn put(&self, key: Key, job: Job) -> Option<Job> {
        match self.entries.borrow_mut().get_mut(key) {
            Some(entry @ None) => {
                *entry = Some(job);
                None
            }
            Some(_) | None => Some(job),
        }
    }

    /// What a future of a `block_on` at `key` shares.
    pub(crate) fn root(&self, key: Key) -> Option<Arc<Header>> {
        let entries = self.entries.borrow();
        let job = entries.get(key)?.as_ref()?;
        job.is_root.then(|| job.header.clone())
    }

    /// Where the task at `key` was spawned.
    pub(crate) fn origin_of(&self, key: Key) -> Option<Origin> {
        let entries = self.entries.borrow();
        let job = entries.get(key)?.as_ref()?;
        (!job.is_root).then(|| job.header.polled().origin)
    }

    /// Ends a task. Gives what has to be dropped for that; one that is being polled is dropped after its poll.
    #[must_use = "it has to be dropped, with nothing borrowed"]
    pub(crate) fn remove(&self, key: Key) -> Option<Job> {
        let removed = self.entries.borrow_mut().remove(key)?;
        self.note_ended();
        removed
    }

    /// Takes out everything, to drop it.
    pub(crate) fn take_all(&self) -> Vec<Job> {
        self.free.borrow_mut().clear();
        self.live.set(0);
        self.entries.borrow_mut().take_all().into_iter().flatten().collect()
    }
}
