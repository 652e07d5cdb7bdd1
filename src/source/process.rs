//! Child processes: how each ends is an event.

use std::{
    cell::Cell,
    fmt::{self, Debug, Formatter},
    io, mem,
    os::fd::{AsFd, BorrowedFd},
    panic::Location,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus},
    rc::Rc,
};

use super::SourceError;
use crate::{
    fd::FdNext,
    looper::{Looper, fd_source::FdSource},
    queue::message::Origin,
    sys::{
        fork::ForkGeneration,
        interest::Interest,
        pidfd::{ChildEnd, try_wait},
    },
};

/// The kernel's numbers of SIGKILL and SIGTERM.
const KILL: i32 = nix::libc::SIGKILL;
const TERM: i32 = nix::libc::SIGTERM;

/// What came in, and why it goes back.
type Unwatched<F> = Box<(io::Error, (Child, F))>;

/// **Child processes**, with the feature `process`.
impl Looper {
    /// Starts a child process, and calls `callback` with its status when it has ended.
    ///
    /// `command` says which pipes the child has; take them from the [`ChildProcess`]. The child is waited for, so that
    /// none stays a zombie, with neither a handler of SIGCHLD nor a thread. The status comes in the turn's phase of
    /// fds, perhaps before the child's output was read to its end.
    ///
    /// # Errors
    /// Gives the callback back: with what `Command::spawn` says; with the kernel's error if it has no pidfds (before Linux
    /// 5.3), or no fd left; or with one of kind `BrokenPipe` if the looper has quit. No child runs then.
    ///
    /// The callback gets an error instead of a status if somebody else in the process has waited for the child, or
    /// SIGCHLD is ignored.
    ///
    /// # Guarantees
    /// The looper owns the child. One that still runs when the looper is dropped is killed and waited for; to keep
    /// it, [detach](ChildProcess::detach) it.
    ///
    /// # Examples
    /// ```
    /// use alooper::Looper;
    /// use std::process::Command;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::prepare()?;
    /// looper.spawn_process(Command::new("sh").args(["-c", "exit 3"]), |looper, status| {
    ///     assert_eq!(status.unwrap().code(), Some(3));
    ///     looper.quit();
    /// })?;
    /// looper.run()?;
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_process<F>(&self, command: &mut Command, callback: F) -> Result<ChildProcess, SourceError<F>>
    where
        F: FnOnce(&Looper, io::Result<ExitStatus>) + 'static,
    {
        let place = Location::caller();
        if let Some(reason) = self.shared().closed() {
            return Err(SourceError::local_error(reason, place, callback));
        }
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Err(SourceError::local_error(error, place, callback)),
        };
        self.watch_child(child, callback, place).map_err(|refused| {
            let (error, (mut child, callback)) = *refused;
            // By its number, which is its own: nobody has waited for it.
            if child.kill().is_ok() {
                _ = child.wait();
            }
            SourceError::local_error(error, place, callback)
        })
    }

    /// As [`spawn_process`](Looper::spawn_process), for a child that runs already, or has ended.
    ///
    /// # Errors
    /// Gives child and callback back, as [`spawn_process`](Looper::spawn_process); the child goes on. If somebody else
    /// has waited for it, the error is `ECHILD`.
    #[track_caller]
    pub fn add_child<F>(&self, child: Child, callback: F) -> Result<ChildProcess, SourceError<(Child, F)>>
    where
        F: FnOnce(&Looper, io::Result<ExitStatus>) + 'static,
    {
        let place = Location::caller();
        if let Some(reason) = self.shared().closed() {
            return Err(SourceError::local_error(reason, place, (child, callback)));
        }
        self.watch_child(child, callback, place).map_err(|refused| {
            let (error, value) = *refused;
            SourceError::local_error(error, place, value)
        })
    }

    fn watch_child<F>(&self, mut child: Child, callback: F, place: Origin) -> Result<ChildProcess, Unwatched<F>>
    where
        F: FnOnce(&Looper, io::Result<ExitStatus>) + 'static,
    {
        let end = match ChildEnd::of(&mut child) {
            Ok(end) => end,
            Err(error) => return Err(Box::new((error, (child, callback)))),
        };
        let mut process = ChildProcess::around(&mut child);
        let callback = Rc::new(Cell::new(Some(callback)));
        let own = callback.clone();
        let told = move |looper: &Looper, running: &mut Running, _| running.tell(looper, &own);
        match self.watch_at(Running::new(child, end), Interest::INPUT, told, place) {
            Ok(source) => {
                process.source = Some(source);
                Ok(process)
            }
            Err(refused) => {
                let (error, running) = refused.into_parts();
                // Both were passed in just now, on this thread.
                let child = running.and_then(Running::into_child).expect("a refused source comes back");
                let callback = callback.take().expect("a callback that was never called is there");
                Err(Box::new((error, (process.give_back(child), callback))))
            }
        }
    }
}

/// A child that is watched: the source of its registration.
struct Running {
    /// `None` once it is somebody else's.
    child: Option<Child>,
    end: ChildEnd,
    /// A forked child does not end its parent's children.
    process: ForkGeneration,
}

impl Running {
    fn new(child: Child, end: ChildEnd) -> Running {
        Running { child: Some(child), end, process: ForkGeneration::current() }
    }

