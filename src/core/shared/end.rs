//! What `run_while_alive` waits for: that nothing is left.

use super::*;

#[derive(Debug, Default)]
pub(crate) struct End {
    /// The looper's thread ends its turn when nothing is left, and has to be told what others take away. Written there.
    is_awaited: AtomicBool,
    /// How many guards keep it going.
    guards: AtomicU64,
}

impl End {
    /// Sets whether the end is awaited; whether it was.
    pub(crate) fn set_awaited(&self, is_awaited: bool) -> bool {
        self.is_awaited.swap(is_awaited, Ordering::SeqCst)
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::SeqCst)
    }

    pub(crate) fn keep(&self) {
        self.guards.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn let_go(&self) {
        self.guards.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn is_kept_alive(&self) -> bool {
        self.guards.load(Ordering::SeqCst) > 0
    }
}

impl Shared {
    /// Lets the looper see whether anything is left, after something was taken away. The flag is set before the looper
    /// looks, and what it looks at is changed before this: so one of the two sees the other.
    #[inline]
    pub(crate) fn tell_end(&self) {
        if self.end.is_awaited() {
            self.tell_end_now();
        }
    }

    #[cold]
    fn tell_end_now(&self) {
        if !self.is_current() && !self.is_inherited() {
            self.signal_if(self.inbox.request_cleanup());
        }
    }
}
