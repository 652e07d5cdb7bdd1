//! A task on its thread: its future, in one box with what a poll needs.

use std::{
    any::Any,
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use pin_project_lite::pin_project;

use crate::{
    core::{
        item::{Body, Stamp},
        tasks::header::Header,
    },
    mem::slots::Key,
};

/// A future, or where one has been, whatever its type.
pub(crate) trait Run {
    /// Polls it. Its value goes to `value`, for `thread` alone to drop.
    fn run(self: Pin<&mut Self>, context: &mut Context<'_>, value: &mut Body, thread: u32) -> Poll<()>;

    /// Drops the future.
    fn clear(self: Pin<&mut Self>);

    /// Takes a future out of `next`, which is an `Option` of one, if it is of the type that has been here.
    fn refill(self: Pin<&mut Self>, next: &mut dyn Any) -> bool;
}

impl<F> Run for Option<F>
where
    F: Future + 'static,
{
    #[inline]
    fn run(self: Pin<&mut Self>, context: &mut Context<'_>, value: &mut Body, thread: u32) -> Poll<()> {
        let future = self.as_pin_mut().expect("what has ended is not polled");
        future.poll(context).map(|result| value.fill_message(result, thread))
    }

    #[inline]
    fn clear(mut self: Pin<&mut Self>) {
        self.set(None);
    }

    #[inline]
    fn refill(mut self: Pin<&mut Self>, next: &mut dyn Any) -> bool {
        let next = next.downcast_mut::<Self>();
        next.map(|next| self.set(next.take())).is_some()
    }
}

pin_project! {
    /// A task on its thread.
    pub(crate) struct LocalTask<F: ?Sized> {
        header: Arc<Header>,
        // The header as a waker: made once, lent to each poll.
        waker: Waker,
        // Its future is kept elsewhere: what is polled here only notes that it is to be polled.
        is_root: bool,
        #[pin]
        future: F,
    }
}

/// A task on its thread, whatever its future is. To move one moves a pointer.
///
/// One that has ended, and whose header nothing else reaches, is *free*: there is nothing of a user's in it, and it serves
/// the next task.
pub(crate) type BoxedTask = Pin<Box<LocalTask<dyn Run>>>;

impl<F> LocalTask<Option<F>> {
    #[inline]
    pub(crate) fn new(future: F, header: &Arc<Header>) -> Self {
        LocalTask::with(header.clone(), Waker::from(header.clone()), Some(future))
    }

    /// As [`new`](LocalTask::new), with a `waker` of the header.
    #[inline]
    pub(super) fn with(header: Arc<Header>, waker: Waker, future: Option<F>) -> Self {
        LocalTask { header, waker, is_root: false, future }
    }

    /// Its future, which was not polled.
    pub(crate) fn into_future(self) -> F {
        self.future.expect("only its end takes it out")
    }
}

/// In the place of a future of a `block_on`, which is kept there.
struct Root {
    is_due: Rc<Cell<bool>>,
}

impl Run for Root {
    fn run(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut Body, _: u32) -> Poll<()> {
        self.is_due.set(true);
        Poll::Pending
    }

    fn clear(self: Pin<&mut Self>) {}

    fn refill(self: Pin<&mut Self>, _: &mut dyn Any) -> bool {
        false
    }
}

/// A task whose future is kept elsewhere, where `is_due` tells that it is to be polled.
pub(crate) fn root(header: &Arc<Header>, is_due: Rc<Cell<bool>>) -> BoxedTask {
    let (header, waker) = (header.clone(), Waker::from(header.clone()));
    Box::pin(LocalTask { header, waker, is_root: true, future: Root { is_due } })
}

impl LocalTask<dyn Run> {
    #[inline]
    pub(crate) fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// Whether its future is kept elsewhere.
    #[inline]
    pub(crate) fn is_root(&self) -> bool {
        self.is_root
    }

    /// Polls its future.
    #[inline]
    pub(crate) fn run(self: Pin<&mut Self>, value: &mut Body) -> Poll<()> {
        let task = self.project();
        task.future.run(&mut Context::from_waker(task.waker), value, task.header.thread())
    }

    /// Drops its future.
    #[inline]
    pub(crate) fn clear(self: Pin<&mut Self>) {
        self.project().future.clear();
    }

    /// Becomes a task at `key` whose future is in `future`, if it is free and has had one of that type.
    #[inline]
    pub(super) fn reuse(self: Pin<&mut Self>, stamp: Stamp, key: Key, future: &mut dyn Any) -> bool {
        let task = self.project();
        let fits = task.future.refill(future);
        if fits {
            task.header.reuse(task.waker, stamp, key);
        }
        fits
    }

    /// Hands over what a task at `key` can use of a free one, whatever its future is.
    pub(super) fn hand_over(mut self: Pin<Box<Self>>, stamp: Stamp, key: Key) -> (Arc<Header>, Waker) {
        let task = self.as_mut().project();
        task.header.reuse(task.waker, stamp, key);
        (task.header.clone(), task.waker.clone())
    }
}
