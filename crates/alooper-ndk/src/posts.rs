//! The functions that C has posted, by their numbers.
//!
//! Each lies here until it runs; the library's queue has only its number. Whoever takes it out of here (to run it, to
//! cancel it, to give it up) owns it. So it ends in exactly one way.

use std::{
    collections::HashMap,
    ffi::c_void,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alooper::{Looper, Posted};

use crate::{home, looper::ALooper};

/// A function that is posted, with the pointer that it is called with.
#[allow(non_camel_case_types, reason = "the name in C")]
pub type alooper_func = unsafe extern "C-unwind" fn(data: *mut c_void);

/// What is called with the pointer of a function that will not run. It must not throw.
#[allow(non_camel_case_types, reason = "the name in C")]
pub type alooper_discard_func = unsafe extern "C" fn(data: *mut c_void);

/// The posted functions of a looper that have not run, for any thread.
#[derive(Default)]
pub(crate) struct Posts {
    waiting: Mutex<HashMap<u64, Waiting>>,
    last: AtomicU64,
    /// C has told the looper to quit at once: what a turn has taken from the queue does not run any more.
    has_quit_now: AtomicBool,
}

/// A function of C with its data: exactly one of the two is called, once.
pub(crate) struct Call {
    pub(crate) run: alooper_func,
    pub(crate) discard: Option<alooper_discard_func>,
    pub(crate) data: *mut c_void,
}

struct Waiting {
    call: Call,
    /// `None` while it is being posted.
    posted: Option<Posted>,
}

// SAFETY: C promises that `run` may be called with `data` on the looper's thread, and `discard` on any.
unsafe impl Send for Waiting {}

/// When a function is to run.
pub(crate) enum When {
    Now,
    After(Duration),
    At(Instant),
}

impl Posts {
    /// Posts a function, and gives its number.
    ///
    /// # Errors
    /// When it is refused. Neither it nor its `discard` is called then.
    pub(crate) fn post(looper: &Arc<ALooper>, when: When, call: Call) -> io::Result<u64> {
        let posts = &looper.posts;
        let id = posts.last.fetch_add(1, Ordering::Relaxed) + 1;
        posts.lock().insert(id, Waiting { call, posted: None });
        let message = Message { looper: looper.clone(), id };
        let arrive = move |_: &Looper| message.arrive();
        let posted = match when {
            When::Now => looper.handle.post(arrive),
            When::After(delay) => looper.handle.post_delayed(delay, arrive),
            When::At(when) => looper.handle.post_at(when, arrive),
        };
        match posted {
            Ok(posted) => {
                if let Some(waiting) = posts.lock().get_mut(&id) {
                    waiting.posted = Some(posted);
                }
                Ok(id)
            }
            Err(refused) => {
                // Before the message is dropped, which would discard it.
                drop(posts.take(id));
                Err(refused.into())
            }
        }
    }

    /// Cancels; whether that kept it from running.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        let Some(Waiting { call, posted }) = self.take(id) else { return false };
        if let Some(posted) = posted {
            posted.cancel();
        }
        call.discard();
        true
    }

    /// Lets nothing start any more, not even what a turn has taken from the queue.
    pub(crate) fn quit_now(&self) {
        self.has_quit_now.store(true, Ordering::Release);
    }

    /// Takes a function out. Nothing is called while the table is locked.
    fn take(&self, id: u64) -> Option<Waiting> {
        self.lock().remove(&id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    fn discard(self) {
        if let Some(discard) = self.discard {
            // SAFETY: C promises that it may be called on any thread.
            unsafe { discard(self.data) };
        }
    }
}

/// What lies in the library's queue for a function. When it is dropped, the function is given up.
pub(crate) struct Message {
    looper: Arc<ALooper>,
    id: u64,
}

impl Message {
    /// Its turn has come. If C polls, it runs after the library's turn, so that it may throw; otherwise now.
    fn arrive(self) {
        match home::collecting() {
            Some(home) => home.take(self),
            None => _ = self.run(),
        }
    }

    /// Runs it, unless it was cancelled or the looper has quit; whether it has run.
    pub(crate) fn run(self) -> bool {
        if self.looper.posts.has_quit_now.load(Ordering::Acquire) {
            return false;
        }
        let Some(Waiting { call, .. }) = self.looper.posts.take(self.id) else { return false };
        // SAFETY: C promises that it may be called on the looper's thread, which this is.
        unsafe { (call.run)(call.data) };
        true
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if self.looper.is_inherited() {
            return;
        }
        if let Some(Waiting { call, .. }) = self.looper.posts.take(self.id) {
            call.discard();
        }
    }
}
