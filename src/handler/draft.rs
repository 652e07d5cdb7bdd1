//! Sending a message to a handler: when, with which labels, and past barriers or not.

use std::{
    fmt::{self, Debug, Formatter},
    mem,
    time::{Duration, Instant},
};

use crate::{
    core::{
        item::{Body, Sent, Stamp, When},
        refused::{Refused, Rejected},
        shared::Shared,
    },
    handler::{
        message::{self},
        recipient::Recipient,
    },
    looper::posted::Posted,
    mem::letter::Letter,
    queue::{
        labels::{Labels, Token},
        node::{Address, Links},
    },
};

/// A message that is about to be sent. See [`Handler::message`](crate::Handler::message).
#[must_use = "a draft is sent by one of its `send` methods"]
pub struct Draft<'a, M> {
    recipient: &'a Recipient<M>,
    /// Sealed already, so that not each method has to copy a large message.
    letter: Letter,
    labels: Labels,
    asynchronous: bool,
}

impl<'a, M: 'static> Draft<'a, M> {
    #[inline]
    pub(crate) fn new(recipient: &'a Recipient<M>, letter: Letter, labels: Labels, asynchronous: bool) -> Draft<'a, M> {
        Draft { recipient, letter, labels, asynchronous }
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
        let passport = self.recipient.passport;
        if message::is_plain::<M>()
            && let Some(mut message) = self.letter.open_boxed(passport)
        {
            message::set_what(&mut *message, what);
            self.letter = Letter::seal_boxed(message, passport);
        }
        self
    }
}

/// Drops a message that was not sent.
impl<M> Drop for Draft<'_, M> {
    fn drop(&mut self) {
        self.letter.discard(self.recipient.passport);
    }
}

impl<M: 'static> Draft<'_, M> {
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

    fn shared(&self) -> &Shared {
        &self.recipient.shared
    }

    #[inline]
    fn send_when(mut self, stamp: Stamp) -> Result<Posted<M>, Rejected<M>> {
        let stamp = Stamp { asynchronous: self.asynchronous, ..stamp };
        send_letter(self.recipient, stamp, self.labels, mem::take(&mut self.letter))
    }
}

/// Sends a message without a draft of it, and without labels but its own.
#[inline]
pub(crate) fn send<M: 'static>(
    recipient: &Recipient<M>,
    asynchronous: bool,
    stamp: Stamp,
    message: M,
) -> Result<Posted<M>, Rejected<M>> {
    let stamp = Stamp { asynchronous, ..stamp };
    let labels = message::labels_of(&message);
    if const { Letter::has_room_for::<M>() } {
        let Recipient { shared, target, passport } = recipient;
        let address = Address::new(target.index(), labels.what);
        let fill = |place: &mut Body, message| place.fill_sent(address, message, *passport);
        match shared.post(stamp, message, labels.token, fill) {
            Ok(name) => Ok(Posted::sent(shared.id, name, *passport)),
            Err(refused) => Err(refused.stays(stamp.origin)),
        }
    } else {
        send_letter(recipient, stamp, labels, Letter::seal_boxed(Box::new(message), recipient.passport))
    }
}

#[inline]
fn send_letter<M: 'static>(
    recipient: &Recipient<M>,
    stamp: Stamp,
    labels: Labels,
    letter: Letter,
) -> Result<Posted<M>, Rejected<M>> {
    let Recipient { shared, target, passport } = recipient;
    let Labels { what, token } = labels;
    let address = Address::new(target.index(), what);
    let fill = |place: &mut Body, letter| *place = Body::Sent(Sent { address, links: Links::default(), letter });
    match shared.post(stamp, letter, token, fill) {
        Ok(name) => Ok(Posted::sent(shared.id, name, *passport)),
        Err(Refused { value: mut letter, reason }) => {
            let value = letter.open_boxed(*passport).expect("nobody else has opened it");
            Err(Refused { value, reason }.unboxed_stays(stamp.origin))
        }
    }
}

impl<M> Debug for Draft<'_, M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").field("what", &self.labels.what).finish_non_exhaustive()
    }
}
