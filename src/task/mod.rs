//! Tasks: futures that a looper polls, and what they wait for. With the feature `async`.
//!
//! [`Looper::spawn`] takes a future, which need not be `Send`, and polls it on the looper's thread. From any thread,
//! [`LooperHandle::spawn`] takes one that is `Send`, and [`LooperHandle::spawn_with`] a closure that makes one there.
//! What they give is a [`Task`]: it tells how the future has ended, and cancels it. Tasks wait for each other, for time
//! ([`Looper::sleep`], [`Looper::timeout`], [`Looper::interval`]), for fds ([`AsyncFd`]), for messages
//! ([`Looper::channel`]), for what runs on another looper ([`LooperHandle::call_async`]), and for any future of any other
//! crate.
//!
//! ```
//! use alooper::Looper;
//! use std::time::Duration;
//!
//! # fn main() -> std::io::Result<()> {
//! let looper = Looper::prepare()?;
//! let handle = looper.handle();
//! let task = looper.spawn(async move {
//!     handle.sleep(Duration::from_millis(5)).await;
//!     6 * 7
//! })?;
//!
//! assert_eq!(looper.block_on(task)??, 42);
//! # Ok(())
//! # }
//! ```
//!
//! # How a task is polled
//!
//! ```text
//! any thread                                looper's thread
//! Waker ──► is it scheduled? ──no──► message ──► turn ──► its future's poll ──► Pending: waits
//!                                                  ▲                       └──► Ready: value ──► Task, who awaits it
//!                     a sleep's message, an fd's callback: no message of its own
//! ```
//!
//! A wake is an ordinary message, in posting order among all others, held up by barriers unless the task was spawned by
//! a handle that is [`asynchronous`](LooperHandle::asynchronous), counted in the turn's budget, and seen by observers
//! with the place of its `spawn`. Wakes that come before the poll begins are one. What the looper itself waits
//! for polls the task at once: a sleep's own message, an fd's callback.
//!
//! A looper that has quit polls nothing more. Its tasks are dropped on its thread, and whoever awaits one is told so.
//!
//! # Inside a task
//!
//! A future must not borrow its looper. It has a [`LooperHandle`], which does all that a task needs from any thread, and
//! lends the looper on its own ([`LooperHandle::with_looper`]); on a thread with a looper of its own,
//! [`Looper::current`] gives that.

mod block_on;
mod call;
mod fd;
mod idle;
mod interval;
mod join;
mod receiver;
mod send;
mod sleep;

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    task::{Poll, Waker},
    thread,
};

pub use self::{
    call::AsyncCall,
    fd::{AsyncFd, Ready},
    idle::NextIdle,
    interval::Interval,
    join::{Task, TaskGuard},
    receiver::Receiver,
    send::SendAsync,
    sleep::{Elapsed, Sleep},
};
pub use crate::error::TaskError;
use crate::{
    core::{
        activity::Kind,
        inbox::Wakeup,
        item::{Body, Stamp, When},
        local::Local,
        refused::{Refused, Rejected, is_large},
        shared::Post,
        tasks::{
            context,
            header::{Header, poll},
            local_task::{BoxedTask, LocalTask},
        },
    },
    looper::{Looper, handle::LooperHandle},
    mem::{
        drop::{FirstPanic, Shielded, after, caught, drop_each, drop_quietly},
        erased::ANYWHERE,
        slots::Key,
    },
    queue::Queue,
};

impl Looper {
    /// Spawns `future` on this looper, which polls it on this thread. It need not be `Send`.
    ///
    /// It is polled for the first time after everything that is due already. What [`Task`] gives is its end; to drop
    /// that lets it go on.
    ///
    /// # Errors
    /// Gives the future back if the looper has quit.
    ///
    /// # Guarantees
    /// Polled on this thread only, by messages in posting order among all others, until it ends, is cancelled, or
    /// the looper quits. Takes two allocations: the future's, and what wakers share; one more if the future is larger than
    /// 1 KiB. If nobody awaits the task and no waker of it is left when it ends, later tasks use the two again, the
    /// future's for one of the same type.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::rc::Rc;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let word = Rc::new("not `Send`");
    /// let length = looper.spawn({
    ///     let word = word.clone();
    ///     async move { word.len() }
    /// })?;
    ///
    /// assert_eq!(looper.block_on(length)??, 10);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Result<Task<F::Output>, Rejected<F>>
    where
        F: Future + 'static,
    {
        let stamp = Stamp::new(When::Now);
        if const { is_large::<F>() } {
            let spawned = self.spawn_prepared(stamp, Box::new(future), Box::into_pin);
            spawned.map_err(|refused| refused.unboxed_local_error(stamp.origin))
        } else {
            self.spawn_prepared(stamp, future, |future| future).map_err(|refused| refused.local_error(stamp.origin))
        }
    }

