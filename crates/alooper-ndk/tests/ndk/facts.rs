//! What the NDK's reference says of each function and constant, one fact a test. REFERENCE.md lists them.

use std::{
    ffi::{c_int, c_void},
    io::{Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    ptr,
    sync::mpsc,
    thread,
};

use alooper_ndk::*;

use crate::support::*;

#[test]
fn for_thread_is_null_before_prepare_and_the_looper_after() {
    thread::spawn(|| {
        assert!(ALooper_forThread().is_null());

        let looper = prepare();

        assert_eq!(ALooper_forThread(), looper);
    })
    .join()
    .unwrap();
}

#[test]
fn prepare_gives_the_same_looper_again_whatever_the_options() {
    let looper = prepare();

    assert_eq!(ALooper_prepare(0), looper);
    assert_eq!(ALooper_prepare(ALLOW), looper);
}

#[test]
fn prepare_gives_each_thread_its_own() {
    let looper = Shared(prepare());

    let other = thread::spawn(|| Shared(prepare()).get() as usize).join().unwrap();

    assert_ne!(other, looper.get() as usize);
}

#[test]
fn prepare_without_the_option_takes_no_fd_without_a_callback() {
    let looper = ALooper_prepare(0);
    let (near, _far) = ready_stream();

    // SAFETY: the stream is open.
    let added = unsafe { ALooper_addFd(looper, near.as_raw_fd(), 1, INPUT, None, ptr::null_mut()) };

    assert_eq!(added, -1);
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
    let mut seen = Seen::default();
    add(looper, &near, note, seen.data());
    assert_eq!(poll_now(), ALOOPER_POLL_CALLBACK);
}

#[test]
fn a_wake_alone_is_told_as_wake() {
    let looper = prepare();
    // SAFETY: the looper is this thread's.
    unsafe { ALooper_wake(looper) };

    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_WAKE);
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}

#[test]
fn a_callback_hides_a_wake_and_the_next_poll_tells_it() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let mut seen = Seen::default();
    add(looper, &near, note, seen.data());
    // SAFETY: the looper is this thread's.
    unsafe { ALooper_wake(looper) };

    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);
    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_WAKE);
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}

#[test]
fn an_ident_hides_a_wake_and_the_next_poll_tells_it() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    add_ident(looper, &near, 4, ptr::null_mut());
    // SAFETY: the looper is this thread's.
    unsafe { ALooper_wake(looper) };

    assert_eq!(poll_once(LONG).code, 4);
    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_WAKE);
}

#[test]
fn a_wake_is_told_although_a_callback_is_always_ready() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let mut seen = Seen::keeping();
    add(looper, &near, note, seen.data());
    // SAFETY: the looper is this thread's.
    unsafe { ALooper_wake(looper) };

    let codes = [poll_now(), poll_now(), poll_now()];

    assert_eq!(codes, [ALOOPER_POLL_CALLBACK, ALOOPER_POLL_WAKE, ALOOPER_POLL_CALLBACK]);
}

#[test]
fn many_wakes_are_told_as_one() {
    let looper = prepare();
    for _ in 0..5 {
        // SAFETY: the looper is this thread's.
        unsafe { ALooper_wake(looper) };
    }

    assert_eq!(poll_now(), ALOOPER_POLL_WAKE);
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}

#[test]
fn a_wake_comes_from_any_thread_and_ends_the_wait() {
    let looper = Shared(prepare());
    let waker = soon(move || looper.wake());

    assert_eq!(poll_once(-1).code, ALOOPER_POLL_WAKE);

    waker.join().unwrap();
}

#[test]
fn a_timeout_of_zero_does_not_wait() {
    prepare();

    let (told, took) = timed(|| poll_once(0));

    assert_eq!(told.code, ALOOPER_POLL_TIMEOUT);
    assert!(took < ms(10_000), "{took:?}");
}

#[test]
fn a_timeout_is_waited_out_and_told() {
    prepare();

    let (told, took) = timed(|| poll_once(50));

    assert_eq!(told.code, ALOOPER_POLL_TIMEOUT);
    assert!(took >= ms(50), "{took:?}");
}

