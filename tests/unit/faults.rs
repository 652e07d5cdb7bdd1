//! The kernel's refusals: a typed error, nothing leaked, nothing lost, usable again.
//!
//! Holds L1, L5, T4, X1, C4, C5, C65, C68, C69, C77.

use std::{io, panic, sync::mpsc};

use super::*;
use crate::{HandlerThread, OsError, RejectReason};

fn os_error(error: &io::Error) -> OsError {
    *error.get_ref().and_then(|inner| inner.downcast_ref()).expect("it names the system call")
}

#[test]
fn l1_c65_a_looper_that_cannot_be_made_leaves_nothing_open_and_the_error_says_what_to_do() {
    let calls = [
        (Call::EventfdCreate, 0, "eventfd"),
        (Call::TimerfdCreate, 0, "timerfd_create"),
        (Call::EpollCreate, 0, "epoll_create1"),
        (Call::EpollAdd, 0, "epoll_ctl"),
        (Call::EpollAdd, 1, "epoll_ctl"),
    ];
    let errnos = [(Errno::EMFILE, "ulimit -n"), (Errno::ENFILE, "fs.file-max"), (Errno::ENOMEM, "free some")];
    for (call, successes, operation) in calls {
        for (errno, advice) in errnos {
            let kernel = FakeKernel::new(Stuck::Panic);
            kernel.fail_after(call, successes, errno);

            let error = builder_on(&kernel).build().unwrap_err();

            let told = os_error(&error);
            assert_eq!((told.operation(), told.raw_os_error()), (operation, errno as i32));
            assert_eq!(error.kind(), io::Error::from(errno).kind());
            assert!(error.to_string().contains(advice), "{error}");
            assert_eq!(kernel.open_objects(), 0, "{call:?} {errno}");
            let looper = builder_on(&kernel).build().expect("the next try succeeds");
            assert_eq!(kernel.open_objects(), 3);
            drop(looper);
            assert_eq!(kernel.open_objects(), 0);
        }
    }
}

#[test]
fn c77_all_objects_are_closed_after_the_looper_and_its_last_handle() {
    let (looper, kernel) = fake();
    std::os::fd::AsRawFd::as_raw_fd(&looper);
    let (source, _) = add(&looper, |_, _| FdNext::Keep);
    let handle = looper.handle();
    assert_eq!(kernel.open_objects(), 4);

    drop(looper);

    assert!(!source.is_registered());
    handle.wake().unwrap();
    assert_eq!(kernel.open_objects(), 1, "the eventfd, which handles may write");
    drop((source, handle));
    assert_eq!(kernel.open_objects(), 0);
}

#[test]
fn c68_c69_a_wait_that_fails_is_an_error_at_once_and_loses_nothing() {
    for errno in [Errno::EBADF, Errno::EINVAL, Errno::EFAULT] {
        let (looper, kernel) = fake();
        let (_source, fd) = add(&looper, |_, _| FdNext::Remove);
        kernel.set_ready(fd, IN);
        looper.post(|_| ()).unwrap();
        looper.wake().unwrap();
        kernel.fail(Call::EpollWait, errno);

        let error = looper.poll_once(None).unwrap_err();

        let told = os_error(&error);
        assert_eq!((told.operation(), told.raw_os_error()), ("epoll_wait", errno as i32));
        assert_eq!(kernel.calls(Call::EpollWait), 1, "it does not spin");
        let turn = looper.poll_once(None).unwrap();
        assert_eq!(turn, Turn { woken: true, messages: 1, fds: 1, ..Turn::default() });
    }
}

#[test]
fn c68_run_ends_with_the_error_and_can_be_called_again() {
    let (looper, kernel) = fake();
    looper.post_delayed(ms(5), |looper| looper.quit()).unwrap();
    kernel.fail(Call::EpollWait, Errno::EBADF);

    assert_eq!(os_error(&looper.run().unwrap_err()).operation(), "epoll_wait");

    assert_eq!(looper.run().unwrap().run, 1);
}

