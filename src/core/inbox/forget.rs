//! What a forked child does with what was left for its parent's looper.

use super::*;

impl<C> Inbox<C> {
    /// Forgets what was left: it is neither run nor dropped.
    pub(crate) fn forget(&mut self) {
        let Left { messages, arrivals, pending_drops, .. } = self.left.get_mut();
        mem::forget((mem::take(messages), mem::take(arrivals), mem::take(pending_drops)));
    }
}
