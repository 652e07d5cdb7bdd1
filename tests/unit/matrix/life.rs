//! A life in which a looper does everything that it can, whatever one system call answers meanwhile.

use std::{
    io,
    ops::ControlFlow,
    os::fd::{AsRawFd, BorrowedFd},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
};

use super::{
    super::*,
    tally::{Cargo, Flaw, Source, World},
};
use crate::{Barrier, Handler, LooperHandle, Posted, RejectReason, Token};

/// More turns than anything here needs, F7's hundred included.
const MOST_TURNS: usize = 150;

/// Lives a life on `world`, from making a looper to dropping the last handle.
pub(super) fn live(world: &World) {
    logged();
    let looper = world.insist(|| {
        let made = builder_on(&world.kernel).budget(8).spin_limit(5).build();
        assert!(made.is_ok() || world.kernel.open_objects() == 0, "nothing of one that failed stays open");
        made
    });
    let life = EndOnDrop { world, looper: &looper };

    life.work_locally();
    life.watch();
    life.work_remotely();
    life.wake_with_a_full_counter();
    life.be_hosted();
    life.lose_an_fd();
    life.hang_up();
    life.go_wrong();
    let last = life.run();
    life.be_over();

    let handle = looper.handle();
    drop(looper);
    assert!(handle.post(|_| ()).is_err_and(|refused| refused.reason() == RejectReason::Dropped));
    world.insist(|| handle.wake());
    world.tally.assert_balanced(handle.message_counts());
    assert!(!last.is_pending());
    drop((handle, last));
    assert_eq!(world.kernel.open_objects(), 0);
    world.count_log();
}

struct EndOnDrop<'a> {
    world: &'a World,
    looper: &'a Looper,
}

