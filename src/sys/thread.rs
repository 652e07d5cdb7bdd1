//! What the kernel calls a thread.

use nix::unistd::gettid;

/// The kernel's number of the calling thread, by which `top`, `gdb` and `/proc` name it.
pub(crate) fn kernel_id() -> i32 {
    gettid().as_raw()
}
