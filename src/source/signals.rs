//! Which signals a program takes as events: [`Signals`] blocks them and proves it.

use std::{
    error::Error,
    fmt::{self, Debug, Display, Formatter},
    io::{self, ErrorKind},
    process::Command,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::sys::{
    fork,
    signalfd::{self, Read, SignalBits},
};

/// A signal that a looper can watch.
///
/// Those that cannot wait are not among them: SIGKILL and SIGSTOP, which nobody can block, and what a fault of the
/// program itself raises, such as SIGSEGV. Nor are the real-time signals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

/// Defines the signals, each once: its constant and its name.
macro_rules! signals {
    ($($(#[$doc:meta])* $name:ident, $full:ident;)*) => {
        impl Signal {
            $($(#[$doc])* pub const $name: Signal = Signal(nix::libc::$full);)*

            /// All of them, in no order.
            const ALL: &[(Signal, &str)] = &[$((Signal::$name, stringify!($full)),)*];
        }
    };
}

signals! {
    /// The terminal is gone, or settings are to be read anew.
    HUP, SIGHUP;
    /// Ctrl-C.
    INT, SIGINT;
    /// Ctrl-\.
    QUIT, SIGQUIT;
    /// For the program to give a meaning to.
    USR1, SIGUSR1;
    /// For the program to give a meaning to.
    USR2, SIGUSR2;
    /// Something was written that nobody reads.
    PIPE, SIGPIPE;
    /// A timer of `alarm(2)`.
    ALRM, SIGALRM;
    /// The program is asked to end.
    TERM, SIGTERM;
    /// A child has ended or stopped. `Looper::spawn_process` needs no signal.
    CHLD, SIGCHLD;
    /// The process goes on after a stop.
    CONT, SIGCONT;
    /// Ctrl-Z.
    TSTP, SIGTSTP;
    /// A read of the terminal in the background.
    TTIN, SIGTTIN;
    /// A write to the terminal in the background.
    TTOU, SIGTTOU;
    /// Urgent data of a socket.
    URG, SIGURG;
    /// The limit of CPU time is reached.
    XCPU, SIGXCPU;
    /// The limit of a file's size is reached.
    XFSZ, SIGXFSZ;
    /// A timer of the process's own time.
    VTALRM, SIGVTALRM;
    /// A timer of the process's and the kernel's time.
    PROF, SIGPROF;
    /// The terminal's window has another size.
    WINCH, SIGWINCH;
    /// An fd is ready, where that was asked for.
    IO, SIGIO;
    /// The power fails.
    PWR, SIGPWR;
}

impl Signal {
    /// The kernel's number for it, such as 15 of SIGTERM.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// Its name, such as `"SIGTERM"`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Signal::ALL.iter().find(|(signal, _)| *signal == self).map_or("a signal", |(_, name)| name)
    }

    /// The signal with this number, if it is one of those.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Signal> {
        Signal::ALL.iter().map(|(signal, _)| *signal).find(|signal| signal.0 == number)
    }

    fn bits(self) -> SignalBits {
        SignalBits::of(self.0)
    }
}

impl Debug for Signal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Display for Signal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    signal: Signal,
    read: Read,
}

impl SignalInfo {
    pub(super) fn new(read: Read) -> Option<SignalInfo> {
        Signal::from_number(read.number).map(|signal| SignalInfo { signal, read })
    }

    pub(super) fn bits(&self) -> SignalBits {
        self.signal.bits()
    }

    /// Which one it is.
    #[must_use]
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The process that has sent it; `None` if the kernel did, as for Ctrl-C.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.is_sent().then_some(self.read.pid)
    }

    /// The real user of the process that has sent it; `None` if the kernel did.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.is_sent().then_some(self.read.uid)
    }

    /// By `kill`, `sigqueue` or `tgkill`; of others the kernel does not say who it was.
    fn is_sent(&self) -> bool {
        use nix::libc::{SI_QUEUE, SI_TKILL, SI_USER};
        [SI_USER, SI_QUEUE, SI_TKILL].contains(&self.read.code)
    }
}

/// The signals of this process that some [`Signals`] has. An atomic, and no lock: a forked child asks it, too.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// The proof that some signals are blocked in all threads, so that a looper can read them.
///
/// Make it first in `main`: threads inherit what is blocked from the thread that starts them, and a signal that one
/// thread does not block is handled there in the old way, which mostly ends the process. Signals stay blocked for the
/// life of the process, also when the proof is gone. A clone of it proves the same.
///
/// # Examples
/// ```no_run
/// use alooper::{Looper, source::{Signal, Signals}};
///
/// # fn main() -> std::io::Result<()> {
/// let signals = Signals::block(&[Signal::HUP, Signal::USR1])?;
/// let looper = Looper::prepare()?;
/// looper.quit_on(&[Signal::INT, Signal::TERM])?;
/// looper.add_signals(&signals, |_, info| println!("{} has come", info.signal()))?;
/// looper.run()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Signals {
    pub(super) bits: SignalBits,
}

