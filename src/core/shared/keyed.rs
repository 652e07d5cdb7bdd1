//! Posting that depends on what is pending: looked at and posted in one step.

use super::{posting::Left, slices::SLICE, *};
use crate::queue::{handlers::Selection, labels::MessageFilter};

/// What a look at the queue says of a post.
enum Look {
    /// There is more to look at: let the looper come in between, and look again.
    Again,
    Post,
    Refuse(RejectReason),
}

impl Shared {
    /// Posts a message in place of those of a handler that `filter` names. Gives these, too.
    ///
    /// Of more than a slice of them, the first ones are taken out before: the last step still leaves none but the new one.
    pub(crate) fn replace<T>(
        &self,
        (target, filter): (Key, MessageFilter),
        post: Post<'_>,
        value: T,
        fill: impl FnOnce(&mut Body, T, u32),
    ) -> (Vec<queue::Taken<Looper>>, Result<MessageId, Refused<T>>) {
        let mut replaced = Vec::new();
        let take = |queue: &mut Queue<Looper>| {
            // A new one each time: it sees what was posted since.
            let mut selection = Selection::new(target, filter);
            if queue.cancel_some(&mut selection, SLICE, &mut replaced) { Look::Post } else { Look::Again }
        };
        let posted = self.post_if(take, post, value, fill).map(|(id, signal)| {
            self.signal_if(signal);
            id
        });
        (replaced, posted)
    }

    /// Posts a message unless one of a handler's is pending that `filter` names.
    pub(crate) fn post_unless_pending<T>(
        &self,
        (target, filter): (Key, MessageFilter),
        post: Post<'_>,
        value: T,
        fill: impl FnOnce(&mut Body, T, u32),
    ) -> Result<MessageId, Refused<T>> {
        let look = |queue: &mut Queue<Looper>| match queue.count(target, filter, SLICE) {
            None => Look::Again,
            Some(0) => Look::Post,
            Some(_) => Look::Refuse(RejectReason::Pending),
        };
        let (id, signal) = self.post_if(look, post, value, fill)?;
        self.signal_if(signal);
        Ok(id)
    }

    /// Posts a closure in place of the message `former`, if that is pending. Gives this one, too, and leaves the signal
    /// to the caller.
    pub(crate) fn leave_in_place_of<T>(
        &self,
        former: Option<MessageId>,
        post: Post<'_>,
        value: T,
        fill: impl FnOnce(&mut Body, T, u32),
    ) -> (Option<queue::Taken<Looper>>, Left<T>) {
        let mut replaced = None;
        let take = |queue: &mut Queue<Looper>| {
            replaced = former.and_then(|former| queue.cancel(former));
            Look::Post
        };
        let left = self.post_if(take, post, value, fill);
        (replaced, left)
    }

    /// Posts straight into the queue, the inbox's messages included, in the step that has looked at it.
    fn post_if<T>(
        &self,
        mut look: impl FnMut(&mut Queue<Looper>) -> Look,
        post: Post<'_>,
        value: T,
        fill: impl FnOnce(&mut Body, T, u32),
    ) -> Left<T> {
        while let Some(ours) = self.ours() {
            let mut queue = self.queue(ours);
            if self.inbox.is_closed() {
                break;
            }
            match look(&mut queue) {
                Look::Again => {}
                Look::Post => {
                    let thread = self.dropping_thread();
                    let count = if thread == ANYWHERE { &self.account.visiting } else { &self.account.own };
                    return self.leave_in_queue(queue, post, value, (count, thread), fill);
                }
                Look::Refuse(reason) => return Err(Refused { value, reason }),
            }
        }
        Err(self.rejected(value))
    }
}
