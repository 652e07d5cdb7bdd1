//! Waiting for room in a bounded handler.

use std::{
    fmt::{self, Debug, Formatter},
    panic::Location,
    pin::Pin,
    task::{Context, Poll, ready},
};

use crate::{
    core::{refused::Rejected, semaphore::PendingPermit},
    error::RejectReason,
    handler::bounded::BoundedHandler,
    looper::posted::Posted,
};

/// A message that waits for room. Made by [`BoundedHandler::send_async`].
///
/// Dropping it before it is done sends nothing, and drops the message.
#[must_use = "nothing is sent unless it is awaited"]
pub struct SendAsync<M: 'static> {
    handler: BoundedHandler<M>,
    /// `None` once it was sent or came back.
    message: Option<M>,
    permit: PendingPermit,
    place: &'static Location<'static>,
}

/// Nothing is pinned in it.
impl<M> Unpin for SendAsync<M> {}

impl<M: 'static> BoundedHandler<M> {
    /// Sends `message` when there is room: [`send`](BoundedHandler::send) for tasks, on any executor, the looper's own
    /// included.
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped, also while this waits.
    ///
    /// # Panics
    /// If it is polled after it was done.
    ///
    /// # Guarantees
    /// Those who wait, threads and tasks, get places in the order in which they came. One that is dropped hands its place
    /// on.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let numbers = looper.bounded_handler(1, |_, number: u32| println!("{number}"))?;
    ///
    /// looper.block_on(async {
    ///     for number in 0..3 {
    ///         numbers.send_async(number).await?;
    ///     }
    ///     std::io::Result::Ok(())
    /// })?
    /// # }
    /// ```
    #[track_caller]
    pub fn send_async(&self, message: M) -> SendAsync<M> {
        let permit = self.semaphore().line_up();
        SendAsync { handler: self.clone(), message: Some(message), permit, place: Location::caller() }
    }
}

impl<M: 'static> Future for SendAsync<M> {
    type Output = Result<Posted<M>, Rejected<M>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let permit = ready!(self.permit.poll(context));
        let message = self.message.take().expect("a message is sent once: do not await it again");
        let place = self.place;
        Poll::Ready(match permit {
            Some(permit) => self.handler.deliver(permit, message, place),
            None => Err(self.handler.refuse(message, RejectReason::Quit).local_error(place)),
        })
    }
}

impl<M> Debug for SendAsync<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendAsync").field("is_sent", &self.message.is_none()).finish_non_exhaustive()
    }
}
