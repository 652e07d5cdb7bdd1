//! What a life asks of the kernel and gives to its looper, and what has become of it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use super::super::*;
use crate::{AddFdError, OsError, sys::fake::FakeObject};

/// The system call that fails, and which names its error may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) operation: &'static str,
    pub(super) errno: Errno,
}

/// A looper's world: the kernel that it is on, the fault that is to come, and what is counted.
#[derive(Clone)]
pub(super) struct World {
    pub(super) kernel: Arc<FakeKernel>,
    pub(super) fault: Option<Fault>,
    pub(super) tally: Arc<Tally>,
    pub(super) flaw: Option<Flaw>,
}

/// What goes wrong besides, for the controls: the matrix has to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// An fd stays open.
    Leak,
    /// A message neither runs nor is dropped.
    Lose,
    /// The looper waits again and again for nothing.
    Spin,
    /// Nobody is told of an error.
    Swallow,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Messages that the looper has taken.
    accepted: AtomicU64,
    /// Messages that have run, those that repeat not counted.
    ran: AtomicU64,
    /// Messages that were dropped and had not run.
    unrun: AtomicU64,
    /// Runs of what repeats.
    pub(super) ticks: AtomicU64,
    /// Sources that were made and not yet dropped.
    sources: AtomicI64,
    /// Errors that somebody was told.
    pub(super) told: AtomicU64,
    /// Lines in the log.
    pub(super) logged: AtomicUsize,
    /// What stays open until the tally goes.
    left_open: Mutex<Option<FakeObject>>,
}

impl World {
    pub(super) fn new(fault: Option<Fault>) -> World {
        World { kernel: FakeKernel::new(Stuck::Panic), fault, tally: Arc::default(), flaw: None }
    }

    /// Does what the kernel may refuse: then the error is the planned one and names the call, and the next attempt
    /// succeeds.
    #[track_caller]
    pub(super) fn insist<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> T {
        attempt().unwrap_or_else(|error| {
            if self.flaw != Some(Flaw::Swallow) {
                self.be_told(&error);
            }
            attempt().expect("one call has failed, and the next one does not")
        })
    }

    #[track_caller]
    fn be_told(&self, error: &io::Error) {
        let fault = self.fault.unwrap_or_else(|| panic!("nothing was to fail: {error}"));
        let told: &OsError = error.get_ref().and_then(|inner| inner.downcast_ref()).expect("it names the system call");
        assert_eq!((told.operation(), told.raw_os_error()), (fault.operation, fault.errno as i32));
        assert_eq!(error.kind(), io::Error::from(fault.errno).kind());
        assert_eq!(self.tally.told.fetch_add(1, Relaxed), 0, "one call has failed: {error}");
    }

    /// Has a source watched; when that is refused it comes back, and is taken the next time.
    #[track_caller]
    pub(super) fn insist_on<T>(
        &self,
        source: Source,
        mut attempt: impl FnMut(Source) -> Result<T, AddFdError<Source>>,
    ) -> T {
        let refused = match attempt(source) {
            Ok(added) => return added,
            Err(refused) => refused,
        };
        let (error, source) = refused.into_parts();
        self.be_told(&error);
        attempt(source.expect("this is its thread")).expect("one call has failed, and the next one does not")
    }

    /// A closure to post, which notes that it has run.
    pub(super) fn note(&self) -> impl FnOnce(&Looper) + Send + use<> {
        let cargo = self.cargo();
        move |_| cargo.run()
    }

    /// A message.
    pub(super) fn cargo(&self) -> Cargo {
        Cargo { tally: self.tally.clone(), has_run: false }
    }

    /// Counts a message as accepted.
    #[track_caller]
    pub(super) fn accept<P, E>(&self, posted: Result<P, E>) -> P {
        self.tally.accepted.fetch_add(1, Relaxed);
        posted.ok().expect("it has not quit: no fault refuses a message")
    }

    pub(super) fn source(&self) -> Source {
        self.tally.sources.fetch_add(1, Relaxed);
        Source { fd: source(), world: self.clone() }
    }

    /// Whether a signal may get lost, which the log tells.
    pub(super) fn may_be_unheard(&self) -> bool {
        self.fault.is_some_and(|fault| fault.operation.ends_with("(eventfd)"))
    }

    /// Whether the kernel may say that a healthy fd was closed.
    pub(super) fn may_seem_dead(&self) -> bool {
        use Errno::{EBADF, ENOENT, EPERM};
        self.fault.is_some_and(|fault| fault.operation == "epoll_ctl" && [EBADF, ENOENT, EPERM].contains(&fault.errno))
    }

    /// Runs `action` on another thread to its end.
    pub(super) fn elsewhere<R: Send + 'static>(&self, action: impl FnOnce(&World) -> R + Send + 'static) -> R {
        let world = self.clone();
        elsewhere(move || {
            let result = action(&world);
            world.count_log();
            result
        })
    }

    /// Leaves an fd open.
    pub(super) fn leave_open(&self) {
        *self.tally.left_open.lock().unwrap() = FakeObject::eventfd(&self.kernel).ok();
    }

    /// Counts what this thread has logged.
    pub(super) fn count_log(&self) {
        self.tally.logged.fetch_add(logged().len(), Relaxed);
    }
}

impl Tally {
    /// Holds each message of a looper that has quit, with its report, to have ended in one way (M6).
    #[track_caller]
    pub(super) fn assert_balanced(&self, report: MessageCounts) {
        let [accepted, ran, unrun] = [&self.accepted, &self.ran, &self.unrun].map(|count| count.swap(0, Relaxed));
        let ticks = self.ticks.swap(0, Relaxed);
        assert_eq!(report.posted, report.run + report.removed + report.dropped, "{report:?}");
        assert_eq!((report.posted, report.run), (accepted + ticks, ran + ticks), "{report:?}");
        assert_eq!(report.removed + report.dropped, unrun, "{report:?}");
        assert_eq!(self.sources.load(Relaxed), 0, "sources");
    }
}

/// A message that counts whether it has run or was dropped.
pub(super) struct Cargo {
    tally: Arc<Tally>,
    has_run: bool,
}

impl Cargo {
    pub(super) fn run(mut self) {
        self.has_run = true;
        self.tally.ran.fetch_add(1, Relaxed);
    }

    /// Is not counted in any way.
    pub(super) fn vanish(mut self) {
        self.has_run = true;
    }
}

impl Drop for Cargo {
    fn drop(&mut self) {
        self.tally.unrun.fetch_add(u64::from(!self.has_run), Relaxed);
    }
}

/// A source that counts that it is dropped.
pub(super) struct Source {
    fd: OwnedFd,
    world: World,
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Its number may be used again.
        self.world.kernel.set_ready(number(&self.fd), NOT_READY);
        self.world.tally.sources.fetch_sub(1, Relaxed);
    }
}
