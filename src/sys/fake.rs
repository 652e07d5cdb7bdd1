//! A kernel that a test scripts: one looper's eventfd, timerfd and epoll sets, on a virtual clock.
//!
//! It behaves as epoll does where a looper can tell: level- and edge-triggered readiness, an eventfd that fills up, a
//! timer that forgets its expiry when it is set anew, fds that are closed with and without a duplicate. Time passes
//! only in a wait that has nothing to report: then the clock jumps to the timer's expiry. A wait that nothing can end
//! fails the test, or, in a model, really waits for another thread.

mod files;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt::{self, Debug, Formatter},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    sync::Arc,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::epoll::{EpollEvent, EpollFlags, EpollOp},
};

use self::files::Files;
use crate::sys::{
    sync::{Condvar, Mutex, MutexGuard},
    time::{Clock, Moment, VirtualClock},
};

/// What a test lets happen at some point.
type Action = Box<dyn FnOnce() + Send>;

/// The number of the eventfd.
pub(crate) const EVENTFD: RawFd = -2;
/// The number of the timerfd.
pub(crate) const TIMERFD: RawFd = -3;
/// The number of the first epoll set; the next ones count downwards.
const FIRST_SET: RawFd = -10;
/// What an fd that is ready for nothing is ready for.
const NOTHING: EpollFlags = EpollFlags::empty();
/// What is reported whether or not it is asked for.
const ALWAYS: EpollFlags = EpollFlags::EPOLLERR.union(EpollFlags::EPOLLHUP);
/// More waits than any test needs.
const MOST_WAITS: usize = 100_000;

/// A system call, for counting and for faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Call {
    EpollCreate,
    EpollAdd,
    EpollModify,
    EpollDelete,
    EpollWait,
    EventfdCreate,
    EventfdWrite,
    EventfdRead,
    TimerfdCreate,
    TimerfdSet,
}

/// What a wait does when nothing is ready and no timer is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// Fails the test: it would hang.
    Panic,
    /// Waits for another thread; the timer never expires.
    Wait,
}

pub(crate) struct FakeKernel {
    clock: Arc<VirtualClock>,
    stuck: Stuck,
    state: Mutex<State>,
    /// Something became ready.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    counter: u64,
    timer: Option<Moment>,
    sets: BTreeMap<RawFd, Vec<Watch>>,
    next_set: RawFd,
    /// What each fd of the test is ready for.
    ready: HashMap<RawFd, EpollFlags>,
    faults: HashMap<Call, VecDeque<Option<Errno>>>,
    calls: HashMap<Call, usize>,
    during_waits: VecDeque<Action>,
    before_calls: HashMap<Call, VecDeque<Action>>,
    /// Events that the next wait reports besides.
    injected: Vec<(u64, EpollFlags)>,
    /// How many of the next waits that may block return at once, with nothing.
    empty_waits: usize,
    live: HashMap<&'static str, isize>,
    files: Files,
}

/// An fd in an epoll set.
#[derive(Clone, Copy)]
struct Watch {
    /// `None` when its fd was closed while a duplicate keeps it in the set.
    fd: Option<RawFd>,
    /// What the fd stood for when it was added, in tests that have files.
    file: Option<u64>,
    flags: EpollFlags,
    data: u64,
    /// An edge-triggered event that no wait has reported.
    edge: bool,
}

impl Watch {
    /// Whether it is told of what has come with `flags`.
    fn hears(&self, flags: EpollFlags) -> bool {
        flags.intersects(self.flags | ALWAYS)
    }
}

