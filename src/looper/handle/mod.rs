//! The looper as other threads see it.

mod post;
mod watch;

use std::{
    fmt::{self, Debug, Formatter},
    io,
    sync::Arc,
    time::Instant,
};

use crate::{
    core::shared::{Quit, Shared},
    looper::Looper,
    queue::account::MessageCounts,
};

/// **Reaching it from other threads.**
impl Looper {
    /// Gives a handle for other threads.
    #[must_use]
    pub fn handle(&self) -> LooperHandle {
        LooperHandle::new(self.shared())
    }
}

/// Reaches a looper from any thread: posts, wakes, watches fds, calls, quits.
///
/// It does not keep the looper alive; once that is gone, posts are refused and give their value back.
///
/// # Thread safety
/// `Clone`, `Send` and `Sync`. No method but [`call`](LooperHandle::call) and
/// [`call_timeout`](LooperHandle::call_timeout) waits for the looper, and no callback but theirs ever runs on the
/// caller's thread, if that is the looper's own; with the feature `async`, that of `with_looper` runs there, too.
///
/// # Android
/// What other threads use a `Looper*` or a `Handler` for.
#[derive(Clone)]
pub struct LooperHandle {
    pub(crate) shared: Arc<Shared>,
    /// Whether what it posts passes barriers.
    pub(crate) asynchronous: bool,
}

impl LooperHandle {
    pub(crate) fn new(shared: &Arc<Shared>) -> LooperHandle {
        LooperHandle { shared: shared.clone(), asynchronous: false }
    }

    /// Makes the looper's poll that waits, or else its next one, return at once with [`woken`](crate::Turn::woken).
    ///
    /// A poll that has waited already, and runs callbacks, does not report it: the next one does. So it is with a wake
    /// from inside a message. [`poll_all`](crate::Looper::poll_all) looks again after each turn, and ends.
    ///
    /// Any number of calls before that count as one. Of a looper that has quit, the next poll still reports it; on one
    /// that was dropped it does nothing. Neither is an error.
    ///
    /// # Errors
    /// The kernel's, if the eventfd cannot be written; the looper still reports it when it gets up for another reason.
    ///
    /// # Thread safety
    /// Callable from any thread; takes no lock. That a signal handler may call it is not promised.
    ///
    /// # Guarantees
    /// It is reported by exactly one turn, whatever else happens in that turn. A system call is made only if the
    /// looper sleeps.
    ///
    /// # Android
    /// `ALooper_wake`, which aborts the process when the write fails.
    #[doc(alias = "ALooper_wake")]
    pub fn wake(&self) -> io::Result<()> {
        self.shared.wake()
    }

    /// The same looper; what this handle posts is asynchronous, so that no barrier holds it up, and so are the messages
    /// of the handlers that it makes.
    ///
    /// # Android
    /// `Handler.createAsync`, and `Message.setAsynchronous`.
    #[doc(alias = "createAsync")]
    #[must_use]
    pub fn asynchronous(&self) -> LooperHandle {
        LooperHandle { shared: self.shared.clone(), asynchronous: true }
    }

    /// Quits: gives up everything that is pending, and refuses posts and fds from now on.
    ///
    /// It ends the looper's sleep. No callback of any kind starts after this returns; one that is running goes on. The
    /// queued messages are dropped on the looper's thread. Only the first call of `quit` or
    /// [`quit_safely`](LooperHandle::quit_safely) counts. A looper that has quit before it runs does not run, and none
    /// is started again.
    ///
    /// # Android
    /// `Looper.quit`.
    pub fn quit(&self) {
        self.shared.quit(Quit::Now);
    }

    /// Quits after everything that is due now has run, in its order; gives up the rest, and refuses posts and fds from
    /// now on.
    ///
    /// The looper neither sleeps nor serves fds any more. Only the first call of `quit_safely` or
    /// [`quit`](LooperHandle::quit) counts.
    ///
    /// # Android
    /// `Looper.quitSafely`.
    #[doc(alias = "quitSafely")]
    pub fn quit_safely(&self) {
        self.shared.quit(Quit::Safely);
    }

    /// How many messages are pending: exact at the moment of the call. One that is running is not pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether no message is pending: exact at the moment of the call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How the messages so far have ended. Callable also after the looper was dropped.
    #[must_use]
    pub fn message_counts(&self) -> MessageCounts {
        self.shared.message_counts()
    }

    /// Whether the looper has quit, is draining, or was dropped: whether posts are refused.
    #[must_use]
    pub fn has_quit(&self) -> bool {
        !self.shared.is_inherited() && self.shared.is_quitting()
    }

    /// The time on the looper's clock.
    ///
    /// Code that asks the looper for the time can be tested on a looper whose clock moves when told.
    ///
    /// # Android
    /// `SystemClock.uptimeMillis`.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shared.clock.instant()
    }

    /// Whether the looper's thread waits in epoll at this moment. It may change before the caller looks at the answer.
    ///
    /// # Android
    /// `Looper::isPolling`, `MessageQueue.isPolling`.
    #[doc(alias = "isPolling")]
    #[must_use]
    pub fn is_polling(&self) -> bool {
        self.shared.is_polling()
    }

    /// Whether the calling thread is the looper's.
    ///
    /// # Android
    /// `Looper.isCurrentThread`.
    #[doc(alias = "isCurrentThread")]
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.shared.is_current()
    }

    /// The name that the looper was built with.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }
}

impl Debug for LooperHandle {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("LooperHandle").field("name", &self.name()).finish_non_exhaustive()
    }
}
