//! What a quit gives up, until the looper's thread drops it.

use super::*;
use crate::queue::{index::Labelled, mail::Mail};

/// All that was pending when a looper quit, as it lay: swapped out whole, so that nobody waits while it is taken apart.
#[derive(Debug)]
pub(crate) struct GivenUp<T> {
    nodes: Nodes<T>,
    lines: [Line; 2],
    /// What the queue had not yet.
    mail: Vec<Mail<T>>,
    /// The handlers that it is for, by their positions.
    targets: Vec<Option<Key>>,
    /// Dropped with the rest.
    _found_by: (Extras, HashMap<Number, u32>, Vec<Labelled>),
}

impl<T: Queued> GivenUp<T> {
    /// Takes out one message after the other, in their order but for timed ones.
    fn into_messages(self) -> impl Iterator<Item = Taken<T>> {
        let GivenUp { mut nodes, lines, mail, targets, _found_by } = self;
        let take = move |spot: Spot| {
            let mut value = T::none();
            if spot.is_live(&nodes) {
                nodes.vacate(spot.slot, |node| node.value.move_to(&mut value))?;
                Some(value)
            } else {
                None
            }
        };
        let queued = lines.into_iter().flat_map(Line::into_spots).filter_map(take);
        let target_of = move |value: &T| *targets.get(value.address()?.target() as usize)?;
        let taken = move |value| Taken { target: target_of(&value), value, ends_target: false };
        queued.chain(mail.into_iter().flat_map(Mail::into_values)).map(taken)
    }
}

/// What is to be dropped on the looper's thread.
#[derive(Debug)]
pub(crate) struct Dropped<T> {
    one_by_one: Vec<Taken<T>>,
    at_once: Vec<GivenUp<T>>,
}

impl<T> Default for Dropped<T> {
    fn default() -> Self {
        Dropped { one_by_one: Vec::new(), at_once: Vec::new() }
    }
}

impl<T> Dropped<T> {
    fn is_empty(&self) -> bool {
        self.one_by_one.is_empty() && self.at_once.is_empty()
    }
}

impl<T: Queued> Dropped<T> {
    pub(crate) fn into_messages(self) -> impl Iterator<Item = Taken<T>> {
        self.one_by_one.into_iter().chain(self.at_once.into_iter().flat_map(GivenUp::into_messages))
    }
}

impl<T: Queued> Queue<T> {
    /// Gives up everything that is pending, `mail` included, and takes all barriers away.
    pub(crate) fn give_up_all(&mut self, mail: Vec<Mail<T>>) {
        self.barriers.clear();
        self.unreported.clear();
        let pending = self.nodes.len() + mail.iter().map(Mail::len).sum::<usize>();
        if pending == 0 {
            // Handlers that end before the looper's next turn are found at once.
            return self.look_whether_plain();
        }
        self.account.dropped.add(pending as u64);
        let (targets, labels) = self.index.give_up_all();
        self.dropped.at_once.push(GivenUp {
            nodes: mem::take(&mut self.nodes),
            lines: [mem::take(&mut self.synchronous), mem::take(&mut self.asynchronous)],
            mail,
            targets,
            _found_by: (mem::take(&mut self.extras), mem::take(&mut self.afar), labels),
        });
        self.look_whether_plain();
    }

    /// Gives up what is not due at `now`, and takes all barriers away.
    pub(crate) fn give_up_later_than(&mut self, now: Moment) {
        if !planted::is(Bug::LeaveBarriers) {
            self.barriers.clear();
        }
        self.unreported.clear();
        let later = [&mut self.synchronous, &mut self.asynchronous].map(|line| line.split_later(now, &self.nodes));
        later.into_iter().flatten().for_each(|spot| self.give_up(spot));
    }

    /// Gives up a message that is in no line any more.
    fn give_up(&mut self, spot: Spot) {
        if spot.is_live(&self.nodes) {
            self.account.dropped.add(1);
            let taken = self.take_from_arena(spot);
            self.dropped.one_by_one.extend(taken);
        }
    }

    /// Keeps a message that was cancelled where it may not be dropped with what was given up.
    pub(crate) fn drop_at_home(&mut self, taken: Taken<T>) {
        self.dropped.one_by_one.push(taken);
    }

    /// Takes what was given up, to drop it.
    pub(crate) fn take_dropped(&mut self) -> Dropped<T> {
        mem::take(&mut self.dropped)
    }

    /// Takes the handlers that are gone for good; not while what was given up is found through them.
    pub(crate) fn take_ended(&mut self) -> Vec<Key> {
        if self.dropped.is_empty() { self.index.take_ended() } else { Vec::new() }
    }
}
