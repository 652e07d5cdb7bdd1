//! What a looper does, as spans and events of the crate [`tracing`](https://docs.rs/tracing): so it stands in one log or
//! trace with what the program itself says, and what is logged inside of a callback names the message that it belongs
//! to.
//!
//! With the feature `tracing`.
//!
//! | name | level | fields |
//! |---|---|---|
//! | span `message` | TRACE | `looper`, `place` where it was posted, `handler`, `what` |
//! | spans `fd`, `idle`, `hook`, `task` | TRACE | `looper`, `place` where it was added or spawned, `fd` |
//! | event `slow` | WARN | `looper`, `place`, `took_ns`; inside the span of what was slow |
//! | event `late` | WARN | `looper`, `place`, `late_ns`; inside the span of the message |
//! | event `panicked` | ERROR | `looper`, `place`; inside the span |
//! | event `noticed` | WARN | `looper`, `notice`: what the looper has noticed itself, see [`Notice`] |
//!
//! The target of all is `alooper`. A filter such as `alooper=warn`, or none that goes down to TRACE, disables the spans
//! and keeps the events, which have their places themselves.

use std::{cell::RefCell, rc::Rc, time::Duration};

use tracing::{Level, Span, event, span::EnteredSpan, trace_span};

use super::previous::PreviousObserver;
use crate::{
    fd::notice::Notice,
    looper::{
        Looper,
        observe::{
            observer::{DispatchInfo, Observer},
            wants::{RunInfo, WaitInfo, Wants},
        },
        running::RunningKind,
    },
    queue::message::Origin,
};

const TARGET: &str = "alooper";

/// Opens a span for each message, fd callback, idle handler, hook and poll of a task that `looper` runs from now on.
///
/// Its observer stays, and is told what it wants. [`Looper::set_observer`] ends it. Called from inside a message, it
/// takes effect with the next one. What is slow or late is told if the looper has a
/// [threshold](crate::LooperBuilder::slow_dispatch) for that when this is called.
///
/// The subscriber is the one of the looper's thread. It runs there with no lock held; a panic of it goes through the
/// turn, as an observer's.
///
/// # Guarantees
/// Spans nest as the callbacks do, and each is closed when its callback has ended, also by a panic. No clock is
/// read for them.
///
/// # Examples
/// ```
/// # use alooper::Looper;
/// # fn main() -> std::io::Result<()> {
/// let looper = Looper::builder().name("ui").build()?;
/// alooper::spans::attach(&looper);
/// looper.post(|_| tracing::info!("said inside of the span of this message"))?;
/// looper.poll_once(None)?;
/// # Ok(())
/// # }
/// ```
///
/// # Android
/// The slices that `Trace.beginSection` makes, of each message by `Looper.setTraceTag`.
pub fn attach(looper: &Looper) {
    let (slow, late) = looper.slow_thresholds();
    let name = looper.name().unwrap_or_default().to_owned();
    let spans = Spans { name, slow, late, entered: RefCell::default(), previous: PreviousObserver::of(looper) };
    looper.set_observer(Some(Rc::new(spans)));
}

struct Spans {
    name: String,
    slow: Option<Duration>,
    late: Option<Duration>,
    /// Each inside the one before.
    entered: RefCell<Vec<EnteredSpan>>,
    previous: PreviousObserver,
}

impl Spans {
    /// Keeps what was entered until [`leave`](Spans::leave). The subscriber has been told: it is a user's, and must not
    /// run while this is borrowed.
    fn keep(&self, entered: EnteredSpan) {
        self.entered.borrow_mut().push(entered);
    }

    /// Leaves the span of what has ended.
    fn leave(&self, place: Origin, took: Duration, panicked: bool) {
        let entered = self.entered.borrow_mut().pop();
        // The subscriber is told of the end also if it panics at one of these.
        if panicked {
            event!(target: TARGET, Level::ERROR, looper = self.name, place = %place, "panicked");
        }
        if self.slow.is_some_and(|threshold| took >= threshold) {
            event!(target: TARGET, Level::WARN, looper = self.name, place = %place, took_ns = nanos(took), "slow");
        }
        drop(entered);
    }

    fn message_span(&self, dispatch: &DispatchInfo) -> Span {
        let DispatchInfo { handler, what, place, .. } = dispatch;
        trace_span!(target: TARGET, "message", looper = self.name, place = %place, handler = *handler, what = *what)
    }

    fn run_span(&self, run: &RunInfo) -> Span {
        let (looper, place) = (&*self.name, run.place);
        match run.kind {
            RunningKind::Fd => trace_span!(target: TARGET, "fd", looper, place = %place, fd = run.fd),
            RunningKind::Idle => trace_span!(target: TARGET, "idle", looper, place = %place),
            RunningKind::Hook => trace_span!(target: TARGET, "hook", looper, place = %place),
            RunningKind::Task => trace_span!(target: TARGET, "task", looper, place = %place),
            RunningKind::Message | RunningKind::Other => trace_span!(target: TARGET, "other", looper, place = %place),
        }
    }
}

impl Observer for Spans {
    fn wants(&self) -> Wants {
        let told = Wants::MESSAGES | Wants::FDS | Wants::IDLE | Wants::HOOKS | Wants::TASKS | Wants::NOTICES;
        told | self.previous.wants
    }

    fn started(&self, dispatch: &DispatchInfo) {
        // First the other one: if that panics, nothing is told of an end.
        self.previous.told(Wants::MESSAGES).inspect(|previous| previous.started(dispatch));
        let entered = self.message_span(dispatch).entered();
        let late = dispatch.lateness().filter(|lateness| self.late.is_some_and(|threshold| *lateness >= threshold));
        if let Some(late) = late {
            event!(target: TARGET, Level::WARN, looper = self.name, place = %dispatch.place, late_ns = nanos(late), "late");
        }
        self.keep(entered);
    }

    fn finished(&self, dispatch: &DispatchInfo, took: Duration) {
        self.leave(dispatch.place, took, false);
        self.previous.told(Wants::MESSAGES).inspect(|previous| previous.finished(dispatch, took));
    }

    fn panicked(&self, dispatch: &DispatchInfo, took: Duration) {
        self.leave(dispatch.place, took, true);
        self.previous.told(Wants::MESSAGES).inspect(|previous| previous.panicked(dispatch, took));
    }

    fn began(&self, run: &RunInfo) {
        // As for a message.
        self.previous.told(Wants::of(run.kind)).inspect(|previous| previous.began(run));
        self.keep(self.run_span(run).entered());
    }

    fn ended(&self, run: &RunInfo, took: Duration, panicked: bool) {
        self.leave(run.place, took, panicked);
        self.previous.told(Wants::of(run.kind)).inspect(|previous| previous.ended(run, took, panicked));
    }

    fn waited(&self, wait: &WaitInfo) {
        self.previous.told(Wants::WAITS).inspect(|previous| previous.waited(wait));
    }

    fn noticed(&self, notice: &Notice) {
        event!(target: TARGET, Level::WARN, looper = self.name, notice = %notice, "noticed");
        self.previous.told(Wants::NOTICES).inspect(|previous| previous.noticed(notice));
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
