//! A post that repeats: after each run it posts itself again, on a grid that does not drift.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use crate::{
    core::{
        inbox::Wakeup,
        item::{Stamp, When},
        refused::Refused,
        shared::Shared,
    },
    error::RejectReason,
    looper::Looper,
    mem::drop::Shielded,
    queue::{Queue, Taken, message::MessageId},
    sys::{fork_aware_mutex::ForkAwareMutex, time::Moment},
};

/// What happens to ticks that were missed because a repeating post ran long or was held up, or nobody awaited it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// They are skipped: the next tick is the first on the grid that is still to come.
    #[default]
    Skip,
    /// They come at once, one after the other, until the grid is caught up with.
    Burst,
    /// The grid moves: the next tick is a period after the late one.
    Delay,
}

impl MissedTicks {
    /// When the tick after the one that was due at `due` is, if that has ended at `now`.
    pub(crate) fn next(self, due: Moment, period: Duration, now: Moment) -> Moment {
        match self {
            MissedTicks::Skip => due.next_on_grid(period, now),
            MissedTicks::Burst => due.after(period),
            MissedTicks::Delay => now.after(period),
        }
    }
}

/// What a repeating post and its [`Posted`](crate::Posted) share: where the next run stands, and whether there is to be
/// one.
#[derive(Debug)]
pub(crate) struct Repetition {
    /// A forked child knows of no run.
    state: ForkAwareMutex<State>,
    period: Duration,
    missed: MissedTicks,
}

#[derive(Debug)]
struct State {
    /// The name of the next run; `None` while the closure runs.
    next: Option<MessageId>,
    /// When that is due, or was.
    due: Moment,
    /// Cancelled, told to end by the closure, or refused by the looper.
    over: bool,
}

impl Repetition {
    pub(crate) fn new(due: Moment, period: Duration, missed: MissedTicks) -> Arc<Repetition> {
        Arc::new(Repetition { state: ForkAwareMutex::new(State { next: None, due, over: false }), period, missed })
    }

    /// Lets there be no further run. Gives the pending one, to be dropped, and whether this call is what ended it.
    pub(crate) fn cancel(&self, shared: &Shared) -> (Option<Taken<Looper>>, bool) {
        let Some(mut state) = self.state.lock() else {
            return (None, false);
        };
        let was_over = std::mem::replace(&mut state.over, true);
        let next = state.next.take();
        // It may signal the looper, and log that this has failed.
        drop(state);
        let pending = next.and_then(|next| shared.cancel(next));
        // One that is not pending runs, or is about to, unless a quit gave it up.
        let ended = pending.is_some() || !(was_over || shared.is_quitting());
        (pending, ended)
    }

    /// Lets the next run be due at `when`, and those after it at whole periods from there. Whether one is pending.
    pub(crate) fn reschedule(&self, shared: &Shared, when: Moment) -> bool {
        let Some(mut state) = self.state.lock() else {
            return false;
        };
        let Some(signal) = state.next.and_then(|next| shared.leave_rescheduled(next, when)) else {
            return false;
        };
        state.due = when;
        // It may log that the looper could not be woken.
        drop(state);
        shared.signal_if(signal);
        true
    }

    /// The name of the next run.
    pub(crate) fn next(&self) -> Option<MessageId> {
        self.state.lock()?.next
    }

    /// Leaves the next run in the inbox, unless there is to be none. `leave` does only that: it runs under the lock.
    pub(crate) fn post_next<T>(
        &self,
        shared: &Shared,
        value: T,
        leave: impl FnOnce(T) -> Result<(MessageId, Wakeup), Refused<T>>,
    ) -> Result<(), Refused<T>> {
        let Some(mut state) = self.state.lock() else {
            return Err(Refused { value, reason: RejectReason::Forked });
        };
        if state.over {
            // Unlocked first, since the user's closure goes with the value.
            drop(state);
            drop(value);
            return Ok(());
        }
        let left = leave(value);
        state.over = left.is_err();
        state.next = left.as_ref().ok().map(|(id, _)| *id);
        drop(state);
        let (_, signal) = left?;
        shared.signal_if(signal);
        Ok(())
    }

    /// Begins a run, unless there is to be none.
    fn begin_run(&self) -> bool {
        self.state.lock().is_some_and(|mut state| {
            state.next = None;
            !state.over
        })
    }

    /// Begins a run that is the last one, unless there is to be none.
    #[cfg(feature = "wall-clock")]
    pub(crate) fn begin_last_run(&self) -> bool {
        self.state.lock().is_some_and(|mut state| {
            state.next = None;
            !std::mem::replace(&mut state.over, true)
        })
    }

    /// Whether there is still to be a run, also if it is not pending at this moment.
    #[cfg(feature = "wall-clock")]
    pub(crate) fn is_to_run(&self, shared: &Shared) -> bool {
        let Some((next, over)) = self.state.lock().map(|state| (state.next, state.over)) else {
            return false;
        };
        !over && (next.is_some_and(|next| shared.is_pending(next)) || !shared.is_quitting())
    }

    /// Ends a run at `now`: gives when the next one is due.
    fn end_run(&self, now: Moment) -> Option<Moment> {
        let mut state = self.state.lock()?;
        state.due = self.missed.next(state.due, self.period, now);
        // Not before what is due already: runs that never catch up would hold up everything else.
        Some(state.due.max(now))
    }

    fn end(&self) {
        if let Some(mut state) = self.state.lock() {
            state.over = true;
        }
    }
}

/// A repeating closure, between its runs and during them.
pub(crate) struct Tick<F> {
    pub(crate) run: Shielded<F>,
    /// How it is posted.
    pub(crate) stamp: Stamp,
    pub(crate) repetition: Arc<Repetition>,
}

impl<F> Tick<F> {
    /// For the first run, which is posted by `stamp`.
    pub(crate) fn new(run: F, stamp: Stamp, repetition: &Arc<Repetition>) -> Box<Tick<F>> {
        Box::new(Tick { run: Shielded::new(run), stamp, repetition: repetition.clone() })
    }
}

impl<F> Tick<F>
where
    F: FnMut(&Looper) -> ControlFlow<()> + 'static,
{
    /// Runs the closure once and posts its next run, unless the closure ends it.
    pub(crate) fn run(mut self: Box<Self>, looper: &Looper) {
        if !self.repetition.begin_run() {
            looper.skip_message(Queue::count_as_cancelled);
            return;
        }
        let mut run = Run { repetition: self.repetition.clone(), is_last: true };
        run.is_last = (self.run)(looper).is_break();
        if run.is_last {
            return;
        }
        let Some(due) = self.repetition.end_run(looper.clock().now()) else {
            // The closure has forked, and this is the child.
            return;
        };
        self.stamp.when = When::At(due);
        // A looper that has quit drops it.
        let _ = looper.post_tick(self);
    }
}

/// A run that is the last one if it breaks or panics.
struct Run {
    repetition: Arc<Repetition>,
    is_last: bool,
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.is_last {
            self.repetition.end();
        }
    }
}
