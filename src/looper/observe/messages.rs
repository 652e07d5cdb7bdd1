//! Running messages that are watched: what an observer is told of each, and when the clock is read for it.

use std::{
    mem,
    panic::{self, AssertUnwindSafe},
    time::Duration,
};

use crate::{
    core::item::{Body, HandlerFn},
    looper::{
        Looper,
        observe::{
            observer::{DispatchInfo, Kept, Times, Watching},
            wants::Wants,
        },
    },
    mem::drop::caught,
    queue::{Next, details::Details},
    sys::time::{Clock, Moment},
};

/// What messages that run back to back share: the observer, and the last look at the clock.
pub(in crate::looper) struct Series {
    /// When the clock was read last, if nothing of a user's has run since but what an observer was told.
    seen: Option<Moment>,
    /// The observer, while it stays the same.
    kept: Kept,
    /// Which settings these are of. While nobody watches, they are not looked at: whoever begins to changes them.
    settings: u64,
}

impl Series {
    #[inline]
    pub(in crate::looper) fn new(watching: &Watching) -> Series {
        Series { seen: None, kept: watching.observer_of(Wants::MESSAGES), settings: watching.settings() }
    }

    /// Notes that the clock was read just now.
    #[inline]
    pub(in crate::looper) fn look(&mut self, now: Moment) {
        self.seen = Some(now);
    }

    fn begin(&mut self, watching: &Watching) {
        if self.settings != watching.settings() {
            *self = Series::new(watching);
        }
    }

    /// Lets go of the observer if there is another one, and so of the last of it.
    fn end(&mut self, watching: &Watching) {
        if self.settings != watching.settings() {
            self.kept = Kept::default();
        }
    }

    /// When the next one begins: when the one before has ended. An observer may have taken long since, and that must
    /// not count as the message's, so it looks whether the clock has ticked, which costs a quarter of reading it.
    fn began(&mut self, clock: &Clock) -> Moment {
        match self.seen.take() {
            Some(seen) if self.kept.get().is_none() || !clock.has_ticked_since(seen) => seen,
            _ => clock.now(),
        }
    }
}

impl Looper {
    /// As [`run_next`](Looper::run_next), seen by those who watch.
    #[cold]
    #[inline(never)]
    pub(in crate::looper) fn run_next_watched(
        &self,
        now: Moment,
        body: &mut Body,
        series: &mut Series,
    ) -> Result<(), Option<Moment>> {
        let mut details = None;
        let (next, _) = self.shared().next_message(self.core.here, now, body, Some(&mut details));
        let Some(details) = details else {
            return self.run_other(next, body);
        };
        let end = self.end_of(next);
        series.begin(&self.core.watching);
        self.run_watched(next, &details, body, series);
        if end.is_some() {
            // It drops the handler's closure, which is a user's.
            drop(end);
            series.seen = None;
        }
        Ok(())
    }

    fn run_watched(&self, next: Next, details: &Details, body: &mut Body, series: &mut Series) {
        let drop_it = |body: &mut Body| drop(mem::take(body));
        match next {
            Next::Closure => self.run_seen(details, None, body, series, |body| body.call(self.core.here, self)),
            Next::Message(target) | Next::LastMessage(target) => {
                let run = |target: &dyn HandlerFn| {
                    self.run_seen(details, Some(target.name()), body, series, |body| target.run(self, body));
                };
                if self.core.local.with_target(target, run).is_none() {
                    self.run_seen(details, None, body, series, drop_it);
                }
            }
            Next::Orphan | Next::NotBefore(_) | Next::Nothing => self.run_seen(details, None, body, series, drop_it),
        }
    }

    /// Runs a message, of a handler whose type is called `handler` or of nobody, by `run`, and tells who watches.
    #[inline]
    fn run_seen(
        &self,
        details: &Details,
        handler: Option<&'static str>,
        body: &mut Body,
        series: &mut Series,
        run: impl FnOnce(&mut Body),
    ) {
        if self.core.watching.needs_times() {
            self.run_timed(details, handler, body, series, run);
        } else {
            self.run_told::<false>(&DispatchInfo::untimed(details, handler), body, series, run);
        }
        series.end(&self.core.watching);
    }

    /// As [`run_seen`](Looper::run_seen), and measures it for the log, the counts, and whoever asks what runs.
    fn run_timed(
        &self,
        details: &Details,
        handler: Option<&'static str>,
        body: &mut Body,
        series: &mut Series,
        run: impl FnOnce(&mut Body),
    ) {
        let started = series.began(self.clock());
        let _measured = self.shared().activity.measured(started);
        let (posted, late) = (details.posted.map(|posted| posted.at), details.lateness(started));
        let times = Times { started, posted, late, pending: self.shared().len() };
        self.count_begin(&times);
        self.run_told::<true>(&DispatchInfo::timed(details, handler, times), body, series, run);
    }

    /// Runs a message between what an observer is told of its begin and of its end.
    #[inline]
    fn run_told<const TIMED: bool>(
        &self,
        dispatch: &DispatchInfo,
        body: &mut Body,
        series: &mut Series,
        run: impl FnOnce(&mut Body),
    ) {
        // One and the same from beginning to end, also if the message sets another. It may be the last of it then.
        let observer = series.kept.get();
        let mut has_begun = false;
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            if TIMED {
                self.core.watching.look_at_delivery(&self.shared().label, dispatch);
            }
            observer.inspect(|observer| observer.started(dispatch));
            has_begun = true;
            run(body);
        }));
        if !has_begun {
            // The message is consumed by this panic as by its own.
            caught(|| drop(mem::take(body)));
        }
        if !has_begun || self.shared().is_inherited() {
            // The message has forked: it is the parent's that ends there. A log may be locked for ever here.
            return result.unwrap_or_else(|panic| panic::resume_unwind(panic));
        }
        let (took, ended) = if TIMED { self.end_timed(dispatch) } else { (Duration::ZERO, None) };
        match (result, observer) {
            (Ok(()), None) => {}
            (Ok(()), Some(observer)) => observer.finished(dispatch, took),
            (Err(panic), observer) => {
                // A second panic must not hide the first.
                caught(|| observer.map(|observer| observer.panicked(dispatch, took)));
                panic::resume_unwind(panic);
            }
        }
        if TIMED {
            series.seen = ended;
        }
    }

    /// How long a message has run, for what counts and logs that. When it has ended, unless that was logged since: a log
    /// may take long, and the next message does not run meanwhile.
    #[inline]
    fn end_timed(&self, dispatch: &DispatchInfo) -> (Duration, Option<Moment>) {
        let Some(times) = dispatch.times else {
            return (Duration::ZERO, None);
        };
        let ended = self.clock().now();
        let took = times.started.until(ended);
        self.shared().counters.run_times.add(took);
        let has_logged = self.core.watching.look_at_dispatch(&self.shared().label, dispatch, took);
        (took, (!has_logged).then_some(ended))
    }
}
