//! `membarrier(2)`: makes all running threads of the process execute a full fence.

#[cfg(not(all(test, alooper_loom)))]
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

#[cfg(not(all(test, alooper_loom)))]
use nix::libc;

/// Asks the kernel for the right to [`issue`]; whether it is granted, which then holds for as long as the process
/// lives.
#[cfg(not(all(test, alooper_loom)))]
pub(crate) fn register() -> bool {
    command(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
}

/// The models have full fences.
#[cfg(all(test, alooper_loom))]
pub(crate) fn register() -> bool {
    true
}

/// Returns after each thread of the process that was running has executed a full fence, if the right was granted.
#[cfg(not(all(test, alooper_loom)))]
pub(crate) fn issue() {
    if !command(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) && !command(libc::MEMBARRIER_CMD_GLOBAL) {
        wait_instead();
    }
}

#[cfg(all(test, alooper_loom))]
pub(crate) fn issue() {}

/// A filter of system calls was installed after the right had been granted. What a CPU has stored reaches the others
/// within microseconds, and when its thread is preempted at the latest: wait a thousand times as long.
#[cfg(not(all(test, alooper_loom)))]
#[cold]
#[expect(clippy::disallowed_methods, reason = "nothing else can be waited for")]
fn wait_instead() {
    // Nobody waits for who tells it, who may be missing after a fork.
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        log::error!(
            "membarrier(2) was allowed when a looper was made and is not any more: what other threads remove or ask \
             takes milliseconds from now on; install filters of system calls before loopers are made"
        );
    }
    thread::sleep(Duration::from_millis(10));
}

#[cfg(not(all(test, alooper_loom)))]
#[allow(unsafe_code, reason = "there is no safe wrapper for this system call")]
fn command(command: libc::c_int) -> bool {
    #[cfg(test)]
    if faults::is_next() {
        return false;
    }
    // SAFETY: the call reads and writes no memory of ours; it has the three arguments that it takes.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// The calls of one thread that a test lets fail, with whatever errno: nobody looks at it.
#[cfg(all(test, not(alooper_loom)))]
pub(crate) mod faults {
    use std::{cell::RefCell, collections::VecDeque};

    thread_local! {
        static FAULTS: RefCell<VecDeque<bool>> = const { RefCell::new(VecDeque::new()) };
    }

    /// Lets `failures` calls of this thread fail after `successes` that do not.
    pub(crate) fn fail_after(successes: usize, failures: usize) {
        let faults = std::iter::repeat_n(false, successes).chain(std::iter::repeat_n(true, failures));
        FAULTS.replace(faults.collect());
    }

    /// How many calls of this thread are still to come until all that were to fail have failed.
    pub(crate) fn left() -> usize {
        FAULTS.with_borrow(VecDeque::len)
    }

    pub(super) fn is_next() -> bool {
        FAULTS.with_borrow_mut(|faults| faults.pop_front()).unwrap_or(false)
    }
}