impl EndOnDrop<'_> {
    /// Polls until `is_done`, as no fault may keep it from being.
    #[track_caller]
    fn poll_until(&self, is_done: impl Fn() -> bool) -> Turn {
        let mut sum = Turn::default();
        for _ in 0..MOST_TURNS {
            if is_done() {
                return sum;
            }
            sum.add(self.world.insist(|| self.looper.poll_once(ms(20))));
        }
        panic!("a fault keeps it from ever being done");
    }

    /// Polls until nothing is due.
    #[track_caller]
    fn prepare_sleep(&self) {
        self.poll_until(|| self.looper.is_empty());
    }

    /// Lets `action` run while the looper sleeps, and polls until it has. It runs on the looper's thread, which costs
    /// least, as another thread would.
    #[track_caller]
    fn while_asleep(&self, action: impl FnOnce(&World, &LooperHandle) + Send + 'static) -> Turn {
        let (world, handle) = (self.world.clone(), self.looper.handle());
        let has_acted = Arc::new(AtomicBool::new(false));
        let tell = has_acted.clone();
        self.world.kernel.during_next_wait(move || {
            action(&world, &handle);
            tell.store(true, Relaxed);
        });
        self.poll_until(|| has_acted.load(Relaxed))
    }

    /// As [`while_asleep`](EndOnDrop::while_asleep), on a thread of its own.
    #[track_caller]
    fn on_another_thread(&self, action: impl FnOnce(&World, &LooperHandle) + Send + 'static) {
        self.while_asleep(|world, handle| {
            let handle = handle.clone();
            world.elsewhere(move |world| action(world, &handle));
        });
    }

    /// Posts of all kinds, labels, cancelling, a barrier and idle handlers.
    fn work_locally(&self) {
        let EndOnDrop { world, looper } = self;
        world.accept(looper.post(world.note()));
        world.accept(looper.post_delayed(ms(3), world.note()));
        world.accept(looper.post_at(looper.now(), world.note()));
        world.accept(looper.post_at_front(world.note()));
        assert!(world.accept(looper.post_delayed(ms(1), world.note())).cancel());
        let ticks = world.tally.clone();
        let every = looper.post_every(ms(2), move |_| match ticks.ticks.fetch_add(1, Relaxed) {
            0..2 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        });
        let every = every.expect("it has not quit");

        let idled = Rc::new(Cell::new(0));
        let count = idled.clone();
        let idle = looper.add_idle(move |_| {
            count.set(count.get() + 1);
            ControlFlow::Continue(())
        });
        let idle = idle.expect("it has not quit");
        self.prepare_sleep();
        assert!(!every.is_pending() && world.tally.ticks.load(Relaxed) == 3);
        self.poll_until(|| idled.get() > 0);
        assert!(idle.remove());

        let handler: Handler<Cargo> = Handler::new(looper, |_, cargo: Cargo| cargo.run());
        let token = Token::new();
        world.accept(handler.send(world.cargo()));
        world.accept(handler.send_delayed(ms(1), world.cargo()));
        world.accept(handler.message(world.cargo()).what(1).send());
        world.accept(handler.message(world.cargo()).what(2).token(token).send_delayed(ms(2)));
        assert_eq!((handler.remove(1), handler.remove(token), handler.remove_if(|_| false)), (1, 1, 0));
        let barrier = looper.barrier().expect("it has not quit");
        world.accept(handler.asynchronous().send(world.cargo()));
        world.accept(handler.send(world.cargo()));
        // What is delayed waits, too.
        self.poll_until(|| looper.len() == 2);
        drop(barrier);
        self.prepare_sleep();
    }

    /// Registrations of all kinds, added, changed, replaced and removed on its thread, in callbacks and by others.
    fn watch(&self) {
        let EndOnDrop { world, looper } = self;
        let second = Rc::new(RefCell::new(None));
        let (inner, adding) = (World::clone(world), second.clone());
        let first = self.add(Interest::INPUT, move |looper, _| {
            let keep = |_: &Looper, _: &mut Source, _| FdNext::Keep;
            let added = inner.insist_on(inner.source(), |source| looper.add_fd(source, Interest::INPUT, keep));
            adding.replace(Some(added));
            FdNext::Interest(Interest::OUTPUT)
        });
        self.ready(&first, IN);
        self.poll_until(|| second.borrow().is_some());
        drop(second.take().and_then(|second| second.remove()));
        drop(first.remove());

        let source = self.add(Interest::INPUT, |_, _| FdNext::Keep);
        world.insist(|| source.set_interest(Interest::OUTPUT));
        world.insist(|| source.repoll());
        world.insist(|| source.set_interest(Interest::INPUT));
        // Removed, it is at once as if it had never been watched.
        let back = source.remove().expect("it is registered and not running");
        let ident = world.insist_on(back, |source| looper.add_ident(source, Interest::INPUT, 7));
        self.ready(&ident, IN);
        let turn = world.insist(|| looper.poll_once(ms(20)));
        assert!(turn.interrupted || turn.idents.len() == 1, "{turn:?}");
        drop(ident.remove());

        let shared = Rc::new(world.source());
        let calls = Rc::new(Cell::new(0));
        let fd = number(&*shared);
        for round in 0..2 {
            let count = calls.clone();
            let attempt = || {
                let (held, count) = (Shared(shared.clone()), count.clone());
                let callback = move |_: &Looper, _: &mut Shared, _| {
                    count.set(count.get() + 1);
                    if round == 0 { FdNext::Keep } else { FdNext::Remove }
                };
                looper.replace_fd(held, Interest::INPUT, callback).map_err(io::Error::from)
            };
            world.insist(attempt);
        }
        world.kernel.set_ready(fd, IN);
        self.poll_until(|| calls.get() > 0);
        world.kernel.set_ready(fd, NOT_READY);
        assert_eq!((calls.get(), looper.shared().fds.len()), (1, 0));
    }

    /// What other threads do while the looper sleeps: posts, calls, wakes, fds, barriers, idle handlers, questions.
    fn work_remotely(&self) {
        let EndOnDrop { world, looper } = self;
        self.on_another_thread(|world, handle| {
            // Each question has the looper's thread make a fence.
            assert!((0..10).all(|_| handle.is_empty()));
            world.accept(handle.post(world.note()));
            world.accept(handle.post_delayed(ms(2), world.note()));
            world.accept(handle.post_at_front(world.note()));
            assert!(world.accept(handle.post_delayed(DAY, world.note())).cancel());
            assert_eq!((handle.len(), handle.message_counts().removed > 0), (3, true));
        });
        self.prepare_sleep();
        assert!(self.while_asleep(|world, handle| world.insist(|| handle.wake())).woken);

        let cancelled = world.accept(looper.post_delayed(DAY, world.note()));
        self.on_another_thread(move |_, _| assert!(cancelled.cancel()));
        self.prepare_sleep();

        let barrier: Barrier = looper.barrier().expect("it has not quit");
        self.while_asleep(|world, handle| {
            world.accept(handle.post(world.note()));
            world.accept(handle.asynchronous().post(world.note()));
        });
        self.poll_until(|| looper.len() == 1);
        self.while_asleep(move |_, _| drop(barrier));
        self.prepare_sleep();

        self.while_asleep(|_, handle| drop(handle.add_idle(|_| ControlFlow::Break(())).expect("it has not quit")));
        let (sender, receiver) = mpsc::channel();
        self.while_asleep(move |world, handle| {
            let (asked, world) = (handle.clone(), world.clone());
            let caller = thread::spawn(move || {
                world.accept(asked.call(world.note()));
                world.count_log();
            });
            while handle.is_empty() {
                thread::yield_now();
            }
            sender.send(caller).expect("somebody waits for it");
        });
        self.prepare_sleep();
        receiver.recv().expect("it was started").join().expect("the call is answered");

        self.watch_remotely();
    }

    fn watch_remotely(&self) {
        let EndOnDrop { world, .. } = self;
        let (sender, receiver) = mpsc::channel();
        let count = Arc::new(AtomicUsize::new(0));
        let counting = count.clone();
        self.on_another_thread(move |world, handle| {
            let source = world.source();
            let fd = number(&source);
            let added = world.insist_on(source, |source| {
                let count = counting.clone();
                handle.add_fd(source, Interest::OUTPUT, move |_, _: &mut Source, _| {
                    count.fetch_add(1, Relaxed);
                    FdNext::Keep
                })
            });
            world.insist(|| added.set_interest(Interest::INPUT));
            world.insist(|| added.repoll());
            world.kernel.set_ready(fd, IN);
            sender.send((added, fd)).expect("somebody waits for it");
        });
        let (added, fd) = receiver.recv().expect("it was added");
        self.poll_until(|| count.load(Relaxed) > 0);
        world.kernel.set_ready(fd, NOT_READY);
        self.while_asleep(move |_, _| assert!(added.remove()));
    }

    /// C4: a wake that finds no room in the eventfd.
    fn wake_with_a_full_counter(&self) {
        let turn = self.while_asleep(|world, handle| {
            world.kernel.fill_eventfd();
            world.insist(|| handle.wake());
        });
        assert!(turn.woken);
    }

    /// Another loop hosts the looper.
    fn be_hosted(&self) {
        let EndOnDrop { world, looper } = self;
        let host = looper.as_raw_fd();
        world.accept(looper.post(world.note()));
        world.accept(looper.handle().post_delayed(ms(1), world.note()));
        world.accept(looper.post_delayed(ms(2), world.note()));
        for delay in [0, 1, 1].map(ms) {
            world.kernel.advance(delay);
            assert!(world.kernel.is_readable() || world.may_be_unheard(), "the host is asked to poll");
            world.insist(|| looper.poll_once(Duration::ZERO));
        }
        assert!(looper.is_empty());
        assert_eq!(looper.as_raw_fd(), host);
    }

    /// F7: an fd dies under its registration while a duplicate keeps it in the epoll set.
    fn lose_an_fd(&self) {
        let EndOnDrop { world, looper } = self;
        let objects = world.kernel.open_objects();
        // Without an fd of its own, the host has the looper's set, which can then not be replaced.
        let can_rebuild = objects == OWN_OBJECTS + 1;
        let served = Rc::new(Cell::new(false));
        let tell = served.clone();
        let healthy = self.add(Interest::INPUT, move |_, _| {
            tell.set(true);
            FdNext::Keep
        });
        let dying = self.add(Interest::INPUT, |_, _| FdNext::Keep);
        let fd = dying.with(|source| number(source)).expect("it is not running");
        world.kernel.close(fd, true);
        let kept = dying.remove();
        let is_rebuilt = |_: &usize| world.insist(|| looper.poll_once(Duration::ZERO)).rebuilt;
        let turns = (0..if can_rebuild { MOST_TURNS } else { 20 }).find(is_rebuilt);
        assert_eq!(turns.is_some(), can_rebuild);
        world.kernel.close_duplicates();
        assert_eq!(world.kernel.open_objects(), objects);
        drop(kept);
        if healthy.is_registered() {
            self.ready(&healthy, IN);
            self.poll_until(|| served.get());
            drop(healthy.remove());
        } else {
            assert!(world.may_seem_dead(), "the new set has what the old one had");
        }
    }

    /// F8: an fd that does nothing but hang up is muted, and watched again when it is repolled.
    fn hang_up(&self) {
        let EndOnDrop { world, looper } = self;
        let calls = Rc::new(Cell::new(0));
        let count = calls.clone();
        let source = self.add(Interest::INPUT, move |_, _| {
            count.set(count.get() + 1);
            FdNext::Keep
        });
        self.ready(&source, HUP);
        self.poll_until(|| calls.get() >= 5 || !source.is_registered());
        world.insist(|| looper.poll_once(Duration::ZERO));
        if source.is_registered() {
            world.insist(|| source.repoll());
            self.poll_until(|| calls.get() >= 6 || !source.is_registered());
        }
        assert!(source.remove().is_some() || world.may_seem_dead(), "the kernel has said that its fd was closed");
    }

    /// What a control wants to be seen.
    fn go_wrong(&self) {
        let EndOnDrop { world, looper } = self;
        match world.flaw {
            Some(Flaw::Leak) => world.leave_open(),
            Some(Flaw::Lose) => {
                let cargo = world.cargo();
                world.accept(looper.post(|_| cargo.vanish()));
            }
            Some(Flaw::Spin) => (0..300).for_each(|_| _ = world.insist(|| looper.poll_once(Duration::ZERO))),
            Some(Flaw::Swallow) | None => {}
        }
    }

    /// Runs until it quits safely, with something left. Gives that.
    fn run(&self) -> Posted {
        let EndOnDrop { world, looper } = self;
        let kept = self.add(Interest::INPUT, |_, _| FdNext::Keep);
        drop(kept);
        world.accept(looper.post(world.note()));
        let last = world.accept(looper.post_delayed(DAY, world.note()));
        let (handle, cargo) = (looper.handle(), world.cargo());
        let quit = move |_: &Looper| {
            cargo.run();
            handle.quit_safely();
        };
        world.accept(looper.post_delayed(ms(5), quit));
        let report = world.insist(|| looper.run());
        assert!(report.dropped > 0 && report.run > 0, "{report:?}");
        last
    }

    /// Has quit, and refuses.
    fn be_over(&self) {
        let EndOnDrop { world, looper } = self;
        assert!(looper.post(|_| ()).is_err_and(|refused| refused.reason() == RejectReason::Quit));
        let refused = looper.add_ident(world.source(), Interest::INPUT, 1).expect_err("it has quit");
        assert_eq!(refused.error().kind(), io::ErrorKind::BrokenPipe);
        let turn = world.insist(|| looper.poll_once(None));
        assert!(turn.quit, "{turn:?}");
    }

    fn add(&self, interest: Interest, callback: impl FnMut(&Looper, Events) -> FdNext + 'static) -> FdSource<Source> {
        let callback = Rc::new(RefCell::new(callback));
        self.world.insist_on(self.world.source(), |source| {
            let callback = callback.clone();
            self.looper
                .add_fd(source, interest, move |looper, _: &mut Source, events| (callback.borrow_mut())(looper, events))
        })
    }

    fn ready(&self, source: &FdSource<Source>, flags: EpollFlags) {
        let fd = source.with(|source| number(source)).expect("it is not running");
        self.world.kernel.set_ready(fd, flags);
    }
}

/// One source in two registrations.
struct Shared(Rc<Source>);

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
