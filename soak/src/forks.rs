//! X2: a forked child has loopers of its own, whatever its parent's threads did with their locks when it forked.

use std::{
    fmt::{self, Display, Formatter},
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use alooper::{FdNext, HandlerThread, Interest};
use nix::{
    libc,
    sys::{
        eventfd::{EfdFlags, EventFd},
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, alarm, fork},
};
use parking_lot::{Condvar, Mutex};

use crate::{
    Failure,
    plant::{self, Fault},
};

const HOUR: Duration = Duration::from_secs(3600);
/// How many threads a child has: so many that the table of its parent's threads is too small, and all of it is visited.
const THREADS: u64 = 12;
/// So many forks are more than enough for the control to see a hang: about one in three hung.
const CONTROL: u64 = 150;
/// After so many seconds a child of the control hangs. It works for milliseconds.
const CONTROL_PATIENCE: u32 = 5;

/// Forks `count` children, each of which has `patience` seconds: none may hang. First half of them are forked by a
/// process that has no looper, but other users of parking_lot's locks, then half by one with busy loopers.
pub fn run(count: u64, patience: u32) -> Result<(), Failure> {
    let foreign = while_contended(|| forked(count / 2, patience, use_loopers))?;
    println!("X2: of a process without loopers, {foreign}");
    let own = while_contended(|| while_looping(|| forked(count - count / 2, patience, use_loopers)))??;
    println!("X2: of a process with busy loopers, {own}");
    if foreign.is_fine() && own.is_fine() { Ok(()) } else { Err("each child has to end by itself".into()) }
}

/// What `run` is good for: the same parent has children that use parking_lot's locks as they are, and one of them has to
/// hang.
pub fn control(count: Option<u64>) -> Result<(), Failure> {
    let ended = while_contended(|| {
        let mut ended = Ended::default();
        while ended.hung == 0 && ended.all() < count.unwrap_or(CONTROL) {
            ended.add(forked(1, CONTROL_PATIENCE, use_plain_locks)?);
        }
        Ok::<_, Failure>(ended)
    })?;
    println!("X2, control: with parking_lot's locks as they are, {ended}");
    if ended.hung > 0 { Ok(()) } else { Err("none has hung, so this soak would not notice".into()) }
}

/// How children have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ended {
    well: u64,
    hung: u64,
    /// In any other way.
    failed: u64,
}

impl Ended {
    fn count(&mut self, status: WaitStatus) {
        *match status {
            WaitStatus::Exited(_, 0) => &mut self.well,
            WaitStatus::Signaled(_, Signal::SIGALRM, _) => &mut self.hung,
            _ => &mut self.failed,
        } += 1;
    }

    fn add(&mut self, other: Ended) {
        self.well += other.well;
        self.hung += other.hung;
        self.failed += other.failed;
    }

    fn all(&self) -> u64 {
        self.well + self.hung + self.failed
    }

    fn is_fine(&self) -> bool {
        self.hung + self.failed == 0
    }
}

impl Display for Ended {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} children hung, {} failed", self.hung, self.all(), self.failed)
    }
}

/// Forks `count` children one after the other, which run `body` and end.
#[allow(unsafe_code, reason = "what a fork leads to is what this is about")]
fn forked(count: u64, patience: u32, body: fn()) -> Result<Ended, Failure> {
    let mut ended = Ended::default();
    for _ in 0..count {
        let hangs = plant::is_due(Fault::Hang);
        // SAFETY: what this child does, whatever threads the parent has, is what is tried out. The rest of it allocates,
        // which libc allows after its own `fork`.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => ended.count(waitpid(child, None)?),
            ForkResult::Child => {
                alarm::set(patience);
                if hangs {
                    hang();
                }
                let result = catch_unwind(AssertUnwindSafe(body));
                // SAFETY: it ends the process, and runs nothing of it.
                unsafe { libc::_exit(i32::from(result.is_err())) }
            }
        }
    }
    Ok(ended)
}

fn hang() -> ! {
    loop {
        thread::park();
    }
}

