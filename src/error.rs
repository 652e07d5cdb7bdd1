//! Typed errors; a refused value is given back.

use std::{
    error::Error,
    fmt::{self, Debug, Display, Formatter},
    io::{self, ErrorKind},
};

/// A system call of the looper that failed, with what to do about it.
///
/// It travels inside an [`io::Error`], which keeps the error's kind:
///
/// ```
/// # fn check(error: std::io::Error) {
/// if let Some(failed) = error.get_ref().and_then(|inner| inner.downcast_ref::<alooper::OsError>()) {
///     eprintln!("{} failed with errno {}", failed.operation(), failed.raw_os_error());
/// }
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OsError {
    operation: &'static str,
    errno: i32,
}

impl OsError {
    /// The system call that failed, such as `"epoll_create1"`; `"fork"` if none was tried, because the looper is the
    /// parent process's.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The kernel's error number.
    #[must_use]
    pub fn raw_os_error(&self) -> i32 {
        self.errno
    }

    /// The error of using a looper in a process that has it from its parent.
    pub(crate) fn forked() -> io::Error {
        OsError::wrap(FORK, io::Error::from_raw_os_error(nix::errno::Errno::ECHILD as i32))
    }

    /// Puts the name of `operation` and what to do about it around the kernel's `error`.
    pub(crate) fn wrap(operation: &'static str, error: io::Error) -> io::Error {
        match error.raw_os_error() {
            Some(errno) => io::Error::new(error.kind(), OsError { operation, errno }),
            None => error,
        }
    }
}

/// What stands in for an operation where none was tried, because the process was forked.
const FORK: &str = "fork";

impl Display for OsError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.operation == FORK {
            return Display::fmt(&RejectReason::Forked, f);
        }
        let error = io::Error::from_raw_os_error(self.errno);
        write!(f, "{} failed: {error}; {}", self.operation, advice(self.operation, self.errno))
    }
}

impl Debug for OsError {
    /// The text, since that is what a `main` prints that returns an [`io::Error`] with this inside.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Error for OsError {}

/// What a user can do about `errno` from one of the looper's system calls.
pub(crate) fn advice(operation: &str, errno: i32) -> &'static str {
    use nix::errno::Errno::{self, *};
    match (operation, Errno::from_raw(errno)) {
        ("inotify_init1", EMFILE) => {
            "too many files are open, or this user watches too many paths: close some, or raise `ulimit -n` or the sysctl fs.inotify.max_user_instances"
        }
        ("inotify_add_watch", ENOSPC) => {
            "this user watches too many paths: watch fewer, or raise the sysctl fs.inotify.max_user_watches"
        }
        ("inotify_add_watch", ENOENT) => "there is no such path: make it first, or watch the folder that it will be in",
        ("inotify_add_watch", EACCES) => {
            "this user may not read the path: give it the permission, or watch another one"
        }
        ("bind", EADDRINUSE) => "somebody listens at this path, or it is no socket: choose another path",
        ("bind", ENOENT) => "there is no such folder: make it first, or choose another path",
        ("bind", EACCES | EROFS) => "this user may not make a file in that folder: choose another path",
        (_, EMFILE) => "this process has too many files open: close some, or raise its limit (`ulimit -n`)",
        (_, ENFILE) => "the machine has too many files open: close some, or raise the sysctl fs.file-max",
        (_, ENOMEM) => "the kernel is out of memory for this: free some and try again",
        ("pidfd_open" | "pidfd_send_signal", ENOSYS) => {
            "this kernel or sandbox has no pidfds: run on Linux 5.3 or later, or allow the call"
        }
        ("waitpid", ECHILD) => {
            "somebody else has waited for this child, or SIGCHLD is ignored: let only the looper wait for it"
        }
        ("pidfd_send_signal", EPERM) => "the child is another user's by now: only that one may signal it",
        (_, ENOSYS) => "this kernel or sandbox does not have the call: allow it, or run where it is to be had",
        ("pthread_create", EAGAIN) => {
            "there are too many threads, or no room for its stack: end some, raise the limit (`ulimit -u`), or ask for less"
        }
        ("pthread_create", EINVAL) => {
            "the thread's stack size is more than there can be: ask for less with `HandlerThreadBuilder::stack_size`"
        }
        ("epoll_ctl", ENOSPC) => {
            "this user watches too many fds: watch fewer, or raise the sysctl fs.epoll.max_user_watches"
        }
        ("epoll_ctl", EPERM) => {
            "epoll cannot watch regular files, directories and devices such as /dev/null, always ready as they are: read them directly"
        }
        ("epoll_ctl", EEXIST) => "this fd is registered already: change that registration, or call `replace_fd`",
        ("epoll_ctl", EBADF) => "the fd is not open: keep it open for as long as the looper watches it",
        ("epoll_ctl", ENOENT) => "the fd was closed under its registration: add the source again",
        ("epoll_ctl", EINVAL | ELOOP) => {
            "epoll sets cannot watch themselves, nor in a circle or more than five deep: host fewer loopers in each other"
        }
        ("read (signalfd)" | "read (inotify)", _) => {
            "the fd that this is read from was closed from outside: find the code that closes an fd it does not own"
        }
        (_, EPERM | EACCES) => {
            "a sandbox forbids this process the call: allow it there, in a seccomp filter for instance"
        }
        // Of an eventfd that is still there, neither has any other error.
        ("epoll_wait" | "timerfd_settime", EBADF | EINVAL) | ("write (eventfd)" | "read (eventfd)", _) => {
            "one of the looper's own fds was closed from outside: find the code that closes an fd it does not own"
        }
        _ => "this is unexpected here: see the manual page of the call",
    }
}

