//! What has ended, and is dropped: on the looper's thread, with nothing borrowed.

use std::{any::Any, iter, rc::Rc};

use super::Local;
#[cfg(feature = "async")]
use crate::{core::tasks, mem::drop::caught};
use crate::{
    core::{
        hooks,
        idlers::IdleCallback,
        inbox::Cleanup,
        item::{Arrival, Body, HandlerRc, PendingDrop},
        shared::Shared,
    },
    error::RejectReason,
    fd::{CLOSED_UNDER_IT, Watched, registrations::Ended, stale},
    looper::Looper,
    mem::{drop::drop_each, slots::Key},
};

/// Something of a user's that has to be dropped.
enum DropItem {
    Body(#[expect(dead_code, reason = "is dropped")] Body),
    Source(#[expect(dead_code, reason = "is dropped")] Box<dyn Watched<Looper>>),
    Target(#[expect(dead_code, reason = "is dropped")] HandlerRc),
    Idle(#[expect(dead_code, reason = "is dropped")] IdleCallback),
    Value(#[expect(dead_code, reason = "is dropped")] Rc<dyn Any>),
    Hook(#[expect(dead_code, reason = "is dropped")] hooks::Dropped),
    #[cfg(feature = "async")]
    Task(#[expect(dead_code, reason = "is dropped")] tasks::local_task::BoxedTask),
}

impl Local {
    /// Takes over what other threads have made and is not here yet.
    pub(super) fn admit_arrivals(&self) {
        drop_each(self.admit(self.shared.inbox.take_arrivals()));
    }

    /// Takes over what other threads have made, all of it before anything is dropped. Gives what has to be dropped for
    /// that.
    fn admit(&self, arrivals: Vec<Arrival>) -> Vec<DropItem> {
        let admit = |arrival| match arrival {
            Arrival::Target(key, target) => self.keep_target(key, target()).map(DropItem::Target),
            Arrival::Idle(id, callback, place) => {
                self.idlers.insert(id, callback, place);
                None
            }
        };
        arrivals.into_iter().filter_map(admit).collect()
    }

    /// Drops the closures of handlers that are gone for good, unless that is under way already.
    pub(crate) fn drop_ended_targets(&self) {
        let clearing = self.begin_clearing();
        drop_each(self.ended_targets(clearing.is_some()));
    }

    /// Takes out what there is of handlers that are gone for good, also of those that go meanwhile; nothing if
    /// somebody further out does so: what that one still has to drop is found through them.
    fn ended_targets(&self, may_take: bool) -> impl Iterator<Item = DropItem> {
        let take = move || {
            let ended = if may_take { self.take_ended() } else { Vec::new() };
            (!ended.is_empty()).then_some(ended)
        };
        iter::from_fn(take).flatten()
    }

    fn take_ended(&self) -> Vec<DropItem> {
        // Taken before the arrivals: a handler always arrives before it ends, so nothing of one that has ended is missed.
        let ended = self.shared.with_queue_alone(|queue| queue.take_ended());
        if ended.is_empty() {
            return Vec::new();
        }
        let Cleanup { arrivals, pending_drops } = self.shared.inbox.take_left();
        let displaced = self.admit(arrivals);
        // While they are found.
        let left: Vec<DropItem> =
            pending_drops.into_iter().filter_map(|pending_drop| self.drop_item_of(pending_drop)).collect();
        let targets = ended.into_iter().filter_map(|key| self.targets.remove(key)).map(DropItem::Target);
        displaced.into_iter().chain(left).chain(targets).collect()
    }

    fn begin_clearing(&self) -> Option<Clearing<'_>> {
        (!self.clearing.replace(true)).then(|| Clearing { local: self })
    }

    /// Drops what other threads have cancelled, removed or given up, and takes over what they have added.
    ///
    /// Whether there was anything.
    pub(crate) fn tidy(&self) -> bool {
        if self.shared.is_inherited() {
            return false;
        }
        let Some(Cleanup { arrivals, pending_drops }) = self.shared.inbox.take_cleanup() else {
            return false;
        };
        let clearing = self.begin_clearing();
        let displaced = self.admit(arrivals);
        let (arrivals, departures) = self.shared.fds.take_traffic();
        let exchanged = self.sources.admit(arrivals).into_iter().map(DropItem::Source);
        let pending_drops = pending_drops.into_iter().filter_map(|pending_drop| self.drop_item_of(pending_drop));
        let sources = departures.into_iter().filter_map(|key| self.sources.remove(key)).map(DropItem::Source);
        let given_up = self.shared.take_dropped().into_bodies().map(DropItem::Body);
        // Handlers go last: their messages are found through them.
        let targets = self.ended_targets(clearing.is_some());
        drop_each(
            displaced.into_iter().chain(exchanged).chain(pending_drops).chain(given_up).chain(sources).chain(targets),
        );
        true
    }

    /// Ends it: everything that is left is dropped, on this thread.
    pub(crate) fn clear(&self) {
        self.unregister();
        drop_each(self.take_everything());
    }

    /// A function of its own, and a box: loopers are cleared inside each other, and what this needs of the stack is much.
    #[inline(never)]
    fn take_everything(&self) -> Box<dyn Iterator<Item = DropItem> + '_> {
        let displaced = self.admit(self.shared.inbox.take_arrivals());
        let exchanged = self.sources.admit(self.shared.fds.take_traffic().0).into_iter().map(DropItem::Source);
        let pending_drops = self.shared.inbox.take_cleanup().map_or(Vec::new(), |cleanup| cleanup.pending_drops);
        let pending_drops = pending_drops.into_iter().filter_map(|pending_drop| self.drop_item_of(pending_drop));
        let given_up = self.shared.take_dropped().into_bodies().map(DropItem::Body);
        // Their closures go with all others.
        drop(self.shared.with_queue_alone(|queue| queue.handlers.take_ended()));
        Box::new(displaced.into_iter().chain(exchanged).chain(pending_drops).chain(given_up).chain(self.take_own()))
    }

    /// Takes out what only its own thread can reach.
    fn take_own(&self) -> impl Iterator<Item = DropItem> + '_ {
        let sources = self.sources.take_all().map(DropItem::Source);
        let idlers = self.idlers.take_all().map(DropItem::Idle);
        let hooks = self.hooks.take_all().map(DropItem::Hook);
        let targets = iter::once_with(|| self.targets.take_all()).flatten().map(DropItem::Target);
        // Last, since what is dropped before may ask for it.
        let values = iter::once_with(|| self.storage.take_all()).flatten().map(DropItem::Value);
        self.take_tasks().chain(sources).chain(idlers).chain(hooks).chain(targets).chain(values)
    }

    /// Ends it in a forked child: what only its own thread could reach is dropped. What others could is not
    /// looked at.
    pub(crate) fn clear_inherited(&self) {
        self.unregister();
        drop_each(self.take_own());
    }

    /// Drops all tasks, since the looper has quit and drained.
    #[cfg(feature = "async")]
    pub(crate) fn drop_tasks(&self) {
        self.shared.joins.end();
        drop_each(self.take_tasks());
        self.tasks.give_back_room();
    }

    /// Takes out all tasks, also those that come meanwhile.
    #[cfg(feature = "async")]
    fn take_tasks(&self) -> impl Iterator<Item = DropItem> + '_ {
        let take = move || {
            let taken = self.tasks.take_all();
            (!taken.is_empty()).then_some(taken)
        };
        let tell = |task: tasks::local_task::BoxedTask| {
            // A waker that panics keeps nobody else from being told.
            caught(|| task.header().give_up());
            DropItem::Task(task)
        };
        iter::from_fn(take).flatten().map(tell)
    }

    #[cfg(not(feature = "async"))]
    fn take_tasks(&self) -> iter::Empty<DropItem> {
        iter::empty()
    }

    fn drop_item_of(&self, pending_drop: PendingDrop) -> Option<DropItem> {
        match pending_drop {
            PendingDrop::Message(body) => Some(DropItem::Body(body)),
            PendingDrop::Idle(id) => {
                if !self.idlers.contains(id) {
                    self.admit_arrivals();
                }
                self.idlers.remove(id).map(DropItem::Idle)
            }
            #[cfg(feature = "async")]
            PendingDrop::Task(key) => self.tasks.remove(key).map(DropItem::Task),
        }
    }
}

/// Drops what has ended on a looper's thread.
struct Clearing<'a> {
    local: &'a Local,
}

impl Drop for Clearing<'_> {
    fn drop(&mut self) {
        self.local.clearing.set(false);
    }
}

/// Drops something that lives on the looper's thread: now if the caller is there, else in the looper's next turn. Gives it
/// back if the looper has gone.
pub(crate) fn drop_locally(shared: &Shared, pending_drop: PendingDrop) -> Result<(), PendingDrop> {
    if let Some(local) = Local::of(shared) {
        drop_each(local.drop_item_of(pending_drop));
        return Ok(());
    }
    if shared.is_inherited() {
        return Err(pending_drop);
    }
    shared.signal_if(shared.inbox.leave(pending_drop)?);
    Ok(())
}

/// Drops the closures of handlers that are gone for good: now if the calling thread is theirs, else in the looper's
/// next turn.
pub(crate) fn drop_ended_targets(shared: &Shared) {
    match Local::of(shared) {
        Some(local) => local.drop_ended_targets(),
        // The looper has gone: nobody else takes them any more.
        None if shared.is_inherited() => {}
        None if shared.closed() == Some(RejectReason::Dropped) => {
            _ = shared.with_queue_alone(|queue| queue.handlers.take_ended())
        }
        None => shared.signal_if(shared.inbox.request_cleanup()),
    }
}

/// Drops the source and callback of a registration that has ended: here if they live here, else on the looper's thread.
pub(crate) fn drop_ended(shared: &Shared, key: Key) {
    match Local::of(shared) {
        Some(local) => {
            let displaced = local.sources.admit(shared.fds.take_arrivals());
            drop_each(displaced.into_iter().chain(local.sources.remove(key)));
        }
        None => {
            shared.fds.leave_departure(key);
            shared.signal_if(shared.inbox.request_cleanup());
        }
    }
}

/// Drops the registration that a newer one of the same fd number has ended.
pub(crate) fn drop_displaced(shared: &Shared, ended: Option<Ended>) {
    let Some(ended) = ended else {
        return;
    };
    if let Some(died) = ended.died {
        shared.notices.add(stale(died, CLOSED_UNDER_IT));
    }
    drop_ended(shared, ended.key);
}
