//! A process of its own for a test, in which signals are blocked: libtest's threads block none, and inherit what is.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use super::alone::alone;

/// As [`alone`], in a process whose threads all block `signals`: they inherit that from the thread that starts it.
#[track_caller]
pub(crate) fn alone_blocking(signals: &[Signal], test: &str, body: impl FnOnce() + Send + 'static) {
    let set: SigSet = signals.iter().copied().collect();
    let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap();
    alone(test, body);
    before.thread_set_mask().unwrap();
}
