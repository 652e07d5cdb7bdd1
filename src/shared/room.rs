//! Moving mail into the queue, and giving back the room that a burst has taken.

use super::*;

impl Shared {
    /// Moves all mail into the queue.
    #[inline]
    pub(super) fn collect(&self, desk: &mut Desk) {
        if self.inbox.has_mail() {
            self.collect_mail(desk);
        }
    }

    #[cold]
    pub(super) fn collect_mail(&self, desk: &mut Desk) {
        let room = mem::take(&mut desk.room);
        desk.room_in_inbox = room.capacity();
        let mail = self.inbox.take_mail(room, &mut desk.numbers);
        Self::sort(desk, mail);
    }

    pub(super) fn sort(desk: &mut Desk, mut mail: Mail<Item>) {
        mail.empty(|number, when, item, extra| desk.queue.insert_from_afar(number, when, item, extra));
        desk.room = mail;
    }

    /// Gives back the room that a burst has left, if no other one has followed for a while: to take it from the kernel
    /// again costs more than to run what lies there. When that is to be tried again, if it is.
    #[inline]
    pub(super) fn trim(&self, desk: &mut Desk) -> Option<Moment> {
        let has_room = desk.queue.is_roomy() || desk.room.capacity().max(desk.room_in_inbox) > COMMON_MAIL;
        if has_room { self.trim_room(desk) } else { None }
    }

    #[cold]
    fn trim_room(&self, desk: &mut Desk) -> Option<Moment> {
        let now = self.clock.now();
        let has_waited = match desk.trim_at {
            Some(at) if at > now => return Some(at),
            Some(_) => desk.queue.take_peak() <= COMMON_MAIL,
            // A test's time does not pass by itself.
            None => self.clock.is_virtual(),
        };
        if has_waited {
            desk.trim_at = None;
            desk.queue.trim();
            desk.room.shrink_to(COMMON_MAIL);
            desk.room_in_inbox = self.inbox.shrink_to(COMMON_MAIL);
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
