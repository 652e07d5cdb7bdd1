//! Errors as C knows them.

use std::io::{self, ErrorKind};

use alooper::OsError;
use nix::errno::Errno;

/// The number of an error of the library.
pub(crate) fn of(error: &io::Error) -> Errno {
    let os_error = error.get_ref().and_then(|inner| inner.downcast_ref::<OsError>());
    if let Some(number) = os_error.map(OsError::raw_os_error).or_else(|| error.raw_os_error()) {
        return Errno::from_raw(number);
    }
    match error.kind() {
        ErrorKind::BrokenPipe => Errno::ESHUTDOWN,
        ErrorKind::Deadlock => Errno::EDEADLK,
        ErrorKind::OutOfMemory => Errno::ENOMEM,
        _ => Errno::EINVAL,
    }
}
