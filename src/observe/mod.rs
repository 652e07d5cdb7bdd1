//! Seeing loopers from outside: who is stuck, and what they all do.

#[cfg(feature = "trace")]
pub mod trace;
pub(crate) mod watchdog;
