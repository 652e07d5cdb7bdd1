//! How often a test does again what has to go well each time.

use std::env;

/// `usual` times; where each takes very long, `ALOOPER_ROUNDS` says of how many one is left.
pub(crate) fn rounds(usual: u32) -> u32 {
    let of = env::var("ALOOPER_ROUNDS").ok().and_then(|of| of.parse().ok()).unwrap_or(1);
    usual.div_ceil(of)
}
