//! What a looper notices itself: told in its log, to its observer, and counted.

use std::{
    collections::VecDeque,
    fmt::{self, Display, Formatter},
    os::fd::RawFd,
    panic::Location,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use crate::sys::sync::Mutex;

/// A fault that a looper has noticed, and that would otherwise be silent.
///
/// Each is logged as a warning, told to the [`Observer`](crate::Observer), and counted in
/// [`Stats`](crate::Stats). Its [`Display`] says what to do about it.
///
/// # Android
/// Some of these Android logs, most it does not notice.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// An fd that has reported nothing but hang-ups or errors, without a change, is muted: it is called back again when
    /// something about it changes, its interest is set, or it is repolled.
    MutedFd {
        /// Its number.
        fd: RawFd,
        /// Where it was added.
        place: &'static Location<'static>,
        /// How often it was called in a row.
        calls: u32,
    },
    /// An fd was called again and again, and its callback has taken no byte of what it was called for.
    StuckFd {
        /// Its number.
        fd: RawFd,
        /// Where it was added.
        place: &'static Location<'static>,
        /// How often it was called in a row.
        calls: u32,
        /// Whether it is muted, as the builder asks for.
        muted: bool,
    },
    /// The looper no longer watches an fd, which has died under its registration.
    StaleFd {
        /// Its number.
        fd: RawFd,
        /// Where it was added.
        place: &'static Location<'static>,
        /// What has happened to it.
        why: String,
    },
    /// An fd without callback is ready, and no code reads the report: [`run`](crate::Looper::run) and `block_on` ignore
    /// it, but for changes.
    IgnoredIdent {
        /// Its number.
        fd: RawFd,
        /// Its ident.
        ident: u32,
        /// Where it was added.
        place: &'static Location<'static>,
    },
    /// A barrier has stood for longer than the builder's threshold, and still stands.
    OverdueBarrier {
        /// Where it was put up.
        place: &'static Location<'static>,
        /// The threshold.
        age: Duration,
    },
}

impl Display for Notice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Notice::MutedFd { fd, place, calls } => write!(
                f,
                "mutes fd {fd}, which was added at {place}: it has reported nothing but hang-ups or errors {calls} \
                 times in a row; remove it when it hangs up. Until its interest is set or it is repolled, only a change \
                 is reported"
            ),
            Notice::StuckFd { fd, place, calls, muted } => write!(
                f,
                "has called back for fd {fd}, which was added at {place}, {calls} times in a row without a byte being \
                 taken{}: read what it is ready for, and return `FdNext::Remove` at its end",
                if *muted { ", and mutes it" } else { "" }
            ),
            Notice::StaleFd { fd, place, why } => write!(
                f,
                "no longer watches fd {fd}, which was added at {place}: {why}; remove a source before closing or \
                 exchanging it"
            ),
            Notice::IgnoredIdent { fd, ident, place } => write!(
                f,
                "ignores fd {fd} with ident {ident}, which was added at {place} without a callback: nobody sees the \
                 reports of `run` or `block_on`; poll with `poll_once`, or add the fd with a callback"
            ),
            Notice::OverdueBarrier { place, age } => write!(
                f,
                "has been held up for {age:?} and longer by a barrier that was put up at {place}: drop it to let \
                 messages run"
            ),
        }
    }
}

/// What a looper has noticed: the counts, and what its thread has still to tell.
#[derive(Debug)]
pub(crate) struct Notices {
    pub(crate) muted_fds: AtomicU64,
    pub(crate) stuck_fds: AtomicU64,
    pub(crate) stale_fds: AtomicU64,
    pub(crate) ignored_idents: AtomicU64,
    pub(crate) overdue_barriers: AtomicU64,
    untold: Mutex<VecDeque<Notice>>,
    /// Whether there is anything to tell. Written under the lock; orders nothing.
    has_untold: AtomicBool,
}

impl Notices {
    pub(crate) fn new() -> Notices {
        Notices {
            muted_fds: AtomicU64::new(0),
            stuck_fds: AtomicU64::new(0),
            stale_fds: AtomicU64::new(0),
            ignored_idents: AtomicU64::new(0),
            overdue_barriers: AtomicU64::new(0),
            untold: Mutex::new(VecDeque::new()),
            has_untold: AtomicBool::new(false),
        }
    }

    /// Counts a notice, and leaves it for the looper's thread to tell.
    pub(crate) fn add(&self, notice: Notice) {
        let count = match notice {
            Notice::MutedFd { .. } => &self.muted_fds,
            Notice::StuckFd { .. } => &self.stuck_fds,
            Notice::StaleFd { .. } => &self.stale_fds,
            Notice::IgnoredIdent { .. } => &self.ignored_idents,
            Notice::OverdueBarrier { .. } => &self.overdue_barriers,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let mut untold = self.untold.lock();
        untold.push_back(notice);
        self.has_untold.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn has_untold(&self) -> bool {
        self.has_untold.load(Ordering::Relaxed)
    }

    /// Takes the first of what is to be told.
    pub(crate) fn pop(&self) -> Option<Notice> {
        let mut untold = self.untold.lock();
        let first = untold.pop_front();
        self.has_untold.store(!untold.is_empty(), Ordering::Relaxed);
        first
    }
}
