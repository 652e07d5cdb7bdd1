//! What a burst has taken goes back, whoever posted it and however it ended; how often tasks allocate; and forks in the
//! middle of it.
//!
//! Holds R5, C44, A2, X2. All memory of the process is counted, so the test is in a process of its own.

#[path = "it/support/alone.rs"]
mod alone;
#[path = "it/support/watched.rs"]
mod watched;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    panic::{self, AssertUnwindSafe},
    sync::atomic::{AtomicIsize, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use alone::alone;
use alooper::{Handler, Looper, RejectReason, Token};
use nix::{
    libc,
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, Pid, alarm, fork},
};

/// How much is allocated.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// How often something was.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// After how many allocations and frees one of them forks. None does if it is negative.
static UNTIL_FORK: AtomicIsize = AtomicIsize::new(-1);
/// The child that was forked; zero in the child, and negative if there is none.
static CHILD: AtomicIsize = AtomicIsize::new(-1);

/// As a signal handler may, that comes in the middle of anything.
#[allow(unsafe_code, reason = "what a fork leads to is what a test is about")]
fn fork_if_due() {
    if UNTIL_FORK.load(Ordering::Relaxed) < 0 || UNTIL_FORK.fetch_sub(1, Ordering::Relaxed) > 0 {
        return;
    }
    // SAFETY: what the child does is the promise that is tested.
    let child = match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => child.as_raw() as isize,
        Ok(ForkResult::Child) => {
            alarm::set(60);
            0
        }
        Err(_) => -1,
    };
    CHILD.store(child, Ordering::Relaxed);
}

struct Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe to be one")]
// SAFETY: it is the system's allocator, but for the counting.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        COUNT.fetch_add(1, Ordering::Relaxed);
        fork_if_due();
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.dealloc(pointer, layout) }
        fork_if_due();
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
    /// Lets the looper fall asleep, before which it gives room back. More than once, since to give it back may take longer
    /// than one such sleep.
    fn fall_asleep(&mut self) {
        let before = live();
        (0..20).for_each(|_| assert!(self.looper.poll_once(Duration::from_millis(1)).unwrap().timed_out));
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

const BURSTS: &[Named] = &[
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
    #[cfg(feature = "async")]
    ("tasks that nobody awaits", |looper| (0..MANY).for_each(|_| drop(looper.spawn(async {}).unwrap()))),
    #[cfg(feature = "async")]
    ("tasks that are held, and one that is not", |looper| {
        let tasks: Vec<_> = (0..MANY).map(|_| looper.spawn(async {}).unwrap()).collect();
        drop(looper.spawn(async {}).unwrap());
        while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}
        drop(tasks);
    }),
    #[cfg(feature = "async")]
    ("tasks that are large", |looper| {
        fn spawn<const BYTES: usize>(looper: &Looper) {
            let bytes = [1_u8; BYTES];
            drop(looper.spawn(async move { _ = std::hint::black_box(&bytes) }).unwrap());
        }
        (0..MANY / 20).for_each(|_| spawn::<400>(looper));
        (0..MANY / 20).for_each(|_| spawn::<4000>(looper));
    }),
    #[cfg(feature = "async")]
    ("tasks that are cancelled", |looper| {
        let tasks: Vec<_> = (0..MANY).map(|_| looper.spawn(std::future::pending::<()>()).unwrap()).collect();
        looper.poll_all(Duration::ZERO).unwrap();
        assert!(tasks.iter().all(|task| task.cancel()));
    }),
];

#[test]
fn c44_what_a_burst_has_taken_goes_back() {
    alone("c44_what_a_burst_has_taken_goes_back", || {
        let mut bursts: Vec<Burst> = BURSTS.iter().map(|burst| go(*burst)).collect();
        bursts.iter_mut().for_each(Burst::fall_asleep);

        for Burst { name, looper, left } in &bursts {
            assert!(*left < LITTLE, "of {name}: {left}");
            assert_eq!(looper.len(), 1);
        }
    });
}

/// One that is polled in a frame loop, with a timer pending or without.
#[test]
fn c44_a_looper_that_never_sleeps_gives_back_most_of_what_a_burst_has_taken() {
    alone("c44_a_looper_that_never_sleeps_gives_back_most_of_what_a_burst_has_taken", || {
        let bursts: [Named; 2] = [
            ("from here", |looper| (0..10 * MANY).for_each(|_| drop(looper.post(|_| ()).unwrap()))),
            ("from afar", |looper| {
                afar(looper, |handle| (0..10 * MANY).for_each(|_| drop(handle.post(|_| ()).unwrap())));
            }),
        ];
        for (name, burst) in bursts {
            for has_timer in [false, true] {
                let looper = Looper::new().unwrap();
                let _timer = has_timer.then(|| looper.post_delayed(Duration::from_secs(3600), |_| ()).unwrap());
                let before = live();
                burst(&looper);
                while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}
                let kept = live() - before;

                (0..20).for_each(|_| assert!(looper.poll_once(Duration::ZERO).unwrap().timed_out));

                // 64 batches of 256 messages in the queue, and as many in the inbox.
                let left = live() - before;
                assert!(left < 4_000_000 && kept > 15_000_000, "{name}, timer {has_timer}: {left} of {kept}");
            }
        }
    });
}

