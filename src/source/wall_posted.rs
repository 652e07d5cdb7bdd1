//! The handle of what was posted by the wall clock.

use std::{
    fmt::{self, Debug, Formatter},
    sync::Arc,
};

use crate::{
    core::{
        local,
        shared::{LooperId, Shared},
        wall_clock_timers::WallClockTimer,
    },
    looper::repeat::Repetition,
    mem::drop::drop_each,
    sys::time::wall::LeapTime,
};

/// What a closure that waits for the wall clock shares with its handle. It has nothing of the user's.
#[derive(Debug)]
pub(super) struct WallTimer {
    /// Its one run, and how it is posted again when it was early.
    pub(super) repetition: Arc<Repetition>,
    pub(super) time: LeapTime,
}

impl WallClockTimer for WallTimer {
    fn reschedule(&self, shared: &Shared) {
        _ = self.repetition.reschedule(shared, shared.clock.moment_of(self.time));
    }
}

/// Something that was posted to run at a time of a clock that can leap, by
/// [`post_at_wall`](crate::Looper::post_at_wall) or
/// [`post_delayed_boottime`](crate::Looper::post_delayed_boottime).
///
/// Dropping it does nothing: it stays posted. [`guard`](WallPosted::guard) turns it into one that cancels when dropped.
///
/// # Thread safety
/// `Send` and `Sync`, whatever was posted: as [`Posted`](crate::Posted).
#[derive(Clone)]
pub struct WallPosted {
    looper: LooperId,
    timer: Arc<WallTimer>,
}

impl WallPosted {
    pub(super) fn new(looper: LooperId, timer: Arc<WallTimer>) -> WallPosted {
        WallPosted { looper, timer }
    }

    /// Whether it waits to run: exact at the moment of the call. One that is running is not pending.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        local::with_looper(self.looper, |shared| self.timer.repetition.is_to_run(shared)).unwrap_or(false)
    }

    /// Cancels it; whether that kept it from running.
    ///
    /// # Thread safety
    /// Callable from any thread; drops the closure as [`Posted::cancel`](crate::Posted::cancel) does.
    ///
    /// # Guarantees
    /// After it has returned, the looper does not begin the closure.
    pub fn cancel(&self) -> bool {
        let cancel = |shared: &Shared| {
            let (taken, kept) = self.timer.repetition.cancel(shared);
            drop_each(taken);
            kept
        };
        local::with_looper(self.looper, cancel).unwrap_or(false)
    }

    /// Turns this into a guard that cancels when it is dropped.
    #[must_use = "a guard that is dropped at once cancels at once"]
    pub fn guard(self) -> WallGuard {
        WallGuard { posted: self, kept: false }
    }
}

impl Debug for WallPosted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_pending = self.is_pending();
        f.debug_struct("WallPosted").field("time", &self.timer.time).field("is_pending", &is_pending).finish()
    }
}

/// Cancels what was posted by the wall clock when it is dropped. See [`WallPosted::guard`].
#[derive(Debug)]
#[must_use = "a guard that is dropped at once cancels at once"]
pub struct WallGuard {
    posted: WallPosted,
    /// It is to be let be.
    kept: bool,
}

impl WallGuard {
    /// What was posted.
    #[must_use]
    pub fn posted(&self) -> &WallPosted {
        &self.posted
    }

    /// Lets it be: the guard no longer cancels it.
    pub fn keep(mut self) -> WallPosted {
        self.kept = true;
        self.posted.clone()
    }
}

impl Drop for WallGuard {
    fn drop(&mut self) {
        if !self.kept {
            self.posted.cancel();
        }
    }
}
