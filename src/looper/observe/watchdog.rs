//! `Watchdog`: names the callback in which a looper is stuck, while it is still stuck there.

use std::{
    fmt::{self, Debug, Display, Formatter},
    io, mem,
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use crate::{
    core::{activity::Progress, shared::Shared},
    error::RejectReason,
    looper::{
        Looper, dump::Pending, handle::LooperHandle, posted::PostedGuard, running::Running, thread::HandlerThread,
    },
    mem::{drop::caught, log},
    sys::{fork::ForkGeneration, sync::Mutex, time::Moment},
};

/// For how long a callback may run, unless set: half a second is what a person calls frozen.
const DEFAULT_THRESHOLD: Duration = Duration::from_millis(500);
/// The shortest threshold: below it, looking would cost more than it tells.
const LEAST_THRESHOLD: Duration = Duration::from_millis(10);
/// How often the watchdog looks within a threshold. A callback is first seen one look late at most, and told one look
/// late at most: so within 1.2 thresholds.
const LOOKS: u32 = 12;
/// After so many looks that were missed, the watchdog itself has not run, and nobody is blamed for that time.
const MOST_MISSED: u32 = 3;
/// How many of the messages that wait a report lists.
const MOST_LISTED: usize = 8;

/// Watches any number of loopers from one thread, and names the callback in which one of them is stuck.
///
/// A looper is stuck when it has been in the same message, fd callback, idle handler, task or `Drop` for longer than the
/// threshold. One that waits in epoll, or that nobody polls, is not. It is told once, while it is still stuck, and once
/// when it goes on. Dropping the watchdog ends it.
///
/// # Guarantees
/// Told within 1.2 thresholds. Nothing is stored or measured per message for this: the watchdog looks twelve times in a
/// threshold at what the looper is at, and reads where that was posted. Time in which the watchdog did not run itself,
/// because the process was stopped, does not count. Time is that of each looper's own clock.
///
/// # Examples
/// ```
/// use alooper::{HandlerThread, Watchdog};
/// use std::{sync::mpsc, time::Duration};
///
/// # fn main() -> std::io::Result<()> {
/// let (sender, stuck) = mpsc::channel();
/// let watchdog = Watchdog::builder()
///     .threshold(Duration::from_millis(20))
///     .on_stuck(move |stuck| sender.send(stuck.to_string()).unwrap())
///     .spawn()?;
/// let ui = HandlerThread::spawn("ui")?;
/// watchdog.watch(ui.handle());
///
/// let (go_on, waits) = mpsc::channel::<()>();
/// ui.handle().post(move |_| waits.recv().unwrap())?;
///
/// let report = stuck.recv().unwrap();
/// assert!(report.starts_with("looper \"ui\" is stuck"));
/// go_on.send(()).unwrap();
/// # Ok(())
/// # }
/// ```
///
/// # Android
/// `com.android.server.Watchdog`, and the ANR ("application not responding") of an app whose main looper is stuck.
pub struct Watchdog {
    watched: Arc<Watched>,
    /// The thread that looks; `None` if a looper of the caller's does.
    _thread: Option<HandlerThread>,
    /// Ends the looks.
    _looks: Option<PostedGuard>,
}

/// The loopers that are watched, for all threads. A forked child has no thread that looks, and locks nothing.
struct Watched {
    process: ForkGeneration,
    entries: Mutex<Vec<Entry>>,
}

struct Entry {
    shared: Arc<Shared>,
    /// What the last look has seen, and when that was first seen, on the looper's clock.
    seen: Option<(Progress, Moment)>,
    /// It was told that it is stuck.
    told: Option<Stuck>,
}

/// A looper that is stuck, or was: what a [`Watchdog`] tells.
///
/// Its [`Display`] is for people to read, and may change from version to version.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stuck {
    /// The looper.
    pub looper: LooperHandle,
    /// What it is stuck in.
    pub running: Running,
    /// For how long it has been in that at least. When it has gone on, for how long about it was.
    pub lasted: Duration,
    /// How many messages are due and wait behind it.
    pub waiting: usize,
    /// The first of these.
    pub first: Vec<Pending>,
}

