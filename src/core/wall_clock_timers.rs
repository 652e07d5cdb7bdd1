//! Timers on clocks that can leap, the wall clock and the one that counts suspend: after a leap, each gets a new deadline.

use std::{
    fmt::Debug,
    mem,
    sync::{Arc, Weak},
};

use crate::{core::shared::Shared, sys::fork_aware_mutex::ForkAwareMutex};

/// Something that is due by a clock that can leap.
pub(crate) trait WallClockTimer: Debug + Send + Sync {
    /// Computes its deadline anew, by what the clocks show now.
    fn reschedule(&self, shared: &Shared);
}

/// All that is due so on a looper. A forked child knows of none.
#[derive(Debug)]
pub(crate) struct WallClockTimers(ForkAwareMutex<State>);

#[derive(Debug, Default)]
struct State {
    list: Vec<Weak<dyn WallClockTimer>>,
    /// At this length of the list, those that are gone are taken out.
    limit: usize,
    /// How often a clock has leapt.
    leaps: u64,
    /// An fd of the looper's tells when one does.
    is_watched: bool,
}

/// The list is not looked through before it has grown to this.
const LEAST: usize = 32;

impl Default for WallClockTimers {
    fn default() -> WallClockTimers {
        WallClockTimers(ForkAwareMutex::new(State::default()))
    }
}

impl WallClockTimers {
    /// How often a clock has leapt.
    pub(crate) fn leaps(&self) -> u64 {
        self.0.lock().map_or(0, |state| state.leaps)
    }

    /// Adds one; how often a clock has leapt.
    pub(crate) fn add(&self, timer: Weak<dyn WallClockTimer>) -> u64 {
        let Some(mut state) = self.0.lock() else { return 0 };
        if state.list.len() >= state.limit.max(LEAST) {
            state.list.retain(|timer| timer.strong_count() > 0);
            state.limit = state.list.len() * 2;
        }
        state.list.push(timer);
        state.leaps
    }

    /// Lets all be due by what the clocks show now, since one has leapt.
    pub(crate) fn reschedule_all(&self, shared: &Shared) {
        let timers: Vec<Arc<dyn WallClockTimer>> = {
            let Some(mut state) = self.0.lock() else { return };
            state.leaps += 1;
            state.list.iter().filter_map(Weak::upgrade).collect()
        };
        for timer in timers {
            timer.reschedule(shared);
        }
    }

    /// Whether an fd tells of leaps.
    pub(crate) fn is_watched(&self) -> bool {
        self.0.lock().is_some_and(|state| state.is_watched)
    }

    /// Notes whether an fd tells of leaps; whether one did before.
    pub(crate) fn set_watched(&self, is_watched: bool) -> bool {
        self.0.lock().is_some_and(|mut state| mem::replace(&mut state.is_watched, is_watched))
    }
}
