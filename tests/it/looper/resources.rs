//! What a looper takes from the system, and that it gives it back. All in processes of
//! their own.
//!
//! Holds L1, C11, C65, C69, C70, C77, C80. Not C67: where memory has run out, Rust ends the process.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs,
    io::{self, ErrorKind, Read},
    mem::ManuallyDrop,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper, LooperHandle, OsError, RejectReason};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{close, dup},
};

use crate::support::{
    alone::alone,
    limits::{open_fds, with_free_fds},
    memory::resident_bytes,
    until_polling,
};

/// The fds that were opened since `before`.
fn opened_since(before: &BTreeMap<i32, String>) -> BTreeMap<i32, String> {
    open_fds().into_iter().filter(|(number, target)| before.get(number) != Some(target)).collect()
}

/// With what an fd was opened, as the kernel tells it.
fn flags(number: i32) -> OFlag {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    OFlag::from_bits_retain(i32::from_str_radix(flags.trim(), 8).unwrap())
}

#[test]
fn l1_all_fds_of_a_looper_are_close_on_exec_and_block_nobody() {
    alone("l1_all_fds_of_a_looper_are_close_on_exec_and_block_nobody", || {
        let before = open_fds();

        let looper = Looper::new().unwrap();
        let host = looper.as_fd();

        let opened = opened_since(&before);
        for kind in ["[eventpoll]", "[eventfd]", "[timerfd]"] {
            assert!(opened.values().any(|target| target.contains(kind)), "{kind} in {opened:?}");
        }
        for (number, target) in opened {
            assert!(flags(number).contains(OFlag::O_CLOEXEC), "{target}");
            // Reading blocks or not; an epoll set is not read.
            assert!(target.contains("[eventpoll]") || flags(number).contains(OFlag::O_NONBLOCK), "{target}");
        }
        let descriptor = FdFlag::from_bits_retain(fcntl(host, FcntlArg::F_GETFD).unwrap());
        assert!(descriptor.contains(FdFlag::FD_CLOEXEC));
        drop(looper);
        assert_eq!(open_fds(), before);
    });
}

