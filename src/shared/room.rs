//! Moving mail into the queue, and giving back the room that a burst has taken.

use super::*;

impl Shared {
    /// Moves all mail into the queue: for who asks for what is there. A turn moves [less](Shared::collect_for_turn).
    #[inline]
    pub(super) fn collect(&self, desk: &mut Desk) {
        while self.inbox.has_mail() {
            self.collect_some(desk, true);
        }
    }

    /// Moves as much mail into the queue as it takes to know which message is next, and no more than a turn runs: a
    /// batch of what is plain, if the queue has nothing plain, since all further mail of that kind comes after it.
    #[inline]
    pub(super) fn collect_for_turn(&self, desk: &mut Desk) {
        if self.inbox.has_mail() {
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
        if !desk.queue.has_plain() {
            self.collect_some(desk, true);
        } else if next.is_none_or(|next| next.number().lane() == Lane::Timed || self.inbox.may_precede(next)) {
            self.collect_some(desk, false);
        }
    }

    /// Moves what is not plain of the mail into the queue.
    pub(super) fn collect_other(&self, desk: &mut Desk) {
        if self.inbox.has_mail() {
            self.collect_some(desk, false);
        }
    }

    /// Moves what is not plain of the mail into the queue, and a batch of what is, if `with_plain`.
    #[cold]
    fn collect_some(&self, desk: &mut Desk, with_plain: bool) {
        let Desk { queue, taken, numbers, .. } = desk;
        self.inbox.take_mail(taken, with_plain, numbers);
        taken.other.empty(|number, when, item, extra| queue.insert_from_afar(number, when, item, extra));
        taken.other.trim();
        taken.plain.empty(|number, when, item, extra| queue.insert_from_afar(number, when, item, extra));
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
