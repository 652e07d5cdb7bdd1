//! What a looper has counted, as numbers to compare.

use alooper::Stats;

/// Turns, waits, messages and fd callbacks.
pub(crate) fn counters(stats: Stats) -> (u64, u64, u64, u64) {
    (stats.turns, stats.waits, stats.messages, stats.fd_callbacks)
}
