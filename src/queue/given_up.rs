//! What a quit gives up, until the looper's thread drops it.

use super::*;

impl<T: Queued> Queue<T> {
    /// Gives up everything that is pending, and takes all barriers away.
    pub(crate) fn give_up_all(&mut self) {
        self.barriers.clear();
        self.unreported.clear();
        let lines = [mem::take(&mut self.synchronous), mem::take(&mut self.asynchronous)];
        lines.iter().flat_map(Line::spots).for_each(|spot| self.give_up(spot));
        self.trim();
    }

    /// Gives up what is not due at `now`, and takes all barriers away.
    pub(crate) fn give_up_later_than(&mut self, now: Moment) {
        if !planted::is(Bug::LeaveBarriers) {
            self.barriers.clear();
        }
        self.unreported.clear();
        let later = [&mut self.synchronous, &mut self.asynchronous].map(|line| line.split_later(now, &self.nodes));
        later.into_iter().flatten().for_each(|spot| self.give_up(spot));
    }

    /// Gives up a message that is in no line any more.
    fn give_up(&mut self, spot: Spot) {
        if spot.is_live(&self.nodes) {
            self.account.dropped.add(1);
            let taken = self.take_from_arena(spot);
            self.dropped.extend(taken);
        }
    }

    /// Keeps a message that was cancelled where it may not be dropped with what was given up.
    pub(crate) fn drop_at_home(&mut self, taken: Taken<T>) {
        self.dropped.push(taken);
    }

    /// Takes what was given up, to drop it.
    pub(crate) fn take_dropped(&mut self) -> Vec<Taken<T>> {
        mem::take(&mut self.dropped)
    }

    /// Takes the handlers that are gone for good; not while what was given up is found through them.
    pub(crate) fn take_ended(&mut self) -> Vec<Key> {
        if self.dropped.is_empty() { self.index.take_ended() } else { Vec::new() }
    }

    /// Takes those out of what was given up that `is_meant`.
    pub(crate) fn take_dropped_if(&mut self, is_meant: impl Fn(&T) -> bool) -> Vec<Taken<T>> {
        self.dropped.extract_if(.., |taken| is_meant(&taken.value)).collect()
    }
}
