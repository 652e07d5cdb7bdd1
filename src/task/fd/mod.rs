//! Fds to await: the looper watches them, and polls in their callback the task that waits.
//!
//! The fd stays registered, level-triggered, for what was last waited for. A task that reads and waits again is called
//! back without any further `epoll_ctl`. When the fd is ready and nobody waits, the looper stops watching for that, and
//! the next one who waits finds it ready at once.

#[cfg(feature = "futures-io")]
mod traits;

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt::{self, Debug, Formatter},
    io::{self, ErrorKind},
    mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    panic::Location,
    pin::Pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    core::{
        local::{self, Local},
        refused::AddFdError,
        shared::Shared,
        tasks,
    },
    error::{OsError, RejectReason},
    fd::{FdNext, Watched, registration::Registration, registrations::Duplicate},
    looper::Looper,
    mem::{drop::drop_each, slots::Key},
    queue::message::Origin,
    sys::{
        interest::{Events, Interest},
        nonblocking::set_nonblocking,
    },
};

/// An fd that tasks wait for: a socket, a pipe, a terminal, whatever epoll can watch.
///
/// It is made non-blocking. Tasks wait with [`readable`](AsyncFd::readable) and then try to read, with
/// [`try_io`](AsyncFd::try_io), or do both with [`read_with`](AsyncFd::read_with). With the feature `futures-io` it has
/// the traits `AsyncRead` and `AsyncWrite` of futures-io. Any number of tasks may wait for it, for the same thing, too.
///
/// # Guarantees
/// The task that waits is polled in the fd's callback, which no barrier holds up. To wait, read and wait again makes
/// no system call but the read. What is ready is reported in each turn for as long as it lasts (level-triggered): no task
/// has to read until it would block. A turn serves each fd once, so that a task that finds its fd always ready lets
/// all others run.
///
/// # Thread safety
/// Bound to the looper's thread.
///
/// # Examples
/// ```
/// use alooper::{Looper, task::AsyncFd};
/// use std::{io::{Read, Write}, os::unix::net::UnixStream};
///
/// # fn main() -> std::io::Result<()> {
/// let looper = Looper::new()?;
/// let (near, mut far) = UnixStream::pair()?;
/// let near = AsyncFd::new(&looper, near)?;
/// looper.post(move |_| far.write_all(b"hello").unwrap())?;
///
/// let mut buffer = [0; 64];
/// let count = looper.block_on(near.read_with(|mut near| near.read(&mut buffer)))??;
///
/// assert_eq!(&buffer[..count], b"hello");
/// # Ok(())
/// # }
/// ```
pub struct AsyncFd<S> {
    /// Dropped before the source is closed.
    watch: Watch,
    source: S,
}

impl<S: AsFd> AsyncFd<S> {
    /// Lets `looper` watch `source`, and makes it non-blocking, which its duplicates share.
    ///
    /// # Errors
    /// As [`Looper::add_fd`], and gives the source back.
    #[track_caller]
    pub fn new(looper: &Looper, source: S) -> Result<AsyncFd<S>, AddFdError<S>>
    where
        S: 'static,
    {
        let place = Location::caller();
        let watch = Watch::new(looper, source.as_fd().as_raw_fd(), place);
        match set_nonblocking(source.as_fd()).and_then(|()| watch.register()) {
            Ok(()) => Ok(AsyncFd { watch, source }),
            Err(error) => {
                drop(watch);
                Err(AddFdError::local_error(error, place, Box::new(source)))
            }
        }
    }
}

