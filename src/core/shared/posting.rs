//! Posting: on the looper's thread straight into the queue; from others, what is plain into the inbox.

use std::{num::NonZeroU32, ops::DerefMut};

use super::*;
use crate::sys::thread;

/// What is posted, but for its value: when and how, whom it is for, and its token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Post<'a> {
    pub(crate) stamp: Stamp,
    /// `None` for a closure.
    pub(crate) to: Option<To<'a>>,
    pub(crate) token: Option<Token>,
}

/// A message in the queue that has no body yet.
struct Inserted<'a> {
    message: &'a mut Message,
    /// Who posted it, to be noted once it has a body: of a plain message that is watched; others have it in their extra.
    poster: Option<NonZeroU32>,
    id: MessageId,
    signal: Wakeup,
}

/// The id of a queued message, and whether the caller has to write the eventfd; or the refused value.
pub(super) type Left<T> = Result<(MessageId, Wakeup), Refused<T>>;

impl Post<'_> {
    /// Of a closure.
    #[inline]
    pub(crate) fn closure(stamp: Stamp) -> Post<'static> {
        Post { stamp, to: None, token: None }
    }

    #[inline(always)]
    fn address(&self) -> Address {
        self.to.map_or(Address::NOBODY, |to| to.address)
    }

    /// Whether it may go through the inbox.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.stamp.when == When::Now && !self.stamp.asynchronous && self.token.is_none()
    }
}

impl Shared {
    /// Posts what `fill` makes of `value`, which is given back if the looper has quit. `fill` is told the number of the
    /// thread that alone may drop what is posted, or [`ANYWHERE`].
    #[inline]
    pub(crate) fn post<T>(
        &self,
        post: Post<'_>,
        value: T,
        fill: impl FnOnce(&mut Body, T, u32),
    ) -> Result<MessageId, Refused<T>> {
        let (id, signal) = self.leave(post, value, fill)?;
        self.signal_if(signal);
        Ok(id)
    }

    /// As [`post`](Shared::post), but leaves the signal to the caller.
    #[inline]
    pub(crate) fn leave<T>(&self, post: Post<'_>, value: T, fill: impl FnOnce(&mut Body, T, u32)) -> Left<T> {
        match self.owner().here() {
            Some(here) => self.leave_here(here, post, value, fill),
            None => self.leave_remote(post, value, fill),
        }
    }

