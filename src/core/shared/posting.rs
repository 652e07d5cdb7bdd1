//! Posting: on the looper's thread into the queue, from others into the inbox, and so while there is mail.

use super::*;

impl Shared {
    /// Posts what `fill` makes of `value`, which is given back if the inbox is closed.
    #[inline]
    pub(crate) fn post<T>(
        &self,
        stamp: Stamp,
        value: T,
        token: Option<Token>,
        fill: impl FnOnce(&mut Body, T),
    ) -> Result<Name, Refused<T>> {
        let (name, signal) = self.leave(stamp, value, token, fill)?;
        self.signal_if(signal);
        Ok(name)
    }

    /// As [`post`](Shared::post), but leaves the signal to the caller.
    #[inline]
    pub(crate) fn leave<T>(
        &self,
        stamp: Stamp,
        value: T,
        token: Option<Token>,
        fill: impl FnOnce(&mut Body, T),
    ) -> Result<(Name, Signal), Refused<T>> {
        match self.owner.here() {
            Some(here) => self.leave_on(here, stamp, value, token, fill),
            None => self.leave_from_afar(stamp, value, token, fill),
        }
    }

    /// As [`leave`](Shared::leave), on the looper's thread.
    #[inline]
    pub(crate) fn leave_on<T>(
        &self,
        here: Here,
        stamp: Stamp,
        value: T,
        token: Option<Token>,
        fill: impl FnOnce(&mut Body, T),
    ) -> Result<(Name, Signal), Refused<T>> {
        if self.is_inherited() {
            return Err(self.rejected(value));
        }
        let mut desk = self.desk.lock_here(here);
        // The common case: nothing but plain messages far and near.
        let is_common = stamp.when == When::Now
            && !stamp.asynchronous
            && token.is_none()
            && !self.is_watched()
            && desk.is_fresh
            && desk.queue.is_plain()
            && !desk.has_batches()
            && self.inbox.is_quiet();
        let number = if is_common { desk.numbers.next(Lane::Plain, false) } else { None };
        let Some(number) = number else {
            return self.leave_here(desk, stamp, value, token, fill);
        };
        self.account.own.add(1);
        let name = desk.queue.insert_plain(number, |item| {
            item.origin = stamp.origin;
            fill(&mut item.body, value);
        });
        Ok((name, Signal::Saved))
    }

    /// On the looper's thread, messages go into the queue at once, unless there is mail, which came earlier.
    #[inline(never)]
    fn leave_here<T>(
        &self,
        mut desk: OwnerGuard<'_, Desk>,
        stamp: Stamp,
        value: T,
        token: Option<Token>,
        fill: impl FnOnce(&mut Body, T),
    ) -> Result<(Name, Signal), Refused<T>> {
        let Stamp { when, asynchronous, origin } = stamp;
        if self.inbox.is_closed() {
            drop(desk);
            return Err(self.rejected(value));
        }
        // What has come by mail comes before it. To move that first would take as long as there is mail.
        let number = if self.inbox.has_mail() { None } else { self.next_number(&mut desk, when.lane(), asynchronous) };
        let Some(number) = number else {
            drop(desk);
            return self.leave_in_inbox(stamp, value, token, fill);
        };
        let extra = self.extra(token);
        let time = match when {
            When::Now => self.plain_time(&mut desk, extra.posted),
            When::At(time) => {
                self.inbox.note_timed(time);
                time
            }
            When::Front => Moment::FRONT,
        };
        self.account.own.add(1);
        let fill = |item: &mut Item| {
            item.origin = origin;
            fill(&mut item.body, value);
        };
        let name = if when == When::Now && desk.has_batches() {
            // Behind those that were taken from the inbox.
            desk.taken.plain.last().push(number, time, extra, fill);
            Name::from_afar(number)
        } else {
            desk.queue.insert(number, time, extra, fill)
        };
        Ok((name, self.signal_for_own(&mut desk, when, Place::new(time, number))))
    }