impl<S> AsyncFd<S> {
    /// Waits until it can be read, or has hung up or failed, which the next read tells.
    ///
    /// # Errors
    /// The kernel's, if it cannot be watched any more, and of kind `BrokenPipe` if the looper has quit.
    pub fn readable(&self) -> Ready<'_> {
        self.ready(Interest::INPUT)
    }

    /// Waits until it can be written, or has hung up or failed, which the next write tells.
    ///
    /// # Errors
    /// As [`readable`](AsyncFd::readable).
    pub fn writable(&self) -> Ready<'_> {
        self.ready(Interest::OUTPUT)
    }

    /// Waits until it has urgent data or an exceptional condition, or has hung up or failed.
    ///
    /// # Errors
    /// As [`readable`](AsyncFd::readable).
    pub fn priority(&self) -> Ready<'_> {
        self.ready(Interest::PRIORITY)
    }

    fn ready(&self, interest: Interest) -> Ready<'_> {
        Ready { watch: &self.watch, interest, id: None }
    }

    /// Tries `io` once, after having waited. What would block is an error of kind `WouldBlock`: then wait again.
    ///
    /// # Errors
    /// That of `io`.
    ///
    /// # Examples
    /// ```
    /// # use alooper::{Looper, task::AsyncFd};
    /// # use std::{io::{ErrorKind, Read}, os::unix::net::UnixStream};
    /// # fn main() -> std::io::Result<()> {
    /// # let looper = Looper::new()?;
    /// let (near, _far) = UnixStream::pair()?;
    /// let near = AsyncFd::new(&looper, near)?;
    ///
    /// let read = near.try_io(|mut near| near.read(&mut [0; 64]));
    ///
    /// assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_io<R>(&self, io: impl FnOnce(&S) -> io::Result<R>) -> io::Result<R> {
        let result = io(&self.source);
        if result.is_ok() {
            self.watch.note_progress();
        }
        result
    }

    /// Tries `read` until it no longer would block, and waits in between until the fd can be read.
    ///
    /// # Errors
    /// That of `read`, and as [`readable`](AsyncFd::readable).
    pub async fn read_with<R>(&self, read: impl FnMut(&S) -> io::Result<R>) -> io::Result<R> {
        self.io_with(Interest::INPUT, read).await
    }

    /// Tries `write` until it no longer would block, and waits in between until the fd can be written.
    ///
    /// # Errors
    /// That of `write`, and as [`writable`](AsyncFd::writable).
    pub async fn write_with<R>(&self, write: impl FnMut(&S) -> io::Result<R>) -> io::Result<R> {
        self.io_with(Interest::OUTPUT, write).await
    }

    async fn io_with<R>(&self, interest: Interest, mut io: impl FnMut(&S) -> io::Result<R>) -> io::Result<R> {
        loop {
            match self.try_io(&mut io) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready(interest).await?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// The source.
    pub fn get_ref(&self) -> &S {
        // It may be read behind our back, and that is progress, too (F13).
        self.watch.note_progress();
        &self.source
    }

    /// Ends the registration, and gives the source back. It stays non-blocking.
    pub fn into_inner(self) -> S {
        let AsyncFd { watch, source } = self;
        drop(watch);
        source
    }
}

// Nothing in it is ever pinned.
impl<S> Unpin for AsyncFd<S> {}

impl<S: AsFd> AsFd for AsyncFd<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<S: Debug> Debug for AsyncFd<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFd").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Ends when an fd is ready. Made by [`AsyncFd::readable`] and its like.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Ready<'a> {
    watch: &'a Watch,
    interest: Interest,
    /// Names it among those who wait.
    id: Option<u64>,
}

impl Future for Ready<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (watch, interest) = (self.watch, self.interest);
        watch.poll_ready(interest, &mut self.id, context.waker())
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            drop(self.watch.state.forget(id));
        }
    }
}

impl Debug for Ready<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("interest", &self.interest).finish_non_exhaustive()
    }
}

/// The registration of an fd, which ends when this is dropped.
struct Watch {
    fd: RawFd,
    place: Origin,
    local: Weak<Local>,
    shared: Arc<Shared>,
    state: Rc<State>,
    /// The next read and the next write of who polls them.
    #[cfg(feature = "futures-io")]
    turns: [Cell<traits::Turn>; 2],
}

/// What an fd and its callback share.
struct State {
    /// The registration; `None` after it has ended.
    key: Cell<Option<Key>>,
    /// What the looper watches for.
    armed: Cell<Interest>,
    /// What was ready when nobody waited for it.
    ready: Cell<Interest>,
    /// Who waits, in the order in which they came.
    waiting: RefCell<Vec<Waiting>>,
    /// The number of the next one who waits.
    next: Cell<u64>,
    /// How often something was read or written.
    progress: Cell<u64>,
}

struct Waiting {
    id: u64,
    interest: Interest,
    waker: Waker,
}

impl State {
    /// Takes out the first one who waits for anything of `fired`, and came before the number `before`.
    fn take_due(&self, fired: Interest, before: u64) -> Option<Waiting> {
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting.iter().position(|one| one.id < before && one.interest.intersects(fired))?;
        Some(waiting.remove(at))
    }

    fn forget(&self, id: u64) -> Option<Waiting> {
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting.iter().position(|one| one.id == id)?;
        Some(waiting.remove(at))
    }

    /// Lets the one of number `id` be woken by `waker` from now on. Whether it still waits.
    fn renew(&self, id: u64, waker: &Waker) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let Some(one) = waiting.iter_mut().find(|one| one.id == id) else {
            return false;
        };
        if one.waker.will_wake(waker) {
            return true;
        }
        drop(waiting);
        // Neither cloned nor dropped while this is borrowed: it may be a user's.
        let waker = waker.clone();
        let mut waiting = self.waiting.borrow_mut();
        let former = waiting.iter_mut().find(|one| one.id == id).map(|one| mem::replace(&mut one.waker, waker));
        drop(waiting);
        former.is_some()
    }

    /// What anybody waits for.
    fn awaited(&self) -> Interest {
        self.waiting.borrow().iter().fold(Interest::empty(), |sum, one| sum | one.interest)
    }

    /// Whether `interest` was ready when nobody waited for it, which is told once.
    fn take_ready(&self, interest: Interest) -> bool {
        let ready = self.ready.get();
        self.ready.set(ready - interest);
        ready.intersects(interest)
    }

    fn add(&self, interest: Interest, waker: Waker) -> u64 {
        let id = self.next.get();
        self.next.set(id + 1);
        self.waiting.borrow_mut().push(Waiting { id, interest, waker });
        id
    }
}

