//! What stays on the looper's thread: closures, sources and callbacks that need not be `Send`.
//!
//! The shared queue and table carry only keys to them. Each thread knows what is local to its own loopers, so that what is
//! cancelled or removed there is dropped at once; other threads leave it to be tidied up in the looper's next turn.

use std::{
    any::Any,
    cell::{Cell, OnceCell, RefCell},
    collections::BTreeMap,
    fmt::{self, Debug, Formatter},
    iter,
    mem::{self, ManuallyDrop},
    rc::{Rc, Weak},
    sync::Arc,
};

#[cfg(feature = "async")]
use crate::{
    core::tasks::{self, Tasks},
    mem::drop::caught,
};
use crate::{
    core::{
        hooks::{self, WaitHooks},
        idlers::{IdleCallback, Idlers},
        inbox::Cleanup,
        item::{Arrival, Body, HandlerFn, HandlerRc, PendingDrop},
        shared::{LooperId, Shared},
        storage::Storage,
    },
    error::RejectReason,
    fd::{CLOSED_UNDER_IT, Watched, registrations::Ended, sources::Sources, stale},
    looper::{Core, Looper},
    mem::{
        drop::drop_each,
        slots::{Annex, Key},
    },
    sys::fork::ForkGeneration,
};

thread_local! {
    /// What is local to each looper that lives on this thread. Has no destructor, so that it is there in those of other
    /// thread-locals, too; nor needs one, since its room goes with the last of them.
    static LOCALS: ManuallyDrop<RefCell<Locals>> = const { ManuallyDrop::new(RefCell::new(BTreeMap::new())) };
}

type Locals = BTreeMap<LooperId, Weak<Local>>;

/// What is local to the looper called `id`, if it lives on this thread.
pub(crate) fn find(id: LooperId) -> Option<Rc<Local>> {
    LOCALS.with(|locals| locals.borrow().get(&id)?.upgrade())
}

/// Changes what this thread knows.
fn change_locals(change: impl FnOnce(&mut Locals)) {
    let process = ForkGeneration::current();
    LOCALS.with(|locals| change(&mut locals.borrow_mut()));
    if !process.is_current() {
        // A signal handler has forked meanwhile, and the child could not look at them then.
        shut_inherited();
    }
}

/// Shuts the queues of this thread's loopers, in a forked child: all of them are its parent's.
pub(crate) fn shut_inherited() {
    LOCALS.with(|locals| {
        let locals = locals.try_borrow();
        let inherited = locals.iter().flat_map(|locals| locals.values()).filter_map(Weak::upgrade);
        inherited.for_each(|local| local.shared.note_inherited());
    });
}

pub(crate) struct Local {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sources: Sources<Looper>,
    pub(crate) idlers: Idlers,
    pub(crate) hooks: WaitHooks,
    pub(crate) storage: Storage,
    #[cfg(feature = "async")]
    pub(crate) tasks: Tasks,
    /// What shares the one signalfd of this looper, while some signal is watched. The fd's registration owns it.
    #[cfg(feature = "signals")]
    pub(crate) signal_hub: RefCell<Option<Weak<dyn Any>>>,
    /// The looper itself, once it is whole.
    pub(crate) core: OnceCell<Weak<Core>>,
    /// The handlers' closures, by the handlers' keys in the queue's index.
    targets: RefCell<Annex<HandlerRc>>,
    /// The handler whose message ran last, which often is the next one's, too; `None` while it runs.
    latest: Cell<Option<HandlerRc>>,
    /// Which one that is, if there is one.
    latest_key: Cell<Key>,
    /// How often `latest` was given up, for another one or since its closure may have been taken out.
    latest_changes: Cell<u64>,
    /// Somebody drops what has ended here, and goes on until there is nothing left of that.
    clearing: Cell<bool>,
    /// Whether a turn is under way, or a source is lent: whether polling has to be refused.
    busy: Cell<bool>,
}

impl Debug for Local {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("shared", &self.shared).finish_non_exhaustive()
    }
}

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

/// A handler's closure while it runs.
struct RunningHandler(Option<HandlerRc>);

impl Drop for RunningHandler {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(target) = self.0.take() {
            let_go(target);
        }
    }
}

/// By value, so that the fast path need not have it in memory.
#[cold]
fn let_go(target: HandlerRc) {
    drop_each([target]);
}

impl Local {
    /// Makes what is local to a looper. Its thread knows it from now on.
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Local> {
        let local = Rc::new(Local {
            shared,
            sources: Sources::default(),
            idlers: Idlers::default(),
            hooks: WaitHooks::default(),
            storage: Storage::default(),
            #[cfg(feature = "async")]
            tasks: Tasks::default(),
            #[cfg(feature = "signals")]
            signal_hub: RefCell::default(),
            core: OnceCell::new(),
            targets: RefCell::default(),
            latest: Cell::default(),
            latest_key: Cell::new(Key::NONE),
            latest_changes: Cell::new(0),
            clearing: Cell::new(false),
            busy: Cell::new(false),
        });
        change_locals(|locals| _ = locals.insert(local.shared.id, Rc::downgrade(&local)));
        if local.shared.is_inherited() {
            // A signal handler has forked before it was known here.
            local.shared.note_inherited();
        }
        local
    }

    /// What is local to a looper, if the calling thread is the one it lives on.
    pub(crate) fn of(shared: &Shared) -> Option<Rc<Local>> {
        if shared.is_current() { find(shared.id) } else { None }
    }

