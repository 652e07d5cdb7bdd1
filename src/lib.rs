//! A single-threaded event loop for Linux: fds via epoll, timers, cross-thread posts, and Android's Looper API.
//!
//! A [`Looper`] belongs to one thread. It waits until a watched fd is ready, a timer is due or another thread posts, runs
//! the callbacks, and waits again. All callbacks run on that thread, so they can share state without locks, and closures
//! need not be `Send`. Other threads use a [`LooperHandle`] to post, cancel, watch fds, wake and quit.
//!
//! ```sh
//! cargo add alooper
//! ```
//!
//! | you want to | begin at |
//! |---|---|
//! | run something later, or again | [`Looper::post_delayed`], [`Looper::post_every`] |
//! | watch a socket, pipe or other fd | [`Looper::add_fd`] |
//! | reach the loop from another thread | [`LooperHandle::post`], [`LooperHandle::call`] |
//! | send messages, and take them back | [`Handler`], [`HandlerThread`] |
//! | test what depends on time | [`testing::TestLooper`](testing/struct.TestLooper.html) |
//! | be told of signals, children, files | the module [`source`](source/index.html) |
//! | `await` on a looper | the module [`task`](task/index.html) |
//! | find out what is slow or stuck | [`Observer`], [`Watchdog`], [`LooperHandle::stats`] |
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
//! Messages run in the order of their due times, and none runs early. Each post gives a [`Posted`], which cancels or
//! reschedules it from any thread.
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
//! The looper owns what it watches, so that nothing closes the fd too early. Anything that is `AsFd` can be watched. See
//! [`Looper::add_fd`] and [`FdSource`].
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
//! Once the looper has quit, a post returns an error that gives the closure back. [`LooperHandle::call`] waits for a
//! value.
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
//! This needs the feature `testing`; see the module [`testing`](testing/index.html).
//!
//! # Features
//!
//! | feature | what it adds | dependencies |
//! |---|---|---|
//! | `async` | futures on a looper: `spawn`, `sleep`, `timeout`, `AsyncFd`; the module [`task`](task/index.html) | futures-core |
//! | `futures-io` | `AsyncRead` and `AsyncWrite` for `AsyncFd`; switches on `async` | futures-io |
//! | `signals` | signals as events, quit on SIGTERM; the module [`source`](source/index.html) | |
//! | `process` | child processes, whose end is an event | |
//! | `inotify` | changes of files and folders as events | |
//! | `offload` | work on a pool of threads, and a callback with its result | blocking |
//! | `wall-clock` | posts at a time of day, which follow a clock that is set | |
//! | `testing` | loopers on a clock that a test moves; the module [`testing`](testing/index.html) | |
//! | `trace` | a trace file for Perfetto; the module [`trace`](trace/index.html) | |
//! | `inspect` | a socket by which `looptop` shows what loopers do, live; the module [`inspect`](inspect/index.html) | serde_json |
//! | `tracing` | spans and events for subscribers of the crate `tracing`; the module [`spans`](spans/index.html) | tracing |
//!
//! None is on by default. Loopers log what would otherwise be silent faults, such as a forgotten barrier, by the crate
//! `log`; to see it, set up any logger. An [`Observer`] is told the same.
//!
//! # Where to go next
//!
//! - [`semantics`] has every promise of this crate, rule by rule.
//! - In the repository, `docs/guide` explains event loops from eventfd on, and ends with a program of your own (English and
//!   Chinese). `docs/guide/how-to` has pages on signals, child processes, reading lines, other loops, errors and more.
//! - `examples` has small programs. Run them by `cargo run --example NAME`, and begin with `tour`.
//! - `docs/android.md` lists Android's methods, and what each one is here. `docs/design.md` says how the library works.
//!
//! # Fork
//!
//! A child of `fork` cannot disturb its parent's loopers. In the child, they refuse everything with
//! [`RejectReason::Forked`], and [`Looper::prepare`] makes a new one. In the repository, `docs/guide/fork.md` has the
//! details.
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
#[cfg(feature = "testing")]
pub mod testing;

/// The models run under shuttle as they do under loom.
#[cfg(all(test, alooper_loom, alooper_shuttle))]
extern crate shuttle as loom;

#[cfg(all(test, alooper_loom))]
#[path = "../tests/unit/models/mod.rs"]
mod models;
#[cfg(all(test, not(alooper_loom)))]
#[path = "../tests/unit/mod.rs"]
mod tests;

#[cfg(feature = "inspect")]
pub use self::looper::observe::inspect;
#[cfg(feature = "tracing")]
pub use self::looper::observe::spans;
#[cfg(feature = "trace")]
pub use self::looper::observe::trace;
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
        observe::{
            observer::{DispatchInfo, Observer},
            wants::{RunInfo, WaitInfo, Wants},
            watchdog::{Stuck, Watchdog, WatchdogBuilder},
        },
        posted::{Posted, PostedGuard},
        repeat::MissedTicks,
        report::{PollCode, ReadyIdent, Turn},
        run::KeepAlive,
        running::{Running, RunningKind},
        slot::Slot,
        thread::{HandlerThread, HandlerThreadBuilder, JoinError, Panic},
    },
    queue::{
        account::{MessageCounts, Stats},
        histogram::Histogram,
        labels::{MessageFilter, Token},
    },
    sys::interest::{Events, Interest},
};

/// Every promise of the crate. Only the documentation has this module.
#[cfg(doc)]
#[doc = include_str!("../docs/semantics.md")]
pub mod semantics {}

/// The README's code is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