/// C65, at each fd that creation opens.
#[test]
fn l1_without_free_fds_creation_says_which_call_failed_and_leaks_nothing() {
    alone("l1_without_free_fds_creation_says_which_call_failed_and_leaks_nothing", || {
        let before = open_fds();
        let mut failed = Vec::new();

        let looper = loop {
            match with_free_fds(failed.len(), Looper::new) {
                Ok(looper) => break looper,
                Err(error) => {
                    assert!(error.to_string().contains("too many files open"), "{error}");
                    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<OsError>()).unwrap();
                    assert_eq!(inner.raw_os_error(), Errno::EMFILE as i32);
                    assert!(error.to_string().contains(inner.operation()), "{error}");
                    failed.push(inner.operation());
                }
            }
            assert_eq!(open_fds(), before);
        };

        assert_eq!(failed.len(), opened_since(&before).len());
        failed.sort_unstable();
        assert_eq!(failed, ["epoll_create1", "eventfd", "timerfd_create"]);
        drop(looper);
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn l1_c65_after_a_failed_prepare_the_thread_has_no_looper_and_may_try_again() {
    alone("l1_c65_after_a_failed_prepare_the_thread_has_no_looper_and_may_try_again", || {
        let before = open_fds();
        for free in 0..3 {
            assert!(with_free_fds(free, Looper::prepare).is_err());
            assert!(with_free_fds(free, Looper::prepare_main).is_err());
            assert!(Looper::current().is_none() && Looper::main_handle().is_none());
            assert_eq!(open_fds(), before);
        }

        let looper = Looper::prepare().unwrap();

        looper.post(|_| ()).unwrap();
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
    });
}

#[test]
fn l1_c65_a_looper_can_be_hosted_though_no_fd_is_left() {
    alone("l1_c65_a_looper_can_be_hosted_though_no_fd_is_left", || {
        let looper = Looper::new().unwrap();

        let host = with_free_fds(0, || looper.as_fd());

        let is_readable = || poll(&mut [PollFd::new(host, PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1;
        assert!(!is_readable());
        looper.wake().unwrap();
        assert!(is_readable());
        assert!(looper.poll_once(Duration::ZERO).unwrap().woken);
        assert!(!is_readable());
    });
}

/// The fds that a program has which this process starts.
fn inherited() -> String {
    let listing = Command::new("ls").args(["-l", "/proc/self/fd"]).stdin(Stdio::null()).output().unwrap();
    String::from_utf8(listing.stdout).unwrap()
}

/// The duplicate of a socket, which is not close-on-exec, shows that the test would see an fd that is not.
#[test]
fn c70_a_program_that_is_started_inherits_no_fd_of_a_looper() {
    alone("c70_a_program_that_is_started_inherits_no_fd_of_a_looper", || {
        let before = inherited();
        let looper = Looper::new().unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        looper.add_fd(near.try_clone().unwrap(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.post_delayed(Duration::from_secs(60), |_| ()).unwrap();
        looper.poll_once(Duration::ZERO).unwrap();
        looper.as_fd();
        let leaked = dup(&near).unwrap();

        let after = inherited();

        assert!(after.contains(&format!(" {} -> socket:", leaked.as_raw_fd())), "{after}");
        assert_eq!(after.matches("anon_inode").count(), before.matches("anon_inode").count(), "{after}");
    });
}

#[test]
fn c77_all_fds_are_closed_with_the_last_handle_on_whatever_thread() {
    alone("c77_all_fds_are_closed_with_the_last_handle_on_whatever_thread", || {
        let before = open_fds();
        let looper = Looper::new().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        let posted = looper.post(|_| ()).unwrap();
        let handle = looper.handle();

        drop(looper);

        // The source went with the looper.
        assert_eq!((&far).read(&mut [0]).unwrap(), 0);
        drop((far, source, posted));
        thread::spawn(move || drop(handle)).join().unwrap();
        assert_eq!(open_fds(), before);
    });
}

/// C11: an fd number that a dropped looper had belongs to somebody else.
#[test]
fn c11_handles_of_a_dropped_looper_write_to_no_fd_that_is_not_theirs() {
    alone("c11_handles_of_a_dropped_looper_write_to_no_fd_that_is_not_theirs", || {
        let before = open_fds();
        let looper = Looper::new().unwrap();
        let its_fds = opened_since(&before);
        let handle = looper.handle();
        drop(looper);

        let streams: Vec<UnixStream> =
            (0..4).flat_map(|_| <[UnixStream; 2]>::from(UnixStream::pair().unwrap())).collect();
        let reused = opened_since(&before);
        assert!(its_fds.keys().any(|number| reused.get(number).is_some_and(|target| target.starts_with("socket"))));
        handle.wake().unwrap();
        handle.quit();
        assert_eq!(handle.post(|_| ()).unwrap_err().reason(), RejectReason::Dropped);
        drop(handle);

        for mut stream in &streams {
            stream.set_nonblocking(true).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    });
}

/// Makes a looper and closes one of its fds, as code does that closes an fd which it does not own. It must not be
/// dropped: that would close somebody else's fd, or, in a debug build, end the process.
fn robbed(kind: &str) -> ManuallyDrop<Looper> {
    let before = open_fds();
    let looper = ManuallyDrop::new(Looper::new().unwrap());
    let stolen = opened_since(&before).into_iter().find(|(_, target)| target.contains(kind)).unwrap();
    close(stolen.0).unwrap();
    looper
}

/// What an error says of the call that failed, which has to be that its fd is closed.
#[track_caller]
fn closed_in<T: Debug>(result: io::Result<T>) -> &'static str {
    let error = result.unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<OsError>()).unwrap();
    assert_eq!(inner.raw_os_error(), Errno::EBADF as i32);
    inner.operation()
}

#[test]
fn c69_a_looper_whose_epoll_set_was_closed_from_outside_says_so_in_each_turn_and_does_not_spin() {
    alone("c69_a_looper_whose_epoll_set_was_closed_from_outside_says_so_in_each_turn_and_does_not_spin", || {
        // Made before: it would have the number that becomes free.
        let (near, _far) = UnixStream::pair().unwrap();
        let looper = robbed("[eventpoll]");
        looper.post(|_| ()).unwrap();

        for turns in 1..=3 {
            assert_eq!(closed_in(looper.poll_once(None)), "epoll_wait");
            assert_eq!(looper.stats().waits, turns);
        }
        assert_eq!(closed_in(looper.run()), "epoll_wait");

        let refused = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
        assert_eq!(closed_in(io::Result::<()>::Err(refused.into())), "epoll_ctl");
        looper.quit();
        assert_eq!((looper.message_counts().posted, looper.message_counts().dropped), (1, 1));
    });
}

#[test]
fn c69_a_looper_whose_timer_was_closed_from_outside_does_not_sleep_past_it_and_runs_what_is_due() {
    alone("c69_a_looper_whose_timer_was_closed_from_outside_does_not_sleep_past_it_and_runs_what_is_due", || {
        let looper = robbed("[timerfd]");
        looper.post_delayed(Duration::from_secs(60), |_| ()).unwrap();

        assert_eq!(closed_in(looper.poll_once(None)), "timerfd_settime");

        looper.post(|_| ()).unwrap();
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        assert_eq!(looper.stats().waits, 1);
    });
}

#[test]
fn c69_a_wake_whose_eventfd_was_closed_from_outside_is_an_error_and_is_reported_when_the_looper_gets_up() {
    alone(
        "c69_a_wake_whose_eventfd_was_closed_from_outside_is_an_error_and_is_reported_when_the_looper_gets_up",
        || {
            let looper = robbed("[eventfd]");
            let handle = ManuallyDrop::new(looper.handle());
            let waker = thread::spawn(move || {
                until_polling(&handle);
                assert_eq!(closed_in(handle.wake()), "write (eventfd)");
                handle.post(|_| ()).unwrap();
            });

            let turn = looper.poll_once(Duration::from_millis(500)).unwrap();

            waker.join().unwrap();
            assert_eq!((turn.woken, turn.messages, turn.timed_out), (true, 1, false));
        },
    );
}

/// Wakes and posts until it is refused; how many posts were accepted. Lets others run, or one core would not be enough.
fn pester(handle: &LooperHandle, ran: &Arc<AtomicU64>) -> u64 {
    let mut accepted = 0;
    loop {
        handle.wake().unwrap();
        let ran = ran.clone();
        let posted = handle.post(move |_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        match posted {
            Ok(_) => {
                accepted += 1;
                thread::yield_now();
            }
            Err(refused) => {
                assert_eq!(refused.reason(), RejectReason::Dropped);
                return accepted;
            }
        }
    }
}

#[test]
fn c11_wakes_and_posts_that_race_with_the_drop_succeed_or_are_refused() {
    alone("c11_wakes_and_posts_that_race_with_the_drop_succeed_or_are_refused", || {
        let before = open_fds();
        for round in 0..100 {
            let looper = Looper::new().unwrap();
            let ran = Arc::new(AtomicU64::new(0));
            let pesterers: Vec<_> = (0..2)
                .map(|_| {
                    let (handle, ran) = (looper.handle(), ran.clone());
                    thread::spawn(move || pester(&handle, &ran))
                })
                .collect();
            let handle = looper.handle();
            for _ in 0..round % 5 {
                looper.poll_once(None).unwrap();
            }

            drop(looper);

            let accepted: u64 = pesterers.into_iter().map(|thread| thread.join().unwrap()).sum();
            let report = handle.message_counts();
            assert_eq!((report.posted, report.run), (accepted, ran.load(Ordering::Relaxed)));
            assert_eq!(report.run + report.dropped, accepted);
        }
        assert_eq!(open_fds(), before);
    });
}

/// Makes a looper, uses all of it, and drops it with work left.
fn live_and_die() {
    let looper = Looper::new().unwrap();
    let (near, _far) = UnixStream::pair().unwrap();
    looper.add_fd(near, Interest::OUTPUT, |_, _, _| FdNext::Keep).unwrap();
    looper.post(|_| ()).unwrap();
    looper.handle().post_delayed(Duration::from_secs(60), |_| ()).unwrap();
    let turn = looper.poll_once(None).unwrap();
    assert_eq!((turn.messages, turn.fds), (1, 1));
}

#[test]
fn c80_thousands_of_loopers_leave_no_fd_and_no_memory_behind() {
    alone("c80_thousands_of_loopers_leave_no_fd_and_no_memory_behind", || {
        (0..200).for_each(|_| live_and_die());
        let (fds, memory) = (open_fds(), resident_bytes());

        (0..2000).for_each(|_| live_and_die());

        assert_eq!(open_fds(), fds);
        // 2000 leaks of 100 bytes would be more.
        let grown = resident_bytes().saturating_sub(memory);
        assert!(grown < 192 * 1024, "{grown} bytes more");
    });
}

#[test]
fn c80_loopers_of_many_threads_leave_no_fd_behind() {
    alone("c80_loopers_of_many_threads_leave_no_fd_behind", || {
        let before = open_fds();
        let prepared = Arc::new(AtomicBool::new(false));

        for _ in 0..200 {
            let prepared = prepared.clone();
            let thread = thread::spawn(move || {
                Looper::prepare().unwrap().post(|_| ()).unwrap();
                prepared.store(true, Ordering::Relaxed);
            });
            thread.join().unwrap();
        }

        assert!(prepared.load(Ordering::Relaxed));
        assert_eq!(open_fds(), before);
    });
}
