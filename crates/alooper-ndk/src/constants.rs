//! The constants of `<android/looper.h>`.

use std::ffi::c_int;

use alooper::{Events, Interest};

/// For [`ALooper_prepare`](crate::ALooper_prepare): fds may be added without a callback, and are then told by their ident.
pub const ALOOPER_PREPARE_ALLOW_NON_CALLBACKS: c_int = 1;

/// [`ALooper_wake`](crate::ALooper_wake) ended the poll.
pub const ALOOPER_POLL_WAKE: c_int = -1;
/// At least one callback ran.
pub const ALOOPER_POLL_CALLBACK: c_int = -2;
/// The timeout passed.
pub const ALOOPER_POLL_TIMEOUT: c_int = -3;
/// The poll failed; `errno` says why.
pub const ALOOPER_POLL_ERROR: c_int = -4;

/// The fd can be read.
pub const ALOOPER_EVENT_INPUT: c_int = 1;
/// The fd can be written.
pub const ALOOPER_EVENT_OUTPUT: c_int = 1 << 1;
/// The fd is in an error state. Always told.
pub const ALOOPER_EVENT_ERROR: c_int = 1 << 2;
/// The other end is gone. Always told.
pub const ALOOPER_EVENT_HANGUP: c_int = 1 << 3;
/// The fd is invalid. epoll never says so, on Android neither: it forgets what is closed.
pub const ALOOPER_EVENT_INVALID: c_int = 1 << 4;

/// What is asked for by `events`. Errors and hang-ups are told in any case, and other bits mean nothing, as on Android.
pub(crate) fn interest_of(events: c_int) -> Interest {
    let mut interest = Interest::empty();
    interest.set(Interest::INPUT, events & ALOOPER_EVENT_INPUT != 0);
    interest.set(Interest::OUTPUT, events & ALOOPER_EVENT_OUTPUT != 0);
    interest
}

/// What C is told of `events`.
pub(crate) fn bits_of(events: Events) -> c_int {
    let bits = [
        (Events::INPUT, ALOOPER_EVENT_INPUT),
        (Events::OUTPUT, ALOOPER_EVENT_OUTPUT),
        (Events::ERROR, ALOOPER_EVENT_ERROR),
        (Events::HANGUP, ALOOPER_EVENT_HANGUP),
    ];
    bits.into_iter().filter(|(event, _)| events.contains(*event)).map(|(_, bit)| bit).sum()
}
