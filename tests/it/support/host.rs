//! A looper as its host sees it.

use std::{os::fd::AsFd, time::Duration};

use alooper::Looper;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Whether the looper's fd becomes readable within `timeout`.
pub(crate) fn is_readable_within(looper: &Looper, timeout: impl Into<PollTimeout>) -> bool {
    poll(&mut [PollFd::new(looper.as_fd(), PollFlags::POLLIN)], timeout).unwrap() == 1
}

pub(crate) fn is_readable(looper: &Looper) -> bool {
    is_readable_within(looper, PollTimeout::ZERO)
}

pub(crate) fn wait_readable(looper: &Looper) {
    assert!(is_readable_within(looper, PollTimeout::NONE));
}

/// A looper that is hosted and has nothing to do.
#[track_caller]
pub(crate) fn hosted() -> Looper {
    let looper = Looper::new().unwrap();
    assert!(!is_readable(&looper));
    looper
}

/// Polls until the report is empty; then the fd must not be readable. Gives how many messages and fd callbacks ran.
#[track_caller]
pub(crate) fn drain(looper: &Looper) -> (usize, usize) {
    let mut sum = (0, 0);
    for _ in 0..1000 {
        let turn = looper.poll_once(Duration::ZERO).unwrap();
        sum = (sum.0 + turn.messages, sum.1 + turn.fds);
        if turn.timed_out {
            assert!(!is_readable(looper), "it has nothing to do");
            return sum;
        }
    }
    panic!("it always has something to do");
}
