//! Being hosted: the looper's fd, and what it tells the loop that watches it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::{
    looper::{Looper, report::Turn},
    mem::log,
    sys::{host::Host, time::Moment},
};

/// The fd by which another event loop hosts this looper.
///
/// It is readable when an fd is ready, a message is due, a wake is pending, or a turn stopped with more to do. The host
/// then calls [`poll_once`](Looper::poll_once) with a timeout of zero; one that watches it edge-triggered repeats that
/// until the report [is empty](crate::Turn::is_empty). When a report says that the looper has quit, the host has to
/// stop watching: what is registered may stay ready.
///
/// Asking for the fd marks the looper as hosted, for good. From then on a post that is due before the time that it last
/// published makes the fd readable at once, also a post of its own thread; the turn that follows publishes the new
/// time. Each hosting takes two of the five levels in which the kernel lets epoll sets watch each other.
///
/// # Guarantees
/// The fd stays the same, and stays valid, for as long as the looper lives.
///
/// # Android
/// There is none: an Android looper's epoll fd is private, and would not know of timers.
impl AsFd for Looper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.hosted().as_fd()
    }
}

impl AsRawFd for Looper {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Looper {
    /// The fd to host this looper by, made when it is first asked for.
    fn hosted(&self) -> &Host {
        if let Some(host) = self.core.host.get() {
            return host;
        }
        let set = self.core.poller.borrow().set().clone();
        if self.shared().is_inherited() {
            // Nothing is ready there for a forked child, and nothing is told to the parent's set.
            return self.core.host.get_or_init(|| Host::Direct(set));
        }
        let (host, error) = Host::new(&self.core.kernel, set);
        let host = self.core.host.get_or_init(|| host);
        if let Some(error) = error {
            log::warn!(
                "no fd is left to host {} by, so that its epoll set cannot be replaced: {error}",
                self.shared().label
            );
        }
        self.publish();
        host
    }

    /// Makes the epoll set readable when there is something to do: now, or when the next message is due.
    pub(super) fn publish(&self) {
        if self.shared().is_inherited() {
            return;
        }
        let (next, alarm) = self.shared().next_stops(self.core.here);
        let due = next.map(|next| next.when);
        let until = due.into_iter().chain(alarm).min().unwrap_or(Moment::NEVER);
        let may_rest = !self.is_due(next)
            && !self.has_passed(until)
            && !self.core.woken.get()
            && !self.core.must_not_block.get()
            && !self.is_idle_awaited()
            && self.arm(until)
            && self.shared().prepare_sleep(until);
        if !may_rest {
            self.shared().signal();
        }
    }

    /// Runs the hooks before the wait of the host, if there is one.
    #[inline]
    pub(super) fn prepare_hosts_wait(&self) {
        if self.core.host.get().is_some() && !self.shared().is_quitting() {
            self.run_before_wait();
        }
    }

    /// After a quit, takes the events of eventfd and timerfd, so that the host's fd is not readable.
    pub(super) fn fall_silent(&self, turn: &mut Turn) {
        if self.core.host.get().is_some()
            && let Ok(mut unserved) = self.wait(false, turn)
        {
            unserved.clear();
            self.core.ready.set(unserved);
        }
    }

    fn arm(&self, until: Moment) -> bool {
        let armed = self.core.poller.borrow_mut().arm(until);
        if let Err(error) = &armed {
            log::error!("{} asks its host to poll again at once: {error}", self.shared().label);
        }
        armed.is_ok()
    }
}
