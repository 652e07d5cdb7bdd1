//! The seams by which the fuzz targets reach a looper on the fake kernel; see `fuzz/`. Only with `--cfg alooper_fuzz`.

use std::{
    io,
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::sys::epoll::EpollFlags;

use crate::{
    looper::{Looper, builder::LooperBuilder, dump::Pending},
    sys::{
        self,
        fake::{Call, FakeKernel, Stuck},
        interest::Events,
        time::Moment,
    },
    testing,
};

/// A fake kernel, with a clock that moves when told or when its looper sleeps. Clones are the same.
#[derive(Clone, Debug)]
pub struct Kernel(Arc<FakeKernel>);

impl Kernel {
    /// Makes a kernel without files. A wait that nothing can end panics.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    #[must_use]
    pub fn new() -> Kernel {
        Kernel(FakeKernel::new(Stuck::Panic))
    }

    /// Makes a looper on this kernel.
    ///
    /// # Errors
    /// None that the kernel was not told of.
    pub fn build(&self, builder: LooperBuilder) -> io::Result<Looper> {
        LooperBuilder { clock: self.0.clock(), kernel: sys::Kernel::Fake(self.0.clone()), ..builder }.build()
    }

    /// Moves the clock by `time`.
    pub fn pass(&self, time: Duration) {
        self.0.advance(time);
    }

    /// Lets `fd` stand for `file`.
    pub fn open(&self, fd: RawFd, file: u64) {
        self.0.open_file(fd, file);
    }

    /// Lets `fd` stand for nothing.
    pub fn close(&self, fd: RawFd) {
        self.0.close_file(fd);
    }

    /// Makes `file` ready for `events`.
    pub fn set_ready(&self, file: u64, events: Events) {
        let flags = [
            (Events::INPUT, EpollFlags::EPOLLIN),
            (Events::OUTPUT, EpollFlags::EPOLLOUT),
            (Events::PRIORITY, EpollFlags::EPOLLPRI),
            (Events::READ_HANGUP, EpollFlags::EPOLLRDHUP),
            (Events::ERROR, EpollFlags::EPOLLERR),
            (Events::HANGUP, EpollFlags::EPOLLHUP),
        ];
        let flags = flags.into_iter().filter(|(event, _)| events.contains(*event)).map(|(_, flag)| flag);
        self.0.set_file_ready(file, flags.collect());
    }

    /// How often the looper has waited.
    #[must_use]
    pub fn waits(&self) -> usize {
        self.0.calls(Call::EpollWait)
    }

    /// What a host sees: whether the looper wants to be polled.
    #[must_use]
    pub fn is_host_readable(&self) -> bool {
        self.0.is_host_readable()
    }
}

/// The messages that are pending, in their order.
#[must_use]
pub fn pending(looper: &Looper) -> Vec<Pending> {
    testing::pending_of(looper)
}

/// When the next message is due that may run.
#[must_use]
pub fn next_deadline(looper: &Looper) -> Option<Instant> {
    let next = looper.shared().next_rank().map(|rank| rank.when);
    next.filter(|due| *due != Moment::NEVER).map(Moment::to_instant)
}
