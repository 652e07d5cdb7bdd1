//! What the looper asks in each turn: what comes next, whether it may sleep, and until when.

use std::ops::DerefMut;

use super::{inherited::Ours, *};
use crate::queue::batch::Spare;

impl Shared {
    /// The rank of the first message that may run.
    pub(crate) fn next_rank(&self) -> Option<Rank> {
        self.queue_for_first(self.ours()?).next_rank()
    }

    /// Whether nothing is pending and no barrier stands. That is what most turns find that serve fds, so to find it costs
    /// little; `false` where it would cost more.
    #[inline]
    pub(crate) fn has_nothing_queued(&self, here: Here) -> bool {
        self.is_inherited() || self.has_nothing_queued_in(&self.queue.lock_here(here))
    }

    #[inline]
    fn has_nothing_queued_in(&self, queue: &Queue<Looper>) -> bool {
        queue.has_nothing_queued() && !self.inbox.has_messages()
    }

    /// The rank of the first message that may run, and when a barrier will have stood for too long.
    #[inline]
    pub(crate) fn next_stops(&self, here: Here) -> (Option<Rank>, Option<Moment>) {
        if !self.is_inherited() {
            let mut queue = self.queue.lock_here(here);
            if self.has_nothing_queued_in(&queue) {
                queue.set_fresh(false);
                // One that is polled without end but never sleeps gives it back, too.
                if queue.is_very_roomy() {
                    self.give_back_room(queue, Queue::take_half_of_room);
                }
                return (None, None);
            }
        }
        match self.ours() {
            Some(ours) => self.next_stops_of_any(ours),
            None => (None, None),
        }
    }

    #[inline(never)]
    fn next_stops_of_any(&self, ours: Ours) -> (Option<Rank>, Option<Moment>) {
        let mut queue = self.queue_for_first(ours);
        queue.set_fresh(false);
        let stops = (queue.next_rank(), self.next_alarm(&queue));
        if queue.is_very_roomy() {
            self.give_back_room(queue, Queue::take_half_of_room);
        }
        stops
    }

    /// As [`is_idle`](Shared::is_idle), for idle handlers that have still to run: if it is a barrier that keeps them
    /// from it, the looper is woken when the last one goes.
    pub(crate) fn await_idle(&self) -> bool {
        let now = self.clock.now();
        self.ours().is_some_and(|ours| self.queue(ours).await_idle(now))
    }

    /// Whether no message is due and no barrier stands.
    pub(crate) fn is_idle(&self) -> bool {
        let now = self.clock.now();
        self.ours().is_some_and(|ours| self.queue(ours).is_idle(now))
    }

    /// Publishes that the looper sleeps until `until`, unless a message is due before that, a barrier is to be
    /// reported, or something was left.
    ///
    /// Both are looked at under one lock of the queue: in between, somebody who asks or cancels could move a new
    /// message from the inbox, where [`Inbox::prepare_sleep`] looks, to the queue.
    pub(crate) fn prepare_sleep(&self, until: Moment) -> bool {
        let Some(ours) = self.ours() else {
            return false;
        };
        let mut queue = self.queue(ours);
        let is_early = |stop: Moment| stop < until;
        let has_stop = queue.next_due().is_some_and(is_early) || self.next_alarm(&queue).is_some_and(is_early);
        if has_stop || !self.inbox.prepare_sleep(until) {
            return false;
        }
        self.inbox.set_timed_from(queue.timed_from());
        if queue.is_roomy() {
            self.give_back_room(queue, Queue::take_room);
        }
        true
    }

    /// Gives back what `take` takes of the room that a burst has left, and as much of the inbox's.
    #[cold]
    fn give_back_room(
        &self,
        mut queue: impl DerefMut<Target = Queue<Looper>>,
        take: impl FnOnce(&mut Queue<Looper>) -> [Spare<Looper>; 2],
    ) {
        let of_queue = take(&mut queue);
        let of_inbox = self.inbox.take_spare(queue.lent());
        // To free much takes milliseconds.
        drop(queue);
        drop((of_queue, of_inbox));
    }

    /// Fast path: takes the first message to be run, if nothing but plain messages is near and far, and moves what runs
    /// to `body`, in which there is nothing. Otherwise [`next_message`](Shared::next_message) takes it.
    #[inline(always)]
    pub(crate) fn next_plain_message(&self, here: Here, body: &mut Body) -> Option<Next> {
        let mut queue = self.queue.lock_here_unless(here, || self.is_inherited())?;
        if self.inbox.has_messages() {
            return None;
        }
        let next = queue.pop_plain(body)?;
        // Left on this path by itself: where it joins the other one, four instructions compare what is known here.
        drop(queue);
        Some(next)
    }

    /// Takes the first message if it is due at `now`, to be run: moves what runs to `body`, in which there is nothing,
    /// and notes in `details` what those who watch are told of it. A plain one is always due.
    ///
    /// The inbox's messages are taken only when the queue has run dry, or when it may matter what is next: not for each
    /// message while others post without end.
    ///
    /// Gives, besides, whether the next one is worth a try on the fast path.
    #[inline(always)]
    pub(crate) fn next_message(
        &self,
        here: Here,
        now: Moment,
        body: &mut Body,
        mut details: Option<&mut Option<Details>>,
    ) -> (Next, bool) {
        if self.is_inherited() {
            return (Next::Nothing, false);
        }
        let mut queue = self.queue.lock_here(here);
        if self.inbox.has_messages() {
            // They come after what is plain already, however much others post.
            if queue.begins_plain() {
                let next = queue.pop_due(now, body, details.as_deref_mut());
                // There may have been nothing left but places that were emptied.
                if next != Next::Nothing {
                    return (next, queue.is_plain());
                }
            }
            self.collect(&mut queue);
        }
        (queue.pop_due(now, body, details), queue.is_plain())
    }
}
