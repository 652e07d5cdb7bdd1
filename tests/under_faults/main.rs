//! A life in which a looper does everything that it can on the real kernel, whatever one of its system calls answers.
//!
//! Without arguments, nothing fails. `.ci/faults` runs it for each cell of the fault matrix, with the name of what may
//! fail in `ALOOPER_FAULT` and the number of lives in `ALOOPER_LIVES`; what is promised is in `tests/unit/matrix/`,
//! which holds the same on a fake kernel. It prints what came of it, and panics if that is not what it should be.
//!
//! Holds L1, M6, S1, X3, C4, C5, C6, C31, C33, C41, C65, C66, C68, C69.

mod tally;

use std::{
    cell::Cell,
    env, fs,
    io::{Read, Write},
    ops::ControlFlow,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::Path,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use alooper::{FdNext, FdSource, Handler, HandlerThread, Interest, Looper, LooperHandle, RejectReason, Token};
use tally::{Cargo, Shared, World};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// More turns than anything here needs, F7's hundred included.
const MOST_TURNS: usize = 300;
/// More waits in vain than another thread takes on a busy machine.
const MOST_WAITS: usize = 3000;

fn main() {
    let number = |name| env::var(name).ok().and_then(|text| text.parse().ok());
    let world = World::new(env::var("ALOOPER_FAULT").ok());
    let before = open_fds();

    for _ in 0..number("ALOOPER_LIVES").unwrap_or(1) {
        live(&world);
    }

    println!("told {} fds {:+}", world.tally.told(), open_fds() as isize - before as isize);
}

/// How many fds this process has open.
fn open_fds() -> usize {
    fs::read_dir("/proc/self/fd").map(Iterator::count).expect("/proc is mounted")
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn live(world: &World) {
    let others = eventfds();
    let looper = world.insist(|| Looper::builder().budget(8).spin_limit(5).build());
    let eventfd = eventfds().into_iter().find(|number| !others.contains(number)).expect("it has one");
    let life = Life { world, looper: &looper, eventfd };

    life.work_at_home();
    life.watch();
    life.be_helped();
    life.be_hosted();
    life.lose_an_fd();
    life.hang_up();
    life.have_a_thread();
    life.run();

    let handle = looper.handle();
    drop(looper);
    assert!(handle.post(|_| ()).is_err_and(|refused| refused.reason() == RejectReason::Dropped));
    world.insist(|| handle.wake());
    world.tally.assert_balanced(handle.message_counts());
}

struct Life<'a> {
    world: &'a World,
    looper: &'a Looper,
    /// The number of the looper's eventfd.
    eventfd: i32,
}

impl Life<'_> {
    /// Polls until `is_done`, as no fault may keep it from being.
    #[track_caller]
    fn poll_until(&self, is_done: impl Fn() -> bool) {
        let (mut turns, mut waits) = (0, 0);
        while turns < MOST_TURNS && waits < MOST_WAITS {
            if is_done() {
                return;
            }
            match self.world.insist(|| self.looper.poll_once(ms(20))).timed_out {
                true => waits += 1,
                false => turns += 1,
            }
        }
        panic!("a fault keeps it from ever being done");
    }

    /// Posts of all kinds, labels, cancelling, a barrier and idle handlers.
    fn work_at_home(&self) {
        let Life { world, looper, .. } = *self;
        world.accept(looper.post(world.note()));
        world.accept(looper.post_delayed(ms(1), world.note()));
        world.accept(looper.post_at(looper.now(), world.note()));
        world.accept(looper.post_at_front(world.note()));
        assert!(world.accept(looper.post_delayed(ms(1), world.note())).cancel());
        let every = world.accept_ticks(looper.post_every(Duration::from_micros(500), world.ticks()));
        let idled = Rc::new(Cell::new(0));
        let count = idled.clone();
        let idle = looper.add_idle(move |_| {
            count.set(count.get() + 1);
            ControlFlow::Continue(())
        });
        self.poll_until(|| looper.is_empty() && idled.get() > 0);
        assert!(idle.is_ok_and(|idle| idle.remove()) && !every.is_pending());

        let handler: Handler<Cargo> = Handler::new(looper, |_, cargo: Cargo| cargo.run());
        let token = Token::new();
        world.accept(handler.send(world.cargo()));
        world.accept(handler.message(world.cargo()).what(1).send());
        world.accept(handler.message(world.cargo()).what(2).token(token).send_delayed(ms(2)));
        assert_eq!((handler.remove(1), handler.remove(token), handler.remove_if(|_| false)), (1, 1, 0));
        let barrier = looper.barrier().expect("it has not quit");
        world.accept(handler.asynchronous().send(world.cargo()));
        world.accept(looper.post(world.note()));
        self.poll_until(|| looper.len() == 1);
        drop(barrier);
        self.poll_until(|| looper.is_empty());
    }

    /// Registrations added, changed, replaced and removed, in callbacks, too.
    fn watch(&self) {
        let Life { world, looper, .. } = *self;
        let (first, _far) = ready_stream();
        let is_called = Rc::new(Cell::new(false));
        let (tell, inner) = (is_called.clone(), world.clone());
        let first = self.add(first, Interest::INPUT, move |looper, _| {
            let second =
                inner.insist_on(stream().0, |near| looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep));
            drop(second.remove());
            tell.set(true);
            FdNext::Interest(Interest::PRIORITY)
        });
        self.poll_until(|| is_called.get());
        drop(first.remove());

        let (near, mut far) = stream();
        let source = self.add(near, Interest::INPUT, |_, _| FdNext::Keep);
        world.insist(|| source.set_interest(Interest::PRIORITY));
        world.insist(|| source.repoll());
        // Removed, it is at once as if it had never been watched.
        let near = source.remove().expect("it is registered and not running");
        let ident = world.insist_on(near, |near| looper.add_ident(near, Interest::INPUT, 7));
        far.write_all(b"x").expect("there is room");
        let is_seen = Cell::new(false);
        self.poll_until(|| {
            let turn = world.insist(|| looper.poll_once(ms(20)));
            is_seen.set(is_seen.get() || turn.idents.len() == 1);
            is_seen.get()
        });
        drop(ident.remove());

        let (near, _far) = ready_stream();
        let (near, calls) = (Rc::new(near), Rc::new(Cell::new(0)));
        for next in [FdNext::Keep, FdNext::Remove] {
            world.insist(|| {
                let count = calls.clone();
                let callback = move |_: &Looper, _: &mut Shared, _| {
                    count.set(count.get() + 1);
                    next
                };
                Ok(looper.replace_fd(Shared(near.clone()), Interest::INPUT, callback)?)
            });
        }
        self.poll_until(|| calls.get() > 0);
        assert_eq!(calls.get(), 1);
    }

    /// Another thread does all that it may while the looper polls.
    fn be_helped(&self) {
        let (world, handle) = (self.world.clone(), self.looper.handle());
        let eventfd = self.eventfd;
        let is_done = Arc::new(AtomicBool::new(false));
        let tell = is_done.clone();
        let helper = self.world.start(move || {
            help(&world, &handle, eventfd);
            tell.store(true, Relaxed);
        });
        self.poll_until(|| is_done.load(Relaxed) || helper.is_finished());
        helper.join().expect("the other thread does not panic");
        self.poll_until(|| self.looper.is_empty());
    }

    /// Another loop hosts the looper.
    fn be_hosted(&self) {
        let Life { world, looper, .. } = *self;
        let host = looper.as_raw_fd();
        world.accept(looper.post(world.note()));
        world.accept(looper.handle().post_delayed(ms(1), world.note()));
        self.poll_until(|| looper.is_empty());
        assert_eq!(looper.as_raw_fd(), host);
    }

    /// F7: an fd dies under its registration while a duplicate keeps it in the epoll set.
    fn lose_an_fd(&self) {
        let Life { world, looper, .. } = *self;
        let (near, mut far) = stream();
        let served = Rc::new(Cell::new(false));
        let tell = served.clone();
        let healthy = self.add(near, Interest::INPUT, move |_, _| {
            tell.set(true);
            FdNext::Keep
        });
        let (dying, _far) = ready_stream();
        let duplicate = dying.try_clone().expect("there is an fd for it");
        let dying = self.add(dying, Interest::INPUT, |_, _| FdNext::Keep);
        dying.with(|near| *near = stream().0);
        let is_rebuilt = |_: &usize| world.insist(|| looper.poll_once(Duration::ZERO)).rebuilt;
        // Without an fd of its own, the host has the looper's set, which can then not be replaced.
        let turns = (0..100).find(is_rebuilt);
        assert!(turns.is_some() || world.may_fail("epoll"), "a new set takes the place of the spoilt one");
        drop((duplicate, dying.remove()));
        // Refused if the kernel has said that it was closed, too: then its registration has ended.
        let _ = far.write_all(b"x");
        self.poll_until(|| served.get() || !healthy.is_registered());
        assert!(healthy.remove().is_some() || ["EBADF", "ENOENT", "EPERM"].iter().any(|errno| world.may_be(errno)));
    }

    /// F8: an fd that does nothing but hang up is muted, and watched again when it is repolled.
    fn hang_up(&self) {
        let (near, far) = stream();
        let calls = Rc::new(Cell::new(0));
        let count = calls.clone();
        drop(far);
        let source = self.add(near, Interest::PRIORITY, move |_, _| {
            count.set(count.get() + 1);
            FdNext::Keep
        });
        self.poll_until(|| calls.get() >= 5 || !source.is_registered());
        self.world.insist(|| self.looper.poll_once(Duration::ZERO));
        if source.is_registered() {
            self.world.insist(|| source.repoll());
            self.poll_until(|| calls.get() >= 6 || !source.is_registered());
        }
        // Refused if the kernel has said that it was closed: then its registration has ended.
        assert!(source.remove().is_some() || ["EBADF", "ENOENT", "EPERM"].iter().any(|errno| self.world.may_be(errno)));
    }

    /// A thread with a looper. It ticks, so that it gets up for a quit that could not be signalled. What fails at the
    /// beginning of a thread fails each time.
    fn have_a_thread(&self) {
        let world = self.world;
        let ticks = |looper: &Looper| {
            looper.post_every(ms(5), |_| ControlFlow::Continue(()))?;
            Ok(())
        };
        let thread = match HandlerThread::builder().on_prepared(ticks).spawn() {
            Ok(thread) => thread,
            Err(error) => return world.be_told(&error),
        };
        let handle = thread.handle().clone();
        let refused = handle.call_timeout(DAY, |looper| looper.is_empty()).is_err();
        assert!(!refused || world.may_fail("epoll_wait") || world.may_fail("timerfd_settime"));
        thread.quit_safely();
        if let Err(error) = thread.join() {
            world.be_told(&error.into());
        }
        let report = handle.message_counts();
        assert_eq!(report.posted, report.run + report.removed + report.dropped, "{report:?}");
    }

    /// Runs until it quits safely, with something left.
    fn run(&self) {
        let Life { world, looper, .. } = *self;
        let _kept = self.add(stream().0, Interest::INPUT, |_, _| FdNext::Keep);
        world.accept(looper.post(world.note()));
        world.accept(looper.post_delayed(DAY, world.note()));
        let (handle, cargo) = (looper.handle(), world.cargo());
        let quit = move |_: &Looper| {
            cargo.run();
            handle.quit_safely();
        };
        world.accept(looper.post_delayed(ms(1), quit));
        let report = world.insist(|| looper.run());
        assert!(report.dropped > 0, "{report:?}");
        assert!(looper.post(|_| ()).is_err_and(|refused| refused.reason() == RejectReason::Quit));
        assert!(world.insist(|| looper.poll_once(None)).quit);
    }

    fn add(
        &self,
        near: UnixStream,
        interest: Interest,
        callback: impl FnMut(&Looper, &mut UnixStream) -> FdNext + 'static,
    ) -> FdSource<UnixStream> {
        let callback = Rc::new(std::cell::RefCell::new(callback));
        self.world.insist_on(near, |near| {
            let callback = callback.clone();
            self.looper.add_fd(near, interest, move |looper, near, _| (callback.borrow_mut())(looper, near))
        })
    }
}

