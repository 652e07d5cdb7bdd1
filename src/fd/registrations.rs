//! The registrations themselves: what epoll is told of them, and what may be done about their events.
//!
//! Everything here happens under the lock of the [`table`](super::table).

use std::{
    collections::HashMap,
    io,
    os::fd::RawFd,
    panic::Location,
    sync::{Arc, Weak},
};

use nix::errno::Errno;

use crate::{
    error::{Misuse, Reason},
    interest::{Events, Interest},
    planted::{self, Bug},
    slots::{Key, Slots},
    sys::epoll::{self, Epoll},
};

/// After how many events of one registration the kernel is asked whether it still has it (F7). One `epoll_ctl` of 300
/// ns in so many is 5 ns an event.
const CHECK_EVERY: u8 = 64;

/// What the table knows of a registration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registration {
    pub(crate) fd: RawFd,
    pub(crate) interest: Interest,
    /// What the turn's report calls it; `None` if it has a callback.
    pub(crate) ident: Option<u32>,
    /// Where it was added.
    pub(crate) place: &'static Location<'static>,
    /// Taken out of the epoll set by the spin guard until its interest is set or it is repolled (F8).
    parked: bool,
    /// Events in a row with nothing but an error or a hang-up, each in the wait after that of the one before.
    hollow: u32,
    /// The wait of the last event.
    seen_in: u32,
    /// Events until the kernel is asked again.
    check_in: u8,
}

impl Registration {
    pub(crate) fn new(
        fd: RawFd,
        interest: Interest,
        ident: Option<u32>,
        place: &'static Location<'static>,
    ) -> Registration {
        Registration { fd, interest, ident, place, parked: false, hollow: 0, seen_in: 0, check_in: CHECK_EVERY }
    }
}

impl Registration {
    /// Whether the spin guard has taken it out of the epoll set.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked
    }
}

/// What to do about an fd that the table has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duplicate {
    Refuse,
    Replace,
}

/// A registration that was made, and the one that ended by it.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) key: Key,
    pub(crate) ended: Option<Ended>,
}

/// A registration that a newer one of the same fd number has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) key: Key,
    /// Not replaced: its fd was closed under it.
    pub(crate) died: Option<Registration>,
}

/// An event that epoll has reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported {
    pub(crate) key: Key,
    pub(crate) events: Events,
    /// The number of the wait that reported it.
    pub(crate) wait: u32,
}

/// What the looper may do about an event.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Call back, or report the ident, with these events.
    Serve(Served),
    /// It has no callback: claim it again when the callbacks of the turn have run.
    Ident,
    /// Nothing: epoll should not know of it, since the registration has ended or is parked.
    Gone,
    /// Nothing: the looper has quit, or nobody asks for these events any more.
    Pass,
    /// Drop it: its fd was closed under it.
    Died(Registration),
}

/// A claimed event.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) events: Events,
    pub(crate) ident: Option<u32>,
    /// Parked by the spin guard after so many hollow events: worth a warning.
    pub(crate) spun: Option<Registration>,
}

/// All registrations of a looper.
#[derive(Debug)]
pub(super) struct Registrations {
    /// The epoll set, which the poller keeps: it goes with the looper, also in a forked child, which does not come
    /// here.
    set: Weak<Epoll>,
    slots: Slots<Registration>,
    /// The registration of each fd number. There is one at most: a second one of the same number ends the first.
    by_fd: HashMap<RawFd, Key>,
    /// Why nothing can be added and nobody is called any more.
    closed: Option<Reason>,
}

