//! Running what is no message, and waiting, seen by those who watch.

use std::{
    os::fd::RawFd,
    panic::{self, AssertUnwindSafe},
    thread,
    time::Duration,
};

use crate::{
    core::activity::{Kind, Measured, Phase},
    looper::{
        Looper,
        observe::{
            observer::{Kept, Times},
            wants::{RunInfo, WaitInfo, Wants},
        },
        running::RunningKind,
    },
    mem::{
        drop::{Shielded, caught},
        slots::Key,
    },
    queue::message::Origin,
    sys::time::Moment,
};

/// Something that runs, from what its observer is told of its begin on.
pub(in crate::looper) struct Seen<'a> {
    info: RunInfo,
    started: Option<Moment>,
    kept: Kept,
    _measured: Option<Measured<'a>>,
}

impl Looper {
    /// Runs `run`, which is of `kind` and from `place`, noted for other threads and seen by those who watch.
    pub(crate) fn run_inside<R>(&self, kind: Kind, place: Origin, run: impl FnOnce() -> R) -> R {
        let _inside = self.shared().enter(kind, Some(place));
        let seen = match kind {
            Kind::Idle => RunningKind::Idle,
            Kind::Hook => RunningKind::Hook,
            // A task is seen as it is polled, whatever polls it.
            _ => return run(),
        };
        if self.core.watching.sees(Wants::of(seen)) { self.run_watched_inside(seen, place, run) } else { run() }
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
        let seen = self.begin_run(kind, place, None);
        let result = panic::catch_unwind(AssertUnwindSafe(run));
        self.end_run(seen, result).unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Tells who watches that an fd's callback is about to run. If that panics, the fd is looked at anew.
    #[cold]
    pub(in crate::looper) fn begin_fd(&self, key: Key) -> Option<Seen<'_>> {
        let fds = &self.shared().fds;
        let (fd, place) = fds.number_and_place(key)?;
        let begin = || self.begin_run(RunningKind::Fd, place, Some(fd));
        let begun = panic::catch_unwind(AssertUnwindSafe(begin));
        if begun.is_err() && !self.shared().is_inherited() {
            fds.look_anew([key].into_iter());
        }
        Some(begun.unwrap_or_else(|panic| panic::resume_unwind(panic)))
    }

    /// Tells the observer that something is about to run, and begins to measure it.
    fn begin_run(&self, kind: RunningKind, place: Origin, fd: Option<RawFd>) -> Seen<'_> {
        let watching = &self.core.watching;
        let started = watching.needs_times().then(|| self.clock().now());
        let measured = started.map(|started| self.shared().activity.measured(started));
        let info = RunInfo { kind, place, fd, started: started.map(Moment::to_instant) };
        // As for a message: one and the same to the end, which may be its own.
        let kept = watching.observer_of(Wants::of(kind));
        kept.get().inspect(|observer| observer.began(&info));
        Seen { info, started, kept, _measured: measured }
    }

    /// Tells the observer what something has come to, and the log if it was slow.
    #[cold]
    pub(in crate::looper) fn end_run<R>(&self, seen: Seen<'_>, result: thread::Result<R>) -> thread::Result<R> {
        if self.shared().is_inherited() {
            return result;
        }
        let Seen { info, started, kept, .. } = &seen;
        let took = started.map_or(Duration::ZERO, |started| started.until(self.clock().now()));
        self.count_run(info, took);
        let has_panicked = result.is_err();
        let end = || kept.get().map(|observer| observer.ended(info, took, has_panicked));
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

    /// Counts what is known of a message that begins; how late it is if it is known when it was posted.
    pub(in crate::looper) fn count_begin(&self, times: &Times) {
        let counters = &self.shared().counters;
        times.late.filter(|_| times.posted.is_some()).inspect(|late| counters.lateness.add(*late));
        self.shared().note_high_water(times.pending as u64 + 1);
    }

    /// Counts how long something ran, and logs that if it was slow. What a task takes that a message polls is that
    /// message's; and what one takes that something else does is counted there.
    fn count_run(&self, info: &RunInfo, took: Duration) {
        let is_task = info.kind == RunningKind::Task;
        if info.started.is_some() && !is_task {
            self.shared().counters.run_times.add(took);
        }
        if !is_task || self.shared().activity.phase() != Phase::Messages {
            self.core.watching.look_at_run(&self.shared().label, info, took);
        }
    }

    /// When a wait begins, if somebody wants to know of it.
    #[inline]
    pub(in crate::looper) fn begin_wait(&self) -> Option<Option<Moment>> {
        let watching = &self.core.watching;
        watching.sees(Wants::WAITS).then(|| watching.needs_times().then(|| self.clock().now()))
    }

    /// Keeps what there is to tell of a wait until that may be told.
    #[cold]
    pub(in crate::looper) fn end_wait(&self, started: Option<Moment>, blocked: bool, ready: usize) {
        let took = started.map_or(Duration::ZERO, |started| started.until(self.clock().now()));
        let info = WaitInfo { blocked, ready, started: started.map(Moment::to_instant), took };
        self.core.watching.keep_wait(info);
    }
}

impl Wants {
    pub(crate) fn of(kind: RunningKind) -> Wants {
        match kind {
            RunningKind::Fd => Wants::FDS,
            RunningKind::Idle => Wants::IDLE,
            RunningKind::Hook => Wants::HOOKS,
            RunningKind::Task => Wants::TASKS,
            RunningKind::Message | RunningKind::Other => Wants::MESSAGES,
        }
    }
}