impl FakeKernel {
    pub(crate) fn new(stuck: Stuck) -> Arc<FakeKernel> {
        Arc::new(FakeKernel {
            clock: VirtualClock::new(),
            stuck,
            state: Mutex::new(State { next_set: FIRST_SET, ..State::default() }),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock::Virtual(self.clock.clone())
    }

    /// Moves the clock, as if the looper's thread were busy for so long.
    pub(crate) fn advance(&self, delay: Duration) {
        self.clock.advance(delay);
    }

    /// How often the clock was read.
    pub(crate) fn clock_readings(&self) -> i64 {
        self.clock.readings()
    }

    /// Makes `fd` ready for `flags` from now on; with empty flags, not ready.
    pub(crate) fn set_ready(&self, fd: RawFd, flags: EpollFlags) {
        let mut state = self.state.lock();
        let risen = flags - state.ready.insert(fd, flags).unwrap_or(NOTHING);
        state.raise_edges_if(|watch| watch.fd == Some(fd) && watch.hears(risen));
        self.changed.notify_all();
    }

    /// Whether `fd` is ready for anything.
    pub(crate) fn is_ready(&self, fd: RawFd) -> bool {
        self.state.lock().ready.get(&fd).is_some_and(|flags| !flags.is_empty())
    }

    /// Closes `fd` without taking it out of the epoll sets first. With a duplicate, they keep it and its events.
    pub(crate) fn close(&self, fd: RawFd, has_duplicate: bool) {
        let mut state = self.state.lock();
        for watches in state.sets.values_mut() {
            if has_duplicate {
                watches.iter_mut().filter(|watch| watch.fd == Some(fd)).for_each(|watch| watch.fd = None);
            } else {
                watches.retain(|watch| watch.fd != Some(fd));
            }
        }
    }

    /// Closes the duplicates of all fds that were closed before.
    pub(crate) fn close_duplicates(&self) {
        self.state.lock().sets.values_mut().for_each(|watches| watches.retain(|watch| watch.fd.is_some()));
    }

    /// Lets the next wait report `flags` for whatever `fd` is registered as now, even if that has ended by then.
    pub(crate) fn inject(&self, fd: RawFd, flags: EpollFlags) {
        let mut state = self.state.lock();
        let watch = state.sets.values().flatten().find(|watch| watch.fd == Some(fd)).copied();
        let data = watch.expect("the fd is registered").data;
        state.injected.push((data, flags));
    }

    /// Lets the next call of this kind fail.
    pub(crate) fn fail(&self, call: Call, errno: Errno) {
        self.fail_after(call, 0, errno);
    }

    /// Lets a call of this kind fail after `successes` that do not.
    pub(crate) fn fail_after(&self, call: Call, successes: usize, errno: Errno) {
        let mut state = self.state.lock();
        let faults = state.faults.entry(call).or_default();
        faults.extend(std::iter::repeat_n(None, successes));
        faults.push_back(Some(errno));
    }

    /// Lets the next wait that may block return at once, with nothing.
    pub(crate) fn return_with_nothing(&self) {
        self.state.lock().empty_waits += 1;
    }

    /// Runs `action` in the next wait that may block, as another thread would while the looper sleeps.
    pub(crate) fn during_next_wait(&self, action: impl FnOnce() + Send + 'static) {
        self.state.lock().during_waits.push_back(Box::new(action));
    }

    /// Runs `action` before the next call of this kind, as another thread might just then.
    pub(crate) fn before_next(&self, call: Call, action: impl FnOnce() + Send + 'static) {
        self.state.lock().before_calls.entry(call).or_default().push_back(Box::new(action));
    }

    /// Fills the eventfd's counter, so that the next write finds no room. This is no call.
    pub(crate) fn fill_eventfd(&self) {
        self.state.lock().counter = u64::MAX - 1;
    }

    /// How many calls of this kind there were.
    pub(crate) fn calls(&self, call: Call) -> usize {
        self.state.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// How many calls of all kinds there were.
    pub(crate) fn all_calls(&self) -> usize {
        self.state.lock().calls.values().sum()
    }

    /// What the timer is set to.
    pub(crate) fn timer(&self) -> Option<Moment> {
        self.state.lock().timer
    }

    /// Whether an epoll set has something to report: whether its fd is readable.
    pub(crate) fn is_readable(&self) -> bool {
        let state = self.state.lock();
        let now = self.now();
        state.sets.values().flatten().any(|watch| !state.readiness(watch, now).is_empty())
    }

    /// Whether an epoll set with another one in it has something to report: what a host sees.
    pub(crate) fn is_host_readable(&self) -> bool {
        let state = self.state.lock();
        let now = self.now();
        let inner = state.sets.values().flatten().filter(|watch| watch.fd.is_some_and(|fd| fd <= FIRST_SET));
        inner.into_iter().any(|watch| !state.readiness(watch, now).is_empty())
    }

    /// How many kernel objects are open.
    pub(crate) fn open_objects(&self) -> isize {
        let state = self.state.lock();
        state.live.values().sum::<isize>() + state.sets.len() as isize
    }

    fn now(&self) -> Moment {
        self.clock().now()
    }

    /// Notes a call, and fails if it is to fail.
    fn enter(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        if let Some(action) = state.before_calls.get_mut(&call).and_then(VecDeque::pop_front) {
            drop(state);
            action();
            state = self.state.lock();
        }
        *state.calls.entry(call).or_default() += 1;
        match state.faults.get_mut(&call).and_then(VecDeque::pop_front).flatten() {
            Some(errno) => Err(errno.into()),
            None => Ok(state),
        }
    }

    fn new_eventfd(&self) -> io::Result<()> {
        *self.enter(Call::EventfdCreate)?.live.entry("eventfd").or_default() += 1;
        Ok(())
    }

    fn new_timerfd(&self) -> io::Result<()> {
        *self.enter(Call::TimerfdCreate)?.live.entry("timerfd").or_default() += 1;
        Ok(())
    }

    fn close_object(&self, kind: &'static str) {
        *self.state.lock().live.entry(kind).or_default() -= 1;
    }

    pub(crate) fn write_eventfd(&self, value: u64) -> io::Result<()> {
        let mut state = self.enter(Call::EventfdWrite)?;
        match state.counter.checked_add(value) {
            Some(sum) if sum < u64::MAX => state.counter = sum,
            _ => return Err(Errno::EAGAIN.into()),
        }
        state.raise_edge(EVENTFD);
        self.changed.notify_all();
        Ok(())
    }

    pub(crate) fn read_eventfd(&self) -> io::Result<()> {
        let mut state = self.enter(Call::EventfdRead)?;
        if state.counter == 0 {
            return Err(Errno::EAGAIN.into());
        }
        state.counter = 0;
        Ok(())
    }

    pub(crate) fn set_timer(&self, delay: Option<Duration>) -> io::Result<()> {
        let mut state = self.enter(Call::TimerfdSet)?;
        state.timer = delay.map(|delay| self.now().after(delay));
        state.raise_edge(TIMERFD);
        Ok(())
    }
}

impl Debug for FakeKernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeKernel").finish_non_exhaustive()
    }
}

impl State {
    fn raise_edge(&mut self, fd: RawFd) {
        self.raise_edges_if(|watch| watch.fd == Some(fd));
    }

