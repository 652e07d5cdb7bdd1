//! An epoll set.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use nix::sys::epoll::{EpollCreateFlags, EpollEvent, EpollFlags, EpollOp, EpollTimeout};

use crate::{
    error::OsError,
    sys::{
        Kernel,
        interest::{Events, Interest},
    },
};

#[derive(Debug)]
pub(crate) enum Epoll {
    Linux(nix::sys::epoll::Epoll),
    #[cfg(any(test, alooper_fuzz))]
    Fake(crate::sys::fake::FakeEpoll),
}

impl Epoll {
    /// Makes an empty set, close-on-exec.
    pub(crate) fn new(kernel: &Kernel) -> io::Result<Epoll> {
        match kernel {
            Kernel::Linux => {
                nix::sys::epoll::Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Epoll::Linux).map_err(io::Error::from)
            }
            #[cfg(any(test, alooper_fuzz))]
            Kernel::Fake(fake) => crate::sys::fake::FakeEpoll::new(fake).map(Epoll::Fake),
        }
        .map_err(|error| OsError::wrap("epoll_create1", error))
    }

    /// Watches `fd`; its events carry `data`.
    pub(crate) fn add(&self, fd: RawFd, flags: EpollFlags, data: u64) -> io::Result<()> {
        self.control(EpollOp::EpollCtlAdd, fd, flags, data)
    }

    /// Changes what `fd` is watched for, and looks at it anew.
    pub(crate) fn modify(&self, fd: RawFd, flags: EpollFlags, data: u64) -> io::Result<()> {
        self.control(EpollOp::EpollCtlMod, fd, flags, data)
    }

    /// Watches `fd` no more.
    pub(crate) fn delete(&self, fd: RawFd) -> io::Result<()> {
        self.control(EpollOp::EpollCtlDel, fd, EpollFlags::empty(), 0)
    }

    /// `epoll_ctl` by number. The set names what it watches by number, and so must we: the owner of the fd may be on
    /// another thread, and an fd that died under its registration has no owner that could lend it (F7).
    #[expect(deprecated, reason = "what replaces it wants a borrow of the fd, which nobody here may have")]
    fn control(&self, op: EpollOp, fd: RawFd, flags: EpollFlags, data: u64) -> io::Result<()> {
        match self {
            Epoll::Linux(set) => {
                let mut event = EpollEvent::new(flags, data);
                nix::sys::epoll::epoll_ctl(set.0.as_raw_fd(), op, fd, &mut event).map_err(io::Error::from)
            }
            #[cfg(any(test, alooper_fuzz))]
            Epoll::Fake(set) => set.control(op, fd, flags, data),
        }
    }

    /// Fills `events` with what is ready, waiting for the first if `block`; gives their number.
    pub(crate) fn wait(&self, events: &mut [EpollEvent], block: bool) -> io::Result<usize> {
        match self {
            Epoll::Linux(set) => {
                let timeout = if block { EpollTimeout::NONE } else { EpollTimeout::ZERO };
                set.wait(events, timeout).map_err(io::Error::from)
            }
            #[cfg(any(test, alooper_fuzz))]
            Epoll::Fake(set) => set.wait(events, block),
        }
    }

    /// The number by which another set knows it.
    pub(crate) fn raw(&self) -> RawFd {
        match self {
            Epoll::Linux(set) => set.0.as_raw_fd(),
            #[cfg(any(test, alooper_fuzz))]
            Epoll::Fake(set) => set.raw(),
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Epoll::Linux(set) => set.0.as_fd(),
            #[cfg(any(test, alooper_fuzz))]
            Epoll::Fake(set) => set.as_fd(),
        }
    }
}

/// Interest and epoll's word for it.
const INTERESTS: [(Interest, EpollFlags); 4] = [
    (Interest::INPUT, EpollFlags::EPOLLIN),
    (Interest::OUTPUT, EpollFlags::EPOLLOUT),
    (Interest::PRIORITY, EpollFlags::EPOLLPRI),
    (Interest::READ_HANGUP, EpollFlags::EPOLLRDHUP),
];

/// Events and epoll's word for them.
const EVENTS: [(Events, EpollFlags); 6] = [
    (Events::INPUT, EpollFlags::EPOLLIN),
    (Events::OUTPUT, EpollFlags::EPOLLOUT),
    (Events::PRIORITY, EpollFlags::EPOLLPRI),
    (Events::READ_HANGUP, EpollFlags::EPOLLRDHUP),
    (Events::ERROR, EpollFlags::EPOLLERR),
    (Events::HANGUP, EpollFlags::EPOLLHUP),
];

/// What epoll calls `interest`.
pub(crate) fn flags_of(interest: Interest) -> EpollFlags {
    INTERESTS
        .into_iter()
        .filter(|(asked, _)| interest.contains(*asked))
        .fold(EpollFlags::empty(), |flags, (_, flag)| flags | flag)
}

/// What epoll's `flags` report.
pub(crate) fn events_of(flags: EpollFlags) -> Events {
    EVENTS
        .into_iter()
        .filter(|(_, flag)| flags.contains(*flag))
        .fold(Events::empty(), |events, (event, _)| events | event)
}
