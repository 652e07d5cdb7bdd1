//! Watching: who sees each message run, and which of them are slow.

use std::{
    cell::{Cell, RefCell},
    fmt::{self, Debug, Formatter},
    panic::Location,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    fd::notice::Notice,
    looper::observe::wants::{RunInfo, WaitInfo, Wants},
    mem::{drop::Shielded, log},
    queue::details::Details,
    sys::time::Moment,
};

/// Below this lateness slow deliveries are reported again: Android's figure.
const CAUGHT_UP: Duration = Duration::from_millis(10);

/// Sees what a looper does: each message before and after it runs, and what the looper notices itself, unless it
/// [wants](Observer::wants) something else.
///
/// The methods run on the looper's thread, with no lock held. One that panics does so through the turn, as a callback.
///
/// # Android
/// `Looper.Observer`, and the `Printer` of `Looper.setMessageLogging`.
pub trait Observer {
    /// What it wants to be told. Asked once, when it is set; what it does not want costs nothing.
    ///
    /// Messages with their times and notices, unless it says otherwise. One that wants messages without times costs
    /// somewhat more again than to post and run a message does; each reading of the clock costs twice that, or more.
    fn wants(&self) -> Wants {
        Wants::default()
    }

    /// A message is about to run.
    ///
    /// # Android
    /// `Observer.messageDispatchStarting`.
    fn started(&self, dispatch: &DispatchInfo) {
        let _ = dispatch;
    }

    /// A message has run for `took`, which is zero unless [`TIMES`](Wants::TIMES) are wanted.
    ///
    /// A message that follows in the same turn begins when this one has ended. What this method takes is not its time
    /// if it is longer than a tick of the kernel's coarse clock, a few milliseconds; less may be.
    ///
    /// # Android
    /// `Observer.messageDispatched`.
    fn finished(&self, dispatch: &DispatchInfo, took: Duration) {
        let _ = (dispatch, took);
    }

    /// A message has panicked after `took`. The panic goes on when this returns.
    ///
    /// # Android
    /// `Observer.dispatchingThrewException`.
    fn panicked(&self, dispatch: &DispatchInfo, took: Duration) {
        let _ = (dispatch, took);
    }

    /// An fd callback, an idle handler, a hook or the poll of a task is about to run: if [`FDS`](Wants::FDS),
    /// [`IDLE`](Wants::IDLE), [`HOOKS`](Wants::HOOKS) or [`TASKS`](Wants::TASKS) are wanted.
    fn began(&self, run: &RunInfo) {
        let _ = run;
    }

    /// What has begun has ended after `took`, or has panicked. That panic goes on when this returns.
    fn ended(&self, run: &RunInfo, took: Duration, panicked: bool) {
        let _ = (run, took, panicked);
    }

    /// The looper has waited in epoll, and is about to run what it has found: if [`WAITS`](Wants::WAITS) are wanted.
    fn waited(&self, wait: &WaitInfo) {
        let _ = wait;
    }

    /// The looper has noticed something that its program should know. It is logged and counted, too.
    ///
    /// # Android
    /// Nothing like it: what Android notices of this, it logs.
    fn noticed(&self, notice: &Notice) {
        let _ = notice;
    }
}

impl<T: Observer + ?Sized> Observer for Arc<T> {
    fn wants(&self) -> Wants {
        (**self).wants()
    }

    fn started(&self, dispatch: &DispatchInfo) {
        (**self).started(dispatch);
    }

    fn finished(&self, dispatch: &DispatchInfo, took: Duration) {
        (**self).finished(dispatch, took);
    }

    fn panicked(&self, dispatch: &DispatchInfo, took: Duration) {
        (**self).panicked(dispatch, took);
    }

    fn began(&self, run: &RunInfo) {
        (**self).began(run);
    }

    fn ended(&self, run: &RunInfo, took: Duration, panicked: bool) {
        (**self).ended(run, took, panicked);
    }

    fn waited(&self, wait: &WaitInfo) {
        (**self).waited(wait);
    }

    fn noticed(&self, notice: &Notice) {
        (**self).noticed(notice);
    }
}

/// A message that runs, as an [`Observer`] sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DispatchInfo {
    /// The type of the handler's messages; `None` for a posted closure.
    pub handler: Option<&'static str>,
    /// The message's `what`; `None` if it has none, as a closure.
    pub what: Option<i32>,
    /// When it was due; `None` if it was posted at the front, and unless [`TIMES`](Wants::TIMES) are wanted.
    pub due: Option<Instant>,
    /// When it was posted; `None` if nobody watched then.
    pub posted: Option<Instant>,
    /// The thread that posted it, by the kernel's number; `None` if nobody watched then.
    pub poster: Option<i32>,
    /// When it starts; `None` unless [`TIMES`](Wants::TIMES) are wanted, or a threshold for what is slow is set.
    pub started: Option<Instant>,
    /// Where it was posted, in the source.
    pub place: &'static Location<'static>,
    /// What is measured of it, if anything is.
    pub(crate) times: Option<Times>,
}

