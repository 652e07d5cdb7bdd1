//! What a life asks of the kernel and gives to its looper, and what has become of it.

use std::{
    io,
    ops::ControlFlow,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use alooper::{AddFdError, Looper, MessageCounts, OsError};
use nix::errno::Errno;

/// In how many threads the same call may fail, since strace counts the calls of each.
const MOST_THREADS: usize = 20;

#[derive(Clone)]
pub(crate) struct World {
    /// The operation and errno of the error that may come.
    fault: Option<Arc<str>>,
    pub(crate) tally: Arc<Tally>,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Messages that the looper has taken.
    accepted: AtomicU64,
    /// Messages that have run, those that repeat not counted.
    ran: AtomicU64,
    /// Messages that were dropped and had not run.
    unrun: AtomicU64,
    /// Runs of what repeats.
    ticks: AtomicU64,
    /// Errors that somebody was told.
    told: AtomicU64,
}

impl World {
    pub(crate) fn new(fault: Option<String>) -> World {
        World { fault: fault.map(Arc::from), tally: Arc::default() }
    }

    /// Whether what may fail begins with `operation`.
    pub(crate) fn may_fail(&self, operation: &str) -> bool {
        self.fault.as_ref().is_some_and(|fault| fault.starts_with(operation))
    }

    /// Whether what may fail does so with `errno`.
    pub(crate) fn may_be(&self, errno: &str) -> bool {
        self.fault.as_ref().is_some_and(|fault| fault.ends_with(errno))
    }

    /// Does what the kernel may refuse: then the error is the planned one and names the call, and another attempt
    /// succeeds.
    #[track_caller]
    pub(crate) fn insist<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> T {
        for _ in 0..MOST_THREADS {
            match attempt() {
                Ok(value) => return value,
                Err(error) => self.be_told(&error),
            }
        }
        panic!("it fails each time");
    }

    /// Has a source watched; when that is refused it comes back, and is taken another time.
    #[track_caller]
    pub(crate) fn insist_on<S: 'static, T>(
        &self,
        mut source: S,
        mut attempt: impl FnMut(S) -> Result<T, AddFdError<S>>,
    ) -> T {
        for _ in 0..MOST_THREADS {
            match attempt(source) {
                Ok(added) => return added,
                Err(refused) => {
                    let (error, given_back) = refused.into_parts();
                    source = given_back.expect("this is its thread");
                    self.be_told(&error);
                }
            }
        }
        panic!("it is refused each time");
    }

    #[track_caller]
    pub(crate) fn be_told(&self, error: &io::Error) {
        let told: &OsError = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref())
            .unwrap_or_else(|| panic!("this names no system call: {error}"));
        let told = format!("{} {:?}", told.operation(), Errno::from_raw(told.raw_os_error()));
        assert_eq!(Some(told.as_str()), self.fault.as_deref(), "{error}");
        self.tally.told.fetch_add(1, Relaxed);
    }

    /// Starts a thread, however often that fails.
    pub(crate) fn start(&self, action: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
        let action = Arc::new(std::sync::Mutex::new(Some(action)));
        for _ in 0..MOST_THREADS {
            let action = action.clone();
            let run = move || {
                let action = action.lock().ok().and_then(|mut action| action.take());
                action.expect("it is started once")();
            };
            if let Ok(thread) = thread::Builder::new().spawn(run) {
                return thread;
            }
        }
        panic!("no thread is to be had");
    }

    /// A closure to post, which notes that it has run.
    pub(crate) fn note(&self) -> impl FnOnce(&Looper) + Send + use<> {
        let cargo = self.cargo();
        move |_| cargo.run()
    }

    /// A closure to post that repeats itself twice.
    pub(crate) fn ticks(&self) -> impl FnMut(&Looper) -> ControlFlow<()> + Send + use<> {
        let (tally, mut left) = (self.tally.clone(), 3);
        move |_| {
            tally.ticks.fetch_add(1, Relaxed);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }

    /// A message.
    pub(crate) fn cargo(&self) -> Cargo {
        Cargo { tally: self.tally.clone(), has_run: false }
    }

    /// Counts a message as accepted.
    #[track_caller]
    pub(crate) fn accept<P, E>(&self, posted: Result<P, E>) -> P {
        self.tally.accepted.fetch_add(1, Relaxed);
        self.accept_ticks(posted)
    }

    /// As [`accept`](World::accept), for what counts its runs itself.
    #[track_caller]
    pub(crate) fn accept_ticks<P, E>(&self, posted: Result<P, E>) -> P {
        posted.ok().expect("it has not quit: no fault refuses a message")
    }
}

impl Tally {
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Relaxed)
    }

    /// Holds each message of a looper that is gone, with its report, to have ended in one way (M6).
    #[track_caller]
    pub(crate) fn assert_balanced(&self, report: MessageCounts) {
        let [accepted, ran, unrun, ticks] =
            [&self.accepted, &self.ran, &self.unrun, &self.ticks].map(|count| count.swap(0, Relaxed));
        assert_eq!(report.posted, report.run + report.removed + report.dropped, "{report:?}");
        assert_eq!((report.posted, report.run), (accepted + ticks, ran + ticks), "{report:?}");
        assert_eq!(report.removed + report.dropped, unrun, "{report:?}");
    }
}

/// A message that counts whether it has run or was dropped.
pub(crate) struct Cargo {
    tally: Arc<Tally>,
    has_run: bool,
}

impl Cargo {
    pub(crate) fn run(mut self) {
        self.has_run = true;
        self.tally.ran.fetch_add(1, Relaxed);
    }
}

impl Drop for Cargo {
    fn drop(&mut self) {
        self.tally.unrun.fetch_add(u64::from(!self.has_run), Relaxed);
    }
}

/// One source in two registrations.
pub(crate) struct Shared(pub(crate) Rc<UnixStream>);

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