#[test]
fn a_negative_timeout_waits_until_something_happens() {
    for millis in [-1, -1000, c_int::MIN] {
        let looper = prepare();
        let (near, mut far) = UnixStream::pair().unwrap();
        add_ident(looper, &near, 1, ptr::null_mut());
        let writer = soon(move || far.write_all(b"x").unwrap());

        let (told, took) = timed(|| poll_once(millis));

        assert_eq!(told.code, 1);
        assert!(took >= ms(20), "{took:?}");
        writer.join().unwrap();
        remove(looper, &near);
    }
}

#[test]
fn a_poll_without_a_looper_is_an_error() {
    thread::spawn(|| {
        assert_eq!(poll_once(0).code, ALOOPER_POLL_ERROR);
        assert_eq!(poll_all(0).code, ALOOPER_POLL_ERROR);
    })
    .join()
    .unwrap();
}

#[test]
fn a_ready_fd_without_callback_is_told_with_its_fd_events_and_data() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let data = ptr::without_provenance_mut(0x1234);
    add_ident(looper, &near, 0, data);

    let told = poll_once(LONG);

    assert_eq!(told, Told { code: 0, fd: near.as_raw_fd(), events: INPUT, data });
    assert_eq!(poll_now(), 0, "it stays ready until it is read");
}

#[test]
fn what_is_no_ident_puts_zero_and_null_in_the_places() {
    let looper = prepare();
    let nothing = |code| Told { code, fd: 0, events: 0, data: ptr::null_mut() };
    assert_eq!(poll_once(0), nothing(ALOOPER_POLL_TIMEOUT));
    // SAFETY: the looper is this thread's.
    unsafe { ALooper_wake(looper) };
    assert_eq!(poll_once(0), nothing(ALOOPER_POLL_WAKE));
    let (near, _far) = ready_stream();
    let mut seen = Seen::default();
    add(looper, &near, note, seen.data());
    assert_eq!(poll_once(0), nothing(ALOOPER_POLL_CALLBACK));
    let elsewhere = thread::spawn(move || poll_once(0) == nothing(ALOOPER_POLL_ERROR));
    assert!(elsewhere.join().unwrap());
}

#[test]
fn the_places_may_be_null() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    add_ident(looper, &near, 3, ptr::null_mut());

    // SAFETY: null is allowed.
    let code = unsafe { ALooper_pollOnce(0, ptr::null_mut(), ptr::null_mut(), ptr::null_mut()) };

    assert_eq!(code, 3);
}

#[test]
fn a_poll_calls_back_for_each_fd_that_is_ready() {
    let looper = prepare();
    let mut ends = Vec::new();
    let mut seen: Vec<Seen> = (0..40).map(|_| Seen::default()).collect();
    for seen in &mut seen {
        let (near, far) = ready_stream();
        add(looper, &near, note, seen.data());
        ends.push((near, far));
    }

    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);

    assert!(seen.iter().all(|seen| seen.calls == 1), "{seen:?}");
}

#[test]
fn callbacks_run_before_an_ident_is_told() {
    let looper = prepare();
    let ((first, _far_1), (second, _far_2), (third, _far_3)) = (ready_stream(), ready_stream(), ready_stream());
    let (mut seen_1, mut seen_3) = (Seen::keeping(), Seen::keeping());
    add(looper, &first, note, seen_1.data());
    add_ident(looper, &second, 9, ptr::null_mut());
    add(looper, &third, note, seen_3.data());

    assert_eq!(poll_once(LONG).code, 9);

    assert_eq!((seen_1.calls, seen_3.calls), (1, 1));
}

#[test]
fn several_idents_are_told_by_as_many_polls_that_do_not_wait() {
    let looper = prepare();
    let streams: Vec<_> = (0..5).map(|_| ready_stream()).collect();
    for (ident, (near, _)) in (10..).zip(&streams) {
        add_ident(looper, near, ident, ptr::null_mut());
    }
    let mut told = vec![poll_once(-1)];
    // All are known now. Nothing is left to read, and polls that would wait would do so for ever.
    for (near, _) in &streams {
        (&*near).read_exact(&mut [0]).unwrap();
    }

    told.extend((1..5).map(|_| poll_once(-1)));

    let mut codes: Vec<_> = told.iter().map(|told| told.code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [10, 11, 12, 13, 14]);
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}

