//! What goes wrong is an error, and never a crash.

use std::{
    ffi::{c_int, c_void},
    fs::File,
    io::Write,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    ptr,
    sync::mpsc,
    thread,
};

use alooper::Looper;
use alooper_ndk::*;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::{
        signal::{SigHandler, Signal, signal},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork},
};

use crate::support::*;

/// Duplicates an fd to a number that no other test comes by.
fn far_up(fd: impl std::os::fd::AsFd, number: c_int) -> OwnedFd {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(number)).unwrap();
    // SAFETY: it is new, and nobody else's.
    unsafe { OwnedFd::from_raw_fd(number) }
}

#[track_caller]
fn fails(result: c_int, errno: Errno) {
    assert_eq!((result, Errno::last()), (-1, errno));
}

#[test]
fn a_null_looper_is_einval() {
    let null = ptr::null_mut();
    let voids: [(&str, unsafe extern "C-unwind" fn(*mut ALooper)); 3] =
        [("acquire", ALooper_acquire), ("release", ALooper_release), ("wake", ALooper_wake)];
    for (name, function) in voids {
        Errno::clear();
        // SAFETY: null is allowed.
        unsafe { function(null) };
        assert_eq!(Errno::last(), Errno::EINVAL, "{name}");
    }
    // SAFETY: null is allowed.
    unsafe {
        fails(ALooper_addFd(null, 0, 0, INPUT, None, null.cast()), Errno::EINVAL);
        fails(ALooper_removeFd(null, 0), Errno::EINVAL);
        fails(alooper_cancel(null, 1), Errno::EINVAL);
        fails(alooper_quit(null), Errno::EINVAL);
        fails(alooper_quit_safely(null), Errno::EINVAL);
        fails(alooper_has_quit(null), Errno::EINVAL);
        fails(alooper_dump(null, ptr::null_mut(), 0), Errno::EINVAL);
        assert_eq!(alooper_post(null, Some(nothing), None, null.cast()), 0);
    }
}

unsafe extern "C-unwind" fn nothing(_: *mut c_void) {}

#[test]
fn a_poll_on_a_thread_without_a_looper_is_einval() {
    thread::spawn(|| {
        assert_eq!((poll_once(0).code, Errno::last()), (ALOOPER_POLL_ERROR, Errno::EINVAL));
        assert_eq!((poll_all(-1).code, Errno::last()), (ALOOPER_POLL_ERROR, Errno::EINVAL));
        assert!(ALooper_forThread().is_null(), "and makes none");
    })
    .join()
    .unwrap();
}

#[test]
fn an_fd_that_is_not_open_is_ebadf() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let closed = far_up(&near, 600);
    let number = closed.as_raw_fd();
    drop(closed);

    for fd in [number, -1, c_int::MIN] {
        // SAFETY: the library has to bear it.
        fails(unsafe { ALooper_addFd(looper, fd, 1, INPUT, None, ptr::null_mut()) }, Errno::EBADF);
        // SAFETY: as above.
        assert_eq!(unsafe { ALooper_removeFd(looper, fd) }, 0);
    }
}

#[test]
fn a_regular_file_is_eperm_and_leaves_what_was_there() {
    let looper = prepare();
    let file = File::open("Cargo.toml").unwrap();

    // SAFETY: the file is open.
    fails(unsafe { ALooper_addFd(looper, file.as_raw_fd(), 1, INPUT, None, ptr::null_mut()) }, Errno::EPERM);

    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}

#[test]
fn an_fd_that_is_closed_without_being_removed_is_forgotten_and_its_number_can_be_added() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let closed = far_up(&near, 620);
    let number = closed.as_raw_fd();
    // SAFETY: that it is closed too early is what the test is about.
    unsafe { ALooper_addFd(looper, number, 1, INPUT, None, ptr::null_mut()) };
    drop((closed, near));
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);

    let (near, _far) = ready_stream();
    let again = far_up(&near, 620);
    assert_eq!(again.as_raw_fd(), number);
    // SAFETY: it is open.
    assert_eq!(unsafe { ALooper_addFd(looper, number, 2, INPUT, None, ptr::null_mut()) }, 1);

    assert_eq!(poll_now(), 2);
    // SAFETY: the looper is this thread's.
    assert_eq!(unsafe { ALooper_removeFd(looper, number) }, 1);
}

