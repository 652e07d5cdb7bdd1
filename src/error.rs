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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    fn forked() -> io::Error {
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
            return Display::fmt(&Reason::Forked, f);
        }
        let error = io::Error::from_raw_os_error(self.errno);
        write!(f, "{} failed: {error}; {}", self.operation, advice(self.operation, self.errno))
    }
}

impl Error for OsError {}

/// What a user can do about `errno` from one of the looper's system calls.
fn advice(operation: &str, errno: i32) -> &'static str {
    use nix::errno::Errno;
    match (Errno::from_raw(errno), operation) {
        (Errno::EMFILE, _) => "this process has too many files open: close some, or raise its limit (`ulimit -n`)",
        (Errno::ENFILE, _) => "the machine has too many files open: close some, or raise the sysctl fs.file-max",
        (Errno::ENOMEM, _) => "the kernel is out of memory for this: free some and try again",
        (Errno::EAGAIN, "pthread_create") => {
            "there are too many threads, or no room for its stack: end some, raise the limit (`ulimit -u`), or ask for less"
        }
        (Errno::ENOSPC, _) => {
            "this user watches too many fds: watch fewer, or raise the sysctl fs.epoll.max_user_watches"
        }
        (Errno::EPERM, _) => {
            "epoll cannot watch regular files, directories and devices such as /dev/null, always ready as they are: read them directly"
        }
        (Errno::EEXIST, _) => "this fd is registered already: change that registration, or call `replace_fd`",
        (Errno::EBADF, "epoll_ctl") => "the fd is not open: keep it open for as long as the looper watches it",
        (Errno::ENOENT, _) => "the fd was closed under its registration: add the source again",
        (Errno::EINVAL | Errno::ELOOP, "epoll_ctl") => {
            "epoll sets cannot watch themselves, nor in a circle or more than five deep: host fewer loopers in each other"
        }
        (Errno::EBADF | Errno::EINVAL, _) => {
            "one of the looper's own fds was closed from outside: find the code that closes an fd it does not own"
        }
        _ => "this is unexpected here: see the manual page of the call",
    }
}

/// Why a value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The looper has quit, or is draining after `quit_safely`.
    Quit,
    /// The looper was dropped.
    Dropped,
    /// The looper is the parent process's, and this process was forked since it was made.
    Forked,
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Quit => "the looper has quit and takes nothing more: use another looper",
            Reason::Dropped => "the looper was dropped: keep it alive for as long as it is used",
            Reason::Forked => {
                "the looper is the parent process's, which has forked this one: make another looper here (ECHILD)"
            }
        })
    }
}

/// A value that a looper did not take, and why.
///
/// Turns into an [`io::Error`] of kind `BrokenPipe` with `?`, which drops the value; in a forked child, into an
/// [`OsError`] with `ECHILD`.
///
/// # Android
/// `Handler.post` and `sendMessage` return `false` instead, and the message is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rejected<T> {
    /// The value that was refused, as it was passed in.
    pub value: T,
    /// Why it was refused.
    pub reason: Reason,
}

impl<T> Debug for Rejected<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<T> Display for Rejected<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.reason, f)
    }
}

impl<T> Error for Rejected<T> {}

impl<T> From<Rejected<T>> for io::Error {
    fn from(rejected: Rejected<T>) -> io::Error {
        rejected.reason.into()
    }
}

impl From<Reason> for io::Error {
    fn from(reason: Reason) -> io::Error {
        match reason {
            Reason::Quit | Reason::Dropped => io::Error::new(ErrorKind::BrokenPipe, Refusal(reason)),
            Reason::Forked => OsError::forked(),
        }
    }
}

/// A [`Reason`] as the error inside an [`io::Error`].
#[derive(Debug)]
struct Refusal(Reason);

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl Error for Refusal {}

