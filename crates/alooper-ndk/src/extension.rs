//! The functions of `alooper.h`: what Android's native side does not have.

use std::{
    ffi::{c_char, c_int, c_void},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    time::{ClockId, clock_gettime},
};

use crate::{
    errno,
    looper::ALooper,
    posts::{Call, Posts, When, alooper_discard_func, alooper_func},
};

/// The time on `CLOCK_MONOTONIC`, in nanoseconds.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn alooper_now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Posts `run` to be called with `data` on the looper's thread, after what is due already.
///
/// Gives the number by which it can be cancelled. Exactly one of `run` and `discard` will be called, once. Or gives 0 with
/// `errno`, and neither is called: `ESHUTDOWN` if the looper has quit or its thread has ended.
///
/// # Safety
/// `looper` is null or a looper that is alive. `run` may be called with `data` on its thread, `discard` on any, and
/// `discard` does not throw.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn alooper_post(
    looper: *mut ALooper,
    run: Option<alooper_func>,
    discard: Option<alooper_discard_func>,
    data: *mut c_void,
) -> u64 {
    // SAFETY: as the caller says.
    unsafe { post(looper, |_| When::Now, run, discard, data) }
}

/// As [`alooper_post`], to be called no earlier than `delay` nanoseconds from now.
///
/// # Safety
/// As `alooper_post`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn alooper_post_delayed(
    looper: *mut ALooper,
    delay: u64,
    run: Option<alooper_func>,
    discard: Option<alooper_discard_func>,
    data: *mut c_void,
) -> u64 {
    // SAFETY: as the caller says.
    unsafe { post(looper, |_| When::After(Duration::from_nanos(delay)), run, discard, data) }
}

/// As [`alooper_post`], to be called no earlier than at `when`, a time of [`alooper_now`].
///
/// # Safety
/// As `alooper_post`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn alooper_post_at(
    looper: *mut ALooper,
    when: u64,
    run: Option<alooper_func>,
    discard: Option<alooper_discard_func>,
    data: *mut c_void,
) -> u64 {
    // SAFETY: as the caller says.
    unsafe { post(looper, |looper| When::At(instant_of(when, looper)), run, discard, data) }
}

/// # Safety
/// As `alooper_post`.
unsafe fn post(
    looper: *mut ALooper,
    when: impl FnOnce(&ALooper) -> When,
    run: Option<alooper_func>,
    discard: Option<alooper_discard_func>,
    data: *mut c_void,
) -> u64 {
    // SAFETY: as the caller says.
    let looper = unsafe { ALooper::lent_here(looper) }.and_then(|looper| looper.arc().ok_or(Errno::EINVAL));
    let posted = looper.and_then(|looper: Arc<ALooper>| {
        let run = run.ok_or(Errno::EINVAL)?;
        let when = when(&looper);
        Posts::post(&looper, when, Call { run, discard, data }).map_err(|error| errno::of(&error))
    });
    posted.unwrap_or_else(|number| {
        number.set();
        0
    })
}

/// The looper's time for one of `alooper_now`. The kernel's clock is read first, so that it is never too early.
fn instant_of(when: u64, looper: &ALooper) -> Instant {
    let kernel = alooper_now();
    let now = looper.handle.now();
    match when.checked_sub(kernel) {
        Some(to_come) => now + Duration::from_nanos(to_come),
        None => now.checked_sub(Duration::from_nanos(kernel - when)).unwrap_or(now),
    }
}

/// Cancels what was posted. Gives 1 if that kept it from running, 0 if it has run, runs, or was cancelled, and -1 with
/// `errno`. Before it returns, `discard` has been called.
///
/// # Safety
/// `looper` is null or a looper that is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn alooper_cancel(looper: *mut ALooper, posted: u64) -> c_int {
    // SAFETY: as the caller says.
    let cancelled = unsafe { ALooper::lent_here(looper) }.map(|looper| looper.posts.cancel(posted));
    number_of(cancelled.map(c_int::from))
}

/// Quits: nothing of the looper starts any more, what is posted is given up, and polls give `ALOOPER_POLL_ERROR` with
/// `ESHUTDOWN`. Gives 0, or -1 with `errno`.
///
/// # Safety
/// `looper` is null or a looper that is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn alooper_quit(looper: *mut ALooper) -> c_int {
    // SAFETY: as the caller says.
    let quit = unsafe { ALooper::lent_here(looper) }.map(|looper| {
        // A safe quit that has come first goes on.
        if !looper.handle.has_quit() {
            looper.posts.quit_now();
        }
        looper.handle.quit();
    });
    number_of(quit.map(|()| 0))
}

/// As [`alooper_quit`], after the posted functions that are due by now have run.
///
/// # Safety
/// `looper` is null or a looper that is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn alooper_quit_safely(looper: *mut ALooper) -> c_int {
    // SAFETY: as the caller says.
    let quit = unsafe { ALooper::lent_here(looper) }.map(|looper| looper.handle.quit_safely());
    number_of(quit.map(|()| 0))
}

/// Gives 1 if the looper has quit or its thread has ended, 0 if not, and -1 with `errno`.
///
/// # Safety
/// `looper` is null or a looper that is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn alooper_has_quit(looper: *mut ALooper) -> c_int {
    // SAFETY: as the caller says.
    let has_quit = unsafe { ALooper::lent_here(looper) }.map(|looper| looper.handle.has_quit());
    number_of(has_quit.map(c_int::from))
}

/// Writes the looper's state, as text for people, to `buffer`, which has room for `size` bytes, the last one a zero.
///
/// Gives the length of the whole text, as `snprintf`, or -1 with `errno`.
///
/// # Safety
/// `looper` is null or a looper that is alive. `buffer` has room for `size` bytes; it may be null if that is zero.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn alooper_dump(looper: *mut ALooper, buffer: *mut c_char, size: usize) -> c_int {
    // SAFETY: as the caller says.
    let text = unsafe { ALooper::lent_here(looper) }.map(|looper| looper.handle.dump().to_string());
    let text = match text {
        Ok(_) if buffer.is_null() && size > 0 => Err(Errno::EINVAL),
        text => text,
    };
    number_of(text.map(|text| {
        if size > 0 {
            let length = text.len().min(size - 1);
            // SAFETY: the caller says that there is room, and the text is not in it.
            unsafe {
                buffer.copy_from_nonoverlapping(text.as_ptr().cast(), length);
                buffer.add(length).write(0);
            }
        }
        c_int::try_from(text.len()).unwrap_or(c_int::MAX)
    }))
}

fn number_of(result: Result<c_int, Errno>) -> c_int {
    result.unwrap_or_else(|number| {
        number.set();
        -1
    })
}
