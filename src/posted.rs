//! The handle that posting returns: cancels, and tells whether the message is still pending.

use std::{
    fmt::{self, Debug, Formatter},
    sync::Arc,
};

use crate::{home, queue::Place, repeat::Repetition, shared::Shared};

/// A message that was posted.
///
/// Dropping it does nothing: the message stays posted. [`guard`](Posted::guard) turns it into one that cancels when
/// dropped.
///
/// # Thread safety
/// `Send` and `Sync`, whatever was posted: a value that is not `Send` is dropped on the looper's thread.
///
/// # Android
/// `Handler.removeCallbacks(Runnable)`, which searches the queue for the object.
#[derive(Clone)]
pub struct Posted {
    shared: Arc<Shared>,
    target: Target,
}

#[derive(Clone)]
enum Target {
    Once(Place),
    Repeating(Arc<Repetition>),
}

impl Posted {
    pub(crate) fn once(shared: &Arc<Shared>, place: Place) -> Posted {
        Posted { shared: shared.clone(), target: Target::Once(place) }
    }

    pub(crate) fn repeating(shared: &Arc<Shared>, repetition: Arc<Repetition>) -> Posted {
        Posted { shared: shared.clone(), target: Target::Repeating(repetition) }
    }

    /// Cancels the message; whether that kept it from running (again).
    ///
    /// A message that is running is not affected. One of [`post_every`](crate::Looper::post_every) does not run again
    /// after its present run. Costs the logarithm of what is queued.
    ///
    /// # Thread safety
    /// Callable from any thread. A `Send` closure is dropped before this returns, by the caller; one that is not `Send`
    /// also if the caller is the looper's thread, and otherwise in the looper's next turn.
    ///
    /// # Guarantees
    /// After it has returned, the looper does not begin the message (R1). One that it has begun goes on, even if it has not
    /// reached its first line yet.
    pub fn cancel(&self) -> bool {
        let (message, kept) = match &self.target {
            Target::Once(place) => {
                let message = self.shared.cancel(*place);
                let kept = message.is_some();
                (message, kept)
            }
            Target::Repeating(repetition) => repetition.cancel(&self.shared),
        };
        if let Some(message) = message {
            home::drop_cancelled(&self.shared, message);
        }
        kept
    }

    /// Whether the message waits to run: exact at the moment of the call.
    ///
    /// One that is running is not pending, nor is one of [`post_every`](crate::Looper::post_every) while it runs.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        let place = match &self.target {
            Target::Once(place) => Some(*place),
            Target::Repeating(repetition) => repetition.next(),
        };
        place.is_some_and(|place| self.shared.is_pending(place))
    }

    /// Turns this into a guard that cancels the message when it is dropped.
    #[must_use = "a guard that is dropped at once cancels at once"]
    pub fn guard(self) -> PostedGuard {
        PostedGuard { posted: self, kept: false }
    }
}

impl Debug for Posted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posted").field("is_pending", &self.is_pending()).finish_non_exhaustive()
    }
}

/// Cancels a posted message when it is dropped. See [`Posted::guard`].
#[derive(Debug)]
#[must_use = "a guard that is dropped at once cancels at once"]
pub struct PostedGuard {
    posted: Posted,
    /// It is to be let be.
    kept: bool,
}

impl PostedGuard {
    /// The message.
    #[must_use]
    pub fn posted(&self) -> &Posted {
        &self.posted
    }

    /// Lets the message be: the guard no longer cancels it.
    pub fn keep(mut self) -> Posted {
        self.kept = true;
        self.posted.clone()
    }
}

impl Drop for PostedGuard {
    fn drop(&mut self) {
        if !self.kept {
            self.posted.cancel();
        }
    }
}
