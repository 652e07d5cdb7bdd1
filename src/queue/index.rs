//! Which messages are whose: the messages of each handler, and those among them with a given label.
//!
//! How many messages each handler has is always known. They are linked with each other only from the first time that
//! somebody wants those of one handler, and listed by label only from the first time that somebody asks for one of that
//! kind: who never asks pays nothing.
//!
//! All that goes from one message to the next can be done in steps, between which others may come: where it has got to
//! is known here, and moves on when that message is taken out.

use std::{
    collections::{BTreeSet, HashMap},
    iter,
    mem::{self, Discriminant},
    ops::{
        Bound::{Excluded, Included, Unbounded},
        Range,
    },
};

use crate::{
    mem::{
        arena::NOWHERE,
        slots::{Key, Slots},
    },
    queue::{
        labels::{Labels, Token},
        node::{Address, Links, Nodes, Queued, Spot},
    },
};

/// Which of a handler's messages are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Filter {
    All,
    What(i32),
    Token(Token),
    Both(i32, Token),
}

/// Which of a handler's messages somebody wants to find, and which of them were found already: those that were posted
/// before the first step.
#[derive(Debug)]
pub(crate) struct Selection {
    target: Key,
    filter: Filter,
    /// For all of them: the name of the walk.
    walk: Option<u64>,
    /// For those with a label: the last of the list as it was at first, and the last that was found.
    last: Option<Spot>,
    found: Option<Spot>,
}

impl Selection {
    pub(crate) fn new(target: Key, filter: Filter) -> Selection {
        Selection { target, filter, walk: None, last: None, found: None }
    }

    pub(crate) fn is_labelled(&self) -> bool {
        self.filter != Filter::All
    }
}

/// The handlers of a looper, with their messages.
#[derive(Debug)]
pub(crate) struct Index {
    targets: Slots<Own>,
    /// The slots whose messages are not linked with the others of their handlers yet: all slots, until somebody wants
    /// the messages of one handler.
    unlinked: Range<u32>,
    /// How many walks there have been.
    walks: u64,
    /// Handlers that are gone for good, until the looper's thread drops what it has of them.
    ended: Vec<Key>,
}

impl Default for Index {
    fn default() -> Self {
        Index { targets: Slots::default(), unlinked: NOT_LINKED, walks: 0, ended: Vec::new() }
    }
}

/// Nobody has wanted the messages of one handler.
const NOT_LINKED: Range<u32> = 0..NOWHERE;

/// A handler's messages by label.
pub(crate) type Labelled = HashMap<Filter, BTreeSet<Spot>>;

/// What there is of one handler.
#[derive(Debug)]
struct Own {
    /// The handler's own.
    key: Key,
    /// The type of its messages.
    name: &'static str,
    /// The one that was linked last, from which the others are reached.
    newest: u32,
    count: usize,
    by_label: Labelled,
    /// Which kinds of label `by_label` has; but for the messages that a walk for that has still to come to.
    listed: Listed,
    walks: Vec<Walk>,
    /// Nobody can send it anything any more: its last message ends it.
    is_abandoned: bool,
    /// It is gone for good.
    has_ended: bool,
}

/// Somebody's way along a handler's messages, from the one that was linked last to the first one.
#[derive(Debug)]
struct Walk {
    what_for: Purpose,
    /// The message that comes next; [`NOWHERE`] at the end.
    next: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To list them by a kind of label.
    List(Discriminant<Filter>),
    /// To find them, for the walk of this name.
    Find(u64),
}

#[derive(Clone, Copy, Debug, Default)]
struct Listed {
    what: bool,
    token: bool,
    both: bool,
}

impl Listed {
    fn kind_of(&mut self, filter: Filter) -> Option<&mut bool> {
        match filter {
            Filter::All => None,
            Filter::What(_) => Some(&mut self.what),
            Filter::Token(_) => Some(&mut self.token),
            Filter::Both(..) => Some(&mut self.both),
        }
    }

    /// The lists in which a message with these labels stands.
    fn lists_of(self, Labels { what, token }: Labels) -> impl Iterator<Item = Filter> {
        let by_what = what.filter(|_| self.what).map(Filter::What);
        let by_token = token.filter(|_| self.token).map(Filter::Token);
        let by_both = what.zip(token).filter(|_| self.both).map(|(what, token)| Filter::Both(what, token));
        [by_what, by_token, by_both].into_iter().flatten()
    }
}

impl Own {
    /// Links the message in `slot` with the others.
    fn link<T: Queued>(&mut self, slot: u32, nodes: &mut Nodes<T>) {
        let older = mem::replace(&mut self.newest, slot);
        set_links(nodes, slot, |links| *links = Links { older, newer: NOWHERE });
        if older != NOWHERE {
            set_links(nodes, older, |links| links.newer = slot);
        }
    }

