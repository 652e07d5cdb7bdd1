//! Each watched source with its callback, on the looper's thread; taken out while it runs.

use std::{
    any::Any,
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    thread,
};

use crate::{
    fd::{
        CLOSED_UNDER_IT, FdNext, Watched,
        registration::Registration,
        registrations::Served,
        stale,
        table::{Arrival, FdTable},
    },
    mem::{
        drop::{after, caught, drop_each, drop_quietly},
        slots::{Key, SecondaryMap},
    },
    sys::interest::Events,
};

/// The sources and callbacks, by the slot of their key.
pub(crate) struct Sources<L> {
    /// `None` while the callback, or somebody with the source, runs. No user code runs while the table is borrowed.
    entries: RefCell<SecondaryMap<Option<Box<dyn Watched<L>>>>>,
}

impl<L> Default for Sources<L> {
    fn default() -> Self {
        Sources { entries: RefCell::default() }
    }
}

impl<L: 'static> Sources<L> {
    /// Keeps the source and callback of a registration. Gives what has to be dropped for that.
    ///
    /// That is the slot's former entry if its removal is still queued, or `watched` itself if its registration has ended
    /// and the slot has a new owner.
    #[must_use = "it has to be dropped, with nothing borrowed"]
    pub(crate) fn insert(&self, key: Key, watched: Box<dyn Watched<L>>) -> Option<Box<dyn Watched<L>>> {
        self.entries.borrow_mut().insert(key, Some(watched)).flatten()
    }

    /// Takes over what other threads have added, all of it before anything is dropped. Gives what has to be dropped for
    /// that.
    #[must_use = "it has to be dropped, with nothing borrowed"]
    pub(crate) fn admit(&self, arrivals: Vec<Arrival<L>>) -> Vec<Box<dyn Watched<L>>> {
        arrivals.into_iter().filter_map(|(key, watched)| self.insert(key, watched)).collect()
    }

    /// Gives the source and callback of a registration that has ended; `None` if they are running, to be dropped after.
    pub(crate) fn remove(&self, key: Key) -> Option<Box<dyn Watched<L>>> {
        self.entries.borrow_mut().remove(key).flatten()
    }

    /// Takes out everything, to drop it.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = Box<dyn Watched<L>>> + use<L> {
        self.entries.borrow_mut().take_all().flatten()
    }

    /// Runs the callback of a claimed event; whether there was one to run.
    ///
    /// A panic ends the registration, and is given back to go on.
    pub(crate) fn serve(&self, looper: &L, table: &FdTable<L>, key: Key, event: Served) -> thread::Result<bool> {
        let Served { events, sets, is_sampled, .. } = event;
        let Some(mut watched) = self.take(table, key) else {
            return Ok(false);
        };
        let call = || {
            if is_sampled {
                call_sampled(&mut *watched, looper, table, key, events)
            } else {
                watched.call(looper, events)
            }
        };
        match panic::catch_unwind(AssertUnwindSafe(call)) {
            Ok(next) => self.conclude(table, key, watched, next, sets),
            Err(panic) => {
                self.end(table, key);
                drop_quietly(watched);
                return Err(panic);
            }
        }
        Ok(true)
    }

    /// Lends the source of a registration to `look`; `None` if it is running or has ended.
    pub(crate) fn with<R>(&self, table: &FdTable<L>, key: Key, look: impl FnOnce(&mut dyn Any) -> R) -> Option<R> {
        if !table.contains(key) {
            return None;
        }
        let mut watched = self.take(table, key)?;
        let result = panic::catch_unwind(AssertUnwindSafe(|| look(watched.source())));
        Some(after(result, || self.conclude(table, key, watched, FdNext::Keep, 0)))
    }

    /// Does what the callback said, and puts back what was taken, unless its registration has ended.
    fn conclude(&self, table: &FdTable<L>, key: Key, watched: Box<dyn Watched<L>>, next: FdNext, sets: u32) {
        match next {
            FdNext::Remove => self.end(table, key),
            // What cannot say which fd it is, since its `AsFd` panics, is another one.
            _ if !caught(|| watched.is_unchanged()).unwrap_or(false) => {
                self.end_as_stale(table, key, "its source was exchanged for another fd");
            }
            FdNext::Keep => {}
            FdNext::Interest(interest) => {
                if let Err(error) = table.answer_interest(key, interest, sets) {
                    self.end_as_stale(table, key, format!("its interest could not be changed: {error}"));
                }
            }
        }
        self.put_back(key, watched);
    }

    fn end_as_stale(&self, table: &FdTable<L>, key: Key, why: impl Into<String>) {
        if let Some(registration) = table.remove(key) {
            table.notices.add(stale(registration, why));
            self.end(table, key);
        }
    }

    /// Drops the sources and callbacks of registrations that have ended because their fds were closed under them.
    pub(crate) fn drop_stale(&self, table: &FdTable<L>, ended: Vec<(Key, Registration)>) {
        for (_, registration) in &ended {
            table.notices.add(stale(*registration, CLOSED_UNDER_IT));
        }
        drop_each(ended.into_iter().filter_map(|(key, _)| self.remove(key)));
    }

    /// Ends a registration whose source and callback are out.
    fn end(&self, table: &FdTable<L>, key: Key) {
        table.remove(key);
        let gone = self.remove(key);
        debug_assert!(gone.is_none(), "they are out");
    }

    fn take(&self, table: &FdTable<L>, key: Key) -> Option<Box<dyn Watched<L>>> {
        let present = self.take_present(key);
        if present.is_none() && !self.has(key) {
            drop_each(self.admit(table.take_arrivals()));
            return self.take_present(key);
        }
        present
    }

    fn has(&self, key: Key) -> bool {
        self.entries.borrow().get(key).is_some()
    }

    fn take_present(&self, key: Key) -> Option<Box<dyn Watched<L>>> {
        self.entries.borrow_mut().get_mut(key)?.take()
    }

    /// Puts back what was taken, or drops it if its registration has ended meanwhile.
    fn put_back(&self, key: Key, watched: Box<dyn Watched<L>>) {
        let mut entries = self.entries.borrow_mut();
        match entries.get_mut(key) {
            Some(place) => *place = Some(watched),
            None => {
                drop(entries);
                drop_each([watched]);
            }
        }
    }
}

/// Runs a callback, and sees whether it takes a byte of what there is to read.
#[cold]
fn call_sampled<L>(watched: &mut dyn Watched<L>, looper: &L, table: &FdTable<L>, key: Key, events: Events) -> FdNext {
    // Without input there is nothing to take. Where nobody can say how much there is, it is taken to be less.
    let readable = |watched: &dyn Watched<L>| if events.contains(Events::INPUT) { watched.readable() } else { Some(0) };
    let before = readable(watched);
    let next = watched.call(looper, events);
    if before.is_none() || readable(watched) != before {
        table.note_progress(key);
    }
    next
}
