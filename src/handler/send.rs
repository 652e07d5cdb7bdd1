//! How a handler is made, and sends.

use std::{
    any,
    panic::Location,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    core::{
        item::{Body, Stamp, When},
        refused::Rejected,
        shared::Shared,
    },
    handler::{
        Callee, Front, Handler, WeakHandler,
        builder::{self, MessageBuilder},
        message,
        recipient::Recipient,
    },
    looper::{Looper, handle::LooperHandle, posted::Posted},
    mem::{erased::ANYWHERE, slots::Key},
    queue::account::Tally,
};

/// **Making and sending.**
impl<M: 'static> Handler<M> {
    /// Makes a handler on the looper's own thread: `callback` and its state need not be `Send`.
    ///
    /// A looper that has quit also makes a handler, and refuses its messages. A closure that keeps an `Rc` of its own
    /// looper keeps both alive: use its `&Looper` argument, or keep a [`LooperHandle`].
    ///
    /// # Android
    /// `new Handler(looper, callback)`.
    pub fn new<F>(looper: &Looper, callback: F) -> Handler<M>
    where
        F: FnMut(&Looper, M) + 'static,
    {
        let callback = Box::new(callback);
        let recipient = Handler::announce(looper.shared());
        Callee::keep(looper, &recipient, callback);
        Handler { front: Arc::new(Front { recipient }), asynchronous: false }
    }

    /// Makes a handler whose closure can send to itself: `make` gets a [`WeakHandler`], which it may clone into the
    /// closure.
    ///
    /// Within `make`, [`upgrade`](WeakHandler::upgrade) gives `None`. The weak reference does not keep the handler alive.
    ///
    /// # Examples
    /// ```
    /// # use alooper::{Handler, Looper};
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let countdown = Handler::new_cyclic(&looper, |weak| {
    ///     let weak = weak.clone();
    ///     move |looper: &Looper, left: u32| match weak.upgrade() {
    ///         Some(countdown) if left > 0 => drop(countdown.send(left - 1)),
    ///         _ => looper.quit(),
    ///     }
    /// });
    ///
    /// countdown.send(3)?;
    ///
    /// assert_eq!(looper.run()?.run, 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// A subclass of `Handler`, whose `handleMessage` has `this`.
    pub fn new_cyclic<F>(looper: &Looper, make: impl FnOnce(&WeakHandler<M>) -> F) -> Handler<M>
    where
        F: FnMut(&Looper, M) + 'static,
    {
        let front = Arc::new_cyclic(|front| {
            let callback = Box::new(make(&WeakHandler { front: front.clone(), asynchronous: false }));
            let recipient = Handler::announce(looper.shared());
            Callee::keep(looper, &recipient, callback);
            Front { recipient }
        });
        Handler { front, asynchronous: false }
    }

    /// Makes the recipient of a handler that the queue knows from now on.
    pub(super) fn announce(shared: &Arc<Shared>) -> Arc<Recipient<M>> {
        let tally = Arc::new(Tally::default());
        let target = shared.with_queue_alone(|queue| Some(queue.handlers.add(any::type_name::<M>(), tally.clone())));
        // In a forked child, nobody looks for it.
        let target = target.unwrap_or(Key::NONE);
        Recipient::new(shared, target, tally)
    }

    pub(crate) fn recipient(&self) -> &Recipient<M> {
        &self.front.recipient
    }

    /// Sends `message` to be handled after everything that is due already.
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped.
    ///
    /// # Thread safety
    /// Callable from any thread if `M` is `Send`; holds short locks; writes the eventfd only if the looper sleeps.
    ///
    /// # Guarantees
    /// As [`LooperHandle::post`]: messages and closures of one thread run in the order in which they were posted,
    /// and a message that was accepted ends in exactly one way.
    ///
    /// # Android
    /// `Handler.sendMessage`, which returns `false` instead of giving the message back.
    #[track_caller]
    // A plain message is written where it lies; a call of its own would cost a sixth more. Not where nothing is optimized:
    // there the stack of the caller would have to have room for each large message more than once (M12).
    #[cfg_attr(not(debug_assertions), inline(always))]
    #[cfg_attr(debug_assertions, inline)]
    pub fn send(&self, message: M) -> Result<Posted<M>, Rejected<M>> {
        if const { Body::has_room_for::<M>() } {
            builder::send_now(self.recipient(), self.asynchronous, Location::caller(), message)
        } else {
            builder::send(self.recipient(), self.asynchronous, Stamp::new(When::Now), message)
        }
    }

    /// As [`send`](Handler::send), for what the library sends on behalf of a call that was made elsewhere.
    #[cfg(feature = "offload")]
    pub(crate) fn send_stamped(&self, message: M, stamp: Stamp) -> Result<Posted<M>, Rejected<M>> {
        builder::send(self.recipient(), self.asynchronous, stamp, message)
    }

    /// Sends `message` to be handled no earlier than `delay` from now.
    ///
    /// Messages due at the same instant are handled in the order in which they were sent. A delay that overflows the
    /// clock stays pending until it is removed.
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped.
    ///
    /// # Thread safety
    /// Callable from any thread if `M` is `Send`; holds short locks; writes the eventfd only if the looper sleeps past
    /// the deadline.
    ///
    /// # Android
    /// `Handler.sendMessageDelayed`.
    #[doc(alias = "sendMessageDelayed")]
    #[track_caller]
    pub fn send_delayed(&self, delay: Duration, message: M) -> Result<Posted<M>, Rejected<M>> {
        let when = self.recipient().shared.clock.now().after(delay);
        builder::send(self.recipient(), self.asynchronous, Stamp::new(When::At(when)), message)
    }

    /// Sends `message` to be handled no earlier than at `when`, which may be in the past: then it sorts by that time.
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped.
    ///
    /// # Android
    /// `Handler.sendMessageAtTime`.
    #[doc(alias = "sendMessageAtTime")]
    #[track_caller]
    pub fn send_at(&self, when: Instant, message: M) -> Result<Posted<M>, Rejected<M>> {
        let when = self.recipient().shared.clock.moment(when);
        builder::send(self.recipient(), self.asynchronous, Stamp::new(When::At(when)), message)
    }

    /// Sends `message` to be handled before everything that is pending, barriers and earlier posts at the front included.
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped.
    ///
    /// # Android
    /// `Handler.sendMessageAtFrontOfQueue`.
    #[doc(alias = "sendMessageAtFrontOfQueue")]
    #[track_caller]
    pub fn send_at_front(&self, message: M) -> Result<Posted<M>, Rejected<M>> {
        builder::send(self.recipient(), self.asynchronous, Stamp::new(When::Front), message)
    }

    /// Begins to send `message`, with labels or asynchronously.
    ///
    /// ```
    /// # use alooper::{Handler, Looper, Token};
    /// # fn main() -> std::io::Result<()> {
    /// # let looper = Looper::new()?;
    /// let handler = Handler::new(&looper, |_, text: String| println!("{text}"));
    /// let session = Token::new();
    ///
    /// handler.message("hello".to_owned()).what(1).token(session).send()?;
    ///
    /// assert!(handler.has(1));
    /// assert_eq!(handler.remove(session), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// `Handler.obtainMessage`.
    #[doc(alias = "obtainMessage")]
    #[inline]
    pub fn message(&self, message: M) -> MessageBuilder<'_, M> {
        let recipient = self.recipient();
        let labels = message::labels_of(&message);
        let mut body = Body::default();
        body.fill_message(message, ANYWHERE);
        MessageBuilder::new(recipient, body, labels, self.asynchronous)
    }

    /// Gives a clone that sends asynchronous messages, which no barrier holds up.
    ///
    /// It is the same handler: removals and questions find the messages of both.
    ///
    /// # Android
    /// `Handler.createAsync`.
    #[doc(alias = "createAsync")]
    #[must_use]
    pub fn asynchronous(&self) -> Handler<M> {
        Handler { front: self.front.clone(), asynchronous: true }
    }

    /// Gives a handle to the looper that handles the messages.
    ///
    /// # Android
    /// `Handler.getLooper`.
    #[doc(alias = "getLooper")]
    #[must_use]
    pub fn looper(&self) -> LooperHandle {
        LooperHandle::new(&self.front.recipient.shared)
    }

    /// Gives a reference that does not keep the handler alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakHandler<M> {
        WeakHandler { front: Arc::downgrade(&self.front), asynchronous: self.asynchronous }
    }
}
