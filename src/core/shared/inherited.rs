//! What a forked child has of its parent's loopers: a copy that nobody may lock, with fds that are the parent's, too.

use super::*;

/// The proof that a looper is this process's, without which nobody locks its queue but the fast paths of its thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ours(());

impl Shared {
    /// Whether this process has it from its parent, by a fork. To be asked before anything is locked, and before
    /// anything of the kernel's is used.
    #[inline(always)]
    pub(crate) fn is_inherited(&self) -> bool {
        !self.process.is_current()
    }

    /// Notes in a forked child that it is inherited, where posts and the turn look in any case.
    pub(crate) fn note_inherited(&self) {
        self.queue.shut();
    }

    /// The error if it is inherited.
    #[inline]
    pub(crate) fn check_process(&self) -> io::Result<()> {
        if self.is_inherited() { Err(RejectReason::Forked.into()) } else { Ok(()) }
    }

    /// Why nothing is accepted any more, if nothing is.
    pub(crate) fn closed(&self) -> Option<RejectReason> {
        if self.is_inherited() { Some(RejectReason::Forked) } else { self.inbox.closed() }
    }

    /// The proof that it is not inherited, if it is not.
    #[inline(always)]
    pub(super) fn ours(&self) -> Option<Ours> {
        if self.is_inherited() { None } else { Some(Ours(())) }
    }

    /// Locks the queue as it is now, the inbox's messages included.
    #[inline]
    pub(super) fn queue(&self, ours: Ours) -> Guard<'_, Queue<Looper>> {
        let mut queue = self.lock_queue(ours);
        self.collect(&mut queue);
        queue
    }

    /// Locks the queue, to look at its first message: with the inbox's, unless those are behind it. While others post
    /// without end, their lock is taken once for many messages, not for each.
    #[inline]
    pub(super) fn queue_for_first(&self, ours: Ours) -> Guard<'_, Queue<Looper>> {
        let mut queue = self.lock_queue(ours);
        if !queue.begins_plain() {
            self.collect(&mut queue);
        }
        queue
    }

    /// Locks the queue as it is.
    #[inline]
    pub(super) fn lock_queue(&self, _: Ours) -> Guard<'_, Queue<Looper>> {
        self.queue.lock()
    }

    /// Runs `look` on the queue without the inbox's messages. A forked child has an empty one.
    pub(crate) fn with_queue_alone<R: Default>(&self, look: impl FnOnce(&mut Queue<Looper>) -> R) -> R {
        match self.ours() {
            Some(ours) => look(&mut self.lock_queue(ours)),
            None => R::default(),
        }
    }

    /// Runs `look` on the queue as it is now, the inbox's messages included. A forked child has an empty one.
    pub(crate) fn with_queue<R: Default>(&self, look: impl FnOnce(&mut Queue<Looper>) -> R) -> R {
        match self.ours() {
            Some(ours) => look(&mut self.queue(ours)),
            None => R::default(),
        }
    }
}

#[cfg(not(all(test, alooper_loom)))]
impl Drop for Shared {
    /// In a forked child, forgets what other threads of the parent could reach behind locks, and closes the eventfd.
    ///
    /// No thread of the parent held a lock here at the fork, or this would still be borrowed. The contents are skipped
    /// all the same: they are the parent's.
    fn drop(&mut self) {
        if self.is_inherited() {
            mem::forget(mem::replace(self.queue.get_mut(), Queue::new(&self.account)));
            self.inbox.forget();
            self.fds.forget();
        }
    }
}
