//! What stays on the looper's thread: closures, sources and callbacks that need not be `Send`.
//!
//! The shared queue and table carry only keys to them. Each thread knows the homes of its own loopers, so that what is
//! cancelled or removed there is dropped at once; other threads leave it to be tidied up in the looper's next turn.

use std::{
    cell::RefCell,
    fmt::{self, Debug, Formatter},
    ptr,
    rc::{Rc, Weak},
    sync::Arc,
};

use crate::{
    fd::{
        Watched,
        sources::Sources,
        table::{Ended, Registration},
    },
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
        let home = Rc::new(Home { shared, sources: Sources::default(), closures: RefCell::new(Slots::default()) });
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
        self.sources.admit(arrivals);
        let closures = cancelled.into_iter().filter_map(|key| self.take(key)).map(Debris::Closure);
        let sources = departures.into_iter().filter_map(|key| self.sources.remove(key)).map(Debris::Source);
        let given_up = self.shared.take_dropped().filter_map(|message| self.debris_of(message));
        drop_each(closures.chain(sources).chain(given_up));
    }

    /// Ends the home: everything that is left is dropped, on this thread.
    pub(crate) fn clear(&self) {
        let _ = HOMES.try_with(|homes| homes.borrow_mut().retain(|home| !ptr::eq(home.as_ptr(), self)));
        self.sources.admit(self.shared.fds.take_traffic().0);
        let given_up = self.shared.take_dropped().filter_map(|message| self.debris_of(message));
        let closures = std::iter::from_fn(|| {
            let closures = self.closures.borrow_mut().take_all();
            (!closures.is_empty()).then_some(closures)
        });
        let sources = self.sources.take_all().map(Debris::Source);
        drop_each(given_up.chain(closures.flatten().map(Debris::Closure)).chain(sources));
    }

    fn debris_of(&self, message: Message) -> Option<Debris> {
        match message {
            Message::Send(closure) => Some(Debris::Message(closure)),
            Message::Local(key) => self.take(key).map(Debris::Closure),
        }
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
            home.sources.admit(shared.fds.take_arrivals());
            drop(home.sources.remove(key));
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
        warn_of_death(died);
    }
    drop_ended(shared, ended.key);
}

/// Tells that a registration ended because its fd was closed under it.
pub(crate) fn warn_of_death(died: Registration) {
    log::warn!(
        "fd {} is no longer watched: it was closed under its registration; it was added at {}; \
         remove a source before its fd is closed",
        died.fd,
        died.place
    );
}
