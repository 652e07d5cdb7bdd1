//! Values: how they are kept, found again and dropped, whatever their types are and whatever their `Drop` does.
//!
//! - [`closure`] and [`letter`]: values of any type without a box. These are places that have `unsafe`.
//! - [`slots`]: a slab whose keys find nothing once their entry is gone; [`arena`]: a slab that gives memory back.
//! - [`mod@drop`]: how a user's value is dropped, panics included; [`log`]: how a user's logger is called.

pub(crate) mod erased;
pub(crate) mod drop;
pub(crate) mod log;
pub(crate) mod slots;
