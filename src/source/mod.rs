//! Sources ready to use: what a program commonly waits for besides fds and messages.
//!
//! Each has a feature of its own, and is compiled out without it:
//!
//! | feature | what it adds |
//! |---|---|
//! | `signals` | [`Looper::add_signals`](crate::Looper::add_signals), [`quit_on`](crate::Looper::quit_on), `Signals` |
//! | `process` | [`Looper::spawn_process`](crate::Looper::spawn_process), [`add_child`](crate::Looper::add_child) |
//! | `inotify` | [`Looper::watch_path`](crate::Looper::watch_path), `PathChanges` |
//! | `offload` | [`Looper::offload`](crate::Looper::offload), [`offload_with`](crate::Looper::offload_with) |
//! | `wall-clock` | [`post_at_wall`](crate::Looper::post_at_wall), [`post_delayed_boottime`](crate::Looper::post_delayed_boottime) |
//!
//! They stand on what everybody has: a source is an fd that the looper watches, or a message that it runs. So a source
//! ends as those do, at a quit, a panic, a fork and with its looper.

#[cfg(feature = "signals")]
mod hub;
#[cfg(feature = "inotify")]
mod inotify;
#[cfg(feature = "offload")]
mod offload;
#[cfg(feature = "process")]
mod process;
#[cfg(any(feature = "inotify", feature = "process", feature = "signals", feature = "wall-clock"))]
mod refused;
#[cfg(feature = "signals")]
mod signal_watch;
#[cfg(feature = "signals")]
mod signals;
#[cfg(feature = "wall-clock")]
mod wall_clock;
#[cfg(feature = "wall-clock")]
mod wall_posted;

#[cfg(feature = "inotify")]
pub use self::inotify::{PathChanges, PathEvent, PathGuard, PathWatch};
#[cfg(feature = "offload")]
pub use self::offload::{Offload, OffloadGuard};
#[cfg(feature = "process")]
pub use self::process::{ChildGuard, ChildProcess};
#[cfg(any(feature = "inotify", feature = "process", feature = "signals", feature = "wall-clock"))]
pub use self::refused::SourceError;
#[cfg(feature = "wall-clock")]
pub use self::wall_posted::{WallGuard, WallPosted};
#[cfg(feature = "signals")]
pub use self::{
    signal_watch::{SignalGuard, SignalWatch},
    signals::{Signal, SignalError, SignalInfo, Signals},
};
