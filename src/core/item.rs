//! What stands in the queue, and what is left for the looper's thread to keep or to drop.

use std::{
    fmt::{self, Debug, Formatter},
    panic::Location,
    rc::Rc,
};

use crate::{
    core::idlers::IdleNext,
    looper::Looper,
    mem::{
        closure::Closure,
        letter::{Letter, Passport},
        slots::Key,
    },
    queue::{
        node::{Address, Links, Queued},
        place::Lane,
    },
    sys::sync::Here,
    time::Moment,
};

/// A place in the user's source: where something was posted or added.
pub(crate) type Origin = &'static Location<'static>;

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
    pub(crate) fn lane(self) -> Lane {
        match self {
            When::Now => Lane::Plain,
            When::At(_) => Lane::Timed,
            When::Front => Lane::Front,
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

/// What stands in the inbox and in the queue.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) origin: Origin,
    pub(crate) body: Body,
}

/// A closure that was posted.
pub(crate) type Posting = Closure<Looper>;

#[derive(Debug)]
pub(crate) enum Body {
    Closure(Posting),
    Sent(Sent),
}

impl Default for Body {
    /// Nothing, to be filled where it lies.
    #[inline]
    fn default() -> Self {
        Body::Closure(Posting::none())
    }
}

impl Body {
    /// A closure that may cross threads.
    #[inline]
    pub(crate) fn send<F: FnOnce(&Looper) + Send + 'static>(closure: F) -> Body {
        let mut posting = Posting::none();
        posting.fill(closure);
        Body::Closure(posting)
    }

    /// Becomes a closure that may cross threads.
    #[inline(always)]
    pub(crate) fn fill_send<F: FnOnce(&Looper) + Send + 'static>(&mut self, closure: F) {
        let place = self.as_closure();
        place.fill(closure);
    }

    /// Becomes a closure that stays on the calling thread.
    #[inline(always)]
    pub(crate) fn fill_local<F: FnOnce(&Looper) + 'static>(&mut self, closure: F, here: Here) {
        let place = self.as_closure();
        place.fill_local(closure, here);
    }

    /// Becomes a place for a closure, unless it is one.
    #[inline(always)]
    fn as_closure(&mut self) -> &mut Posting {
        if let Body::Sent(_) = self {
            *self = Body::default();
        }
        match self {
            Body::Closure(closure) => closure,
            Body::Sent(_) => unreachable!("it is one now"),
        }
    }

    /// Becomes a message.
    #[inline(always)]
    pub(crate) fn fill_sent<M>(&mut self, address: Address, message: M, passport: Passport<M>) {
        let place = self.as_sent();
        place.address = address;
        place.letter.fill(message, passport);
    }

    /// Becomes a place for a message, unless it is one.
    #[inline(always)]
    fn as_sent(&mut self) -> &mut Sent {
        if let Body::Closure(_) = self {
            let address = Address::new(0, None);
            *self = Body::Sent(Sent { address, links: Links::default(), letter: Letter::default() });
        }
        match self {
            Body::Sent(sent) => sent,
            Body::Closure(_) => unreachable!("it is one now"),
        }
    }
}

/// A handler's message.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) address: Address,
    pub(crate) links: Links,
    /// The message itself; empty while a predicate looks at it.
    pub(crate) letter: Letter,
}

impl Item {
    /// Whether the calling thread may drop it.
    pub(crate) fn is_here(&self) -> bool {
        match &self.body {
            Body::Closure(closure) => closure.is_here(),
            // Whoever finds it by its handler may.
            Body::Sent(_) => true,
        }
    }

    /// What the message is in, if it is a handler's.
    pub(crate) fn letter(&mut self) -> Option<&mut Letter> {
        match &mut self.body {
            Body::Sent(sent) => Some(&mut sent.letter),
            Body::Closure(_) => None,
        }
    }
}

impl Queued for Item {
    #[inline]
    fn address(&self) -> Option<Address> {
        match &self.body {
            Body::Sent(sent) => Some(sent.address),
            Body::Closure(_) => None,
        }
    }

    #[inline]
    fn links(&mut self) -> Option<&mut Links> {
        match &mut self.body {
            Body::Sent(sent) => Some(&mut sent.links),
            Body::Closure(_) => None,
        }
    }

    fn none() -> Item {
        Item { origin: Location::caller(), body: Body::default() }
    }

    #[inline(always)]
    fn move_to(&mut self, other: &mut Item) -> Option<(Address, Links)> {
        other.origin = self.origin;
        match &mut self.body {
            Body::Closure(closure) => {
                closure.move_to(other.body.as_closure());
                None
            }
            Body::Sent(Sent { address, links, letter }) => {
                let place = other.body.as_sent();
                place.address = *address;
                letter.move_to(&mut place.letter);
                Some((*address, *links))
            }
        }
    }
}

/// What a handler is on the looper's thread: its closure, and the way to its messages.
pub(crate) trait Target {
    /// Calls the closure with the message in `letter`.
    fn run(&self, looper: &Looper, letter: &mut Letter);
    /// Drops the message in `letter`.
    fn discard(&self, letter: Letter);
    /// The type of its messages.
    fn name(&self) -> &'static str;
}

/// A handler that several places have. It is one word, since it is taken from place to place for each message.
pub(crate) type Callee = Rc<Box<dyn Target>>;

/// As [`IdleCallback`](crate::core::idlers::IdleCallback), from another thread.
pub(crate) type SendIdleCallback = Box<dyn FnMut(&Looper) -> Option<IdleNext> + Send>;

/// What another thread has made for the looper's thread to keep.
pub(crate) enum Arrival {
    Target(Key, Box<dyn FnOnce() -> Callee + Send>),
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
#[derive(Debug)]
pub(crate) enum Leftover {
    /// A handler's message that was given up while another thread looked at it.
    Sent(Key, Letter),
    /// An idle handler.
    Idle(u64),
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;
    use crate::queue::node::Node;

    /// All that is pending lies in nodes: a word more in each is paid for by every post.
    #[test]
    fn a_message_that_is_pending_takes_eighty_bytes() {
        assert_eq!(size_of::<Node<Item>>(), 80);
    }

    #[test]
    fn r2_an_address_keeps_apart_no_what_and_any_what() {
        for target in [0, 7, u32::MAX >> 1] {
            for what in [None, Some(0), Some(-1), Some(i32::MIN), Some(i32::MAX)] {
                let address = Address::new(target, what);

                assert_eq!((address.target(), address.what()), (target, what));
            }
        }
    }
}
