//! Values that each own the next one, through what a looper keeps: they are dropped one after the other, however many
//! they are, on a small stack.
//!
//! Holds X3, X4, C79.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    ops::ControlFlow,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use alooper::{FdNext, Handler, Interest, Looper, Observer, Posted, PostedGuard};

use crate::support::{HOUR, alone::alone, watched};

/// Many times what recursion could do on such a stack.
const MANY: usize = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
/// Of what has fds. As many would need megabytes of stack inside each other.
const FEW: usize = 250;

const STACK: usize = 128 * 1024;

/// Runs `body` where recursion ends early.
fn on_small_stack(body: impl FnOnce() + Send + 'static) {
    watched(|| thread::Builder::new().stack_size(STACK).spawn(body).unwrap().join().unwrap());
}

/// Something that owns what comes after it, whatever that is, and counts how often any was dropped.
struct Link {
    /// Dropped by its own `Drop`, so that a panic of that one comes after it.
    next: Option<Box<dyn Any>>,
    dropped: Rc<Cell<usize>>,
}

impl Link {
    fn hold(&self) {}
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.next.take());
        self.dropped.set(self.dropped.get() + 1);
    }
}

/// Gives a looper something that has `link`, and gives what ends that when it is dropped.
type Bind = fn(&Rc<Looper>, Link) -> Box<dyn Any>;

const BINDS: [(&str, Bind); 4] = [
    ("a guard in a posted closure", |looper, link| Box::new(looper.post(move |_| link.hold()).unwrap().guard())),
    ("a guard in a repeating post", |looper, link| {
        let tick = move |_: &Looper| {
            link.hold();
            ControlFlow::Continue(())
        };
        Box::new(looper.post_every(HOUR, tick).unwrap().guard())
    }),
    ("a guard in an idle handler", |looper, link| {
        let idle = move |_: &Looper| {
            link.hold();
            ControlFlow::Continue(())
        };
        Box::new(looper.add_idle(idle).unwrap().guard())
    }),
    ("a front in a handler", |looper, link| Box::new(Handler::new(looper, move |_, ()| link.hold()))),
];