    /// Spawns the future that `prepare` makes of `value`.
    #[inline]
    fn spawn_prepared<V, F>(
        &self,
        stamp: Stamp,
        value: V,
        prepare: impl FnOnce(V) -> F,
    ) -> Result<Task<F::Output>, Refused<V>>
    where
        F: Future + 'static,
    {
        let (shared, here) = (self.shared(), self.here());
        let tasks = &self.local_state().tasks;
        // Nothing else runs on this thread until the task has its entry.
        let key = tasks.next_key();
        let plain = shared.post_plain(here, stamp.origin, |()| None, (), |body, ()| body.fill(poll(key)));
        let posted = plain
            .map(|id| (id, Wakeup::Saved))
            .or_else(|()| shared.leave_here(here, Post::closure(stamp), (), |body, (), _| body.fill(poll(key))));
        match posted {
            Ok((first, signal)) => {
                let header = tasks.add(shared, stamp, key, prepare(value));
                shared.signal_if(signal);
                Ok(Task::new(header, first))
            }
            Err(Refused { reason, .. }) => Err(Refused { value, reason }),
        }
    }

    /// Polls the task at `key`, whose time has come; whether there was something to poll.
    pub(crate) fn poll_task(&self, key: Key) -> bool {
        let tasks = &self.local_state().tasks;
        let Some(mut task) = tasks.take(key) else {
            return false;
        };
        if task.is_root() {
            _ = task.as_mut().run(&mut Body::default());
            tasks.put(key, task);
            return true;
        }
        let begins = task.header().begin_poll();
        if begins {
            self.poll_local(key, task);
        } else {
            // Another thread has cancelled it.
            drop(tasks.remove(key));
            drop_each([task]);
        }
        begins
    }

    /// Wakes `waker`, for something that the looper has waited for: its own task is polled at once.
    pub(crate) fn resume(&self, waker: Waker) {
        let (key, result) = context::directly(self.shared().id, || waker.wake());
        after(result, || _ = key.map(|key| self.poll_directly(key)));
    }

    /// As [`resume`](Looper::resume), before the looper waits: a future that is polled between turns has to end that.
    pub(crate) fn resume_from_idle(&self, waker: Waker) {
        let (key, result) = context::directly(self.shared().id, || waker.wake());
        after(result, || match key.map(|key| (key, self.local_state().tasks.root(key))) {
            Some((key, Some(header))) => header.post_poll(key),
            Some((key, None)) => _ = self.poll_directly(key),
            None => {}
        });
    }

    /// Polls the task at `key` inside something else, which is named by its own place.
    fn poll_directly(&self, key: Key) -> bool {
        match self.local_state().tasks.origin_of(key) {
            Some(place) => self.run_inside(Kind::Task, place, || self.poll_task(key)),
            None => self.poll_task(key),
        }
    }

    fn poll_local(&self, key: Key, mut task: BoxedTask) {
        let tasks = &self.local_state().tasks;
        let mut value = Body::default();
        let before = tasks.note_polled(Some(task.header().polled()));
        let was_in_task = self.shared().activity.note_task(true);
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            let place = task.header().polled().origin;
            self.poll_seen(place, || task.as_mut().run(&mut value))
        }));
        self.shared().activity.note_task(was_in_task);
        tasks.note_polled(before);
        match result {
            Ok(Poll::Pending) => {
                if let Some(cancelled) = tasks.put(key, task) {
                    drop_each([cancelled]);
                }
            }
            Ok(Poll::Ready(())) => {
                let free = tasks.end(key);
                // One after the other, since each may panic: who waits when woken, the others when dropped.
                let mut panic = FirstPanic::default();
                panic.note(|| task.header().finish(&mut value));
                panic.note(|| value.clear());
                panic.note(|| task.as_mut().clear());
                tasks.keep(free, task);
                panic.go_on();
            }
            Err(panic) => {
                drop(tasks.remove(key));
                // Whoever waits may panic when woken, as the others when dropped: the first panic goes on.
                caught(|| task.header().fail(TaskError::Panicked));
                drop_quietly(value);
                drop_quietly(task);
                panic::resume_unwind(panic);
            }
        }
    }
}

