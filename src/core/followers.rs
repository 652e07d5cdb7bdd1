//! Timers on clocks that can jump: after a jump, each gets a new deadline.

use std::{
    fmt::Debug,
    mem,
    sync::{Arc, Weak},
};

use crate::{core::shared::Shared, sys::fork_aware_mutex::ForkAwareMutex};

/// Something that is due by a clock that can leap.
pub(crate) trait Follower: Debug + Send + Sync {
    /// Is due by what the clocks show now.
    fn follow(&self, shared: &Shared);
}

/// All that is due so on a looper. A forked child knows of none.
#[derive(Debug)]
pub(crate) struct Followers(ForkAwareMutex<State>);

#[derive(Debug, Default)]
struct State {
    list: Vec<Weak<dyn Follower>>,
    /// At this length of the list, those that are gone are taken out.
    limit: usize,
    /// How often a clock has leapt.
    leaps: u64,
    /// An fd of the looper's tells when one does.
    is_watched: bool,
}

/// The list is not looked through before it has grown to this.
const LEAST: usize = 32;

impl Default for Followers {
    fn default() -> Followers {
        Followers(ForkAwareMutex::new(State::default()))
    }
}

impl Followers {
    /// How often a clock has leapt.
    pub(crate) fn leaps(&self) -> u64 {
        self.0.lock().map_or(0, |state| state.leaps)
    }

    /// Adds one; how often a clock has leapt.
    pub(crate) fn add(&self, follower: Weak<dyn Follower>) -> u64 {
        let Some(mut state) = self.0.lock() else { return 0 };
        if state.list.len() >= state.limit.max(LEAST) {
            state.list.retain(|follower| follower.strong_count() > 0);
            state.limit = state.list.len() * 2;
        }
        state.list.push(follower);
        state.leaps
    }

    /// Lets all be due by what the clocks show now, since one has leapt.
    pub(crate) fn follow(&self, shared: &Shared) {
        let followers: Vec<Arc<dyn Follower>> = {
            let Some(mut state) = self.0.lock() else { return };
            state.leaps += 1;
            state.list.iter().filter_map(Weak::upgrade).collect()
        };
        for follower in followers {
            follower.follow(shared);
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