/// Why a value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectReason {
    /// The looper has quit, or is draining after `quit_safely`.
    Quit,
    /// The looper was dropped.
    Dropped,
    /// The looper is the parent process's, and this process was forked since it was made.
    Forked,
    /// A [`call`](crate::LooperHandle::call_timeout) was not begun in time.
    TimedOut,
    /// A [`call`](crate::LooperHandle::call) was made inside a predicate of
    /// [`Handler::remove_if`](crate::Handler::remove_if), where nothing may wait for a looper.
    InPredicate,
    /// A message was sent [unless one like it is pending](crate::Handler::send_unless_pending), and one is.
    Pending,
    /// A [bounded handler](crate::BoundedHandler) has as many messages pending as it may.
    Full,
    /// Waiting for room in a [bounded handler](crate::BoundedHandler) on the looper's own thread would be for ever.
    OwnThread,
    /// A [bounded handler](crate::BoundedHandler) was to be made for no message at all.
    ZeroCapacity,
}

impl RejectReason {
    /// Puts `inner`, an error for this reason, into an [`io::Error`] of the right kind.
    pub(crate) fn wrap(self, inner: impl Error + Send + Sync + 'static) -> io::Error {
        let kind = match self {
            RejectReason::Quit | RejectReason::Dropped => ErrorKind::BrokenPipe,
            RejectReason::TimedOut => ErrorKind::TimedOut,
            RejectReason::InPredicate | RejectReason::OwnThread => ErrorKind::Deadlock,
            RejectReason::Pending => ErrorKind::AlreadyExists,
            RejectReason::Full => ErrorKind::WouldBlock,
            RejectReason::ZeroCapacity => ErrorKind::InvalidInput,
            RejectReason::Forked => return OsError::forked(),
        };
        io::Error::new(kind, inner)
    }
}

impl Display for RejectReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RejectReason::Quit => "the looper has quit and takes nothing more: use another looper",
            RejectReason::Dropped => "the looper was dropped: keep it alive for as long as it is used",
            RejectReason::Forked => {
                "the looper is the parent process's, which has forked this one: make another looper here (ECHILD)"
            }
            RejectReason::TimedOut => {
                "the looper did not come to the call in time: it runs something long, or nobody polls it"
            }
            RejectReason::InPredicate => return Display::fmt(&Misuse::CallInPredicate, f),
            RejectReason::Pending => "a message like this one is pending already: drop this one, or `replace` that one",
            RejectReason::Full => {
                "the handler has as many messages pending as it may: send this one later, or wait with `send`"
            }
            RejectReason::ZeroCapacity => "a capacity of zero lets no message through: ask for one at least",
            RejectReason::OwnThread => {
                "the handler is full, and this is the thread that has to empty it: call `try_send` here, or await `send_async`"
            }
        })
    }
}

impl From<RejectReason> for io::Error {
    fn from(reason: RejectReason) -> io::Error {
        reason.wrap(Refusal(reason))
    }
}

