//! Fds that do not block.

use std::{io, os::fd::BorrowedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Lets no call on `fd` block from now on, nor on its duplicates. One that does not already makes one system call.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    if !flags.contains(OFlag::O_NONBLOCK) {
        fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    }
    Ok(())
}