/// What is measured of a message that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) started: Moment,
    pub(crate) posted: Option<Moment>,
    /// By how much it starts after it was due and, if that is known, was posted; `None` if it was posted at the front.
    pub(crate) late: Option<Duration>,
    /// How many messages are behind it.
    pub(crate) pending: usize,
}

impl DispatchInfo {
    /// A message of a handler whose type is called `handler`, or of nobody, that nobody measures.
    #[inline(always)]
    pub(crate) fn untimed(details: &Details, handler: Option<&'static str>) -> DispatchInfo {
        let Details { origin, what, posted, .. } = *details;
        DispatchInfo {
            handler,
            what,
            due: None,
            posted: posted.map(|posted| posted.at.to_instant()),
            poster: posted.map(|posted| posted.by.get().cast_signed()),
            started: None,
            place: origin,
            times: None,
        }
    }

    /// As [`untimed`](DispatchInfo::untimed), with what is measured.
    #[inline]
    pub(crate) fn timed(details: &Details, handler: Option<&'static str>, times: Times) -> DispatchInfo {
        let Details { origin, when, what, posted } = *details;
        let due = (when != Moment::FRONT).then(|| when.to_instant());
        // What is plain is due when it is posted.
        let instant_of = |at: Moment| due.filter(|_| at == when).unwrap_or_else(|| at.to_instant());
        DispatchInfo {
            handler,
            what,
            due,
            posted: posted.map(|posted| instant_of(posted.at)),
            poster: posted.map(|posted| posted.by.get().cast_signed()),
            started: Some(times.started.to_instant()),
            place: origin,
            times: Some(times),
        }
    }

    /// What the log calls it.
    fn label(&self) -> String {
        let what = self.what.map_or(String::new(), |what| format!(", what {what}"));
        let kind = self.handler.map_or_else(|| "a closure".to_owned(), |name| format!("a message of {name}{what}"));
        format!("{kind}, posted at {}", self.place)
    }

    /// How late it starts: after it was due and, if that is known, was posted.
    pub(crate) fn lateness(&self) -> Option<Duration> {
        self.times?.late
    }
}

/// What a builder says about watching.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    pub(crate) observer: Option<Arc<dyn Observer + Send + Sync>>,
    pub(crate) slow_dispatch: Option<Duration>,
    pub(crate) slow_delivery: Option<Duration>,
    pub(crate) timed: bool,
}

impl Debug for Watch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("has_observer", &self.observer.is_some())
            .field("slow_dispatch", &self.slow_dispatch)
            .field("slow_delivery", &self.slow_delivery)
            .field("timed", &self.timed)
            .finish()
    }
}

/// The observer, while it is told something: it may be replaced meanwhile, so that this is the last of it.
#[derive(Default)]
pub(crate) struct Kept(Option<Rc<dyn Observer>>);

impl Kept {
    #[inline]
    pub(crate) fn get(&self) -> Option<&dyn Observer> {
        self.0.as_deref()
    }
}

impl Drop for Kept {
    #[inline]
    fn drop(&mut self) {
        // Only the last one runs a user's `Drop`, and that may panic while another panic unwinds.
        if self.0.as_ref().is_some_and(|observer| Rc::strong_count(observer) == 1) {
            drop(Shielded::new(self.0.take()));
        }
    }
}

/// Who watches a looper, and from when on something is slow.
pub(crate) struct Watching {
    observer: RefCell<Option<Rc<dyn Observer>>>,
    slow_dispatch: Cell<Option<Duration>>,
    slow_delivery: Cell<Option<Duration>>,
    /// Everything is measured, for the statistics.
    timed: bool,
    /// A slow delivery was reported, and the looper has not caught up since.
    is_behind: Cell<bool>,
    /// What the observer wants.
    wants: Cell<Wants>,
    /// That, and what the thresholds need.
    needs: Cell<Wants>,
    /// A wait that is still to be told.
    wait: Cell<Option<WaitInfo>>,
    /// Whether messages are watched: looked at for each of them.
    is_on: Cell<bool>,
    /// How often any of this was set.
    settings: Cell<u64>,
}

impl Watching {
    pub(crate) fn new(watch: Watch) -> Watching {
        let wants = watch.observer.as_ref().map_or(Wants::empty(), |observer| observer.wants());
        let watching = Watching {
            observer: RefCell::new(watch.observer.map(|observer| Rc::new(observer) as Rc<dyn Observer>)),
            slow_dispatch: Cell::new(watch.slow_dispatch),
            slow_delivery: Cell::new(watch.slow_delivery),
            timed: watch.timed,
            is_behind: Cell::new(false),
            wants: Cell::new(wants),
            needs: Cell::new(wants),
            wait: Cell::new(None),
            is_on: Cell::new(false),
            settings: Cell::new(0),
        };
        watching.update();
        watching
    }