/// A [`RejectReason`] as the error inside an [`io::Error`].
struct Refusal(RejectReason);

impl Debug for Refusal {
    /// The text, as that of [`OsError`].
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl Error for Refusal {}

/// Why a task has brought no value.
///
/// Turns into an [`io::Error`] with `?`: of kind `BrokenPipe` if the looper has quit or was dropped, an [`OsError`] with
/// `ECHILD` in a forked child, and otherwise of kind `Other`.
#[cfg(feature = "async")]
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// It was cancelled.
    Cancelled,
    /// Its looper has quit.
    Quit,
    /// Its looper was dropped.
    Dropped,
    /// It has panicked. The panic has gone on on the looper's thread.
    Panicked,
    /// Its looper is the parent process's, and this process was forked since the task was spawned.
    Forked,
}

#[cfg(feature = "async")]
impl Display for TaskError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TaskError::Cancelled => "the task was cancelled: await it before that, or take its end for this",
            TaskError::Quit => "the looper has quit and polls no task: await tasks before it quits",
            TaskError::Dropped => return Display::fmt(&RejectReason::Dropped, f),
            TaskError::Panicked => "the task panicked on the looper's thread: see the panic there",
            TaskError::Forked => return Display::fmt(&RejectReason::Forked, f),
        })
    }
}

#[cfg(feature = "async")]
impl Debug for TaskError {
    /// The text, since that is what a `main` prints that returns it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

#[cfg(feature = "async")]
impl Error for TaskError {}

#[cfg(feature = "async")]
impl From<TaskError> for io::Error {
    fn from(error: TaskError) -> io::Error {
        match error {
            TaskError::Quit | TaskError::Dropped => io::Error::new(ErrorKind::BrokenPipe, error),
            TaskError::Forked => OsError::forked(),
            TaskError::Cancelled | TaskError::Panicked => io::Error::other(error),
        }
    }
}

/// The errors that are a caller's mistake rather than the kernel's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misuse {
    NestedPoll,
    SecondMain,
    SecondPrepare,
    ThreadEnding,
    RegistrationEnded,
    CallInPredicate,
    JoinsItself,
    NulInName,
}

impl Display for Misuse {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Misuse::NestedPoll => {
                "this looper is being polled already: return from the callback instead of polling in it, or post the rest"
            }
            Misuse::SecondMain => {
                "this process has a main looper already: call `prepare` for this thread, or `main_handle` to reach it"
            }
            Misuse::SecondPrepare => {
                "this thread has a looper already: set its properties when it is first prepared, or call `Looper::prepare`"
            }
            Misuse::ThreadEnding => {
                "this thread is ending and can have no looper of its own: make one with `Looper::new`"
            }
            Misuse::RegistrationEnded => "this registration has ended: add the source again",
            Misuse::CallInPredicate => {
                "a predicate looks at messages and must not wait for a looper or its thread: do that before or after it"
            }
            Misuse::JoinsItself => {
                "this thread cannot wait for its own end: join it from another thread, or quit the looper and return"
            }
            Misuse::NulInName => "a thread's name cannot contain a NUL: choose another one",
        })
    }
}