    fn raise_edges_if(&mut self, has_changed: impl Fn(&Watch) -> bool) {
        let watches = self.sets.values_mut().flatten();
        watches.filter(|watch| has_changed(watch)).for_each(|watch| watch.edge = true);
    }

    /// What `watch` would report now.
    fn readiness(&self, watch: &Watch, now: Moment) -> EpollFlags {
        let is_new = watch.edge || !watch.flags.contains(EpollFlags::EPOLLET);
        let is_ready = match watch.fd {
            Some(EVENTFD) => is_new && self.counter > 0,
            Some(TIMERFD) => is_new && self.timer.is_some_and(|due| due <= now),
            Some(fd) if fd <= FIRST_SET => {
                let inner = self.sets.get(&fd).into_iter().flatten();
                inner.into_iter().any(|watch| !self.readiness(watch, now).is_empty())
            }
            Some(fd) => {
                let ready = match watch.file {
                    Some(file) => self.files.readiness(file),
                    None => self.ready.get(&fd).copied().unwrap_or(EpollFlags::empty()),
                };
                return if is_new { ready & (watch.flags | ALWAYS) } else { NOTHING };
            }
            None if is_new => return EpollFlags::EPOLLHUP,
            None => return NOTHING,
        };
        if is_ready { EpollFlags::EPOLLIN } else { EpollFlags::empty() }
    }

    /// Takes what `set` has to report, at most as much as there is room for; what finds none is first in the next wait.
    fn take_ready(&mut self, set: RawFd, now: Moment, events: &mut [EpollEvent]) -> usize {
        let mut count = 0;
        for (data, flags) in std::mem::take(&mut self.injected) {
            events[count] = EpollEvent::new(flags, data);
            count += 1;
        }
        let mut watches = self.sets.remove(&set).expect("the set is open");
        let mut seen = 0;
        for watch in &mut watches {
            if count == events.len() {
                break;
            }
            let flags = self.readiness(watch, now);
            if !flags.is_empty() {
                events[count] = EpollEvent::new(flags, watch.data);
                watch.edge = false;
                count += 1;
            }
            seen += 1;
        }
        watches.rotate_left(seen);
        self.sets.insert(set, watches);
        count
    }
}

/// One epoll set of a [`FakeKernel`].
pub(crate) struct FakeEpoll {
    kernel: Arc<FakeKernel>,
    raw: RawFd,
    /// Stands for the set where a real fd is asked for.
    stand_in: OwnedFd,
}

impl FakeEpoll {
    pub(crate) fn new(kernel: &Arc<FakeKernel>) -> io::Result<FakeEpoll> {
        let stand_in = nix::sys::eventfd::EventFd::new()?.into();
        let mut state = kernel.enter(Call::EpollCreate)?;
        let raw = state.next_set;
        state.next_set -= 1;
        state.sets.insert(raw, Vec::new());
        drop(state);
        Ok(FakeEpoll { kernel: kernel.clone(), raw, stand_in })
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.raw
    }