/// What another thread does: posts, calls, wakes, fds, a barrier, idle handlers, questions.
fn help(world: &World, handle: &LooperHandle, eventfd: i32) {
    for _ in 0..8 {
        world.accept(handle.post(world.note()));
        world.accept(handle.post_delayed(Duration::from_micros(100), world.note()));
        world.accept(handle.post_at_front(world.note()));
        assert!(world.accept(handle.post_delayed(DAY, world.note())).cancel());
        // C4: a wake that finds no room in the eventfd, which takes a looper that sleeps.
        fill(eventfd);
        while count_of(eventfd) > 1 << 63 {
            while !handle.is_polling() {
                thread::yield_now();
            }
            world.insist(|| handle.wake());
        }
    }

    let barrier = handle.barrier().expect("it has not quit");
    world.accept(handle.post(world.note()));
    world.accept(handle.asynchronous().post(world.note()));
    drop(barrier);
    drop(handle.add_idle(|_| ControlFlow::Break(())).expect("it has not quit"));
    // S1.
    world.accept(handle.call(world.note()));

    let calls = Arc::new(AtomicUsize::new(0));
    let (near, mut far) = stream();
    let added = world.insist_on(near, |near| {
        let calls = calls.clone();
        handle.add_fd(near, Interest::PRIORITY, move |_, near: &mut UnixStream, _| {
            calls.fetch_add(1, Relaxed);
            drop(near.read(&mut [0]));
            FdNext::Keep
        })
    });
    world.insist(|| added.set_interest(Interest::INPUT));
    world.insist(|| added.repoll());
    far.write_all(b"x").expect("there is room");
    while calls.load(Relaxed) == 0 {
        thread::yield_now();
    }
    assert!(added.remove());
}

