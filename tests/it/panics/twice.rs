//! A callback that panics, and a value of its that panics when it is dropped for that: one panic goes on, and nothing
//! aborts the process. Each test has a process of its own.
//!
//! Holds X3.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    io,
    ops::ControlFlow,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    panic::panic_any,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alooper::{Events, FdNext, HandlerThread, Interest, Looper, Posted};

use crate::support::{
    alone::alone,
    fds::{poll_now, ready_stream},
    panic_of,
};

/// Panics when it is dropped, and counts that.
struct Explosive<T = ()> {
    inner: T,
    gone_off: Arc<AtomicUsize>,
}

impl<T> Explosive<T> {
    /// Keeps it for as long as the closure that calls this.
    fn hold(&self) {}
}

impl<T: AsFd> AsFd for Explosive<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<T> Drop for Explosive<T> {
    fn drop(&mut self) {
        self.gone_off.fetch_add(1, Ordering::Relaxed);
        panic!("explosive");
    }
}

/// Makes explosives, and counts how many of them have gone off.
#[derive(Clone, Default)]
struct Explosives(Arc<AtomicUsize>);

impl Explosives {
    fn make<T>(&self, inner: T) -> Explosive<T> {
        Explosive { inner, gone_off: self.0.clone() }
    }

    /// A callback for a source, explosive itself.
    fn callback<S>(&self) -> impl FnMut(&Looper, &mut S, Events) -> FdNext + Send + use<S> {
        let own = self.make(());
        move |_, _, _| {
            own.hold();
            FdNext::Keep
        }
    }

    fn gone_off(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Asserts that the looper has nothing left, and works.
#[track_caller]
fn assert_works(looper: &Looper) {
    let before = looper.message_counts().run;
    looper.post(|_| ()).unwrap();
    assert_eq!(poll_now(looper).messages, 1);
    assert_eq!((looper.len(), looper.message_counts().run), (0, before + 1));
    assert!(looper.dump().to_string().contains("fds: 0"));
}

#[test]
fn x3_a_repeating_post_that_panics_may_panic_again_when_it_is_dropped() {
    alone("x3_a_repeating_post_that_panics_may_panic_again_when_it_is_dropped", || {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        for is_remote in [false, true] {
            for is_cancelled in [false, true] {
                let own = Arc::new(std::sync::OnceLock::<Posted>::new());
                let (explosive, itself) = (explosives.make(()), own.clone());
                let tick = move |_: &Looper| -> ControlFlow<()> {
                    explosive.hold();
                    if is_cancelled {
                        assert!(itself.get().unwrap().cancel());
                    }
                    panic!("tick")
                };
                let posted = match is_remote {
                    false => looper.post_every(Duration::ZERO, tick),
                    true => looper.handle().post_every(Duration::ZERO, tick).map_err(|_| panic!("it is taken")),
                };
                let posted = posted.map_err(drop).unwrap();
                own.set(posted.clone()).unwrap();

                assert_eq!(panic_of(|| poll_now(&looper)), "tick");

                assert!(!posted.is_pending() && !posted.cancel());
                assert_works(&looper);
            }
        }
        assert_eq!(explosives.gone_off(), 4);
    });
}

#[test]
fn x3_a_look_at_a_source_may_panic_though_the_source_that_it_ends_does_so_when_dropped() {
    alone("x3_a_look_at_a_source_may_panic_though_the_source_that_it_ends_does_so_when_dropped", || {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        let (near, _far) = ready_stream();
        let source = looper.add_fd(explosives.make(near), Interest::INPUT, explosives.callback()).unwrap();

        let look = |_: &mut Explosive<UnixStream>| -> () {
            assert!(source.remove().is_none(), "it is lent");
            panic!("look")
        };
        assert_eq!(panic_of(|| source.with(look)), "look");

        assert_eq!(explosives.gone_off(), 2);
        assert!(!source.is_registered());
        assert_works(&looper);
    });
}

/// Of a payload, too: it is the first panic that goes on, with what it carries.
#[test]
fn x3_what_a_look_gives_and_what_its_panic_carries_may_panic_when_dropped() {
    alone("x3_what_a_look_gives_and_what_its_panic_carries_may_panic_when_dropped", || {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        let add = || {
            let (near, far) = ready_stream();
            (looper.add_fd(explosives.make(near), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap(), far)
        };

        let (source, _far) = add();
        let gives = |_: &mut Explosive<UnixStream>| {
            assert!(source.handle().remove());
            explosives.make(())
        };
        assert_eq!(panic_of(|| source.with(gives)), "explosive");
        assert_eq!(explosives.gone_off(), 2);

        let (source, _far) = add();
        let panics = |_: &mut Explosive<UnixStream>| -> () {
            assert!(source.handle().remove());
            panic_any(explosives.make(()))
        };
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| source.with(panics))).unwrap_err();
        assert!(panic.is::<Explosive>());
        std::mem::forget(panic);
        assert_eq!(explosives.gone_off(), 3);
        assert_works(&looper);
    });
}

#[test]
fn x3_a_source_that_comes_back_and_its_callback_may_both_panic_when_dropped() {
    alone("x3_a_source_that_comes_back_and_its_callback_may_both_panic_when_dropped", || {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        let (near, _far) = ready_stream();
        let source = looper.add_fd(explosives.make(near), Interest::INPUT, explosives.callback()).unwrap();
        assert_eq!(panic_of(|| source.remove()), "explosive");
        assert_eq!(explosives.gone_off(), 2);

        // The kernel refuses a regular file.
        let file = || File::open(std::env::current_exe().unwrap()).unwrap();
        let near = || looper.add_fd(explosives.make(file()), Interest::INPUT, explosives.callback());
        assert_eq!(panic_of(near), "explosive");
        let afar = || looper.handle().add_fd(explosives.make(file()), Interest::INPUT, explosives.callback());
        assert_eq!(panic_of(afar), "explosive");

        assert_eq!(explosives.gone_off(), 6);
        assert_works(&looper);
    });
}

/// A stream whose `AsFd` panics once it is told to, with what panics when it is dropped.
struct NoFd {
    stream: UnixStream,
    explosives: Explosives,
    is_told: Rc<Cell<bool>>,
    dropped: Rc<Cell<bool>>,
}

impl AsFd for NoFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.is_told.get() {
            panic_any(self.explosives.make(()));
        }
        self.stream.as_fd()
    }
}

