//! An eventfd: a counter that an epoll set can watch.

use std::{io, os::fd::RawFd};

use nix::sys::eventfd::EfdFlags;

use crate::{error::OsError, sys::Kernel};

#[derive(Debug)]
pub(crate) enum EventFd {
    Linux(nix::sys::eventfd::EventFd),
    #[cfg(any(test, alooper_fuzz))]
    Fake(crate::sys::fake::FakeObject),
}

impl EventFd {
    /// Makes an eventfd with counter zero, close-on-exec and non-blocking.
    pub(crate) fn new(kernel: &Kernel) -> io::Result<EventFd> {
        match kernel {
            Kernel::Linux => {
                let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
                nix::sys::eventfd::EventFd::from_flags(flags).map(EventFd::Linux).map_err(io::Error::from)
            }
            #[cfg(any(test, alooper_fuzz))]
            Kernel::Fake(fake) => crate::sys::fake::FakeObject::eventfd(fake).map(EventFd::Fake),
        }
        .map_err(|error| OsError::wrap("eventfd", error))
    }

    /// Adds `value` to the counter; `WouldBlock` when it has no room for that.
    pub(crate) fn write(&self, value: u64) -> io::Result<()> {
        match self {
            EventFd::Linux(fd) => fd.write(value).map(drop).map_err(io::Error::from),
            #[cfg(any(test, alooper_fuzz))]
            EventFd::Fake(fake) => fake.write_eventfd(value),
        }
    }

    /// Takes the counter back to zero; `WouldBlock` when it is zero.
    pub(crate) fn read(&self) -> io::Result<()> {
        match self {
            EventFd::Linux(fd) => fd.read().map(drop).map_err(io::Error::from),
            #[cfg(any(test, alooper_fuzz))]
            EventFd::Fake(fake) => fake.read_eventfd(),
        }
    }

    /// The number by which an epoll set knows it.
    pub(crate) fn raw(&self) -> RawFd {
        match self {
            EventFd::Linux(fd) => std::os::fd::AsRawFd::as_raw_fd(fd),
            #[cfg(any(test, alooper_fuzz))]
            EventFd::Fake(_) => crate::sys::fake::EVENTFD,
        }
    }
}
