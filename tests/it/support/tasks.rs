//! Futures for tasks: one that gives way, one that is woken by hand, and one that tells where it is dropped.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::mpsc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, ThreadId},
};

use alooper::{CallError, Looper};

/// Wakes its task once, and is ready when polled again.
#[derive(Default)]
pub(crate) struct Yield {
    has_yielded: bool,
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

pub(crate) fn yield_now() -> Yield {
    Yield::default()
}

/// What a [`Hung`] future was polled with.
#[derive(Clone, Default)]
pub(crate) struct Wakers(Rc<RefCell<Vec<Waker>>>);

impl Wakers {
    /// Keeps the waker of a poll.
    pub(crate) fn keep(&self, waker: &Waker) {
        self.0.borrow_mut().push(waker.clone());
    }

    /// The waker of its last poll.
    pub(crate) fn last(&self) -> Waker {
        self.0.borrow().last().expect("it was polled").clone()
    }

    /// How often it was polled.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().len()
    }
}

/// Never ready; keeps each waker that it is polled with.
pub(crate) struct Hung(pub(crate) Wakers);

impl Future for Hung {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.keep(context.waker());
        Poll::Pending
    }
}

/// Says where it was dropped.
pub(crate) struct Tattler(mpsc::Sender<ThreadId>);

impl Tattler {
    pub(crate) fn new() -> (Tattler, mpsc::Receiver<ThreadId>) {
        let (sender, receiver) = mpsc::channel();
        (Tattler(sender), receiver)
    }

    /// Never ready.
    pub(crate) async fn hang(self) {
        std::future::pending::<()>().await;
    }
}

impl Drop for Tattler {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

/// Awaits `future` on this thread, without any looper.
pub(crate) fn wait_for<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Polls until nothing is due.
pub(crate) fn settle(looper: &Looper) -> usize {
    looper.poll_all(std::time::Duration::ZERO).unwrap().messages
}

/// Whether a call was rejected, and its closure has come back.
pub(crate) fn has_come_back<T, F: 'static>(told: Result<T, CallError<F>>) -> bool {
    match told {
        Err(CallError::Rejected(refused)) => refused.into_value().is_some(),
        _ => false,
    }
}
