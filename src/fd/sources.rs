//! Each watched source with its callback, on the looper's thread; taken out while it runs.

use std::{
    any::Any,
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
};

use crate::{
    fd::{
        Next, Watched,
        table::{Arrival, FdTable},
    },
    interest::Events,
    looper::Looper,
    message::drop_each,
    slots::Key,
};

/// The sources and callbacks, by the slot of their key.
#[derive(Default)]
pub(crate) struct Sources {
    entries: RefCell<Vec<Option<Entry>>>,
}

struct Entry {
    key: Key,
    /// `None` while the callback, or somebody with the source, runs. No user code runs while the table is borrowed.
    watched: Option<Box<dyn Watched>>,
}

impl Sources {
    /// Keeps the source and callback of a registration.
    pub(crate) fn insert(&self, key: Key, watched: Box<dyn Watched>) {
        let mut entries = self.entries.borrow_mut();
        let index = key.index as usize;
        if entries.len() <= index {
            entries.resize_with(index + 1, || None);
        }
        // The slot is free, unless another thread ended its registration just now: then that one's departure is due.
        let former = entries[index].replace(Entry { key, watched: Some(watched) });
        drop(entries);
        drop_each(former);
    }

    /// Gives the source and callback of a registration that has ended; `None` if they are running, to be dropped after.
    pub(crate) fn remove(&self, key: Key) -> Option<Box<dyn Watched>> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(key.index as usize)?;
        entry.take_if(|entry| entry.key == key)?.watched
    }

    /// Takes over what other threads have added.
    pub(crate) fn admit(&self, arrivals: Vec<Arrival>) {
        for (key, watched) in arrivals {
            self.insert(key, watched);
        }
    }

    /// Takes out everything, to drop it.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = Box<dyn Watched>> + use<> {
        let entries = std::mem::take(&mut *self.entries.borrow_mut());
        entries.into_iter().flatten().filter_map(|entry| entry.watched)
    }

    /// Runs the callback of a claimed registration; whether there was one to run.
    ///
    /// A panic ends the registration and goes on.
    pub(crate) fn serve(&self, looper: &Looper, table: &FdTable, key: Key, events: Events) -> bool {
        let Some(mut watched) = self.take(table, key) else {
            return false;
        };
        let run = || {
            let next = watched.call(looper, events);
            (next, next == Next::Remove || watched.is_unchanged())
        };
        match panic::catch_unwind(AssertUnwindSafe(run)) {
            Ok((next, unchanged)) => self.conclude(table, key, watched, next, unchanged),
            Err(panic) => {
                self.end(table, key);
                let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(watched)));
                panic::resume_unwind(panic);
            }
        }
        true
    }

    /// Lends the source of a registration to `look`; `None` if it is running or has ended.
    pub(crate) fn with<R>(&self, table: &FdTable, key: Key, look: impl FnOnce(&mut dyn Any) -> R) -> Option<R> {
        let mut watched = self.take(table, key)?;
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            let result = look(watched.source());
            (result, watched.is_unchanged())
        }));
        match result {
            Ok((result, unchanged)) => {
                self.conclude(table, key, watched, Next::Keep, unchanged);
                Some(result)
            }
            Err(panic) => {
                self.put_back(key, watched);
                panic::resume_unwind(panic);
            }
        }
    }

    fn conclude(&self, table: &FdTable, key: Key, watched: Box<dyn Watched>, next: Next, unchanged: bool) {
        if next == Next::Remove {
            self.end(table, key);
        } else if !unchanged && let Some(registration) = table.remove(key) {
            log::warn!(
                "fd {} is no longer watched: its source was exchanged for another fd; it was added at {}; \
                 remove the source and add the other one instead",
                registration.fd,
                registration.place
            );
            self.end(table, key);
        } else if let Next::Interest(interest) = next
            && let Err(error) = table.set_interest(key, interest)
            && let Some(registration) = table.remove(key)
        {
            log::warn!(
                "fd {} is no longer watched: its interest could not be changed: {error}; it was added at {}",
                registration.fd,
                registration.place
            );
            self.end(table, key);
        }
        self.put_back(key, watched);
    }

    /// Ends a registration whose source and callback are out.
    fn end(&self, table: &FdTable, key: Key) {
        table.remove(key);
        let gone = self.remove(key);
        debug_assert!(gone.is_none(), "they are out");
    }

    fn take(&self, table: &FdTable, key: Key) -> Option<Box<dyn Watched>> {
        let present = self.take_present(key);
        if present.is_none() && !self.has(key) {
            self.admit(table.take_arrivals());
            return self.take_present(key);
        }
        present
    }

    fn has(&self, key: Key) -> bool {
        let entries = self.entries.borrow();
        entries.get(key.index as usize).is_some_and(|entry| entry.as_ref().is_some_and(|entry| entry.key == key))
    }

    fn take_present(&self, key: Key) -> Option<Box<dyn Watched>> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(key.index as usize)?.as_mut()?;
        if entry.key == key { entry.watched.take() } else { None }
    }

    /// Puts back what was taken, or drops it if its registration has ended meanwhile.
    fn put_back(&self, key: Key, watched: Box<dyn Watched>) {
        let mut entries = self.entries.borrow_mut();
        match entries.get_mut(key.index as usize) {
            Some(Some(entry)) if entry.key == key => entry.watched = Some(watched),
            _ => {
                drop(entries);
                drop_each([watched]);
            }
        }
    }
}
