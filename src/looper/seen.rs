//! Running what is no message, and waiting, seen by those who watch.

use std::{
    os::fd::RawFd,
    panic::{self, AssertUnwindSafe},
    thread,
    time::Duration,
};

use crate::{
    core::activity::{Kind, Phase},
    fd::registrations::Served,
    looper::{
        Looper,
        observer::DispatchInfo,
        running::RunningKind,
        wants::{RunInfo, WaitInfo, Wants},
    },
    mem::{
        drop::{Shielded, caught},
        slots::Key,
    },
    queue::message::Origin,
    time::Moment,
};

impl Looper {
    /// Runs `run`, which is of `kind` and from `place`, noted for other threads and seen by those who watch.
    pub(crate) fn run_inside<R>(&self, kind: Kind, place: Origin, run: impl FnOnce() -> R) -> R {
        let _inside = self.shared().enter(kind, Some(place));
        if kind == Kind::Idle && self.core.watching.sees(Wants::IDLE) {
            return self.run_watched_inside(RunningKind::Idle, place, run);
        }
        run()
    }

    /// Runs `run`, the poll of a task that was spawned at `place`, seen by those who watch.
    #[cfg(feature = "async")]
    #[inline]
    pub(crate) fn poll_seen<R>(&self, place: Origin, poll: impl FnOnce() -> R) -> R {
        if self.core.watching.sees(Wants::TASKS) {
            return self.run_watched_inside(RunningKind::Task, place, poll);
        }
        poll()
    }

    #[cold]
    fn run_watched_inside<R>(&self, kind: RunningKind, place: Origin, run: impl FnOnce() -> R) -> R {
        let seen = self.see(kind, place, None, || panic::catch_unwind(AssertUnwindSafe(run)));
        seen.unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Serves an fd, seen by those who watch. If an observer panics before the callback, that is looked at anew.
    #[cold]
    pub(super) fn serve_seen(&self, key: Key, event: Served) -> thread::Result<bool> {
        let fds = &self.shared().fds;
        let Some((fd, place)) = fds.number_and_place(key) else {
            return self.core.local.sources.serve(self, fds, key, event);
        };
        let mut has_begun = false;
        let served = self.see(RunningKind::Fd, place, Some(fd), || {
            has_begun = true;
            self.core.local.sources.serve(self, fds, key, event)
        });
        if !has_begun {
            fds.look_anew([key].into_iter());
        }
        served
    }

    /// Tells the observer before and after `run`, and the log if that was slow.
    fn see<R>(
        &self,
        kind: RunningKind,
        place: Origin,
        fd: Option<RawFd>,
        run: impl FnOnce() -> thread::Result<R>,
    ) -> thread::Result<R> {
        let watching = &self.core.watching;
        let started = watching.needs_times().then(|| self.clock().now());
        let _measured = started.map(|started| self.shared().activity.measured(started));
        let info = RunInfo { kind, place, fd, started: started.map(Moment::to_instant) };
        // As for a message: one and the same to the end, which may be its own.
        let kept = watching.observer_of(Wants::of(kind));
        let observer = kept.get();
        panic::catch_unwind(AssertUnwindSafe(|| observer.inspect(|observer| observer.began(&info))))?;
        let result = run();
        if self.shared().is_inherited() {
            return result;
        }
        let took = started.map_or(Duration::ZERO, |started| started.until(self.clock().now()));
        if kind != RunningKind::Task {
            self.count_run(started, took);
        }
        // A task that a message polls is that message's to report.
        if kind != RunningKind::Task || self.shared().activity.phase() != Phase::Messages {
            watching.look_at_run(&self.shared().label, &info, took);
        }
        let has_panicked = result.is_err();
        let end = || observer.map(|observer| observer.ended(&info, took, has_panicked));
        match result {
            Ok(value) => {
                let value = Shielded::new(value);
                panic::catch_unwind(AssertUnwindSafe(end)).map(|_| value.into_inner())
            }
            Err(panic) => {
                // A second panic must not hide the first.
                caught(end);
                Err(panic)
            }
        }
    }

    /// Counts what is known of a message that begins.
    pub(super) fn count_begin(&self, dispatch: &DispatchInfo) {
        let lateness = if dispatch.posted.is_some() { dispatch.lateness() } else { None };
        lateness.inspect(|lateness| self.shared().counters.lateness.add(*lateness));
        self.shared().note_high_water(1);
    }

    /// Logs a message that begins late, if that is to be logged.
    #[inline]
    pub(super) fn look_at_delivery(&self, dispatch: &DispatchInfo) {
        if dispatch.started.is_some() {
            self.core.watching.look_at_delivery(&self.shared().label, dispatch);
        }
    }

    /// How long a message has run, for what counts and logs that; zero if it was not measured.
    #[inline]
    pub(super) fn took(&self, dispatch: &DispatchInfo) -> Duration {
        let Some(started) = dispatch.started else {
            return Duration::ZERO;
        };
        let took = self.clock().instant().saturating_duration_since(started);
        self.shared().counters.run_times.add(took);
        self.core.watching.look_at_dispatch(&self.shared().label, dispatch, took);
        took
    }

    /// Counts how long something ran, if it was measured.
    fn count_run(&self, started: Option<Moment>, took: Duration) {
        if started.is_some() {
            self.shared().counters.run_times.add(took);
        }
    }

    /// When a wait begins, if somebody wants to know of it.
    #[inline]
    pub(super) fn begin_wait(&self) -> Option<Option<Moment>> {
        let watching = &self.core.watching;
        watching.sees(Wants::WAITS).then(|| watching.needs_times().then(|| self.clock().now()))
    }

    /// Keeps what there is to tell of a wait until that may be told.
    #[cold]
    pub(super) fn end_wait(&self, started: Option<Moment>, blocked: bool, ready: usize) {
        let took = started.map_or(Duration::ZERO, |started| started.until(self.clock().now()));
        let info = WaitInfo { blocked, ready, started: started.map(Moment::to_instant), took };
        self.core.watching.keep_wait(info);
    }
}

impl Wants {
    fn of(kind: RunningKind) -> Wants {
        match kind {
            RunningKind::Fd => Wants::FDS,
            RunningKind::Idle => Wants::IDLE,
            RunningKind::Task => Wants::TASKS,
            RunningKind::Message | RunningKind::Other => Wants::MESSAGES,
        }
    }
}
