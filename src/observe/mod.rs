//! Seeing loopers from outside: who is stuck, and what they all do.

#[cfg(feature = "inspect")]
pub mod inspect;
#[cfg(feature = "trace")]
pub mod trace;
pub(crate) mod watchdog;
#[cfg(any(feature = "trace", feature = "tracing"))]
mod former;
#[cfg(feature = "tracing")]
pub mod spans;