impl Display for Stuck {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Stuck { looper, running, lasted, waiting, first } = self;
        let label = &looper.shared.label;
        write!(f, "{label} is stuck for {lasted:?} in {running}, on thread {}; ", running.thread_id)?;
        match waiting {
            0 => f.write_str("no message waits behind it")?,
            1 => f.write_str("a message waits behind it:")?,
            _ => write!(f, "{waiting} messages wait behind it:")?,
        }
        for pending in first {
            write!(f, "\n  {pending}")?;
        }
        if *waiting > first.len() { write!(f, "\n  and {} more", waiting - first.len()) } else { Ok(()) }
    }
}

type Callback = Box<dyn FnMut(&Stuck) + Send>;

/// Sets the properties of a [`Watchdog`] and starts it. See [`Watchdog::builder`].
#[must_use = "a builder starts nothing until `spawn` or `run_on` is called"]
pub struct WatchdogBuilder {
    threshold: Duration,
    on_stuck: Callback,
    on_resumed: Callback,
}

impl Watchdog {
    /// Starts a watchdog on a thread of its own, which logs what is stuck for half a second.
    ///
    /// # Errors
    /// The kernel's, for the thread or its looper.
    pub fn spawn() -> io::Result<Watchdog> {
        Watchdog::builder().spawn()
    }

    /// Makes a builder, to set the threshold and what is called.
    pub fn builder() -> WatchdogBuilder {
        WatchdogBuilder {
            threshold: DEFAULT_THRESHOLD,
            on_stuck: Box::new(|stuck| log::warn!("{stuck}")),
            on_resumed: Box::new(|stuck| {
                log::warn!("{} goes on after {:?} in {}", stuck.looper.shared.label, stuck.lasted, stuck.running);
            }),
        }
    }

    /// Watches a looper from now on, until that is dropped. One that is watched already is watched once.
    ///
    /// # Thread safety
    /// Callable from any thread, also from what the watchdog calls.
    pub fn watch(&self, looper: &LooperHandle) {
        if !self.watched.process.is_current() || looper.shared.is_inherited() {
            return;
        }
        let mut entries = self.watched.entries.lock();
        if !entries.iter().any(|entry| entry.shared.id == looper.shared.id) {
            entries.push(Entry { shared: looper.shared.clone(), seen: None, told: None });
        }
    }

    /// Watches a looper no more.
    ///
    /// # Thread safety
    /// As [`watch`](Watchdog::watch). What is being told at this moment is told to its end.
    pub fn unwatch(&self, looper: &LooperHandle) {
        if self.watched.process.is_current() {
            let unwatched = self.watched.take(|entry| entry.shared.id == looper.shared.id);
            drop(unwatched);
        }
    }
}

impl Debug for Watchdog {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").finish_non_exhaustive()
    }
}

impl Watched {
    /// Takes out those that `is_meant`; the caller drops them, with nothing locked.
    fn take(&self, is_meant: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut entries = self.entries.lock();
        let (taken, kept) = mem::take(&mut *entries).into_iter().partition(|entry| is_meant(entry));
        *entries = kept;
        taken
    }
}

impl WatchdogBuilder {
    /// Sets for how long a callback may run. 500 ms unless set; less than 10 ms counts as 10.
    pub fn threshold(mut self, threshold: Duration) -> WatchdogBuilder {
        self.threshold = threshold.max(LEAST_THRESHOLD);
        self
    }

    /// Calls `tell`, instead of logging, when a looper is stuck, once for each callback. It runs on the watchdog's
    /// thread with no lock held, while the looper is still stuck. A panic of it is logged, and ends there.
    pub fn on_stuck(mut self, tell: impl FnMut(&Stuck) + Send + 'static) -> WatchdogBuilder {
        self.on_stuck = Box::new(tell);
        self
    }

    /// Calls `tell`, instead of logging, when a looper that was stuck goes on. As [`on_stuck`](WatchdogBuilder::on_stuck).
    pub fn on_resumed(mut self, tell: impl FnMut(&Stuck) + Send + 'static) -> WatchdogBuilder {
        self.on_resumed = Box::new(tell);
        self
    }

    /// Starts the watchdog on a thread of its own, named `watchdog`.
    ///
    /// # Errors
    /// The kernel's, for the thread or its looper.
    pub fn spawn(self) -> io::Result<Watchdog> {
        let watched = Watched::new();
        let mut look = Look::new(self, &watched);
        let period = look.period;
        let thread = HandlerThread::builder().name("watchdog").on_prepared(move |looper| {
            looper.post_every(period, move |looper| look.run(looper))?;
            Ok(())
        });
        Ok(Watchdog { watched, _thread: Some(thread.spawn()?), _looks: None })
    }