impl Drop for NoFd {
    fn drop(&mut self) {
        self.dropped.set(true);
    }
}

#[test]
fn x3_a_source_that_cannot_say_its_fd_ends_quietly_whatever_its_panic_carries() {
    alone("x3_a_source_that_cannot_say_its_fd_ends_quietly_whatever_its_panic_carries", || {
        let looper = Looper::new().unwrap();
        let explosives = Explosives::default();
        let (is_told, dropped) = (Rc::<Cell<bool>>::default(), Rc::<Cell<bool>>::default());
        let (stream, _far) = ready_stream();
        let (told, gone) = (is_told.clone(), dropped.clone());
        let source = NoFd { stream, explosives: explosives.clone(), is_told: told, dropped: gone };
        let callback = move |_: &Looper, _: &mut NoFd, _| {
            is_told.set(true);
            FdNext::Keep
        };
        let source = looper.add_fd(source, Interest::INPUT, callback).unwrap();

        assert_eq!(poll_now(&looper).fds, 1);

        assert!(dropped.get() && !source.is_registered());
        assert_eq!(explosives.gone_off(), 0, "what it carried is forgotten");
        assert_works(&looper);
    });
}

/// The looper that was being prepared is dropped with what it was given by then.
#[test]
fn x3_a_preparation_may_panic_though_what_it_has_given_the_looper_does_so_when_dropped() {
    alone("x3_a_preparation_may_panic_though_what_it_has_given_the_looper_does_so_when_dropped", || {
        let explosives = Explosives::default();
        let made = explosives.clone();
        let prepare = move |looper: &Looper| {
            let explosive = made.make(());
            looper.post(move |_| explosive.hold()).map_err(|_| io::Error::other("it is taken"))?;
            let explosive = RefCell::new(Some(made.make(())));
            looper.add_idle(move |_| {
                explosive.borrow().as_ref().unwrap().hold();
                ControlFlow::Continue(())
            })?;
            panic!("prepare")
        };

        let spawned = || HandlerThread::builder().on_prepared(prepare).spawn();

        assert_eq!(panic_of(spawned), "prepare");
        assert_eq!(explosives.gone_off(), 2);
    });
}
