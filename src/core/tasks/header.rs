//! What all threads share of a task: whether it is to be polled, and how it has ended.
//!
//! A wake is a swap of one flag and, if the flag was not set, a message that carries the task's key. A poll takes the
//! flag back by a swap before it begins: so it sees what was done before each wake that found the flag set, and a wake
//! after that is a message of its own (A2). Where nothing else reaches the header, nobody can wake, and it is a store.
//!
//! | `is_scheduled` | `has_ended` | |
//! |---|---|---|
//! | false | false | it waits, or is being polled and was not woken since |
//! | true | false | a message that polls it is pending, or the looper has quit |
//! | any | true | no poll begins any more; a message that is pending finds nothing |
//!
//! How it ends is decided once, under the lock: by its last poll, a cancel, a quit, or by whoever drops the looper. When
//! its `Task` was dropped before, nobody asks, and the last poll takes no lock: then `has_ended` alone says so.
//!
//! | `join` | |
//! |---|---|
//! | [`JOINABLE`] | a `Task` is there, and how it ends is not decided |
//! | [`DETACHED`] | the `Task` was dropped before that |
//! | [`DECIDED`] | the rest is under the lock of `end` |

use std::{
    mem, ptr,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    task::{Wake, Waker},
};

use crate::{
    core::{
        item::{Body, Stamp, When},
        shared::{Post, Shared, Waiting},
        tasks::{Polled, context, wake},
    },
    error::{RejectReason, TaskError},
    looper::Looper,
    mem::{drop::Shielded, erased::ANYWHERE, slots::Key},
    queue::{
        Queue,
        message::{MessageId, Origin, SharedMessageId},
    },
    sys::sync::{AtomicBool, AtomicU8, Mutex, ThreadNumber, fence},
};

/// The bits of no key.
const NOWHERE: u64 = u64::MAX;

/// The key of these bits.
#[inline]
fn found(bits: u64) -> Option<Key> {
    (bits != NOWHERE).then(|| Key::from_bits(bits))
}

const JOINABLE: u8 = 0;
const DETACHED: u8 = 1;
const DECIDED: u8 = 2;

/// What a poll touches stands first, beside the reference counts: mostly, that is one cache line.
#[repr(C)]
pub(crate) struct Header {
    is_scheduled: AtomicBool,
    has_ended: AtomicBool,
    join: AtomicU8,
    /// Barriers do not hold it up.
    asynchronous: bool,
    /// The number of the thread that alone may drop its value.
    thread: u32,
    shared: Arc<Shared>,
    /// The bits of its key, or [`NOWHERE`]. Written on the looper's thread, once for each task: under the lock of `end`
    /// unless it is known when that is spawned.
    key: AtomicU64,
    /// Where it was spawned.
    origin: Origin,
    /// Its `Task` was awaited. This and the next one are written by whoever has that, or makes it.
    was_asked: AtomicBool,
    /// The bits of the key of whoever waits, among those whom a quit releases, or [`NOWHERE`].
    noted: AtomicU64,
    /// The message that polls it for the first time. Written before there is a `Task`.
    first: SharedMessageId,
    /// A forked child does not lock this.
    end: Mutex<End>,
}

enum End {
    /// Not yet; who waits for it.
    Pending(Option<Waker>),
    Ended(Ended),
    /// It was told, or nobody asks.
    Told,
}

impl End {
    fn is_pending(&self) -> bool {
        matches!(self, End::Pending(_))
    }

    /// Tells how it has ended, once.
    fn tell(&mut self) -> Option<Ended> {
        match mem::replace(self, End::Told) {
            End::Ended(ended) => Some(ended),
            End::Pending(_) | End::Told => None,
        }
    }
}

/// How a task has ended.
pub(crate) enum Ended {
    Value(Body),
    Failed(TaskError),
}

/// What whoever waits for a task is told.
pub(crate) enum Answer {
    Ended(Ended),
    /// It is to be woken.
    Later,
    ToldBefore,
}

