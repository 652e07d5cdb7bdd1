//! What a quit gives up, until the looper's thread drops it.

use super::*;
use crate::queue::handlers::Lists;

/// All that was pending when a looper quit, as it lay: swapped out whole, so that nobody waits while it is taken apart.
#[derive(Debug)]
pub(crate) struct GivenUp<C: 'static> {
    subqueues: [Subqueue<C>; 2],
    others: Others<C>,
    /// Dropped with the rest.
    _found_by: (Extras, Vec<Lists>),
}

impl<C> GivenUp<C> {
    /// Takes out one message after the other.
    fn into_bodies(self) -> impl Iterator<Item = Erased<C>> {
        let GivenUp { subqueues, mut others, _found_by } = self;
        let [(first, ready), (first_asynchronous, ready_asynchronous)] = subqueues.map(Subqueue::into_parts);
        let take = move |id: MessageId| if id.is_live(&others) { others.try_remove(id.slot as usize) } else { None };
        let messages = first
            .chain(first_asynchronous)
            .filter_map(take)
            .chain(ready.into_messages())
            .chain(ready_asynchronous.into_messages());
        messages.map(|message| message.body)
    }
}

/// What is to be dropped on the looper's thread.
#[derive(Debug)]
pub(crate) struct Dropped<C: 'static> {
    one_by_one: Vec<Erased<C>>,
    at_once: Vec<GivenUp<C>>,
}

impl<C> Default for Dropped<C> {
    fn default() -> Self {
        Dropped { one_by_one: Vec::new(), at_once: Vec::new() }
    }
}

impl<C> Dropped<C> {
    fn is_empty(&self) -> bool {
        self.one_by_one.is_empty() && self.at_once.is_empty()
    }

    pub(crate) fn into_bodies(self) -> impl Iterator<Item = Erased<C>> {
        self.one_by_one.into_iter().chain(self.at_once.into_iter().flat_map(GivenUp::into_bodies))
    }
}

impl<C> Queue<C> {
    /// Gives up everything that is pending, and takes all barriers away. What the inbox had is here.
    pub(crate) fn give_up_all(&mut self) {
        self.barriers.clear();
        self.unreported.clear();
        let pending = self.account.report().pending();
        if pending == 0 {
            // Handlers that end before the looper's next turn are found at once.
            return self.look_whether_plain();
        }
        self.account.dropped.add(pending as u64);
        let lists = self.handlers.give_up_all();
        self.dropped.at_once.push(GivenUp {
            subqueues: [mem::take(&mut self.synchronous), mem::take(&mut self.asynchronous)],
            others: mem::take(&mut self.others),
            _found_by: (mem::take(&mut self.extras), lists),
        });
        self.look_whether_plain();
    }

    /// Gives up what is not due at `now`, and takes all barriers away.
    pub(crate) fn give_up_later_than(&mut self, now: Moment) {
        self.barriers.clear();
        self.unreported.clear();
        let later =
            [&mut self.synchronous, &mut self.asynchronous].map(|subqueue| subqueue.split_later(now, &self.others));
        for id in later.into_iter().flatten() {
            if let Some(taken) = self.take(id, false) {
                self.account.dropped.add(1);
                self.dropped.one_by_one.push(taken.body);
            }
        }
    }

    /// Keeps a message that was cancelled where it may not be dropped with what was given up.
    pub(crate) fn drop_locally(&mut self, body: Erased<C>) {
        self.dropped.one_by_one.push(body);
    }

    /// Takes what was given up, to drop it.
    pub(crate) fn take_dropped(&mut self) -> Dropped<C> {
        mem::take(&mut self.dropped)
    }

    /// Takes the handlers that are gone for good; not before their messages.
    pub(crate) fn take_ended(&mut self) -> Vec<Key> {
        if self.dropped.is_empty() { self.handlers.take_ended() } else { Vec::new() }
    }
}