#[test]
fn c68_t4_after_a_wait_that_failed_the_next_poll_does_not_sleep_over_the_wake() {
    let (looper, kernel) = fake();
    let start = looper.now();
    looper.wake().unwrap();
    kernel.fail(Call::EpollWait, Errno::EBADF);
    looper.poll_once(ms(10)).unwrap_err();

    let turn = looper.poll_once(ms(500)).unwrap();

    assert_eq!(turn, woken());
    assert_eq!(looper.now(), start, "a wake before a poll makes it return at once");
}

#[test]
fn x1_t4_after_a_panic_the_next_poll_does_not_sleep_over_the_wake() {
    let (looper, _) = fake();
    let start = looper.now();
    looper.wake().unwrap();
    looper.post(|_| panic!("planned")).unwrap();
    let poll = panic::AssertUnwindSafe(|| looper.poll_once(ms(10)));
    assert!(panic::catch_unwind(poll).is_err());

    let turn = looper.poll_once(ms(500)).unwrap();

    assert_eq!(turn, woken());
    assert_eq!(looper.now(), start, "a wake before a poll makes it return at once");
}

#[test]
fn c68_posts_and_wakes_after_a_failed_wait_need_no_signal_and_are_found() {
    let (looper, kernel) = fake();
    kernel.fail(Call::EpollWait, Errno::EFAULT);
    looper.poll_once(None).unwrap_err();
    let handle = looper.handle();

    elsewhere(move || {
        handle.wake().unwrap();
        handle.post(|_| ()).unwrap();
    });

    assert_eq!(looper.poll_once(None).unwrap(), Turn { woken: true, messages: 1, ..Turn::default() });
    assert_eq!(kernel.calls(Call::EventfdWrite), 0, "it did not sleep");
}

#[test]
fn c69_a_timer_that_cannot_be_set_is_an_error_and_loses_nothing() {
    let (looper, kernel) = fake();
    let start = looper.now();
    looper.post_delayed(ms(5), |_| ()).unwrap();
    kernel.fail(Call::TimerfdSet, Errno::ENOMEM);

    let error = looper.poll_once(None).unwrap_err();

    assert_eq!(os_error(&error).operation(), "timerfd_settime");
    assert_eq!(kernel.calls(Call::EpollWait), 0, "it does not sleep without a deadline");
    assert_eq!(looper.poll_once(None).unwrap(), ran(1));
    assert_eq!(looper.now() - start, ms(5));
}

#[test]
fn c69_a_timer_that_could_not_be_moved_is_moved_by_the_next_poll() {
    let (looper, kernel) = fake();
    let start = looper.now();
    looper.poll_once(ms(1)).unwrap();
    looper.wake().unwrap();
    assert!(looper.poll_once(ms(500)).unwrap().woken);
    kernel.fail(Call::TimerfdSet, Errno::ENOMEM);
    looper.poll_once(ms(5)).unwrap_err();

    assert!(looper.poll_once(ms(5)).unwrap().timed_out);

    assert_eq!(looper.now() - start, ms(6));
}

#[test]
fn c69_a_wake_that_cannot_be_written_is_an_error_and_is_told_when_the_looper_gets_up() {
    let (looper, kernel) = fake();
    let handle = looper.handle();
    let other_kernel = kernel.clone();
    kernel.during_next_wait(move || {
        other_kernel.fail(Call::EventfdWrite, Errno::EIO);
        let error = handle.wake().unwrap_err();
        assert_eq!(os_error(&error).operation(), "write (eventfd)");
    });

    assert_eq!(looper.poll_once(ms(20)).unwrap(), woken());
}

#[test]
fn c69_a_wake_after_one_that_could_not_be_written_is_written() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let handle = looper.handle();
    let other_kernel = kernel.clone();
    kernel.during_next_wait(move || {
        other_kernel.fail(Call::EventfdWrite, Errno::EIO);
        handle.wake().unwrap_err();
        handle.wake().unwrap();
    });

    assert_eq!(looper.poll_once(ms(20)).unwrap(), woken());

    assert_eq!(looper.now(), start, "wake() returned Ok, and so it ends the sleep");
}

