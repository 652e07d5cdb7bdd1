//! The end of a child as something to wait for: pidfd_open(2).

use std::{
    io::{self, PipeReader},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Child, ExitStatus},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::OsError;

/// What becomes readable when a child has ended.
#[derive(Debug)]
pub(crate) enum ChildEnd {
    Pidfd(OwnedFd),
    /// It had ended before, and was waited for: a pipe without a writer, which is readable from the first.
    Past(PipeReader),
}

impl ChildEnd {
    /// For a child that nobody else waits for. Where its number is another process's by now, it was waited for, and that
    /// is asked first.
    pub(crate) fn of(child: &mut Child) -> io::Result<ChildEnd> {
        if try_wait(child)?.is_some() {
            let (reader, _) = io::pipe().map_err(|error| OsError::wrap("pipe2", error))?;
            return Ok(ChildEnd::Past(reader));
        }
        pidfd_open(Pid::from_child(child), PidfdFlags::empty())
            .map(ChildEnd::Pidfd)
            .map_err(|error| OsError::wrap("pidfd_open", error.into()))
    }

    /// Sends the child a signal, and no other process that has its number. Whether it was there to get it.
    pub(crate) fn signal(&self, number: i32) -> io::Result<bool> {
        let (ChildEnd::Pidfd(pidfd), Some(signal)) = (self, Signal::from_named_raw(number)) else { return Ok(false) };
        match pidfd_send_signal(pidfd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(OsError::wrap("pidfd_send_signal", error.into())),
        }
    }
}

impl AsFd for ChildEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ChildEnd::Pidfd(fd) => fd.as_fd(),
            ChildEnd::Past(fd) => fd.as_fd(),
        }
    }
}

/// How `child` has ended, if it has; the kernel forgets it then.
pub(crate) fn try_wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    child.try_wait().map_err(|error| OsError::wrap("waitpid", error))
}