impl LooperHandle {
    /// Spawns `future` on the looper, from any thread.
    ///
    /// As [`Looper::spawn`]: it is polled on the looper's thread, and ends and is dropped there.
    ///
    /// # Errors
    /// Gives the future back if the looper has quit or was dropped.
    ///
    /// # Thread safety
    /// Callable from any thread. One that is cancelled before it was first polled is dropped where it is cancelled.
    ///
    /// # Examples
    /// ```
    /// # use alooper::HandlerThread;
    /// # fn main() -> std::io::Result<()> {
    /// let thread = HandlerThread::spawn("worker")?;
    /// let task = thread.handle().spawn(async { 6 * 7 })?;
    ///
    /// let looper = alooper::Looper::new()?;
    /// assert_eq!(looper.block_on(task)??, 42);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Result<Task<F::Output>, Rejected<F>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let stamp = Stamp { asynchronous: self.asynchronous, ..Stamp::new(When::Now) };
        let header = Header::new(&self.shared, stamp, None, ANYWHERE);
        if const { is_large::<F>() } {
            let spawned = self.spawn_remote(stamp, header, Box::new(future), |future, header| {
                Box::pin(LocalTask::new(Box::into_pin(future), header))
            });
            return spawned.map_err(|refused| refused.unboxed_send_error(stamp.origin));
        }
        let room = Box::new(LocalTask::new(future, &header));
        self.spawn_remote(stamp, header, room, |room, _| Box::into_pin(room)).map_err(|Refused { value, reason }| {
            Refused { value: value.into_future(), reason }.send_error(stamp.origin)
        })
    }

    /// Spawns the future that `make` makes on the looper's thread. It need not be `Send`, and neither need anything
    /// that it has, but for its value.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped.
    ///
    /// # Thread safety
    /// Callable from any thread.
    ///
    /// # Examples
    /// ```
    /// # use alooper::HandlerThread;
    /// # use std::{future, rc::Rc};
    /// # fn main() -> std::io::Result<()> {
    /// let thread = HandlerThread::spawn("worker")?;
    /// let task = thread.handle().spawn_with(|| async {
    ///     let local = Rc::new(42);
    ///     future::ready(()).await;
    ///     *local
    /// })?;
    ///
    /// let looper = alooper::Looper::new()?;
    /// assert_eq!(looper.block_on(task)??, 42);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_with<M, F>(&self, make: M) -> Result<Task<F::Output>, Rejected<M>>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output: Send> + 'static,
    {
        let stamp = Stamp { asynchronous: self.asynchronous, ..Stamp::new(When::Now) };
        let header = Header::new(&self.shared, stamp, None, ANYWHERE);
        let prepare = |make: Box<M>, header: &_| -> BoxedTask {
            if const { is_large::<F>() } {
                Box::pin(LocalTask::new(Box::pin(make()), header))
            } else {
                Box::pin(LocalTask::new(make(), header))
            }
        };
        self.spawn_remote(stamp, header, Box::new(make), prepare)
            .map_err(|refused| refused.unboxed_send_error(stamp.origin))
    }

    /// Spawns what `prepare` makes of `value` on the looper's thread, as the task of `header`.
    fn spawn_remote<V, T>(
        &self,
        stamp: Stamp,
        header: Arc<Header>,
        value: V,
        prepare: fn(V, &Arc<Header>) -> BoxedTask,
    ) -> Result<Task<T>, Refused<V>>
    where
        V: Send + 'static,
        T: Send + 'static,
    {
        if self.shared.is_inherited() {
            return Err(Refused { value, reason: crate::RejectReason::Forked });
        }
        let fill = |body: &mut Body, value, _| {
            let arriving = Arriving { header: header.clone(), value: Some(Shielded::new(value)), prepare };
            body.fill(move |looper: &Looper| arriving.arrive(looper));
        };
        let first = self.shared.post(Post::closure(stamp), value, fill)?;
        Ok(Task::new(header, first))
    }

    /// Calls `look` with the looper, if this is its thread, and gives its result; `None` on any other thread, and when
    /// the looper was dropped.
    ///
    /// For tasks and callbacks that have a handle and need the looper itself, to spawn what is not `Send`, or to watch an
    /// fd.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::rc::Rc;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let handle = looper.handle();
    /// let sum = looper.block_on(async move {
    ///     let two = Rc::new(2);
    ///     let task = handle.with_looper(|looper| looper.spawn(async move { *two + 3 }));
    ///     task.expect("this is its thread")?.await.map_err(std::io::Error::from)
    /// })??;
    ///
    /// assert_eq!(sum, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_looper<R>(&self, look: impl FnOnce(&Looper) -> R) -> Option<R> {
        let looper = Local::of(&self.shared).and_then(|local| Looper::of(&local))?;
        Some(look(&looper))
    }
}

/// A task on its way to the looper's thread, in the message that will poll it for the first time. If that does not run,
/// whoever waits is told.
struct Arriving<V> {
    header: Arc<Header>,
    /// `None` once it has come.
    value: Option<Shielded<V>>,
    prepare: fn(V, &Arc<Header>) -> BoxedTask,
}

impl<V> Arriving<V> {
    fn arrive(mut self, looper: &Looper) {
        let Some(value) = self.value.take().filter(|_| self.header.is_pending()) else {
            return looper.skip_message(Queue::count_as_cancelled);
        };
        let task = (self.prepare)(value.into_inner(), &self.header);
        let tasks = &looper.local_state().tasks;
        let key = tasks.reserve();
        if self.header.settle(key) {
            tasks.put(key, task);
            looper.poll_task(key);
        } else {
            drop(tasks.remove(key));
            drop_each([task]);
        }
    }
}

impl<V> Drop for Arriving<V> {
    fn drop(&mut self) {
        // Unless it has come, or has been cancelled.
        if thread::panicking() && self.value.is_none() {
            self.header.fail(TaskError::Panicked);
        } else if self.header.key().is_none() {
            self.header.give_up();
        }
    }
}
