//! `fork(2)`: which process something was made in.
//!
//! A child of `fork` has a copy of everything but the threads: of all loopers and all their locks, as they were at that
//! moment, perhaps held by a thread that the child does not have. And it has the same epoll sets, eventfds and
//! timerfds, not copies of them. So whatever is older than the process must be told from what is not before anything of
//! it is locked or written: that is a [`ForkGeneration`], one word to compare.
//!
//! It is changed in the child by a handler of `pthread_atfork`, which every `fork` of libc runs before it returns. The
//! same handler marks what the fast paths look at in any case ([`mark_in_child`]). What starts a process without libc's
//! `fork` is not noticed: `clone(2)`, `vfork(2)`, `_Fork(3)`.
//!
//! Whether this process is a forked child at all is another question, which the locks ask ([`is_forked_child`]): also a
//! child whose parent had no looper, and so no handler, has inherited what other libraries of the parent were doing.

use std::{
    fs::File,
    io::{self, Read},
    str,
    sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use nix::libc;
use once_cell::race::OnceBox;

use crate::{error::OsError, sys::time};

/// How many forks lie between the process that made its first looper and this one. Written in a child alone, before it
/// has a second thread: orders nothing.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process that something was made in, as a forked child tells it from itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForkGeneration(u32);

impl ForkGeneration {
    /// This process.
    pub(crate) fn current() -> ForkGeneration {
        ForkGeneration(FORKS.load(Relaxed))
    }

    /// The process that has forked this one, or one that might have.
    #[cfg(all(test, not(alooper_loom)))]
    pub(crate) fn parent() -> ForkGeneration {
        ForkGeneration(FORKS.load(Relaxed).wrapping_sub(1))
    }

    /// A number that no process of the same line of forks shares, and that is not zero.
    #[cfg(any(feature = "offload", feature = "signals"))]
    pub(crate) fn number(self) -> u64 {
        u64::from(self.0) + 1
    }

    /// Whether it is this process. If not, what was made in it came here by a fork, and is the parent's.
    #[inline(always)]
    pub(crate) fn is_current(self) -> bool {
        self.0 == FORKS.load(Relaxed)
    }
}

/// Notices forks from now on. To be called before anything is made that has a [`ForkGeneration`].
///
/// Nobody waits here for another thread: one that does the same may be missing in the child of a fork.
pub(crate) fn notice() -> io::Result<()> {
    static IS_NOTICED: AtomicBool = AtomicBool::new(false);
    if IS_NOTICED.load(Acquire) {
        return Ok(());
    }
    // SAFETY: the handlers are functions of this library, which unregisters them if it is unloaded, and may run at any
    // `fork`: the first one waits for no lock of ours, the second one stores to atomics and no more, which a child of
    // several threads may do. Two threads may both come here, and then each handler runs twice, to the same effect.
    #[allow(unsafe_code, reason = "there is no safe wrapper for this function")]
    let errno = unsafe { libc::pthread_atfork(Some(before_fork), None, Some(in_child)) };
    if errno != 0 {
        return Err(OsError::wrap("pthread_atfork", io::Error::from_raw_os_error(errno)));
    }
    IS_NOTICED.store(true, Release);
    Ok(())
}

/// Runs in the parent: what is made only once has to be made before, since the thread that is at it would be missing in
/// the child, which would wait for it.
extern "C" fn before_fork() {
    time::begin();
}

/// Runs in the child, before anything else of it does. Nobody counts to 2^32 forks, each in a child of the one before.
extern "C" fn in_child() {
    FORKS.fetch_add(1, Relaxed);
    ORIGIN.store(FORKED, Relaxed);
    if let Some(mark) = MARK.get() {
        mark();
    }
}

/// What [`mark_in_child`] was told.
static MARK: OnceBox<fn()> = OnceBox::new();

/// Lets `mark` run in each forked child, on its only thread, before anything else of it does: to mark what is the
/// parent's where that is looked at in any case. It may do what a child of several threads may: it locks and allocates
/// nothing. The first one counts.
pub(crate) fn mark_in_child(mark: fn()) {
    MARK.get_or_init(|| Box::new(mark));
}

/// Lets what `command` starts unblock `signals` before it executes its program.
#[cfg(feature = "signals")]
pub(crate) fn unblock_before_exec(command: &mut std::process::Command, signals: nix::sys::signal::SigSet) {
    use std::os::unix::process::CommandExt;
    let unblock = move || signals.thread_unblock().map_err(io::Error::from);
    // SAFETY: between fork and exec, a child may call what is async-signal-safe and no more. The closure calls
    // `pthread_sigmask`, which is, and makes an `io::Error` of an errno, which does not allocate.
    #[allow(unsafe_code, reason = "std has no safe way to change what a child blocks")]
    let _ = unsafe { command.pre_exec(unblock) };
}

/// Where this process comes from: one of the three below. Orders nothing: all who ask the kernel hear the same.
static ORIGIN: AtomicU8 = AtomicU8::new(UNASKED);
const UNASKED: u8 = 0;
/// It has executed a program, which forgets what the process was before.
const EXECUTED: u8 = 1;
/// It is a forked child, or may be one.
const FORKED: u8 = 2;

/// Whether this process is a forked child that has executed no program since. "Yes" also where nobody can tell.
#[inline]
pub(crate) fn is_forked_child() -> bool {
    match ORIGIN.load(Relaxed) {
        UNASKED => ask(),
        origin => origin == FORKED,
    }
}

/// Asks the kernel, once per process. Children that come later inherit the answer, so the handler that corrects it is
/// there before.
#[cold]
fn ask() -> bool {
    let is_executed = notice().is_ok() && read_stat().is_ok_and(|stat| was_executed(&stat));
    let answer = if is_executed { EXECUTED } else { FORKED };
    // The first answer counts for all: another thread's, or the handler's if this one has forked meanwhile.
    _ = ORIGIN.compare_exchange(UNASKED, answer, Relaxed, Relaxed);
    ORIGIN.load(Relaxed) == FORKED
}

/// The kernel's line about this process, as far as the number of its flags at least.
fn read_stat() -> io::Result<Vec<u8>> {
    let mut line = [0; 512];
    let length = File::open("/proc/self/stat")?.read(&mut line)?;
    Ok(line[..length].to_vec())
}

/// Whether the flags in the line `stat` of proc_pid_stat(5) say that the process has executed a program after its fork.
fn was_executed(stat: &[u8]) -> bool {
    /// `PF_FORKNOEXEC` of the kernel's `linux/sched.h`: "Forked but didn't exec".
    const FORKED_AND_NOT_EXECUTED: u32 = 0x40;
    // No flag at all is what kernels say that tell no flags (gVisor's); on Linux it is rare, and then a "no" is harmless.
    flags(stat).is_some_and(|flags| flags != 0 && flags & FORKED_AND_NOT_EXECUTED == 0)
}

/// The ninth field. The second one is the name of the program, in parentheses, and may have any character in it,
/// parentheses and spaces included; the others are numbers and a letter.
fn flags(stat: &[u8]) -> Option<u32> {
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = str::from_utf8(&stat[name_ends + 1..]).ok()?.split_ascii_whitespace();
    let flags = fields.nth(9 - 3)?.parse().ok()?;
    // One more, or the number might be cut off.
    fields.next().map(|_| flags)
}

/// A value that each process makes for itself when it first asks for it: a child does not see the parent's, which a
/// thread that it does not have may have locked. Nobody waits while it is made, for the same reason.
pub(crate) struct PerProcess<T: 'static>(OnceBox<Made<T>>);

struct Made<T: 'static> {
    by: ForkGeneration,
    value: T,
    /// A child's. What stands before it are its ancestors': they are kept where a leak checker finds them.
    next: PerProcess<T>,
}