    /// Starts the watchdog on a looper of the caller's, by a closure that repeats, and on the looper's clock: so a test
    /// drives it in virtual time. It cannot see that `looper` itself is stuck, nor another one of its thread.
    ///
    /// # Errors
    /// One of kind `BrokenPipe` if the looper has quit.
    #[track_caller]
    pub fn run_on(self, looper: &Looper) -> io::Result<Watchdog> {
        let watched = Watched::new();
        let mut look = Look::new(self, &watched);
        let looks = looper.post_every(look.period, move |looper| look.run(looper)).map_err(io::Error::from)?;
        Ok(Watchdog { watched, _thread: None, _looks: Some(looks.guard()) })
    }
}

impl Debug for WatchdogBuilder {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchdogBuilder").field("threshold", &self.threshold).finish_non_exhaustive()
    }
}

impl Watched {
    fn new() -> Arc<Watched> {
        Arc::new(Watched { process: ForkGeneration::current(), entries: Mutex::new(Vec::new()) })
    }
}

/// Looks at all loopers, again and again.
struct Look {
    watched: Arc<Watched>,
    threshold: Duration,
    period: Duration,
    /// When it has looked last, on the clock of the looper that it runs on.
    last: Option<Moment>,
    on_stuck: Callback,
    on_resumed: Callback,
}

impl Look {
    fn new(builder: WatchdogBuilder, watched: &Arc<Watched>) -> Look {
        let WatchdogBuilder { threshold, on_stuck, on_resumed } = builder;
        Look { watched: watched.clone(), threshold, period: threshold / LOOKS, last: None, on_stuck, on_resumed }
    }

    fn run(&mut self, looper: &Looper) -> ControlFlow<()> {
        let now = looper.clock().now();
        let was_away = self.last.replace(now).is_some_and(|last| last.until(now) > self.period * MOST_MISSED);
        let gone = self.watched.take(|entry| entry.shared.closed() == Some(RejectReason::Dropped));
        let (mut stuck, mut resumed) = (Vec::new(), Vec::new());
        for entry in self.watched.entries.lock().iter_mut() {
            resumed.extend(entry.look(was_away));
            stuck.extend(entry.find_stuck(self.threshold));
        }
        resumed.extend(gone.into_iter().filter_map(|entry| entry.told));
        resumed.iter().for_each(|told| quietly(|| (self.on_resumed)(told)));
        stuck.iter().for_each(|told| quietly(|| (self.on_stuck)(told)));
        ControlFlow::Continue(())
    }
}

/// Calls what a user has given; its panic must not end the watchdog.
fn quietly(tell: impl FnOnce()) {
    if caught(tell).is_none() {
        log::error!("what a watchdog was to call has panicked: see the panic on its thread");
    }
}

impl Entry {
    /// Looks at what the looper is at; gives what it was stuck in if it has gone on.
    fn look(&mut self, was_away: bool) -> Option<Stuck> {
        let progress = self.shared.sight().map(|sight| sight.progress);
        let now = self.shared.clock.now();
        let before = self.seen.filter(|(before, _)| Some(*before) == progress);
        let is_same = before.is_some();
        let first = before.filter(|_| !was_away).map_or(now, |(_, first)| first);
        self.seen = progress.map(|progress| (progress, first));
        if is_same {
            return None;
        }
        let told = self.told.take()?;
        Some(Stuck { lasted: now.to_instant().saturating_duration_since(told.running.since), ..told })
    }

    /// What it is stuck in, if it is and nobody was told.
    fn find_stuck(&mut self, threshold: Duration) -> Option<Stuck> {
        let (progress, first) = self.seen.filter(|_| self.told.is_none())?;
        let shared = &self.shared;
        let now = shared.clock.now();
        if first.until(now) < threshold {
            return None;
        }
        let sight = shared.sight().filter(|sight| sight.progress == progress)?;
        let (pending, ()) = shared.pending_with(Pending::new, |_| ());
        let due: Vec<Pending> =
            pending.into_iter().filter(|(due, _)| *due <= now).map(|(_, pending)| pending).collect();
        let running = Running::new(sight, now, shared.activity.thread_id);
        let (lasted, waiting) = (running.lasted.max(first.until(now)), due.len());
        let first = due.into_iter().take(MOST_LISTED).collect();
        self.told = Some(Stuck { looper: LooperHandle::new(shared), running, lasted, waiting, first });
        self.told.clone()
    }
}
