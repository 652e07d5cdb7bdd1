//! The wake protocol in all interleavings, model-checked on the code itself.
//!
//! `RUSTFLAGS="--cfg alooper_loom" cargo test --profile models --features async --lib models` runs them. Each model drives a whole looper on a
//! fake kernel whose waits really wait, so that a lost wake is a deadlock, which the checker reports. That they can
//! fail is shown by known bugs (`tests/controls/`), which they have to catch.
//!
//! With `--cfg alooper_shuttle` besides, shuttle takes the checker's place: it tries interleavings at random, and so also
//! those of the models in `wide.rs`, which have too many. It knows no weak memory; that is loom's part.

use std::sync::Arc;

use crate::{
    looper::{Looper, builder::LooperBuilder},
    sys::{
        Kernel,
        fake::{FakeKernel, Stuck},
    },
};

// Shuttle knows no order of memory but one.
#[cfg(not(alooper_shuttle))]
mod owner_cell;
mod fds;
mod messages;
#[cfg(feature = "async")]
mod tasks;
mod wake;
#[cfg(alooper_shuttle)]
mod wide;

/// Checks `model` in all interleavings with at most three preemptions.
fn check(model: impl Fn() + Send + Sync + 'static) {
    check_within(3, model);
}

/// A number that a variable says, or `usual`.
fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |count| count.parse().expect("it is a number"))
}

/// Checks `model` in all interleavings with at most so many preemptions: fewer for one with many threads, and where the
/// variable ALOOPER_PREEMPTIONS says so.
#[cfg(not(alooper_shuttle))]
fn check_within(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions.min(number("ALOOPER_PREEMPTIONS", usize::MAX)));
    builder.check(model);
}

/// Checks `model` in as many random interleavings as the variable ALOOPER_SCHEDULES says, 1000 unless it does: half of
/// them with few preemptions, which find what needs a certain order, half of them with any.
#[cfg(alooper_shuttle)]
fn check_within(_: usize, model: impl Fn() + Send + Sync + 'static) {
    let schedules = number("ALOOPER_SCHEDULES", 1000);
    let model = Arc::new(model);
    let again = model.clone();
    shuttle::check_random(move || model(), schedules / 2);
    shuttle::check_pct(move || again(), schedules - schedules / 2, 3);
}

fn looper() -> (Looper, Arc<FakeKernel>) {
    let kernel = FakeKernel::new(Stuck::Wait);
    let builder = LooperBuilder { clock: kernel.clock(), kernel: Kernel::Fake(kernel.clone()), ..Looper::builder() };
    (builder.build().unwrap(), kernel)
}