impl<T: Default + Send + Sync + 'static> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess(OnceBox::new())
    }

    /// The value of this process.
    pub(crate) fn get(&'static self) -> &'static T {
        let mut here = self;
        loop {
            let made = here.0.get_or_init(Made::new);
            if made.by.is_current() {
                return &made.value;
            }
            here = &made.next;
        }
    }
}

impl<T: Default + Send + Sync + 'static> Made<T> {
    #[cold]
    fn new() -> Box<Made<T>> {
        Box::new(Made { by: ForkGeneration::current(), value: T::default(), next: PerProcess::new() })
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{process::Command, sync::Mutex, thread};

    use super::*;

    /// Of a process named `name`, with these flags.
    fn stat(name: &str, flags: &str) -> Vec<u8> {
        format!("9728 ({name}) R 9708 9708 30159 0 -1 {flags} 98 0 0 0 0 0 0 0 20 0 1 0 2075299\n").into_bytes()
    }

    #[test]
    fn x2_the_flags_of_a_process_are_found_whatever_its_name_is() {
        for name in ["cat", "", "a b", ")", "(", "a) R 1 2 3", ") R 1 1 1 1 1 64 (", "a\\nb", "(sd-pam)"] {
            assert_eq!(flags(&stat(name, "4194304")), Some(0x40_0000), "{name}");
            assert_eq!(flags(&stat(name, "4194368")), Some(0x40_0040), "{name}");
        }
        let mut other_than_text = stat("??", "64");
        other_than_text[6..8].copy_from_slice(b"\xff)");
        assert_eq!(flags(&other_than_text), Some(64));
    }

    #[test]
    fn x2_where_the_flags_cannot_be_told_the_process_may_be_a_forked_child() {
        let line = stat("cat", "4194304");
        let told = line.len() - b" 0 0 0 0 0 0 0 20 0 1 0 2075299\n".len();
        for length in 0..=line.len() {
            // Of a number that is cut off, the rest may say the contrary.
            assert_eq!(was_executed(&line[..length]), length > told - 2, "{length}");
        }
        for told in ["0", "-1", "x", "4294967296", "64", "4194368"] {
            assert!(!was_executed(&stat("cat", told)), "{told}");
        }
        assert!(was_executed(&stat("cat", "4194304")) && was_executed(&stat("cat", "256")));
    }

    /// What Linux says: a shell's `( .. )` is a forked child of it.
    #[test]
    fn x2_a_forked_child_is_told_from_a_program_that_was_executed() {
        let shell = |script| Command::new("sh").args(["-c", script]).output().unwrap().stdout;
        let executed = shell("read -r line </proc/self/stat; echo \"$line\"");
        let forked = shell("(read -r line </proc/self/stat; echo \"$line\"); true");

        assert_eq!(flags(&executed).map(|flags| flags & 0x40), Some(0));
        assert_eq!(flags(&forked).map(|flags| flags & 0x40), Some(0x40));
        assert_eq!(flags(&read_stat().unwrap()).map(|flags| flags & 0x40), Some(0));
        assert_eq!(ask(), is_forked_child());
    }

    /// X2: while others make it, too.
    #[test]
    fn x2_all_threads_of_a_process_have_the_same_value() {
        static LISTED: PerProcess<Mutex<Vec<usize>>> = PerProcess::new();

        thread::scope(|scope| {
            for number in 0..4 {
                scope.spawn(move || LISTED.get().lock().unwrap().push(number));
            }
        });

        let mut listed = LISTED.get().lock().unwrap().clone();
        listed.sort_unstable();
        assert_eq!(listed, [0, 1, 2, 3]);
    }
}
