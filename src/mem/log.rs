//! What the library logs, by the macros of `log`. A logger is a user's code: a panic of it ends here (X3), since it
//! could come anywhere, in the destructors of an ending thread, too.
//!
//! Log with no lock and no borrow held. To `use crate::mem::log` is all that a file needs.

macro_rules! warning {
    ($($message:tt)+) => {
        $crate::mem::log::quietly(|| ::log::warn!($($message)+))
    };
}

macro_rules! failure {
    ($($message:tt)+) => {
        $crate::mem::log::quietly(|| ::log::error!($($message)+))
    };
}

pub(crate) use failure as error;
pub(crate) use warning as warn;

use crate::mem::drop::caught;

#[cold]
pub(crate) fn quietly(log: impl FnOnce()) {
    caught(log);
}
