//! Finds the next message to run, and takes it out.

use super::{
    Queue, State,
    details::Details,
    message::{MessageId, PostKind, Rank, Seq},
    subqueue::Head,
};
use crate::{
    mem::{erased::Erased, slots::Key},
    sys::time::Moment,
};

/// What comes of the wish to run the next message. Flat, so that it is handed out in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A closure was taken out.
    Closure,
    /// A message of this handler was.
    Message(Key),
    /// The last message of this handler was, which nobody can send anything any more.
    LastMessage(Key),
    /// A message of a handler that is gone was.
    Orphan,
    /// There is one, which is due at this moment.
    NotBefore(Moment),
    /// There is none that may run.
    Nothing,
}

impl<C> Queue<C> {
    /// Fast path: takes out the first message to be run, if there are only plain ones, and moves what runs to `body`, in
    /// which there is nothing. `None` if that takes more than this.
    #[inline(always)]
    pub(crate) fn pop_plain(&mut self, body: &mut Erased<C>) -> Option<Next> {
        if !self.is_plain() {
            return None;
        }
        let Queue { synchronous, handlers, taken_last, account, .. } = self;
        synchronous.fifo.pop_with(|message| {
            message.body.move_to(body);
            *taken_last = message.origin;
            account.begun.add(1);
            handlers.detach(&message.address, || MessageId::plain(message.seq), None)
        })
    }

    /// Takes out the first message that may run, if it is due at `now`, to be run: moves what runs to `body`, in which
    /// there is nothing. A plain one is always due.
    #[inline(always)]
    pub(crate) fn pop_due(&mut self, now: Moment, body: &mut Erased<C>, details: Option<&mut Option<Details>>) -> Next {
        if !self.is_plain() {
            return self.pop_any(now, body, details);
        }
        let Some((message, when)) = self.synchronous.fifo.pop() else {
            return Next::Nothing;
        };
        message.body.move_to(body);
        self.taken_last = message.origin;
        if let Some(details) = details {
            *details = Some(Details::of(message, when, message.posting()));
        }
        self.account.begun.add(1);
        self.handlers.detach(&message.address, || MessageId::plain(message.seq), None)
    }

    #[inline(never)]
    fn pop_any(&mut self, now: Moment, body: &mut Erased<C>, details: Option<&mut Option<Details>>) -> Next {
        let Some(head) = self.next() else {
            self.look_whether_plain();
            return Next::Nothing;
        };
        let seq = head.id.seq;
        let kind = seq.kind();
        if kind == PostKind::Timed && head.rank.when > now {
            return Next::NotBefore(head.rank.when);
        }
        let extra = self.extras.take(seq);
        let subqueue = self.subqueue(seq);
        let mut removed;
        let popped = if kind == PostKind::Plain {
            subqueue.fifo.pop()
        } else {
            if kind == PostKind::Timed {
                subqueue.gather(now);
            }
            subqueue.pop(kind);
            self.gone += 1;
            removed = self.others.try_remove(head.id.slot as usize);
            removed.as_mut().map(|message| (message, head.rank.when))
        };
        let Some((message, when)) = popped else {
            return Next::Nothing;
        };
        message.body.move_to(body);
        if let Some(details) = details {
            let posted = if kind == PostKind::Plain { message.posting() } else { extra.posted };
            *details = Some(Details::of(message, when, posted));
        }
        let address = message.address;
        self.taken_last = message.origin;
        self.account.begun.add(1);
        let next = self.handlers.detach(&address, || head.id, extra.token);
        self.look_whether_plain();
        next
    }

    #[inline]
    pub(super) fn look_whether_plain(&mut self) {
        let is_plain = self.synchronous.is_plain()
            && self.asynchronous.is_empty()
            && self.barriers.is_empty()
            && self.held.is_empty()
            && self.extras.is_empty();
        self.state.set(State::PLAIN, is_plain);
    }

    /// The rank of the first message that may run; `None` when there is none.
    #[inline]
    pub(crate) fn next_rank(&mut self) -> Option<Rank> {
        self.next().map(|head| head.rank)
    }

    /// When the first message that may run is due; `None` when there is none.
    #[inline]
    pub(crate) fn next_due(&mut self) -> Option<Moment> {
        self.next().map(|head| head.rank.when)
    }

    /// The first message that may run: nothing may while the first one is being looked at.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Head> {
        if self.is_plain() { self.synchronous.first_ready() } else { self.next_of_all() }
    }

    #[inline]
    fn next_of_all(&mut self) -> Option<Head> {
        let synchronous = self.synchronous.head(&self.others);
        let asynchronous = self.asynchronous.head(&self.others);
        let mut head = match (synchronous, asynchronous) {
            (Some(synchronous), Some(asynchronous)) => synchronous.min(asynchronous),
            (synchronous, asynchronous) => synchronous.or(asynchronous)?,
        };
        if let Some((barrier, _)) = self.barriers.first_key_value()
            && head.rank > *barrier
        {
            head = asynchronous?;
        }
        if self.held.is_empty() { Some(head) } else { self.unless_held(head) }
    }

    #[cold]
    fn unless_held(&mut self, head: Head) -> Option<Head> {
        let is_held = self.held.contains_key(&head.id.seq);
        self.is_blocked |= is_held;
        (!is_held).then_some(head)
    }

    /// Whether the first message that may run is a plain one that barriers hold up: then what comes from the inbox is
    /// behind it.
    #[inline]
    pub(crate) fn begins_plain(&mut self) -> bool {
        if self.is_plain() { !self.synchronous.fifo.is_empty() } else { self.begins_plain_among_others() }
    }

    #[inline(never)]
    fn begins_plain_among_others(&mut self) -> bool {
        let is_plain = |seq: Seq| seq.kind() == PostKind::Plain && !seq.is_asynchronous();
        !self.synchronous.fifo.is_empty() && self.next_of_all().is_some_and(|head| is_plain(head.id.seq))
    }
}