#[test]
fn an_ident_that_is_removed_before_it_is_told_is_not() {
    let looper = prepare();
    let streams: Vec<_> = (0..3).map(|_| ready_stream()).collect();
    for (ident, (near, _)) in (0..).zip(&streams) {
        add_ident(looper, near, ident, ptr::null_mut());
    }
    let first = poll_once(-1).code;

    for (near, _) in &streams {
        assert_eq!(remove(looper, near), 1);
    }

    assert!((0..3).contains(&first));
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}

#[test]
fn an_ident_that_is_replaced_before_it_is_told_is_told_as_the_new_one() {
    let looper = prepare();
    let streams: Vec<_> = (0..3).map(|_| ready_stream()).collect();
    for (ident, (near, _)) in (0..).zip(&streams) {
        add_ident(looper, near, ident, ptr::null_mut());
    }
    poll_once(-1);

    for (ident, (near, _)) in (20..).zip(&streams) {
        add_ident(looper, near, ident, ptr::null_mut());
    }

    let mut codes: Vec<_> = (0..3).map(|_| poll_once(-1).code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [20, 21, 22]);
}

#[test]
fn the_callback_gets_the_fd_the_events_and_the_data() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let mut seen = Seen::default();
    add(looper, &near, note, seen.data());

    poll_once(LONG);

    assert_eq!((seen.calls, seen.fd, seen.events), (1, near.as_raw_fd(), INPUT));
}

#[test]
fn a_callback_that_returns_1_is_called_again() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let mut seen = Seen::keeping();
    add(looper, &near, note, seen.data());

    for _ in 0..3 {
        assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);
    }

    assert_eq!(seen.calls, 3);
}

#[test]
fn a_callback_that_returns_0_is_removed() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let mut seen = Seen::default();
    add(looper, &near, note, seen.data());

    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);

    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
    assert_eq!(seen.calls, 1);
    assert_eq!(remove(looper, &near), 0);
}

/// Adds its own fd anew, with the ident 9, and then says that it wants to go.
unsafe extern "C-unwind" fn replaces_itself(fd: c_int, _: c_int, _: *mut c_void) -> c_int {
    // SAFETY: the test keeps the fd open, and the looper is this thread's.
    assert_eq!(unsafe { ALooper_addFd(ALooper_forThread(), fd, 9, INPUT, None, ptr::null_mut()) }, 1);
    0
}

#[test]
fn the_0_of_a_callback_that_has_replaced_itself_spares_the_new_one() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    add(looper, &near, replaces_itself, ptr::null_mut());

    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);

    assert_eq!(poll_once(LONG).code, 9);
    assert_eq!(remove(looper, &near), 1);
}

#[test]
fn input_is_told_when_there_is_something_to_read() {
    let looper = prepare();
    let (near, mut far) = UnixStream::pair().unwrap();
    add_ident(looper, &near, 1, ptr::null_mut());
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);

    far.write_all(b"x").unwrap();

    assert_eq!(poll_once(LONG).events, ALOOPER_EVENT_INPUT);
}

#[test]
fn output_is_told_when_there_is_room_to_write() {
    let looper = prepare();
    let (near, _far) = UnixStream::pair().unwrap();
    // SAFETY: the stream is open.
    let added = unsafe { ALooper_addFd(looper, near.as_raw_fd(), 1, ALOOPER_EVENT_OUTPUT, None, ptr::null_mut()) };

    assert_eq!(added, 1);
    assert_eq!(poll_once(LONG).events, ALOOPER_EVENT_OUTPUT);
}

#[test]
fn errors_and_hangups_are_told_without_being_asked_for() {
    let looper = prepare();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    for fd in [&reader, &writer] {
        // SAFETY: the pipe is open.
        let added = unsafe { ALooper_addFd(looper, fd.as_raw_fd(), 1, 0, None, ptr::null_mut()) };
        assert_eq!(added, 1);
    }
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);

    drop(reader);
    let of_writer = poll_once(LONG);

    assert_eq!((of_writer.fd, of_writer.events), (writer.as_raw_fd(), ALOOPER_EVENT_ERROR));

    let (reader, gone) = nix::unistd::pipe().unwrap();
    // SAFETY: the pipes are open.
    unsafe {
        ALooper_removeFd(looper, writer.as_raw_fd());
        ALooper_addFd(looper, reader.as_raw_fd(), 1, INPUT, None, ptr::null_mut());
    }
    drop(gone);

    assert_eq!(poll_once(LONG).events, ALOOPER_EVENT_HANGUP);
}

