//! Which messages are whose: the messages of each handler, and those among them with a given label.
//!
//! How many messages each handler has is always known. They are listed only from the first time that somebody wants
//! those of one handler, and by label only from the first time that somebody asks for one of that kind: if you never
//! ask, you pay nothing. Plain messages are listed only as far as somebody has asked.
//!
//! All that goes from one message to the next is done in steps, between which others may come.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use crate::{
    mem::slots::{Key, Slots},
    queue::{
        Next,
        account::Tally,
        labels::{Labels, MessageFilter, Token},
        message::{Address, MessageId, Seq},
    },
};

impl MessageFilter {
    fn kind(self) -> Kind {
        match self {
            MessageFilter::All => Kind::All,
            MessageFilter::What(_) => Kind::What,
            MessageFilter::Token(_) => Kind::Token,
            MessageFilter::WhatAndToken(..) => Kind::Both,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    All,
    What,
    Token,
    Both,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::All, Kind::What, Kind::Token, Kind::Both];

    /// The list of this kind in which a message with these labels stands, if it has them.
    fn list_of(self, Labels { what, token }: Labels) -> Option<MessageFilter> {
        match self {
            Kind::All => Some(MessageFilter::All),
            Kind::What => what.map(MessageFilter::What),
            Kind::Token => token.map(MessageFilter::Token),
            Kind::Both => what.zip(token).map(|(what, token)| MessageFilter::WhatAndToken(what, token)),
        }
    }
}

/// Which of a handler's messages somebody wants to find, and which of them were found already: those that were posted
/// before the first step.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(super) target: Key,
    pub(super) filter: MessageFilter,
    /// The last of the list as it was at first, and the last that was found.
    last: Option<MessageId>,
    found: Option<MessageId>,
}

impl Selection {
    pub(crate) fn new(target: Key, filter: MessageFilter) -> Selection {
        Selection { target, filter, last: None, found: None }
    }
}

/// A handler's messages by label.
pub(crate) type Lists = HashMap<MessageFilter, BTreeSet<MessageId>>;

/// The handlers of a looper, with their messages.
#[derive(Debug, Default)]
pub(crate) struct Handlers {
    targets: Slots<Own>,
    /// How far the messages are listed; `None` until somebody wants those of one handler.
    pub(super) listing: Option<Listing>,
    /// Handlers that are gone for good, until the looper's thread drops what it has of them.
    ended: Vec<Key>,
}

/// How far the messages are listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The last plain message that was, of those that barriers hold up and of those that pass.
    pub(super) plain: [Option<Seq>; 2],
    /// The slots of all others that were; those that come later are listed when they come.
    pub(super) slots: usize,
}

/// What there is of one handler.
#[derive(Debug)]
struct Own {
    /// The handler's own.
    key: Key,
    /// The type of its messages.
    name: &'static str,
    tally: Arc<Tally>,
    /// Its messages that are listed: all of them, and by the kinds of label that somebody has asked for.
    lists: Lists,
    /// Which kinds there are besides all of them: with the last message that was listed by it, or `None` once all are.
    kinds: [Option<ByKind>; 4],
    /// Nobody can send it anything any more: its last message ends it.
    is_abandoned: bool,
    /// It is gone for good.
    has_ended: bool,
}

/// How far a handler's messages are listed by one kind of label.
#[derive(Clone, Copy, Debug)]
enum ByKind {
    /// After this one, or from the first one on.
    From(Option<MessageId>),
    Whole,
}

impl Own {
    fn list(&mut self, id: MessageId, labels: Labels) {
        for kind in Kind::ALL {
            if (kind == Kind::All || self.kinds[kind as usize].is_some())
                && let Some(list) = kind.list_of(labels)
            {
                self.lists.entry(list).or_default().insert(id);
            }
        }
    }

    fn unlist(&mut self, id: MessageId, labels: Labels) {
        for list in Kind::ALL.into_iter().filter_map(|kind| kind.list_of(labels)) {
            if let Some(ids) = self.lists.get_mut(&list) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.lists.remove(&list);
                }
            }
        }
    }

    /// Lists the messages by the kind of label that `filter` has, as many as there are steps. Whether it is done.
    fn list_by_kind(
        &mut self,
        filter: MessageFilter,
        steps: &mut usize,
        labels_of: impl Fn(MessageId) -> Labels,
    ) -> bool {
        let kind = filter.kind();
        if kind == Kind::All {
            return true;
        }
        let last = match *self.kinds[kind as usize].get_or_insert(ByKind::From(None)) {
            ByKind::From(last) => last,
            ByKind::Whole => return true,
        };
        let all = self.lists.get(&MessageFilter::All);
        let ids: Vec<MessageId> = all
            .into_iter()
            .flat_map(|all| all.range((last.map_or(Unbounded, Excluded), Unbounded)).copied())
            .take(*steps)
            .collect();
        *steps -= ids.len();
        let is_done = *steps > 0;
        self.kinds[kind as usize] =
            Some(if is_done { ByKind::Whole } else { ByKind::From(ids.last().copied().or(last)) });
        for id in ids {
            if let Some(list) = kind.list_of(labels_of(id)) {
                self.lists.entry(list).or_default().insert(id);
            }
        }
        is_done
    }
}

