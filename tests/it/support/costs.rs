//! What work costs its thread.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Runs of each of two kinds of work, at least and at most. The first ones cost more than the least, and so do those of
/// a machine that is busy with something else.
const LEAST_RUNS: usize = 4;
const MOST_RUNS: usize = 30;

/// The time on the processor that `work` takes of its thread.
fn cost_of(work: impl FnOnce()) -> Duration {
    let on_cpu = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let before = on_cpu();
    work();
    on_cpu() - before
}

/// The least costs of both kinds of work, which run in turns until `is_enough` says so of them, or many times.
pub(crate) fn least_costs(
    mut one: impl FnMut(),
    mut other: impl FnMut(),
    is_enough: impl Fn(Duration, Duration) -> bool,
) -> (Duration, Duration) {
    let mut least = (Duration::MAX, Duration::MAX);
    for run in 1..=MOST_RUNS {
        least = (least.0.min(cost_of(&mut one)), least.1.min(cost_of(&mut other)));
        if run >= LEAST_RUNS && is_enough(least.0, least.1) {
            break;
        }
    }
    least
}

/// Asserts that `many` takes less than `factor` times what `few` takes.
#[track_caller]
pub(crate) fn assert_in_proportion(name: &str, factor: u32, few: impl FnMut(), many: impl FnMut()) {
    let is_fine = |few: Duration, many: Duration| many < few * factor;
    let (few, many) = least_costs(few, many, is_fine);
    assert!(is_fine(few, many), "{name}: {many:?}, and without the many {few:?}");
}