struct Watched {
    stream: Rc<UnixStream>,
    _link: Link,
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Observer for Link {}

/// The same, with fds.
const BINDS_WITH_FDS: [(&str, Bind); 5] = [
    ("a looper in a message of another", |_, link| {
        let looper = Looper::new().unwrap();
        looper.post(move |_| link.hold()).unwrap();
        Box::new(looper)
    }),
    ("a looper in a handler of another", |_, link| {
        let looper = Looper::new().unwrap();
        let _front = Handler::new(&looper, move |_, ()| link.hold()).send_delayed(HOUR, ()).unwrap();
        Box::new(looper)
    }),
    ("a looper in an observer of another", |_, link| {
        let looper = Looper::new().unwrap();
        looper.set_observer(Some(Rc::new(link)));
        Box::new(looper)
    }),
    ("a guard in a source", |looper, link| {
        let stream = Rc::new(UnixStream::pair().unwrap().0);
        let source = Watched { stream, _link: link };
        Box::new(looper.add_ident(source, Interest::INPUT, 1).unwrap().guard())
    }),
    ("a guard in the callback of an fd", |looper, link| {
        let callback = move |_: &Looper, _: &mut _, _| {
            link.hold();
            FdNext::Keep
        };
        Box::new(looper.add_fd(UnixStream::pair().unwrap().0, Interest::INPUT, callback).unwrap().guard())
    }),
];

/// So many of them, the first of which is given: with it, all of them go.
fn chain(
    looper: &Rc<Looper>,
    count: usize,
    dropped: &Rc<Cell<usize>>,
    mut bind: impl FnMut(usize) -> Bind,
) -> Box<dyn Any> {
    let link = |next| Link { next, dropped: dropped.clone() };
    let last = bind(0)(looper, link(None));
    (1..count).fold(last, |next, at| bind(at)(looper, link(Some(next))))
}

#[test]
fn x4_a_hundred_thousand_closures_that_each_own_the_guard_of_the_next_are_dropped() {
    on_small_stack(|| {
        let looper = Looper::new().unwrap();
        let post = |next: Option<PostedGuard>| looper.post(move |_| drop(next)).unwrap_or_else(|_| panic!()).guard();

        drop((0..100_000).fold(None, |next, _| Some(post(next))));

        assert!(looper.is_empty());
    });
}

#[test]
fn x4_values_that_each_own_the_guard_of_the_next_are_dropped_without_deep_recursion() {
    for (name, bind) in BINDS {
        on_small_stack(move || {
            let looper = Rc::new(Looper::new().unwrap());
            let dropped = Rc::new(Cell::new(0));
            let first = chain(&looper, MANY, &dropped, |_| bind);

            drop(first);

            assert_eq!(dropped.get(), MANY, "{name}");
            assert!(looper.is_empty(), "{name}");
        });
    }
}

/// C79: a looper in another one's queue.
#[test]
fn x4_loopers_and_fds_that_each_own_the_next_are_dropped_without_deep_recursion() {
    for (name, bind) in BINDS_WITH_FDS {
        on_small_stack(move || {
            let looper = Rc::new(Looper::new().unwrap());
            let dropped = Rc::new(Cell::new(0));
            let first = chain(&looper, FEW, &dropped, |_| bind);

            drop(first);

            assert_eq!(dropped.get(), FEW, "{name}");
            assert!(looper.dump().to_string().contains("fds: 0"), "{name}");
        });
    }
}

#[test]
fn x4_a_mixture_that_owns_each_other_is_dropped_without_deep_recursion() {
    on_small_stack(|| {
        let looper = Rc::new(Looper::new().unwrap());
        let dropped = Rc::new(Cell::new(0));
        let mix = |at: usize| match at % (MANY / FEW) {
            0 => BINDS_WITH_FDS[at / (MANY / FEW) % BINDS_WITH_FDS.len()].1,
            at => BINDS[at % BINDS.len()].1,
        };
        let first = chain(&looper, MANY, &dropped, mix);

        drop(first);

        assert_eq!(dropped.get(), MANY);
        assert!(looper.is_empty());
    });
}

/// A message that owns the guard of the next one.
struct Letter(#[expect(dead_code, reason = "is dropped")] Option<PostedGuard<Letter>>, Arc<AtomicUsize>);

impl Drop for Letter {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

/// On the looper's thread and on others, by a guard and by a removal.
#[test]
fn x4_messages_that_each_own_the_guard_of_the_next_are_dropped_without_deep_recursion() {
    let ends: [fn(Handler<Letter>, PostedGuard<Letter>); 4] = [
        |_, first| drop(first),
        |_, first| {
            thread::scope(|scope| {
                let small = thread::Builder::new().stack_size(STACK);
                small.spawn_scoped(scope, || drop(first)).unwrap().join().unwrap();
            })
        },
        |handler, first| {
            // Those that it names are all taken out before any is dropped.
            _ = first.keep();
            assert_eq!(handler.clear(), MANY);
        },
        |handler, first| {
            _ = first.keep();
            // With the first one, which is the next to run, all others have gone.
            assert_eq!(handler.remove_if(|_| true), 1);
        },
    ];
    for end in ends {
        on_small_stack(move || {
            let looper = Looper::new().unwrap();
            let handler = Handler::new(&looper, |_, _: Letter| ());
            let dropped = Arc::new(AtomicUsize::new(0));
            let send = |next| {
                // The last one sent is the first to run.
                handler.message(Letter(next, dropped.clone())).send_at_front().unwrap().guard()
            };
            let first = (1..MANY).fold(send(None), |next, _| send(Some(next)));

            end(handler.clone(), first);

            assert_eq!(dropped.load(Ordering::Relaxed), MANY);
        });
    }
}

/// Panics when it is dropped, after what it owns.
struct Explosive {
    next: Option<PostedGuard>,
    gone_off: Rc<Cell<usize>>,
}

impl Drop for Explosive {
    fn drop(&mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| drop(self.next.take())));
        self.gone_off.set(self.gone_off.get() + 1);
        match outcome {
            Err(panic) => resume_unwind(panic),
            Ok(()) => panic!("explosive"),
        }
    }
}

#[test]
fn x3_x4_values_that_own_each_other_and_panic_are_all_dropped_and_one_panic_goes_on() {
    const COUNT: usize = 1000;
    alone("x3_x4_values_that_own_each_other_and_panic_are_all_dropped_and_one_panic_goes_on", || {
        std::panic::set_hook(Box::new(|_| ()));
        for unwinds in [false, true] {
            let looper = Looper::new().unwrap();
            let gone_off = Rc::new(Cell::new(0));
            let post = |next| {
                let explosive = Explosive { next, gone_off: gone_off.clone() };
                looper.post(move |_| drop(explosive)).map_err(drop).unwrap().guard()
            };
            let first = (0..COUNT).fold(None, |next, _| Some(post(next)));

            let panic = catch_unwind(AssertUnwindSafe(|| {
                let _first = first;
                if unwinds {
                    panic!("scope");
                }
            }));

            let panic = panic.unwrap_err();
            let said = panic.downcast_ref::<&str>().copied();
            assert_eq!(said, Some(if unwinds { "scope" } else { "explosive" }));
            assert_eq!(gone_off.get(), COUNT);
            assert!(looper.is_empty());
        }
    });
}

/// Cancels another one when it is dropped, and sees it gone by then.
struct Nested {
    next: Option<Posted>,
    dropped: Rc<Cell<usize>>,
}

impl Drop for Nested {
    fn drop(&mut self) {
        let before = self.dropped.get();
        if let Some(next) = self.next.take() {
            assert!(next.cancel());
            assert!(self.dropped.get() > before, "what is cancelled is dropped before that returns");
        }
        self.dropped.set(self.dropped.get() + 1);
    }
}

#[test]
fn x4_what_is_given_up_within_eight_drops_is_dropped_at_once() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let dropped = Rc::new(Cell::new(0));
        let post = |next| {
            let nested = Nested { next, dropped: dropped.clone() };
            Some(looper.post(move |_| drop(nested)).map_err(drop).unwrap())
        };

