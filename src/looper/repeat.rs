//! A post that repeats: after each run it posts itself again, on a grid that does not drift.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use crate::{
    core::{
        inbox::Signal,
        item::{Stamp, When},
        refused::Refused,
        shared::Shared,
    },
    error::RejectReason,
    looper::Looper,
    mem::drop::Shielded,
    queue::{Queue, Taken, message::MessageId},
    sys::{
        fork::Process,
        sync::{Mutex, MutexGuard},
    },
    time::Moment,
};

/// What a repeating post and its [`Posted`](crate::Posted) share: where the next run stands, and whether there is to be
/// one.
#[derive(Debug)]
pub(crate) struct Repetition {
    /// A forked child does not lock this, and knows of no run.
    process: Process,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The name of the next run; `None` while the closure runs.
    next: Option<MessageId>,
    /// Cancelled, told to end by the closure, or refused by the looper.
    over: bool,
}

impl Repetition {
    pub(crate) fn new() -> Arc<Repetition> {
        Arc::new(Repetition { process: Process::current(), state: Mutex::new(State { next: None, over: false }) })
    }

    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        if self.process.is_current() { Some(self.state.lock()) } else { None }
    }

    /// Lets there be no further run. Gives the pending one, to be dropped, and whether this call is what ended it.
    pub(crate) fn cancel(&self, shared: &Shared) -> (Option<Taken<Looper>>, bool) {
        let Some(mut state) = self.lock() else {
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

    /// The name of the next run.
    pub(crate) fn next(&self) -> Option<MessageId> {
        self.lock()?.next
    }

    /// Leaves the next run in the inbox, unless there is to be none. `leave` does only that: it runs under the lock.
    pub(crate) fn post_next<T>(
        &self,
        shared: &Shared,
        value: T,
        leave: impl FnOnce(T) -> Result<(MessageId, Signal), Refused<T>>,
    ) -> Result<(), Refused<T>> {
        let Some(mut state) = self.lock() else {
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
        self.lock().is_some_and(|mut state| {
            state.next = None;
            !state.over
        })
    }

    fn end(&self) {
        if let Some(mut state) = self.lock() {
            state.over = true;
        }
    }
}

/// A repeating closure, between its runs and during them.
pub(crate) struct Tick<F> {
    pub(crate) run: Shielded<F>,
    /// When the run is due.
    due: Moment,
    /// How it is posted.
    pub(crate) stamp: Stamp,
    period: Duration,
    pub(crate) repetition: Arc<Repetition>,
}

impl<F> Tick<F> {
    /// For the first run, which is posted by `stamp`.
    pub(crate) fn new(
        run: F,
        stamp: Stamp,
        due: Moment,
        period: Duration,
        repetition: &Arc<Repetition>,
    ) -> Box<Tick<F>> {
        Box::new(Tick { run: Shielded::new(run), due, stamp, period, repetition: repetition.clone() })
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
        self.due = self.due.next_on_grid(self.period, looper.clock().now());
        self.stamp.when = When::At(self.due);
        // A looper that has quit drops it, and so does a child if the closure has forked.
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
