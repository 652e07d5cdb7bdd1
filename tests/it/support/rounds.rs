//! How often a test does again what has to go well each time.

use std::{
    env,
    time::{Duration, Instant},
};

/// The rounds that take longer than this are enough.
const ENOUGH: Duration = Duration::from_secs(10);

/// The numbers of `usual` rounds; of a tenth of them at least, on a machine that is so busy that they take very long.
/// Where each round takes very long, `ALOOPER_ROUNDS` says of how many one is left.
#[expect(clippy::disallowed_methods, reason = "it bounds what a test does, and no assertion depends on it")]
pub(crate) fn rounds(usual: usize) -> impl Iterator<Item = usize> {
    let of = env::var("ALOOPER_ROUNDS").ok().and_then(|of| of.parse().ok()).unwrap_or(1);
    let most = usual.div_ceil(of);
    let begun = Instant::now();
    (0..most).take_while(move |round| *round < most.div_ceil(10) || begun.elapsed() < ENOUGH)
}
