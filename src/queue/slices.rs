//! What goes over many messages, in slices: so many steps at a time, between which others use the queue.

use super::*;
use crate::queue::{
    handlers::{Listing, Selection},
    labels::MessageFilter,
};

/// Somebody's way along all messages: the plain ones of each subqueue, then all others.
#[derive(Debug, Default)]
pub(crate) struct Tour {
    plain: [Option<Seq>; 2],
    slot: usize,
}

impl<C> Queue<C> {
    /// Takes out some of those that are selected, because they were cancelled. Whether these were the last.
    pub(crate) fn cancel_some(
        &mut self,
        selection: &mut Selection,
        steps: usize,
        cancelled: &mut Vec<Taken<C>>,
    ) -> bool {
        let (ids, is_over) = self.find_ids(selection, steps);
        cancelled.extend(ids.into_iter().filter_map(|id| self.cancel(id)));
        is_over
    }

    /// Finds some of those that are selected, with their places. Whether these were the last.
    pub(crate) fn find_some(
        &mut self,
        selection: &mut Selection,
        steps: usize,
        found: &mut Vec<(Rank, MessageId)>,
    ) -> bool {
        let (ids, is_over) = self.find_ids(selection, steps);
        found.extend(ids.into_iter().filter_map(|id| Some((Rank::new(self.get(id)?.1, id.seq), id))));
        is_over
    }

    /// How many messages of a handler `filter` names; `None` if it takes more steps to tell.
    pub(crate) fn count(&mut self, target: Key, filter: MessageFilter, mut steps: usize) -> Option<usize> {
        self.list_some(target, filter, &mut steps).then(|| self.handlers.count(target, filter))
    }

    fn find_ids(&mut self, selection: &mut Selection, mut steps: usize) -> (Vec<MessageId>, bool) {
        if self.list_some(selection.target, selection.filter, &mut steps) {
            self.handlers.find_some(selection, steps)
        } else {
            (Vec::new(), false)
        }
    }

    /// Lists some of the messages that are not listed yet, so that a handler's are found by `filter`. Whether it is
    /// done.
    fn list_some(&mut self, target: Key, filter: MessageFilter, steps: &mut usize) -> bool {
        if !self.list_some_of_all(steps) {
            return false;
        }
        let Queue { synchronous, asynchronous, others, extras, .. } = self;
        let labels_of = |id: MessageId| {
            let message = match id.seq.kind() {
                PostKind::Plain if id.seq.is_asynchronous() => {
                    asynchronous.fifo.get(id.seq).map(|(message, _)| message)
                }
                PostKind::Plain => synchronous.fifo.get(id.seq).map(|(message, _)| message),
                PostKind::Timed | PostKind::Front => others.get(id.slot as usize),
            };
            let what = message.and_then(|message| message.address.what());
            Labels { what, token: extras.token_of(id.seq) }
        };
        self.handlers.list_by_kind(target, filter, steps, labels_of)
    }

    fn list_some_of_all(&mut self, steps: &mut usize) -> bool {
        let Queue { synchronous, asynchronous, others, extras, handlers, .. } = self;
        let mut listing =
            handlers.listing.take().unwrap_or_else(|| Listing { plain: [None; 2], slots: others.capacity() });
        while *steps > 0 && listing.slots > 0 {
            *steps -= 1;
            listing.slots -= 1;
            let slot = listing.slots;
            if let Some(message) = others.get_mut(slot)
                && let Some(target) = message.address.target()
                && !message.address.is_listed()
            {
                message.address.set_listed();
                let labels = Labels { what: message.address.what(), token: extras.token_of(message.seq) };
                handlers.list(MessageId { seq: message.seq, slot: slot as u32 }, target, labels);
            }
        }
        let mut is_done = listing.slots == 0;
        for (subqueue, last) in [synchronous, asynchronous].into_iter().zip(&mut listing.plain) {
            while *steps > 0
                && let Some((message, _)) = subqueue.fifo.after(*last)
            {
                *steps -= 1;
                let seq = message.seq;
                *last = Some(seq);
                if let Some(target) = message.address.target()
                    && let Some(message) = subqueue.fifo.get_mut(seq)
                {
                    message.address.set_listed();
                    let labels = Labels { what: message.address.what(), token: extras.token_of(seq) };
                    handlers.list(MessageId::plain(seq), target, labels);
                }
            }
            is_done &= *steps > 0;
        }
        handlers.listing = Some(listing);
        is_done
    }

    /// Visits some more messages, in no order, and collects what `tell` returns. `true` at the end of the tour.
    pub(crate) fn tell_some<R>(
        &self,
        tour: &mut Tour,
        mut steps: usize,
        tell: impl Fn(Rank, &Message<C>, &Handlers) -> R,
        told: &mut Vec<(Rank, R)>,
    ) -> bool {
        for (subqueue, last) in [&self.synchronous, &self.asynchronous].into_iter().zip(&mut tour.plain) {
            while steps > 0
                && let Some((message, when)) = subqueue.fifo.after(*last)
            {
                steps -= 1;
                *last = Some(message.seq);
                let rank = Rank::new(when, message.seq);
                told.push((rank, tell(rank, message, &self.handlers)));
            }
        }
        while steps > 0 && tour.slot < self.others.capacity() {
            steps -= 1;
            if let Some(message) = self.others.get(tour.slot) {
                let rank = Rank::new(message.when, message.seq);
                told.push((rank, tell(rank, message, &self.handlers)));
            }
            tour.slot += 1;
        }
        steps > 0
    }
}