fn stream() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("sockets are to be had")
}

/// A stream that is ready for input, and its peer.
fn ready_stream() -> (UnixStream, UnixStream) {
    let (near, mut far) = stream();
    far.write_all(b"x").expect("there is room");
    (near, far)
}

/// The numbers of the eventfds of this process: one of a looper that was closed under strace is open still.
fn eventfds() -> Vec<i32> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc is mounted").filter_map(Result::ok);
    let is_eventfd = |path: &Path| fs::read_link(path).is_ok_and(|to| to.ends_with("anon_inode:[eventfd]"));
    let paths = entries.map(|entry| entry.path()).filter(|path| is_eventfd(path));
    paths.filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

/// Fills the counter of an eventfd, so that the next write finds no room.
#[allow(unsafe_code, reason = "nothing safe reaches the eventfd of a looper")]
fn fill(eventfd: i32) {
    let missing = u64::MAX - 1 - count_of(eventfd);
    // SAFETY: the looper, which outlives this thread, has it open.
    let eventfd = unsafe { BorrowedFd::borrow_raw(eventfd) };
    // This write may be the one that fails: then the wake finds room.
    let _ = nix::unistd::write(eventfd, &missing.to_ne_bytes());
}

/// What the counter of an eventfd stands at.
fn count_of(eventfd: i32) -> u64 {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{eventfd}")).expect("it is open");
    let count = info.lines().find_map(|line| line.strip_prefix("eventfd-count:")).expect("it is an eventfd");
    u64::from_str_radix(count.trim(), 16).expect("it is a number")
}