/// How often `action` allocates.
#[cfg(feature = "async")]
fn allocations(action: impl FnOnce()) -> usize {
    let before = COUNT.load(Ordering::Relaxed);
    action();
    COUNT.load(Ordering::Relaxed) - before
}

/// One for the future, one for what its wakers share.
#[cfg(feature = "async")]
#[test]
fn a2_a_task_takes_two_allocations_and_a_wake_none() {
    use std::{cell::RefCell, future::poll_fn, rc::Rc, task::Poll};

    alone("a2_a_task_takes_two_allocations_and_a_wake_none", || {
        let looper = Looper::new().unwrap();
        let spawn = || {
            let task = looper.spawn(async { 7 }).unwrap();
            while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}
            assert!(task.is_finished());
        };
        (0..600).for_each(|_| spawn());
        assert_eq!(allocations(|| (0..100).for_each(|_| spawn())), 200);

        // Nobody has what was shared any more, so that the next one uses it, and the room of the future of the same type.
        let spawn_and_let_go = || {
            drop(looper.spawn(async { 7 }).unwrap());
            while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}
        };
        spawn_and_let_go();
        assert_eq!(allocations(|| (0..100).for_each(|_| spawn_and_let_go())), 0);
        let spawn_two = || {
            spawn_and_let_go();
            drop(looper.spawn(async { "another type" }).unwrap());
            while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}
        };
        spawn_two();
        assert_eq!(allocations(|| (0..50).for_each(|_| spawn_two())), 100, "of the futures alone");

        let kept = Rc::new(RefCell::new(None));
        let waker = kept.clone();
        looper
            .spawn(poll_fn(move |context| {
                waker.borrow_mut().get_or_insert_with(|| context.waker().clone());
                Poll::<()>::Pending
            }))
            .unwrap();
        let poll = || assert_eq!(looper.poll_once(Duration::ZERO).unwrap().messages, 1);
        poll();
        let waker = kept.take().unwrap();
        let here = || {
            (0..1000).for_each(|_| {
                waker.wake_by_ref();
                poll();
            })
        };
        here();
        assert_eq!(allocations(here), 0);

        let afar = waker.clone();
        let (start, started) = std::sync::mpsc::sync_channel::<()>(0);
        let other = thread::spawn(move || {
            afar.wake_by_ref();
            started.recv().unwrap();
            allocations(|| (0..1000).for_each(|_| afar.wake_by_ref()))
        });
        // Nobody else does anything meanwhile.
        while looper.is_empty() {
            thread::yield_now();
        }
        poll();
        start.send(()).unwrap();
        // The looper has taken the inbox's batch, and the next one has room for 256 messages.
        assert!(other.join().unwrap() <= 1);
    });
}

/// So many, each of which has just posted.
fn loopers(count: usize) -> Vec<Looper> {
    let looper = || {
        let looper = Looper::new().unwrap();
        looper.post(|_| ()).unwrap();
        looper
    };
    (0..count).map(|_| looper()).collect()
}

/// Lets `act` fork at each place where it allocates or frees, each time with other loopers. The child is refused by all
/// that were there before. Gives how many places there were.
#[allow(unsafe_code, reason = "it ends a child")]
fn fork_at_each_place(count: usize, act: impl Fn(&mut Vec<Looper>)) -> isize {
    for place in 0.. {
        let mut loopers = loopers(count);
        UNTIL_FORK.store(place, Ordering::Relaxed);
        act(&mut loopers);
        let has_forked = UNTIL_FORK.swap(-1, Ordering::Relaxed) < 0;
        match CHILD.swap(-1, Ordering::Relaxed) {
            0 => {
                let is_refused = |looper: &Looper| {
                    let refused = looper.post(|_| ()).err();
                    refused.is_some_and(|refused| refused.reason() == RejectReason::Forked)
                        && looper.poll_once(Duration::ZERO).is_err()
                };
                let result = panic::catch_unwind(AssertUnwindSafe(|| loopers.iter().take(count).all(is_refused)));
                // SAFETY: it ends the process, and runs nothing of it.
                unsafe { libc::_exit(if result.is_ok_and(|is_refused| is_refused) { 0 } else { 1 }) }
            }
            child if child > 0 => {
                let status = waitpid(Pid::from_raw(child as i32), None).unwrap();
                assert!(matches!(status, WaitStatus::Exited(_, 0)), "of {count}, at place {place}: {status:?}");
            }
            _ => {}
        }
        if !has_forked {
            return place;
        }
    }
    unreachable!()
}

#[test]
fn x2_a_child_is_refused_wherever_a_signal_handler_has_forked_it() {
    alone("x2_a_child_is_refused_wherever_a_signal_handler_has_forked_it", || {
        // What a thread knows its loopers by is split and merged as they become many and few.
        for count in [1, 5, 11, 17, 23] {
            assert!(fork_at_each_place(count, |loopers| loopers.push(Looper::new().unwrap())) > 5);
            assert!(fork_at_each_place(count, |loopers| drop(loopers.pop())) > 5);
        }
        let post_many = |loopers: &mut Vec<Looper>| {
            for _ in 0..600 {
                _ = loopers[0].post(|_| ());
            }
        };
        assert!(fork_at_each_place(1, post_many) > 2);
    });
}
