//! A timerfd: a timer that an epoll set can watch, on `CLOCK_MONOTONIC`, without the thread's timer slack.

use std::{io, os::fd::RawFd, time::Duration};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFlags, TimerSetTimeFlags},
};

use crate::{error::OsError, sys::Kernel};

#[derive(Debug)]
pub(crate) enum TimerFd {
    Linux(nix::sys::timerfd::TimerFd),
    #[cfg(any(test, alooper_fuzz))]
    Fake(crate::sys::fake::FakeObject),
}

impl TimerFd {
    /// Makes a timer that is not set, close-on-exec and non-blocking.
    pub(crate) fn new(kernel: &Kernel) -> io::Result<TimerFd> {
        match kernel {
            Kernel::Linux => {
                let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
                nix::sys::timerfd::TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)
                    .map(TimerFd::Linux)
                    .map_err(io::Error::from)
            }
            #[cfg(any(test, alooper_fuzz))]
            Kernel::Fake(fake) => crate::sys::fake::FakeObject::timerfd(fake).map(TimerFd::Fake),
        }
        .map_err(|error| OsError::wrap("timerfd_create", error))
    }

    /// Sets the timer to expire `delay` from now; `None` stops it. An expiry that nobody has seen is forgotten.
    pub(crate) fn set(&self, delay: Option<Duration>) -> io::Result<()> {
        // Zero would stop the timer.
        let delay = delay.map(|delay| delay.max(Duration::from_nanos(1)));
        match self {
            TimerFd::Linux(fd) => match delay {
                Some(delay) => fd.set(Expiration::OneShot(TimeSpec::from(delay)), TimerSetTimeFlags::empty()),
                None => fd.unset(),
            }
            .map_err(io::Error::from),
            #[cfg(any(test, alooper_fuzz))]
            TimerFd::Fake(fake) => fake.set_timer(delay),
        }
        .map_err(|error| OsError::wrap("timerfd_settime", error))
    }

    /// The number by which an epoll set knows it.
    pub(crate) fn raw(&self) -> RawFd {
        match self {
            TimerFd::Linux(fd) => std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(fd)),
            #[cfg(any(test, alooper_fuzz))]
            TimerFd::Fake(_) => crate::sys::fake::TIMERFD,
        }
    }
}
