//! What a burst has taken goes back, whoever posted it and however it ended.
//!
//! Holds R5, C44. All memory of the process is counted, so the test is in a process of its own.

#[path = "it/support/alone.rs"]
mod alone;
#[path = "it/support/watched.rs"]
mod watched;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use alone::alone;
use alooper::{Handler, Looper, Token};

/// How much is allocated.
static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe to be one")]
// SAFETY: it is the system's allocator, but for the counting.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MANY: usize = 40_000;
/// What may stay of each: room for as many as are common. The many take tens of times as much.
const LITTLE: isize = 300_000;

fn live() -> isize {
    LIVE.load(Ordering::Relaxed) as isize
}

/// A looper that a burst has gone over.
struct Burst {
    name: &'static str,
    looper: Looper,
    /// What it has left allocated.
    left: isize,
}

/// Posts with `burst`, which is given a looper that stays, and runs what is due of it.
fn go((name, burst): (&'static str, fn(&Looper))) -> Burst {
    let looper = Looper::new().unwrap();
    looper.post_delayed(Duration::from_secs(3600), |_| ()).unwrap();
    looper.poll_once(Duration::from_nanos(1)).unwrap();
    let before = live();
    burst(&looper);
    looper.poll_all(Duration::ZERO).unwrap();
    while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}
    Burst { name, left: live() - before, looper }
}

impl Burst {
    /// Lets the looper fall asleep, before which it gives room back.
    fn fall_asleep(&mut self) {
        let before = live();
        assert!(self.looper.poll_once(Duration::from_millis(1)).unwrap().timed_out);
        self.left += live() - before;
    }
}

/// From another thread.
fn afar(looper: &Looper, posts: impl FnOnce(&alooper::LooperHandle) + Send) {
    let handle = looper.handle();
    thread::scope(|scope| scope.spawn(|| posts(&handle)).join().unwrap());
}

/// What it is called, and what it does.
type Named = (&'static str, fn(&Looper));

const BURSTS: [Named; 7] = [
    ("plain posts from here", |looper| (0..MANY).for_each(|_| drop(looper.post(|_| ()).unwrap()))),
    ("plain posts from afar", |looper| {
        afar(looper, |handle| (0..MANY).for_each(|_| drop(handle.post(|_| ()).unwrap())));
    }),
    ("two bursts from afar", |looper| {
        for _ in 0..2 {
            afar(looper, |handle| (0..MANY).for_each(|_| drop(handle.post(|_| ()).unwrap())));
            assert!(looper.len() > MANY);
        }
    }),
    ("timers from here", |looper| {
        let posted: Vec<_> = (0..MANY).map(|_| looper.post_delayed(Duration::from_secs(60), |_| ()).unwrap()).collect();
        assert!(posted.iter().all(|posted| posted.cancel()));
    }),
    ("timers from afar", |looper| {
        afar(looper, |handle| {
            let posted: Vec<_> =
                (0..MANY).map(|_| handle.post_delayed(Duration::from_secs(60), |_| ()).unwrap()).collect();
            assert!(posted.iter().all(|posted| posted.cancel()));
        });
    }),
    ("messages with tokens", |looper| {
        let handler = Handler::new(looper, |_, ()| ());
        let token = Token::new();
        assert!(!handler.has(token));
        (0..MANY).for_each(|_| drop(handler.message(()).token(token).send().unwrap()));
        assert_eq!(handler.remove(token), MANY);
    }),
    ("asynchronous ones and those at the front", |looper| {
        let asynchronous = looper.handle().asynchronous();
        for _ in 0..MANY {
            asynchronous.post(|_| ()).unwrap();
            looper.post_at_front(|_| ()).unwrap();
        }
    }),
];

#[test]
fn c44_what_a_burst_has_taken_goes_back() {
    alone("c44_what_a_burst_has_taken_goes_back", || {
        let mut bursts = BURSTS.map(go);
        bursts.iter_mut().for_each(Burst::fall_asleep);

        for Burst { name, looper, left } in &bursts {
            assert!(*left < LITTLE, "of {name}: {left}");
            assert_eq!(looper.len(), 1);
        }
    });
}