/// The file stays open by its duplicate, so that epoll goes on to tell of a number that is closed.
#[test]
fn an_fd_that_is_closed_while_a_duplicate_lives_does_not_spin_for_ever() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let closed = far_up(&near, 640);
    let number = closed.as_raw_fd();
    let mut seen = Seen::keeping();
    // SAFETY: as above.
    unsafe { ALooper_addFd(looper, number, 1, INPUT, Some(note), seen.data()) };
    drop(closed);

    let mut turns = 0;
    while poll_now() != ALOOPER_POLL_TIMEOUT {
        turns += 1;
        assert!(turns < 10_000, "it is told for ever");
    }

    // SAFETY: the looper is this thread's.
    assert_eq!(unsafe { ALooper_removeFd(looper, number) }, 0);
}

/// Polls in a callback, and notes what that gives.
unsafe extern "C-unwind" fn polls(_: c_int, _: c_int, data: *mut c_void) -> c_int {
    let nested = (poll_once(-1).code, Errno::last());
    // SAFETY: the test passes this.
    unsafe { *data.cast::<Option<(c_int, Errno)>>() = Some(nested) };
    0
}

#[test]
fn a_poll_inside_a_callback_is_edeadlk() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let mut nested = None::<(c_int, Errno)>;
    add(looper, &near, polls, ptr::from_mut(&mut nested).cast());

    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);

    assert_eq!(nested, Some((ALOOPER_POLL_ERROR, Errno::EDEADLK)));
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT, "the looper is as before");
}

#[test]
fn a_release_too_many_changes_nothing() {
    let looper = prepare();
    Errno::clear();

    // SAFETY: the library has to bear it.
    unsafe { ALooper_release(looper) };

    assert_eq!(Errno::last(), Errno::EINVAL);
    // SAFETY: the looper is this thread's.
    unsafe { ALooper_wake(looper) };
    assert_eq!(poll_now(), ALOOPER_POLL_WAKE);
}

/// Without debug assertions the looper has been freed, as on Android.
#[cfg(debug_assertions)]
#[test]
fn a_debug_build_catches_a_release_after_the_end() {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let looper = prepare();
        // SAFETY: the looper is this thread's.
        unsafe { ALooper_acquire(looper) };
        sender.send(Shared(looper)).unwrap();
    })
    .join()
    .unwrap();
    let looper = receiver.recv().unwrap().get();
    // SAFETY: it was acquired.
    unsafe { ALooper_release(looper) };

    for _ in 0..2 {
        Errno::clear();
        // SAFETY: a debug build has to bear it.
        unsafe { ALooper_release(looper) };
        assert_eq!(Errno::last(), Errno::EINVAL);
    }
    // SAFETY: as above.
    fails(unsafe { ALooper_removeFd(looper, 0) }, Errno::EINVAL);
}

#[test]
fn without_a_free_fd_prepare_is_null_with_emfile() {
    // In a child: the limit is the process's.
    in_child(|| {
        let free = File::open("/dev/null").unwrap().as_raw_fd();
        let limit = u64::try_from(free).unwrap();
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, limit, limit).unwrap();

        ALooper_prepare(ALLOW).is_null() && Errno::last() == Errno::EMFILE
    });
}

/// Whether `action` is true in a forked child.
fn in_child(action: impl FnOnce() -> bool) {
    // SAFETY: the child calls nothing that another thread may have locked but the allocator, which libc's fork provides for.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let is_true = action();
            // SAFETY: it ends the child without running what the parent has registered.
            unsafe { nix::libc::_exit(i32::from(!is_true)) }
        }
        ForkResult::Parent { child } => assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0)),
    }
}

