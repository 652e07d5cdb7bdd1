//! What a handler is sent, as a stream.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt::{self, Debug, Formatter},
    future::poll_fn,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use futures_core::Stream;

use crate::{core::tasks::wake, handler::Handler, looper::Looper, mem::drop::drop_each};

/// The messages of a handler, for a task. Made by [`Looper::channel`].
///
/// Await [`recv`](Receiver::recv), or use it as a [`Stream`]. It ends when the last clone of the handler has been dropped
/// and all messages have been received, or the looper was dropped.
///
/// Dropping it drops what it has not given out. What is sent after that is dropped when it would be received.
///
/// # Thread safety
/// It stays on its looper's thread. The handler is sent to from any thread.
pub struct Receiver<M: 'static> {
    received: Rc<Received<M>>,
}

/// What a handler shares with its receiver. No user code runs while it is borrowed.
struct Received<M> {
    messages: RefCell<VecDeque<M>>,
    /// The task that waits.
    waker: Cell<Option<Waker>>,
    /// The handler has ended.
    has_ended: Cell<bool>,
}

/// The handler's end of it.
struct Sender<M>(Rc<Received<M>>);

impl<M> Sender<M> {
    /// Hands a message over, and polls the task that waits for it.
    fn push(&self, looper: &Looper, message: M) {
        let has_receiver = Rc::strong_count(&self.0) > 1;
        if !has_receiver {
            return drop(message);
        }
        self.0.messages.borrow_mut().push_back(message);
        if let Some(waker) = self.0.waker.take() {
            looper.resume(waker);
        }
    }
}

impl<M> Drop for Sender<M> {
    fn drop(&mut self) {
        self.0.has_ended.set(true);
        wake(self.0.waker.take());
    }
}

impl<M: 'static> Receiver<M> {
    /// Waits for the next message; `None` at the end.
    ///
    /// Dropping it before that loses no message.
    pub async fn recv(&mut self) -> Option<M> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// As [`recv`](Receiver::recv), polled.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<M>> {
        if let Some(message) = self.try_recv() {
            return Poll::Ready(Some(message));
        }
        if self.received.has_ended.get() {
            return Poll::Ready(None);
        }
        // Dropped with nothing borrowed: it may be a user's.
        drop(self.received.waker.replace(Some(context.waker().clone())));
        Poll::Pending
    }

    /// The next message, if it has come already.
    pub fn try_recv(&mut self) -> Option<M> {
        self.received.messages.borrow_mut().pop_front()
    }
}

impl<M: 'static> Stream for Receiver<M> {
    type Item = M;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<M>> {
        self.poll_recv(context)
    }
}

impl<M: 'static> Drop for Receiver<M> {
    fn drop(&mut self) {
        let unread = mem::take(&mut *self.received.messages.borrow_mut());
        let waker = self.received.waker.take();
        drop_each(unread);
        drop(waker);
    }
}

impl<M> Debug for Receiver<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("has_ended", &self.received.has_ended.get()).finish_non_exhaustive()
    }
}

impl Looper {
    /// Makes a handler and a [`Receiver`] of its messages, for a task that works through them one by one.
    ///
    /// The handler is like any other: it is sent to from any thread, now or later, and its messages can be removed until
    /// they are handled, which here means received. A task that waits for one is polled in that message.
    ///
    /// # Guarantees
    /// Messages come in the order in which the handler would have handled them. None that was handled is lost while the
    /// receiver lives.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::thread;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let (sender, mut numbers) = looper.channel();
    /// thread::spawn(move || (1..=3).for_each(|number| _ = sender.send(number)));
    ///
    /// let sum = looper.block_on(async move {
    ///     let mut sum = 0;
    ///     while let Some(number) = numbers.recv().await {
    ///         sum += number;
    ///     }
    ///     sum
    /// })?;
    ///
    /// assert_eq!(sum, 6);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// Kotlin's `Channel` on a `HandlerDispatcher`.
    #[must_use]
    pub fn channel<M: 'static>(&self) -> (Handler<M>, Receiver<M>) {
        let received =
            Rc::new(Received { messages: RefCell::default(), waker: Cell::default(), has_ended: Cell::new(false) });
        let sender = Sender(received.clone());
        let handler = self.handler(move |looper: &Looper, message| sender.push(looper, message));
        (handler, Receiver { received })
    }
}
