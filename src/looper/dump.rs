//! The state of a looper, for people to read, and its counters.

use std::{
    fmt::{self, Debug, Display, Formatter},
    panic::Location,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use crate::{
    core::item::Message,
    fd::registration::Registration,
    looper::{Looper, handle::LooperHandle, running::Running},
    queue::{
        Queue,
        account::{MessageCounts, Stats},
        handlers::Handlers,
        message::{Origin, Rank},
    },
    sys::time::Moment,
};

/// A message that is pending, as a [`Dump`] and a test's looper tell of it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Pending {
    /// The type of the handler's messages; `None` for a posted closure.
    pub handler: Option<&'static str>,
    /// The message's `what`; `None` if it has none, as a closure.
    pub what: Option<i32>,
    /// When it is due; `None` if it was posted at the front.
    pub due: Option<Instant>,
    /// Whether barriers let it pass.
    pub asynchronous: bool,
    /// Where it was posted, in the source.
    pub place: &'static Location<'static>,
}

impl Pending {
    pub(crate) fn new(rank: Rank, message: &Message, handlers: &Handlers) -> Pending {
        Pending {
            handler: message.address.target().map(|target| handlers.name(target)),
            what: message.address.what(),
            due: (rank.when != Moment::FRONT).then(|| rank.when.to_instant()),
            asynchronous: rank.seq().is_asynchronous(),
            place: message.origin,
        }
    }
}

/// What it is and where it was posted: the time is for the reader to add.
impl Display for Pending {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.handler {
            Some(handler) => write!(f, "message of {handler}")?,
            None => f.write_str("closure")?,
        }
        if let Some(what) = self.what {
            write!(f, ", what {what}")?;
        }
        let asynchronous = if self.asynchronous { ", asynchronous" } else { "" };
        write!(f, "{asynchronous}, posted at {}", self.place)
    }
}

/// The state of a looper: its [`Display`] is for people to read, and may change from version to version.
///
/// # Android
/// What `Looper.dump` prints.
#[derive(Clone)]
pub struct Dump {
    label: Box<str>,
    is_inherited: bool,
    is_polling: bool,
    running: Option<Running>,
    has_quit: bool,
    now: Moment,
    pending: Vec<(Moment, Pending)>,
    barriers: Vec<(Moment, Origin)>,
    handlers: usize,
    fds: Vec<Registration>,
    account: MessageCounts,
    stats: Stats,
}

impl LooperHandle {
    /// Takes down the looper's whole state, for people to read: what is queued and when it is due, barriers, fds,
    /// counters.
    ///
    /// # Thread safety
    /// Callable from any thread. No user code runs. The queue is copied in slices of 256 places, and the looper goes on
    /// in between: with more messages than that, what is posted, runs or is cancelled meanwhile may be in the copy or
    /// not. How messages have ended is counted at its end, and what was posted is the sum of these and of what it has
    /// as pending. The table of fds is copied after that.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::builder().name("ui").build()?;
    /// looper.post_delayed(Duration::from_secs(9), |_| ())?;
    ///
    /// let text = looper.handle().dump().to_string();
    ///
    /// assert!(text.starts_with("looper \"ui\""));
    /// assert!(text.contains("closure, posted at"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// `Looper.dump`, `Handler.dump`.
    #[must_use]
    pub fn dump(&self) -> Dump {
        let shared = &self.shared;
        let now = shared.clock.now();
        let conclude = |queue: &mut Queue<Looper>| (queue.barriers().collect(), queue.handlers.len(), queue.account());
        let (pending, (barriers, handlers, ended)) = shared.pending_with(Pending::new, conclude);
        // What others have posted since is not in it.
        let posted = ended.run + ended.removed + ended.dropped + pending.len() as u64;
        Dump {
            label: shared.label.clone(),
            is_inherited: shared.is_inherited(),
            is_polling: self.is_polling(),
            running: self.running(),
            has_quit: self.has_quit(),
            now,
            pending,
            barriers,
            handlers,
            fds: shared.fds.all(),
            account: MessageCounts { posted, ..ended },
            stats: self.stats(),
        }
    }

