//! What stays on the looper's thread: closures, sources and callbacks that need not be `Send`.
//!
//! The shared queue and table carry only keys to them. Each thread knows what is local to its own loopers, so that what is
//! cancelled or removed there is dropped at once; other threads leave it to be tidied up in the looper's next turn.

mod drops;
mod targets;

#[cfg(feature = "signals")]
use std::any::Any;
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::BTreeMap,
    fmt::{self, Debug, Formatter},
    mem::ManuallyDrop,
    rc::{Rc, Weak},
    sync::Arc,
};

pub(crate) use self::drops::{drop_displaced, drop_ended, drop_ended_targets, drop_locally};
use self::targets::Targets;
#[cfg(feature = "async")]
use crate::core::tasks::Tasks;
use crate::{
    core::{
        hooks::WaitHooks,
        idlers::Idlers,
        item::{HandlerFn, HandlerRc},
        shared::{LooperId, Shared},
        storage::Storage,
    },
    fd::sources::Sources,
    looper::{Core, Looper},
    mem::slots::Key,
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
    targets: Targets,
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
            targets: Targets::new(),
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
        self.targets.insert(key, target)
    }

    /// A handler's closure, also one that another thread has just made.
    #[inline]
    pub(crate) fn target(&self, key: Key) -> Option<HandlerRc> {
        let present = self.targets.get(key);
        if present.is_some() || self.shared.is_inherited() {
            return present;
        }
        self.admit_arrivals();
        self.targets.get(key)
    }

    /// Calls `call` with a handler's closure; `None` if the handler is gone.
    #[inline(always)]
    pub(crate) fn with_target<R>(&self, key: Key, call: impl FnOnce(&dyn HandlerFn) -> R) -> Option<R> {
        let target = match self.targets.take_latest(key) {
            Some(target) => target,
            None => self.exchange_latest(key)?,
        };
        self.targets.lend(target, call)
    }

    #[inline(never)]
    fn exchange_latest(&self, key: Key) -> Option<HandlerRc> {
        let target = self.target(key)?;
        self.targets.set_latest(key);
        Some(target)
    }

    /// Lets its thread know it no more, and keeps no handler at hand, which would outlive the others.
    fn unregister(&self) {
        self.targets.forget_latest();
        change_locals(|locals| {
            locals.remove(&self.shared.id);
            if locals.is_empty() {
                *locals = BTreeMap::new();
            }
        });
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
