//! The handle of a callback for signals.

use std::{
    fmt::{self, Debug, Formatter},
    rc::{Rc, Weak},
};

use super::hub::Hub;

/// A callback for signals, on its looper's thread. Made by
/// [`Looper::add_signals`](crate::Looper::add_signals).
///
/// Dropping it does nothing: the looper goes on watching. [`guard`](SignalWatch::guard) turns it into one that removes
/// when dropped. It does not keep the looper alive.
#[derive(Clone)]
pub struct SignalWatch {
    hub: Weak<Hub>,
    name: u64,
}

impl SignalWatch {
    pub(super) fn new(hub: &Rc<Hub>, name: u64) -> SignalWatch {
        SignalWatch { hub: Rc::downgrade(hub), name }
    }

    /// Ends the watching; whether it had not ended before. The callback is dropped now, or after its run.
    ///
    /// # Guarantees
    /// The callback is not called again, not even for a signal that the looper has already read.
    pub fn remove(&self) -> bool {
        Hub::of(&self.hub).is_some_and(|hub| hub.remove(self.name))
    }

    /// Whether the looper still watches for it.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        Hub::of(&self.hub).is_some_and(|hub| hub.has(self.name))
    }

    /// Turns this into a guard that ends the watching when it is dropped.
    #[must_use = "a guard that is dropped at once ends the watching at once"]
    pub fn guard(self) -> SignalGuard {
        SignalGuard { watch: self, kept: false }
    }
}

impl Debug for SignalWatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalWatch").field("is_registered", &self.is_registered()).finish_non_exhaustive()
    }
}

/// Ends the watching of signals when it is dropped. See [`SignalWatch::guard`].
#[derive(Debug)]
#[must_use = "a guard that is dropped at once ends the watching at once"]
pub struct SignalGuard {
    watch: SignalWatch,
    /// It is to be let be.
    kept: bool,
}

impl SignalGuard {
    /// Lets the looper go on: the guard no longer ends the watching.
    pub fn keep(mut self) -> SignalWatch {
        self.kept = true;
        self.watch.clone()
    }
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        if !self.kept {
            self.watch.remove();
        }
    }
}
