//! What goes over many messages, in slices: so many steps at a time, between which others use the queue.

use std::ops::Range;

use super::*;
use crate::queue::index::{Filter, Selection};

impl<T: Queued> Queue<T> {
    /// Takes out some of those that are selected, because they were cancelled. Whether these were the last.
    pub(crate) fn cancel_some(
        &mut self,
        selection: &mut Selection,
        steps: usize,
        cancelled: &mut Vec<Taken<T>>,
    ) -> bool {
        let (spots, is_over) = self.index.find_some(selection, steps, &mut self.nodes, &self.extras);
        let left = usize::from(planted::is(Bug::MissOne) && selection.is_labelled() && spots.len() > 1);
        cancelled.extend(spots.into_iter().skip(left).filter_map(|spot| self.cancel(spot)));
        is_over
    }

    /// Finds some of those that are selected, with their places. Whether these were the last.
    pub(crate) fn find_some(
        &mut self,
        selection: &mut Selection,
        steps: usize,
        found: &mut Vec<(Place, Spot)>,
    ) -> bool {
        let (spots, is_over) = self.index.find_some(selection, steps, &mut self.nodes, &self.extras);
        found.extend(spots.into_iter().filter_map(|spot| Some((self.nodes.get(spot.slot)?.place(), spot))));
        is_over
    }

    /// How many messages of a handler `filter` names; `None` if it takes more steps to tell.
    pub(crate) fn count(&mut self, target: Key, filter: Filter, steps: usize) -> Option<usize> {
        self.index.count(target, filter, steps, &mut self.nodes, &self.extras)
    }

    /// Where all messages are that are pending now, for [`tell_some`](Queue::tell_some).
    pub(crate) fn slots(&self) -> Range<u32> {
        0..self.nodes.slots()
    }

    /// Notes what `tell` says of some of the messages in `slots`, in no order, and leaves the others. Whether there are
    /// none.
    pub(crate) fn tell_some<R>(
        &self,
        slots: &mut Range<u32>,
        steps: usize,
        tell: impl Fn(Place, &T, &Index) -> R,
        told: &mut Vec<(Place, R)>,
    ) -> bool {
        let nodes = slots.by_ref().take(steps).filter_map(|slot| self.nodes.get(slot));
        told.extend(nodes.map(|node| (node.place(), tell(node.place(), &node.value, &self.index))));
        slots.start >= slots.end
    }
}
