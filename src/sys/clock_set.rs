//! Tells that the wall clock was set: a timerfd that never expires, and is cancelled then.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    unistd,
};

use crate::error::OsError;

/// The last second that the kernel's clocks can show, in 2262: they cannot be set to that.
const NEVER: i64 = i64::MAX / 1_000_000_000;

/// Readable when the wall clock was set, or the machine has woken from suspend.
#[derive(Debug)]
pub(crate) struct ClockSet(TimerFd);

impl ClockSet {
    /// Looks out from now on. Close-on-exec and non-blocking.
    pub(crate) fn new() -> io::Result<ClockSet> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_REALTIME, flags)
            .map_err(|error| OsError::wrap("timerfd_create", error.into()))?;
        let clock_set = ClockSet(timer);
        clock_set.arm()?;
        Ok(clock_set)
    }

    /// Whether the clock was set since this was last asked.
    pub(crate) fn take(&self) -> io::Result<bool> {
        // Not `TimerFd::wait`, which takes the cancellation for an expiry.
        let was_set = match unistd::read(&self.0, &mut [0; 8]) {
            Ok(_) | Err(Errno::ECANCELED) => true,
            Err(Errno::EAGAIN | Errno::EINTR) => false,
            Err(error) => return Err(OsError::wrap("read (timerfd)", error.into())),
        };
        if was_set {
            self.arm()?;
        }
        Ok(was_set)
    }

    /// Once it was cancelled, a timer has to be armed anew.
    fn arm(&self) -> io::Result<()> {
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        match self.0.set(Expiration::OneShot(TimeSpec::new(NEVER, 0)), flags) {
            // It is armed all the same: the clock was set before, and who asked looks at it after this.
            Ok(()) | Err(Errno::ECANCELED) => Ok(()),
            Err(error) => Err(OsError::wrap("timerfd_settime", error.into())),
        }
    }
}

impl AsFd for ClockSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
