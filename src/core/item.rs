//! What is posted, and what is left for the looper's thread to keep or to drop.

use std::{
    fmt::{self, Debug, Formatter},
    ops::ControlFlow,
    panic::Location,
    rc::Rc,
};

use crate::{
    looper::Looper,
    mem::{erased::Erased, slots::Key},
    queue::{
        self,
        account::Tally,
        message::{Address, Origin, PostKind},
    },
    sys::time::Moment,
};

/// What lies in the queue, and runs: a closure, or a handler's message.
pub(crate) type Body = Erased<Looper>;

/// A message as it lies in the inbox and in the queue.
pub(crate) type Message = queue::message::Message<Looper>;

/// For when something is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// After everything that is due already.
    Now,
    /// Not before this moment.
    At(Moment),
    /// Before everything else.
    Front,
}

impl When {
    #[inline]
    pub(crate) fn kind(self) -> PostKind {
        match self {
            When::Now => PostKind::Plain,
            When::At(_) => PostKind::Timed,
            When::Front => PostKind::Front,
        }
    }
}

/// When and how something is posted, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) when: When,
    /// Barriers do not hold it up.
    pub(crate) asynchronous: bool,
    pub(crate) origin: Origin,
}

impl Stamp {
    /// For something that barriers hold up, posted by the caller's caller.
    #[track_caller]
    #[inline]
    pub(crate) fn new(when: When) -> Stamp {
        Stamp { when, asynchronous: false, origin: Location::caller() }
    }
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct To<'a> {
    pub(crate) address: Address,
    /// Counts the handler's messages.
    pub(crate) tally: &'a Tally,
}

/// What a handler is on the looper's thread: its closure, and the way to its messages.
pub(crate) trait HandlerFn {
    /// Calls the closure with the message in `body`.
    fn run(&self, looper: &Looper, body: &mut Body);
    /// The type of its messages.
    fn name(&self) -> &'static str;
}

/// A handler that several places have. It is one word, since it is taken from place to place for each message.
pub(crate) type HandlerRc = Rc<Box<dyn HandlerFn>>;

/// As [`IdleCallback`](crate::core::idlers::IdleCallback), from another thread.
pub(crate) type SendIdleCallback = Box<dyn FnMut(&Looper) -> Option<ControlFlow<()>> + Send>;

/// What another thread has made for the looper's thread to keep.
pub(crate) enum Arrival {
    Target(Key, Box<dyn FnOnce() -> HandlerRc + Send>),
    Idle(u64, SendIdleCallback, Origin),
}

impl Debug for Arrival {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Arrival::Target(key, _) => f.debug_tuple("Target").field(key).finish_non_exhaustive(),
            Arrival::Idle(id, ..) => f.debug_tuple("Idle").field(id).finish_non_exhaustive(),
        }
    }
}

/// What another thread has ended, and the looper's thread has to drop.
#[derive(Debug)]
pub(crate) enum PendingDrop {
    /// A handler's message that was given up while another thread looked at it.
    Message(Body),
    /// An idle handler.
    Idle(u64),
    /// A task.
    #[cfg(feature = "async")]
    Task(Key),
}
