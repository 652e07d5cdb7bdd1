//! All registrations of a looper, and what may be done about their events.
//!
//! Everything here happens under the lock of the [`table`](super::table).

use std::{
    io,
    panic::Location,
    sync::{Arc, Weak},
};

use nix::errno::Errno;

use crate::{
    error::{Misuse, RejectReason},
    fd::{
        numbers::Numbers,
        registration::{CHECK_EVERY, Registration, STUCK_AFTER, Trigger},
    },
    mem::slots::{Key, Slots},
    sys::{
        epoll::Epoll,
        interest::{Events, Interest},
    },
};

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
    /// Nothing: epoll should not know of it, since the registration has ended.
    Gone,
    /// Nothing: the looper has quit, or nobody asks for these events any more.
    Pass,
    /// Drop it: its fd was closed under it.
    Died(Registration),
}

/// A claimed event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    pub(crate) events: Events,
    pub(crate) ident: Option<u32>,
    /// How often other threads had set the interest when it was claimed.
    pub(crate) sets: u32,
    /// The table has to be told if the callback takes a byte.
    pub(crate) is_sampled: bool,
}

/// From when on fds are muted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// After how many events in a row with nothing but an error or a hang-up; zero for never.
    pub(crate) spin: u32,
    /// Whether those are muted, too, of which no byte is taken.
    pub(crate) mutes_stuck: bool,
}

/// What came of a trial: worth a word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// It reports nothing but hang-ups or errors, and is muted.
    HupOnly(Registration),
    /// It was called again and again without a byte being taken.
    Stuck(Registration),
    /// It is watched as before: its callback does take something.
    Cleared,
}

/// All registrations of a looper.
#[derive(Debug)]
pub(super) struct Registrations {
    /// Where the fd was added whose callback was claimed last: what runs, for others to ask.
    pub(super) claimed_last: Option<&'static Location<'static>>,
    /// The epoll set, which the poller keeps: it goes with the looper, also in a forked child, which does not come
    /// here.
    set: Weak<Epoll>,
    slots: Slots<Registration>,
    /// The registration of each fd number. There is one at most: a second one of the same number ends the first.
    by_fd: Numbers,
    /// Those whose trials end with the next wait.
    trials: Vec<Key>,
    /// Why nothing can be added and nobody is called any more.
    closed: Option<RejectReason>,
}

