//! The handle that posting returns: cancels, and tells whether what was posted is still pending.

use std::{
    fmt::{self, Debug, Formatter},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    core::{
        cancelled, local,
        semaphore::Bounded,
        shared::{LooperId, Shared},
    },
    looper::repeat::Repetition,
    mem::{drop::drop_each, erased::TypeToken},
    queue::message::MessageId,
    sys::time::Moment,
};

/// A posted closure, or a message of type `M` that was sent to a handler: cancels and reschedules it.
///
/// Dropping it does nothing: it stays posted. [`guard`](Posted::guard) turns it into one that cancels when dropped. It
/// does not keep a handler alive.
///
/// # Thread safety
/// That of a closure, `Posted<()>`, is `Send` and `Sync`, whatever was posted: a closure that is not `Send` is dropped
/// on the looper's thread. That of a message is so if the message is `Send`.
///
/// # Android
/// `Handler.removeCallbacks(Runnable)`, which searches the queue for the object.
pub struct Posted<M = ()> {
    /// Not a reference to it, which would have to be counted for each post.
    looper: LooperId,
    kind: PostedKind<M>,
}

enum PostedKind<M> {
    Once(MessageId),
    Repeating(Arc<Repetition>),
    Sent(MessageId, TypeToken<M>),
    /// To a bounded handler.
    Bounded(MessageId, TypeToken<Bounded<M>>),
}

impl<M> Clone for PostedKind<M> {
    fn clone(&self) -> Self {
        match self {
            PostedKind::Once(id) => PostedKind::Once(*id),
            PostedKind::Repeating(repetition) => PostedKind::Repeating(repetition.clone()),
            PostedKind::Sent(id, of) => PostedKind::Sent(*id, *of),
            PostedKind::Bounded(id, of) => PostedKind::Bounded(*id, *of),
        }
    }
}

impl Posted {
    #[inline]
    pub(crate) fn once(looper: LooperId, id: MessageId) -> Posted {
        Posted { looper, kind: PostedKind::Once(id) }
    }

    pub(crate) fn repeating(looper: LooperId, repetition: Arc<Repetition>) -> Posted {
        Posted { looper, kind: PostedKind::Repeating(repetition) }
    }
}

impl<M> Posted<M> {
    #[inline]
    pub(crate) fn sent(looper: LooperId, id: MessageId, of: TypeToken<M>) -> Posted<M> {
        Posted { looper, kind: PostedKind::Sent(id, of) }
    }

    pub(crate) fn bounded(looper: LooperId, id: MessageId, of: TypeToken<Bounded<M>>) -> Posted<M> {
        Posted { looper, kind: PostedKind::Bounded(id, of) }
    }

    /// Whether it waits to run: exact at the moment of the call.
    ///
    /// One that is running is not pending, nor is one of [`post_every`](crate::Looper::post_every) while it runs.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        let id = match &self.kind {
            PostedKind::Once(id) | PostedKind::Sent(id, _) | PostedKind::Bounded(id, _) => Some(*id),
            PostedKind::Repeating(repetition) => repetition.next(),
        };
        id.and_then(|id| local::with_looper(self.looper, |shared| shared.is_pending(id))).unwrap_or(false)
    }
}

