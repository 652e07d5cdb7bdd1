//! What the tests share: polls, pipes, and callbacks that count.

use std::{
    ffi::{c_int, c_void},
    io::{Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    ptr, thread,
    time::{Duration, Instant},
};

use alooper_ndk::*;
use nix::errno::Errno;

pub(crate) const ALLOW: c_int = ALOOPER_PREPARE_ALLOW_NON_CALLBACKS;
pub(crate) const INPUT: c_int = ALOOPER_EVENT_INPUT;

/// What a poll has told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) code: c_int,
    pub(crate) fd: c_int,
    pub(crate) events: c_int,
    pub(crate) data: *mut c_void,
}

type Poll = unsafe extern "C-unwind" fn(c_int, *mut c_int, *mut c_int, *mut *mut c_void) -> c_int;

fn poll_by(function: Poll, millis: c_int) -> Told {
    let (mut fd, mut events, mut data) = (-7, -7, ptr::dangling_mut());
    // SAFETY: the pointers are to variables of the right types.
    let code = unsafe { function(millis, &mut fd, &mut events, &mut data) };
    Told { code, fd, events, data }
}

pub(crate) fn poll_once(millis: c_int) -> Told {
    poll_by(ALooper_pollOnce, millis)
}

pub(crate) fn poll_all(millis: c_int) -> Told {
    poll_by(ALooper_pollAll, millis)
}

/// The code of a poll that does not wait.
pub(crate) fn poll_now() -> c_int {
    poll_once(0).code
}

/// A looper of C that goes to another thread.
#[derive(Clone, Copy)]
pub(crate) struct Shared(pub(crate) *mut ALooper);

// SAFETY: that is what it is for.
unsafe impl Send for Shared {}

impl Shared {
    pub(crate) fn get(self) -> *mut ALooper {
        self.0
    }

    pub(crate) fn wake(self) {
        // SAFETY: the tests keep their loopers alive.
        unsafe { ALooper_wake(self.0) }
    }
}

/// The calling thread's looper, which takes idents.
pub(crate) fn prepare() -> *mut ALooper {
    let looper = ALooper_prepare(ALLOW);
    assert!(!looper.is_null());
    looper
}

pub(crate) fn add(looper: *mut ALooper, stream: &UnixStream, callback: ALooper_callbackFunc, data: *mut c_void) {
    // SAFETY: the stream and what is at `data` live as long as the test.
    let added = unsafe { ALooper_addFd(looper, stream.as_raw_fd(), 0, INPUT, Some(callback), data) };
    assert_eq!(added, 1, "{}", Errno::last());
}

pub(crate) fn add_ident(looper: *mut ALooper, stream: &UnixStream, ident: c_int, data: *mut c_void) {
    // SAFETY: the stream lives as long as the test.
    let added = unsafe { ALooper_addFd(looper, stream.as_raw_fd(), ident, INPUT, None, data) };
    assert_eq!(added, 1, "{}", Errno::last());
}

pub(crate) fn remove(looper: *mut ALooper, stream: &UnixStream) -> c_int {
    // SAFETY: the tests keep their loopers alive.
    unsafe { ALooper_removeFd(looper, stream.as_raw_fd()) }
}

/// A stream with a byte to read, and its other end.
pub(crate) fn ready_stream() -> (UnixStream, UnixStream) {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"x").unwrap();
    (near, far)
}

/// What a callback has seen, at its `data`.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: usize,
    pub(crate) fd: c_int,
    pub(crate) events: c_int,
    /// What it answers.
    pub(crate) answer: c_int,
}

impl Seen {
    pub(crate) fn keeping() -> Seen {
        Seen { answer: 1, ..Seen::default() }
    }

    pub(crate) fn data(&mut self) -> *mut c_void {
        ptr::from_mut(self).cast()
    }
}

/// Notes the call, and leaves what there is to read.
pub(crate) unsafe extern "C-unwind" fn note(fd: c_int, events: c_int, data: *mut c_void) -> c_int {
    // SAFETY: the tests pass a `Seen`.
    let seen = unsafe { &mut *data.cast::<Seen>() };
    (seen.calls, seen.fd, seen.events) = (seen.calls + 1, fd, events);
    seen.answer
}

/// Notes the call, and reads a byte.
pub(crate) unsafe extern "C-unwind" fn read_one(fd: c_int, events: c_int, data: *mut c_void) -> c_int {
    // SAFETY: the test keeps the fd open.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let mut stream = UnixStream::from(borrowed.try_clone_to_owned().unwrap());
    stream.read_exact(&mut [0]).unwrap();
    // SAFETY: as the caller says.
    unsafe { note(fd, events, data) }
}

/// Calls `action` on another thread after a while in which the caller most likely waits.
pub(crate) fn soon(action: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        action();
    })
}

pub(crate) fn timed<T>(action: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let result = action();
    (result, begun.elapsed())
}

/// Longer than any test. A poll that waits for so long has missed something.
pub(crate) const LONG: c_int = 20_000;

pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Says what is not tested here, and why, past the test harness, which shows nothing of a test that passes.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
