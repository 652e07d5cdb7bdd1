//! Signals as something to read: which ones are blocked, by which threads, and signalfd(2).

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, SigmaskHow, Signal},
        signalfd::{self, SfdFlags},
    },
};

use crate::error::OsError;

/// A set of signals as /proc writes it: bit 0 is signal 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SignalBits(pub(crate) u64);

impl SignalBits {
    pub(crate) fn of(number: i32) -> SignalBits {
        SignalBits(1 << (number - 1))
    }

    pub(crate) fn and(self, other: SignalBits) -> SignalBits {
        SignalBits(self.0 | other.0)
    }

    pub(crate) fn both(self, other: SignalBits) -> SignalBits {
        SignalBits(self.0 & other.0)
    }

    pub(crate) fn without(self, other: SignalBits) -> SignalBits {
        SignalBits(self.0 & !other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The numbers of the signals in it.
    pub(crate) fn numbers(self) -> impl Iterator<Item = i32> {
        (1..=64).filter(move |number| !self.both(SignalBits::of(*number)).is_empty())
    }

    /// nix's set has no real-time signals, and neither does this.
    pub(crate) fn set(self) -> SigSet {
        self.numbers().filter_map(|number| Signal::try_from(number).ok()).collect()
    }
}

/// Blocks `signals` in the calling thread. Gives those that were not blocked before.
pub(crate) fn block(signals: SignalBits) -> io::Result<SignalBits> {
    let before = signals.set().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let before = before.map_err(|error| OsError::wrap("pthread_sigmask", error.into()))?;
    let newly =
        signals.numbers().filter(|number| Signal::try_from(*number).is_ok_and(|signal| !before.contains(signal)));
    Ok(newly.fold(SignalBits::default(), |bits, number| bits.and(SignalBits::of(number))))
}

/// Unblocks `signals` in the calling thread.
pub(crate) fn unblock(signals: SignalBits) -> io::Result<()> {
    signals.set().thread_unblock().map_err(|error| OsError::wrap("pthread_sigmask", error.into()))
}

/// A thread that does not block all signals that it should.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unblocked {
    pub(crate) thread: String,
    pub(crate) id: u32,
    /// The first of those that it does not block.
    pub(crate) number: i32,
}

/// Looks for a thread of this process that does not block all of `signals`. Finds none where there is no /proc.
pub(crate) fn find_unblocked(signals: SignalBits) -> Option<Unblocked> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    // A thread that ends meanwhile has no file any more.
    threads.flatten().find_map(|thread| {
        let id = thread.file_name().to_str()?.parse().ok()?;
        let status = fs::read(thread.path().join("status")).ok()?;
        unblocked_in(&String::from_utf8_lossy(&status), id, signals)
    })
}

/// What the kernel's `status` of a thread says of `signals`.
fn unblocked_in(status: &str, id: u32, signals: SignalBits) -> Option<Unblocked> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    // One that has ended takes no signal.
    if field("State:").is_some_and(|state| state.starts_with(['Z', 'X'])) {
        return None;
    }
    let blocked = SignalBits(u64::from_str_radix(field("SigBlk:")?, 16).ok()?);
    let number = signals.without(blocked).numbers().next()?;
    Some(Unblocked { thread: field("Name:").unwrap_or("?").to_owned(), id, number })
}

/// A signal that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) number: i32,
    pub(crate) code: i32,
    pub(crate) pid: u32,
    pub(crate) uid: u32,
}

/// The fd to read signals from that are blocked.
#[derive(Debug)]
pub(crate) struct SignalFd(signalfd::SignalFd);

impl SignalFd {
    /// Close-on-exec and non-blocking.
    pub(crate) fn new(signals: SignalBits) -> io::Result<SignalFd> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        signalfd::SignalFd::with_flags(&signals.set(), flags)
            .map(SignalFd)
            .map_err(|error| OsError::wrap("signalfd", error.into()))
    }

    /// Changes which signals it reads.
    pub(crate) fn set(&self, signals: SignalBits) -> io::Result<()> {
        self.0.set_mask(&signals.set()).map_err(|error| OsError::wrap("signalfd", error.into()))
    }

    /// The next signal; `None` if there is none now.
    pub(crate) fn read(&self) -> io::Result<Option<Read>> {
        match self.0.read_signal() {
            Ok(None) | Err(Errno::EINTR) => Ok(None),
            Ok(Some(info)) => Ok(Some(Read {
                number: info.ssi_signo.cast_signed(),
                code: info.ssi_code,
                pid: info.ssi_pid,
                uid: info.ssi_uid,
            })),
            Err(error) => Err(OsError::wrap("read (signalfd)", error.into())),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tworker one\nState:\tS (sleeping)\nSigPnd:\t0\nSigBlk:\t0000000000004001\n";

    #[test]
    fn g1_a_thread_that_does_not_block_a_signal_is_named_with_it() {
        let both = SignalBits::of(1).and(SignalBits::of(15));
        assert_eq!(unblocked_in(STATUS, 7, both), None);

        let missing = unblocked_in(STATUS, 7, both.and(SignalBits::of(2))).unwrap();

        assert_eq!(missing, Unblocked { thread: "worker one".to_owned(), id: 7, number: 2 });
    }

    #[test]
    fn g1_a_thread_that_has_ended_or_tells_nothing_counts_as_none() {
        let ended = STATUS.replace("S (sleeping)", "Z (zombie)");

        assert_eq!(unblocked_in(&ended, 7, SignalBits::of(2)), None);
        assert_eq!(unblocked_in("", 7, SignalBits::of(2)), None);
    }
}