/// Runs `body` while another thread comes to the table of parking_lot's locks as often as it can: it begins to wait and
/// gives up, in a queue of `SLEEPERS`, which it has locked while it looks for itself there. This is what a child inherits.
fn while_contended<R>(body: impl FnOnce() -> R) -> R {
    /// With the thread that comes and goes, one more would make the table grow: the child's do, and visit all of it.
    const SLEEPERS: usize = 84;
    let (is_over, changed) = (Mutex::new(false), Condvar::new());
    thread::scope(|scope| {
        for _ in 0..SLEEPERS {
            scope.spawn(|| {
                let mut is_over = is_over.lock();
                while !*is_over {
                    changed.wait(&mut is_over);
                }
            });
        }
        let come_and_go = || {
            let mut is_over = is_over.lock();
            for _ in 0..100 {
                changed.wait_for(&mut is_over, Duration::from_nanos(1));
            }
        };
        let result = meanwhile(1, come_and_go, body);
        *is_over.lock() = true;
        changed.notify_all();
        result
    })
}

/// Runs `body` while `threads` others do `work` again and again.
fn meanwhile<R>(threads: usize, work: impl Fn() + Sync, body: impl FnOnce() -> R) -> R {
    /// Ends the others, also if the body panics.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    work();
                }
            });
        }
        body()
    })
}

/// Runs `body` while other threads call loopers of this process, post to them and watch fds there.
fn while_looping<R>(body: impl FnOnce() -> R) -> Result<R, Failure> {
    let threads = [HandlerThread::spawn("busy")?, HandlerThread::spawn("busy, too")?];
    let result = meanwhile(3, || threads.iter().for_each(use_from_afar), body);
    for thread in threads {
        thread.quit();
        thread.join().map_err(std::io::Error::from)?;
    }
    Ok(result)
}

/// What takes each of a looper's locks, and parks at most of them.
fn use_from_afar(thread: &HandlerThread) {
    let handle = thread.handle();
    assert_eq!(handle.call(|_| 5).expect("it runs"), 5);
    handle.post(|_| ()).expect("it takes posts");
    assert!(handle.post_delayed(HOUR, |_| ()).expect("it takes posts").cancel());
    let repeating = handle.post_every(HOUR, |_| ControlFlow::Continue(())).expect("it takes posts");
    assert!(repeating.cancel());
    let fd = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).expect("there are fds left");
    assert!(handle.add_fd(fd, Interest::INPUT, |_, _, _| FdNext::Keep).expect("it can be watched").remove());
}

/// What a child does with loopers of its own, by several threads.
fn use_loopers() {
    const ROUNDS: u64 = 4;
    let thread = HandlerThread::spawn("child's").expect("threads can be made");
    let rounds = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    use_from_afar(&thread);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    thread.quit_safely();
    let report = thread.join().expect("it ends");
    assert_eq!(rounds.into_inner(), THREADS * ROUNDS);
    assert_eq!(report.posted, report.run + report.removed + report.dropped);
}

/// The control's child: threads that take turns, and park until it is theirs, at a lock which it has made itself.
fn use_plain_locks() {
    const ROUNDS: u64 = 4;
    let (turn, changed) = (Mutex::new(0), Condvar::new());
    thread::scope(|scope| {
        for mine in 0..THREADS {
            let (turn, changed) = (&turn, &changed);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let mut turn = turn.lock();
                    while *turn % THREADS != mine {
                        changed.wait(&mut turn);
                    }
                    *turn += 1;
                    changed.notify_all();
                }
            });
        }
    });
    assert_eq!(turn.into_inner(), THREADS * ROUNDS);
}

#[cfg(test)]
mod tests {
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn a_child_that_hung_or_failed_is_not_fine() {
        let pid = Pid::from_raw(1);
        let cases = [
            (WaitStatus::Exited(pid, 0), Ended { well: 1, ..Ended::default() }, true),
            (WaitStatus::Exited(pid, 1), Ended { failed: 1, ..Ended::default() }, false),
            (WaitStatus::Signaled(pid, Signal::SIGALRM, false), Ended { hung: 1, ..Ended::default() }, false),
            (WaitStatus::Signaled(pid, Signal::SIGSEGV, true), Ended { failed: 1, ..Ended::default() }, false),
        ];
        for (status, expected, is_fine) in cases {
            let mut ended = Ended::default();
            ended.count(status);
            assert_eq!((ended, ended.all(), ended.is_fine()), (expected, 1, is_fine), "{status:?}");
        }
    }
}