    /// Fast path: on the looper's thread, posts a plain message if nothing but plain messages is near and far, so that
    /// it is the last one and wakes nobody. Otherwise `value` comes back, to be posted as all else is.
    #[inline(always)]
    pub(crate) fn post_plain<'a, T>(
        &self,
        here: Here,
        origin: Origin,
        to: impl FnOnce(&T) -> Option<To<'a>>,
        value: T,
        fill: impl FnOnce(&mut Body, T),
    ) -> Result<MessageId, T> {
        let Some(mut queue) = self.queue.lock_here_unless(here, || self.is_inherited()) else {
            return Err(value);
        };
        if !queue.is_plain_and_fresh() || !self.inbox.allows_fast_post() {
            return Err(value);
        }
        // Looked up only now, or it would have to be kept somewhere meanwhile.
        let to = to(&value);
        let Some((id, message)) = self.insert_plain(&mut queue, origin, to) else {
            return Err(value);
        };
        fill(&mut message.body, value);
        Ok(id)
    }

    /// As [`post_plain`](Shared::post_plain), if all that is in its way is that somebody watches.
    #[inline]
    pub(crate) fn post_plain_watched<T>(
        &self,
        here: Here,
        origin: Origin,
        to: Option<To<'_>>,
        value: T,
        fill: impl FnOnce(&mut Body, T),
    ) -> Result<MessageId, T> {
        if self.is_inherited() || !self.is_watched() {
            return Err(value);
        }
        let mut queue = self.queue.lock_here(here);
        if !queue.is_plain() || !self.inbox.allows_fast_watched_post() {
            return Err(value);
        }
        queue.note_time(self.clock.now());
        let Some((id, message)) = self.insert_plain(&mut queue, origin, to) else {
            return Err(value);
        };
        fill(&mut message.body, value);
        message.set_poster(self.activity.poster);
        Ok(id)
    }

    /// Counts a plain message, and puts it behind all others, without its body. `None` if room has to be made first.
    #[inline(always)]
    fn insert_plain<'a>(
        &self,
        queue: &'a mut Queue<Looper>,
        origin: Origin,
        to: Option<To<'_>>,
    ) -> Option<(MessageId, &'a mut Message)> {
        let (id, message) = queue.insert_plain()?;
        (message.origin, message.address) = (origin, to.map_or(Address::NOBODY, |to| to.address));
        self.account.own.add(1);
        if let Some(to) = to {
            to.tally.own.add(1);
        }
        Some((id, message))
    }

    /// As [`leave`](Shared::leave), on the looper's thread: messages go into the queue at once, behind what others have left
    /// in the inbox.
    #[inline]
    pub(crate) fn leave_here<T>(
        &self,
        here: Here,
        post: Post<'_>,
        value: T,
        fill: impl FnOnce(&mut Body, T, u32),
    ) -> Left<T> {
        if self.is_inherited() {
            return Err(self.rejected(value));
        }
        let count = (&self.account.own, here.number().get());
        self.leave_in_queue(self.queue.lock_here(here), post, value, count, fill)
    }

    #[inline(never)]
    fn leave_remote<T>(&self, post: Post<'_>, value: T, fill: impl FnOnce(&mut Body, T, u32)) -> Left<T> {
        let Some(ours) = self.ours() else {
            return Err(self.rejected(value));
        };
        if post.is_plain() && !self.is_watched() {
            self.leave_in_inbox(post, value, fill)
        } else {
            self.leave_in_queue(self.lock_queue(ours), post, value, (&self.account.visiting, ANYWHERE), fill)
        }
    }

    /// Puts a message straight into the queue, behind what was left in the inbox.
    #[inline(always)]
    pub(super) fn leave_in_queue<T>(
        &self,
        mut queue: impl DerefMut<Target = Queue<Looper>>,
        post: Post<'_>,
        value: T,
        (count, thread): (&Counter, u32),
        fill: impl FnOnce(&mut Body, T, u32),
    ) -> Left<T> {
        let Some(Inserted { message, poster, id, signal }) = self.insert(&mut queue, post, count) else {
            drop(queue);
            return Err(self.rejected(value));
        };
        fill(&mut message.body, value, thread);
        if let Some(poster) = poster {
            message.set_poster(poster);
        }
        Ok((id, signal))
    }

    /// Counts a message, and puts it behind what was left in the inbox, without its body. `None` if the looper has quit.
    #[inline]
    fn insert<'a>(&self, queue: &'a mut Queue<Looper>, post: Post<'_>, count: &Counter) -> Option<Inserted<'a>> {
        if self.inbox.is_closed() {
            return None;
        }
        self.collect(queue);
        let Stamp { when, asynchronous, origin } = post.stamp;
        let posted = if self.is_watched() { Some(self.posting()) } else { None };
        let time = match when {
            When::Now => self.plain_time(queue, posted.map(|posted| posted.at)),
            When::At(time) => {
                self.inbox.note_timed(time);
                time
            }
            When::Front => Moment::FRONT,
        };
        let seq = queue.next_seq(when.kind(), asynchronous);
        let signal = self.signal_for(queue, when, Rank::new(time, seq));
        count.add(1);
        if let Some(to) = post.to {
            to.tally.own.add(1);
        }
        let (id, message) = queue.insert(seq, time, post.address(), Extra { token: post.token, posted });
        message.origin = origin;
        let poster = posted.filter(|_| when == When::Now).map(|posted| posted.by);
        Some(Inserted { message, poster, id, signal })
    }

    /// Lets a timed message be due at `when`; whether it is pending, and timed.
    pub(crate) fn reschedule(&self, id: MessageId, when: Moment) -> bool {
        let signal = self.leave_rescheduled(id, when);
        signal.inspect(|signal| self.signal_if(*signal)).is_some()
    }

    /// Lets a timed message be due at `when`, and leaves the signal to the caller. `None` if it is not pending, or not
    /// timed; or if the looper has quit, since what a safe quit lets run is due.
    pub(crate) fn leave_rescheduled(&self, id: MessageId, when: Moment) -> Option<Wakeup> {
        let mut queue = self.lock_queue(self.ours()?);
        if self.inbox.is_closed() || !queue.reschedule(id, when) {
            return None;
        }
        self.inbox.note_timed(when);
        Some(self.signal_for(&queue, When::At(when), Rank::new(when, id.seq)))
    }

    /// The looper's own thread finds it awake, unless it is between the polls of its host. What a barrier holds up is
    /// woken for when that goes.
    #[inline]
    fn signal_for(&self, queue: &Queue<Looper>, when: When, rank: Rank) -> Wakeup {
        if !self.inbox.is_asleep() {
            return Wakeup::Saved;
        }
        // What is plain stands behind all barriers, whatever its time says.
        let is_behind = |barrier| when == When::Now || rank > barrier;
        let is_barred = !rank.seq().is_asynchronous() && queue.first_barrier().is_some_and(is_behind);
        match when {
            _ if is_barred => Wakeup::Saved,
            When::At(time) => self.inbox.wake_for_post(time),
            When::Now | When::Front => self.inbox.wake_for_post(Moment::FRONT),
        }
    }

    /// Fast path: from another thread, posts what is plain if nobody watches. Otherwise `value` comes back.
    #[inline(always)]
    pub(crate) fn post_plain_remote<T>(
        &self,
        origin: Origin,
        to: Option<To<'_>>,
        value: T,
        fill: impl FnOnce(&mut Body, T),
    ) -> Result<MessageId, T> {
        if self.ours().is_none() || self.is_watched() {
            return Err(value);
        }
        let post = Post { to, ..Post::closure(Stamp { when: When::Now, asynchronous: false, origin }) };
        let (id, signal) =
            self.leave_in_inbox(post, value, |body, value, _| fill(body, value)).map_err(|refused| refused.value)?;
        self.signal_if(signal);
        Ok(id)
    }

    /// Leaves it where the looper's thread finds it after all that is there already.
    #[inline(always)]
    fn leave_in_inbox<T>(&self, post: Post<'_>, value: T, fill: impl FnOnce(&mut Body, T, u32)) -> Left<T> {
        let mut inbox = match self.inbox.open() {
            Ok(inbox) => inbox,
            Err(reason) => return Err(Refused { value, reason }),
        };
        let latest = if self.clock.is_virtual() { None } else { inbox.latest() };
        let time = latest.unwrap_or_else(|| self.plain_time_before(inbox.timed_from()));
        let message = inbox.place(time);
        (message.origin, message.address) = (post.stamp.origin, post.address());
        fill(&mut message.body, value, ANYWHERE);
        let (seq, signal, is_crowded) = inbox.publish(post.to.map(|to| to.tally));
        // The looper is behind, so let it run. One that is asleep is woken first.
        if is_crowded && signal == Wakeup::Saved {
            thread::give_way();
        }
        Ok((MessageId::plain(seq), signal))
    }

    /// What those who watch are told of a post of the calling thread.
    #[cold]
    fn posting(&self) -> Posting {
        Posting { at: self.clock.now(), by: thread::known_id() }
    }

    /// The time of a message that goes into the queue to run now: before it are those that are due.
    ///
    /// The clock is read only if that can make a difference: if somebody watches, or if a timed message may have become
    /// due since it was looked at.
    #[inline]
    fn plain_time(&self, queue: &mut Queue<Looper>, watched: Option<Moment>) -> Moment {
        let timed_from = queue.timed_from();
        let is_fresh = queue.set_fresh(!self.clock.is_virtual());
        match watched {
            Some(now) => now,
            None if timed_from == Moment::NEVER && is_fresh => queue.latest(),
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
        Refused { value, reason: self.closed().unwrap_or(RejectReason::Quit) }
    }
}
