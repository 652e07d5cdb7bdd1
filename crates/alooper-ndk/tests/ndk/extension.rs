//! `alooper.h`.

use std::{
    ffi::{CStr, c_void},
    ptr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use alooper::Looper;
use alooper_ndk::*;
use nix::errno::Errno;

use crate::support::*;

/// What became of posted functions, each with its number.
#[derive(Default)]
struct Log(Mutex<Vec<(usize, &'static str)>>);

struct Entry(&'static Log, usize);

impl Log {
    /// One that outlives what the end of a thread discards.
    fn leaked() -> &'static Log {
        Box::leak(Box::default())
    }

    /// The data of a function. It is freed when that has run or was discarded.
    fn entry(&'static self, number: usize) -> *mut c_void {
        Box::into_raw(Box::new(Entry(self, number))).cast()
    }

    fn take(&self) -> Vec<(usize, &'static str)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

unsafe fn end(data: *mut c_void, how: &'static str) {
    // SAFETY: each entry ends once; were it twice, the tests' tools would tell.
    let entry = unsafe { Box::from_raw(data.cast::<Entry>()) };
    entry.0.0.lock().unwrap().push((entry.1, how));
}

unsafe extern "C-unwind" fn run(data: *mut c_void) {
    // SAFETY: the tests pass an entry.
    unsafe { end(data, "run") };
}

unsafe extern "C" fn discard(data: *mut c_void) {
    // SAFETY: as above.
    unsafe { end(data, "discarded") };
}

fn post(looper: *mut ALooper, log: &'static Log, number: usize) -> u64 {
    // SAFETY: the log is leaked.
    let posted = unsafe { alooper_post(looper, Some(run), Some(discard), log.entry(number)) };
    assert_ne!(posted, 0);
    posted
}

fn post_delayed(looper: *mut ALooper, log: &'static Log, number: usize, delay: u64) -> u64 {
    // SAFETY: as above.
    let posted = unsafe { alooper_post_delayed(looper, delay, Some(run), Some(discard), log.entry(number)) };
    assert_ne!(posted, 0);
    posted
}

const HOUR: u64 = 3_600_000_000_000;

#[test]
fn what_is_posted_runs_in_the_next_poll_in_its_order() {
    let (looper, log) = (prepare(), Log::leaked());
    (0..5).for_each(|number| _ = post(looper, log, number));
    assert_eq!(log.take(), []);

    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);

    assert_eq!(log.take(), [0, 1, 2, 3, 4].map(|number| (number, "run")));
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}

#[test]
fn what_is_delayed_or_timed_runs_when_it_is_due_and_never_early() {
    let (looper, log) = (prepare(), Log::leaked());
    let begun = alooper_now();
    post_delayed(looper, log, 2, 40_000_000);
    // SAFETY: the log is leaked.
    unsafe {
        alooper_post_at(looper, begun + 20_000_000, Some(run), Some(discard), log.entry(1));
        alooper_post_at(looper, 1, Some(run), Some(discard), log.entry(0));
    }

    for (number, due) in [(0, 0), (1, 20_000_000), (2, 40_000_000)] {
        assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);
        assert!(alooper_now() >= begun + due);
        assert_eq!(log.take(), [(number, "run")]);
    }
}

#[test]
fn any_thread_posts_and_the_looper_gets_up() {
    let (looper, log) = (Shared(prepare()), Log::leaked());
    let poster = soon(move || _ = post(looper.get(), log, 1));

    assert_eq!(poll_once(-1).code, ALOOPER_POLL_CALLBACK);

    assert_eq!(log.take(), [(1, "run")]);
    poster.join().unwrap();
}

#[test]
fn what_is_cancelled_is_discarded_before_cancel_returns() {
    let (looper, log) = (prepare(), Log::leaked());
    let posted = post(looper, log, 1);
    let delayed = post_delayed(looper, log, 2, HOUR);

    // SAFETY: the looper is this thread's.
    let cancelled = [posted, delayed, posted, 0, 12345].map(|posted| unsafe { alooper_cancel(looper, posted) });

    assert_eq!(cancelled, [1, 1, 0, 0, 0]);
    assert_eq!(log.take(), [(1, "discarded"), (2, "discarded")]);
    assert_eq!(poll_now(), ALOOPER_POLL_TIMEOUT);
}

#[test]
fn what_has_run_cannot_be_cancelled() {
    let (looper, log) = (prepare(), Log::leaked());
    let posted = post(looper, log, 1);
    poll_now();

    // SAFETY: the looper is this thread's.
    assert_eq!(unsafe { alooper_cancel(looper, posted) }, 0);
    assert_eq!(log.take(), [(1, "run")]);
}

/// Cancels the function whose number is at `data`.
unsafe extern "C-unwind" fn cancels(data: *mut c_void) {
    // SAFETY: the test passes this, and the looper is this thread's.
    unsafe { assert_eq!(alooper_cancel(ALooper_forThread(), *data.cast::<u64>()), 1) };
}

#[test]
fn a_function_cancels_the_next_one_of_the_same_poll() {
    let (looper, log) = (prepare(), Log::leaked());
    let next = std::sync::atomic::AtomicU64::new(0);
    // SAFETY: `next` lives until it has run.
    unsafe { alooper_post(looper, Some(cancels), None, next.as_ptr().cast()) };
    next.store(post(looper, log, 2), Ordering::Relaxed);

    assert_eq!(poll_now(), ALOOPER_POLL_CALLBACK);

    assert_eq!(log.take(), [(2, "discarded")]);
}

/// Quits the looper of its thread.
unsafe extern "C-unwind" fn quits(_: *mut c_void) {
    // SAFETY: the looper is this thread's.
    unsafe { alooper_quit(ALooper_forThread()) };
}

#[test]
fn quit_gives_up_what_is_posted_also_in_the_same_poll() {
    let (looper, log) = (prepare(), Log::leaked());
    let (near, _far) = ready_stream();
    let mut seen = Seen::keeping();
    add(looper, &near, note, seen.data());
    // SAFETY: the looper is this thread's.
    unsafe { alooper_post(looper, Some(quits), None, ptr::null_mut()) };
    post(looper, log, 2);
    post_delayed(looper, log, 3, HOUR);

    assert_eq!(poll_once(LONG).code, ALOOPER_POLL_CALLBACK);
    assert_eq!((poll_once(-1).code, Errno::last()), (ALOOPER_POLL_ERROR, Errno::ESHUTDOWN));

    let mut ended = log.take();
    ended.sort_unstable();
    assert_eq!(ended, [(2, "discarded"), (3, "discarded")]);
    assert_eq!(seen.calls, 0);
}

#[test]
fn quit_safely_runs_what_is_due_and_gives_up_the_rest() {
    let (looper, log) = (prepare(), Log::leaked());
    post(looper, log, 1);
    post_delayed(looper, log, 2, HOUR);
    // SAFETY: the looper is this thread's.
    unsafe {
        assert_eq!(alooper_has_quit(looper), 0);
        assert_eq!(alooper_quit_safely(looper), 0);
        assert_eq!(alooper_quit(looper), 0, "it comes too late");
        assert_eq!(alooper_has_quit(looper), 1);
    }

    let mut codes = Vec::new();
    while codes.last() != Some(&ALOOPER_POLL_ERROR) {
        codes.push(poll_once(-1).code);
    }

    assert_eq!(codes, [ALOOPER_POLL_CALLBACK, ALOOPER_POLL_ERROR]);
    assert_eq!(log.take(), [(2, "discarded"), (1, "run")]);
}

#[test]
fn what_is_refused_is_neither_run_nor_discarded() {
    let (looper, log) = (prepare(), Log::leaked());
    let data = log.entry(1);
    // SAFETY: the looper is this thread's.
    unsafe {
        alooper_quit(looper);
        assert_eq!(alooper_post(looper, Some(run), Some(discard), data), 0);
        assert_eq!(Errno::last(), Errno::ESHUTDOWN);
        assert_eq!(alooper_post(looper, None, Some(discard), data), 0);
        assert_eq!(Errno::last(), Errno::EINVAL);
        assert_eq!(log.take(), []);
        end(data, "kept");
    }
}

#[test]
fn the_end_of_the_thread_discards_what_is_posted() {
    let log = Log::leaked();
    thread::spawn(move || {
        let looper = prepare();
        post(looper, log, 1);
        post_delayed(looper, log, 2, HOUR);
    })
    .join()
    .unwrap();

    let mut ended = log.take();
    ended.sort_unstable();
    assert_eq!(ended, [(1, "discarded"), (2, "discarded")]);
}

#[test]
fn a_loop_of_rust_runs_what_c_has_posted() {
    let log = Log::leaked();
    let looper = Looper::prepare().unwrap();
    post(ALooper_forThread(), log, 1);

    assert_eq!(looper.poll_once(ms(1000)).unwrap().messages, 1);

    assert_eq!(log.take(), [(1, "run")]);
}

#[test]
fn a_cancel_that_races_with_the_run_has_one_outcome() {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C-unwind" fn run(_: *mut c_void) {
        ENDED.fetch_add(1, Ordering::Relaxed);
    }
    unsafe extern "C" fn discard(_: *mut c_void) {
        ENDED.fetch_add(1_000_000, Ordering::Relaxed);
    }
    let looper = Shared(prepare());
    let canceller = thread::spawn(move || {
        (0..2000)
            .filter(|_| {
                // SAFETY: the looper's thread waits for this one.
                let posted = unsafe { alooper_post(looper.get(), Some(run), Some(discard), ptr::null_mut()) };
                // SAFETY: as above.
                (unsafe { alooper_cancel(looper.get(), posted) }) == 1
            })
            .count()
    });
    while !canceller.is_finished() {
        poll_once(1);
    }
    while poll_now() != ALOOPER_POLL_TIMEOUT {}

    let cancelled = canceller.join().unwrap();

    assert_eq!(ENDED.load(Ordering::Relaxed), cancelled * 1_000_000 + (2000 - cancelled));
}

#[test]
fn a_dump_is_text_that_is_cut_as_snprintf_does() {
    let (looper, log) = (prepare(), Log::leaked());
    post_delayed(looper, log, 1, HOUR);
    let mut buffer = [1; 4096];

    // SAFETY: the buffer has that size.
    let length = unsafe { alooper_dump(looper, buffer.as_mut_ptr(), buffer.len()) };

    // SAFETY: the text ends with a zero.
    let text = unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_str().unwrap().to_owned();
    assert_eq!(usize::try_from(length).unwrap(), text.len());
    assert!(text.contains("1 pending") || text.contains("pending"), "{text}");

    // SAFETY: as above, and null is allowed for no room.
    let (cut, without) =
        unsafe { (alooper_dump(looper, buffer.as_mut_ptr(), 5), alooper_dump(looper, ptr::null_mut(), 0)) };

    // SAFETY: as above.
    assert_eq!(unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_str().unwrap(), &text[..4]);
    assert!(cut > 4 && without > 4);
    // SAFETY: the looper is this thread's.
    unsafe { alooper_quit(looper) };
}
