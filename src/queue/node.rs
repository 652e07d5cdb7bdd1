//! A message as it lies in the queue.

use crate::{
    mem::arena::{Arena, NOWHERE, Tenant},
    planted::{self, Bug},
    queue::{
        labels::Token,
        place::{Number, Place},
    },
    time::Moment,
};

/// All messages that are pending.
pub(crate) type Nodes<T> = Arena<Node<T>>;

/// A message that is pending.
#[derive(Debug)]
pub(crate) struct Node<T> {
    pub(crate) number: Number,
    pub(crate) when: Moment,
    pub(crate) value: T,
}

impl<T: Queued> Tenant for Node<T> {
    fn vacant() -> Self {
        Node { number: Number::NONE, when: Moment::EARLIEST, value: T::none() }
    }

    #[inline]
    fn is_vacant(&self) -> bool {
        self.number == Number::NONE
    }

    /// In place of a due time.
    #[inline]
    fn next_vacant(&self) -> u32 {
        self.when.as_nanos() as u32
    }

    #[inline]
    fn vacate(&mut self, next: u32) {
        self.number = Number::NONE;
        self.when = Moment::from_nanos(i64::from(next));
    }
}

impl<T> Node<T> {
    #[inline]
    pub(crate) fn place(&self) -> Place {
        Place::new(self.when, self.number)
    }
}

/// Where a message lies, and which one it is: the slot may be another one's meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) number: Number,
    pub(crate) slot: u32,
}

impl Spot {
    /// Whether the message is still there.
    #[inline]
    pub(crate) fn is_live<T: Queued>(self, nodes: &Nodes<T>) -> bool {
        nodes.get(self.slot).is_some_and(|node| node.number == self.number || planted::is(Bug::StaleMessage))
    }
}

/// The messages of the same handler that were posted just before and just after; [`NOWHERE`] if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) older: u32,
    pub(crate) newer: u32,
}

impl Default for Links {
    fn default() -> Self {
        Links { older: NOWHERE, newer: NOWHERE }
    }
}

/// Whose a message is, and its `what`, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The handler's position in the index, and [`HAS_WHAT`]: an `Option` of the `what` would make each node larger.
    target: u32,
    what: i32,
}

/// Memory ends before there are so many handlers.
const HAS_WHAT: u32 = 1 << 31;

impl Address {
    #[inline]
    pub(crate) fn new(target: u32, what: Option<i32>) -> Address {
        let flag = if what.is_some() { HAS_WHAT } else { 0 };
        Address { target: target & !HAS_WHAT | flag, what: what.unwrap_or_default() }
    }

    /// The handler's position in the index. No other handler has it for as long as this one has messages.
    #[inline]
    pub(crate) fn target(self) -> u32 {
        self.target & !HAS_WHAT
    }

    #[inline]
    pub(crate) fn what(self) -> Option<i32> {
        (self.target & HAS_WHAT != 0).then_some(self.what)
    }
}

/// What a queue has to know of what stands in it.
pub(crate) trait Queued {
    /// Whose it is, if it is a handler's.
    fn address(&self) -> Option<Address>;
    /// The handler's other messages, if it is a handler's.
    fn links(&mut self) -> Option<&mut Links>;
    /// A place for one, with nothing in it that runs.
    fn none() -> Self;
    /// Moves what runs to `other`, in which nothing is left to run. Gives whose it is, and the handler's other
    /// messages, if it is a handler's.
    fn move_to(&mut self, other: &mut Self) -> Option<(Address, Links)>;
}

/// What few messages have, and what therefore does not lie with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extra {
    pub(crate) token: Option<Token>,
    /// When it was posted, if somebody watched.
    pub(crate) posted: Option<Moment>,
}

impl Extra {
    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.token.is_none() && self.posted.is_none()
    }
}