    fn into_child(mut self) -> Option<Child> {
        self.child.take()
    }

    /// Tells how the child has ended, if it has.
    fn tell<F>(&mut self, looper: &Looper, callback: &Cell<Option<F>>) -> FdNext
    where
        F: FnOnce(&Looper, io::Result<ExitStatus>),
    {
        let Some(status) = self.child.as_mut().and_then(|child| try_wait(child).transpose()) else {
            return FdNext::Keep;
        };
        // There is nothing left to kill, also if somebody else has waited for it.
        self.child = None;
        if let Some(callback) = callback.take() {
            callback(looper, status);
        }
        FdNext::Remove
    }
}

impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

impl Drop for Running {
    /// Leaves neither a child that nobody watches nor a zombie. Only one that has become another user may not be killed,
    /// and to wait for it could take for ever.
    fn drop(&mut self) {
        let own = self.child.as_mut().filter(|_| self.process.is_current());
        if let Some(child) = own.filter(|_| self.end.signal(KILL).is_ok()) {
            _ = child.wait();
        }
    }
}

/// A child process that a looper watches, on the looper's thread. Made by [`Looper::spawn_process`].
///
/// Dropping it closes the pipes that were not taken, and does nothing else: the child goes on, and the callback is
/// called when it ends. [`guard`](ChildProcess::guard) turns it into one that kills when dropped.
pub struct ChildProcess {
    /// The child's stdin, if its `Command` said `Stdio::piped`.
    pub stdin: Option<ChildStdin>,
    /// The child's stdout, if its `Command` said `Stdio::piped`. An fd for [`Looper::add_fd`].
    pub stdout: Option<ChildStdout>,
    /// The child's stderr, if its `Command` said `Stdio::piped`.
    pub stderr: Option<ChildStderr>,
    id: u32,
    /// `None` only until it is registered.
    source: Option<FdSource<Running>>,
}

impl ChildProcess {
    /// Takes the pipes of `child`.
    fn around(child: &mut Child) -> ChildProcess {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        ChildProcess { stdin, stdout, stderr, id: child.id(), source: None }
    }

    /// Gives the pipes back that are left.
    fn give_back(self, mut child: Child) -> Child {
        (child.stdin, child.stdout, child.stderr) = (self.stdin, self.stdout, self.stderr);
        child
    }

    /// The child's process number. Once it has ended, another process may have it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether the callback is still to be called.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.with(|running| running.child.is_some()) == Some(true))
    }

    /// Kills the child (SIGKILL); whether it was there to be killed. The callback is called when it has ended.
    ///
    /// # Errors
    /// The kernel's: `EPERM` if the child has become another user.
    pub fn kill(&self) -> io::Result<bool> {
        self.send(KILL)
    }

    /// Asks the child to end (SIGTERM); whether it was there to be asked.
    ///
    /// A child that was started while SIGTERM was blocked does not feel it, unless its `Command` went through
    /// `Signals::unblock_in`, of the feature `signals`.
    ///
    /// # Errors
    /// As [`kill`](ChildProcess::kill).
    pub fn terminate(&self) -> io::Result<bool> {
        self.send(TERM)
    }

    /// Sends the child a signal; whether it was there to get it. No other process ever gets it.
    ///
    /// # Errors
    /// As [`kill`](ChildProcess::kill).
    #[cfg(feature = "signals")]
    pub fn signal(&self, signal: super::Signal) -> io::Result<bool> {
        self.send(signal.number())
    }

    fn send(&self, number: i32) -> io::Result<bool> {
        let sent = self.source.as_ref().and_then(|source| source.with(|running| running.end.signal(number)));
        sent.unwrap_or(Ok(false))
    }

    /// Ends the watching and gives the child back, with the pipes that were not taken. The callback is dropped. `None`
    /// if the child has ended, or if its looper is gone, which has killed it.
    #[must_use = "a child that is dropped goes on, and stays a zombie when it has ended"]
    pub fn detach(mut self) -> Option<Child> {
        let child = self.source.take()?.remove()?.into_child()?;
        Some(self.give_back(child))
    }

    /// Turns this into a guard that kills the child when it is dropped. The callback is told of that end, too.
    #[must_use = "a guard that is dropped at once kills the child at once"]
    pub fn guard(self) -> ChildGuard {
        ChildGuard { process: self }
    }
}

impl Debug for ChildProcess {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_running = self.is_running();
        f.debug_struct("ChildProcess").field("id", &self.id).field("is_running", &is_running).finish_non_exhaustive()
    }
}

/// Kills a child when it is dropped. See [`ChildProcess::guard`].
#[derive(Debug)]
#[must_use = "a guard that is dropped at once kills the child at once"]
pub struct ChildGuard {
    process: ChildProcess,
}

impl ChildGuard {
    /// The child, to take its pipes for instance.
    pub fn process(&mut self) -> &mut ChildProcess {
        &mut self.process
    }

    /// Lets the child be: the guard no longer kills it.
    pub fn keep(mut self) -> ChildProcess {
        let nothing = ChildProcess { stdin: None, stdout: None, stderr: None, id: self.process.id, source: None };
        mem::replace(&mut self.process, nothing)
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // A child that cannot be killed has become another user.
        _ = self.process.kill();
    }
}
