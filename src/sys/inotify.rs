//! What changes below a path: inotify(7), with one instance for each path.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    sys::inotify::{self, AddWatchFlags, InitFlags},
};

use crate::error::OsError;

/// An instance that watches one path.
#[derive(Debug)]
pub(crate) struct Inotify(inotify::Inotify);

/// An event as the kernel tells it.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) mask: u32,
    pub(crate) cookie: u32,
    pub(crate) name: Option<OsString>,
}

impl Inotify {
    /// Watches `path` for the events in `mask`. Close-on-exec and non-blocking.
    pub(crate) fn new(path: &Path, mask: u32) -> io::Result<Inotify> {
        let inotify = inotify::Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(|error| OsError::wrap("inotify_init1", error.into()))?;
        inotify
            .add_watch(path, AddWatchFlags::from_bits_truncate(mask))
            .map_err(|error| OsError::wrap("inotify_add_watch", error.into()))?;
        Ok(Inotify(inotify))
    }

    /// Some of the events that there are; none if there is none now.
    pub(crate) fn read(&self) -> io::Result<Vec<Read>> {
        let read =
            |event: inotify::InotifyEvent| Read { mask: event.mask.bits(), cookie: event.cookie, name: event.name };
        match self.0.read_events() {
            Ok(events) => Ok(events.into_iter().map(read).collect()),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Vec::new()),
            Err(error) => Err(OsError::wrap("read (inotify)", error.into())),
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