    pub(crate) fn control(&self, op: EpollOp, fd: RawFd, flags: EpollFlags, data: u64) -> io::Result<()> {
        let call = match op {
            EpollOp::EpollCtlAdd => Call::EpollAdd,
            EpollOp::EpollCtlMod => Call::EpollModify,
            _ => Call::EpollDelete,
        };
        let mut state = self.kernel.enter(call)?;
        let file = state.files.named(fd)?;
        let watches = state.sets.get_mut(&self.raw).ok_or(Errno::EBADF)?;
        let position = watches.iter().position(|watch| watch.fd == Some(fd) && watch.file == file);
        match (call, position) {
            (Call::EpollAdd, Some(_)) => return Err(Errno::EEXIST.into()),
            (Call::EpollAdd, None) => watches.push(Watch { fd: Some(fd), file, flags, data, edge: true }),
            (_, None) => return Err(Errno::ENOENT.into()),
            (Call::EpollModify, Some(position)) => {
                watches[position] = Watch { fd: Some(fd), file, flags, data, edge: true };
            }
            (_, Some(position)) => drop(watches.remove(position)),
        }
        self.kernel.changed.notify_all();
        Ok(())
    }

    pub(crate) fn wait(&self, events: &mut [EpollEvent], block: bool) -> io::Result<usize> {
        let mut state = self.kernel.enter(Call::EpollWait)?;
        assert!(state.calls[&Call::EpollWait] <= MOST_WAITS, "the looper spins");
        if block && let Some(action) = state.during_waits.pop_front() {
            drop(state);
            action();
            state = self.kernel.state.lock();
        }
        if block && state.empty_waits > 0 {
            state.empty_waits -= 1;
            return Ok(0);
        }
        loop {
            let count = state.take_ready(self.raw, self.kernel.now(), events);
            if count > 0 || !block {
                return Ok(count);
            }
            match (self.kernel.stuck, state.timer) {
                (Stuck::Wait, _) => state = self.kernel.changed.wait(state),
                (Stuck::Panic, Some(due)) if due > self.kernel.now() => self.kernel.clock.advance_to(due),
                (Stuck::Panic, _) => {
                    drop(state);
                    panic!("the looper would sleep for ever: nothing is ready, no timer is set, no other thread acts");
                }
            }
        }
    }
}

impl Drop for FakeEpoll {
    fn drop(&mut self) {
        self.kernel.state.lock().sets.remove(&self.raw);
    }
}

impl AsFd for FakeEpoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stand_in.as_fd()
    }
}

impl Debug for FakeEpoll {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeEpoll").field("raw", &self.raw).finish_non_exhaustive()
    }
}

/// The eventfd or timerfd of a [`FakeKernel`], which counts what is open.
pub(crate) struct FakeObject {
    kernel: Arc<FakeKernel>,
    kind: &'static str,
}

impl FakeObject {
    pub(crate) fn eventfd(kernel: &Arc<FakeKernel>) -> io::Result<FakeObject> {
        kernel.new_eventfd()?;
        Ok(FakeObject { kernel: kernel.clone(), kind: "eventfd" })
    }

    pub(crate) fn timerfd(kernel: &Arc<FakeKernel>) -> io::Result<FakeObject> {
        kernel.new_timerfd()?;
        Ok(FakeObject { kernel: kernel.clone(), kind: "timerfd" })
    }
}

impl std::ops::Deref for FakeObject {
    type Target = FakeKernel;

    fn deref(&self) -> &FakeKernel {
        &self.kernel
    }
}

impl Drop for FakeObject {
    fn drop(&mut self) {
        self.kernel.close_object(self.kind);
    }
}

impl Debug for FakeObject {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeObject").field("kind", &self.kind).finish_non_exhaustive()
    }
}
