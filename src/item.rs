//! What stands in the queue, and what is left for the looper's thread to keep or to drop.

use std::{
    fmt::{self, Debug, Formatter},
    panic::Location,
    rc::Rc,
};

use crate::{clock::Moment, idlers::IdleNext, looper::Looper, message::Labels, slots::Key};

/// A closure that any thread may post.
pub(crate) type SendCallback = Box<dyn FnOnce(&Looper) + Send>;

/// A closure that was posted on the looper's own thread and stays there.
pub(crate) type LocalCallback = Box<dyn FnOnce(&Looper)>;

/// A place in the user's source: where something was posted or added.
pub(crate) type Origin = &'static Location<'static>;

/// When and how something is posted, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) when: Moment,
    /// Barriers do not hold it up.
    pub(crate) asynchronous: bool,
    pub(crate) origin: Origin,
}

impl Stamp {
    /// For something that barriers hold up, posted by the caller's caller.
    #[track_caller]
    pub(crate) fn new(when: Moment) -> Stamp {
        Stamp { when, asynchronous: false, origin: Location::caller() }
    }
}

/// What stands in the inbox and in the queue.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) body: Body,
    pub(crate) asynchronous: bool,
    pub(crate) origin: Origin,
    /// When it was posted, if somebody watched. Boxed for the same reason as [`Body::Sent`].
    pub(crate) posted: Option<Box<Moment>>,
}

pub(crate) enum Body {
    /// A closure that may cross threads.
    Send(SendCallback),
    /// A synchronous call: when it is dropped, its caller is released and has the closure back.
    Call(SendCallback),
    /// The key of a closure that stays at home: see `home.rs`.
    Local(Key),
    /// The address of a handler's message, whose value lies in the handler's store: see `store.rs`.
    /// Boxed so that items, which the queue moves about, stay small: that is a third of the time of a closure.
    Sent(Box<Sent>),
}

impl Debug for Body {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Body::Send(_) => f.write_str("Send(..)"),
            Body::Call(_) => f.write_str("Call(..)"),
            Body::Local(key) => f.debug_tuple("Local").field(key).finish(),
            Body::Sent(sent) => f.debug_tuple("Sent").field(sent).finish(),
        }
    }
}

/// A handler's message, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The handler.
    pub(crate) target: Key,
    /// Where its store has the value.
    pub(crate) slot: Key,
    pub(crate) labels: Labels,
}

impl Item {
    /// A handler's message, if it is one.
    pub(crate) fn sent(&self) -> Option<Sent> {
        match self.body {
            Body::Sent(ref sent) => Some(**sent),
            Body::Send(_) | Body::Call(_) | Body::Local(_) => None,
        }
    }
}

/// What a queue has to know of what stands in it.
pub(crate) trait Queued {
    /// The handler that it is for, if it is for one, and how it is labelled.
    fn address(&self) -> Option<(Key, Labels)>;
    /// Whether barriers let it pass.
    fn is_asynchronous(&self) -> bool;
}

impl Queued for Item {
    fn address(&self) -> Option<(Key, Labels)> {
        self.sent().map(|sent| (sent.target, sent.labels))
    }

    fn is_asynchronous(&self) -> bool {
        self.asynchronous
    }
}

/// What a handler is on the looper's thread: its closure, and the way to its messages.
pub(crate) trait Target {
    /// Calls the closure with the message in `slot`.
    fn run(&self, looper: &Looper, slot: Key);
    /// Drops the message in `slot`.
    fn discard(&self, slot: Key);
    /// The type of its messages.
    fn name(&self) -> &'static str;
}

/// As [`IdleCallback`](crate::idlers::IdleCallback), from another thread.
pub(crate) type SendIdleCallback = Box<dyn FnMut(&Looper) -> Option<IdleNext> + Send>;

/// What another thread has made for the looper's thread to keep.
pub(crate) enum Arrival {
    Target(Key, Box<dyn FnOnce() -> Rc<dyn Target> + Send>),
    Idle(u64, SendIdleCallback),
}

impl Debug for Arrival {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Arrival::Target(key, _) => f.debug_tuple("Target").field(key).finish_non_exhaustive(),
            Arrival::Idle(id, _) => f.debug_tuple("Idle").field(id).finish_non_exhaustive(),
        }
    }
}

/// What another thread has ended, and the looper's thread has to drop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leftover {
    /// A closure that was cancelled.
    Closure(Key),
    /// A handler's message that was given up while another thread looked at it.
    Sent(Sent),
    /// An idle handler.
    Idle(u64),
}
