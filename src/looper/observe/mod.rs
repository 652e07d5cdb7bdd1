//! Loopers that are watched: by an [`observer`](Observer) on their own threads, and from outside.
//!
//! [`wants`] is what observers ask for; [`messages`] runs the messages they see, and [`runs`] all else. The rest stands
//! on the public API: the watchdog, traces, the inspector, and spans for the crate `tracing`.

#[cfg(doc)]
use crate::looper::observe::observer::Observer;

pub(crate) mod observer;
pub(crate) mod wants;
pub(crate) mod messages;
pub(crate) mod runs;
pub(crate) mod watchdog;
#[cfg(feature = "trace")]
pub mod trace;
#[cfg(feature = "inspect")]
pub mod inspect;
#[cfg(feature = "tracing")]
pub mod spans;
#[cfg(any(feature = "trace", feature = "tracing"))]
mod previous;
