//! Children of `fork`, which run a part of a test and tell how it ended, and other threads that keep a looper's locks
//! busy meanwhile.

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use alooper::{Handler, LooperHandle, OsError};
use nix::{
    libc,
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, Pid, alarm, fork},
};

/// After so many seconds a child hangs: less than a test may take.
const HANGS_AFTER: u32 = 60;

/// Forks, and returns twice: the child to the parent, `None` to the child, which is killed if it hangs, and ends in
/// [`end`].
#[must_use = "whether it has failed is told by `join`"]
#[allow(unsafe_code, reason = "what a fork leads to is what these tests are about")]
pub(crate) fn split() -> Option<Child> {
    // SAFETY: what this child does, whatever threads the parent has, is the promise that is tested. The rest of it
    // allocates, which libc allows after its own `fork`, and prints only if the test fails.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => Some(Child(child)),
        ForkResult::Child => {
            alarm::set(HANGS_AFTER);
            None
        }
    }
}

/// Ends a child, after `body`.
#[allow(unsafe_code, reason = "as above")]
pub(crate) fn end(body: impl FnOnce()) -> ! {
    let result = catch_unwind(AssertUnwindSafe(body));
    // SAFETY: it ends the process, and runs nothing of it.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

/// A child that runs.
pub(crate) struct Child(Pid);

impl Child {
    /// Its number, for who waits for it in another way.
    #[cfg(feature = "signals")]
    pub(crate) fn pid(&self) -> Pid {
        self.0
    }

    /// Waits for its end, and fails if it has failed or hung.
    #[track_caller]
    pub(crate) fn join(self, what: impl Display) {
        let status = waitpid(self.0, None).unwrap();
        assert!(
            matches!(status, WaitStatus::Exited(_, 0)),
            "{what}: {status:?}; a SIGALRM says that the child hung, 1 that it has panicked"
        );
    }
}

/// Runs `body` in a child, and waits for its end.
#[track_caller]
pub(crate) fn in_child(what: impl Display, body: impl FnOnce()) {
    match split() {
        Some(child) => child.join(what),
        None => end(body),
    }
}

/// Whether `error` is what a forked child is told.
#[track_caller]
pub(crate) fn assert_echild(error: impl Into<io::Error>) {
    let error = error.into();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<OsError>());
    assert_eq!(inner.map(OsError::raw_os_error), Some(libc::ECHILD), "{error}");
}

/// The epoll sets, eventfds and timerfds of this process: what the kernel tells of them, without when timers expire.
pub(crate) fn looper_fds() -> BTreeMap<i32, String> {
    let numbers = fs::read_dir("/proc/self/fd").unwrap();
    let numbers = numbers.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
    let is_ours = |target: &str| ["[eventpoll]", "[eventfd]", "[timerfd]"].iter().any(|kind| target.ends_with(kind));
    let fds = numbers.filter_map(|number| {
        let target = fs::read_link(format!("/proc/self/fd/{number}")).ok()?.to_string_lossy().into_owned();
        if !is_ours(&target) {
            return None;
        }
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        // What is left until it expires changes by itself; whether it is set does not.
        let is_set = |line: &str| if line.starts_with("it_value: (0, 0)") { "stopped" } else { "set" }.to_owned();
        let lines = info.lines().map(|line| if line.starts_with("it_value") { is_set(line) } else { line.to_owned() });
        Some((number, format!("{target}\n{}", lines.collect::<Vec<_>>().join("\n"))))
    });
    fds.collect()
}

/// Runs `body` while other threads lock everything of a looper that they can, as often as they can.
pub(crate) fn while_locked<R>(handle: &LooperHandle, handler: &Handler<u32>, body: impl FnOnce() -> R) -> R {
    let is_over = AtomicBool::new(false);
    let until_over = |work: &dyn Fn()| {
        while !is_over.load(Ordering::Relaxed) {
            work();
        }
    };
    let repeating = handle.post_every(Duration::from_secs(3600), |_| std::ops::ControlFlow::Continue(())).unwrap();
    let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
    let fd = handle.add_fd(near, alooper::Interest::INPUT, |_, _, _| alooper::FdNext::Keep).unwrap();
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            until_over(&|| {
                let posted = handle.post_delayed(Duration::from_secs(3600), |_| ()).unwrap();
                assert!(posted.cancel());
            });
        });
        scope.spawn(|| {
            until_over(&|| {
                _ = handler.send_delayed(Duration::from_secs(3600), 9);
                handler.remove_if(|number| *number == 9);
                _ = repeating.is_pending();
            });
        });
        scope.spawn(|| {
            until_over(&|| {
                fd.set_interest(alooper::Interest::OUTPUT).unwrap();
                drop(handle.barrier().unwrap());
                // What all loopers of the process share.
                drop(alooper::Looper::new().unwrap());
            });
        });
        let _over = Over(&is_over);
        body()
    });
    repeating.cancel();
    fd.remove();
    result
}

/// Ends the other threads, also if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
