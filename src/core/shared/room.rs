//! Moving mail into the queue, and giving back the room that a burst has taken.

use super::*;

impl Desk {
    /// Whether there are plain messages that were taken from the inbox and are not in the queue yet.
    #[inline]
    pub(super) fn has_batches(&self) -> bool {
        !self.taken.plain.is_empty()
    }

    /// Moves a batch of plain messages into the queue.
    fn move_batch(&mut self) {
        let Some(mut batch) = self.taken.plain.pop() else {
            return;
        };
        let queue = &mut self.queue;
        batch.empty(|number, when, item, extra| queue.insert_from_afar(number, when, item, extra));
        self.taken.plain.give_back(batch);
    }
}

impl Shared {
    /// Moves all mail into the queue: for who asks for what is there. A turn moves [less](Shared::collect_for_turn).
    #[inline]
    pub(super) fn collect(&self, desk: &mut Desk) {
        self.take_mail(desk);
        while desk.has_batches() {
            desk.move_batch();
        }
    }

    /// Moves as much mail into the queue as it takes to know which message is next, and no more than a turn runs: a
    /// batch of what is plain, if the queue has nothing plain, since all further mail of that kind comes after it.
    #[inline]
    pub(super) fn collect_for_turn(&self, desk: &mut Desk) {
        if self.inbox.has_mail() || desk.has_batches() {
            self.collect_what_may_be_next(desk);
        }
    }

    #[cold]
    fn collect_what_may_be_next(&self, desk: &mut Desk) {
        // Behind a barrier, what is asynchronous may be next, wherever it is.
        if desk.queue.first_barrier().is_some() {
            return self.collect(desk);
        }
        let next = desk.queue.next_place();
        let has_plain = desk.queue.has_plain();
        let is_next_known = has_plain && next.is_some_and(|next| next.number().lane() != Lane::Timed);
        if !(is_next_known && next.is_some_and(|next| !self.inbox.may_precede(next))) {
            self.take_mail(desk);
        }
        if !has_plain {
            desk.move_batch();
        }
    }

    /// Takes what is in the inbox, and moves what is not plain of it into the queue.
    #[inline]
    pub(super) fn take_mail(&self, desk: &mut Desk) {
        if self.inbox.has_mail() {
            self.take_mail_now(desk);
        }
    }

    #[cold]
    fn take_mail_now(&self, desk: &mut Desk) {
        let Desk { queue, taken, numbers, .. } = desk;
        self.inbox.take_mail(taken, numbers);
        taken.other.empty(|number, when, item, extra| queue.insert_from_afar(number, when, item, extra));
        taken.other.trim();
    }

    /// Takes all mail to give it up, as it lies.
    pub(super) fn take_mail_to_give_up(&self, desk: &mut Desk) -> Vec<Mail<Item>> {
        let Desk { taken, numbers, .. } = desk;
        self.inbox.take_mail(taken, numbers);
        iter::once(mem::take(&mut taken.other)).chain(taken.plain.take_all()).collect()
    }

    /// Gives back the room that a burst has left, if no other one has followed for a while: to take it from the kernel
    /// again costs more than to run what lies there. When that is to be tried again, if it is.
    #[inline]
    pub(super) fn trim(&self, desk: &mut Desk) -> Option<Moment> {
        if desk.queue.is_roomy() { self.trim_room(desk) } else { None }
    }

    #[cold]
    fn trim_room(&self, desk: &mut Desk) -> Option<Moment> {
        let now = self.clock.now();
        let has_waited = match desk.trim_at {
            Some(at) if at > now => return Some(at),
            Some(_) => desk.queue.take_peak() <= COMMON_LENGTH,
            // A test's time does not pass by itself.
            None => self.clock.is_virtual(),
        };
        if has_waited {
            desk.trim_at = None;
            desk.queue.trim();
        } else {
            desk.trim_at = Some(now.after(ROOM_STAYS));
            desk.queue.take_peak();
        }
        desk.trim_at
    }

    /// Gives back the room that a burst has left, before the looper sleeps until `until`: until when it may sleep,
    /// since it has to come back for what it keeps for now.
    pub(crate) fn trim_before_sleep(&self, until: Moment) -> Moment {
        let trim_at = self.ours().and_then(|ours| self.trim(&mut self.raw_desk(ours)));
        trim_at.map_or(until, |trim_at| until.min(trim_at))
    }
}
