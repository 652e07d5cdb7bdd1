//! What a burst has taken goes back, whoever posted it and however it ended.
//!
//! Holds C44. All memory of the process is counted, so each test is in a process of its own.

#[path = "support/alone.rs"]
mod own_process;
mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use alooper::{Handler, Looper, Token};
use own_process::alone;

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

const MANY: usize = 200_000;
/// What may stay: room for as many as are common.
const LITTLE: usize = 300_000;

/// Posts with `post`, which is given a looper that stays, and sees what memory stays after a rest.
fn stays_after(burst: impl FnOnce(&Looper)) -> usize {
    let looper = Looper::new().unwrap();
    looper.post_delayed(Duration::from_secs(3600), |_| ()).unwrap();
    looper.poll_once(Duration::from_nanos(1)).unwrap();
    let before = LIVE.load(Ordering::Relaxed);
    burst(&looper);
    looper.poll_all(Duration::ZERO).unwrap();
    while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}
    rest(&looper);
    let after = LIVE.load(Ordering::Relaxed);
    assert_eq!(looper.len(), 1);
    after.saturating_sub(before)
}

/// Lets the looper sleep.
fn rest(looper: &Looper) {
    for _ in 0..2 {
        // What a burst has taken stays for a second.
        assert!(looper.poll_once(Duration::from_millis(1100)).unwrap().timed_out);
    }
}

/// From another thread.
fn afar(looper: &Looper, posts: impl FnOnce(&alooper::LooperHandle) + Send) {
    let handle = looper.handle();
    thread::scope(|scope| scope.spawn(|| posts(&handle)).join().unwrap());
}

#[test]
fn c44_of_plain_posts_from_here_nothing_stays() {
    alone("c44_of_plain_posts_from_here_nothing_stays", || {
        let stays = stays_after(|looper| (0..MANY).for_each(|_| drop(looper.post(|_| ()).unwrap())));
        assert!(stays < LITTLE, "{stays}");
    });
}

#[test]
fn c44_of_plain_posts_from_afar_nothing_stays() {
    alone("c44_of_plain_posts_from_afar_nothing_stays", || {
        let stays = stays_after(|looper| {
            afar(looper, |handle| (0..MANY).for_each(|_| drop(handle.post(|_| ()).unwrap())));
        });
        assert!(stays < LITTLE, "{stays}");
    });
}

#[test]
fn c44_of_two_bursts_from_afar_nothing_stays() {
    alone("c44_of_two_bursts_from_afar_nothing_stays", || {
        let stays = stays_after(|looper| {
            for _ in 0..2 {
                afar(looper, |handle| (0..MANY).for_each(|_| drop(handle.post(|_| ()).unwrap())));
                assert!(looper.len() > MANY);
            }
        });
        assert!(stays < LITTLE, "{stays}");
    });
}

#[test]
fn c44_of_timers_from_here_nothing_stays() {
    alone("c44_of_timers_from_here_nothing_stays", || {
        let stays = stays_after(|looper| {
            let posted: Vec<_> =
                (0..MANY).map(|_| looper.post_delayed(Duration::from_secs(60), |_| ()).unwrap()).collect();
            assert!(posted.iter().all(|posted| posted.cancel()));
        });
        assert!(stays < LITTLE, "{stays}");
    });
}

#[test]
fn c44_of_timers_from_afar_nothing_stays() {
    alone("c44_of_timers_from_afar_nothing_stays", || {
        let stays = stays_after(|looper| {
            afar(looper, |handle| {
                let posted: Vec<_> =
                    (0..MANY).map(|_| handle.post_delayed(Duration::from_secs(60), |_| ()).unwrap()).collect();
                assert!(posted.iter().all(|posted| posted.cancel()));
            });
        });
        assert!(stays < LITTLE, "{stays}");
    });
}

#[test]
fn c44_of_messages_with_tokens_nothing_stays() {
    alone("c44_of_messages_with_tokens_nothing_stays", || {
        let stays = stays_after(|looper| {
            let handler = Handler::new(looper, |_, ()| ());
            let token = Token::new();
            assert!(!handler.has_token(token));
            (0..MANY).for_each(|_| drop(handler.message(()).token(token).send().unwrap()));
            assert_eq!(handler.remove_token(token), MANY);
        });
        assert!(stays < LITTLE, "{stays}");
    });
}

#[test]
fn c44_of_asynchronous_ones_and_those_at_the_front_nothing_stays() {
    alone("c44_of_asynchronous_ones_and_those_at_the_front_nothing_stays", || {
        let stays = stays_after(|looper| {
            let asynchronous = looper.handle().asynchronous();
            for _ in 0..MANY {
                asynchronous.post(|_| ()).unwrap();
                looper.post_at_front(|_| ()).unwrap();
            }
        });
        assert!(stays < LITTLE, "{stays}");
    });
}