#[test]
fn adding_a_known_fd_replaces_callback_data_and_events() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let (mut old, mut new) = (Seen::keeping(), Seen::keeping());
    add(looper, &near, note, old.data());
    add(looper, &near, note, new.data());

    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);

    assert_eq!((old.calls, new.calls), (0, 1));
    // SAFETY: the stream is open.
    let added = unsafe { ALooper_addFd(looper, near.as_raw_fd(), 6, ALOOPER_EVENT_OUTPUT, None, ptr::null_mut()) };
    assert_eq!(added, 1);
    let told = poll_once(LONG);
    assert_eq!((told.code, told.events, new.calls), (6, ALOOPER_EVENT_OUTPUT, 1));
    assert_eq!(remove(looper, &near), 1);
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}

#[test]
fn with_a_callback_the_ident_means_nothing() {
    let looper = prepare();
    for ident in [-1, 0, 5, ALOOPER_POLL_CALLBACK] {
        let (near, _far) = ready_stream();
        let mut seen = Seen::default();
        // SAFETY: the stream is open, and `seen` lives longer than it is watched.
        let added = unsafe { ALooper_addFd(looper, near.as_raw_fd(), ident, INPUT, Some(note), seen.data()) };

        assert_eq!(added, 1);
        assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);
        assert_eq!(seen.calls, 1);
    }
}

#[test]
fn without_a_callback_an_ident_below_zero_is_an_error() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    for ident in [-1, ALOOPER_POLL_CALLBACK, c_int::MIN] {
        // SAFETY: the stream is open.
        let added = unsafe { ALooper_addFd(looper, near.as_raw_fd(), ident, INPUT, None, ptr::null_mut()) };

        assert_eq!(added, -1);
    }
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}

#[test]
fn add_fd_works_on_any_thread_while_the_looper_waits() {
    let looper = Shared(prepare());
    let adder = soon(move || {
        let (near, far) = ready_stream();
        add_ident(looper.get(), &near, 8, ptr::null_mut());
        // They stay open, for the other thread.
        std::mem::forget((near, far));
    });

    assert_eq!(poll_once(-1).code, 8);

    adder.join().unwrap();
}

#[test]
fn remove_fd_gives_1_for_what_is_watched_and_0_for_what_is_not() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    assert_eq!(remove(looper, &near), 0);
    add_ident(looper, &near, 1, ptr::null_mut());

    assert_eq!(remove(looper, &near), 1);

    assert_eq!(remove(looper, &near), 0);
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}

#[test]
fn after_remove_fd_the_fd_may_be_closed_and_its_number_used_again() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let number = near.as_raw_fd();
    let mut seen = Seen::keeping();
    add(looper, &near, note, seen.data());

    assert_eq!(remove(looper, &near), 1);
    drop(near);
    let (again, _far) = ready_stream();

    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
    assert_eq!(seen.calls, 0);
    add_ident(looper, &again, 2, ptr::null_mut());
    assert_eq!(poll_now(), 2);
    let _ = number;
}

/// Removes its own fd, and says that it wants to stay.
unsafe extern "C-unwind" fn removes_itself(fd: c_int, events: c_int, data: *mut c_void) -> c_int {
    // SAFETY: the test passes a `Seen`, and the looper is this thread's.
    unsafe {
        assert_eq!(ALooper_removeFd(ALooper_forThread(), fd), 1);
        note(fd, events, data);
    }
    1
}

#[test]
fn a_callback_that_removes_itself_is_not_called_again() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let mut seen = Seen::default();
    add(looper, &near, removes_itself, seen.data());

    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);

    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
    assert_eq!(seen.calls, 1);
    add(looper, &near, note, seen.data());
    assert_eq!(poll_now(), ALOOPER_POLL_CALLBACK, "but when it is added anew");
}

#[test]
fn remove_fd_works_on_any_thread_while_the_looper_waits() {
    let looper = Shared(prepare());
    let (near, mut far) = UnixStream::pair().unwrap();
    add_ident(looper.get(), &near, 8, ptr::null_mut());
    let remover = soon(move || {
        assert_eq!(remove(looper.get(), &near), 1);
        far.write_all(b"x").unwrap();
        looper.wake();
        std::mem::forget(near);
    });

    assert_eq!(poll_once(-1).code, ALOOPER_POLL_WAKE);

    remover.join().unwrap();
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}

