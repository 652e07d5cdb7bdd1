//! Sending that depends on what is pending: in place of it, or unless there is some.

use std::time::Duration;

use crate::{
    core::{
        item::{Stamp, When},
        refused::Rejected,
    },
    handler::Handler,
    looper::posted::Posted,
    queue::labels::MessageFilter,
};

/// Keyed messages: to send one, and what that means for those that are pending, is one exact step, from any thread.
///
/// The message gets the labels that the filter names, so that the next call finds it.
impl<M: 'static> Handler<M> {
    /// Sends `message` in place of the pending messages that `filter` names, if there are some.
    ///
    /// It runs after everything that is due already, not where one that it replaces stood. Those are dropped by the
    /// caller before the call returns. Of more than 256 of them, some may still run while it is at it.
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped; then nothing is replaced.
    ///
    /// # Guarantees
    /// At no moment are two of them pending, unless somebody else sends one with these labels.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # fn main() -> std::io::Result<()> {
    /// # let looper = Looper::new()?;
    /// const PROGRESS: i32 = 1;
    /// let bar = looper.handler(|_, percent: u32| println!("{percent} %"));
    /// bar.replace(PROGRESS, 10)?;
    /// bar.replace(PROGRESS, 20)?;
    ///
    /// assert_eq!(bar.len(), 1, "only the latest is shown");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// `removeMessages(what)`, then `sendMessage`: two steps, between which others may send.
    #[track_caller]
    pub fn replace(&self, filter: impl Into<MessageFilter>, message: M) -> Result<Posted<M>, Rejected<M>> {
        let filter = filter.into();
        self.message(message).labelled(filter).replace(filter, Stamp::new(When::Now))
    }

    /// Sends `message` to be handled no earlier than `delay` from now, in place of the pending messages that `filter`
    /// names: *debounce*. A burst is handled once, when no message has come for `delay`.
    ///
    /// As [`replace`](Handler::replace).
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped; then nothing is replaced.
    ///
    /// # Android
    /// `removeMessages(what)`, then `sendMessageDelayed`.
    #[doc(alias = "debounce")]
    #[track_caller]
    pub fn replace_delayed(
        &self,
        filter: impl Into<MessageFilter>,
        delay: Duration,
        message: M,
    ) -> Result<Posted<M>, Rejected<M>> {
        let filter = filter.into();
        let when = self.recipient().shared.clock.now().after(delay);
        self.message(message).labelled(filter).replace(filter, Stamp::new(When::At(when)))
    }

    /// Sends `message` unless one is pending that `filter` names.
    ///
    /// # Errors
    /// Gives the message back: with [`RejectReason::Pending`](crate::RejectReason::Pending) if one is pending, or
    /// because the looper has quit or was dropped.
    ///
    /// # Guarantees
    /// Exact at the moment of the call: of any number of threads that send at once, one succeeds. The message that
    /// runs is not pending any more.
    ///
    /// # Android
    /// `hasMessages(what)`, then `sendMessage`: two steps, between which others may send.
    #[doc(alias = "coalesce")]
    #[track_caller]
    pub fn send_unless_pending(&self, filter: impl Into<MessageFilter>, message: M) -> Result<Posted<M>, Rejected<M>> {
        let filter = filter.into();
        self.message(message).labelled(filter).send_unless_pending(filter, Stamp::new(When::Now))
    }

    /// Sends `message` to be handled no earlier than `delay` from now, unless one is pending that `filter` names:
    /// *throttle*. A burst is handled once per `delay`, with its first message.
    ///
    /// As [`send_unless_pending`](Handler::send_unless_pending).
    ///
    /// # Errors
    /// Gives the message back: with [`RejectReason::Pending`](crate::RejectReason::Pending) if one is pending, or
    /// because the looper has quit or was dropped.
    ///
    /// # Android
    /// `hasMessages(what)`, then `sendMessageDelayed`.
    #[doc(alias = "throttle")]
    #[track_caller]
    pub fn send_delayed_unless_pending(
        &self,
        filter: impl Into<MessageFilter>,
        delay: Duration,
        message: M,
    ) -> Result<Posted<M>, Rejected<M>> {
        let filter = filter.into();
        let when = self.recipient().shared.clock.now().after(delay);
        self.message(message).labelled(filter).send_unless_pending(filter, Stamp::new(When::At(when)))
    }
}
