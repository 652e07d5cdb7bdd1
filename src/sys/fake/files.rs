//! Fds that are numbers for files, as the kernel has them: a file may have several numbers, a number is used again for
//! another file, and an epoll set watches the two together, for as long as the file has a number at all.

use std::{collections::HashMap, io, os::fd::RawFd};

use nix::{errno::Errno, sys::epoll::EpollFlags};

/// Which file each number stands for, and what the files are ready for. Empty in tests that have no need of it: there,
/// a number is all that there is.
#[derive(Default)]
pub(super) struct Files {
    numbers: HashMap<RawFd, u64>,
    ready: HashMap<u64, EpollFlags>,
    is_used: bool,
}

impl Files {
    /// The file that `epoll_ctl` finds under a number; `None` if there are no files.
    pub(super) fn named(&self, fd: RawFd) -> io::Result<Option<u64>> {
        match self.numbers.get(&fd) {
            Some(file) => Ok(Some(*file)),
            None if self.is_used && fd >= 0 => Err(Errno::EBADF.into()),
            None => Ok(None),
        }
    }

    pub(super) fn readiness(&self, file: u64) -> EpollFlags {
        self.ready.get(&file).copied().unwrap_or(EpollFlags::empty())
    }
}

#[cfg(alooper_fuzz)]
impl super::FakeKernel {
    /// Lets `fd` stand for `file` from now on.
    pub(crate) fn open_file(&self, fd: RawFd, file: u64) {
        let files = &mut self.state.lock().files;
        files.is_used = true;
        files.numbers.insert(fd, file);
    }

    /// Lets `fd` stand for nothing. With its last number a file leaves all epoll sets.
    pub(crate) fn close_file(&self, fd: RawFd) {
        let state = &mut *self.state.lock();
        let file = state.files.numbers.remove(&fd);
        if !state.files.numbers.values().any(|other| Some(*other) == file) {
            state.sets.values_mut().for_each(|watches| watches.retain(|watch| watch.file != file || file.is_none()));
        }
    }

    /// Makes `file` ready for `flags` from now on, by whatever numbers.
    pub(crate) fn set_file_ready(&self, file: u64, flags: EpollFlags) {
        let mut state = self.state.lock();
        let risen = flags - state.files.ready.insert(file, flags).unwrap_or(EpollFlags::empty());
        state.raise_edges_if(|watch| watch.file == Some(file) && watch.hears(risen));
        drop(state);
        self.changed.notify_all();
    }
}
