//! A place for one pending closure: what is posted there replaces what is in it.

use std::{
    fmt::{self, Debug, Formatter},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    core::{
        item::{Body, Stamp, When},
        refused::{Refused, Rejected},
        shared::{Post, Shared},
    },
    error::RejectReason,
    looper::{Looper, handle::LooperHandle},
    mem::drop::drop_each,
    queue::message::MessageId,
    sys::fork_aware_mutex::ForkAwareMutex,
};

/// A place for one pending closure: each post replaces the pending one, in one exact step.
///
/// Made by [`LooperHandle::slot`]. Clones are the same slot. Dropping it does nothing: what is in it stays posted.
///
/// # Examples
/// A search starts once the user has stopped typing for a while:
///
/// ```
/// # use alooper::Looper;
/// # use std::time::Duration;
/// # fn main() -> std::io::Result<()> {
/// let looper = Looper::new()?;
/// let search = looper.handle().slot();
/// for text in ["l", "lo", "loop"] {
///     search.post_delayed(Duration::from_millis(1), move |looper| {
///         assert_eq!(text, "loop");
///         looper.quit();
///     })?;
/// }
///
/// assert_eq!(looper.run()?.run, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Thread safety
/// `Send` and `Sync`. For closures that are not `Send`, use a [`Handler`](crate::Handler) and its
/// [`replace`](crate::Handler::replace).
///
/// # Android
/// `removeCallbacks(r)`, then `postDelayed(r)`: two steps.
#[derive(Clone)]
pub struct Slot {
    shared: Arc<Shared>,
    asynchronous: bool,
    /// What was posted last.
    latest: Arc<ForkAwareMutex<Option<MessageId>>>,
}

impl Slot {
    /// Posts `callback` to run after everything that is due already, in place of what is in the slot.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped; then nothing is replaced.
    ///
    /// # Guarantees
    /// At no moment are two closures of one slot pending, and none that was replaced starts after this has returned.
    #[track_caller]
    pub fn post<F>(&self, callback: F) -> Result<(), Rejected<F>>
    where
        F: FnOnce(&Looper) + Send + 'static,
    {
        self.post_when(Stamp::new(When::Now), callback)
    }

    /// Posts `callback` to run no earlier than `delay` from now, in place of what is in the slot: *debounce*.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped; then nothing is replaced.
    #[doc(alias = "debounce")]
    #[track_caller]
    pub fn post_delayed<F>(&self, delay: Duration, callback: F) -> Result<(), Rejected<F>>
    where
        F: FnOnce(&Looper) + Send + 'static,
    {
        self.post_when(Stamp::new(When::At(self.shared.clock.now().after(delay))), callback)
    }

    /// Posts `callback` to run no earlier than at `when`, in place of what is in the slot.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped; then nothing is replaced.
    #[track_caller]
    pub fn post_at<F>(&self, when: Instant, callback: F) -> Result<(), Rejected<F>>
    where
        F: FnOnce(&Looper) + Send + 'static,
    {
        self.post_when(Stamp::new(When::At(self.shared.clock.moment(when))), callback)
    }

    fn post_when<F>(&self, stamp: Stamp, callback: F) -> Result<(), Rejected<F>>
    where
        F: FnOnce(&Looper) + Send + 'static,
    {
        let stamp = Stamp { asynchronous: self.asynchronous, ..stamp };
        let refuse = |refused: Refused<Box<F>>| refused.unboxed_send_error(stamp.origin);
        // As large as a message has room for, whatever the closure is.
        let callback = Box::new(callback);
        let Some(mut latest) = self.latest.lock() else {
            return Err(refuse(Refused { value: callback, reason: RejectReason::Forked }));
        };
        let fill = |body: &mut Body, callback: Box<F>, _| body.fill(move |looper: &Looper| callback(looper));
        let (replaced, left) = self.shared.leave_in_place_of(*latest, Post::closure(stamp), callback, fill);
        if let Ok((id, _)) = &left {
            *latest = Some(*id);
        }
        // Unlocked before anything of a user's is dropped, or logged.
        drop(latest);
        let (_, signal) = left.map_err(refuse)?;
        self.shared.signal_if(signal);
        drop_each(replaced);
        Ok(())
    }

    /// Cancels what is in the slot; whether that kept it from running. It is dropped before this returns.
    pub fn cancel(&self) -> bool {
        // Locked, so that it is before or after a post to the slot; a closure that is `Send` needs no signal to be dropped.
        let taken = self.latest.lock().and_then(|latest| self.shared.cancel((*latest)?));
        let was_pending = taken.is_some();
        drop_each(taken);
        was_pending
    }

    /// Whether a closure waits in the slot to run: exact at the moment of the call.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.latest().is_some_and(|id| self.shared.is_pending(id))
    }

    fn latest(&self) -> Option<MessageId> {
        *self.latest.lock()?
    }
}

impl Debug for Slot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("is_pending", &self.is_pending()).finish_non_exhaustive()
    }
}

impl LooperHandle {
    /// Makes a slot for one pending closure. On a handle that is [`asynchronous`](LooperHandle::asynchronous), no barrier
    /// holds up what is posted there.
    #[must_use]
    pub fn slot(&self) -> Slot {
        let latest = Arc::new(ForkAwareMutex::new(None));
        Slot { shared: self.shared.clone(), asynchronous: self.asynchronous, latest }
    }
}
