//! Closures, messages and sources that are large, on a small stack: how often they are copied on it on their way, also
//! where the compiler does not optimize.
//!
//! Holds M12.

use std::{
    hint::black_box,
    io::Write,
    ops::ControlFlow,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use alooper::{CallError, Events, FdNext, Handler, HandlerThread, Interest, Looper, LooperHandle, Token};

use crate::support::alone::alone;

/// Too large to be passed around.
struct Large([u8; SIZE]);

const SIZE: usize = 128 * 1024;

/// For whoever posts: as often as the rule lets a value lie on the stack, and half a time for everything else.
const STACK: usize = 4 * SIZE + SIZE / 2;

/// For the looper's thread, likewise.
const LOOPERS_STACK: usize = 2 * SIZE + SIZE / 2;

/// How many of them ran, or had their handler run.
static RUNS: AtomicUsize = AtomicUsize::new(0);

impl Large {
    #[inline(never)]
    fn new() -> Large {
        Large([1; SIZE])
    }

    #[inline(never)]
    fn run(&self) {
        black_box(&self.0);
        RUNS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Does it with something large, on the looper's thread or another one.
type Way<Looper> = (&'static str, fn(&Looper));

/// Closures with a `Large` in them.
macro_rules! large {
    (|$($argument:tt $(: $kind:ty)?),*| $answer:expr) => {{
        let large = Large::new();
        move |$($argument $(: $kind)?),*| {
            large.run();
            $answer
        }
    }};
}

/// A source that is large.
struct Source(UnixStream, Large);

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A stream that is ready to be read.
fn ready() -> UnixStream {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"x").unwrap();
    near
}

fn small(_: &Looper, source: &mut Source, _: Events) -> FdNext {
    source.1.run();
    FdNext::Remove
}

fn handler(looper: &Looper) -> Handler<Large> {
    Handler::new(looper, |_, large: Large| large.run())
}

/// Each runs once.
const OWN: [Way<Looper>; 23] = [
    ("post", |looper| drop(looper.post(large!(|_| ())).unwrap())),
    ("post_delayed", |looper| drop(looper.post_delayed(Duration::ZERO, large!(|_| ())).unwrap())),
    ("post_at", |looper| drop(looper.post_at(looper.now(), large!(|_| ())).unwrap())),
    ("post_at_front", |looper| drop(looper.post_at_front(large!(|_| ())).unwrap())),
    ("post_every", |looper| {
        drop(looper.post_every(Duration::ZERO, large!(|_: &Looper| ControlFlow::Break(()))).unwrap());
    }),
    ("post, from a handle", |looper| drop(looper.handle().post(large!(|_| ())).unwrap())),
    ("post_every, from a handle", |looper| {
        drop(looper.handle().post_every(Duration::ZERO, large!(|_: &Looper| ControlFlow::Break(()))).unwrap());
    }),
    ("call", |looper| looper.handle().call(large!(|_| ())).unwrap()),
    ("send", |looper| drop(handler(looper).send(Large::new()).unwrap())),
    ("send_delayed", |looper| drop(handler(looper).send_delayed(Duration::ZERO, Large::new()).unwrap())),
    ("send_at_front", |looper| drop(handler(looper).send_at_front(Large::new()).unwrap())),
    ("message", |looper| {
        let handler = handler(looper);
        handler.message(Large::new()).what(1).token(Token::new()).asynchronous().send_delayed(Duration::ZERO).unwrap();
    }),
    ("Handler::new", |looper| {
        let handler: Handler<u32> = Handler::new(looper, large!(|_: &Looper, _: u32| ()));
        handler.send(7).unwrap();
    }),
    ("handler", |looper| {
        looper.handle().handler(large!(|_: &Looper, _: u32| ())).unwrap().send(7).unwrap();
    }),
    ("add_fd", |looper| drop(looper.add_fd(ready(), Interest::INPUT, large!(|_, _, _| FdNext::Remove)).unwrap())),
    ("add_fd, from a handle", |looper| {
        looper.handle().add_fd(ready(), Interest::INPUT, large!(|_, _, _| FdNext::Remove)).unwrap();
    }),
    ("replace_fd", |looper| {
        drop(looper.replace_fd(ready(), Interest::INPUT, large!(|_, _, _| FdNext::Remove)).unwrap());
    }),
    ("add_fd, a large source", |looper| {
        drop(looper.add_fd(Source(ready(), Large::new()), Interest::INPUT, small).unwrap());
    }),
    ("add_fd, a large source, from a handle", |looper| {
        looper.handle().add_fd(Source(ready(), Large::new()), Interest::INPUT, small).unwrap();
    }),
    ("replace_fd, a large source", |looper| {
        drop(looper.replace_fd(Source(ready(), Large::new()), Interest::INPUT, small).unwrap());
    }),
    ("add_ident, a large source", |looper| {
        let source = looper.add_ident(Source(ready(), Large::new()), Interest::INPUT, 7).unwrap();
        looper.poll_once(Duration::ZERO).unwrap();
        source.with(|source| source.1.run()).unwrap();
    }),
    ("add_idle", |looper| drop(looper.add_idle(large!(|_: &Looper| ControlFlow::Break(()))).unwrap())),
    ("add_idle, from a handle", |looper| {
        drop(looper.handle().add_idle(large!(|_: &Looper| ControlFlow::Break(()))).unwrap());
    }),
];

#[test]
fn m12_what_is_large_is_copied_a_few_times_on_the_way_in_and_none_on_the_way_out() {
    alone("m12_what_is_large_is_copied_a_few_times_on_the_way_in_and_none_on_the_way_out", || {
        for (name, way) in OWN {
            println!("{name}");
            on_small_stack(move || {
                let before = RUNS.load(Ordering::Relaxed);
                let looper = Looper::new().unwrap();

                way(&looper);
                looper.poll_all(Duration::ZERO).unwrap();

                assert_eq!(RUNS.load(Ordering::Relaxed), before + 1, "{name}");
            });
        }
    });
}

/// Each runs once on the looper's thread, whose stack is as small.
const AFAR: [Way<LooperHandle>; 8] = [
    ("post", |handle| drop(handle.post(large!(|_| ())).unwrap())),
    ("post_delayed", |handle| drop(handle.post_delayed(Duration::ZERO, large!(|_| ())).unwrap())),
    ("post_every", |handle| {
        drop(handle.post_every(Duration::ZERO, large!(|_: &Looper| ControlFlow::Break(()))).unwrap());
    }),
    ("call", |handle| handle.call(large!(|_| ())).unwrap()),
    ("call_timeout", |handle| handle.call_timeout(Duration::from_secs(60), large!(|_| ())).unwrap()),
    ("send", |handle| drop(handle.handler(|_, large: Large| large.run()).unwrap().send(Large::new()).unwrap())),
    ("handler", |handle| {
        handle.handler(large!(|_: &Looper, _: u32| ())).unwrap().send(7).unwrap();
    }),
    ("add_fd", |handle| drop(handle.add_fd(ready(), Interest::INPUT, large!(|_, _, _| FdNext::Remove)).unwrap())),
];

#[test]
fn m12_so_it_is_between_threads() {
    alone("m12_so_it_is_between_threads", || {
        for (name, way) in AFAR {
            println!("{name}");
            let before = RUNS.load(Ordering::Relaxed);
            let worker = HandlerThread::builder().stack_size(LOOPERS_STACK).spawn().unwrap();
            let handle = worker.handle().clone();

            on_small_stack(move || way(&handle));
            while RUNS.load(Ordering::Relaxed) == before {
                thread::yield_now();
            }

            worker.quit_safely();
            worker.join().unwrap();
            assert_eq!(RUNS.load(Ordering::Relaxed), before + 1, "{name}");
        }
    });
}

/// Refused, cancelled, removed, looked at, given up.
const ENDS: [Way<Looper>; 12] = [
    ("post, refused", |looper| {
        looper.quit();
        drop(looper.post(large!(|_| ())).unwrap_err());
    }),
    ("post_every, refused", |looper| {
        looper.quit();
        drop(looper.handle().post_every(Duration::ZERO, large!(|_: &Looper| ControlFlow::Break(()))).unwrap_err());
    }),
    ("call, refused", |looper| {
        looper.quit();
        looper.handle().call(large!(|_| ())).unwrap_err();
    }),
    ("send, refused", |looper| {
        looper.quit();
        drop(handler(looper).send(Large::new()).unwrap_err());
    }),
    ("add_fd, refused", |looper| {
        looper.quit();
        drop(looper.add_fd(Source(ready(), Large::new()), Interest::INPUT, small).unwrap_err());
    }),
    ("add_idle, refused", |looper| {
        looper.quit();
        drop(looper.handle().add_idle(large!(|_: &Looper| ControlFlow::Break(()))).unwrap_err());
    }),
    ("handler, refused", |looper| {
        looper.quit();
        drop(looper.handle().handler(large!(|_: &Looper, _: u32| ())).unwrap_err());
    }),
    ("post, cancelled", |looper| assert!(looper.post(large!(|_| ())).unwrap().cancel())),
    ("send, cancelled", |looper| assert!(handler(looper).send(Large::new()).unwrap().cancel())),
    ("send, removed", |looper| {
        let handler = handler(looper);
        handler.send(Large::new()).unwrap();
        assert!(handler.has_if(|large| large.0[0] == 1));
        assert_eq!(handler.remove_if(|large| large.0[0] == 1), 1);
        handler.send(Large::new()).unwrap();
        assert_eq!(handler.clear(), 1);
    }),
    ("message, not sent", |looper| drop(handler(looper).message(Large::new()).what(7))),
    ("send, given up", |looper| {
        handler(looper).send(Large::new()).unwrap();
        looper.quit();
    }),
];

#[test]
fn m12_so_it_is_when_it_does_not_run() {
    alone("m12_so_it_is_when_it_does_not_run", || {
        for (name, way) in ENDS {
            println!("{name}");
            on_small_stack(move || {
                let looper = Looper::new().unwrap();
                way(&looper);
                looper.poll_all(Duration::ZERO).unwrap();
            });
        }
        assert_eq!(RUNS.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn m12_q2_what_is_large_comes_back_as_it_was() {
    // This has a stack for all its own copies.
    let thread = thread::Builder::new().stack_size(256 * SIZE).spawn(refuse_what_is_large);
    thread.unwrap().join().unwrap();
}

fn refuse_what_is_large() {
    let looper = Looper::new().unwrap();
    let handle = looper.handle();
    let handler = handler(&looper);
    looper.quit();

    let large = Large::new();
    let post = looper.post(move |_| assert_eq!(large.0, [1; SIZE])).unwrap_err();
    let large = Large::new();
    let afar = handle.post(move |_| assert_eq!(large.0, [1; SIZE])).unwrap_err();
    let large = Large::new();
    let call = handle.call(move |_| u32::from(large.0[SIZE - 1])).unwrap_err();
    let send = handler.send(Large::new()).unwrap_err();
    let draft = handler.message(Large::new()).what(1).send().unwrap_err();
    let source = looper.add_fd(Source(ready(), Large::new()), Interest::INPUT, small).unwrap_err();

    post.into_value().unwrap()(&looper);
    afar.into_value().unwrap()(&looper);
    let CallError::Rejected(call) = call else { panic!("{call:?}") };
    assert_eq!(call.into_value().unwrap()(&looper), 1);
    assert_eq!(send.into_value().unwrap().0, [1; SIZE]);
    assert_eq!(draft.into_value().unwrap().0, [1; SIZE]);
    assert_eq!(source.into_source().unwrap().1.0, [1; SIZE]);
    let looper = Looper::new().unwrap();
    let source = looper.add_fd(Source(ready(), Large::new()), Interest::INPUT, small).unwrap();
    assert_eq!(source.remove().unwrap().1.0, [1; SIZE]);
}

/// It has no room among words.
#[test]
fn m12_what_is_aligned_like_no_word_runs_aligned() {
    #[repr(align(64))]
    #[derive(Clone, Copy)]
    struct Aligned(u64);
    fn check(aligned: &Aligned) {
        assert_eq!(((&raw const *aligned).addr() % 64, aligned.0), (0, 7));
        RUNS.fetch_add(1, Ordering::Relaxed);
    }
    let looper = Looper::new().unwrap();
    let before = RUNS.load(Ordering::Relaxed);
    let aligned = Aligned(7);

    looper.post(move |_| check(&aligned)).unwrap();
    looper.handle().post(move |_| check(&aligned)).unwrap();
    Handler::new(&looper, |_, aligned| check(&aligned)).send(aligned).unwrap();
    looper.poll_once(None).unwrap();

    assert!(RUNS.load(Ordering::Relaxed) >= before + 3);
}

/// Runs `body` where there is room for four values and no more. An overflow ends the process.
fn on_small_stack(body: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, body);
        thread.unwrap().join().unwrap();
    });
}
