//! What a forked child does with what was left for its parent's looper.

use super::*;

impl<T> Inbox<T> {
    /// Forgets what was left: it is neither run nor dropped.
    pub(crate) fn forget(&mut self) {
        let Left { plain, other, arrivals, leftovers, .. } = self.left.get_mut();
        mem::forget((mem::take(plain), mem::take(other), mem::take(arrivals), mem::take(leftovers)));
    }
}