impl Debug for Misuse {
    /// The text, as that of [`OsError`].
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Error for Misuse {}

impl From<Misuse> for io::Error {
    fn from(misuse: Misuse) -> io::Error {
        let kind = match misuse {
            Misuse::NestedPoll | Misuse::CallInPredicate | Misuse::JoinsItself => ErrorKind::Deadlock,
            Misuse::SecondMain | Misuse::SecondPrepare => ErrorKind::AlreadyExists,
            Misuse::ThreadEnding => ErrorKind::Unsupported,
            Misuse::RegistrationEnded => ErrorKind::NotFound,
            Misuse::NulInName => ErrorKind::InvalidInput,
        };
        io::Error::new(kind, misuse)
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;

    /// What each call's manual page names, but for what it says that cannot happen here (EFAULT, an alarm's EPERM).
    #[test]
    fn e3_the_advice_fits_the_call_that_failed() {
        use nix::errno::Errno::{self, *};
        const FILES: [(Errno, &str); 3] = [(EMFILE, "ulimit -n"), (ENFILE, "fs.file-max"), (ENOMEM, "out of memory")];
        const OWN: &str = "closed from outside";
        const UNEXPECTED: &str = "manual page";
        let calls: [(&str, &[(Errno, &str)]); 15] = [
            ("pthread_atfork", &[(ENOMEM, "out of memory")]),
            (
                "pthread_create",
                &[(EAGAIN, "ulimit -u"), (EINVAL, "stack size"), (EPERM, "sandbox"), (ENOMEM, "memory")],
            ),
            ("epoll_create1", &[(EINVAL, UNEXPECTED)]),
            ("signalfd", &[(EINVAL, UNEXPECTED), (ENODEV, UNEXPECTED)]),
            ("pidfd_open", &[(EINVAL, UNEXPECTED), (ENODEV, UNEXPECTED), (ESRCH, UNEXPECTED)]),
            ("inotify_init1", &[(EINVAL, UNEXPECTED)]),
            ("waitpid", &[(ECHILD, "let only the looper wait")]),
            ("pthread_sigmask", &[(EINVAL, UNEXPECTED)]),
            ("eventfd", &[(EINVAL, UNEXPECTED), (ENODEV, UNEXPECTED)]),
            ("timerfd_create", &[(EINVAL, UNEXPECTED), (ENODEV, UNEXPECTED)]),
            ("timerfd_settime", &[(EBADF, OWN), (EINVAL, OWN), (ECANCELED, UNEXPECTED)]),
            (
                "epoll_ctl",
                &[
                    (EBADF, "keep it open"),
                    (EEXIST, "replace_fd"),
                    (EINVAL, "in a circle"),
                    (ELOOP, "in a circle"),
                    (ENOENT, "add the source again"),
                    (ENOMEM, "out of memory"),
                    (ENOSPC, "max_user_watches"),
                    (EPERM, "regular files"),
                    (EAGAIN, UNEXPECTED),
                ],
            ),
            ("epoll_wait", &[(EBADF, OWN), (EINVAL, OWN), (EIO, UNEXPECTED)]),
            // Another file may have the number of one that was closed.
            ("write (eventfd)", &[(EBADF, OWN), (EINVAL, OWN), (EPIPE, OWN), (ENOSPC, OWN), (EIO, OWN)]),
            ("read (eventfd)", &[(EBADF, OWN), (EINVAL, OWN), (EISDIR, OWN), (ECONNRESET, OWN)]),
        ];
        for (operation, errnos) in calls {
            let makes_fd = ["epoll_create1", "eventfd", "timerfd_create", "signalfd", "pidfd_open", "inotify_init1"]
                .contains(&operation);
            let files = if makes_fd { FILES.as_slice() } else { &[] };
            // What a seccomp filter answers.
            let sandbox: &[_] = if operation == "epoll_ctl" { &[] } else { &[(EPERM, "sandbox"), (EACCES, "sandbox")] };
            for (errno, advised) in errnos.iter().chain(files).chain(sandbox).chain(&[(ENOSYS, "sandbox")]) {
                let failed = OsError::wrap(operation, io::Error::from_raw_os_error(*errno as i32)).to_string();
                assert!(failed.starts_with(&format!("{operation} failed: ")), "{failed}");
                assert!(failed.contains(": ") && failed.contains(advised), "{failed}");
                let is_about_own = failed.contains(OWN);
                assert_eq!(is_about_own, *advised == OWN, "{failed}");
            }
        }
    }

    #[test]
    fn every_error_says_what_to_do() {
        let misuses = [
            Misuse::NestedPoll,
            Misuse::SecondMain,
            Misuse::SecondPrepare,
            Misuse::ThreadEnding,
            Misuse::RegistrationEnded,
            Misuse::CallInPredicate,
            Misuse::JoinsItself,
            Misuse::NulInName,
        ];
        for misuse in misuses {
            let error = io::Error::from(misuse);
            assert!(error.to_string().contains(':'), "{misuse}");
            assert!(format!("{error:?}").contains(&misuse.to_string()), "{error:?}");
        }
        for reason in [
            RejectReason::Quit,
            RejectReason::Dropped,
            RejectReason::Forked,
            RejectReason::TimedOut,
            RejectReason::InPredicate,
            RejectReason::Pending,
            RejectReason::Full,
            RejectReason::OwnThread,
            RejectReason::ZeroCapacity,
        ] {
            assert!(io::Error::from(reason).to_string().contains(':'), "{reason}");
        }
    }
}
