//! What the looper's thread does at this moment, for other threads to read while it does it, also while it is stuck.
//!
//! Nothing here is written per message. Which message runs is noted in the queue, whose cell the looper is in anyhow
//! when it takes the message out; which fd is served, in the table, under the lock that claims it. The turn stores its
//! phase a few times. What is rarer, idle handlers and tasks that an fd has resumed, is noted here as it begins. That
//! something goes on is seen from the counts that there are already.

#[cfg(feature = "async")]
use std::sync::atomic::AtomicBool;
use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicI64, AtomicU8, Ordering::Relaxed},
};

use crate::{
    core::shared::Shared,
    queue::{account::Counter, message::Origin},
    sys::{
        sync::{Mutex, OwnerCell, ThreadNumber},
        thread,
        time::Moment,
    },
};

/// What the looper's thread is at. Of a turn's parts, those that run user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It does not poll.
    Away,
    /// It waits in epoll.
    Waiting,
    /// It polls, and runs none of the following: it drops what was cancelled, or tells what it has noticed.
    Between,
    /// Messages run.
    Messages,
    /// Fd callbacks run.
    Fds,
}

impl Phase {
    fn from_bits(bits: u8) -> Phase {
        [Phase::Waiting, Phase::Between, Phase::Messages, Phase::Fds]
            .into_iter()
            .find(|phase| *phase as u8 == bits)
            .unwrap_or(Phase::Away)
    }
}

/// What kind of user code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Message,
    Fd,
    Idle,
    Hook,
    #[cfg(feature = "async")]
    Task,
    /// A `Drop`, the logger, or what an observer is told.
    Other,
}

/// How often a reader looks again when the looper has gone on meanwhile. One that is busy never stops to be looked at.
const LOOKS: usize = 16;
/// What stands for a beginning that nobody has measured.
const UNMEASURED: Moment = Moment::FRONT;

/// What goes on, as other threads see it.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Written by the looper's thread; orders nothing.
    phase: AtomicU8,
    /// When the present callback has begun, if somebody watches, and so the clock was read. Written as `phase`.
    begun: AtomicI64,
    /// A message polls its task. Written as `phase`.
    #[cfg(feature = "async")]
    in_task: AtomicBool,
    /// What runs inside a phase, or apart from one.
    inner: OwnerCell<Option<(Kind, Option<Origin>)>>,
    /// How often that has changed.
    entered: Counter,
    /// What somebody has seen going on last, and when that was first seen.
    seen: Mutex<Option<(Progress, Moment)>>,
    /// The thread, as the kernel calls it; and the same for what it posts.
    pub(crate) thread_id: i32,
    pub(crate) poster: NonZeroU32,
}

/// Changes whenever the looper's thread goes on to something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    phase: Phase,
    counts: [u64; 4],
}

/// What runs, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) progress: Progress,
    pub(crate) kind: Kind,
    pub(crate) place: Option<Origin>,
    pub(crate) since: Moment,
    /// `since` is when it began; otherwise, when it was first seen.
    pub(crate) is_exact: bool,
}

impl Activity {
    pub(crate) fn new(owner: ThreadNumber) -> Activity {
        Activity {
            phase: AtomicU8::new(Phase::Away as u8),
            begun: AtomicI64::new(UNMEASURED.as_nanos()),
            #[cfg(feature = "async")]
            in_task: AtomicBool::new(false),
            inner: OwnerCell::new(owner, None),
            entered: Counter::default(),
            seen: Mutex::new(None),
            thread_id: thread::kernel_id(),
            poster: thread::known_id(),
        }
    }

    #[inline]
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        Phase::from_bits(self.phase.load(Relaxed))
    }

    /// Notes that the present callback has begun at `moment`, until what this gives is dropped.
    pub(crate) fn measured(&self, moment: Moment) -> Measured<'_> {
        self.begun.store(moment.as_nanos(), Relaxed);
        Measured { begun: &self.begun }
    }

    /// Notes whether the message that runs polls its task.
    #[cfg(feature = "async")]
    #[inline]
    pub(crate) fn note_task(&self, polls: bool) -> bool {
        let before = self.in_task.load(Relaxed);
        self.in_task.store(polls, Relaxed);
        before
    }

    fn begun(&self) -> Option<Moment> {
        let begun = Moment::from_nanos(self.begun.load(Relaxed));
        (begun != UNMEASURED).then_some(begun)
    }
}

/// A callback of which is known when it began, until this is dropped.
pub(crate) struct Measured<'a> {
    begun: &'a AtomicI64,
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.begun.store(UNMEASURED.as_nanos(), Relaxed);
    }
}

/// Something that runs inside a phase, until this is dropped.
pub(crate) struct Inside<'a> {
    shared: &'a Shared,
    before: Option<(Kind, Option<Origin>)>,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.shared.exchange_inner(self.before);
    }
}

impl Shared {
    /// Notes that something of `kind` begins on the looper's thread, whose place is `place`.
    #[must_use]
    pub(crate) fn enter(&self, kind: Kind, place: Option<Origin>) -> Inside<'_> {
        Inside { shared: self, before: self.exchange_inner(Some((kind, place))) }
    }

    /// Notes what runs; gives what was noted. A forked child notes nothing: what others have locked stays locked there.
    fn exchange_inner(&self, now: Option<(Kind, Option<Origin>)>) -> Option<(Kind, Option<Origin>)> {
        if self.is_inherited() {
            return None;
        }
        self.activity.entered.add(1);
        std::mem::replace(&mut *self.activity.inner.lock(), now)
    }

    /// What the looper's thread runs now; `None` if it waits, does not poll, or is another process's.
    pub(crate) fn sight(&self) -> Option<Sight> {
        if self.is_inherited() {
            return None;
        }
        let mut progress = self.progress();
        let mut found = self.look_at(progress.phase);
        for _ in 0..LOOKS {
            let after = self.progress();
            if after == progress {
                break;
            }
            // It has gone on meanwhile: what was found is of no one moment.
            progress = after;
            found = self.look_at(progress.phase);
        }
        let (kind, place) = found?;
        let (since, is_exact) = self.since(progress);
        Some(Sight { progress, kind, place, since, is_exact })
    }

    fn progress(&self) -> Progress {
        let counts = &self.counters;
        let begun = self.begun();
        let counts = [begun, counts.fd_callbacks.get(), counts.waits.get(), self.activity.entered.get()];
        Progress { phase: self.activity.phase(), counts }
    }

    fn look_at(&self, phase: Phase) -> Option<(Kind, Option<Origin>)> {
        let inner = *self.activity.inner.lock();
        if inner.is_some() {
            return inner;
        }
        match phase {
            Phase::Away | Phase::Waiting => None,
            Phase::Between => Some((Kind::Other, None)),
            Phase::Fds => Some((Kind::Fd, self.fds.claimed_last())),
            Phase::Messages => Some((self.message_kind(), self.with_queue_alone(|queue| Some(queue.taken_last)))),
        }
    }

    fn message_kind(&self) -> Kind {
        #[cfg(feature = "async")]
        if self.activity.in_task.load(Relaxed) {
            return Kind::Task;
        }
        Kind::Message
    }

    /// Since when the looper's thread is at `progress`, and whether that was measured.
    fn since(&self, progress: Progress) -> (Moment, bool) {
        if let Some(begun) = self.activity.begun() {
            return (begun, true);
        }
        let now = self.clock.now();
        let mut seen = self.activity.seen.lock();
        let first = seen.filter(|(before, _)| *before == progress).map_or(now, |(_, first)| first);
        *seen = Some((progress, first));
        (first, false)
    }
}