impl<M: 'static> Posted<M> {
    /// Cancels it; whether that kept it from running (again).
    ///
    /// One that is running is not affected. One of [`post_every`](crate::Looper::post_every) does not run again after
    /// its present run. Costs the logarithm of what is queued.
    ///
    /// # Thread safety
    /// Callable from any thread. A `Send` closure and a message are dropped before this returns, by the caller; a
    /// closure that is not `Send` also if the caller is the looper's thread, and otherwise in the looper's next
    /// turn. A message that a predicate on another thread looks at is dropped there after that.
    ///
    /// # Guarantees
    /// After it has returned, the looper does not begin the message. One that it has begun goes on, even if it has
    /// not reached its first line yet.
    pub fn cancel(&self) -> bool {
        local::with_looper(self.looper, |shared| self.cancel_on(shared)).unwrap_or(false)
    }

    fn cancel_on(&self, shared: &Shared) -> bool {
        let (taken, kept) = match &self.kind {
            PostedKind::Once(id) => {
                let taken = shared.cancel(*id);
                let kept = taken.is_some();
                (taken, kept)
            }
            PostedKind::Repeating(repetition) => repetition.cancel(shared),
            PostedKind::Sent(id, of) => {
                return cancelled::drop_cancelled(shared, *of, shared.cancel(*id)) > 0;
            }
            PostedKind::Bounded(id, of) => {
                return cancelled::drop_cancelled(shared, *of, shared.cancel(*id)) > 0;
            }
        };
        drop_each(taken);
        kept
    }

    /// Lets it be due `delay` from now, in place of when it was; whether it is pending and has a due time.
    ///
    /// One that was posted or sent to run at once, or at the front, has none; and it is `false` once the looper has quit. Of
    /// [`post_every`](crate::Looper::post_every), the next run is moved, and the later ones follow at whole periods.
    /// Among those due at the same instant it keeps its place in posting order. Costs the logarithm of the timed
    /// messages, and nothing is dropped, allocated for it or posted anew: for timeouts that each event puts off.
    ///
    /// # Thread safety
    /// Callable from any thread; writes the eventfd only if the looper sleeps past the new time.
    ///
    /// # Guarantees
    /// If it is `true`, the message has not begun, and does not before the new time.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let idle = looper.post_delayed(Duration::from_secs(60), |_| println!("nobody is there"))?;
    ///
    /// assert!(idle.reschedule(Duration::from_secs(60)), "somebody was");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// There is none: `removeCallbacks`, then `postDelayed`.
    pub fn reschedule(&self, delay: Duration) -> bool {
        self.reschedule_with(|shared| shared.clock.now().after(delay))
    }

    /// Lets it be due at `when`, as [`reschedule`](Posted::reschedule).
    pub fn reschedule_at(&self, when: Instant) -> bool {
        self.reschedule_with(|shared| shared.clock.moment(when))
    }

    fn reschedule_with(&self, when: impl FnOnce(&Shared) -> Moment) -> bool {
        let reschedule = |shared: &Shared| match &self.kind {
            PostedKind::Once(id) | PostedKind::Sent(id, _) | PostedKind::Bounded(id, _) => {
                shared.reschedule(*id, when(shared))
            }
            PostedKind::Repeating(repetition) => repetition.reschedule(shared, when(shared)),
        };
        local::with_looper(self.looper, reschedule).unwrap_or(false)
    }

    /// Turns this into a guard that cancels when it is dropped.
    #[must_use = "a guard that is dropped at once cancels at once"]
    pub fn guard(self) -> PostedGuard<M> {
        PostedGuard { posted: self, kept: false }
    }
}

impl<M> Clone for Posted<M> {
    fn clone(&self) -> Self {
        Posted { looper: self.looper, kind: self.kind.clone() }
    }
}

impl<M> Debug for Posted<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posted").field("is_pending", &self.is_pending()).finish_non_exhaustive()
    }
}

/// Cancels a posted message when it is dropped. See [`Posted::guard`].
#[derive(Debug)]
#[must_use = "a guard that is dropped at once cancels at once"]
pub struct PostedGuard<M: 'static = ()> {
    posted: Posted<M>,
    /// It is to be let be.
    kept: bool,
}

impl<M: 'static> PostedGuard<M> {
    /// The message.
    #[must_use]
    pub fn posted(&self) -> &Posted<M> {
        &self.posted
    }

    /// Lets the message be: the guard no longer cancels it.
    pub fn keep(mut self) -> Posted<M> {
        self.kept = true;
        self.posted.clone()
    }
}

impl<M: 'static> Drop for PostedGuard<M> {
    fn drop(&mut self) {
        if !self.kept {
            self.posted.cancel();
        }
    }
}
