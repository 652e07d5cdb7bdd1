//! Sending a message to a handler: when, with which labels, and past barriers or not.

use std::{
    fmt::{self, Debug, Formatter},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    clock::Moment,
    error::Rejected,
    item::{Body, Sent, Stamp},
    message::{self, Labels, Token},
    posted::Posted,
    shared::Shared,
    store::Store,
};

/// A message that is about to be sent. See [`Handler::message`](crate::Handler::message).
#[must_use = "a draft is sent by one of its `send` methods"]
pub struct Draft<'a, M> {
    store: &'a Arc<Store<M>>,
    message: M,
    labels: Labels,
    asynchronous: bool,
}

impl<'a, M: 'static> Draft<'a, M> {
    pub(crate) fn new(store: &'a Arc<Store<M>>, message: M, asynchronous: bool) -> Draft<'a, M> {
        let labels = message::labels_of(&message);
        Draft { store, message, labels, asynchronous }
    }
}

impl<M> Draft<'_, M> {
    /// Sets the number by which the message can be found again. Zero unless set; the one of a plain
    /// [`Message`](crate::Message) is its own.
    ///
    /// # Android
    /// `Message.what`.
    pub fn what(mut self, what: i32) -> Self {
        self.labels.what = what;
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
    pub fn send(self) -> Result<Posted<M>, Rejected<M>> {
        let now = self.shared().clock.now();
        self.send_when(Stamp::new(now))
    }

    /// Sends it, as [`Handler::send_delayed`](crate::Handler::send_delayed).
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped.
    #[track_caller]
    pub fn send_delayed(self, delay: Duration) -> Result<Posted<M>, Rejected<M>> {
        let when = self.shared().clock.now().after(delay);
        self.send_when(Stamp::new(when))
    }

    /// Sends it, as [`Handler::send_at`](crate::Handler::send_at).
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped.
    #[track_caller]
    pub fn send_at(self, when: Instant) -> Result<Posted<M>, Rejected<M>> {
        let when = self.shared().clock.moment(when);
        self.send_when(Stamp::new(when))
    }

    /// Sends it, as [`Handler::send_at_front`](crate::Handler::send_at_front).
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped.
    #[track_caller]
    pub fn send_at_front(self) -> Result<Posted<M>, Rejected<M>> {
        self.send_when(Stamp::new(Moment::FRONT))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.store.shared
    }

    fn send_when(self, stamp: Stamp) -> Result<Posted<M>, Rejected<M>> {
        let store = self.store;
        let labels = self.labels;
        let stamp = Stamp { asynchronous: self.asynchronous, ..stamp };
        let slot = store.put(self.message);
        let body = |slot| Body::Sent(Box::new(Sent { target: store.target, slot, labels }));
        match store.shared.post(stamp, slot, body) {
            Ok(place) => Ok(Posted::sent(store, place)),
            Err(Rejected { value: slot, reason }) => {
                let value = store.take(slot).expect("nobody else knows of it");
                Err(Rejected { value, reason })
            }
        }
    }
}

impl<M> Debug for Draft<'_, M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").field("what", &self.labels.what).finish_non_exhaustive()
    }
}
