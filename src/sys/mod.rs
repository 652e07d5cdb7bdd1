//! The contract with the operating system.
//!
//! Everything that the kernel does for a looper goes through this folder, and nothing here knows what a looper is:
//!
//! - [`epoll`], [`eventfd`], [`timerfd`]: one kernel object each, made close-on-exec and non-blocking. Each is either
//!   the kernel's or, in tests, part of a fake one (`fake.rs`) that a test scripts. This is the only seam.
//! - [`poller`]: what the looper's thread sleeps in: an epoll set with a timer and the waker in it.
//! - [`waker`]: what ends that sleep from any thread.
//! - [`host`]: the fd by which another event loop hosts a looper.
//! - [`sync`]: the locks, atomics and threads, exchangeable for those of the model checker.
//! - [`thread`]: what the kernel calls a thread; [`time`]: its clocks, and one that a test moves.
//! - [`lock`]: an ordinary lock, parking_lot's.
//! - [`unread`]: how much there is to read; `nonblocking`: fds that do not block.
//! - `unix_socket`: one that only its own user may connect to.
//! - `signalfd`, `pidfd`, `inotify`, `clock_set`: what the sources of the room `source` are made of.
//! - [`owner_cell`]: a cell that costs one thread little; [`fork`]: which process something was made in. Both have
//!   `unsafe`.
//!
//! What is relied on: an eventfd or timerfd that is registered edge-triggered reports each write and each expiry,
//! without being read; a timer that is set anew forgets an expiry that nobody has seen; `EPOLL_CTL_DEL`, once it has
//! returned, is followed by no event of that registration in a later wait; a level-triggered fd is reported in each
//! wait for as long as it is ready. What is not relied on: that closing an fd removes it from an epoll set, which a
//! duplicate prevents.

#[cfg(feature = "wall-clock")]
pub(crate) mod clock_set;
pub(crate) mod epoll;
pub(crate) mod eventfd;
#[cfg(any(test, alooper_fuzz))]
pub(crate) mod fake;
pub(crate) mod fork;
pub(crate) mod fork_aware_mutex;
pub(crate) mod host;
#[cfg(feature = "inotify")]
pub(crate) mod inotify;
pub(crate) mod interest;
pub(crate) mod lock;
#[cfg(feature = "async")]
pub(crate) mod nonblocking;
pub(crate) mod owner_cell;
#[cfg(feature = "process")]
pub(crate) mod pidfd;
pub(crate) mod poller;
#[cfg(feature = "signals")]
pub(crate) mod signalfd;
pub(crate) mod sync;
pub(crate) mod thread;
pub(crate) mod time;
pub(crate) mod timerfd;
#[cfg(feature = "inspect")]
pub(crate) mod unix_socket;
pub(crate) mod unread;
pub(crate) mod waker;

/// Which kernel the objects of a looper are made by.
#[derive(Clone, Debug)]
pub(crate) enum Kernel {
    /// Linux.
    Linux,
    /// One that a test scripts.
    #[cfg(any(test, alooper_fuzz))]
    Fake(std::sync::Arc<fake::FakeKernel>),
}
