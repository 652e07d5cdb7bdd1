//! Which registrations exist and who may be called: the half that all threads share.

use std::{
    fmt::{self, Debug, Formatter},
    io, mem,
    os::fd::RawFd,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::{
    error::RejectReason,
    fd::{
        Watched,
        notice::Notices,
        registration::Registration,
        registrations::{Added, Claim, Duplicate, Limits, Registrations, Reported, Verdict},
    },
    mem::slots::Key,
    sys::{epoll::Epoll, fork_aware_mutex::ForkAwareMutex, interest::Interest, sync::MutexGuard},
};

/// The source and callback of a registration that another thread has made.
pub(crate) type Arrival<L> = (Key, Box<dyn Watched<L> + Send>);

#[derive(Debug)]
pub(crate) struct FdTable<L: 'static> {
    /// A forked child neither locks it nor touches the epoll set, which is the parent's.
    state: ForkAwareMutex<State<L>>,
    /// How many registrations there are, for those who need no exact answer. Written under the lock.
    len: AtomicUsize,
    /// Whether the next wait ends the trial of some registration. Written under the lock, by the looper's thread.
    has_trials: AtomicBool,
    /// What the looper notices of them.
    pub(crate) notices: Arc<Notices>,
}

struct State<L> {
    registrations: Registrations,
    /// Added by other threads, and not yet taken over.
    arrivals: Vec<Arrival<L>>,
    /// Ended by other threads, and not yet dropped on the looper's.
    departures: Vec<Key>,
}

impl<L> Debug for State<L> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("registrations", &self.registrations).finish_non_exhaustive()
    }
}

impl<L> FdTable<L> {
    pub(crate) fn new(set: &Arc<Epoll>, notices: &Arc<Notices>) -> FdTable<L> {
        let registrations = Registrations::new(set);
        let state = State { registrations, arrivals: Vec::new(), departures: Vec::new() };
        FdTable {
            state: ForkAwareMutex::new(state),
            len: AtomicUsize::new(0),
            has_trials: AtomicBool::new(false),
            notices: notices.clone(),
        }
    }

