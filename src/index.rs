//! Which messages are whose: the messages of each handler, and those among them with a given label.
//!
//! A handler's messages are listed always; by label only from the first time that somebody asks for one of that kind,
//! so that who never asks pays nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
};

use crate::{
    message::{Labels, Token},
    place::Place,
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
    /// Handlers that are gone for good, until the looper's thread drops what it has of them.
    ended: Vec<Key>,
}

/// What there is of one handler.
#[derive(Debug)]
struct Own {
    /// The type of its messages.
    name: &'static str,
    all: BTreeMap<Place, Labels>,
    by_label: HashMap<Filter, BTreeSet<Place>>,
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
        let by_what = self.what.then_some(Filter::What(what));
        let by_token = token.filter(|_| self.token).map(Filter::Token);
        let by_both = token.filter(|_| self.both).map(|token| Filter::Both(what, token));
        [by_what, by_token, by_both].into_iter().flatten()
    }
}

impl Own {
    fn list(&mut self, place: Place, labels: Labels, listed: Listed) {
        for filter in listed.lists_of(labels) {
            self.by_label.entry(filter).or_default().insert(place);
        }
    }

    fn unlist(&mut self, place: Place, labels: Labels) {
        for filter in self.listed.lists_of(labels) {
            if let Some(list) = self.by_label.get_mut(&filter) {
                list.remove(&place);
                if list.is_empty() {
                    self.by_label.remove(&filter);
                }
            }
        }
    }

    /// Lists the messages by the kind of label that `filter` has, in one pass over them, unless that was done before.
    fn list_by(&mut self, filter: Filter) {
        let is_listed = self.listed.kind_of(filter).is_none_or(|listed| mem::replace(listed, true));
        if is_listed {
            return;
        }
        let mut only = Listed::default();
        only.kind_of(filter).into_iter().for_each(|listed| *listed = true);
        let all: Vec<_> = self.all.iter().map(|(place, labels)| (*place, *labels)).collect();
        all.into_iter().for_each(|(place, labels)| self.list(place, labels, only));
    }
}

impl Index {
    /// Notes a new handler.
    pub(crate) fn add_target(&mut self, name: &'static str) -> Key {
        let own = Own {
            name,
            all: BTreeMap::new(),
            by_label: HashMap::new(),
            listed: Listed::default(),
            is_abandoned: false,
            has_ended: false,
        };
        self.targets.insert(own)
    }

    /// Notes that nobody can send the handler anything any more. Whether it is gone for good by that.
    pub(crate) fn abandon(&mut self, target: Key) -> bool {
        if let Some(own) = self.targets.get_mut(target) {
            own.is_abandoned = true;
        }
        self.end_if_done(target)
    }

    /// Notes a message.
    pub(crate) fn insert(&mut self, place: Place, target: Key, labels: Labels) {
        if let Some(own) = self.targets.get_mut(target) {
            own.all.insert(place, labels);
            own.list(place, labels, own.listed);
        }
    }

    /// Forgets a message. Whether its handler is gone for good by that.
    pub(crate) fn remove(&mut self, place: Place, target: Key) -> bool {
        let Some(own) = self.targets.get_mut(target) else {
            return false;
        };
        if let Some(labels) = own.all.remove(&place) {
            own.unlist(place, labels);
        }
        self.end_if_done(target)
    }

    /// Forgets all messages.
    pub(crate) fn clear(&mut self) {
        let targets: Vec<Key> = self.targets.iter().map(|(target, _)| target).collect();
        for target in targets {
            if let Some(own) = self.targets.get_mut(target) {
                own.all.clear();
                own.by_label.clear();
            }
            self.end_if_done(target);
        }
    }

    fn end_if_done(&mut self, target: Key) -> bool {
        let own = self.targets.get_mut(target).filter(|own| own.is_abandoned && own.all.is_empty());
        let Some(own) = own else {
            return false;
        };
        let is_new = !mem::replace(&mut own.has_ended, true);
        if is_new {
            self.ended.push(target);
        }
        is_new
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

    /// The places of a handler's messages, in their order.
    pub(crate) fn select(&mut self, target: Key, filter: Filter) -> Vec<Place> {
        let Some(own) = self.targets.get_mut(target) else {
            return Vec::new();
        };
        own.list_by(filter);
        match filter {
            Filter::All => own.all.keys().copied().collect(),
            label => own.by_label.get(&label).into_iter().flatten().copied().collect(),
        }
    }

    /// How many messages a handler has.
    pub(crate) fn count(&mut self, target: Key, filter: Filter) -> usize {
        let Some(own) = self.targets.get_mut(target) else {
            return 0;
        };
        own.list_by(filter);
        match filter {
            Filter::All => own.all.len(),
            label => own.by_label.get(&label).map_or(0, BTreeSet::len),
        }
    }

    /// The type of a handler's messages.
    pub(crate) fn name(&self, target: Key) -> &'static str {
        self.targets.get(target).map_or("", |own| own.name)
    }

    /// How many handlers there are.
    pub(crate) fn len(&self) -> usize {
        self.targets.len() - self.ended.len()
    }
}