impl Registrations {
    pub(super) fn new(set: &Arc<Epoll>) -> Registrations {
        Registrations {
            claimed_last: None,
            set: Arc::downgrade(set),
            slots: Slots::default(),
            by_fd: Numbers::default(),
            trials: Vec::new(),
            closed: None,
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Registration> {
        self.slots.get(key)
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
    pub(super) fn close(&mut self, reason: RejectReason) {
        self.closed.get_or_insert(reason);
    }

    /// Ends all and lets go of the epoll set.
    pub(super) fn shut(&mut self) {
        self.closed = Some(RejectReason::Dropped);
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
            self.by_fd.remove(registration.fd);
        }
        Ok(dead)
    }

    fn set(&self) -> io::Result<Arc<Epoll>> {
        self.set.upgrade().ok_or_else(|| RejectReason::Dropped.into())
    }

    pub(super) fn add(&mut self, new: Registration, duplicate: Duplicate) -> io::Result<Added> {
        if let Some(reason) = self.closed {
            return Err(reason.into());
        }
        let old = self.by_fd.get(new.fd);
        let key = self.slots.insert(new);
        let entered = match (old, duplicate) {
            (Some(_), Duplicate::Refuse) => self.set().and_then(|set| set.add(new.fd, new.flags(), key.to_bits())),
            (Some(_), Duplicate::Replace) => self.take_over(&new, key),
            (None, _) => self.add_unregistered(&new, key),
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

    /// Tells epoll that an fd is watched by another registration from now on, unless it has died: then it is added.
    fn take_over(&self, new: &Registration, key: Key) -> io::Result<()> {
        match self.set()?.modify(new.fd, new.flags(), key.to_bits()) {
            Err(error) if has_died(&error) => self.add_unregistered(new, key),
            result => result,
        }
    }

    /// Tells epoll of an fd that nobody has registered. It may have it all the same: when the fd was to be taken out,
    /// the kernel may have refused, or another file had its number, while a duplicate kept this one in the set.
    fn add_unregistered(&self, new: &Registration, key: Key) -> io::Result<()> {
        let set = self.set()?;
        set.add(new.fd, new.flags(), key.to_bits()).or_else(|error| {
            let is_left_over = error.raw_os_error() == Some(Errno::EEXIST as i32)
                && set.modify(new.fd, new.flags(), key.to_bits()).is_ok();
            if is_left_over { Ok(()) } else { Err(error) }
        })
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Registration> {
        let removed = self.slots.remove(key)?;
        self.by_fd.remove(removed.fd);
        // That it was closed before is as good; if a duplicate keeps it in, stale keys will tell.
        if let Ok(set) = self.set() {
            let _ = set.delete(removed.fd);
        }
        Some(removed)
    }

    pub(super) fn interest(&self, key: Key) -> io::Result<Interest> {
        Ok(self.slots.get(key).ok_or(Misuse::RegistrationEnded)?.interest)
    }

    /// Does what a callback has answered, unless another thread has set the interest since the event was claimed. To
    /// name the interest that it has already is no change, and lifts no mute (F8).
    pub(super) fn answer(&mut self, key: Key, interest: Interest, sets: u32) -> io::Result<()> {
        let registration = self.slots.get(key).ok_or(Misuse::RegistrationEnded)?;
        if registration.interest == interest || registration.sets != sets {
            return Ok(());
        }
        self.watch_for(key, interest)
    }

    /// Sets what a registration is watched for; `is_remote` if another thread does. The kernel is told only of what it
    /// does not know: to set the interest that it has already looks at the fd anew where it is muted, or has told of a
    /// hang-up once.
    pub(super) fn set_interest(&mut self, key: Key, interest: Interest, is_remote: bool) -> io::Result<()> {
        let registration = self.slots.get_mut(key).ok_or(Misuse::RegistrationEnded)?;
        registration.sets = registration.sets.wrapping_add(u32::from(is_remote));
        let is_known = registration.interest == interest
            && registration.trigger == Trigger::Level
            && (!interest.is_empty() || registration.hup_only == 0);
        if is_known {
            registration.forget_counts();
            registration.is_told = false;
            return Ok(());
        }
        self.watch_for(key, interest)
    }

    /// Tells epoll what a registration is watched for, and looks at its fd anew. One that was muted no longer is.
    pub(super) fn watch_for(&mut self, key: Key, interest: Interest) -> io::Result<()> {
        let registration = *self.slots.get(key).ok_or(Misuse::RegistrationEnded)?;
        let mut changed = Registration { interest, trigger: Trigger::Level, is_told: false, ..registration };
        changed.forget_counts();
        self.set()?.modify(changed.fd, changed.flags(), key.to_bits())?;
        if let Some(registration) = self.slots.get_mut(key) {
            *registration = changed;
        }
        Ok(())
    }

    /// Looks at those anew whose events were taken from the kernel and not served. A level-triggered one need not be.
    pub(super) fn look_anew(&self, keys: impl Iterator<Item = Key>) {
        let edge_triggered = |key| self.slots.get(key).filter(|registration| registration.is_edge_triggered());
        for (key, registration) in keys.filter_map(|key| Some((key, edge_triggered(key)?))) {
            if let Ok(set) = self.set() {
                let _ = set.modify(registration.fd, registration.flags(), key.to_bits());
            }
        }
    }

    #[inline(never)]
    pub(super) fn claim(&mut self, reported: Reported, idents: bool, limits: Limits) -> Claim {
        let Reported { key, events, wait } = reported;
        if self.closed.is_some() {
            return Claim::Pass;
        }
        let Some(registration) = self.slots.get_mut(key) else {
            return Claim::Gone;
        };
        if registration.ident.is_some() != idents {
            return Claim::Ident;
        }
        // The interest may have changed since the wait.
        let events = events.asked_by(registration.interest);
        if events.is_empty() {
            return Claim::Pass;
        }
        registration.count(events, wait);
        registration.check_in -= 1;
        let is_checked = registration.check_in == 0;
        if is_checked {
            registration.check_in = CHECK_EVERY;
        }
        let is_guarded = registration.trigger != Trigger::Level || registration.is_suspect(limits.spin);
        let claimed = *registration;
        let has_died = (is_checked && self.has_died(key, &claimed))
            || (is_guarded && self.guard_against_spin(key, events, limits.spin).is_err_and(|error| has_died(&error)));
        if has_died {
            self.slots.remove(key);
            self.by_fd.remove(claimed.fd);
            return Claim::Died(claimed);
        }
        let Registration { ident, sets, .. } = claimed;
        self.claimed_last = Some(claimed.place);
        Claim::Serve(Served { events, ident, sets, is_sampled: claimed.is_sampled(events) })
    }

    /// Whether epoll has lost the fd of a registration: its fd was closed, though a duplicate still causes events.
    fn has_died(&self, key: Key, registration: &Registration) -> bool {
        let Ok(set) = self.set() else {
            return false;
        };
        let (fd, flags) = (registration.fd, registration.flags());
        if !registration.is_edge_triggered() {
            return set.modify(fd, flags, key.to_bits()).is_err_and(|error| has_died(&error));
        }
        // To modify it would report it once more. To add what is there is an error that changes nothing.
        match set.add(fd, flags, key.to_bits()) {
            Ok(()) => {
                let _ = set.delete(fd);
                true
            }
            Err(error) => has_died(&error),
        }
    }

    /// Sees what an event says of a registration that reports the same again and again, or has done so. Where the
    /// kernel refuses to report it in another way, the next event tries again.
    #[cold]
    fn guard_against_spin(&mut self, key: Key, events: Events, spin_limit: u32) -> io::Result<()> {
        let Some(registration) = self.slots.get_mut(key) else {
            return Ok(());
        };
        let is_suspect = registration.is_suspect(spin_limit);
        // With an empty interest, epoll reports changes alone.
        let is_level = registration.trigger == Trigger::Level && !registration.interest.is_empty();
        match registration.trigger {
            Trigger::Level if is_level && is_suspect => self.set_trigger(key, Trigger::Trial).map(drop),
            Trigger::Trial if is_suspect => {
                registration.trigger = Trigger::Awaited;
                self.trials.push(key);
                Ok(())
            }
            // A hang-up that has changed is still one.
            Trigger::Muted if events.is_hup_only() => Ok(()),
            Trigger::Level | Trigger::Ignored => Ok(()),
            Trigger::Trial | Trigger::Awaited | Trigger::Muted => {
                registration.forget_counts();
                self.set_trigger(key, Trigger::Level).map(drop)
            }
        }
    }

    /// Lets epoll report a registration in another way, or leaves it as it was.
    fn set_trigger(&mut self, key: Key, trigger: Trigger) -> io::Result<Registration> {
        let registration = *self.slots.get(key).ok_or(Misuse::RegistrationEnded)?;
        let changed = Registration { trigger, ..registration };
        self.set()?.modify(changed.fd, changed.flags(), key.to_bits())?;
        if let Some(registration) = self.slots.get_mut(key) {
            *registration = changed;
        }
        Ok(changed)
    }

    /// Notes that a callback has taken what it was called for, or may have.
    pub(super) fn note_progress(&mut self, key: Key) {
        if let Some(registration) = self.slots.get_mut(key) {
            registration.fruitless = 0;
        }
    }

    pub(super) fn has_trials(&self) -> bool {
        !self.trials.is_empty()
    }

    /// Ends the trials of those that the wait number `wait` has not reported: nothing about them has changed since the
    /// wait before, though they still are what they were.
    pub(super) fn end_trials(&mut self, wait: u32, limits: Limits) -> Vec<Verdict> {
        let (later, ended): (Vec<Key>, Vec<Key>) =
            self.trials.drain(..).partition(|key| self.slots.get(*key).is_some_and(|it| it.seen_in == wait));
        self.trials = later;
        ended.into_iter().filter_map(|key| self.end_trial(key, limits)).collect()
    }

    fn end_trial(&mut self, key: Key, limits: Limits) -> Option<Verdict> {
        let registration = self.slots.get_mut(key).filter(|registration| registration.trigger == Trigger::Awaited)?;
        let has_spun = limits.spin > 0 && registration.hup_only >= limits.spin;
        let is_stuck = !registration.is_told && registration.fruitless >= STUCK_AFTER;
        registration.is_told |= is_stuck;
        let told = *registration;
        registration.forget_counts();
        if has_spun || (is_stuck && limits.mutes_stuck) {
            registration.trigger = Trigger::Muted;
        } else {
            // Refused, it is reported as it was, and its next event tries again.
            _ = self.set_trigger(key, Trigger::Level);
        }
        match (has_spun, is_stuck) {
            (true, _) => Some(Verdict::HupOnly(told)),
            (false, true) => Some(Verdict::Stuck(told)),
            (false, false) => Some(Verdict::Cleared),
        }
    }

    /// Ignores the registrations without callback that `is_meant`, but for changes. Gives those that were not before.
    pub(super) fn ignore_idents(&mut self, is_meant: impl Fn(u32) -> bool) -> Vec<Registration> {
        let is_meant = |registration: &Registration| {
            registration.trigger != Trigger::Ignored && registration.ident.is_some_and(&is_meant)
        };
        let meant = self.slots.iter().filter(|(_, registration)| is_meant(registration));
        let keys: Vec<Key> = meant.map(|(key, _)| key).collect();
        keys.into_iter().filter_map(|key| self.set_trigger(key, Trigger::Ignored).ok()).collect()
    }

    /// Adds all that is watched to `new`, except what has died in the present set. Gives the dead.
    fn copy_to(&self, new: &Epoll) -> io::Result<Vec<(Key, Registration)>> {
        let mut dead = Vec::new();
        for (key, registration) in self.slots.iter() {
            if self.has_died(key, registration) {
                dead.push((key, *registration));
            } else {
                new.add(registration.fd, registration.flags(), key.to_bits())?;
            }
        }
        Ok(dead)
    }
}

/// Whether an error of `epoll_ctl` says that the fd is not the one that was added.
fn has_died(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EBADF | Errno::ENOENT | Errno::EPERM))
}
