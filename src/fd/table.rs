//! Which registrations exist and who may be called: the half that all threads share.

use std::{
    collections::HashMap,
    io, mem,
    os::fd::RawFd,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use nix::errno::Errno;

use crate::{
    error::{Misuse, Reason},
    fd::Watched,
    interest::{Events, Interest},
    slots::{Key, Slots},
    sys::{
        epoll::{self, Epoll},
        sync::Mutex,
    },
};

/// After how many events of one registration the kernel is asked whether it still has it (F7). One `epoll_ctl` of 300 ns
/// in so many is 5 ns an event.
const CHECK_EVERY: u32 = 64;

#[derive(Debug)]
pub(crate) struct FdTable {
    state: Mutex<State>,
    /// How many registrations there are, for those who need no exact answer. Written under the lock.
    len: AtomicUsize,
}

struct State {
    /// The epoll set; `None` once the looper was dropped.
    set: Option<Arc<Epoll>>,
    registrations: Slots<Registration>,
    /// The registration of each fd number. There is one at most: a second one of the same number ends the first.
    by_fd: HashMap<RawFd, Key>,
    /// Added by other threads, and not yet taken home.
    arrivals: Vec<Arrival>,
    /// Ended by other threads, and not yet dropped at home.
    departures: Vec<Key>,
    /// Why nothing can be added and nobody is called any more.
    closed: Option<Reason>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("registrations", &self.registrations)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

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
    seen_in: u64,
    /// Events until the kernel is asked again.
    check_in: u32,
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

/// The source and callback of a registration that another thread has made.
pub(crate) type Arrival = (Key, Box<dyn Watched + Send>);

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
    pub(crate) wait: u64,
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

impl FdTable {
    pub(crate) fn new(set: Arc<Epoll>) -> FdTable {
        let state = State {
            set: Some(set),
            registrations: Slots::default(),
            by_fd: HashMap::new(),
            arrivals: Vec::new(),
            departures: Vec::new(),
            closed: None,
        };
        FdTable { state: Mutex::new(state), len: AtomicUsize::new(0) }
    }

    /// Makes a registration, whole or not at all.
    pub(crate) fn add(&self, new: Registration, duplicate: Duplicate) -> io::Result<Added> {
        let mut state = self.state.lock();
        let added = state.add(new, duplicate)?;
        self.len.store(state.registrations.len(), Ordering::Relaxed);
        Ok(added)
    }

    /// Makes a registration from another thread: what it watches is left for the looper, or given back.
    pub(crate) fn add_from_afar<W>(&self, new: Registration, watch: Box<W>) -> Result<Added, (io::Error, Box<W>)>
    where
        W: Watched + Send + 'static,
    {
        let mut state = self.state.lock();
        match state.add(new, Duplicate::Refuse) {
            Ok(added) => {
                state.arrivals.push((added.key, watch));
                self.len.store(state.registrations.len(), Ordering::Relaxed);
                Ok(added)
            }
            Err(error) => Err((error, watch)),
        }
    }

    /// Ends a registration; its key is never claimed again. `None` if it had ended before.
    pub(crate) fn remove(&self, key: Key) -> Option<Registration> {
        let mut state = self.state.lock();
        let removed = state.remove(key);
        self.len.store(state.registrations.len(), Ordering::Relaxed);
        removed
    }

    /// Leaves an ended registration for the looper to drop its source and callback.
    pub(crate) fn leave_departure(&self, key: Key) {
        self.state.lock().departures.push(key);
    }

    /// Sets what a registration is watched for, and looks at its fd anew.
    pub(crate) fn set_interest(&self, key: Key, interest: Interest) -> io::Result<()> {
        self.state.lock().watch_for(key, interest)
    }

    /// Does what a callback has answered. To name the interest that it has already is no change, and ends no pause (F8).
    pub(crate) fn answer_interest(&self, key: Key, interest: Interest) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.interest(key)? == interest { Ok(()) } else { state.watch_for(key, interest) }
    }

    /// Looks at a registration's fd anew.
    pub(crate) fn repoll(&self, key: Key) -> io::Result<()> {
        let mut state = self.state.lock();
        let interest = state.interest(key)?;
        state.watch_for(key, interest)
    }

    /// Asks whether the callback of an event may be called; counts it for the spin guard, which parks after `spin_limit`.
    pub(crate) fn claim_callback(&self, reported: Reported, spin_limit: u32) -> Claim {
        self.claim(reported, false, spin_limit)
    }

    /// Asks whether an event that has no callback may be reported; counts it likewise.
    pub(crate) fn claim_ident(&self, reported: Reported, spin_limit: u32) -> Claim {
        self.claim(reported, true, spin_limit)
    }

    fn claim(&self, reported: Reported, idents: bool, spin_limit: u32) -> Claim {
        let mut state = self.state.lock();
        let claim = state.claim(reported, idents, spin_limit);
        self.len.store(state.registrations.len(), Ordering::Relaxed);
        claim
    }

    /// Whether a registration exists.
    pub(crate) fn contains(&self, key: Key) -> bool {
        self.state.lock().registrations.get(key).is_some()
    }

    /// How many registrations there are, or were a moment ago.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Takes what other threads have added. It may have ended again: then its departure is still to come.
    pub(crate) fn take_arrivals(&self) -> Vec<Arrival> {
        mem::take(&mut self.state.lock().arrivals)
    }

    /// Takes what other threads have added and ended, in one step: no departure comes before its arrival.
    pub(crate) fn take_traffic(&self) -> (Vec<Arrival>, Vec<Key>) {
        let mut state = self.state.lock();
        (mem::take(&mut state.arrivals), mem::take(&mut state.departures))
    }

    /// Lets nothing be added and nobody be called from now on; registrations stay.
    pub(crate) fn close(&self, reason: Reason) {
        self.state.lock().closed.get_or_insert(reason);
    }

    /// Ends all registrations and lets go of the epoll set, because the looper is dropped.
    pub(crate) fn shut(&self) {
        let mut state = self.state.lock();
        state.closed = Some(Reason::Dropped);
        state.set = None;
        state.by_fd.clear();
        state.registrations.take_all();
        self.len.store(0, Ordering::Relaxed);
    }

    /// Moves all registrations to `new`, or none. Gives those whose fd turned out to have died.
    pub(crate) fn move_to(&self, new: Arc<Epoll>) -> io::Result<Vec<(Key, Registration)>> {
        let mut state = self.state.lock();
        let dead = state.copy_to(&new)?;
        state.set = Some(new);
        for (key, registration) in &dead {
            state.registrations.remove(*key);
            state.by_fd.remove(&registration.fd);
        }
        self.len.store(state.registrations.len(), Ordering::Relaxed);
        Ok(dead)
    }
}

impl State {
    fn set(&self) -> io::Result<&Epoll> {
        self.set.as_deref().ok_or_else(|| Reason::Dropped.into())
    }

    fn add(&mut self, new: Registration, duplicate: Duplicate) -> io::Result<Added> {
        if let Some(reason) = self.closed {
            return Err(reason.into());
        }
        let old = self.by_fd.get(&new.fd).copied();
        let old_is_parked = old.and_then(|old| self.registrations.get(old)).is_some_and(|old| old.parked);
        if old_is_parked && duplicate == Duplicate::Refuse {
            return Err(Errno::EEXIST.into());
        }
        let replace = old.is_some() && !old_is_parked && duplicate == Duplicate::Replace;

        let key = self.registrations.insert(new);
        if let Err(error) = self.enter(new, key, replace) {
            self.registrations.remove(key);
            return Err(error);
        }

        self.by_fd.insert(new.fd, key);
        let ended = old.and_then(|old| {
            let registration = self.registrations.remove(old)?;
            Some(Ended { key: old, died: (duplicate == Duplicate::Refuse).then_some(registration) })
        });
        Ok(Added { key, ended })
    }

    /// Tells epoll of a registration. One that replaces another takes over its place, unless that has died.
    fn enter(&self, new: Registration, key: Key, replace: bool) -> io::Result<()> {
        let flags = epoll::flags_of(new.interest);
        if replace {
            match self.set()?.modify(new.fd, flags, key.to_bits()) {
                Err(error) if has_died(&error) => {}
                result => return result,
            }
        }
        self.set()?.add(new.fd, flags, key.to_bits())
    }

    fn remove(&mut self, key: Key) -> Option<Registration> {
        let removed = self.registrations.remove(key)?;
        self.by_fd.remove(&removed.fd);
        if !removed.parked {
            self.leave(removed.fd);
        }
        Some(removed)
    }

    /// Takes an fd out of epoll. That it was closed before is as good; if a duplicate keeps it in, strays will tell.
    fn leave(&self, fd: RawFd) {
        if let Some(set) = &self.set {
            let _ = set.delete(fd);
        }
    }

    fn interest(&self, key: Key) -> io::Result<Interest> {
        Ok(self.registrations.get(key).ok_or(Misuse::RegistrationEnded)?.interest)
    }

    /// Tells epoll what a registration is watched for. One that was parked is watched again.
    fn watch_for(&mut self, key: Key, interest: Interest) -> io::Result<()> {
        let registration = *self.registrations.get(key).ok_or(Misuse::RegistrationEnded)?;
        let flags = epoll::flags_of(interest);
        if registration.parked {
            self.set()?.add(registration.fd, flags, key.to_bits())?;
        } else {
            self.set()?.modify(registration.fd, flags, key.to_bits())?;
        }
        if let Some(registration) = self.registrations.get_mut(key) {
            registration.interest = interest;
            registration.parked = false;
            registration.hollow = 0;
        }
        Ok(())
    }

    fn claim(&mut self, reported: Reported, idents: bool, spin_limit: u32) -> Claim {
        let Reported { key, events, wait } = reported;
        if self.closed.is_some() {
            return Claim::Pass;
        }
        let Some(registration) = self.registrations.get_mut(key) else {
            return Claim::Gone;
        };
        if registration.ident.is_some() != idents {
            return Claim::Ident;
        }
        let ident = registration.ident;
        // The interest may have changed since the wait.
        let events = events.asked_by(registration.interest);
        if registration.parked {
            return Claim::Gone;
        }
        if events.is_empty() {
            return Claim::Pass;
        }
        let in_a_row = registration.seen_in + 1 == wait;
        let before = if in_a_row { registration.hollow } else { 0 };
        registration.hollow = if events.is_hollow() { before + 1 } else { 0 };
        registration.seen_in = wait;
        registration.check_in -= 1;
        if registration.check_in == 0 {
            registration.check_in = CHECK_EVERY;
            let registration = *registration;
            if self.has_died(key, registration) {
                self.registrations.remove(key);
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

    /// Parks a registration whose events have long told nothing but a hang-up or an error. Gives it if the user has to know.
    fn guard_against_spin(&mut self, key: Key, spin_limit: u32) -> Option<Registration> {
        let registration = self.registrations.get_mut(key)?;
        let asks_nothing = registration.interest.is_empty();
        let has_spun = spin_limit > 0 && registration.hollow >= spin_limit;
        if registration.hollow == 0 || registration.parked || !(asks_nothing || has_spun) {
            return None;
        }
        registration.parked = true;
        registration.hollow = 0;
        let registration = *registration;
        self.leave(registration.fd);
        (!asks_nothing).then_some(registration)
    }

    /// Adds all that is watched to `new`, except what has died in the present set. Gives the dead.
    fn copy_to(&self, new: &Epoll) -> io::Result<Vec<(Key, Registration)>> {
        let mut dead = Vec::new();
        for (key, registration) in self.registrations.iter().filter(|(_, registration)| !registration.parked) {
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
