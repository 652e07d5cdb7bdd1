//! Sending a message to a handler: when, with which labels, and past barriers or not.

use std::{
    fmt::{self, Debug, Formatter},
    mem,
    time::{Duration, Instant},
};

use crate::{
    core::{
        cancelled,
        item::{Body, Stamp, When},
        refused::{Refused, Rejected},
        shared::{Post, Shared},
    },
    handler::{message, recipient::Recipient},
    looper::posted::Posted,
    mem::erased::ANYWHERE,
    queue::{
        labels::{Labels, MessageFilter, Token},
        message::{MessageId, Origin},
    },
};

/// A message that is about to be sent. See [`Handler::message`](crate::Handler::message).
#[must_use = "a draft is sent by one of its `send` methods"]
pub struct MessageBuilder<'a, M> {
    recipient: &'a Recipient<M>,
    /// Erased already, so that not each method has to copy a large message.
    body: Body,
    labels: Labels,
    asynchronous: bool,
}

impl<'a, M: 'static> MessageBuilder<'a, M> {
    #[inline]
    pub(crate) fn new(
        recipient: &'a Recipient<M>,
        body: Body,
        labels: Labels,
        asynchronous: bool,
    ) -> MessageBuilder<'a, M> {
        MessageBuilder { recipient, body, labels, asynchronous }
    }

    /// Sets the number by which the message can be found again. There is none unless it is set.
    ///
    /// A plain [`Message`](crate::Message) always has one, its [`what`](crate::Message::what): this sets that, too, so
    /// that the closure gets the `what` by which the message was found.
    ///
    /// # Android
    /// `Message.setWhat`.
    #[doc(alias = "setWhat")]
    pub fn what(mut self, what: i32) -> Self {
        self.labels.what = Some(what);
        if message::is_plain::<M>()
            && let Some(mut message) = self.body.open_boxed(self.recipient.of)
        {
            message::set_what(&mut *message, what);
            self.body.fill_boxed(message, ANYWHERE);
        }
        self
    }

    /// Sets a token by which the message can be found again.
    ///
    /// # Android
    /// `Message.obj`, where it serves as the token of `removeCallbacksAndMessages`.
    pub fn token(mut self, token: Token) -> Self {
        self.labels.token = Some(token);
        self
    }

    /// Lets the message pass barriers.
    ///
    /// # Android
    /// `Message.setAsynchronous(true)`.
    #[doc(alias = "setAsynchronous")]
    pub fn asynchronous(mut self) -> Self {
        self.asynchronous = true;
        self
    }

    /// Sends it, as [`Handler::send`](crate::Handler::send).
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped.
    #[track_caller]
    #[inline]
    pub fn send(self) -> Result<Posted<M>, Rejected<M>> {
        self.send_when(Stamp::new(When::Now))
    }

    /// Sends it, as [`Handler::send_delayed`](crate::Handler::send_delayed).
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped.
    #[track_caller]
    pub fn send_delayed(self, delay: Duration) -> Result<Posted<M>, Rejected<M>> {
        let when = self.shared().clock.now().after(delay);
        self.send_when(Stamp::new(When::At(when)))
    }

    /// Sends it, as [`Handler::send_at`](crate::Handler::send_at).
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped.
    #[track_caller]
    pub fn send_at(self, when: Instant) -> Result<Posted<M>, Rejected<M>> {
        let when = self.shared().clock.moment(when);
        self.send_when(Stamp::new(When::At(when)))
    }

    /// Sends it, as [`Handler::send_at_front`](crate::Handler::send_at_front).
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped.
    #[track_caller]
    pub fn send_at_front(self) -> Result<Posted<M>, Rejected<M>> {
        self.send_when(Stamp::new(When::Front))
    }

    /// Labels it as `filter` says.
    pub(crate) fn labelled(self, filter: MessageFilter) -> Self {
        match filter {
            MessageFilter::All => self,
            MessageFilter::What(what) => self.what(what),
            MessageFilter::Token(token) => self.token(token),
            MessageFilter::WhatAndToken(what, token) => self.what(what).token(token),
        }
    }

    /// Sends it in place of those that `filter` names.
    pub(crate) fn replace(self, filter: MessageFilter, stamp: Stamp) -> Result<Posted<M>, Rejected<M>> {
        let Recipient { shared, target, of, .. } = self.recipient;
        let mut replaced = Vec::new();
        let sent = self.send_by(stamp, |post, body| {
            let (taken, sent) = shared.replace((*target, filter), post, body, fill_body);
            replaced = taken;
            sent
        });
        cancelled::drop_cancelled(shared, *of, replaced);
        sent
    }

    /// Sends it unless one is pending that `filter` names.
    pub(crate) fn send_unless_pending(self, filter: MessageFilter, stamp: Stamp) -> Result<Posted<M>, Rejected<M>> {
        let Recipient { shared, target, .. } = self.recipient;
        self.send_by(stamp, |post, body| shared.post_unless_pending((*target, filter), post, body, fill_body))
    }

    fn shared(&self) -> &Shared {
        &self.recipient.shared
    }

    #[inline]
    fn send_when(self, stamp: Stamp) -> Result<Posted<M>, Rejected<M>> {
        let shared = &self.recipient.shared;
        self.send_by(stamp, |post, body| shared.post(post, body, fill_body))
    }

    #[inline]
    fn send_by(
        mut self,
        stamp: Stamp,
        send: impl FnOnce(Post<'_>, Body) -> Result<MessageId, Refused<Body>>,
    ) -> Result<Posted<M>, Rejected<M>> {
        let stamp = Stamp { asynchronous: self.asynchronous, ..stamp };
        send_body(self.recipient, stamp, self.labels, mem::take(&mut self.body), send)
    }
}

