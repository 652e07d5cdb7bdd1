//! The crate `ndk`, which others wrote for Android, on this library: its looper module, unchanged.

use std::{
    ffi::{c_char, c_int},
    io::{Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
    ptr, thread,
};

use alooper_ndk as _;
use ndk::looper::{FdEvent, ForeignLooper, Poll, ThreadLooper};

use crate::support::{ms, ready_stream, soon};

/// Android's log, which is another library's. The crate `ndk` tells it of a panic in a callback before it aborts.
#[unsafe(no_mangle)]
extern "C" fn __android_log_write(_priority: c_int, _tag: *const c_char, _text: *const c_char) -> c_int {
    0
}

#[test]
fn a_thread_has_a_looper_once_it_was_prepared() {
    thread::spawn(|| {
        assert!(ThreadLooper::for_thread().is_none() && ForeignLooper::for_thread().is_none());

        let looper = ThreadLooper::prepare();

        assert_eq!(ForeignLooper::for_thread().unwrap().ptr(), looper.as_foreign().ptr());
    })
    .join()
    .unwrap();
}

#[test]
fn polls_tell_timeouts_and_wakes() {
    let looper = ThreadLooper::prepare();
    assert!(matches!(looper.poll_once_timeout(ms(0)), Ok(Poll::Timeout)));
    assert!(matches!(looper.poll_once_timeout(ms(5)), Ok(Poll::Timeout)));
    assert!(matches!(looper.poll_all_timeout(ms(5)), Ok(Poll::Timeout)));

    looper.as_foreign().wake();

    assert!(matches!(looper.poll_once(), Ok(Poll::Wake)));
    looper.as_foreign().wake();
    assert!(matches!(looper.poll_all(), Ok(Poll::Wake)));
}

#[test]
fn a_foreign_looper_is_cloned_to_another_thread_and_wakes() {
    let looper = ThreadLooper::prepare();
    let foreign = looper.as_foreign().clone();
    let waker = soon(move || foreign.wake());

    assert!(matches!(looper.poll_once(), Ok(Poll::Wake)));

    waker.join().unwrap();
}

#[test]
fn a_foreign_looper_outlives_its_thread() {
    let foreign = thread::spawn(|| ThreadLooper::prepare().into_foreign()).join().unwrap();

    foreign.wake();

    drop(foreign.clone());
}

#[test]
fn an_fd_without_callback_is_an_event_with_its_data() {
    let looper = ThreadLooper::prepare();
    let (near, _far) = ready_stream();
    let data = ptr::without_provenance_mut(0xabc);
    looper.as_foreign().add_fd(near.as_fd(), 7, FdEvent::INPUT, data).unwrap();

    let Ok(Poll::Event { ident, fd, events, data: told }) = looper.poll_once() else { panic!("no event") };

    assert_eq!((ident, fd.as_raw_fd(), events, told), (7, near.as_raw_fd(), FdEvent::INPUT, data));
    assert!(looper.as_foreign().remove_fd(near.as_fd()).unwrap());
    assert!(!looper.as_foreign().remove_fd(near.as_fd()).unwrap());
    assert!(looper.as_foreign().add_fd(near.as_fd(), -1, FdEvent::INPUT, data).is_err());
}

#[test]
fn a_closure_is_called_until_it_says_false() {
    let looper = ThreadLooper::prepare();
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"abc").unwrap();
    let (mut reader, mut text) = (near.try_clone().unwrap(), Vec::new());
    looper
        .add_fd_with_callback(near.as_fd(), FdEvent::INPUT, |_, events| {
            assert_eq!(events, FdEvent::INPUT);
            let mut byte = [0];
            reader.read_exact(&mut byte).unwrap();
            text.extend(byte);
            text.len() < 3
        })
        .unwrap();

    for _ in 0..3 {
        assert!(matches!(looper.poll_once(), Ok(Poll::Callback)));
    }

    assert!(matches!(looper.poll_once_timeout(ms(0)), Ok(Poll::Timeout)));
    assert!(!looper.as_foreign().remove_fd(near.as_fd()).unwrap());
    assert_eq!(text, b"abc");
}

#[test]
fn a_closure_from_another_thread_is_called_on_the_loopers() {
    let looper = ThreadLooper::prepare();
    let foreign = looper.as_foreign().clone();
    let home = thread::current().id();
    let (near, _far) = ready_stream();
    let adder = soon(move || {
        let added = foreign.add_fd_with_callback(near.as_fd(), FdEvent::INPUT, move |_, _| {
            assert_eq!(thread::current().id(), home);
            false
        });
        added.unwrap();
        std::mem::forget(near);
    });

    assert!(matches!(looper.poll_once(), Ok(Poll::Callback)));

    adder.join().unwrap();
    assert!(matches!(looper.poll_all_timeout(ms(5)), Ok(Poll::Timeout)));
}

#[test]
fn a_hangup_is_an_event_that_nobody_asked_for() {
    let looper = ThreadLooper::prepare();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    looper.as_foreign().add_fd(reader.as_fd(), 1, FdEvent::empty(), ptr::null_mut()).unwrap();

    drop(writer);

    assert!(matches!(looper.poll_once(), Ok(Poll::Event { events: FdEvent::HANGUP, .. })));
}
