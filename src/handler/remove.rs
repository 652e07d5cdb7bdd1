//! Finding a handler's messages again: removing them and asking for them, from any thread.

use crate::{
    core::{
        cancelled::{self, EndTargets},
        item::{Body, PendingDrop},
        local::{self, Local},
        predicate::{InPredicate, in_predicate},
    },
    handler::{Handler, recipient::Recipient},
    mem::drop::drop_each,
    queue::{labels::MessageFilter, message::MessageId},
};

/// Removes pending messages, and asks for them: exact at the moment of the call.
///
/// After a removal has returned, the looper begins no message that it named. The one that is being handled is not
/// pending any more and is not affected. What is removed is dropped by the caller before the call returns. It costs
/// what matches, not what is queued; the first call for a kind of label costs one pass over the handler's own messages
/// besides.
///
/// Whatever goes over more than 256 messages lets the looper go on in between. A message that a removal has not come to
/// yet may start then, and is not counted; what other threads send meanwhile may be removed or not.
impl<M: 'static> Handler<M> {
    /// Removes all messages of this handler; gives how many they were.
    ///
    /// # Android
    /// `Handler.removeCallbacksAndMessages(null)`, which leaves the number open and also removes posted closures.
    #[doc(alias = "removeCallbacksAndMessages")]
    pub fn clear(&self) -> usize {
        self.remove(MessageFilter::All)
    }

    /// Removes the messages that `filter` means; gives how many they were.
    ///
    /// # Examples
    /// ```
    /// # use alooper::{Looper, Token};
    /// # fn main() -> std::io::Result<()> {
    /// # let looper = Looper::new()?;
    /// # let session = Token::new();
    /// # let handler = looper.handler(|_, _: &str| ());
    /// handler.message("hello").what(1).token(session).send()?;
    /// handler.message("again").what(1).send()?;
    /// handler.message("other").what(2).token(session).send()?;
    ///
    /// assert_eq!(handler.count(1), 2);
    /// assert_eq!(handler.remove((1, session)), 1);
    /// assert_eq!(handler.remove(session), 1);
    /// assert!(handler.has(1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// `Handler.removeMessages(int)`, which with zero also removes posted closures, `removeMessages(int, Object)` and
    /// `removeCallbacksAndMessages(token)`.
    #[doc(alias = "removeMessages")]
    pub fn remove(&self, filter: impl Into<MessageFilter>) -> usize {
        let Recipient { shared, target, of, .. } = self.recipient();
        cancelled::drop_cancelled(shared, *of, shared.cancel_all(*target, filter.into()))
    }

    /// Removes the messages for which `predicate` is true; gives how many they were.
    ///
    /// It looks at the messages that are pending when it is called, in their order, one pass over this handler's own.
    /// `predicate` runs with no lock held and may call anything of the looper but what waits for it or its thread:
    /// polling is an error in it, and so are [`call`](crate::LooperHandle::call) from another thread and joining a
    /// [`HandlerThread`](crate::HandlerThread), which is not joined either when it is dropped there. The message that
    /// it looks at stays pending meanwhile and does not run: if it is the next one, the looper serves fds until the
    /// predicate has returned. A removal by predicate that is called in a predicate leaves out the messages that are
    /// being looked at.
    ///
    /// # Panics
    /// Goes on with a panic of the predicate; the message that it looked at stays. Goes on with one of the `Drop` of
    /// what it has removed, and looks at no more.
    ///
    /// # Thread safety
    /// Callable from any thread if `M` is `Send`. If two threads remove by predicate from one handler, one may have to
    /// wait until the predicate of the other has looked at a message: let no predicate wait for what such a thread
    /// holds.
    ///
    /// # Android
    /// `Handler.removeEqualMessages`, which compares by `equals` while the queue is locked.
    #[doc(alias = "removeEqualMessages")]
    pub fn remove_if(&self, mut predicate: impl FnMut(&M) -> bool) -> usize {
        let spots = self.recipient().shared.messages_of(self.recipient().target);
        spots.into_iter().filter(|spot| self.look(*spot, &mut predicate, true) == Some(true)).count()
    }

    /// Whether a message is pending for which `predicate` is true. It runs as that of
    /// [`remove_if`](Handler::remove_if).
    ///
    /// # Panics
    /// Goes on with a panic of the predicate.
    ///
    /// # Android
    /// `Handler.hasEqualMessages`, which compares by `equals` while the queue is locked.
    #[doc(alias = "hasEqualMessages")]
    pub fn has_if(&self, mut predicate: impl FnMut(&M) -> bool) -> bool {
        let spots = self.recipient().shared.messages_of(self.recipient().target);
        spots.into_iter().any(|spot| self.look(spot, &mut predicate, false) == Some(true))
    }

    /// Whether a message is pending that `filter` means.
    ///
    /// # Android
    /// `Handler.hasMessages(int)` and `hasMessages(int, Object)`.
    #[doc(alias = "hasMessages")]
    #[must_use]
    pub fn has(&self, filter: impl Into<MessageFilter>) -> bool {
        self.count(filter) > 0
    }

    /// How many messages are pending that `filter` means.
    #[must_use]
    pub fn count(&self, filter: impl Into<MessageFilter>) -> usize {
        match filter.into() {
            MessageFilter::All => self.len(),
            filter => self.recipient().shared.count(self.recipient().target, filter),
        }
    }

    /// How many messages of this handler are pending. The one that is being handled is not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.recipient().shared.pending_of(&self.recipient().tally)
    }

    /// Whether no message of this handler is pending.
    ///
    /// # Android
    /// `Handler.hasMessagesOrCallbacks`, the other way round.
    #[doc(alias = "hasMessagesOrCallbacks")]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks `predicate` about a message, and removes it if that is true and it is to be removed. `None` if it is not
    /// pending, or does not stay so until the predicate has returned.
    fn look(&self, id: MessageId, predicate: &mut impl FnMut(&M) -> bool, remove: bool) -> Option<bool> {
        let recipient = self.recipient();
        // Two predicates that remove by predicate must not wait for each other.
        let mut body = recipient.shared.hold(id, !in_predicate())?;
        let value = body.open_boxed(recipient.of);
        let mut look = Look { recipient, id, value, remove: false, answer: None };
        let matches = {
            let _in_predicate = InPredicate::begin();
            let local = Local::of(&recipient.shared);
            let _no_polling = local.as_ref().map(|local| local.occupy());
            predicate(look.value.as_ref()?)
        };
        look.remove = matches && remove;
        look.end().then_some(matches)
    }
}

