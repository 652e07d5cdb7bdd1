//! What the kernel calls a thread.

#[cfg(any(feature = "inspect", feature = "trace"))]
use std::fs;
use std::{cell::Cell, num::NonZeroU32};

use nix::unistd::gettid;

use crate::sys::fork::ForkGeneration;

thread_local! {
    /// The number of this thread, and the process that it was asked in: in a forked child the thread has another one.
    static KNOWN: Cell<Option<(ForkGeneration, NonZeroU32)>> = const { Cell::new(None) };
}

/// The kernel's number of the calling thread, by which `top`, `gdb` and `/proc` name it.
pub(crate) fn kernel_id() -> i32 {
    gettid().as_raw()
}

/// As [`kernel_id`], asked once a thread. The kernel numbers threads from one on.
pub(crate) fn known_id() -> NonZeroU32 {
    match KNOWN.get() {
        Some((process, id)) if process.is_current() => id,
        _ => {
            let id = NonZeroU32::new(kernel_id().unsigned_abs()).unwrap_or(NonZeroU32::MIN);
            KNOWN.set(Some((ForkGeneration::current(), id)));
            id
        }
    }
}

/// What the kernel calls the thread `id` of this process; `None` if it has ended.
#[cfg(any(feature = "inspect", feature = "trace"))]
pub(crate) fn name_of(id: i32) -> Option<String> {
    let name = fs::read(format!("/proc/self/task/{id}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

/// Lets other threads run that wait for a processor, if there are any.
#[cold]
pub(crate) fn give_way() {
    std::thread::yield_now();
}
