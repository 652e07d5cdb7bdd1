//! What tasks ask of the kernel.
//!
//! Holds A2, A3.

use std::os::unix::net::UnixStream;

use super::*;
use crate::task::AsyncFd;

/// How often epoll was told anything.
fn controls(kernel: &FakeKernel) -> usize {
    [Call::EpollAdd, Call::EpollModify, Call::EpollDelete].iter().map(|call| kernel.calls(*call)).sum()
}

#[test]
fn a3_to_wait_take_and_wait_again_makes_no_system_call() {
    let (looper, kernel) = fake();
    let (near, _far) = UnixStream::pair().unwrap();
    let fd = near.as_raw_fd();
    let near = AsyncFd::new(&looper, near).unwrap();
    let count = Rc::new(Cell::new(0));
    let counted = count.clone();
    looper
        .spawn(async move {
            loop {
                near.readable().await.unwrap();
                near.try_io(|_| Ok(())).unwrap();
                counted.set(counted.get() + 1);
            }
        })
        .unwrap();
    poll(&looper);
    let before = controls(&kernel);
    kernel.set_ready(fd, IN);

    // The kernel is asked once in 64 events whether it still has the fd (F7).
    for _ in 0..63 {
        assert_eq!(poll(&looper), served(1));
    }

    assert_eq!((count.get(), controls(&kernel) - before), (63, 0));
    assert_eq!(kernel.calls(Call::EventfdWrite), 0);
}

#[test]
fn a3_one_that_is_ready_while_nobody_waits_is_rearmed_once() {
    let (looper, kernel) = fake();
    let (near, _far) = UnixStream::pair().unwrap();
    let fd = near.as_raw_fd();
    let near = Rc::new(AsyncFd::new(&looper, near).unwrap());
    let before = controls(&kernel);
    kernel.set_ready(fd, IN);
    assert_eq!(poll(&looper), served(1));
    assert_eq!(controls(&kernel) - before, 1, "nobody waits for it");
    assert_eq!(poll(&looper), timed_out());

    let reader = near.clone();
    let task = looper.spawn(async move {
        reader.readable().await.unwrap();
        reader.readable().await.unwrap();
    });
    poll(&looper);
    assert_eq!(controls(&kernel) - before, 2, "and then somebody does");

    assert_eq!(poll(&looper), served(1));
    assert!(task.unwrap().is_finished());
}

/// As of the looper's own posts (C10).
#[test]
fn a2_a_wake_of_the_loopers_own_thread_writes_nothing_and_is_not_overslept() {
    let (looper, kernel) = fake();
    let kept = Rc::new(RefCell::new(None));
    let waker = kept.clone();
    let task = looper.spawn(std::future::poll_fn(move |context| {
        let before = waker.replace(Some(context.waker().clone()));
        if before.is_some() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }));
    poll(&looper);

    kept.borrow().as_ref().unwrap().wake_by_ref();
    assert_eq!(looper.poll_once(None).unwrap(), ran(1));

    assert!(task.unwrap().is_finished());
    assert_eq!(kernel.calls(Call::EventfdWrite), 0);
}
