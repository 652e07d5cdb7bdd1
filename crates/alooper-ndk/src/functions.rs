//! The functions of `<android/looper.h>`.
//!
//! None of them ends the process, and none unwinds unless a callback of C has thrown. What fails sets `errno` last, so
//! that nothing of ours comes after it.

#![allow(non_snake_case, reason = "the names in C")]

use std::{
    ffi::{c_int, c_void},
    ptr,
    rc::Rc,
    sync::Arc,
};

use alooper::Looper;
use nix::errno::Errno;

use crate::{
    constants::{
        ALOOPER_POLL_CALLBACK, ALOOPER_POLL_ERROR, ALOOPER_POLL_TIMEOUT, ALOOPER_POLL_WAKE,
        ALOOPER_PREPARE_ALLOW_NON_CALLBACKS, interest_of,
    },
    errno,
    fds::{ALooper_callbackFunc, Watched},
    home::{self, Home, Told, Wait},
    looper::ALooper,
};

/// Gives the calling thread's looper; null if it has none.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn ALooper_forThread() -> *mut ALooper {
    home::of_thread().map_or(ptr::null_mut(), |home| pointer(&home))
}

/// Gives the calling thread's looper, and makes it the first time.
///
/// Null with `errno` if it cannot be made: the process has no fd left (`EMFILE`), or the thread is ending.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn ALooper_prepare(opts: c_int) -> *mut ALooper {
    let prepared = Looper::prepare().map_err(|error| errno::of(&error));
    match prepared.and_then(|_| home::of_thread().ok_or(Errno::EINVAL)) {
        Ok(home) => {
            let _ = home.shell.allows_idents.set(opts & ALOOPER_PREPARE_ALLOW_NON_CALLBACKS != 0);
            pointer(&home)
        }
        Err(number) => {
            number.set();
            ptr::null_mut()
        }
    }
}

fn pointer(home: &Rc<Home>) -> *mut ALooper {
    Arc::as_ptr(&home.shell).cast_mut()
}

/// Acquires a reference: the pointer stays valid after the looper's thread has ended, until it is released.
///
/// # Safety
/// `looper` is null or a looper that is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ALooper_acquire(looper: *mut ALooper) {
    // SAFETY: as the caller says.
    match unsafe { ALooper::lent(looper) } {
        Ok(looper) => looper.acquire(),
        Err(number) => number.set(),
    }
}

/// Releases a reference that was acquired. One too many changes nothing, and sets `errno` to `EINVAL`.
///
/// # Safety
/// `looper` is null or a looper that is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ALooper_release(looper: *mut ALooper) {
    // SAFETY: as the caller says.
    if let Err(number) = unsafe { ALooper::lent(looper) }.and_then(ALooper::release) {
        number.set();
    }
}

/// Waits until an fd is ready, somebody wakes the looper, or the time has passed, and calls back.
///
/// Gives an ident, or one of the `ALOOPER_POLL` constants. The pointers may be null. They are written to in any case: to
/// what they point to comes the fd of the ident, or zero and null.
///
/// # Safety
/// Each pointer is null or may be written to. What the callbacks do is C's to answer for.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ALooper_pollOnce(
    timeout_millis: c_int,
    out_fd: *mut c_int,
    out_events: *mut c_int,
    out_data: *mut *mut c_void,
) -> c_int {
    let told =
        home::of_thread().ok_or(Errno::EINVAL).and_then(|home| home.poll_once(Wait::of_millis(&home, timeout_millis)));
    // SAFETY: as the caller says.
    unsafe { tell(told, out_fd, out_events, out_data) }
}

/// As [`ALooper_pollOnce`], again and again while callbacks run: it never gives `ALOOPER_POLL_CALLBACK`.
///
/// # Safety
/// As `ALooper_pollOnce`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ALooper_pollAll(
    timeout_millis: c_int,
    out_fd: *mut c_int,
    out_events: *mut c_int,
    out_data: *mut *mut c_void,
) -> c_int {
    let told =
        home::of_thread().ok_or(Errno::EINVAL).and_then(|home| home.poll_all(Wait::of_millis(&home, timeout_millis)));
    // SAFETY: as the caller says.
    unsafe { tell(told, out_fd, out_events, out_data) }
}

