//! An observer's mask of events, and what its methods are given, except for messages.

use std::{
    os::fd::RawFd,
    panic::Location,
    time::{Duration, Instant},
};

use crate::looper::running::RunningKind;

bitflags::bitflags! {
    /// What an [`Observer`](crate::Observer) wants to be told: see [`Observer::wants`](crate::Observer::wants).
    ///
    /// Anything else costs nothing. The two that read the clock, [`TIMES`](Wants::TIMES) and [`POSTS`](Wants::POSTS),
    /// cost most: a reading takes longer than to post and run a message that nobody watches.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Wants: u16 {
        /// Each message before and after it runs: `started`, `finished`, `panicked`.
        const MESSAGES = 1;
        /// When each of what is told was due and began, and how long it took: two readings of the clock; one for a message
        /// that runs right after another one, since it begins when that has ended.
        const TIMES = 1 << 1;
        /// When each message was posted: a reading of the clock for each post.
        const POSTS = 1 << 2;
        /// Each fd callback before and after it runs: `began`, `ended`.
        const FDS = 1 << 3;
        /// Each idle handler, likewise.
        const IDLE = 1 << 4;
        /// Each poll of a task, likewise, whatever causes it.
        const TASKS = 1 << 5;
        /// Each wait in epoll, when it has ended: `waited`.
        const WAITS = 1 << 6;
        /// What the looper notices itself: `noticed`.
        const NOTICES = 1 << 7;
        /// Each hook before a wait and after it, as `FDS`.
        const HOOKS = 1 << 8;
    }
}

impl Default for Wants {
    /// Messages with all their times, and notices.
    fn default() -> Wants {
        Wants::MESSAGES | Wants::TIMES | Wants::POSTS | Wants::NOTICES
    }
}

/// An fd callback, an idle handler, a hook or the poll of a task, as an [`Observer`](crate::Observer) sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunInfo {
    /// What it is: [`Fd`](RunningKind::Fd), [`Idle`](RunningKind::Idle), [`Hook`](RunningKind::Hook) or
    /// [`Task`](RunningKind::Task).
    pub kind: RunningKind,
    /// Where it was added or spawned, in the source.
    pub place: &'static Location<'static>,
    /// The number of the fd, if it is one's callback.
    pub fd: Option<RawFd>,
    /// When it begins; `None` unless [`TIMES`](Wants::TIMES) are wanted, or a threshold for what is slow is set.
    pub started: Option<Instant>,
}

/// A wait in epoll, as an [`Observer`](crate::Observer) sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaitInfo {
    /// Whether it was to sleep until something happens.
    pub blocked: bool,
    /// How many fds it found ready.
    pub ready: usize,
    /// When it began; `None` unless [`TIMES`](Wants::TIMES) are wanted.
    pub started: Option<Instant>,
    /// How long it took; zero unless `started` is known.
    pub took: Duration,
}