/// Sends a message without labels but its own.
#[inline(always)]
pub(crate) fn send<M: 'static>(
    recipient: &Recipient<M>,
    asynchronous: bool,
    stamp: Stamp,
    message: M,
) -> Result<Posted<M>, Rejected<M>> {
    let stamp = Stamp { asynchronous, ..stamp };
    if const { Body::has_room_for::<M>() } {
        send_off_path(recipient, stamp, message).map(|id| recipient.posted(id))
    } else {
        let labels = message::labels_of(&message);
        let mut body = Body::default();
        body.fill_boxed(Box::new(message), ANYWHERE);
        send_body(recipient, stamp, labels, body, |post, body| recipient.shared.post(post, body, fill_body))
    }
}

/// Sends a message that has room in the queue, with its own labels, to be handled after everything that is due already.
#[inline(always)]
pub(super) fn send_now<M: 'static>(
    recipient: &Recipient<M>,
    asynchronous: bool,
    origin: Origin,
    message: M,
) -> Result<Posted<M>, Rejected<M>> {
    send_plain(recipient, asynchronous, origin, message).or_else(|message| {
        let sent = send_off_path(recipient, Stamp { when: When::Now, asynchronous, origin }, message);
        sent.map(|id| recipient.posted(id))
    })
}

/// Fast path: on the looper's thread, sends a message that has room in the queue, if nothing is out of the ordinary.
#[inline(always)]
fn send_plain<M: 'static>(
    recipient: &Recipient<M>,
    asynchronous: bool,
    origin: Origin,
    message: M,
) -> Result<Posted<M>, M> {
    let shared: &Shared = &recipient.shared;
    let (false, Some(here)) = (asynchronous, shared.owner().here()) else {
        return Err(message);
    };
    let to = |message: &M| Some(recipient.to(message::labels_of(message).what));
    let fill = |body: &mut Body, message| body.fill_message(message, shared.owner().get());
    let id = shared.post_plain(here, origin, to, message, fill)?;
    Ok(recipient.posted(id))
}

/// Sends a message that has room in the queue, off the fast path.
#[inline(never)]
fn send_off_path<M: 'static>(recipient: &Recipient<M>, stamp: Stamp, message: M) -> Result<MessageId, Rejected<M>> {
    let shared = &recipient.shared;
    let post = post(recipient, stamp, message::labels_of(&message));
    let sent = match shared.owner().here() {
        None if post.is_plain() => {
            let fill = |body: &mut Body, message| body.fill_message(message, ANYWHERE);
            shared.post_plain_remote(stamp.origin, post.to, message, fill)
        }
        Some(here) if post.is_plain() => {
            let fill = |body: &mut Body, message| body.fill_message(message, here.number().get());
            shared.post_plain_watched(here, stamp.origin, post.to, message, fill)
        }
        _ => Err(message),
    };
    let fill = |body: &mut Body, message, thread| body.fill_message(message, thread);
    sent.or_else(|message| shared.post(post, message, fill).map_err(|refused| refused.local_error(stamp.origin)))
}

#[inline]
fn post<'a, M>(recipient: &'a Recipient<M>, stamp: Stamp, labels: Labels) -> Post<'a> {
    Post { stamp, to: Some(recipient.to(labels.what)), token: labels.token }
}

fn fill_body(place: &mut Body, mut body: Body, thread: u32) {
    body.set_thread(thread);
    body.move_to(place);
}

#[inline]
fn send_body<M: 'static>(
    recipient: &Recipient<M>,
    stamp: Stamp,
    labels: Labels,
    body: Body,
    send: impl FnOnce(Post<'_>, Body) -> Result<MessageId, Refused<Body>>,
) -> Result<Posted<M>, Rejected<M>> {
    match send(post(recipient, stamp, labels), body) {
        Ok(id) => Ok(recipient.posted(id)),
        Err(refused) => Err(opened(recipient, refused).unboxed_local_error(stamp.origin)),
    }
}

/// Sends a message without labels that is in `body`.
pub(crate) fn send_erased<M: 'static>(
    recipient: &Recipient<M>,
    stamp: Stamp,
    body: Body,
) -> Result<MessageId, Refused<Box<M>>> {
    let sent = recipient.shared.post(post(recipient, stamp, Labels::default()), body, fill_body);
    sent.map_err(|refused| opened(recipient, refused))
}

#[cold]
fn opened<M: 'static>(recipient: &Recipient<M>, Refused { value: mut body, reason }: Refused<Body>) -> Refused<Box<M>> {
    Refused { value: body.open_boxed(recipient.of).expect("nobody else has opened it"), reason }
}

impl<M> Debug for MessageBuilder<'_, M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageBuilder").field("what", &self.labels.what).finish_non_exhaustive()
    }
}
