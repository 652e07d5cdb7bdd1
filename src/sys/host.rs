//! The fd by which another event loop hosts a looper.
//!
//! It is an epoll set of its own with the looper's set in it, so that it stays the same fd, and the same file, when the
//! looper's set has to be made anew (F7). It is made when it is first asked for; a looper that nobody hosts has none.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use nix::sys::epoll::EpollFlags;

use crate::sys::{Kernel, epoll::Epoll};

#[derive(Debug)]
pub(crate) enum Host {
    /// The usual case: a set around the looper's.
    Around(Epoll),
    /// There was no fd left for one: the looper's set itself, which therefore has to stay what it is.
    Direct(Arc<Epoll>),
}

impl Host {
    /// Makes the fd to host `set` by; with the error, if it had to be the set itself.
    pub(crate) fn new(kernel: &Kernel, set: Arc<Epoll>) -> (Host, Option<io::Error>) {
        match Host::around(kernel, &set) {
            Ok(host) => (Host::Around(host), None),
            Err(error) => (Host::Direct(set), Some(error)),
        }
    }

    fn around(kernel: &Kernel, set: &Epoll) -> io::Result<Epoll> {
        let host = Epoll::new(kernel)?;
        host.add(set.raw(), EpollFlags::EPOLLIN, 0)?;
        Ok(host)
    }

    /// Whether the looper's set may be replaced by another one.
    pub(crate) fn can_exchange(&self) -> bool {
        matches!(self, Host::Around(_))
    }

    /// Shows the readiness of `new` from now on.
    pub(crate) fn add(&self, new: &Epoll) -> io::Result<()> {
        match self {
            Host::Around(host) => host.add(new.raw(), EpollFlags::EPOLLIN, 0),
            Host::Direct(_) => Ok(()),
        }
    }

    /// Shows the readiness of `old` no more. A set that is dropped goes in any case, since nobody duplicates it.
    pub(crate) fn delete(&self, old: &Epoll) {
        if let Host::Around(host) = self {
            let _ = host.delete(old.raw());
        }
    }
}

impl AsFd for Host {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Host::Around(host) => host.as_fd(),
            Host::Direct(set) => set.as_fd(),
        }
    }
}