/// Two are ready; the one that is called first removes the other.
unsafe extern "C-unwind" fn removes_both(_: c_int, _: c_int, data: *mut c_void) -> c_int {
    // SAFETY: the test passes this, and the looper is this thread's.
    unsafe {
        let (fds, calls) = &mut *data.cast::<([c_int; 2], usize)>();
        *calls += 1;
        for fd in fds {
            ALooper_removeFd(ALooper_forThread(), *fd);
        }
    }
    1
}

#[test]
fn after_remove_fd_no_call_begins_not_even_in_the_same_poll() {
    let looper = prepare();
    let ((first, _far_1), (second, _far_2)) = (ready_stream(), ready_stream());
    let mut shared = ([first.as_raw_fd(), second.as_raw_fd()], 0_usize);
    add(looper, &first, removes_both, ptr::from_mut(&mut shared).cast());
    add(looper, &second, removes_both, ptr::from_mut(&mut shared).cast());

    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);

    assert_eq!(shared.1, 1);
}

#[test]
fn poll_all_calls_back_until_all_is_consumed() {
    for millis in [0, 50] {
        let looper = prepare();
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"three").unwrap();
        let mut seen = Seen::keeping();
        add(looper, &near, read_one, seen.data());

        assert_eq!(poll_all(millis).code, ALOOPER_POLL_TIMEOUT, "never CALLBACK");

        assert_eq!(seen.calls, 5);
        remove(looper, &near);
    }
}

#[test]
fn poll_all_ends_at_an_ident() {
    let looper = prepare();
    let ((called, _far_1), (told, _far_2)) = (ready_stream(), ready_stream());
    let mut seen = Seen::keeping();
    add(looper, &called, read_one, seen.data());
    add_ident(looper, &told, 3, ptr::null_mut());

    assert_eq!(poll_all(-1).code, 3);

    assert_eq!(seen.calls, 1);
}

#[test]
fn poll_all_does_not_miss_a_wake_beside_callbacks() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let mut seen = Seen::keeping();
    add(looper, &near, note, seen.data());
    // SAFETY: the looper is this thread's.
    unsafe { ALooper_wake(looper) };

    assert_eq!(poll_all(-1).code, ALOOPER_POLL_WAKE);

    assert_eq!(seen.calls, 1);
}

#[test]
fn poll_all_ends_at_its_timeout_although_a_callback_is_always_ready() {
    let looper = prepare();
    let (near, _far) = ready_stream();
    let mut seen = Seen::keeping();
    add(looper, &near, note, seen.data());

    let (told, took) = timed(|| poll_all(50));

    assert_eq!(told.code, ALOOPER_POLL_TIMEOUT);
    assert!(took >= ms(50) && seen.calls > 1, "{took:?}, {seen:?}");
}

#[test]
fn an_acquired_looper_can_be_used_after_its_thread_has_ended() {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let looper = prepare();
        // SAFETY: the looper is this thread's.
        unsafe { ALooper_acquire(looper) };
        sender.send(Shared(looper)).unwrap();
    })
    .join()
    .unwrap();
    let looper = receiver.recv().unwrap();
    let (near, _far) = ready_stream();

    looper.wake();
    // SAFETY: a reference was acquired.
    let added = unsafe { ALooper_addFd(looper.get(), near.as_raw_fd(), 1, INPUT, None, ptr::null_mut()) };

    assert_eq!(added, -1);
    assert_eq!(nix::errno::Errno::last(), nix::errno::Errno::ESHUTDOWN);
    assert_eq!(remove(looper.get(), &near), 0);
    // SAFETY: it is released once.
    unsafe { ALooper_release(looper.get()) };
}

#[test]
fn a_release_takes_back_an_acquire_and_leaves_the_thread_its_looper() {
    let looper = prepare();
    // SAFETY: the looper is this thread's.
    unsafe {
        ALooper_acquire(looper);
        ALooper_acquire(looper);
        ALooper_release(looper);
        ALooper_release(looper);
        ALooper_wake(looper);
    }

    assert_eq!(poll_now(), ALOOPER_POLL_WAKE);
    assert_eq!(ALooper_forThread(), looper);
}
