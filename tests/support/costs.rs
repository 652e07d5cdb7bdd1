//! What work costs its thread.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The least time on the processor that `work` takes of its thread, of several runs.
pub(crate) fn least_cost(mut work: impl FnMut()) -> Duration {
    let on_cpu = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let costs = (0..5).map(|_| {
        let before = on_cpu();
        work();
        on_cpu() - before
    });
    costs.min().unwrap()
}