/// A source that could not be registered, and why.
///
/// Turns into an [`io::Error`] with `?`, which drops the source and keeps the error's kind.
pub struct AddFdError<S> {
    /// The kernel's error (`raw_os_error` is set), or one of kind `BrokenPipe` when the looper has quit,
    /// or one of [`Reason::Forked`].
    pub error: io::Error,
    /// The source, as it was passed in.
    pub source: S,
}

impl<S> Debug for AddFdError<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddFdError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<S> Display for AddFdError<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.error.raw_os_error() {
            Some(errno) => write!(f, "cannot watch this fd: {}; {}", self.error, advice("epoll_ctl", errno)),
            None => write!(f, "cannot watch this fd: {}", self.error),
        }
    }
}

impl<S> Error for AddFdError<S> {}

impl<S> From<AddFdError<S>> for io::Error {
    fn from(refused: AddFdError<S>) -> io::Error {
        OsError::wrap("epoll_ctl", refused.error)
    }
}

/// The errors that are a caller's mistake rather than the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// Not `Debug`, not `Display`: errors ask nothing of the user's type.
    struct Opaque;

    #[test]
    fn f1_a_refused_source_turns_into_an_io_error_of_its_kind() {
        let refused = AddFdError { error: io::Error::from_raw_os_error(nix::libc::EPERM), source: Opaque };
        assert!(format!("{refused:?}").contains("error"));
        assert!(refused.to_string().contains("regular files"), "{refused}");

        let error = io::Error::from(refused);

        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().starts_with("epoll_ctl failed"), "{error}");
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<OsError>()).unwrap();
        assert_eq!((inner.operation(), inner.raw_os_error()), ("epoll_ctl", nix::libc::EPERM));
    }

    #[test]
    fn q2_a_refused_value_turns_into_a_broken_pipe() {
        let rejected = Rejected { value: Opaque, reason: Reason::Quit };
        assert_eq!(rejected.to_string(), Reason::Quit.to_string());

        let error = io::Error::from(rejected);

        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(error.to_string().contains("the looper has quit"));
    }

    #[test]
    fn x2_what_a_forked_child_is_refused_turns_into_echild() {
        let error = io::Error::from(Rejected { value: Opaque, reason: Reason::Forked });

        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<OsError>()).unwrap();
        assert_eq!((inner.operation(), inner.raw_os_error()), ("fork", nix::libc::ECHILD));
        assert!(error.to_string().contains("make another looper here"), "{error}");
    }

    #[test]
    fn every_error_says_what_to_do() {
        use nix::errno::Errno::*;
        let advised = [
            (EMFILE, "eventfd", "ulimit -n"),
            (ENFILE, "eventfd", "fs.file-max"),
            (ENOMEM, "epoll_ctl", "out of memory"),
            (EAGAIN, "pthread_create", "ulimit -u"),
            (EAGAIN, "epoll_ctl", "unexpected"),
            (ENOSPC, "epoll_ctl", "max_user_watches"),
            (EPERM, "epoll_ctl", "regular files"),
            (EEXIST, "epoll_ctl", "replace_fd"),
            (EBADF, "epoll_ctl", "keep it open"),
            (EBADF, "epoll_wait", "closed from outside"),
            (ENOENT, "epoll_ctl", "add the source again"),
            (EINVAL, "epoll_ctl", "in a circle"),
            (ELOOP, "epoll_ctl", "in a circle"),
            (EINVAL, "epoll_wait", "closed from outside"),
            (EIO, "epoll_wait", "unexpected"),
        ];
        for (errno, operation, advised) in advised {
            let advice = advice(operation, errno as i32);
            assert!(advice.contains(": ") && advice.contains(advised), "{operation} {errno}: {advice}");
        }
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
            assert!(io::Error::from(misuse).to_string().contains(':'), "{misuse}");
        }
        for reason in [Reason::Quit, Reason::Dropped, Reason::Forked] {
            assert!(io::Error::from(reason).to_string().contains(':'), "{reason}");
        }
    }
}
