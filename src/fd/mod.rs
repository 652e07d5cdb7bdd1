//! Watched fds: who may be called, and what is called.
//!
//! A registration has two halves. The [`table`] knows that it exists, under a lock, so that any thread can add, change
//! and end it, and so that the looper can claim it before each call. The [`sources`] hold its source and callback, on
//! the looper's thread, where they run and are dropped. A key with a generation joins the halves, and is what epoll
//! carries: an fd number is never taken for a name.

pub(crate) mod notice;
mod numbers;
pub(crate) mod registration;
pub(crate) mod registrations;
pub(crate) mod sources;
pub(crate) mod table;

use std::{
    any::Any,
    borrow::BorrowMut,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, RawFd},
};

use crate::{
    fd::{notice::Notice, registration::Registration},
    mem::drop::{Shielded, drop_each},
    sys::{
        interest::{Events, Interest},
        unread,
    },
};

/// What a callback returns: whether its fd stays watched, and for what.
///
/// It applies to the callback's own registration only, even if that has ended meanwhile and its fd number is used
/// again.
///
/// # Android
/// The `1` and `0` that a `Looper_callbackFunc` returns, with a change of interest besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FdNext {
    /// Keeps watching.
    Keep,
    /// Ends the registration; drops the source and the callback.
    Remove,
    /// Keeps watching, for this from now on. The interest that it has already is no change.
    Interest(Interest),
}

/// Why a registration ends whose fd epoll no longer knows.
pub(crate) const CLOSED_UNDER_IT: &str = "it was closed under its registration";

/// What is told of a registration that has ended without being asked to.
pub(crate) fn stale(ended: Registration, why: impl Into<String>) -> Notice {
    Notice::StaleFd { fd: ended.fd, place: ended.place, why: why.into() }
}

/// A source with its callback, whatever their types. The callback is lent an `L`: the looper that serves it.
pub(crate) trait Watched<L> {
    /// Runs the callback.
    fn call(&mut self, looper: &L, events: Events) -> FdNext;
    /// How many bytes there are to read, if the kernel says. Asks the user's `AsFd`.
    fn readable(&self) -> Option<u64>;
    /// Whether the source still is the fd that was registered. Asks the user's `AsFd`.
    fn is_unchanged(&self) -> bool;
    /// The source, as `&mut S`.
    fn source(&mut self) -> &mut dyn Any;
    /// Drops the callback and puts the source into `place`, an `Option<S>` or an `Option<Box<S>>`.
    fn give_back(self: Box<Self>, place: &mut dyn Any);
}

/// The one kind of [`Watched`]: idents have a callback that is never called.
pub(crate) struct Watch<S, P, F> {
    fd: RawFd,
    source: Shielded<P>,
    /// Dropped after the source.
    callback: Shielded<F>,
    of: PhantomData<fn() -> S>,
}

/// A source of type `S`, as it is or in a box.
pub(crate) trait Holder<S>: BorrowMut<S> + 'static {
    fn into_inner(self) -> S;
    fn into_box(self) -> Box<S>;
}

impl<S: 'static> Holder<S> for S {
    fn into_inner(self) -> S {
        self
    }

    fn into_box(self) -> Box<S> {
        Box::new(self)
    }
}

impl<S: 'static> Holder<S> for Box<S> {
    fn into_inner(self) -> S {
        *self
    }

    fn into_box(self) -> Box<S> {
        self
    }
}

impl<S: AsFd + 'static, P: Holder<S>, F: 'static> Watch<S, P, F> {
    pub(crate) fn new(source: P, callback: F) -> Box<Watch<S, P, F>> {
        let fd = source.borrow().as_fd().as_raw_fd();
        Box::new(Watch { fd, source: Shielded::new(source), callback: Shielded::new(callback), of: PhantomData })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    /// Drops the callback, and gives the source back.
    pub(crate) fn into_source(self) -> P {
        let Watch { source, callback, .. } = self;
        drop_each([callback]);
        source.into_inner()
    }

    fn source(&self) -> &S {
        (*self.source).borrow()
    }
}

impl<L, S, P, F> Watched<L> for Watch<S, P, F>
where
    S: AsFd + 'static,
    P: Holder<S>,
    F: FnMut(&L, &mut S, Events) -> FdNext + 'static,
{
    fn call(&mut self, looper: &L, events: Events) -> FdNext {
        (self.callback)(looper, (*self.source).borrow_mut(), events)
    }

    fn readable(&self) -> Option<u64> {
        unread::bytes_in(self.source().as_fd())
    }

    fn is_unchanged(&self) -> bool {
        self.source().as_fd().as_raw_fd() == self.fd
    }

    fn source(&mut self) -> &mut dyn Any {
        (*self.source).borrow_mut() as &mut S
    }

    fn give_back(self: Box<Self>, place: &mut dyn Any) {
        let source = self.into_source();
        if let Some(place) = place.downcast_mut::<Option<S>>() {
            *place = Some(source.into_inner());
        } else if let Some(place) = place.downcast_mut::<Option<Box<S>>>() {
            *place = Some(source.into_box());
        }
    }
}