/// A message that a predicate looks at; held and lent until this is dropped.
struct Look<'a, M: 'static> {
    recipient: &'a Recipient<M>,
    id: MessageId,
    value: Option<Box<M>>,
    remove: bool,
    /// Whether it was pending to the end, once it has ended.
    answer: Option<bool>,
}

impl<M: 'static> Look<'_, M> {
    fn end(mut self) -> bool {
        self.release()
    }

    /// Gives the value back, and removes the message if it is to be. Whether it was pending until then.
    fn release(&mut self) -> bool {
        if let Some(answer) = self.answer {
            return answer;
        }
        let Recipient { shared, of, .. } = self.recipient;
        let mut body = Body::default();
        if let Some(value) = self.value.take() {
            body.fill_boxed(value, shared.dropping_thread());
        }
        let (was_pending, removed, left) = shared.release(self.id, self.remove, body);
        self.answer = Some(was_pending);
        // Also if the value panics when it is dropped.
        let _end = removed.is_some_and(|removed| removed.ends_target).then(|| EndTargets(shared));
        if let Some(body) = left {
            // We drop the value: the code that removed the message found an empty body, since we had it. After a quit the
            // looper's thread does.
            let belongs_home = !was_pending && shared.is_quitting() && !shared.is_current();
            let mine = if belongs_home {
                match local::drop_locally(shared, PendingDrop::Message(body)) {
                    Err(PendingDrop::Message(body)) => Some(body),
                    _ => None,
                }
            } else {
                Some(body)
            };
            drop_each(mine.and_then(|mut body| body.open_boxed(*of)));
        }
        was_pending
    }
}

impl<M: 'static> Drop for Look<'_, M> {
    fn drop(&mut self) {
        self.release();
    }
}
