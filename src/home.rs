//! What stays on the looper's thread: closures, sources and callbacks that need not be `Send`.
//!
//! The shared queue and table carry only keys to them. Each thread knows the homes of its own loopers, so that what is
//! cancelled or removed there is dropped at once; other threads leave it to be tidied up in the looper's next turn.

use std::{
    cell::{Cell, RefCell},
    fmt::{self, Debug, Formatter},
    ptr,
    rc::{Rc, Weak},
    sync::Arc,
};

use crate::{
    fd::{CLOSED_UNDER_IT, Watched, registrations::Ended, sources::Sources, warn_of_end},
    message::{LocalCallback, Message, SendCallback, drop_each},
    shared::Shared,
    slots::{Key, Slots},
};

thread_local! {
    /// The homes of the loopers that live on this thread.
    static HOMES: RefCell<Vec<Weak<Home>>> = const { RefCell::new(Vec::new()) };
}

pub(crate) struct Home {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sources: Sources,
    closures: RefCell<Slots<LocalCallback>>,
    /// Whether a turn is under way, or a source is lent: whether polling has to be refused.
    busy: Cell<bool>,
}

impl Debug for Home {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// Something of a user's that has to be dropped.
enum Debris {
    Closure(#[expect(dead_code, reason = "is dropped")] LocalCallback),
    Message(#[expect(dead_code, reason = "is dropped")] SendCallback),
    Source(#[expect(dead_code, reason = "is dropped")] Box<dyn Watched>),
}

impl Home {
    /// Makes the home of a looper, which its thread knows from now on.
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Home> {
        let sources = Sources::new(&shared.label);
        let home = Rc::new(Home { shared, sources, closures: RefCell::default(), busy: Cell::new(false) });
        // A thread that is ending knows none: then everything waits to be tidied up.
        let _ = HOMES.try_with(|homes| homes.borrow_mut().push(Rc::downgrade(&home)));
        home
    }

    /// The home of a looper, if the calling thread is the one it lives on.
    pub(crate) fn of(shared: &Shared) -> Option<Rc<Home>> {
        if !shared.is_current() {
            return None;
        }
        let find = |homes: &RefCell<Vec<Weak<Home>>>| {
            homes.borrow().iter().filter_map(Weak::upgrade).find(|home| ptr::eq(&*home.shared, shared))
        };
        HOMES.try_with(find).ok().flatten()
    }

    /// Notes that polling has to be refused, until what this gives is dropped. `None` if it has to be refused already.
    pub(crate) fn occupy(&self) -> Option<Busy<'_>> {
        (!self.busy.replace(true)).then(|| Busy { home: self })
    }

    /// Keeps a closure.
    pub(crate) fn keep(&self, closure: LocalCallback) -> Key {
        self.closures.borrow_mut().insert(closure)
    }

    /// Takes a closure out, to run or to drop it.
    pub(crate) fn take(&self, key: Key) -> Option<LocalCallback> {
        self.closures.borrow_mut().remove(key)
    }

    /// Drops what other threads have cancelled, removed or given up, and admits the fds that they have added.
    pub(crate) fn tidy(&self) {
        let Some(cancelled) = self.shared.inbox.take_chores() else {
            return;
        };
        let (arrivals, departures) = self.shared.fds.take_traffic();
        let displaced = self.sources.admit(arrivals).into_iter().map(Debris::Source);
        let closures = cancelled.into_iter().filter_map(|key| self.take(key)).map(Debris::Closure);
        let sources = departures.into_iter().filter_map(|key| self.sources.remove(key)).map(Debris::Source);
        let given_up = self.shared.take_dropped().filter_map(|message| self.debris_of(message));
        drop_each(displaced.chain(closures).chain(sources).chain(given_up));
    }

    /// Ends the home: everything that is left is dropped, on this thread.
    pub(crate) fn clear(&self) {
        let _ = HOMES.try_with(|homes| homes.borrow_mut().retain(|home| !ptr::eq(home.as_ptr(), self)));
        let displaced = self.sources.admit(self.shared.fds.take_traffic().0).into_iter().map(Debris::Source);
        let given_up = self.shared.take_dropped().filter_map(|message| self.debris_of(message));
        let closures = std::iter::from_fn(|| {
            let closures = self.closures.borrow_mut().take_all();
            (!closures.is_empty()).then_some(closures)
        });
        let sources = self.sources.take_all().map(Debris::Source);
        drop_each(displaced.chain(given_up).chain(closures.flatten().map(Debris::Closure)).chain(sources));
    }

    fn debris_of(&self, message: Message) -> Option<Debris> {
        match message {
            Message::Send(closure) => Some(Debris::Message(closure)),
            Message::Local(key) => self.take(key).map(Debris::Closure),
        }
    }
}

/// A home in which polling has to be refused.
pub(crate) struct Busy<'a> {
    home: &'a Home,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.home.busy.set(false);
    }
}

/// Drops a message that was cancelled: here if it may be dropped here, else at home.
pub(crate) fn drop_cancelled(shared: &Shared, message: Message) {
    match message {
        Message::Send(closure) => drop(closure),
        Message::Local(key) => match Home::of(shared) {
            Some(home) => drop(home.take(key)),
            None => shared.signal_if(shared.inbox.leave_cancelled(key)),
        },
    }
}

/// Drops the source and callback of a registration that has ended: here if they live here, else at home.
pub(crate) fn drop_ended(shared: &Shared, key: Key) {
    match Home::of(shared) {
        Some(home) => {
            let displaced = home.sources.admit(shared.fds.take_arrivals());
            drop_each(displaced.into_iter().chain(home.sources.remove(key)));
        }
        None => {
            shared.fds.leave_departure(key);
            shared.signal_if(shared.inbox.leave_chores());
        }
    }
}

/// Drops the registration that a newer one of the same fd number has ended.
pub(crate) fn drop_displaced(shared: &Shared, ended: Option<Ended>) {
    let Some(ended) = ended else {
        return;
    };
    if let Some(died) = ended.died {
        warn_of_end(&shared.label, died, CLOSED_UNDER_IT);
    }
    drop_ended(shared, ended.key);
}
