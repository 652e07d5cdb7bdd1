//! A single-threaded event loop for Linux, after Android's `Looper`: fds by epoll, timers, and posts from any thread.
//!
//! A thread has one [`Looper`]. It waits until a watched fd is ready, a message is due or another thread posts, runs the
//! callbacks, and waits again. All callbacks run on that thread, so what they share needs no lock and need not be
//! `Send`. Other threads have a [`LooperHandle`], by which they post, cancel, watch fds, wake and quit.
//!
//! ```sh
//! cargo add alooper
//! ```
//!
//! # Run something later, or again
//!
//! ```
//! use alooper::Looper;
//! use std::{ops::ControlFlow, time::Duration};
//!
//! # fn main() -> std::io::Result<()> {
//! let looper = Looper::prepare()?;
//! looper.post(|_| println!("now"))?;
//! looper.post_every(Duration::from_millis(2), |_| {
//!     println!("tick");
//!     ControlFlow::Continue(())
//! })?;
//! looper.post_delayed(Duration::from_millis(5), |looper| looper.quit())?;
//! looper.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! Messages run in the order of their due times, and none runs early. See [`Looper::post`] and [`Posted`].
//!
//! # Watch an fd
//!
//! ```
//! use alooper::{FdNext, Interest, Looper};
//! use std::{io::{Read, Write}, os::unix::net::UnixStream};
//!
//! # fn main() -> std::io::Result<()> {
//! let looper = Looper::prepare()?;
//! let (near, mut far) = UnixStream::pair()?;
//! looper.add_fd(near, Interest::INPUT, |looper, near, _events| {
//!     let mut bytes = [0; 64];
//!     match near.read(&mut bytes) {
//!         Ok(count @ 1..) => println!("{count} bytes"),
//!         _ => looper.quit(),
//!     }
//!     FdNext::Keep
//! })?;
//! far.write_all(b"hello")?;
//! drop(far);
//! looper.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! The looper owns what it watches, anything that is `AsFd`, so it cannot be closed too early. See [`Looper::add_fd`].
//!
//! # Post from another thread
//!
//! ```
//! use alooper::Looper;
//! use std::thread;
//!
//! # fn main() -> std::io::Result<()> {
//! let looper = Looper::prepare()?;
//! let handle = looper.handle();
//! let worker = thread::spawn(move || {
//!     let answer = 6 * 7;
//!     handle.post(move |looper| {
//!         println!("the worker says {answer}");
//!         looper.quit();
//!     })
//! });
//! looper.run()?;
//! assert!(worker.join().unwrap().is_ok());
//! # Ok(())
//! # }
//! ```
//!
//! A post that is refused gives its closure back. See [`LooperHandle`]; [`LooperHandle::call`] waits for a value.
//!
//! # Send messages to a thread that handles them
//!
//! ```
//! use alooper::HandlerThread;
//!
//! # fn main() -> std::io::Result<()> {
//! let worker = HandlerThread::spawn("sum")?;
//! let mut sum = 0;
//! let numbers = worker.handle().handler(move |_, number: u32| {
//!     sum += number;
//!     println!("together {sum}");
//! })?;
//! for number in [1, 2, 3] {
//!     numbers.send(number)?;
//! }
//! worker.quit_safely();
//! assert_eq!(worker.join()?.run, 3);
//! # Ok(())
//! # }
//! ```
//!
//! Android's whole message API is here: labels, removal by label or predicate, barriers, idle handlers. See [`Handler`],
//! [`HandlerThread`], [`Barrier`] and [`Looper::add_idle`].
//!
//! # Test what depends on time
//!
//! ```
//! use alooper::testing::TestLooper;
//! use std::{cell::Cell, rc::Rc, time::Duration};
//!
//! # fn main() -> std::io::Result<()> {
//! let looper = TestLooper::new()?;
//! let rang = Rc::new(Cell::new(false));
//! let bell = rang.clone();
//! looper.post_delayed(Duration::from_secs(3600), move |_| bell.set(true))?;
//!
//! looper.advance(Duration::from_secs(3600));
//! assert!(rang.get()); // an hour later, and no time has passed
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `testing`; see the module [`testing`](testing/index.html).
//!
//! # Features
//!
//! | feature | what it adds | dependencies |
//! |---|---|---|
//! | none | all but the following | |
//! | `async` | futures on a looper: `spawn`, `sleep`, `timeout`, `AsyncFd`: the module [`task`](task/index.html) | futures-core |
//! | `futures-io` | `AsyncRead` and `AsyncWrite` for `AsyncFd` | futures-io |
//! | `wall-clock` | posts at a time of day, which follow a clock that is set: the module [`source`](source/index.html) | |
//! | `testing` | loopers on a clock that a test moves: the module [`testing`](testing/index.html) | |
//! | `inspect` | a socket by which `looptop` shows what loopers do, live: the module [`inspect`](inspect/index.html) | serde_json |
//! | `tracing` | spans and events for subscribers of the crate `tracing`: the module [`spans`](spans/index.html) | tracing |
//! | `trace` | what loopers do, as a picture: the module [`trace`](trace/index.html) | |
//!
//! What a looper notices itself, such as a forgotten barrier, is logged by the crate `log`, and told to an [`Observer`].
//!
//! # Where to go next
//!
//! In the repository:
//!
//! - `docs/guide` explains loops from eventfd on, and ends with a program of your own (English and Chinese).
//! - `docs/guide/how-to` has a page for each thing that programs do: signals, child processes, lines, other loops, errors.
//! - `examples` has small programs, each run by `cargo run --example NAME`; begin with `tour`.
//! - `docs/android.md` has Android's methods one by one, and what they are here.
//! - `docs/semantics.md` has every promise; the ids in these pages (`F4`) are that page's. `docs/design.md` says how the
//!   library keeps them.
//!
//! # Fork
//!
//! A child of `fork` cannot disturb its parent's loopers. In the child, they refuse everything with
//! [`RejectReason::Forked`], and [`Looper::prepare`] makes a new one. `docs/fork.md` has the details.
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
#[cfg(any(feature = "inotify", feature = "offload", feature = "process", feature = "signals", feature = "wall-clock"))]
pub mod source;
mod observe;
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

#[cfg(feature = "inspect")]
pub use self::observe::inspect;
#[cfg(feature = "tracing")]
pub use self::observe::spans;
#[cfg(feature = "trace")]
pub use self::observe::trace;
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
    handler::{
        Handler, WeakHandler, bounded::BoundedHandler, builder::MessageBuilder, disconnect::HandlerEvent,
        message::Message,
    },
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
        run::KeepAlive,
        running::{Running, RunningKind},
        slot::Slot,
        thread::{HandlerThread, HandlerThreadBuilder, JoinError, Panic},
        wants::{RunInfo, WaitInfo, Wants},
    },
    observe::watchdog::{Stuck, Watchdog, WatchdogBuilder},
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