#[test]
fn c69_a_post_that_cannot_signal_is_accepted_and_runs_when_the_looper_gets_up() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let handle = looper.handle();
    let other_kernel = kernel.clone();
    kernel.during_next_wait(move || {
        other_kernel.fail(Call::EventfdWrite, Errno::EIO);
        logged();
        handle.post(|_| ()).unwrap();
        assert!(logged().iter().all(|line| line.starts_with("ERROR")));
    });

    assert_eq!(looper.poll_once(ms(20)).unwrap(), ran(1));

    assert_eq!(looper.now() - start, ms(20));
}

/// What the first one has left is no sign that the looper knows.
#[test]
fn c69_a_post_after_one_that_could_not_signal_signals() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let handle = looper.handle();
    let other_kernel = kernel.clone();
    kernel.during_next_wait(move || {
        other_kernel.fail(Call::EventfdWrite, Errno::EIO);
        let posts = move || (0..2).for_each(|_| _ = handle.post(|_| ()).unwrap());
        thread::spawn(posts).join().unwrap();
    });

    assert_eq!(looper.poll_once(ms(20)).unwrap(), ran(2));

    assert_eq!(looper.now(), start, "the second one ends the sleep");
}

#[test]
fn c4_a_full_counter_that_cannot_be_read_is_an_error_of_the_wake() {
    let (looper, kernel) = fake();
    looper.shared().waker().fill();
    looper.poll_once(Duration::ZERO).unwrap();
    kernel.fail(Call::EventfdRead, Errno::EIO);
    let handle = looper.handle();
    kernel.during_next_wait(move || {
        assert_eq!(os_error(&handle.wake().unwrap_err()).operation(), "read (eventfd)");
    });

    assert!(looper.poll_once(ms(20)).unwrap().woken);
}

#[test]
fn c4_a_full_counter_is_emptied_and_the_wake_comes_through() {
    let (looper, kernel) = fake();
    looper.shared().waker().fill();
    looper.poll_once(Duration::ZERO).unwrap();
    let handle = looper.handle();
    kernel.during_next_wait(move || handle.wake().unwrap());

    assert_eq!(looper.poll_once(None).unwrap(), woken());

    assert_eq!((kernel.calls(Call::EventfdRead), kernel.calls(Call::EventfdWrite)), (1, 3));
}

#[test]
fn c5_an_interrupted_write_or_read_of_the_eventfd_is_tried_again() {
    let (looper, kernel) = fake();
    looper.shared().waker().fill();
    looper.poll_once(Duration::ZERO).unwrap();
    (0..3).for_each(|_| kernel.fail(Call::EventfdWrite, Errno::EINTR));
    kernel.fail(Call::EventfdRead, Errno::EINTR);
    kernel.fail_after(Call::EventfdRead, 0, Errno::EAGAIN);
    let handle = looper.handle();
    kernel.during_next_wait(move || handle.wake().unwrap());

    assert_eq!(looper.poll_once(None).unwrap(), woken());

    assert_eq!(kernel.calls(Call::EventfdRead), 3, "interrupted, emptied by somebody else, and done");
}

/// Drops a [`HandlerThread`] that sleeps, and whose eventfd fails `failures` times. Whether the thread has ended.
fn drop_a_thread_that_cannot_be_signalled(failures: usize) -> bool {
    let kernel = FakeKernel::new(Stuck::Wait);
    let thread = HandlerThread::builder().looper(builder_on(&kernel)).spawn().unwrap();
    let handle = thread.handle().clone();
    while !handle.is_polling() {
        thread::yield_now();
    }
    (0..failures).for_each(|_| kernel.fail(Call::EventfdWrite, Errno::EIO));
    let (dropped, is_dropped) = mpsc::channel();

    thread::spawn(move || {
        drop(thread);
        dropped.send(()).unwrap();
    });

    is_dropped.recv_timeout(Duration::from_secs(100)).expect("it does not wait for a thread that nobody wakes");
    let has_ended = handle.post(|_| ()).is_err_and(|refused| refused.reason() == RejectReason::Dropped);
    handle.wake().unwrap();
    has_ended
}

#[test]
fn l5_c69_dropping_a_thread_whose_quit_could_not_be_signalled_signals_again() {
    assert!(drop_a_thread_that_cannot_be_signalled(1));
}

#[test]
fn l5_c69_dropping_a_thread_that_cannot_be_woken_does_not_wait_for_it() {
    assert!(!drop_a_thread_that_cannot_be_signalled(2));
}