    /// Its own thread's posts find it awake, unless it is between the polls of its host. What a barrier holds up is
    /// woken for when that goes.
    #[inline]
    fn signal_for_own(&self, desk: &mut Desk, when: When, place: Place) -> Signal {
        if !self.inbox.is_asleep() {
            return Signal::Saved;
        }
        // What is plain stands behind all barriers, whatever its time says.
        let is_behind = |barrier| when == When::Now || place > barrier;
        let is_barred = !place.number().is_asynchronous() && desk.queue.first_barrier().is_some_and(is_behind);
        match when {
            _ if is_barred => Signal::Saved,
            When::At(time) => self.inbox.rouse_for(time),
            When::Now | When::Front => self.inbox.rouse_for(Moment::FRONT),
        }
    }

    /// What few messages have besides.
    #[inline]
    fn extra(&self, token: Option<Token>) -> Extra {
        Extra { token, posted: if self.is_watched() { Some(self.clock.now()) } else { None } }
    }

    /// A number for a post of the looper's own thread; `None` if there is mail that it would overtake.
    #[inline]
    fn next_number(&self, desk: &mut Desk, lane: Lane, asynchronous: bool) -> Option<Number> {
        let numbers = &mut desk.numbers;
        numbers
            .next(lane, asynchronous)
            .or_else(|| if self.inbox.begin_block(numbers) { numbers.next(lane, asynchronous) } else { None })
    }

    fn leave_from_afar<T>(
        &self,
        stamp: Stamp,
        value: T,
        token: Option<Token>,
        fill: impl FnOnce(&mut Body, T),
    ) -> Result<(Name, Signal), Refused<T>> {
        if self.is_inherited() {
            return Err(self.rejected(value));
        }
        self.leave_in_inbox(stamp, value, token, fill)
    }

    /// Leaves it where the looper's thread finds it after all that is there already.
    fn leave_in_inbox<T>(
        &self,
        stamp: Stamp,
        value: T,
        token: Option<Token>,
        fill: impl FnOnce(&mut Body, T),
    ) -> Result<(Name, Signal), Refused<T>> {
        let Stamp { when, asynchronous, origin } = stamp;
        let extra = self.extra(token);
        if planted::is(Bug::SignalBeforePush) {
            self.signal_if(self.inbox.leave_chores());
        }
        let inbox = match self.inbox.open() {
            Ok(inbox) => inbox,
            Err(reason) => return Err(Refused { value, reason }),
        };
        let time = match when {
            When::Now => self.plain_time_in_inbox(&inbox, extra.posted),
            When::At(time) => time,
            When::Front => Moment::FRONT,
        };
        let (number, signal) = inbox.push(when.lane(), asynchronous, time, extra, |item| {
            item.origin = origin;
            fill(&mut item.body, value);
        });
        let signal = if planted::is(Bug::SignalBeforePush) { Signal::Saved } else { signal };
        Ok((Name::from_afar(number), signal))
    }

    /// The time of a message that the looper's thread posts to run now: before it are those that are due.
    ///
    /// The clock is read only if that can make a difference: if somebody watches, or if a timed message may have become
    /// due since it was looked at.
    #[inline]
    fn plain_time(&self, desk: &mut Desk, posted: Option<Moment>) -> Moment {
        let timed_from = desk.queue.timed_from();
        let is_fresh = mem::replace(&mut desk.is_fresh, !self.clock.is_virtual());
        match posted {
            Some(now) => now,
            None if timed_from == Moment::NEVER && is_fresh => desk.queue.latest(),
            None => self.plain_time_before(timed_from),
        }
    }

    /// As [`plain_time`](Shared::plain_time), of a message that goes into the inbox.
    fn plain_time_in_inbox(&self, inbox: &Open<'_, Item>, posted: Option<Moment>) -> Moment {
        let timed_from = inbox.timed_from();
        match posted {
            Some(now) => now,
            // It gets the time of the one before.
            None if timed_from == Moment::NEVER && inbox.has_plain() && !self.clock.is_virtual() => Moment::EARLIEST,
            None => self.plain_time_before(timed_from),
        }
    }

    /// The time, or one shortly before it if no timed message becomes due in between.
    fn plain_time_before(&self, timed_from: Moment) -> Moment {
        let (least, most) = self.clock.about_now();
        if most < timed_from { least } else { self.clock.now() }
    }

    #[cold]
    pub(super) fn rejected<T>(&self, value: T) -> Refused<T> {
        Refused { value, reason: self.closed().unwrap_or(Reason::Quit) }
    }
}