    /// Links with each other what the message in `slot`, which was taken out, was linked with.
    fn unlink<T: Queued>(&mut self, slot: u32, Links { older, newer }: Links, nodes: &mut Nodes<T>) {
        for walk in self.walks.iter_mut().filter(|walk| walk.next == slot) {
            walk.next = older;
        }
        if newer == NOWHERE {
            self.newest = older;
        } else {
            set_links(nodes, newer, |links| links.older = older);
        }
        if older != NOWHERE {
            set_links(nodes, older, |links| links.newer = newer);
        }
    }

    fn list(&mut self, spot: Spot, labels: Labels, listed: Listed) {
        for filter in listed.lists_of(labels) {
            self.by_label.entry(filter).or_default().insert(spot);
        }
    }

    fn unlist(&mut self, spot: Spot, labels: Labels) {
        for filter in self.listed.lists_of(labels) {
            if let Some(list) = self.by_label.get_mut(&filter) {
                list.remove(&spot);
                if list.is_empty() {
                    self.by_label.remove(&filter);
                }
            }
        }
    }

    fn begin_walk(&mut self, what_for: Purpose) {
        self.walks.push(Walk { what_for, next: self.newest });
    }

    /// The next message of a walk; at the end `None`, with which it is over.
    fn step<T: Queued>(&mut self, what_for: Purpose, nodes: &mut Nodes<T>) -> Option<Spot> {
        let position = self.walks.iter().position(|walk| walk.what_for == what_for)?;
        let walk = &mut self.walks[position];
        let slot = walk.next;
        let Some(node) = nodes.get_mut(slot) else {
            self.walks.swap_remove(position);
            return None;
        };
        walk.next = node.value.links().map_or(NOWHERE, |links| links.older);
        Some(Spot { number: node.number, slot })
    }

    /// Lists the messages by the kind of label that `filter` has, in one walk, unless that was done before. Whether it
    /// is done.
    fn list_some<T: Queued>(
        &mut self,
        filter: Filter,
        steps: &mut usize,
        nodes: &mut Nodes<T>,
        tokens: &dyn Tokens,
    ) -> bool {
        let Some(listed) = self.listed.kind_of(filter) else {
            return true;
        };
        let what_for = Purpose::List(mem::discriminant(&filter));
        if !mem::replace(listed, true) {
            self.begin_walk(what_for);
        } else if !self.walks.iter().any(|walk| walk.what_for == what_for) {
            return true;
        }
        let mut only = Listed::default();
        only.kind_of(filter).into_iter().for_each(|listed| *listed = true);
        while let Some(left) = steps.checked_sub(1) {
            *steps = left;
            let Some(spot) = self.step(what_for, nodes) else {
                return true;
            };
            if let Some(address) = nodes.get(spot.slot).and_then(|node| node.value.address()) {
                self.list(spot, Labels { what: address.what(), token: tokens.token(spot) }, only);
            }
        }
        false
    }
}

/// Knows the tokens of messages that have one.
pub(crate) trait Tokens {
    fn token(&self, spot: Spot) -> Option<Token>;
}

impl Index {
    /// Notes a new handler.
    pub(crate) fn add_target(&mut self, name: &'static str) -> Key {
        let own = |key| Own {
            key,
            name,
            newest: NOWHERE,
            count: 0,
            by_label: HashMap::new(),
            listed: Listed::default(),
            walks: Vec::new(),
            is_abandoned: false,
            has_ended: false,
        };
        self.targets.insert_with(own)
    }

    /// Notes that nobody can send the handler anything any more. Whether it is gone for good by that.
    pub(crate) fn abandon(&mut self, target: Key) -> bool {
        if let Some(own) = self.targets.get_mut(target) {
            own.is_abandoned = true;
        }
        self.end_if_done(target.index())
    }

    /// Notes the message at `spot`.
    #[inline]
    pub(crate) fn insert<T: Queued>(
        &mut self,
        spot: Spot,
        address: Address,
        token: Option<Token>,
        nodes: &mut Nodes<T>,
    ) {
        let Some(own) = self.targets.at_mut(address.target()) else {
            return;
        };
        own.count += 1;
        if !self.unlinked.contains(&spot.slot) {
            own.link(spot.slot, nodes);
            own.list(spot, Labels { what: address.what(), token }, own.listed);
        }
    }

    /// Forgets a message that was taken out, with what it was linked with. Gives its handler, and whether that is gone
    /// for good by this.
    #[inline]
    pub(crate) fn remove<T: Queued>(
        &mut self,
        spot: Spot,
        address: Address,
        token: Option<Token>,
        links: Links,
        nodes: &mut Nodes<T>,
    ) -> (Option<Key>, bool) {
        let Some(own) = self.targets.at_mut(address.target()) else {
            return (None, false);
        };
        own.count -= 1;
        if !self.unlinked.contains(&spot.slot) {
            own.unlink(spot.slot, links, nodes);
            own.unlist(spot, Labels { what: address.what(), token });
        }
        (Some(own.key), own.is_abandoned && self.end_if_done(address.target()))
    }