#[test]
fn a_forked_child_has_no_looper_and_its_parents_is_echild() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    add_ident(looper, &near, 5, ptr::null_mut());

    in_child(|| {
        // SAFETY: the looper is alive in the parent.
        let refused = unsafe {
            ALooper_removeFd(looper, near.as_raw_fd()) == -1
                && Errno::last() == Errno::ECHILD
                && ALooper_addFd(looper, near.as_raw_fd(), 1, INPUT, None, ptr::null_mut()) == -1
                && alooper_post(looper, Some(nothing), None, ptr::null_mut()) == 0
        };
        let had_none = ALooper_forThread().is_null() && poll_now() == ALOOPER_POLL_ERROR;
        let own = ALooper_prepare(ALLOW);
        add_ident(own, &near, 6, ptr::null_mut());
        refused && had_none && own != looper && poll_now() == 6
    });

    assert_eq!(poll_now(), 5, "the parent's is as before");
}

/// As T12: Android's poll ends for a signal, and the NDK does not say so.
#[test]
fn a_signal_does_not_end_a_poll() {
    extern "C" fn ignore(_: c_int) {}
    // SAFETY: the handler does nothing.
    unsafe { signal(Signal::SIGUSR2, SigHandler::Handler(ignore)) }.unwrap();
    prepare();
    let poller = nix::sys::pthread::pthread_self();
    let killer = soon(move || nix::sys::pthread::pthread_kill(poller, Signal::SIGUSR2).unwrap());

    let (told, took) = timed(|| poll_once(150));

    assert_eq!(told.code, ALOOPER_POLL_TIMEOUT);
    assert!(took >= ms(150), "{took:?}");
    killer.join().unwrap();
}

#[test]
fn a_panic_of_rust_inside_the_poll_is_an_error_and_does_not_unwind_into_c() {
    let looper = prepare();
    Looper::current().unwrap().post(|_| panic!("a panic that the test wants")).unwrap();

    assert_eq!((poll_once(0).code, Errno::last()), (ALOOPER_POLL_ERROR, Errno::ECANCELED));

    // SAFETY: the looper is this thread's.
    unsafe { ALooper_wake(looper) };
    assert_eq!(poll_now(), ALOOPER_POLL_WAKE);
}

#[test]
fn rust_and_c_have_one_looper_of_a_thread() {
    let rust = Looper::prepare().unwrap();
    let looper = ALooper_forThread();
    assert!(!looper.is_null());
    assert_eq!(prepare(), looper, "and the first ALooper_prepare says whether it takes idents");
    let (near, mut far) = UnixStream::pair().unwrap();
    add_ident(looper, &near, 1, ptr::null_mut());
    let (own, _far) = ready_stream();
    rust.add_fd(own, alooper::Interest::INPUT, |_, _, _| alooper::FdNext::Remove).unwrap();
    rust.post(move |_| far.write_all(b"x").unwrap()).unwrap();

    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK, "a closure and a callback of Rust");
    assert_eq!(poll_once(LONG).code, 1);
}

#[test]
fn threads_that_add_remove_and_wake_disturb_nothing() {
    let looper = Shared(prepare());
    let threads: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(move || {
                for _ in 0..500 {
                    let (near, _far) = ready_stream();
                    add_ident(looper.get(), &near, 7, ptr::null_mut());
                    looper.wake();
                    assert_eq!(remove(looper.get(), &near), 1);
                }
            })
        })
        .collect();

    while !threads.iter().all(thread::JoinHandle::is_finished) {
        let code = poll_once(1).code;
        assert!([7, ALOOPER_POLL_WAKE, ALOOPER_POLL_TIMEOUT].contains(&code), "{code}");
    }

    for thread in threads {
        thread.join().unwrap();
    }
    while poll_now() == ALOOPER_POLL_WAKE {}
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}
