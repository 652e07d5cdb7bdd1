//! The rules in which time or the kernel's answers matter, on the fake kernel and the virtual clock: nothing sleeps.
//!
//! Rules that the real kernel can show are in `tests/`.

use std::{
    cell::{Cell, RefCell},
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{epoll::EpollFlags, eventfd::EventFd},
};

use crate::{
    fd::FdNext,
    looper::{Looper, builder::LooperBuilder, fd_source::FdSource, report::Turn},
    queue::account::MessageCounts,
    sys::{
        Kernel,
        fake::{Call, FakeKernel, Stuck},
        interest::{Events, Interest},
    },
};

mod barrier;
mod barrier_alarm;
mod barrier_host;
mod faults;
mod fd_errors;
mod fd_histories;
mod fds;
mod gaps;
mod hosting;
mod idle;
mod idle_ends;
mod idle_rounds;
mod lost_fds;
mod matrix;
mod order;
mod quit;
mod rebuild;
mod repeat;
mod spin;
#[cfg(feature = "async")]
mod tasks;
mod time;
mod turn;
mod wake;
#[cfg(all(feature = "wall-clock", feature = "testing"))]
mod wall_clock;

const IN: EpollFlags = EpollFlags::EPOLLIN;
const HUP: EpollFlags = EpollFlags::EPOLLHUP;
const NOT_READY: EpollFlags = EpollFlags::empty();

const NANOSECOND: Duration = Duration::from_nanos(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A looper on a fake kernel, and that kernel.
fn fake() -> (Looper, Arc<FakeKernel>) {
    fake_with(|builder| builder)
}

/// A looper with properties on a fake kernel, and that kernel.
fn fake_with(set: impl FnOnce(LooperBuilder) -> LooperBuilder) -> (Looper, Arc<FakeKernel>) {
    let kernel = FakeKernel::new(Stuck::Panic);
    let looper = set(builder_on(&kernel)).build().expect("nothing fails unless told");
    (looper, kernel)
}

/// A builder of loopers on a fake kernel.
fn builder_on(kernel: &Arc<FakeKernel>) -> LooperBuilder {
    LooperBuilder { clock: kernel.clock(), kernel: Kernel::Fake(kernel.clone()), ..Looper::builder() }
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The report of a turn that called back `count` fds, and of which there is nothing else to say.
fn served(count: usize) -> Turn {
    Turn { fds: count, ..Turn::default() }
}

/// The report of a turn that ran `count` messages, and of which there is nothing else to say.
fn ran(count: usize) -> Turn {
    Turn { messages: count, ..Turn::default() }
}

fn woken() -> Turn {
    Turn { woken: true, ..Turn::default() }
}

fn timed_out() -> Turn {
    Turn { timed_out: true, ..Turn::default() }
}

/// Polls once without waiting.
fn poll(looper: &Looper) -> Turn {
    looper.poll_once(Duration::ZERO).unwrap()
}

/// Runs `action` on another thread to its end.
fn elsewhere<R: Send + 'static>(action: impl FnOnce() -> R + Send + 'static) -> R {
    thread::spawn(action).join().expect("the other thread does not panic")
}

/// What callbacks note, in their order. Clones share it.
struct Log<T>(Rc<RefCell<Vec<T>>>);

impl<T> Log<T> {
    fn new() -> Log<T> {
        Log(Rc::default())
    }

    fn note(&self, entry: T) {
        self.0.borrow_mut().push(entry);
    }

    /// What was noted since the last call.
    fn take(&self) -> Vec<T> {
        self.0.take()
    }
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Log(self.0.clone())
    }
}

impl<T: 'static> Log<T> {
    /// A message that notes `entry`.
    fn noting(&self, entry: T) -> impl FnOnce(&Looper) + use<T> {
        let log = self.clone();
        move |_| log.note(entry)
    }
}

/// A source to register. What it is ready for, only the fake kernel knows.
fn source() -> OwnedFd {
    EventFd::new().expect("an eventfd is to be had").into()
}

fn number(source: &impl AsFd) -> RawFd {
    source.as_fd().as_raw_fd()
}

/// Registers a new source for input. Gives its number too.
#[track_caller]
fn add(looper: &Looper, mut callback: impl FnMut(&Looper, Events) -> FdNext + 'static) -> (FdSource<OwnedFd>, RawFd) {
    let source = source();
    let fd = number(&source);
    let callback = move |looper: &Looper, _: &mut OwnedFd, events| callback(looper, events);
    (looper.add_fd(source, Interest::INPUT, callback).expect("the fake kernel takes it"), fd)
}

/// As [`add`], with a callback that notes `name`.
#[track_caller]
fn add_noting(looper: &Looper, log: &Log<&'static str>, name: &'static str) -> (FdSource<OwnedFd>, RawFd) {
    let log = log.clone();
    add(looper, move |_, _| {
        log.note(name);
        FdNext::Keep
    })
}

/// Registers a clone of `source` whose callback notes `name` and keeps watching.
fn add_clone(looper: &Looper, source: &Rc<OwnedFd>, log: &Log<&'static str>, name: &'static str) {
    let log = log.clone();
    let note = move |_: &Looper, _: &mut Rc<OwnedFd>, _| {
        log.note(name);
        FdNext::Keep
    };
    looper.add_fd(source.clone(), Interest::INPUT, note).unwrap();
}

/// The eventfd, the timerfd and the epoll set.
const OWN_OBJECTS: isize = 3;

/// How many turns of no time it takes until one tells that the epoll set was made anew.
fn turns_until_rebuilt(looper: &Looper) -> usize {
    let is_rebuilt = |_: &usize| looper.poll_once(Duration::ZERO).unwrap().rebuilt;
    (1..=100).find(is_rebuilt).expect("at most 100 extra wake-ups")
}

fn assert_quiet(looper: &Looper, kernel: &FakeKernel) {
    let (start, waits) = (looper.now(), kernel.calls(Call::EpollWait));
    assert!(looper.poll_once(ms(500)).unwrap().timed_out);
    assert_eq!((looper.now() - start, kernel.calls(Call::EpollWait) - waits), (ms(500), 1));
}

/// What has been logged by this thread since the last call.
fn logged() -> Vec<String> {
    thread_local! {
        static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    struct Collector;

    impl log::Log for Collector {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            LINES.with_borrow_mut(|lines| lines.push(format!("{}: {}", record.level(), record.args())));
        }

        fn flush(&self) {}
    }

    // Only the first call sets it; the other threads' loggers are the same.
    if log::set_logger(&Collector).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
    LINES.take()
}