    /// Notes that polling has to be refused, until what this gives is dropped. `None` if it has to be refused already.
    pub(crate) fn occupy(&self) -> Option<Busy<'_>> {
        (!self.busy.replace(true)).then(|| Busy { local: self })
    }

    /// Whether polling has to be refused.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    /// Keeps a handler's closure. Gives what has to be dropped for that.
    #[must_use = "it has to be dropped, with nothing borrowed"]
    pub(crate) fn keep_target(&self, key: Key, target: HandlerRc) -> Option<HandlerRc> {
        let displaced = self.targets.borrow_mut().insert(key, target);
        if displaced.is_some() {
            self.forget_latest();
        }
        displaced
    }

    /// Takes out a handler's closure.
    fn take_target(&self, key: Key) -> Option<HandlerRc> {
        let target = self.targets.borrow_mut().remove(key);
        self.forget_latest();
        target
    }

    /// Lets go of the handler whose message ran last, also if it is still running. Drops nothing for good: whoever has
    /// just taken its closure out still has that.
    fn forget_latest(&self) {
        self.latest_changes.set(self.latest_changes.get() + 1);
        self.latest_key.set(Key::NONE);
        self.latest.take();
    }

    /// Calls `call` with a handler's closure, which is kept until that has run: what it does may end the handler.
    /// `None` if the handler is gone.
    #[inline(always)]
    pub(crate) fn with_target<R>(&self, key: Key, call: impl FnOnce(&dyn HandlerFn) -> R) -> Option<R> {
        let is_latest = self.latest_key.get() == key;
        let target = if is_latest { self.latest.take() } else { None };
        let target = match target {
            Some(target) => target,
            None => self.exchange_latest(key)?,
        };
        let mut lent = RunningHandler(Some(target));
        let changes = self.latest_changes.get();
        // If it panics, the next message looks for the closure anew.
        let result = call(&***lent.0.as_ref()?);
        // Otherwise some closure was taken out, perhaps this one.
        if self.latest_changes.get() == changes {
            // There is nothing to drop: the place is as it was emptied.
            mem::forget(self.latest.replace(lent.0.take()));
        }
        Some(result)
    }

    #[inline(never)]
    fn exchange_latest(&self, key: Key) -> Option<HandlerRc> {
        let target = self.target(key)?;
        self.forget_latest();
        self.latest_key.set(key);
        Some(target)
    }

    /// A handler's closure, also one that another thread has just made.
    pub(crate) fn target(&self, key: Key) -> Option<HandlerRc> {
        let present = self.targets.borrow().get(key).cloned();
        if present.is_some() || self.shared.is_inherited() {
            return present;
        }
        drop_each(self.admit(self.shared.inbox.take_arrivals()));
        self.targets.borrow().get(key).cloned()
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
        let targets = ended.into_iter().filter_map(|key| self.take_target(key)).map(DropItem::Target);
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
        let sources = self.sources.take_all().map(DropItem::Source);
        let idlers = self.idlers.take_all().map(DropItem::Idle);
        let hooks = self.hooks.take_all().map(DropItem::Hook);
        // Last, since what is dropped before may ask for it.
        let values = iter::once_with(|| self.storage.take_all()).flatten().map(DropItem::Value);
        let targets = iter::once_with(|| self.targets.borrow_mut().take_all()).flatten().map(DropItem::Target);
        // Their closures go with all others.
        drop(self.shared.with_queue_alone(|queue| queue.handlers.take_ended()));
        let posted = pending_drops.chain(given_up).chain(self.take_tasks());
        Box::new(
            displaced
                .into_iter()
                .chain(exchanged)
                .chain(posted)
                .chain(sources)
                .chain(idlers)
                .chain(hooks)
                .chain(targets)
                .chain(values),
        )
    }

    /// Ends it in a forked child: what only its own thread could reach is dropped. What others could is not
    /// looked at.
    pub(crate) fn clear_inherited(&self) {
        self.unregister();
        let sources = self.sources.take_all().map(DropItem::Source);
        let idlers = self.idlers.take_all().map(DropItem::Idle);
        let hooks = self.hooks.take_all().map(DropItem::Hook);
        // Last, since what is dropped before may ask for it.
        let values = iter::once_with(|| self.storage.take_all()).flatten().map(DropItem::Value);
        let targets = iter::once_with(|| self.targets.borrow_mut().take_all()).flatten().map(DropItem::Target);
        drop_each(self.take_tasks().chain(sources).chain(idlers).chain(hooks).chain(targets).chain(values));
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

    /// Lets its thread know it no more, and keeps no handler at hand, which would outlive the others.
    fn unregister(&self) {
        self.forget_latest();
        change_locals(|locals| {
            locals.remove(&self.shared.id);
            if locals.is_empty() {
                *locals = BTreeMap::new();
            }
        });
    }

    fn drop_item_of(&self, pending_drop: PendingDrop) -> Option<DropItem> {
        match pending_drop {
            PendingDrop::Message(body) => Some(DropItem::Body(body)),
            PendingDrop::Idle(id) => {
                if !self.idlers.contains(id) {
                    drop_each(self.admit(self.shared.inbox.take_arrivals()));
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

/// A looper whose polling has to be refused.
pub(crate) struct Busy<'a> {
    local: &'a Local,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.local.busy.set(false);
    }
}

/// Runs `use_it` on a looper, if it lives: at once on the looper's thread, which need not ask the
/// others.
pub(crate) fn with_looper<R>(id: LooperId, use_it: impl FnOnce(&Shared) -> R) -> Option<R> {
    match find(id) {
        Some(local) => Some(use_it(&local.shared)),
        None => id.find().map(|shared| use_it(&shared)),
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