    /// Whether somebody watches messages.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.get()
    }

    /// Changes whenever anything is set.
    #[inline]
    pub(crate) fn settings(&self) -> u64 {
        self.settings.get()
    }

    /// Whether somebody watches what `wants` is for.
    #[inline]
    pub(crate) fn sees(&self, wants: Wants) -> bool {
        self.needs.get().intersects(wants)
    }

    /// Whether the clock has to be read for what runs.
    #[inline]
    pub(crate) fn needs_times(&self) -> bool {
        self.sees(Wants::TIMES)
    }

    /// Whether the clock has to be read for what is posted.
    pub(crate) fn wants_posts(&self) -> bool {
        self.sees(Wants::POSTS)
    }

    fn update(&self) {
        let mut needs = self.wants.get();
        if self.slow_dispatch.get().is_some() {
            needs |= Wants::MESSAGES | Wants::FDS | Wants::IDLE | Wants::HOOKS | Wants::TASKS | Wants::TIMES;
        }
        if self.slow_delivery.get().is_some() {
            needs |= Wants::MESSAGES | Wants::POSTS | Wants::TIMES;
        }
        if self.timed {
            needs |= Wants::MESSAGES | Wants::POSTS | Wants::FDS | Wants::IDLE | Wants::HOOKS | Wants::TIMES;
        }
        self.needs.set(needs);
        self.is_on.set(needs.contains(Wants::MESSAGES));
        self.settings.set(self.settings.get() + 1);
    }

    /// The observer, and what it wants.
    #[cfg(any(feature = "trace", feature = "tracing"))]
    pub(crate) fn observer(&self) -> (Option<Rc<dyn Observer>>, Wants) {
        (self.observer.borrow().clone(), self.wants.get())
    }

    /// From when on messages are slow to run, and slow to begin.
    #[cfg(feature = "tracing")]
    pub(crate) fn slow_thresholds(&self) -> (Option<Duration>, Option<Duration>) {
        (self.slow_dispatch.get(), self.slow_delivery.get())
    }

    /// Sets the observer, which `wants` something; gives the former one.
    pub(crate) fn set_observer(&self, observer: Option<Rc<dyn Observer>>, wants: Wants) -> Option<Rc<dyn Observer>> {
        let former = self.observer.replace(observer);
        self.wants.set(wants);
        self.update();
        former
    }

    pub(crate) fn set_slow_thresholds(&self, dispatch: Option<Duration>, delivery: Option<Duration>) {
        self.slow_dispatch.set(dispatch);
        self.slow_delivery.set(delivery);
        self.is_behind.set(false);
        self.update();
    }

    /// The observer, if it wants what `wants` is for.
    #[inline]
    pub(crate) fn observer_of(&self, wants: Wants) -> Kept {
        Kept(if self.wants.get().intersects(wants) { self.observer.borrow().clone() } else { None })
    }

    /// Tells the observer what the looper has noticed.
    pub(crate) fn tell(&self, notice: &Notice) {
        let kept = self.observer_of(Wants::NOTICES);
        if let Some(observer) = kept.get() {
            observer.noticed(notice);
        }
    }

    pub(crate) fn keep_wait(&self, wait: WaitInfo) {
        self.wait.set(Some(wait));
    }

    /// Tells the observer of the wait that has ended, if it wants to know.
    #[inline]
    pub(crate) fn tell_wait(&self) {
        if self.sees(Wants::WAITS) {
            self.tell_wait_now();
        }
    }

    #[cold]
    fn tell_wait_now(&self) {
        let kept = self.observer_of(Wants::WAITS);
        if let (Some(observer), Some(wait)) = (kept.get(), self.wait.take()) {
            observer.waited(&wait);
        }
    }

    /// Reports a delivery that is slow, and when the looper has caught up.
    pub(crate) fn look_at_delivery(&self, label: &str, dispatch: &DispatchInfo) {
        let Some((threshold, lateness)) = self.slow_delivery.get().zip(dispatch.lateness()) else {
            return;
        };
        if self.is_behind.get() {
            if lateness < CAUGHT_UP {
                self.is_behind.set(false);
                log::warn!("{label} has caught up: {lateness:?} behind");
            }
        } else if lateness >= threshold {
            self.is_behind.set(true);
            log::warn!(
                "{label} is {lateness:?} behind when it starts {}: look for what ran before it for long",
                dispatch.label()
            );
        }
    }

    /// Reports a dispatch that was slow; whether it was.
    #[inline]
    pub(crate) fn look_at_dispatch(&self, label: &str, dispatch: &DispatchInfo, took: Duration) -> bool {
        let is_slow = self.slow_dispatch.get().is_some_and(|threshold| took >= threshold);
        if is_slow {
            log::warn!("{label} was held up for {took:?} by {}: move long work to another thread", dispatch.label());
        }
        is_slow
    }

    /// Reports what was slow and is no message.
    pub(crate) fn look_at_run(&self, label: &str, run: &RunInfo, took: Duration) {
        if self.slow_dispatch.get().is_some_and(|threshold| took >= threshold) {
            let what = run.kind.words();
            log::warn!("{label} was held up for {took:?} by {what} at {}: move long work to another thread", run.place);
        }
    }
}
