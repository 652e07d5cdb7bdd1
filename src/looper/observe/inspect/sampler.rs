//! Where loopers spend their time, as far as looking at them now and then tells.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::{
    core::shared::{LooperId, Shared},
    looper::running::{Running, RunningKind},
    queue::message::Origin,
};

/// What was seen of a looper.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How often it was looked at.
    pub(super) samples: u64,
    pub(super) places: HashMap<(RunningKind, Option<Origin>), Place>,
}

/// What was seen of a place in the source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// How often it ran when somebody looked.
    pub(super) seen: u64,
    /// For how long it was seen to run at the longest.
    pub(super) longest: Duration,
}

/// What was seen of all loopers but its own, which it would only see at this.
#[derive(Debug)]
pub(super) struct Sampler {
    own: LooperId,
    /// Whether its own looper is the inspector's and no other's, and so is not told of.
    is_hidden: bool,
    seen: BTreeMap<LooperId, Seen>,
}

impl Sampler {
    pub(super) fn new(own: LooperId, is_hidden: bool) -> Sampler {
        Sampler { own, is_hidden, seen: BTreeMap::new() }
    }

    /// The loopers that are told of.
    pub(super) fn loopers(&self) -> Vec<Arc<Shared>> {
        let mut loopers = LooperId::all();
        loopers.retain(|shared| !self.is_hidden || shared.id != self.own);
        loopers
    }

    /// Looks at each of `loopers`, which are all, once.
    pub(super) fn sample(&mut self, loopers: &[Arc<Shared>]) {
        // In their order; what has ended is forgotten.
        self.seen.retain(|id, _| loopers.binary_search_by_key(id, |shared| shared.id).is_ok());
        for shared in loopers.iter().filter(|shared| shared.id != self.own) {
            self.seen.entry(shared.id).or_default().look_at(shared);
        }
    }

    pub(super) fn seen_of(&self, shared: &Shared) -> Option<&Seen> {
        self.seen.get(&shared.id)
    }
}

impl Seen {
    fn look_at(&mut self, shared: &Shared) {
        self.samples += 1;
        let Some(sight) = shared.sight() else {
            return;
        };
        let running = Running::new(sight, shared.clock.now(), shared.activity.thread_id);
        let place = self.places.entry((running.kind, running.place)).or_default();
        place.seen += 1;
        place.longest = place.longest.max(running.lasted);
    }
}
