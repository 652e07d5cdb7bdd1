//! Values: how they are kept, found again and dropped, whatever their types are and whatever their `Drop` does.
//!
//! - [`erased`]: closures and messages of any type, without a box. It has `unsafe`.
//! - [`slots`]: a slab whose keys find nothing once their entry is gone.
//! - [`mod@drop`]: how a user's value is dropped, panics included; [`log`]: how a user's logger is called.

pub(crate) mod erased;
pub(crate) mod drop;
pub(crate) mod log;
pub(crate) mod slots;
