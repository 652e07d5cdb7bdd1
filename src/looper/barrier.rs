//! `Barrier`: holds up what is not asynchronous.

use std::{
    fmt::{self, Debug, Formatter},
    panic::Location,
    sync::Arc,
};

use crate::{
    core::{
        refused::{Refused, Rejected},
        shared::Shared,
    },
    looper::{Looper, handle::LooperHandle},
    queue::message::Rank,
};

/// Holds up all ordinary messages and closures behind it, until it is dropped. Asynchronous ones pass.
///
/// It stands behind everything that was due when it was put up; that runs as usual. Posts at the front pass it, fds are
/// served, and asynchronous messages run when they are due, in their order: those of
/// [`Handler::asynchronous`](crate::Handler::asynchronous), of
/// [`MessageBuilder::asynchronous`](crate::MessageBuilder::asynchronous), and the posts of
/// [`LooperHandle::asynchronous`]. Several barriers may stand; what is behind one of them waits for it.
///
/// ```
/// use alooper::Looper;
///
/// # fn main() -> std::io::Result<()> {
/// let looper = Looper::new()?;
/// let barrier = looper.barrier()?;
/// looper.post(|_| ())?;
/// looper.handle().asynchronous().post(|_| ())?;
///
/// assert_eq!(looper.poll_once(None)?.messages, 1);
/// drop(barrier);
/// assert_eq!(looper.poll_once(None)?.messages, 1);
/// # Ok(())
/// # }
/// ```
///
/// It cannot be released twice:
///
/// ```compile_fail,E0382
/// # // C55: a barrier that was released does not exist any more.
/// # fn main() -> std::io::Result<()> {
/// let looper = alooper::Looper::new()?;
/// let barrier = looper.barrier()?;
/// drop(barrier);
/// drop(barrier);
/// # Ok(())
/// # }
/// ```
///
/// # Thread safety
/// `Send` and `Sync`: any thread may drop it, which wakes the looper if something may run now.
///
/// # Guarantees
/// One that is forgotten is reported in the log after a while, with the place where it was put up: see
/// [`LooperBuilder::barrier_alarm`](crate::LooperBuilder::barrier_alarm). Quitting lifts all barriers, so that `quit_safely` also
/// runs what was due behind them.
///
/// # Android
/// `MessageQueue.postSyncBarrier`, whose token has to be kept for `removeSyncBarrier`: one that is lost stops the app.
#[doc(alias = "removeSyncBarrier")]
#[must_use = "a barrier that is dropped at once holds up nothing"]
pub struct Barrier {
    shared: Arc<Shared>,
    rank: Rank,
}

impl Drop for Barrier {
    fn drop(&mut self) {
        self.shared.remove_barrier(self.rank);
    }
}

impl Debug for Barrier {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

impl LooperHandle {
    /// Puts up a [`Barrier`], behind everything that is due.
    ///
    /// # Errors
    /// [`Rejected`], with nothing to give back, if the looper has quit or was dropped.
    ///
    /// # Android
    /// `MessageQueue.postSyncBarrier`.
    #[doc(alias = "postSyncBarrier")]
    #[track_caller]
    pub fn barrier(&self) -> Result<Barrier, Rejected<()>> {
        match self.shared.add_barrier(Location::caller()) {
            Ok(rank) => Ok(Barrier { shared: self.shared.clone(), rank }),
            Err(reason) => Err(Refused { value: (), reason }.send_error(Location::caller())),
        }
    }
}

/// **Barriers.**
impl Looper {
    /// Puts up a [`Barrier`], behind everything that is due. See [`LooperHandle::barrier`].
    ///
    /// # Errors
    /// As [`LooperHandle::barrier`].
    ///
    /// # Android
    /// `MessageQueue.postSyncBarrier`.
    #[doc(alias = "postSyncBarrier")]
    #[track_caller]
    pub fn barrier(&self) -> Result<Barrier, Rejected<()>> {
        self.handle().barrier()
    }
}
