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
    mem::{drop::Shielded, log},
};

/// Below this lateness slow deliveries are reported again: Android's figure.
const CAUGHT_UP: Duration = Duration::from_millis(10);

/// Sees each message of a looper before and after it runs, and what the looper notices itself.
///
/// The methods run on the looper's thread, with no lock held. One that panics does so through the turn, as a callback.
///
/// # Android
/// `Looper.Observer`, and the `Printer` of `Looper.setMessageLogging`.
pub trait Observer {
    /// A message is about to run.
    ///
    /// # Android
    /// `Observer.messageDispatchStarting`.
    fn started(&self, dispatch: &DispatchInfo) {
        let _ = dispatch;
    }

    /// A message has run for `took`.
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

    /// The looper has noticed something that its program should know. It is logged and counted, too.
    ///
    /// # Android
    /// Nothing like it: what Android notices of this, it logs.
    fn noticed(&self, notice: &Notice) {
        let _ = notice;
    }
}

impl<T: Observer + ?Sized> Observer for Arc<T> {
    fn started(&self, dispatch: &DispatchInfo) {
        (**self).started(dispatch);
    }

    fn finished(&self, dispatch: &DispatchInfo, took: Duration) {
        (**self).finished(dispatch, took);
    }

    fn panicked(&self, dispatch: &DispatchInfo, took: Duration) {
        (**self).panicked(dispatch, took);
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
    /// When it was due; `None` if it was posted at the front.
    pub due: Option<Instant>,
    /// When it was posted; `None` if nobody watched then.
    pub posted: Option<Instant>,
    /// When it starts.
    pub started: Instant,
    /// Where it was posted, in the source.
    pub place: &'static Location<'static>,
}

impl DispatchInfo {
    /// What the log calls it.
    fn label(&self) -> String {
        let what = self.what.map_or(String::new(), |what| format!(", what {what}"));
        let kind = self.handler.map_or_else(|| "a closure".to_owned(), |name| format!("a message of {name}{what}"));
        format!("{kind}, posted at {}", self.place)
    }

    /// How late it starts: after it was due and, if that is known, was posted.
    fn lateness(&self) -> Option<Duration> {
        let due = self.due?;
        let owed = self.posted.map_or(due, |posted| posted.max(due));
        Some(self.started.saturating_duration_since(owed))
    }
}

/// What a builder says about watching.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    pub(crate) observer: Option<Arc<dyn Observer + Send + Sync>>,
    pub(crate) slow_dispatch: Option<Duration>,
    pub(crate) slow_delivery: Option<Duration>,
}

impl Debug for Watch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("has_observer", &self.observer.is_some())
            .field("slow_dispatch", &self.slow_dispatch)
            .field("slow_delivery", &self.slow_delivery)
            .finish()
    }
}

/// Who watches a looper, and from when on something is slow.
pub(crate) struct Watching {
    observer: RefCell<Option<Rc<dyn Observer>>>,
    slow_dispatch: Cell<Option<Duration>>,
    slow_delivery: Cell<Option<Duration>>,
    /// A slow delivery was reported, and the looper has not caught up since.
    is_behind: Cell<bool>,
    is_on: Cell<bool>,
}

impl Watching {
    pub(crate) fn new(watch: Watch) -> Watching {
        let watching = Watching {
            observer: RefCell::new(watch.observer.map(|observer| Rc::new(observer) as Rc<dyn Observer>)),
            slow_dispatch: Cell::new(watch.slow_dispatch),
            slow_delivery: Cell::new(watch.slow_delivery),
            is_behind: Cell::new(false),
            is_on: Cell::new(false),
        };
        watching.update();
        watching
    }

    /// Whether somebody watches.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.get()
    }

    fn update(&self) {
        let is_slow_asked = self.slow_dispatch.get().is_some() || self.slow_delivery.get().is_some();
        self.is_on.set(is_slow_asked || self.observer.borrow().is_some());
    }

    /// Sets the observer; gives the former one.
    pub(crate) fn set_observer(&self, observer: Option<Rc<dyn Observer>>) -> Option<Rc<dyn Observer>> {
        let former = self.observer.replace(observer);
        self.update();
        former
    }

    pub(crate) fn set_slow_thresholds(&self, dispatch: Option<Duration>, delivery: Option<Duration>) {
        self.slow_dispatch.set(dispatch);
        self.slow_delivery.set(delivery);
        self.is_behind.set(false);
        self.update();
    }

    pub(crate) fn observer(&self) -> Option<Rc<dyn Observer>> {
        self.observer.borrow().clone()
    }

    /// Tells the observer what the looper has noticed.
    pub(crate) fn tell(&self, notice: &Notice) {
        let kept = Shielded::new(self.observer());
        if let Some(observer) = kept.as_deref() {
            observer.noticed(notice);
        }
    }

    /// Reports a delivery that is slow, and when the looper has caught up.
    pub(crate) fn look_at_delivery(&self, label: &str, dispatch: &DispatchInfo) {
        let (Some(threshold), Some(lateness)) = (self.slow_delivery.get(), dispatch.lateness()) else {
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

    /// Reports a dispatch that was slow.
    pub(crate) fn look_at_dispatch(&self, label: &str, dispatch: &DispatchInfo, took: Duration) {
        if self.slow_dispatch.get().is_some_and(|threshold| took >= threshold) {
            log::warn!("{label} was held up for {took:?} by {}: move long work to another thread", dispatch.label());
        }
    }
}