impl Handlers {
    /// Notes a new handler.
    pub(crate) fn add(&mut self, name: &'static str, tally: Arc<Tally>) -> Key {
        self.targets.insert_with(|key| Own {
            key,
            name,
            tally,
            lists: Lists::new(),
            kinds: [None; 4],
            is_abandoned: false,
            has_ended: false,
        })
    }

    /// Notes that nobody can send the handler anything any more. Whether it is gone for good by that.
    pub(crate) fn abandon(&mut self, target: Key) -> bool {
        if let Some(own) = self.targets.get_mut(target) {
            own.is_abandoned = true;
        }
        self.end_if_done(target.index())
    }

    /// Lists a message of a handler's, in every list that it belongs to.
    pub(super) fn list(&mut self, id: MessageId, target: u32, labels: Labels) {
        if let Some(own) = self.targets.at_mut(target) {
            own.list(id, labels);
        }
    }

    /// Notes that the message `id` was taken out, and tells whose it is. `token` tells its token.
    #[inline(always)]
    pub(super) fn detach(&mut self, address: &Address, id: impl FnOnce() -> MessageId, token: Option<Token>) -> Next {
        if address.is_nobody() {
            return Next::Closure;
        }
        let target = address.position();
        let Some(own) = self.targets.at_mut(target) else {
            return Next::Orphan;
        };
        own.tally.ended.add(1);
        if address.is_listed() {
            own.unlist(id(), Labels { what: address.what(), token });
        }
        if own.is_abandoned { self.detach_abandoned(target) } else { Next::Message(own.key) }
    }

    /// Tells whose the message was that was taken out, of a handler that nobody can send anything any more.
    #[cold]
    #[inline(never)]
    fn detach_abandoned(&mut self, target: u32) -> Next {
        let is_last = self.end_if_done(target);
        let key = self.targets.at(target).map_or(Key::NONE, |own| own.key);
        if is_last { Next::LastMessage(key) } else { Next::Message(key) }
    }

    fn end_if_done(&mut self, target: u32) -> bool {
        let own = self.targets.at_mut(target).filter(|own| own.is_abandoned && own.tally.pending() == 0);
        let Some(own) = own else {
            return false;
        };
        let is_new = !mem::replace(&mut own.has_ended, true);
        if is_new {
            self.ended.push(own.key);
        }
        is_new
    }

    /// Forgets all messages, which were given up. Gives the lists of them.
    pub(super) fn give_up_all(&mut self) -> Vec<Lists> {
        let keys: Vec<Key> = self.targets.iter().map(|(key, _)| key).collect();
        let forget = |key: Key| {
            let own = self.targets.get_mut(key)?;
            own.tally.end_all();
            let lists = mem::take(&mut own.lists);
            self.end_if_done(key.index());
            Some(lists)
        };
        keys.into_iter().filter_map(forget).collect()
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

    /// Lists what a handler has that is listed by the kind of label that `filter` has. Whether it is done.
    pub(super) fn list_by_kind(
        &mut self,
        target: Key,
        filter: MessageFilter,
        steps: &mut usize,
        labels_of: impl Fn(MessageId) -> Labels,
    ) -> bool {
        self.targets.get_mut(target).is_none_or(|own| own.list_by_kind(filter, steps, labels_of))
    }

    /// Finds some of those that are selected and listed, in posting order, in so many steps at most, and whether these
    /// were the last.
    pub(super) fn find_some(&mut self, selection: &mut Selection, steps: usize) -> (Vec<MessageId>, bool) {
        let Selection { target, filter, last, found } = selection;
        let Some(list) = self.targets.get(*target).and_then(|own| own.lists.get(filter)) else {
            return (Vec::new(), true);
        };
        let Some(last) = last.or_else(|| list.last().copied()).map(|id| *last.insert(id)) else {
            return (Vec::new(), true);
        };
        // Whatever came first may have gone, and the last one, too.
        if found.is_some_and(|found| found >= last) {
            return (Vec::new(), true);
        }
        let ids: Vec<MessageId> =
            list.range((found.map_or(Unbounded, Excluded), Included(last))).take(steps).copied().collect();
        *found = ids.last().copied().or(*found);
        let is_over = ids.len() < steps;
        (ids, is_over)
    }

    /// How many messages of a handler stand in a list.
    pub(super) fn count(&self, target: Key, filter: MessageFilter) -> usize {
        self.targets.get(target).and_then(|own| own.lists.get(&filter)).map_or(0, BTreeSet::len)
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