/// Writes what a poll tells to where C wants it.
///
/// # Safety
/// Each pointer is null or may be written to.
unsafe fn tell(
    told: Result<Told, Errno>,
    out_fd: *mut c_int,
    out_events: *mut c_int,
    out_data: *mut *mut c_void,
) -> c_int {
    let (code, fd, events, data) = match told {
        Ok(Told::Ident { ident, fd, events, data }) => (ident, fd, events, data),
        Ok(Told::Wake) => (ALOOPER_POLL_WAKE, 0, 0, ptr::null_mut()),
        Ok(Told::Callback) => (ALOOPER_POLL_CALLBACK, 0, 0, ptr::null_mut()),
        Ok(Told::Timeout) => (ALOOPER_POLL_TIMEOUT, 0, 0, ptr::null_mut()),
        Err(number) => {
            number.set();
            (ALOOPER_POLL_ERROR, 0, 0, ptr::null_mut())
        }
    };
    // SAFETY: as the caller says.
    unsafe {
        put(out_fd, fd);
        put(out_events, events);
        put(out_data, data);
    }
    code
}

/// # Safety
/// `place` is null or may be written to.
unsafe fn put<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: as the caller says.
        unsafe { place.write(value) };
    }
}

/// Ends the looper's poll, or else its next one, from any thread.
///
/// # Safety
/// `looper` is null or a looper that is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ALooper_wake(looper: *mut ALooper) {
    // SAFETY: as the caller says.
    let looper = unsafe { ALooper::lent(looper) };
    if let Err(number) = looper.and_then(|looper| looper.handle.wake().map_err(|error| errno::of(&error))) {
        number.set();
    }
}

/// Watches an fd, from any thread, in the place of what was known of the same fd.
///
/// With a callback, that is called when the fd is ready, and `ident` means nothing. Without one, a poll gives `ident`.
/// Gives 1, or -1 with `errno`.
///
/// # Safety
/// `looper` is null or a looper that is alive. The fd stays open until it is removed; `callback` may be called with
/// `data` on the looper's thread until then.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ALooper_addFd(
    looper: *mut ALooper,
    fd: c_int,
    ident: c_int,
    events: c_int,
    callback: Option<ALooper_callbackFunc>,
    data: *mut c_void,
) -> c_int {
    let add = |looper: &ALooper| {
        let may_be_told = ident >= 0 && looper.allows_idents.get().copied().unwrap_or(false);
        if callback.is_none() && !may_be_told {
            return Err(Errno::EINVAL);
        }
        if fd < 0 {
            return Err(Errno::EBADF);
        }
        let ident = if callback.is_some() { ALOOPER_POLL_CALLBACK } else { ident };
        let watched = Watched::new(fd, ident, callback, data);
        looper.fds.add(&looper.handle, watched, interest_of(events)).map_err(|error| errno::of(&error))
    };
    // SAFETY: as the caller says.
    match unsafe { ALooper::lent_here(looper) }.and_then(add) {
        Ok(()) => 1,
        Err(number) => {
            number.set();
            -1
        }
    }
}

/// Removes an fd, from any thread. After that no call of its callback begins.
///
/// Gives 1 if it was watched, 0 if not, and -1 with `errno` if the looper is not one.
///
/// # Safety
/// `looper` is null or a looper that is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ALooper_removeFd(looper: *mut ALooper, fd: c_int) -> c_int {
    // SAFETY: as the caller says.
    match unsafe { ALooper::lent_here(looper) } {
        Ok(looper) => c_int::from(looper.fds.remove(fd)),
        Err(number) => {
            number.set();
            -1
        }
    }
}
