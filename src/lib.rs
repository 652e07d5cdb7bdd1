//! Android's Looper for Linux programs: one event loop per thread.
//!
//! A [`Looper`] owns what its thread waits for: fds with their callbacks, messages with their due times, and posts from
//! other threads. [`Looper::poll_once`] waits until something happens and runs the callbacks for it; [`Looper::run`]
//! does so until the looper quits. Other threads hold a [`LooperHandle`]. A [`Handler`] takes typed messages, and a
//! [`HandlerThread`] is a thread with a looper that runs.
//!
//! ```text
//! other threads                                looper's thread                        kernel
//! LooperHandle ──► inbox ──collect──► queue ──due──► turn ──► callback
//!      │                                │ next deadline ▲
//!      └──── waker (eventfd) ──► poller.wait ───────────┤     epoll, timerfd
//!                                   └──► fd table ──────┘
//! ```
//!
//! ```
//! use alooper::Looper;
//! use std::time::Duration;
//!
//! # fn main() -> std::io::Result<()> {
//! let looper = Looper::prepare()?;
//! looper.post(|_| println!("first"))?;
//! looper.post_delayed(Duration::from_millis(5), |looper| {
//!     println!("later");
//!     looper.quit();
//! })?;
//! looper.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Fork
//!
//! A child of `fork` has its parent's loopers in its memory, but not their threads, and shares their epoll sets. They
//! stay the parent's (X2): in the child, what can fail returns [`RejectReason::Forked`], as an [`io::Error`](std::io::Error)
//! an [`OsError`] with `ECHILD`; whatever is asked or removed is answered with zero, false or `None`; nothing is waited
//! for, and the parent does not notice. A child that is forked in a callback and returns from it goes on behind
//! [`Looper::run`] with that error.
//!
//! A child makes loopers of its own, with [`Looper::new`] or [`Looper::prepare`]. Dropping an inherited one closes its
//! fds, and drops what its thread had of it: sources, callbacks, handlers. A child in which their `Drop` must not run
//! ends by `_exit` or `exec`, or forgets the looper. What was queued is forgotten, and what it holds stays open.
//!
//! ```
//! use alooper::Looper;
//!
//! # fn main() -> std::io::Result<()> {
//! fn serve() -> std::io::Result<()> {
//!     // In a forked child, this is another looper than the parent's.
//!     let looper = Looper::prepare()?;
//!     looper.post(|looper| looper.quit())?;
//!     looper.run().map(drop)
//! }
//! # serve()
//! # }
//! ```
//!
//! This holds for children of libc's `fork`, which std's `pre_exec` runs in; one that bypasses it (`clone`,
//! `vfork`, `_Fork`) must execute a program or end. So must, by the rules of `fork`, whoever uses anything else in a
//! child of several threads that may be locked: an allocator other than libc's, for instance, or a logger.
//!
//! What is promised, rule by rule, is in `docs/semantics.md`; the ids in these pages (`F4`) are that page's. How the
//! library is built is in `docs/design.md`.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    any(all(test, alooper_loom), alooper_fuzz),
    allow(dead_code, reason = "models and fuzz targets use a part of the fake kernel")
)]

mod error;
mod time;
mod sys;
mod mem;
mod queue;
mod fd;
mod core;
mod looper;
mod handler;
#[cfg(feature = "async")]
pub mod task;
#[cfg(feature = "testing")]
pub mod testing;

/// The models run under shuttle as they do under loom.
#[cfg(all(test, alooper_loom, alooper_shuttle))]
extern crate shuttle as loom;

#[cfg(all(test, alooper_loom))]
#[path = "tests/models/mod.rs"]
mod models;
#[cfg(all(test, not(alooper_loom)))]
mod tests;

#[cfg(all(alooper_fuzz, feature = "testing"))]
#[doc(hidden)]
pub use self::testing::fuzzing;
pub use self::{
    core::{
        hooks::Wait,
        refused::{AddFdError, Rejected},
    },
    error::{OsError, RejectReason},
    fd::{FdNext, notice::Notice},
    handler::{Handler, WeakHandler, builder::MessageBuilder, message::Message},
    looper::{
        Looper,
        barrier::Barrier,
        builder::LooperBuilder,
        call::CallError,
        dump::{Dump, Pending},
        fd_source::{FdGuard, FdHandle, FdSource},
        handle::LooperHandle,
        hooks::{Hook, HookGuard},
        idle::{IdleGuard, IdleHandler},
        observer::{DispatchInfo, Observer},
        posted::{Posted, PostedGuard},
        repeat::MissedTicks,
        report::{PollCode, ReadyIdent, Turn},
        running::{Running, RunningKind},
        slot::Slot,
        thread::{HandlerThread, HandlerThreadBuilder, JoinError, Panic},
        wants::{RunInfo, WaitInfo, Wants},
        watchdog::{Stuck, Watchdog, WatchdogBuilder},
    },
    queue::{
        account::{MessageCounts, Stats},
        histogram::Histogram,
        labels::{MessageFilter, Token},
    },
    sys::interest::{Events, Interest},
};

/// The README's code is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
