//! `Looper`: what the looper's own thread may do.
//!
//! Here it is assembled and dropped, quits and answers; [`post`] posts, [`watch`] registers fds, [`turn`] polls,
//! [`dispatch`] runs a message, [`hosting`] lets another loop poll, and [`rebuild`] replaces an epoll set that an fd
//! has spoilt.

// Their order is that of the methods on the pages of `Looper` and `LooperHandle`: the order of use.
pub(crate) mod current;
pub(crate) mod builder;
pub(crate) mod handle;
mod post;
pub(crate) mod posted;
pub(crate) mod repeat;
pub(crate) mod slot;
pub(crate) mod call;
mod watch;
pub(crate) mod fd_source;
pub(crate) mod run;
mod turn;
pub(crate) mod report;
mod hosting;
pub(crate) mod idle;
pub(crate) mod barrier;
pub(crate) mod hooks;
mod storage;
pub(crate) mod thread;
pub(crate) mod observe;
pub(crate) mod dump;
pub(crate) mod running;
pub(crate) mod dispatch;
mod rebuild;

use std::{
    cell::{Cell, OnceCell, RefCell},
    fmt::{self, Debug, Formatter},
    io,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use crate::{
    core::{
        local::{self, Local},
        shared::{Quit, Shared},
    },
    fd::registrations::Limits,
    looper::{
        builder::LooperBuilder,
        observe::{observer::Watching, wants::Wants},
        rebuild::StaleKeys,
    },
    mem::{
        drop::{after, drop_each},
        slots::Key,
    },
    queue::account::MessageCounts,
    sys::{
        Kernel,
        fork::{self, ForkGeneration},
        host::Host,
        poller::{Poller, Ready},
        sync::{Here, ThreadNumber},
        time::Clock,
        waker::Waker,
    },
};

/// An event loop that is bound to its thread: fd callbacks, timed messages, and posts from other threads.
///
/// A callback receives `&Looper` and may call every method but those that poll. Other threads use a [`LooperHandle`](crate::LooperHandle).
///
/// Dropping a looper drops its queued messages, callbacks and sources, all on this thread. A callback must not own an `Rc`
/// of its own looper, which would keep both alive: use the `&Looper` argument, or a [`LooperHandle`](crate::LooperHandle). A thread's own looper
/// ([`Looper::prepare`]) ends with its thread in any case.
///
/// ```
/// use alooper::Looper;
/// use std::{thread, time::Duration};
///
/// # fn main() -> std::io::Result<()> {
/// let looper = Looper::new()?;
/// let handle = looper.handle();
/// let worker = thread::spawn(move || handle.post(|looper| looper.quit_safely()).is_ok());
///
/// let report = looper.run()?;
///
/// assert!(worker.join().unwrap());
/// assert_eq!((report.posted, report.run), (1, 1));
/// # Ok(())
/// # }
/// ```
///
/// # Thread safety
/// Not `Send` and not `Sync`:
///
/// ```compile_fail,E0277
/// # // C76: two threads cannot run one looper.
/// fn needs_send<T: Send>() {}
/// needs_send::<alooper::Looper>();
/// ```
///
/// ```compile_fail,E0277
/// # // C76: nor can one thread use a looper that another one runs.
/// fn needs_sync<T: Sync>() {}
/// needs_sync::<alooper::Looper>();
/// ```
///
/// A callback cannot drop the looper that runs it, because polling borrows it:
///
/// ```compile_fail,E0505
/// # // C78: a looper cannot go into its own message.
/// # fn main() -> std::io::Result<()> {
/// let looper = alooper::Looper::new()?;
/// looper.post(move |_| drop(looper))?;
/// # Ok(())
/// # }
/// ```
///
/// # Android
/// `ALooper`, and `android.os.Looper` with its `MessageQueue`.
#[doc(alias = "ALooper")]
pub struct Looper {
    core: Rc<Core>,
    /// Ends the looper when it is dropped; what a synchronous call is lent on the looper's own thread has none.
    _end_on_drop: Option<EndOnDrop>,
}

/// What a looper consists of, on its thread.
pub(crate) struct Core {
    /// As `local` has it: a step less for each post.
    shared: Arc<Shared>,
    local: Rc<Local>,
    /// The thread that all this is on.
    here: Here,
    kernel: Kernel,
    poller: RefCell<Poller>,
    /// The fd by which another loop hosts this one, once it was asked for.
    host: OnceCell<Host>,
    /// How many messages a turn runs at most.
    budget: usize,
    /// From when on fds are muted.
    limits: Limits,
    /// `wake()` was called and no turn has reported it yet. Survives a turn that ends by a panic or an error.
    woken: Cell<bool>,
    /// The room for what a wait finds ready; taken out while callbacks run.
    ready: Cell<Vec<Ready>>,
    /// The registration whose callback runs, if one does.
    serving: Cell<Key>,
    stale_keys: RefCell<StaleKeys>,
    /// How many messages the present phase takes out at most, to run them. One that is skipped makes room for another.
    begin_limit: Cell<usize>,
    /// The epoll set was made anew and no turn has reported it yet. Survives a turn that ends by a panic, as `woken`.
    rebuilt: Cell<bool>,
    /// The hooks before the wait have run, and the wait has still to come.
    is_wait_prepared: Cell<bool>,
    /// One of them has said that it must not block.
    must_not_block: Cell<bool>,
    /// Who watches, and what for.
    watching: Watching,
    /// It holds nothing any more, and takes nothing.
    has_ended: Cell<bool>,
}

impl Looper {
    pub(crate) fn assemble(builder: LooperBuilder) -> io::Result<Looper> {
        fork::notice()?;
        fork::mark_in_child(local::shut_inherited);
        // Before anything is made that a child would have, too.
        let process = ForkGeneration::current();
        let LooperBuilder { name, budget, spin_limit, mutes_stuck, barrier_alarm, watch, clock, kernel } = builder;
        let owner = ThreadNumber::assign();
        let (Some(owner), Some(here)) = (owner, owner.and_then(ThreadNumber::here)) else {
            return Err(io::Error::other("more than 2^32 threads have made loopers"));
        };
        let waker = Waker::new(&kernel)?;
        let poller = Poller::new(kernel.clone(), clock.clone(), &waker)?;
        let shared = Shared::new(process, name, clock, owner, barrier_alarm, waker, poller.set());
        let core = Rc::new(Core {
            local: Local::new(shared.clone()),
            shared,
            here,
            kernel,
            poller: RefCell::new(poller),
            host: OnceCell::new(),
            budget,
            limits: Limits { spin: spin_limit, mutes_stuck },
            woken: Cell::new(false),
            ready: Cell::new(Vec::new()),
            serving: Cell::new(Key::NONE),
            stale_keys: RefCell::default(),
            begin_limit: Cell::new(0),
            rebuilt: Cell::new(false),
            is_wait_prepared: Cell::new(false),
            must_not_block: Cell::new(false),
            watching: Watching::new(watch),
            has_ended: Cell::new(false),
        });
        let _ = core.local.core.set(Rc::downgrade(&core));
        core.local.shared.set_watched(core.watching.wants_posts());
        Ok(Looper { _end_on_drop: Some(EndOnDrop(core.clone())), core })
    }

    /// The looper of `local`, without its life, for as long as it lives.
    pub(crate) fn of(local: &Local) -> Option<Looper> {
        let core = local.core.get()?.upgrade()?;
        Some(Looper { core, _end_on_drop: None })
    }

    /// Ends it as dropping it does, whoever still has an `Rc` of it. Not from inside one of its callbacks, which has
    /// what would be dropped: there, a thread ends only together with its process.
    pub(crate) fn end(&self) {
        if !self.core.local.is_busy() {
            self.core.end();
        }
    }

    pub(crate) fn local_state(&self) -> &Rc<Local> {
        &self.core.local
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.core.shared
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.core.shared.clock
    }

    /// The proof that this is its thread.
    #[cfg(any(feature = "async", feature = "wall-clock"))]
    pub(crate) fn here(&self) -> crate::sys::sync::Here {
        self.core.here
    }
}

/// **Waking, quitting, counting.**
impl Looper {
    /// Makes the next poll return at once with [`woken`](crate::Turn::woken). See [`LooperHandle::wake`](crate::LooperHandle::wake).
    ///
    /// # Errors
    /// As [`LooperHandle::wake`](crate::LooperHandle::wake).
    ///
    /// # Android
    /// `ALooper_wake`.
    #[doc(alias = "ALooper_wake")]
    pub fn wake(&self) -> io::Result<()> {
        self.shared().wake()
    }

    /// Quits: drops everything that is queued, and refuses posts and fds from now on. See [`LooperHandle::quit`](crate::LooperHandle::quit).
    ///
    /// # Android
    /// `Looper.quit`.
    pub fn quit(&self) {
        self.shared().quit(Quit::Now);
    }

    /// Quits once everything that is due now has run; drops the rest. See [`LooperHandle::quit_safely`](crate::LooperHandle::quit_safely).
    ///
    /// # Android
    /// `Looper.quitSafely`.
    #[doc(alias = "quitSafely")]
    pub fn quit_safely(&self) {
        self.shared().quit(Quit::Safely);
    }

    /// Whether the looper has quit or is draining: whether posts are refused.
    #[must_use]
    pub fn has_quit(&self) -> bool {
        !self.shared().is_inherited() && self.shared().is_quitting()
    }

    /// How many messages are pending: exact at the moment of the call. One that is running is not pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared().len()
    }

    /// Whether no message is pending: exact at the moment of the call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts how the messages so far have ended.
    #[must_use]
    pub fn message_counts(&self) -> MessageCounts {
        self.shared().message_counts()
    }

    /// Gives the time on the looper's clock. See [`LooperHandle::now`](crate::LooperHandle::now).
    ///
    /// # Android
    /// `SystemClock.uptimeMillis`.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock().instant()
    }

    /// The name that the looper was built with.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.shared().name.as_deref()
    }
}

impl Debug for Looper {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looper").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Ends the looper with its last `Rc`.
struct EndOnDrop(Rc<Core>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Core {
    /// Gives up what is pending, ends all registrations, and drops all closures, sources and callbacks, on this thread;
    /// the first time. Handles stay valid; what is posted through them is refused from then on. In a forked child it
    /// drops what is on this thread, no more.
    fn end(&self) {
        if self.has_ended.replace(true) {
            return;
        }
        let observer = self.watching.set_observer(None, Wants::empty());
        let local = &self.local;
        let cleared = panic::catch_unwind(AssertUnwindSafe(|| {
            if local.shared.is_inherited() {
                local.clear_inherited();
            } else {
                local.shared.shut();
                local.clear();
            }
        }));
        after(cleared, || drop_each(observer));
    }
}