        assert!((0..8).fold(None, |next, _| post(next)).unwrap().cancel());

        assert_eq!(dropped.get(), 8);
    });
}

/// Drops what it has when its thread ends.
struct AtEnd(Option<Box<dyn Any>>, Option<Rc<Cell<usize>>>, Option<mpsc::Sender<usize>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        drop(self.0.take());
        if let (Some(dropped), Some(told)) = (&self.1, &self.2) {
            told.send(dropped.get()).unwrap();
        }
    }
}

thread_local! {
    static TOUCHED_FIRST: RefCell<AtEnd> = const { RefCell::new(AtEnd(None, None, None)) };
    static TOUCHED_LAST: RefCell<AtEnd> = const { RefCell::new(AtEnd(None, None, None)) };
}

/// Whatever of the thread has been destroyed already.
#[test]
fn x4_values_that_own_each_other_are_dropped_without_deep_recursion_also_at_the_end_of_a_thread() {
    let (told, heard) = mpsc::channel();
    on_small_stack(move || {
        TOUCHED_FIRST.with_borrow(|end| assert!(end.0.is_none()));
        let looper = Rc::new(Looper::new().unwrap());
        Looper::prepare().unwrap();
        for end in [&TOUCHED_FIRST, &TOUCHED_LAST] {
            let dropped = Rc::new(Cell::new(0));
            let first = chain(&looper, MANY, &dropped, |at| BINDS[at % BINDS.len()].1);
            end.set(AtEnd(Some(Box::new((first, looper.clone()))), Some(dropped), Some(told.clone())));
        }
    });

    assert_eq!(heard.iter().collect::<Vec<_>>(), [MANY, MANY]);
}