impl Registrations {
    pub(super) fn new(set: &Arc<Epoll>) -> Registrations {
        Registrations { set: Arc::downgrade(set), slots: Slots::default(), by_fd: HashMap::new(), closed: None }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// All of them, in no order that means anything.
    pub(super) fn all(&self) -> Vec<Registration> {
        self.slots.iter().map(|(_, registration)| *registration).collect()
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.slots.get(key).is_some()
    }

    /// Lets nothing be added and nobody be called from now on.
    pub(super) fn close(&mut self, reason: Reason) {
        self.closed.get_or_insert(reason);
    }

    /// Ends all and lets go of the epoll set.
    pub(super) fn shut(&mut self) {
        self.closed = Some(Reason::Dropped);
        self.set = Weak::new();
        self.by_fd.clear();
        self.slots.take_all();
    }

    /// Moves all to `new`, or none. Gives those whose fd turned out to have died.
    pub(super) fn move_to(&mut self, new: &Arc<Epoll>) -> io::Result<Vec<(Key, Registration)>> {
        let dead = self.copy_to(new)?;
        self.set = Arc::downgrade(new);
        for (key, registration) in &dead {
            self.slots.remove(*key);
            self.by_fd.remove(&registration.fd);
        }
        Ok(dead)
    }

    fn set(&self) -> io::Result<Arc<Epoll>> {
        self.set.upgrade().ok_or_else(|| Reason::Dropped.into())
    }

    pub(super) fn add(&mut self, new: Registration, duplicate: Duplicate) -> io::Result<Added> {
        if let Some(reason) = self.closed {
            return Err(reason.into());
        }
        let old = self.by_fd.get(&new.fd).copied();
        let old_is_parked = old.and_then(|old| self.slots.get(old)).is_some_and(|old| old.parked);
        if old_is_parked && duplicate == Duplicate::Refuse {
            return Err(Errno::EEXIST.into());
        }
        let key = self.slots.insert(new);
        let entered = match old {
            Some(_) if duplicate == Duplicate::Refuse => self.add_new(new.fd, new.interest, key),
            Some(_) if !old_is_parked => self.take_over(new.fd, new.interest, key),
            _ => self.add_unregistered(new.fd, new.interest, key),
        };
        if let Err(error) = entered {
            self.slots.remove(key);
            return Err(error);
        }

        self.by_fd.insert(new.fd, key);
        let ended = old.and_then(|old| {
            let registration = self.slots.remove(old)?;
            Some(Ended { key: old, died: (duplicate == Duplicate::Refuse).then_some(registration) })
        });
        Ok(Added { key, ended })
    }

    /// Tells epoll of an fd that it must not have already.
    fn add_new(&self, fd: RawFd, interest: Interest, key: Key) -> io::Result<()> {
        self.set()?.add(fd, epoll::flags_of(interest), key.to_bits())
    }

    /// Tells epoll that an fd is watched by another registration from now on, unless it has died: then it is added.
    fn take_over(&self, fd: RawFd, interest: Interest, key: Key) -> io::Result<()> {
        match self.set()?.modify(fd, epoll::flags_of(interest), key.to_bits()) {
            Err(error) if has_died(&error) => self.add_unregistered(fd, interest, key),
            result => result,
        }
    }

    /// Tells epoll of an fd that nobody has registered. It may have it all the same: when the fd was to be taken out,
    /// the kernel may have refused, or another file had its number, while a duplicate kept this one in the set.
    fn add_unregistered(&self, fd: RawFd, interest: Interest, key: Key) -> io::Result<()> {
        self.add_new(fd, interest, key).or_else(|error| {
            let is_left_over = error.raw_os_error() == Some(Errno::EEXIST as i32)
                && self.set()?.modify(fd, epoll::flags_of(interest), key.to_bits()).is_ok();
            if is_left_over { Ok(()) } else { Err(error) }
        })
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Registration> {
        let removed = self.slots.remove(key)?;
        self.by_fd.remove(&removed.fd);
        if !removed.parked {
            self.leave(removed.fd);
        }
        Some(removed)
    }

    /// Takes an fd out of epoll. That it was closed before is as good; if a duplicate keeps it in, strays will tell.
    fn leave(&self, fd: RawFd) {
        if let Ok(set) = self.set() {
            let _ = set.delete(fd);
        }
    }

    pub(super) fn interest(&self, key: Key) -> io::Result<Interest> {
        Ok(self.slots.get(key).ok_or(Misuse::RegistrationEnded)?.interest)
    }

    /// Tells epoll what a registration is watched for. One that was parked is watched again.
    pub(super) fn watch_for(&mut self, key: Key, interest: Interest) -> io::Result<()> {
        let registration = *self.slots.get(key).ok_or(Misuse::RegistrationEnded)?;
        if registration.parked {
            self.add_unregistered(registration.fd, interest, key)?;
        } else if !planted::is(Bug::LoseModify) {
            self.set()?.modify(registration.fd, epoll::flags_of(interest), key.to_bits())?;
        }
        if let Some(registration) = self.slots.get_mut(key) {
            registration.interest = interest;
            registration.parked = false;
            registration.hollow = 0;
        }
        Ok(())
    }

    pub(super) fn claim(&mut self, reported: Reported, idents: bool, spin_limit: u32) -> Claim {
        let Reported { key, events, wait } = reported;
        if self.closed.is_some() && !planted::is(Bug::CallAfterQuit) {
            return Claim::Pass;
        }
        let Some(registration) = self.slots.get_mut(key) else {
            return Claim::Gone;
        };
        if registration.ident.is_some() != idents {
            return Claim::Ident;
        }
        let ident = registration.ident;
        if registration.parked {
            return Claim::Gone;
        }
        // The interest may have changed since the wait.
        let events = if planted::is(Bug::ServeUnasked) { events } else { events.asked_by(registration.interest) };
        if events.is_empty() {
            return Claim::Pass;
        }
        let in_a_row = registration.seen_in.wrapping_add(1) == wait;
        let before = if in_a_row { registration.hollow } else { 0 };
        registration.hollow = if events.is_hollow() { before + 1 } else { 0 };
        registration.seen_in = wait;
        registration.check_in -= 1;
        if registration.check_in == 0 {
            registration.check_in = CHECK_EVERY;
            let registration = *registration;
            if self.has_died(key, registration) {
                self.slots.remove(key);
                self.by_fd.remove(&registration.fd);
                return Claim::Died(registration);
            }
        }
        let spun = self.guard_against_spin(key, spin_limit);
        Claim::Serve(Served { events, ident, spun })
    }

    /// Whether epoll has lost the fd of a registration: its fd was closed, though a duplicate still causes events.
    fn has_died(&self, key: Key, registration: Registration) -> bool {
        if registration.parked {
            return false;
        }
        let flags = epoll::flags_of(registration.interest);
        let asked = self.set().and_then(|set| set.modify(registration.fd, flags, key.to_bits()));
        asked.is_err_and(|error| has_died(&error))
    }

    /// Parks a registration whose events have long told nothing but a hang-up or an error. Gives it if the user has to
    /// know.
    fn guard_against_spin(&mut self, key: Key, spin_limit: u32) -> Option<Registration> {
        let registration = self.slots.get_mut(key)?;
        let asks_nothing = registration.interest.is_empty();
        let has_spun = spin_limit > 0 && registration.hollow >= spin_limit;
        if planted::is(Bug::BearWithHollow)
            || registration.hollow == 0
            || registration.parked
            || !(asks_nothing || has_spun)
        {
            return None;
        }
        let parked = self.park(key);
        if asks_nothing { None } else { parked }
    }

    /// Parks the registrations without callback that `is_meant`. Gives those that were not parked before.
    pub(super) fn park_idents(&mut self, is_meant: impl Fn(u32) -> bool) -> Vec<Registration> {
        let is_meant = |registration: &Registration| !registration.parked && registration.ident.is_some_and(&is_meant);
        let meant = self.slots.iter().filter(|(_, registration)| is_meant(registration));
        let keys: Vec<Key> = meant.map(|(key, _)| key).collect();
        keys.into_iter().filter_map(|key| self.park(key)).collect()
    }

    /// Takes a registration out of the epoll set until its interest is set or it is repolled.
    fn park(&mut self, key: Key) -> Option<Registration> {
        let registration = self.slots.get_mut(key)?;
        registration.parked = true;
        registration.hollow = 0;
        let registration = *registration;
        self.leave(registration.fd);
        Some(registration)
    }

    /// Adds all that is watched to `new`, except what has died in the present set. Gives the dead.
    fn copy_to(&self, new: &Epoll) -> io::Result<Vec<(Key, Registration)>> {
        let mut dead = Vec::new();
        for (key, registration) in self.slots.iter().filter(|(_, registration)| !registration.parked) {
            if self.has_died(key, *registration) {
                dead.push((key, *registration));
            } else {
                new.add(registration.fd, epoll::flags_of(registration.interest), key.to_bits())?;
            }
        }
        Ok(dead)
    }
}

/// Whether an error of `epoll_ctl` says that the fd is not the one that was added.
fn has_died(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EBADF | Errno::ENOENT | Errno::EPERM))
}
