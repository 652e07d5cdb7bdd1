//! Replacing an epoll set that holds an fd which was closed while a duplicate keeps it there (F7).

use std::{collections::HashSet, io, mem, sync::Arc};

use crate::{
    fd::registration::Registration,
    looper::Looper,
    mem::{log, slots::Key},
};

/// How many stale keys are remembered at most. More dead fds than that are not to be expected in one set.
const MEMORY: usize = 65_536;

/// Events of registrations that are gone.
///
/// One may be left over from before its registration ended. One that comes back belongs to an fd that was closed while
/// a duplicate keeps it in the epoll set.
#[derive(Debug)]
pub(super) struct StaleKeys {
    seen: HashSet<Key>,
    /// How many the present wait has reported.
    count: usize,
    /// How many have come back.
    returned: u32,
    /// At how many the epoll set is made anew; doubled when that fails.
    patience: u32,
}

impl Default for StaleKeys {
    fn default() -> Self {
        StaleKeys { seen: HashSet::new(), count: 0, returned: 0, patience: 1 }
    }
}

impl StaleKeys {
    /// Notes a stale key.
    pub(super) fn note(&mut self, key: Key) {
        if self.seen.len() >= MEMORY {
            self.seen.clear();
        }
        self.count += 1;
        self.returned += u32::from(!self.seen.insert(key));
    }

    /// Ends a wait; whether it has reported any. A dead fd is always ready: after a wait without a stale key there is none
    /// in the set.
    fn end_wait(&mut self) -> bool {
        let has_reported = mem::take(&mut self.count) > 0;
        if !has_reported && !self.seen.is_empty() {
            self.seen.clear();
            self.returned = 0;
        }
        has_reported
    }

    /// Whether the set was to be made anew and could not be.
    fn is_stuck(&self) -> bool {
        self.patience > 1
    }
}

impl Looper {
    /// Makes the epoll set anew if stale keys have come back. Where that fails, and they were all that a sleep has brought,
    /// the thread rests for a moment, since they would end the next one at once.
    pub(super) fn deal_with_stale_keys(&self, brought_nothing: bool) {
        let (rests, due) = {
            let mut stale_keys = self.core.stale_keys.borrow_mut();
            let has_reported = stale_keys.end_wait();
            (has_reported && brought_nothing && stale_keys.is_stuck(), stale_keys.returned >= stale_keys.patience)
        };
        if rests {
            self.core.poller.borrow().rest();
        }
        if !due {
            return;
        }
        if self.shared().is_inherited() {
            return;
        }
        match self.rebuild() {
            Ok(dead) => {
                self.core.stale_keys.replace(StaleKeys::default());
                self.core.rebuilt.set(true);
                self.core.local.sources.drop_stale(&self.shared().fds, dead);
            }
            Err(error) => {
                let patience = self.core.stale_keys.borrow().patience.saturating_mul(2);
                self.core.stale_keys.replace(StaleKeys { patience, ..StaleKeys::default() });
                log::warn!("an fd that was closed under its registration keeps {} busy: {error}", self.shared().label);
            }
        }
    }

    /// Moves all registrations to a new epoll set, or none. Gives those whose fd turned out to have died.
    fn rebuild(&self) -> io::Result<Vec<(Key, Registration)>> {
        if self.core.host.get().is_some_and(|host| !host.can_exchange()) {
            return Err(io::Error::other("its epoll set is its host's: drop the looper and make another"));
        }
        let old = self.core.poller.borrow().set().clone();
        let new = Arc::new(self.core.poller.borrow().second_set(self.shared().waker())?);
        if let Some(host) = self.core.host.get() {
            host.add(&new)?;
        }
        let moved = self.shared().fds.move_to(&new);
        if let Some(host) = self.core.host.get() {
            host.delete(if moved.is_ok() { &old } else { &new });
        }
        let dead = moved?;
        self.core.poller.borrow_mut().move_to(new);
        Ok(dead)
    }
}
