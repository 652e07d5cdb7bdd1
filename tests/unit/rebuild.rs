//! Making the epoll set anew: what a failure half-way leaves, and what a host sees of it.
//!
//! Holds F7, O1, X1, C33.

use std::{
    os::fd::{AsRawFd, BorrowedFd},
    panic::{self, AssertUnwindSafe},
};

use super::*;

/// Lets the first attempt to make the set anew fail at one call, and sees that the next succeeds.
fn rebuild_fails_first(call: Call, successes: usize, errno: Errno, hosted: bool) {
    let (looper, kernel) = fake();
    let log = Log::new();
    let (_dying, fd) = add(&looper, |_, _| FdNext::Keep);
    let healthy: Vec<_> = (0..3).map(|_| add_noting(&looper, &log, "healthy")).collect();
    healthy.iter().for_each(|(_, fd)| kernel.set_ready(*fd, IN));
    let host = hosted.then(|| looper.as_raw_fd());
    let objects = kernel.open_objects();
    kernel.close(fd, true);
    kernel.fail_after(call, successes, errno);
    let sets = kernel.calls(Call::EpollCreate);

    let mut turns = 0;
    while kernel.calls(Call::EpollCreate) == sets {
        assert!(!looper.poll_once(Duration::ZERO).unwrap().rebuilt);
        turns += 1;
        assert!(turns < 100);
    }
    assert_eq!(kernel.open_objects(), objects, "nothing leaks");
    log.take();
    let turn = looper.poll_once(Duration::ZERO).unwrap();
    assert_eq!((turn.fds, turn.rebuilt, log.take().len()), (3, false, 3), "the old set still serves");

    assert!(turns + turns_until_rebuilt(&looper) <= 100);
    assert_eq!(kernel.open_objects(), objects);
    assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), served(3));
    assert_eq!(hosted.then(|| looper.as_raw_fd()), host, "the host's fd stays the same");
    assert!(!hosted || kernel.is_host_readable());
    healthy.iter().for_each(|(_, fd)| kernel.set_ready(*fd, NOT_READY));
    assert_quiet(&looper, &kernel);
}

#[test]
fn c33_a_new_set_that_fails_half_way_is_tried_again_while_the_old_one_serves() {
    use Errno::{EMFILE, ENFILE, ENOMEM, ENOSPC};
    for hosted in [false, true] {
        for errno in [EMFILE, ENFILE, ENOMEM] {
            rebuild_fails_first(Call::EpollCreate, 0, errno, hosted);
        }
        // The eventfd, the timerfd, perhaps the host's, and three that are watched.
        for position in 0..5 + usize::from(hosted) {
            for errno in [ENOMEM, ENOSPC] {
                rebuild_fails_first(Call::EpollAdd, position, errno, hosted);
            }
        }
    }
}

#[test]
fn c33_attempts_that_keep_failing_become_rarer() {
    let (looper, kernel) = fake();
    let (dying, fd) = add(&looper, |_, _| panic!("called"));
    kernel.close(fd, true);
    dying.remove();
    (0..1000).for_each(|_| kernel.fail(Call::EpollCreate, Errno::EMFILE));
    logged();

    (0..1000).for_each(|_| assert!(!looper.poll_once(Duration::ZERO).unwrap().rebuilt));

    let attempts = kernel.calls(Call::EpollCreate) - 1;
    assert!((5..=12).contains(&attempts), "{attempts}");
    let lines = logged();
    assert_eq!(lines.len(), attempts);
    let said = "an fd that was closed under its registration keeps a looper busy: epoll_create1 failed: ";
    assert!(lines.iter().all(|line| line.contains(said)), "{lines:?}");
    assert_eq!(kernel.open_objects(), OWN_OBJECTS);
}

#[test]
fn f7_o1_a_hosts_fd_shows_the_new_set_and_no_more_the_old_one() {
    let (looper, kernel) = fake();
    let (_dying, fd) = add(&looper, |_, _| FdNext::Keep);
    let (_healthy, healthy_fd) = add(&looper, |_, _| FdNext::Keep);
    let host = looper.as_raw_fd();
    kernel.close(fd, true);
    assert!(kernel.is_host_readable());

    turns_until_rebuilt(&looper);

    assert!(!kernel.is_host_readable());
    kernel.set_ready(healthy_fd, IN);
    assert!(kernel.is_host_readable());
    assert_eq!((looper.as_raw_fd(), kernel.open_objects()), (host, OWN_OBJECTS + 1));
}

#[test]
fn f7_o1_a_looper_whose_set_is_its_hosts_keeps_it_and_goes_on() {
    let (looper, kernel) = fake();
    let (dying, fd) = add(&looper, |_, _| panic!("called"));
    let (_healthy, healthy_fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.fail(Call::EpollCreate, Errno::EMFILE);
    let host = looper.as_raw_fd();
    kernel.close(fd, true);
    dying.remove();
    kernel.set_ready(healthy_fd, IN);
    let sets = kernel.calls(Call::EpollCreate);

    for _ in 0..100 {
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), served(1));
    }

    assert_eq!((looper.as_raw_fd(), kernel.calls(Call::EpollCreate)), (host, sets));
}

/// A source that panics when it is dropped, and counts that.
struct PanicsWhenDropped(Rc<OwnedFd>, Rc<Cell<usize>>);

impl AsFd for PanicsWhenDropped {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        self.1.set(self.1.get() + 1);
        panic!("planned");
    }
}

#[test]
fn f7_x1_all_that_died_are_dropped_and_the_new_set_is_told_though_drops_panic() {
    let (looper, kernel) = fake();
    let (stray, stray_fd) = add(&looper, |_, _| FdNext::Keep);
    let drops = Rc::new(Cell::new(0));
    let dying: Vec<_> = (0..3)
        .map(|_| {
            let held = Rc::new(source());
            let fd = number(&held);
            let panics = PanicsWhenDropped(held, drops.clone());
            let source = looper.add_fd(panics, Interest::PRIORITY, |_, _, _| FdNext::Keep).unwrap();
            (source, fd)
        })
        .collect();
    kernel.close(stray_fd, true);
    dying.iter().for_each(|(_, fd)| kernel.close(*fd, false));
    stray.remove().unwrap();

    let poll = || panic::catch_unwind(AssertUnwindSafe(|| looper.poll_once(Duration::ZERO).unwrap()));
    let panicked = (0..100).any(|_| poll().is_err());

    assert!(panicked, "the first of the panics goes on");
    assert_eq!(drops.get(), 3);
    assert!(dying.iter().all(|(source, _)| !source.is_registered()));
    assert!(looper.poll_once(Duration::ZERO).unwrap().rebuilt);
}
