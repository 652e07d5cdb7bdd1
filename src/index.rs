//! Which messages are whose: the messages of each handler, and those among them with a given label.
//!
//! How many messages each handler has is always known. They are linked with each other only from the first time that
//! somebody wants those of one handler, and listed by label only from the first time that somebody asks for one of that
//! kind: who never asks pays nothing.

use std::{
    collections::{BTreeSet, HashMap},
    iter, mem,
};

use crate::{
    arena::NOWHERE,
    message::{Labels, Token},
    node::{Address, Links, Nodes, Queued, Spot},
    slots::{Key, Slots},
};

/// Which of a handler's messages are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Filter {
    All,
    What(i32),
    Token(Token),
    Both(i32, Token),
}

/// The handlers of a looper, with their messages.
#[derive(Debug, Default)]
pub(crate) struct Index {
    targets: Slots<Own>,
    /// Somebody has wanted the messages of one handler: those of each are linked from then on.
    is_linked: bool,
    /// Handlers that are gone for good, until the looper's thread drops what it has of them.
    ended: Vec<Key>,
}

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
    /// Which kinds of label `by_label` has.
    listed: Listed,
    /// Nobody can send it anything any more: its last message ends it.
    is_abandoned: bool,
    /// It is gone for good.
    has_ended: bool,
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

    /// Links with each other what a message that was taken out was linked with.
    fn unlink<T: Queued>(&mut self, Links { older, newer }: Links, nodes: &mut Nodes<T>) {
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

    /// All its messages, the one that was linked last first.
    fn all<T: Queued>(&self, nodes: &mut Nodes<T>) -> Vec<Spot> {
        let mut next = self.newest;
        let step = || {
            let node = nodes.get_mut(next)?;
            let spot = Spot { number: node.number, slot: next };
            next = node.value.links()?.older;
            Some(spot)
        };
        iter::from_fn(step).collect()
    }

    /// Lists the messages by the kind of label that `filter` has, in one pass over them, unless that was done before.
    fn list_by<T: Queued>(&mut self, filter: Filter, nodes: &mut Nodes<T>, tokens: &dyn Tokens) {
        let is_listed = self.listed.kind_of(filter).is_none_or(|listed| mem::replace(listed, true));
        if is_listed {
            return;
        }
        let mut only = Listed::default();
        only.kind_of(filter).into_iter().for_each(|listed| *listed = true);
        for spot in self.all(nodes) {
            if let Some(address) = nodes.get(spot.slot).and_then(|node| node.value.address()) {
                self.list(spot, Labels { what: address.what(), token: tokens.token(spot) }, only);
            }
        }
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
        if self.is_linked {
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
        if self.is_linked {
            own.unlink(links, nodes);
            own.unlist(spot, Labels { what: address.what(), token });
        }
        (Some(own.key), own.is_abandoned && self.end_if_done(address.target()))
    }

    /// Links the messages of each handler, in one pass over all that is pending, unless that was done before.
    fn link_all<T: Queued>(&mut self, nodes: &mut Nodes<T>) {
        if mem::replace(&mut self.is_linked, true) {
            return;
        }
        let of_handlers = nodes.iter().filter_map(|(slot, node)| Some((slot, node.value.address()?.target())));
        let of_handlers: Vec<(u32, u32)> = of_handlers.collect();
        for (slot, target) in of_handlers {
            if let Some(own) = self.targets.at_mut(target) {
                own.link(slot, nodes);
            }
        }
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

    /// A handler's messages, in no order.
    pub(crate) fn select<T: Queued>(
        &mut self,
        target: Key,
        filter: Filter,
        nodes: &mut Nodes<T>,
        tokens: &dyn Tokens,
    ) -> Vec<Spot> {
        self.link_all(nodes);
        let Some(own) = self.targets.get_mut(target) else {
            return Vec::new();
        };
        own.list_by(filter, nodes, tokens);
        match filter {
            Filter::All => own.all(nodes),
            label => own.by_label.get(&label).into_iter().flatten().copied().collect(),
        }
    }

    /// How many messages a handler has.
    pub(crate) fn count<T: Queued>(
        &mut self,
        target: Key,
        filter: Filter,
        nodes: &mut Nodes<T>,
        tokens: &dyn Tokens,
    ) -> usize {
        if filter != Filter::All {
            self.link_all(nodes);
        }
        let Some(own) = self.targets.get_mut(target) else {
            return 0;
        };
        own.list_by(filter, nodes, tokens);
        match filter {
            Filter::All => own.count,
            label => own.by_label.get(&label).map_or(0, BTreeSet::len),
        }
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