impl Header {
    /// Of a task that is about to be polled, at `key` if it is on its thread already.
    pub(crate) fn new(shared: &Arc<Shared>, stamp: Stamp, key: Option<Key>, thread: u32) -> Arc<Header> {
        Arc::new(Header {
            shared: shared.clone(),
            key: AtomicU64::new(key.map_or(NOWHERE, Key::to_bits)),
            is_scheduled: AtomicBool::new(true),
            has_ended: AtomicBool::new(false),
            join: AtomicU8::new(JOINABLE),
            origin: stamp.origin,
            thread,
            asynchronous: stamp.asynchronous,
            was_asked: AtomicBool::new(false),
            noted: AtomicU64::new(NOWHERE),
            first: SharedMessageId::new(),
            end: Mutex::new(End::Pending(None)),
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The message that polls it for the first time.
    pub(crate) fn first(&self) -> MessageId {
        self.first.get()
    }

    /// Notes which message polls it for the first time, before there is a `Task`.
    #[inline]
    pub(crate) fn set_first(&self, first: MessageId) {
        self.first.set(first);
    }

    /// Where whoever waits is among those whom a quit releases.
    #[inline]
    pub(crate) fn noted(&self) -> Option<Key> {
        found(self.noted.load(Relaxed))
    }

    #[inline]
    pub(crate) fn set_noted(&self, noted: Option<Key>) {
        self.noted.store(noted.map_or(NOWHERE, Key::to_bits), Relaxed);
    }

    /// The number of the thread that alone may drop its value.
    pub(crate) fn thread(&self) -> u32 {
        self.thread
    }

    /// How its wakes are posted: barriers hold it up or not, and where it was spawned.
    #[inline]
    pub(crate) fn polled(&self) -> Polled {
        Polled { asynchronous: self.asynchronous, origin: self.origin }
    }

    #[inline]
    fn stamp(&self) -> Stamp {
        Stamp { when: When::Now, asynchronous: self.asynchronous, origin: self.origin }
    }

    /// Where it is, once it is on its thread.
    pub(crate) fn key(&self) -> Option<Key> {
        found(self.key.load(Acquire))
    }

    /// Notes that it has come to its thread, at `key`; `false` if it has ended on the way.
    ///
    /// Under the lock: who ends it either is seen here, or sees the key.
    pub(crate) fn settle(&self, key: Key) -> bool {
        let end = self.end.lock();
        self.key.store(key.to_bits(), Release);
        end.is_pending()
    }

    /// Lets it be polled, after everything that is due already, unless that is on its way.
    #[inline]
    fn schedule(&self) {
        if !self.is_scheduled.swap(true, AcqRel) && !self.has_ended.load(Acquire) {
            self.post();
        }
    }

    #[inline]
    fn post(&self) {
        let shared = &*self.shared;
        // A waker comes from a poll, before which the key is known.
        let key = Key::from_bits(self.key.load(Relaxed));
        let Some(here) = shared.owner().here() else {
            return self.post_poll(key);
        };
        if context::leave_to_direct(shared.id, key) {
            return;
        }
        let fill = |body: &mut Body, ()| body.fill(poll(key));
        if self.asynchronous || shared.post_plain(here, self.origin, |()| None, (), fill).is_err() {
            self.post_poll(key);
        }
    }

    /// Posts the message that polls it. If the looper has quit, it is not polled any more.
    #[inline(never)]
    pub(crate) fn post_poll(&self, key: Key) {
        let fill = |body: &mut Body, (), _| body.fill(poll(key));
        _ = self.shared.post(Post::closure(self.stamp()), (), fill);
    }

    /// Takes back that it is to be polled, since that begins now; `false` if it has ended.
    #[inline]
    pub(crate) fn begin_poll(self: &Arc<Self>) -> bool {
        if self.is_reached_by_its_local_task_alone() {
            self.is_scheduled.store(false, Relaxed);
        } else {
            self.is_scheduled.swap(false, AcqRel);
        }
        !self.has_ended.load(Acquire)
    }

    /// Ends it, unless it has ended before. Takes its value if somebody may ask for that; else it is left to the caller.
    #[inline]
    pub(crate) fn finish(&self, value: &mut Body) {
        if self.join.load(Acquire) == DETACHED {
            self.has_ended.store(true, Release);
        } else {
            self.finish_joinable(value);
        }
    }

    #[inline(never)]
    fn finish_joinable(&self, value: &mut Body) {
        if self.shared.is_inherited() {
            return;
        }
        let mut end = self.end.lock();
        let End::Pending(waker) = &mut *end else {
            return;
        };
        let waker = waker.take();
        let is_wanted = self.decide(&mut end, Ended::Value(mem::take(value)));
        let unwanted = if is_wanted { None } else { end.tell() };
        drop(end);
        let _unwanted = unwanted.map(Shielded::new);
        wake(waker);
    }

    /// Ends it without a value; whether it had not ended before.
    pub(crate) fn fail(&self, error: TaskError) -> bool {
        if self.shared.is_inherited() {
            return false;
        }
        let mut end = self.end.lock();
        let End::Pending(waker) = &mut *end else {
            return false;
        };
        let waker = waker.take();
        self.decide(&mut end, Ended::Failed(error));
        drop(end);
        wake(waker);
        true
    }

    /// Notes how it has ended; whether somebody may ask.
    fn decide(&self, end: &mut End, ended: Ended) -> bool {
        *end = End::Ended(ended);
        self.has_ended.store(true, Release);
        self.join.swap(DECIDED, AcqRel) == JOINABLE
    }

    /// Ends it, since nobody will poll it any more.
    pub(crate) fn give_up(&self) {
        if !self.has_ended.load(Acquire) {
            self.fail(match self.shared.closed() {
                Some(RejectReason::Quit) => TaskError::Quit,
                Some(RejectReason::Dropped) => TaskError::Dropped,
                _ => TaskError::Cancelled,
            });
        }
    }

    /// How it has ended; if it has not, `waker` is woken then.
    pub(crate) fn ask(&self, waker: &Waker) -> Answer {
        self.was_asked.store(true, Relaxed);
        let mut end = self.end.lock();
        match &*end {
            End::Pending(Some(present)) if present.will_wake(waker) => return Answer::Later,
            End::Pending(_) => {}
            End::Ended(_) | End::Told => return end.tell().map_or(Answer::ToldBefore, Answer::Ended),
        }
        drop(end);
        // Neither cloned nor dropped under the lock: it may be a user's.
        let waker = waker.clone();
        if self.shared.is_inherited() {
            return Answer::Ended(Ended::Failed(TaskError::Forked));
        }
        let mut end = self.end.lock();
        let End::Pending(present) = &mut *end else {
            drop(end);
            return self.ask(&waker);
        };
        let former = present.replace(waker);
        drop(end);
        drop(former);
        Answer::Later
    }

    /// Whether nothing reaches it but the two references of its [`LocalTask`](super::local_task::LocalTask), of which one is
    /// a waker that is not lent. It stays so until that is lent again, or cloned.
    #[inline]
    fn is_reached_by_its_local_task_alone(self: &Arc<Self>) -> bool {
        let is_alone = Arc::strong_count(self) == 2;
        if is_alone {
            // Sees what others did before they let go of it.
            fence(Acquire);
        }
        is_alone
    }

    /// Notes that nobody will ask how it ends. `false` if somebody has, or if that is decided: then the caller
    /// [takes](Header::take_unwanted) what is left.
    ///
    /// A task that was spawned on the looper's thread ends there, unless it was awaited: then somebody may be noted among
    /// those whom a quit releases.
    #[inline]
    pub(crate) fn detach(&self) -> bool {
        let is_here = self.thread != ANYWHERE && ThreadNumber::is(self.thread);
        if is_here && !self.was_asked.load(Relaxed) {
            let is_undecided = self.join.load(Relaxed) == JOINABLE;
            if is_undecided {
                self.join.store(DETACHED, Relaxed);
            }
            return is_undecided;
        }
        self.join.compare_exchange(JOINABLE, DETACHED, AcqRel, Acquire).is_ok() && !self.was_asked.load(Relaxed)
    }

    /// Takes out what nobody will ask for any more, to be dropped with nothing locked: how it has ended, or who waited.
    pub(crate) fn take_unwanted(&self) -> (Option<Ended>, Option<Waker>) {
        let mut end = self.end.lock();
        match &mut *end {
            End::Pending(waker) => (None, waker.take()),
            End::Ended(_) | End::Told => (end.tell(), None),
        }
    }

    /// Whether another task may have it: its own `Task` was dropped before it ended, and nothing reaches it any more but the
    /// caller's reference and waker.
    ///
    /// There may be a weak reference, but only in a quit: after that, nothing is spawned.
    #[inline]
    pub(super) fn is_free(self: &Arc<Self>) -> bool {
        self.thread != ANYWHERE && self.is_reached_by_its_local_task_alone() && self.join.load(Relaxed) == DETACHED
    }

    /// Gives one that is free to a task at `key` that is about to be polled; `waker` is its own.
    #[inline(always)]
    pub(super) fn reuse(self: &mut Arc<Self>, waker: &mut Waker, stamp: Stamp, key: Key) {
        if !ptr::eq(self.origin, stamp.origin) {
            self.move_to(waker, stamp);
        }
        self.key.store(key.to_bits(), Relaxed);
        self.is_scheduled.store(true, Relaxed);
        self.has_ended.store(false, Relaxed);
        self.join.store(JOINABLE, Relaxed);
        self.was_asked.store(false, Relaxed);
    }

    /// Changes where it was spawned.
    fn move_to(self: &mut Arc<Self>, waker: &mut Waker, stamp: Stamp) {
        *waker = Waker::noop().clone();
        match Arc::get_mut(self) {
            Some(header) => header.origin = stamp.origin,
            // A weak reference is left, of a quit.
            None => *self = Header::new(&self.shared, stamp, None, self.thread),
        }
        *waker = Waker::from(self.clone());
    }

    pub(crate) fn is_pending(&self) -> bool {
        !self.shared.is_inherited() && self.end.lock().is_pending()
    }
}

/// A message that polls the task at `key`. If that has ended meanwhile, the message counts as cancelled.
#[inline]
pub(crate) fn poll(key: Key) -> impl FnOnce(&Looper) + Send + 'static {
    move |looper| {
        if !looper.poll_task(key) {
            looper.skip_message(Queue::count_as_cancelled);
        }
    }
}

impl Wake for Header {
    fn wake(self: Arc<Self>) {
        self.schedule();
    }

    #[inline]
    fn wake_by_ref(self: &Arc<Self>) {
        self.schedule();
    }
}

impl Waiting for Header {
    fn give_up(&self) {
        Header::give_up(self);
    }
}
