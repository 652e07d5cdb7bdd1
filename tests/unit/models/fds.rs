//! Watched fds that other threads remove and add, against a looper that serves them.
//!
//! Holds F4, F11, C30.

use std::{
    cell::Cell,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use loom::thread;
use nix::sys::{epoll::EpollFlags, eventfd::EventFd};

use super::{check, looper};
use crate::{
    fd::FdNext,
    sys::{fake::FakeKernel, interest::Interest},
};

/// A source that is ready as long as it is watched.
fn ready(kernel: &FakeKernel) -> OwnedFd {
    let source = EventFd::new().unwrap().into();
    kernel.set_ready(AsFd::as_fd(&source).as_raw_fd(), EpollFlags::EPOLLIN);
    source
}

#[test]
fn f4_c30_a_removal_while_the_fd_is_served_lets_no_call_begin_and_the_source_is_dropped_at_home() {
    check(|| {
        let (looper, kernel) = looper();
        let source = Rc::new(ready(&kernel));
        let calls = Rc::new(Cell::new(0));
        let counted = calls.clone();
        let count = move |_: &_, _: &mut Rc<OwnedFd>, _| {
            counted.set(counted.get() + 1);
            FdNext::Keep
        };
        let registered = looper.add_fd(source.clone(), Interest::INPUT, count).unwrap().handle();
        let remover = thread::spawn(move || assert!(registered.remove()));

        let before = looper.poll_once(Duration::ZERO).unwrap().fds;

        remover.join().unwrap();
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap().fds, 0, "it was removed");
        assert_eq!((calls.get(), Rc::strong_count(&source)), (before, 1), "source and callback are dropped");
    });
}

#[test]
fn f11_c30_one_that_another_thread_adds_and_removes_is_dropped_at_home_whatever_the_looper_does() {
    check(|| {
        let (looper, kernel) = looper();
        let source = Arc::new(ready(&kernel));
        let (handle, added) = (looper.handle(), source.clone());
        let other = thread::spawn(move || {
            let registered = handle.add_fd(added, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
            assert!(registered.remove());
        });

        looper.poll_once(Duration::ZERO).unwrap();

        other.join().unwrap();
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap().fds, 0, "it was removed");
        assert_eq!(Arc::strong_count(&source), 1);
    });
}