impl Watch {
    fn new(looper: &Looper, fd: RawFd, place: Origin) -> Watch {
        let state = State {
            key: Cell::new(None),
            armed: Cell::new(Interest::empty()),
            ready: Cell::new(Interest::empty()),
            waiting: RefCell::default(),
            next: Cell::new(0),
            progress: Cell::new(0),
        };
        let (local, shared) = (Rc::downgrade(looper.local_state()), looper.shared().clone());
        Watch {
            fd,
            place,
            local,
            shared,
            state: Rc::new(state),
            #[cfg(feature = "futures-io")]
            turns: Default::default(),
        }
    }

    /// Registers the fd, first for input, which is what is mostly waited for.
    fn register(&self) -> io::Result<()> {
        let local = self.local.upgrade().ok_or(RejectReason::Dropped)?;
        let new = Registration::new(self.fd, Interest::INPUT, None, self.place);
        let added = self.shared.fds.add(new, Duplicate::Refuse)?;
        self.state.key.set(Some(added.key));
        self.state.armed.set(Interest::INPUT);
        drop_each(local.sources.insert(added.key, Box::new(Callback { state: self.state.clone(), key: added.key })));
        local::drop_displaced(&self.shared, added.ended);
        Ok(())
    }

    /// Lets the looper watch for `interest`, too.
    fn arm(&self, interest: Interest) -> io::Result<()> {
        if self.state.key.get().is_none() {
            // A task has panicked in its callback, or the fd has died: that is told now.
            self.register().map_err(|error| OsError::wrap("epoll_ctl", error))?;
        }
        let armed = self.state.armed.get();
        if let Some(key) = self.state.key.get()
            && !armed.contains(interest)
        {
            let set = self.shared.fds.set_interest(key, armed | interest, false);
            set.map_err(|error| OsError::wrap("epoll_ctl", error))?;
            self.state.armed.set(armed | interest);
        }
        Ok(())
    }

    /// Waits for `interest`, as the one who is named by `id` from then on.
    fn poll_ready(&self, interest: Interest, id: &mut Option<u64>, waker: &Waker) -> Poll<io::Result<()>> {
        if let Some(reason) = self.shared.closed() {
            return Poll::Ready(Err(reason.into()));
        }
        match *id {
            Some(waits) if self.state.renew(waits, waker) => Poll::Pending,
            Some(_) => {
                *id = None;
                Poll::Ready(Ok(()))
            }
            None if self.state.take_ready(interest) => Poll::Ready(Ok(())),
            None => {
                let waits = self.state.add(interest, waker.clone());
                if let Err(error) = self.arm(interest) {
                    drop(self.state.forget(waits));
                    return Poll::Ready(Err(error));
                }
                *id = Some(waits);
                Poll::Pending
            }
        }
    }

    fn note_progress(&self) {
        self.state.progress.set(self.state.progress.get().wrapping_add(1));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(key) = self.state.key.take() {
            self.shared.fds.remove(key);
            if let Some(local) = self.local.upgrade() {
                drop_each(local.sources.remove(key));
            }
        }
    }
}

/// The fd's callback, which the looper keeps. The source is the [`AsyncFd`]'s, which ends the registration before it
/// goes.
struct Callback {
    state: Rc<State>,
    key: Key,
}

impl Watched<Looper> for Callback {
    fn call(&mut self, looper: &Looper, events: Events) -> FdNext {
        let state = &*self.state;
        let has_failed = events.intersects(Events::ERROR | Events::HANGUP);
        let fired = if has_failed { Interest::all() } else { Interest::from_bits_truncate(events.bits()) };
        // Who comes to wait meanwhile waits for the next time.
        let before = state.next.get();
        let mut served = Interest::empty();
        while let Some(one) = state.take_due(fired, before) {
            served |= one.interest;
            looper.resume(one.waker);
        }
        state.ready.set(state.ready.get() | (fired - served));
        let needless = (state.armed.get() & fired) - served - state.awaited();
        if needless.is_empty() || state.key.get() != Some(self.key) {
            return FdNext::Keep;
        }
        state.armed.set(state.armed.get() - needless);
        FdNext::Interest(state.armed.get())
    }

    /// As much as there was before, unless something was read or written: nobody counts the bytes of what is not ours.
    fn readable(&self) -> Option<u64> {
        Some(self.state.progress.get())
    }

    fn is_unchanged(&self) -> bool {
        true
    }

    fn source(&mut self) -> &mut dyn Any {
        &mut self.key
    }

    fn give_back(self: Box<Self>, _: &mut dyn Any) {}
}

impl Drop for Callback {
    /// The registration has ended, with its looper, by a panic or since the fd has died: whoever waits looks again, and is
    /// told.
    fn drop(&mut self) {
        if self.state.key.get() == Some(self.key) {
            self.state.key.set(None);
        }
        if self.state.key.get().is_none() {
            let waiting = mem::take(&mut *self.state.waiting.borrow_mut());
            waiting.into_iter().for_each(|one| tasks::wake(Some(one.waker)));
        }
    }
}