impl Signals {
    /// Blocks `signals` in the calling thread, and checks that all other threads block them already.
    ///
    /// # Errors
    /// A [`SignalError`] inside an [`io::Error`] if another `Signals` has one of them, or if another thread does not
    /// block one: it names the thread. Nothing is blocked then. Where there is no `/proc`, other threads are not checked.
    ///
    /// # Android
    /// None: `sigprocmask` and `signalfd` of its libc are the same.
    pub fn block(signals: &[Signal]) -> io::Result<Signals> {
        let bits = signals.iter().fold(SignalBits::default(), |bits, signal| bits.and(signal.bits()));
        take(bits)?;
        let proof = Signals { bits };
        let newly = signalfd::block(bits).inspect_err(|_| proof.let_go())?;
        proof.check().inspect_err(|_| {
            _ = signalfd::unblock(newly);
            proof.let_go();
        })?;
        Ok(proof)
    }

    /// The signals that are blocked.
    pub fn iter(&self) -> impl Iterator<Item = Signal> + use<> {
        self.bits.numbers().filter_map(Signal::from_number)
    }

    /// Lets the children that `command` starts unblock these signals before they execute their program.
    ///
    /// Otherwise they inherit what is blocked, and `kill` does not end them.
    ///
    /// # Examples
    /// ```no_run
    /// # use alooper::source::{Signal, Signals};
    /// # use std::process::Command;
    /// # fn main() -> std::io::Result<()> {
    /// let signals = Signals::block(&[Signal::TERM])?;
    /// let mut command = Command::new("sleep");
    /// signals.unblock_in(command.arg("60"));
    /// command.spawn()?.kill()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn unblock_in<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        fork::unblock_before_exec(command, self.bits.set());
        command
    }

    /// Checks that all threads block them.
    pub(super) fn check(&self) -> Result<(), SignalError> {
        match signalfd::find_unblocked(self.bits) {
            Some(found) => {
                Err(SignalError::NotBlocked { signal: Signal(found.number), thread: found.thread, thread_id: found.id })
            }
            None => Ok(()),
        }
    }

    /// Lets another `Signals` have them.
    pub(super) fn let_go(&self) {
        TAKEN.fetch_and(!self.bits.0, Relaxed);
    }
}

/// Takes `bits` for one `Signals`: all of them or none.
fn take(bits: SignalBits) -> Result<(), SignalError> {
    let free = |taken: u64| SignalBits(taken).both(bits).is_empty().then_some(taken | bits.0);
    match TAKEN.fetch_update(Relaxed, Relaxed, free) {
        Ok(_) => Ok(()),
        Err(taken) => {
            let first = SignalBits(taken).both(bits).numbers().next();
            Err(SignalError::Taken(first.map_or(Signal::TERM, Signal)))
        }
    }
}

/// Why signals cannot be watched. It travels inside an [`io::Error`], as [`OsError`](crate::OsError) does.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalError {
    /// Another [`Signals`] has this one already.
    Taken(Signal),
    /// A thread does not block it.
    NotBlocked {
        /// The first signal that it does not block.
        signal: Signal,
        /// The thread's name, as the kernel has it: at most 15 bytes.
        thread: String,
        /// The kernel's number for it.
        thread_id: u32,
    },
    /// Another looper watches it already.
    WatchedElsewhere(Signal),
}

impl Display for SignalError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            SignalError::Taken(signal) => {
                write!(f, "another `Signals` has {signal} already: block each signal once, and pass on a clone of that")
            }
            SignalError::NotBlocked { signal, thread, thread_id } => write!(
                f,
                "the thread {thread:?} ({thread_id}) does not block {signal}, which would be handled there: call \
                 `Signals::block` first in `main`, before any thread is started"
            ),
            SignalError::WatchedElsewhere(signal) => write!(
                f,
                "another looper watches {signal} already, and a signal can be read only once: watch it there, and post \
                 to this looper"
            ),
        }
    }
}

impl Debug for SignalError {
    /// The text, as that of [`OsError`](crate::OsError).
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Error for SignalError {}

impl From<SignalError> for io::Error {
    fn from(error: SignalError) -> io::Error {
        let kind = match error {
            SignalError::Taken(_) | SignalError::WatchedElsewhere(_) => ErrorKind::AlreadyExists,
            SignalError::NotBlocked { .. } => ErrorKind::InvalidInput,
        };
        io::Error::new(kind, error)
    }
}
