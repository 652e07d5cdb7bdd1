//! What a looper consists of: [`Shared`](shared::Shared), which all threads reach, and [`Local`](local::Local), which
//! stays on its thread.
//!
//! A post from another thread goes into the [`inbox`]; the looper takes it from there into its queue. What has to be
//! dropped on the looper's thread, and what others have made for it, waits in the inbox, too.

pub(crate) mod activity;
pub(crate) mod cancelled;
#[cfg(feature = "wall-clock")]
pub(crate) mod wall_clock_timers;
pub(crate) mod hooks;
pub(crate) mod idlers;
pub(crate) mod inbox;
pub(crate) mod item;
pub(crate) mod local;
pub(crate) mod predicate;
pub(crate) mod refused;
pub(crate) mod semaphore;
pub(crate) mod shared;
pub(crate) mod sticky;
pub(crate) mod storage;
#[cfg(feature = "async")]
pub(crate) mod tasks;