    /// Locks the table, unless it is the parent's and this is a forked child.
    #[inline(always)]
    fn lock(&self) -> io::Result<MutexGuard<'_, State<L>>> {
        self.state.lock().ok_or_else(|| RejectReason::Forked.into())
    }

    /// In a forked child, forgets what other threads have added: it is neither called nor dropped.
    pub(crate) fn forget(&mut self) {
        mem::forget(mem::take(&mut self.state.get_mut().arrivals));
    }

    /// Makes a registration, whole or not at all.
    pub(crate) fn add(&self, new: Registration, duplicate: Duplicate) -> io::Result<Added> {
        let mut state = self.lock()?;
        let added = state.registrations.add(new, duplicate)?;
        self.len.store(state.registrations.len(), Ordering::Relaxed);
        Ok(added)
    }

    /// Makes a registration from another thread: what it watches is left for the looper, or given back.
    pub(crate) fn add_remote<W>(
        &self,
        new: Registration,
        duplicate: Duplicate,
        watch: Box<W>,
    ) -> Result<Added, (io::Error, Box<W>)>
    where
        W: Watched<L> + Send + 'static,
    {
        let mut state = match self.lock() {
            Ok(state) => state,
            Err(error) => return Err((error, watch)),
        };
        match state.registrations.add(new, duplicate) {
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
        let mut state = self.lock().ok()?;
        let removed = state.registrations.remove(key);
        self.len.store(state.registrations.len(), Ordering::Relaxed);
        removed
    }

    /// Leaves an ended registration for the looper to drop its source and callback.
    pub(crate) fn leave_departure(&self, key: Key) {
        if let Ok(mut state) = self.lock() {
            state.departures.push(key);
        }
    }

    /// What a registration is watched for.
    pub(crate) fn interest(&self, key: Key) -> io::Result<Interest> {
        self.lock()?.registrations.interest(key)
    }

    /// Sets what a registration is watched for; `is_remote` if another thread than the looper's does.
    pub(crate) fn set_interest(&self, key: Key, interest: Interest, is_remote: bool) -> io::Result<()> {
        self.lock()?.registrations.set_interest(key, interest, is_remote)
    }

    /// Does what the callback of an event has answered, unless another thread has set the interest since that was
    /// claimed, which was the `sets`th time.
    pub(crate) fn answer_interest(&self, key: Key, interest: Interest, sets: u32) -> io::Result<()> {
        self.lock()?.registrations.answer(key, interest, sets)
    }

    /// Looks at a registration's fd anew.
    pub(crate) fn repoll(&self, key: Key) -> io::Result<()> {
        let mut state = self.lock()?;
        let interest = state.registrations.interest(key)?;
        state.registrations.watch_for(key, interest)
    }

    /// Asks whether the callback of an event may be called; counts it for the spin guard.
    pub(crate) fn claim_callback(&self, reported: Reported, limits: Limits) -> Claim {
        self.claim(reported, false, limits)
    }

    /// Asks whether an event that has no callback may be reported; counts it likewise.
    pub(crate) fn claim_ident(&self, reported: Reported, limits: Limits) -> Claim {
        self.claim(reported, true, limits)
    }

    /// Where the fd was added whose callback was claimed last.
    pub(crate) fn claimed_last(&self) -> Option<&'static Location<'static>> {
        self.lock().ok()?.registrations.claimed_last
    }

    #[inline(always)]
    fn claim(&self, reported: Reported, idents: bool, limits: Limits) -> Claim {
        let Ok(mut state) = self.lock() else {
            return Claim::Pass;
        };
        let claim = state.registrations.claim(reported, idents, limits);
        self.len.store(state.registrations.len(), Ordering::Relaxed);
        self.has_trials.store(state.registrations.has_trials(), Ordering::Relaxed);
        claim
    }

    /// Looks at those anew whose events were taken from the kernel and not served.
    pub(crate) fn look_anew(&self, keys: impl Iterator<Item = Key>) {
        if let Ok(state) = self.lock() {
            state.registrations.look_anew(keys);
        }
    }

    /// Notes that a callback has taken what it was called for, or may have.
    pub(crate) fn note_progress(&self, key: Key) {
        if let Ok(mut state) = self.lock() {
            state.registrations.note_progress(key);
        }
    }

    /// Whether the next wait ends the trial of some registration, so that it must not be waited for.
    pub(crate) fn has_trials(&self) -> bool {
        self.has_trials.load(Ordering::Relaxed)
    }

    /// Ends the trials of those that the wait number `wait` has not reported.
    #[cold]
    pub(crate) fn end_trials(&self, wait: u32, limits: Limits) -> Vec<Verdict> {
        let Ok(mut state) = self.lock() else {
            return Vec::new();
        };
        let verdicts = state.registrations.end_trials(wait, limits);
        self.has_trials.store(state.registrations.has_trials(), Ordering::Relaxed);
        verdicts
    }

    /// All registrations, by fd number.
    pub(crate) fn all(&self) -> Vec<Registration> {
        let mut all = self.lock().map_or(Vec::new(), |state| state.registrations.all());
        all.sort_by_key(|registration| registration.fd);
        all
    }

    /// Ignores the registrations without callback that `is_meant`, but for changes. Gives those that were not before.
    pub(crate) fn ignore_idents(&self, is_meant: impl Fn(u32) -> bool) -> Vec<Registration> {
        self.lock().map_or(Vec::new(), |mut state| state.registrations.ignore_idents(is_meant))
    }

    /// The number of a registration's fd, and where it was added.
    pub(crate) fn number_and_place(&self, key: Key) -> Option<(RawFd, &'static Location<'static>)> {
        self.lock().ok()?.registrations.get(key).map(|registration| (registration.fd, registration.place))
    }

    /// Whether a registration exists.
    pub(crate) fn contains(&self, key: Key) -> bool {
        self.lock().is_ok_and(|state| state.registrations.contains(key))
    }

    /// How many registrations there are, or were a moment ago.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Takes what other threads have added. It may have ended again: then its departure is still to come.
    pub(crate) fn take_arrivals(&self) -> Vec<Arrival<L>> {
        self.lock().map_or(Vec::new(), |mut state| mem::take(&mut state.arrivals))
    }

    /// Takes what other threads have added and ended, in one step: no departure comes before its arrival.
    pub(crate) fn take_traffic(&self) -> (Vec<Arrival<L>>, Vec<Key>) {
        let Ok(mut state) = self.lock() else {
            return Default::default();
        };
        (mem::take(&mut state.arrivals), mem::take(&mut state.departures))
    }

    /// Lets nothing be added and nobody be called from now on; registrations stay.
    pub(crate) fn close(&self, reason: RejectReason) {
        if let Ok(mut state) = self.lock() {
            state.registrations.close(reason);
        }
    }

    /// Ends all registrations and lets go of the epoll set, because the looper is dropped.
    pub(crate) fn shut(&self) {
        if let Ok(mut state) = self.lock() {
            state.registrations.shut();
            self.len.store(0, Ordering::Relaxed);
        }
    }

    /// Moves all registrations to `new`, or none. Gives those whose fd turned out to have died.
    pub(crate) fn move_to(&self, new: &Arc<Epoll>) -> io::Result<Vec<(Key, Registration)>> {
        let mut state = self.lock()?;
        let dead = state.registrations.move_to(new)?;
        self.len.store(state.registrations.len(), Ordering::Relaxed);
        Ok(dead)
    }
}