    /// What the looper has done since it was made.
    ///
    /// # Thread safety
    /// Callable from any thread.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        if shared.is_inherited() {
            return Stats::default();
        }
        let wakes = shared.wakes();
        Stats {
            turns: shared.counters.turns.get(),
            waits: shared.counters.waits.get(),
            wakes_sent: wakes.sent,
            wakes_saved: wakes.saved,
            messages: shared.message_counts().run,
            fd_callbacks: shared.counters.fd_callbacks.get(),
            spurious_wakes: shared.counters.spurious_wakes.get(),
            muted_fds: shared.notices.muted_fds.load(Relaxed),
            stuck_fds: shared.notices.stuck_fds.load(Relaxed),
            stale_fds: shared.notices.stale_fds.load(Relaxed),
            ignored_idents: shared.notices.ignored_idents.load(Relaxed),
            overdue_barriers: shared.notices.overdue_barriers.load(Relaxed),
            run_times: shared.counters.run_times.read(),
            lateness: shared.counters.lateness.read(),
            queue_high_water: shared.counters.queue_high_water.get(),
        }
    }
}

impl Looper {
    /// Takes down the looper's whole state, for people to read. See [`LooperHandle::dump`].
    ///
    /// # Android
    /// `Looper.dump`.
    #[must_use]
    pub fn dump(&self) -> Dump {
        self.handle().dump()
    }

    /// What the looper has done since it was made. See [`LooperHandle::stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle().stats()
    }
}

/// A due time as seen from now.
struct FromNow(Moment, Moment);

impl Display for FromNow {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let FromNow(when, now) = *self;
        match when {
            Moment::FRONT => f.pad("at front"),
            Moment::NEVER => f.pad("never"),
            when if when == now => f.pad("now"),
            when if when < now => f.pad(&format!("-{:?}", rounded(when.until(now)))),
            when => f.pad(&format!("+{:?}", rounded(now.until(when)))),
        }
    }
}

/// To microseconds: finer than that is noise to a reader.
fn rounded(duration: Duration) -> Duration {
    Duration::new(duration.as_secs(), duration.subsec_micros() * 1000)
}

impl Display for Dump {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let state = match (self.has_quit, self.is_polling) {
            _ if self.is_inherited => "is the parent process's",
            (true, _) => "has quit",
            (false, true) => "waits in epoll",
            (false, false) => "does not wait",
        };
        writeln!(f, "{}: {state}", self.label)?;
        if let Some(running) = &self.running {
            let at_least = if running.is_exact { "" } else { " at least" };
            let (lasted, thread) = (rounded(running.lasted), running.thread_id);
            writeln!(f, "  runs {running}, for{at_least} {lasted:?}, on thread {thread}")?;
        }
        writeln!(f, "  handlers: {}", self.handlers)?;
        writeln!(f, "  pending: {}", self.pending.len())?;
        for (when, pending) in &self.pending {
            writeln!(f, "    {:>12}  {pending}", FromNow(*when, self.now))?;
        }
        writeln!(f, "  barriers: {}", self.barriers.len())?;
        for (since, origin) in &self.barriers {
            let age = rounded(since.until(self.now));
            writeln!(f, "    {:>12}  put up at {}", format!("{age:?} old"), origin)?;
        }
        writeln!(f, "  fds: {}", self.fds.len())?;
        for fd in &self.fds {
            let ident = fd.ident.map_or_else(|| "callback".to_owned(), |ident| format!("ident {ident}"));
            let muted = if fd.is_muted() { ", muted: only changes are reported" } else { "" };
            writeln!(f, "    fd {} for {:?}, {ident}, added at {}{muted}", fd.fd, fd.interest, fd.place)?;
        }
        let MessageCounts { posted, run, removed, dropped } = self.account;
        writeln!(f, "  messages: {posted} posted, {run} run, {removed} removed, {dropped} dropped")?;
        let Stats { turns, waits, wakes_sent, wakes_saved, fd_callbacks, spurious_wakes, .. } = self.stats;
        writeln!(f, "  turns: {turns}, waits: {waits}, fd callbacks: {fd_callbacks}")?;
        write!(f, "  wakes: {wakes_sent} sent, {wakes_saved} saved, {spurious_wakes} spurious")
    }
}

impl Debug for Dump {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dump")
            .field("looper", &self.label)
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}
