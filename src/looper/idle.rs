//! Idle handlers: what a looper does when nothing else is due.

use std::{
    fmt::{self, Debug, Formatter},
    ops::ControlFlow,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    core::{
        item::{Arrival, PendingDrop},
        local,
        refused::{Refused, Rejected},
        shared::Shared,
    },
    looper::{Looper, handle::LooperHandle},
    sys::time::Moment,
};

/// An idle handler that was added to a looper: removes it.
///
/// Dropping it does nothing: the handler stays. [`guard`](IdleHandler::guard) turns it into one that removes when
/// dropped.
///
/// # Thread safety
/// `Send` and `Sync`, whatever the closure is.
///
/// # Android
/// The `IdleHandler` that `MessageQueue.removeIdleHandler` is called with.
#[derive(Clone)]
pub struct IdleHandler {
    shared: Arc<Shared>,
    id: u64,
    is_removed: Arc<AtomicBool>,
}

impl IdleHandler {
    /// Removes the idle handler; whether it was there.
    ///
    /// One that is running goes on. The closure is dropped before this returns if the caller is the looper's thread and
    /// it does not run, and otherwise in the looper's next turn.
    ///
    /// # Guarantees
    /// After it has returned, the looper does not begin the handler.
    ///
    /// # Android
    /// `MessageQueue.removeIdleHandler`.
    #[doc(alias = "removeIdleHandler")]
    pub fn remove(&self) -> bool {
        if self.shared.is_inherited() {
            return false;
        }
        let was_removed = self.is_removed.swap(true, Ordering::AcqRel);
        if !was_removed {
            // Without its looper, it was dropped with that.
            _ = local::drop_locally(&self.shared, PendingDrop::Idle(self.id));
        }
        !was_removed
    }

    /// Whether the handler is still there.
    #[must_use]
    pub fn is_added(&self) -> bool {
        !self.shared.is_inherited() && !self.is_removed.load(Ordering::Acquire)
    }

    /// Turns this into a guard that removes the handler when it is dropped.
    #[must_use = "a guard that is dropped at once removes at once"]
    pub fn guard(self) -> IdleGuard {
        IdleGuard { handler: self, kept: false }
    }
}

impl Debug for IdleHandler {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleHandler").field("is_added", &self.is_added()).finish_non_exhaustive()
    }
}

/// Removes an idle handler when it is dropped. See [`IdleHandler::guard`].
#[derive(Debug)]
#[must_use = "a guard that is dropped at once removes at once"]
pub struct IdleGuard {
    handler: IdleHandler,
    /// It is to be let be.
    kept: bool,
}

impl IdleGuard {
    /// The idle handler.
    #[must_use]
    pub fn handler(&self) -> &IdleHandler {
        &self.handler
    }

    /// Lets the idle handler be: the guard no longer removes it.
    pub fn keep(mut self) -> IdleHandler {
        self.kept = true;
        self.handler.clone()
    }
}

impl Drop for IdleGuard {
    fn drop(&mut self) {
        if !self.kept {
            self.handler.remove();
        }
    }
}

/// An idle handler's closure. When it goes, by whichever way, the handler counts as removed.
struct Idler<F> {
    callback: F,
    is_removed: Removal,
}

/// Says that the handler was removed, when it is dropped.
struct Removal(Arc<AtomicBool>);

impl Drop for Removal {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl<F: FnMut(&Looper) -> ControlFlow<()>> Idler<F> {
    fn new(callback: F) -> (Idler<F>, Arc<AtomicBool>) {
        let is_removed = Arc::new(AtomicBool::new(false));
        (Idler { callback, is_removed: Removal(is_removed.clone()) }, is_removed)
    }

    fn run(&mut self, looper: &Looper) -> Option<ControlFlow<()>> {
        if self.is_removed.0.load(Ordering::Acquire) {
            return None;
        }
        Some((self.callback)(looper))
    }
}

/// **Idle handlers.**
impl Looper {
    /// Whether no message is due and no barrier stands. See [`LooperHandle::is_idle`].
    ///
    /// # Android
    /// `MessageQueue.isIdle`.
    #[doc(alias = "isIdle")]
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shared().is_idle()
    }

    /// Adds an idle handler, which need not be `Send`: `callback` runs when nothing is due.
    ///
    /// It runs once each time that the looper falls idle: before it waits, when no message is due and no barrier
    /// stands, also in a turn that does not block. It runs again only after another message has run; fd events and
    /// wakes do not count. One that is added meanwhile runs in the next round, and after a round the looper looks at
    /// its queue again. A panic in it removes it and goes
    /// on. That it ran is in the [`Turn`](crate::Turn), but does not end one.
    ///
    /// One that keeps an `Rc` of its own looper keeps both alive: use its `&Looper` argument, or keep a
    /// [`LooperHandle`].
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::ops::ControlFlow;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// looper.post(|_| println!("first, the work"))?;
    /// looper.add_idle(|looper| {
    ///     println!("then, what can wait");
    ///     looper.quit();
    ///     ControlFlow::Break(())
    /// })?;
    ///
    /// looper.run()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// `MessageQueue.addIdleHandler`. There, one that is added while the looper sleeps waits for the next message.
    #[doc(alias = "addIdleHandler")]
    #[track_caller]
    pub fn add_idle<F>(&self, callback: F) -> Result<IdleHandler, Rejected<F>>
    where
        F: FnMut(&Looper) -> ControlFlow<()> + 'static,
    {
        let callback = Box::new(callback);
        let shared = self.shared();
        // Closed under its feet by another thread, it is kept and never runs, as if it had been added just before.
        if let Some(reason) = shared.closed() {
            return Err(Refused { value: callback, reason }.unboxed_local_error(Location::caller()));
        }
        let id = shared.next_id();
        let (mut idler, is_removed) = Idler::new(callback);
        self.local_state().idlers.insert(id, Box::new(move |looper| idler.run(looper)), Location::caller());
        // A looper that is hosted may be asleep on its own thread.
        shared.signal_if(shared.inbox.wake_for(Moment::FRONT));
        Ok(IdleHandler { shared: shared.clone(), id, is_removed })
    }
}

impl LooperHandle {
    /// Whether no message is due and no barrier stands: exact at the moment of the call.
    ///
    /// # Thread safety
    /// Callable from any thread.
    ///
    /// # Android
    /// `MessageQueue.isIdle`.
    #[doc(alias = "isIdle")]
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shared.is_idle()
    }

    /// Adds an idle handler from any thread: `callback` runs on the looper's thread when nothing is due, also if the
    /// looper is asleep already.
    ///
    /// As [`Looper::add_idle`].
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped.
    ///
    /// # Android
    /// `MessageQueue.addIdleHandler`.
    #[doc(alias = "addIdleHandler")]
    #[track_caller]
    pub fn add_idle<F>(&self, callback: F) -> Result<IdleHandler, Rejected<F>>
    where
        F: FnMut(&Looper) -> ControlFlow<()> + Send + 'static,
    {
        let id = self.shared.next_id();
        let (idler, is_removed) = Idler::new(Box::new(callback));
        let place = Location::caller();
        let arrival =
            |mut idler: Box<Idler<Box<F>>>| Arrival::Idle(id, Box::new(move |looper| idler.run(looper)), place);
        match self.shared.admit(Box::new(idler), arrival) {
            Ok(()) => Ok(IdleHandler { shared: self.shared.clone(), id, is_removed }),
            Err(Refused { value, reason }) => {
                Err(Refused { value: value.callback, reason }.unboxed_send_error(Location::caller()))
            }
        }
    }
}
