//! What ends the looper's sleep from any thread: an eventfd, registered edge-triggered, so that nobody needs to read
//! it.

use std::{
    io::{self, ErrorKind},
    os::fd::RawFd,
};

use crate::{
    error::OsError,
    sys::{Kernel, eventfd::EventFd},
};

#[derive(Debug)]
pub(crate) struct Waker {
    eventfd: EventFd,
}

impl Waker {
    pub(crate) fn new(kernel: &Kernel) -> io::Result<Waker> {
        Ok(Waker { eventfd: EventFd::new(kernel)? })
    }

    /// Makes the epoll set that watches this waker readable.
    pub(crate) fn signal(&self) -> io::Result<()> {
        loop {
            match self.eventfd.write(1) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.empty()?,
                Err(error) => return Err(OsError::wrap("write (eventfd)", error)),
            }
        }
    }

    /// Makes room in a full counter, once in 2^64 signals. That another thread emptied it first is as good.
    #[cold]
    fn empty(&self) -> io::Result<()> {
        match self.eventfd.read() {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Err(OsError::wrap("read (eventfd)", error))
            }
            _ => Ok(()),
        }
    }

    /// The number by which an epoll set knows it.
    pub(crate) fn raw(&self) -> RawFd {
        self.eventfd.raw()
    }

    /// Fills the counter, so that the next signal finds no room.
    #[cfg(all(test, not(alooper_loom)))]
    pub(crate) fn fill(&self) {
        self.eventfd.write(u64::MAX - 1).expect("the counter is zero");
    }
}