    /// Links the messages of each handler, in one pass over all that is pending, unless that was done before. Whether
    /// it is done.
    fn link_some<T: Queued>(&mut self, steps: &mut usize, nodes: &mut Nodes<T>) -> bool {
        if self.unlinked == NOT_LINKED {
            // What comes later is linked when it comes.
            self.unlinked.end = nodes.slots();
        }
        while *steps > 0
            && let Some(slot) = self.unlinked.next()
        {
            *steps -= 1;
            let target = nodes.get(slot).and_then(|node| node.value.address()).map(Address::target);
            if let Some(own) = target.and_then(|target| self.targets.at_mut(target)) {
                own.link(slot, nodes);
            }
        }
        self.unlinked.is_empty()
    }

    fn end_if_done(&mut self, target: u32) -> bool {
        let own = self.targets.at_mut(target).filter(|own| own.is_abandoned && own.count == 0);
        let Some(own) = own else {
            return false;
        };
        let is_new = !mem::replace(&mut own.has_ended, true);
        if is_new {
            self.ended.push(own.key);
        }
        is_new
    }

    /// Forgets all messages, which were given up. Gives the handlers by their positions, and the lists of the messages.
    pub(crate) fn give_up_all(&mut self) -> (Vec<Option<Key>>, Vec<Labelled>) {
        let keys: Vec<Key> = self.targets.iter().map(|(key, _)| key).collect();
        let mut targets = Vec::new();
        let mut lists = Vec::new();
        for key in keys {
            let position = key.index() as usize;
            targets.resize(targets.len().max(position + 1), None);
            targets[position] = Some(key);
            if let Some(own) = self.targets.get_mut(key) {
                own.count = 0;
                own.newest = NOWHERE;
                own.walks.clear();
                lists.push(mem::take(&mut own.by_label));
            }
            self.end_if_done(key.index());
        }
        (targets, lists)
    }

    /// Takes the handlers that are gone for good. Their keys are used again only from now on, so that the looper's
    /// thread can tell them from their successors.
    pub(crate) fn take_ended(&mut self) -> Vec<Key> {
        let ended = mem::take(&mut self.ended);
        for target in &ended {
            self.targets.remove(*target);
        }
        ended
    }

    /// Does what has to be done before a handler's messages are found by `filter`. Whether it is done.
    fn prepare<T: Queued>(
        &mut self,
        target: Key,
        filter: Filter,
        steps: &mut usize,
        nodes: &mut Nodes<T>,
        tokens: &dyn Tokens,
    ) -> bool {
        let is_linked = self.link_some(steps, nodes);
        is_linked && self.targets.get_mut(target).is_none_or(|own| own.list_some(filter, steps, nodes, tokens))
    }

    /// Finds some of those that are selected, in no order, in so many steps at most, and whether these were the last.
    pub(crate) fn find_some<T: Queued>(
        &mut self,
        selection: &mut Selection,
        mut steps: usize,
        nodes: &mut Nodes<T>,
        tokens: &dyn Tokens,
    ) -> (Vec<Spot>, bool) {
        let Selection { target, filter, walk, last, found } = selection;
        if !self.prepare(*target, *filter, &mut steps, nodes, tokens) {
            return (Vec::new(), false);
        }
        let Some(own) = self.targets.get_mut(*target) else {
            return (Vec::new(), true);
        };
        let spots: Vec<Spot> = if *filter == Filter::All {
            let name = *walk.get_or_insert_with(|| {
                self.walks += 1;
                own.begin_walk(Purpose::Find(self.walks));
                self.walks
            });
            iter::from_fn(|| own.step(Purpose::Find(name), nodes)).take(steps).collect()
        } else {
            let Some(list) = own.by_label.get(filter) else {
                return (Vec::new(), true);
            };
            let Some(last) = last.or_else(|| list.last().copied()).map(|spot| *last.insert(spot)) else {
                return (Vec::new(), true);
            };
            list.range((found.map_or(Unbounded, Excluded), Included(last))).take(steps).copied().collect()
        };
        *found = spots.last().copied().or(*found);
        let is_over = spots.len() < steps;
        (spots, is_over)
    }

    /// How many messages a handler has; `None` if it takes more than so many steps to tell, which were done.
    pub(crate) fn count<T: Queued>(
        &mut self,
        target: Key,
        filter: Filter,
        mut steps: usize,
        nodes: &mut Nodes<T>,
        tokens: &dyn Tokens,
    ) -> Option<usize> {
        if filter != Filter::All && !self.prepare(target, filter, &mut steps, nodes, tokens) {
            return None;
        }
        let own = self.targets.get(target);
        Some(match filter {
            Filter::All => own.map_or(0, |own| own.count),
            label => own.and_then(|own| own.by_label.get(&label)).map_or(0, BTreeSet::len),
        })
    }

    /// The type of a handler's messages.
    pub(crate) fn name(&self, target: u32) -> &'static str {
        self.targets.at(target).map_or("", |own| own.name)
    }

    /// How many handlers there are.
    pub(crate) fn len(&self) -> usize {
        self.targets.len() - self.ended.len()
    }
}

#[inline]
fn set_links<T: Queued>(nodes: &mut Nodes<T>, slot: u32, set: impl FnOnce(&mut Links)) {
    if let Some(links) = nodes.get_mut(slot).and_then(|node| node.value.links()) {
        set(links);
    }
}
