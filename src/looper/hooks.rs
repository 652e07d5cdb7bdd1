//! Hooks: what runs before each wait, and after it.

use std::{
    fmt::{self, Debug, Formatter},
    marker::PhantomData,
    panic::Location,
};

use crate::{
    core::{
        hooks::{Wait, WaitHooks},
        local::{self, Local},
        refused::{Refused, Rejected},
        shared::LooperId,
    },
    looper::Looper,
    sys::time::Moment,
};

/// A hook that was added to a looper: removes it.
///
/// Dropping it does nothing: the hook stays. [`guard`](Hook::guard) turns it into one that removes when dropped.
///
/// # Thread safety
/// Neither `Send` nor `Sync`: hooks are added and removed on the looper's thread.
#[derive(Clone)]
pub struct Hook {
    looper: LooperId,
    id: u64,
    /// It stays on its thread.
    _local: PhantomData<*const ()>,
}

impl Hook {
    /// Removes the hook; whether it was there.
    ///
    /// The closure is dropped before this returns. If it is the one that runs, it is dropped when it returns, and does
    /// not run again.
    pub fn remove(&self) -> bool {
        self.with_local(|local| local.hooks.remove(self.id))
    }

    /// Whether the hook is still there.
    #[must_use]
    pub fn is_added(&self) -> bool {
        self.with_local(|local| local.hooks.before.contains(self.id) || local.hooks.after.contains(self.id))
    }

    fn with_local(&self, ask: impl FnOnce(&Local) -> bool) -> bool {
        local::find(self.looper).is_some_and(|local| ask(&local))
    }

    /// Turns this into a guard that removes the hook when it is dropped.
    #[must_use = "a guard that is dropped at once removes at once"]
    pub fn guard(self) -> HookGuard {
        HookGuard { hook: self, kept: false }
    }
}

impl Debug for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("is_added", &self.is_added()).finish_non_exhaustive()
    }
}

/// Removes a hook when it is dropped. See [`Hook::guard`].
#[derive(Debug)]
#[must_use = "a guard that is dropped at once removes at once"]
pub struct HookGuard {
    hook: Hook,
    /// It is to be let be.
    kept: bool,
}

impl HookGuard {
    /// Lets the hook be: the guard no longer removes it.
    pub fn keep(mut self) -> Hook {
        self.kept = true;
        self.hook.clone()
    }
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        if !self.kept {
            self.hook.remove();
        }
    }
}

/// **Hooks** around each wait.
impl Looper {
    /// Calls `callback` before each wait of this looper, also under [`run`](Looper::run) and on a
    /// [`HandlerThread`](crate::HandlerThread).
    ///
    /// It runs after the idle handlers, on the looper's thread, before the looper asks the kernel what is ready, whether
    /// or not that will block. What it posts runs in the same turn. If one hook says [`Wait::DontBlock`], the looper does
    /// not block this time: a hook that always says so makes the looper spin. Use it to flush a buffered connection
    /// (Wayland, X11, TLS) before the looper sleeps, or to learn another library's next timeout.
    ///
    /// A looper that is hosted runs it at the end of each poll, before its host waits.
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit.
    ///
    /// # Panics
    /// A panic in the hook removes it and goes on through the poll.
    ///
    /// # Guarantees
    /// Hooks run in the order in which they were added, and each `before_wait` is followed by one wait and then by the
    /// [`after_wait`](Looper::after_wait) hooks. One that is added by a hook runs from the next wait on. Hooks do not
    /// run once the looper has quit; their closures are dropped with the looper, on its thread.
    ///
    /// # Examples
    /// ```
    /// # use alooper::{Looper, Wait};
    /// # use std::{cell::RefCell, rc::Rc};
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let buffered = Rc::new(RefCell::new(Vec::new()));
    /// looper.before_wait({
    ///     let buffered = buffered.clone();
    ///     move |_| {
    ///         buffered.borrow_mut().clear(); // here: written
    ///         Wait::MayBlock
    ///     }
    /// })?;
    /// buffered.borrow_mut().push("request");
    ///
    /// looper.poll_once(std::time::Duration::ZERO)?;
    ///
    /// assert!(buffered.borrow().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// There is none. GLib's `prepare`, libuv's `uv_prepare_t`.
    #[doc(alias = "prepare")]
    #[doc(alias = "before_sleep")]
    #[track_caller]
    pub fn before_wait<F>(&self, callback: F) -> Result<Hook, Rejected<F>>
    where
        F: FnMut(&Looper) -> Wait + 'static,
    {
        let place = Location::caller();
        self.add_hook(callback, |hooks, id, callback| hooks.before.insert(id, callback, place))
    }

    /// Calls `callback` after each wait of this looper, before messages and fd callbacks run.
    ///
    /// It also runs after a wait that did not block, or that failed. For the rest see
    /// [`before_wait`](Looper::before_wait).
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit.
    ///
    /// # Panics
    /// A panic in the hook removes it and goes on through the poll.
    ///
    /// # Android
    /// There is none. GLib's `check`, libuv's `uv_check_t`.
    #[doc(alias = "check")]
    #[track_caller]
    pub fn after_wait<F>(&self, callback: F) -> Result<Hook, Rejected<F>>
    where
        F: FnMut(&Looper) + 'static,
    {
        let place = Location::caller();
        self.add_hook(callback, |hooks, id, callback| hooks.after.insert(id, callback, place))
    }

    #[track_caller]
    fn add_hook<F: 'static>(
        &self,
        callback: F,
        insert: impl FnOnce(&WaitHooks, u64, Box<F>),
    ) -> Result<Hook, Rejected<F>> {
        let callback = Box::new(callback);
        let shared = self.shared();
        if let Some(reason) = shared.closed() {
            return Err(Refused { value: callback, reason }.unboxed_local_error(Location::caller()));
        }
        let id = shared.next_id();
        insert(&self.local_state().hooks, id, callback);
        // One that is hosted may be asleep on its own thread.
        shared.signal_if(shared.inbox.wake_for(Moment::FRONT));
        Ok(Hook { looper: shared.id, id, _local: PhantomData })
    }

    /// Runs the hooks before a wait, unless they have run since the last one.
    pub(super) fn run_before_wait(&self) {
        let hooks = &self.core.local.hooks.before;
        if hooks.is_empty() || self.core.is_wait_prepared.replace(true) {
            return;
        }
        self.core.must_not_block.set(false);
        hooks.run(
            self,
            || self.may_run_hooks(),
            |wait| {
                if wait == Wait::DontBlock {
                    self.core.must_not_block.set(true);
                }
            },
        );
    }

    /// Runs the hooks after a wait.
    pub(super) fn run_after_wait(&self) {
        self.core.is_wait_prepared.set(false);
        self.core.must_not_block.set(false);
        let hooks = &self.core.local.hooks.after;
        if !hooks.is_empty() {
            hooks.run(self, || self.may_run_hooks(), |()| ());
        }
    }

    fn may_run_hooks(&self) -> bool {
        !self.shared().is_quitting() && !self.shared().is_inherited()
    }
}
