//! One registration: what epoll is told of it, and whether its events tell anything.

use std::{os::fd::RawFd, panic::Location};

use nix::sys::epoll::EpollFlags;

use crate::sys::{
    epoll,
    interest::{Events, Interest},
};

/// After how many events of one registration the kernel is asked whether it still has it (F7). One `epoll_ctl` of 300
/// ns in so many is 5 ns an event.
pub(super) const CHECK_EVERY: u8 = 64;

/// How many calls in a row that take no byte are worth a word (F13).
pub(crate) const STUCK_AFTER: u32 = 1000;
/// In how many of the last ones that is looked at: two `ioctl`s for each.
const SAMPLES: u32 = 16;

/// When epoll reports an fd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// In each wait for as long as it is ready.
    Level,
    /// When something about it changes (`EPOLLET`), to find out whether anything does. Its next event may be left over
    /// from before.
    Trial,
    /// On trial, and the event that was left over has come. If the next wait reports another one, the fd has changed,
    /// and the trial ends.
    Awaited,
    /// When something about it changes: it was found to report the same again and again (F8, F13).
    Muted,
    /// Likewise: an ident that `run` ignores (F9).
    Ignored,
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
    pub(super) trigger: Trigger,
    /// Events in a row with nothing but an error or a hang-up, each in the wait after that of the one before.
    pub(crate) hup_only: u32,
    /// Likewise, events of which no byte was taken, as far as that was looked at.
    pub(crate) fruitless: u32,
    /// It was told that it is stuck.
    pub(super) is_told: bool,
    /// The wait of the last event.
    pub(super) seen_in: u32,
    /// Events until the kernel is asked again.
    pub(super) check_in: u8,
    /// How often other threads have set the interest.
    pub(super) sets: u32,
}

impl Registration {
    pub(crate) fn new(
        fd: RawFd,
        interest: Interest,
        ident: Option<u32>,
        place: &'static Location<'static>,
    ) -> Registration {
        Registration {
            fd,
            interest,
            ident,
            place,
            trigger: Trigger::Level,
            hup_only: 0,
            fruitless: 0,
            is_told: false,
            seen_in: 0,
            check_in: CHECK_EVERY,
            sets: 0,
        }
    }

    /// Whether it is reported only when something about it changes, since it has reported the same for too long.
    pub(crate) fn is_muted(&self) -> bool {
        matches!(self.trigger, Trigger::Muted | Trigger::Ignored)
    }

    /// What epoll is told. An empty interest is for hang-ups and errors alone, which stay: each is reported once (F8).
    pub(super) fn flags(&self) -> EpollFlags {
        let is_level = self.trigger == Trigger::Level && !self.interest.is_empty();
        let edge = if is_level { EpollFlags::empty() } else { EpollFlags::EPOLLET };
        epoll::flags_of(self.interest) | edge
    }

    /// Whether an event that nobody has served is gone for good.
    pub(super) fn is_edge_triggered(&self) -> bool {
        self.flags().contains(EpollFlags::EPOLLET)
    }

    /// Counts an event that is served in `wait`.
    pub(super) fn count(&mut self, events: Events, wait: u32) {
        let is_in_a_row = self.seen_in.wrapping_add(1) == wait;
        let count = |before: u32, counts| match (counts, is_in_a_row) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => before.saturating_add(1),
        };
        self.hup_only = count(self.hup_only, events.is_hup_only());
        self.fruitless = count(self.fruitless, events.may_be_fruitless());
        self.seen_in = wait;
    }

    /// Whether its events have told nothing for so long that the next one may be the last.
    pub(super) fn is_suspect(&self, spin_limit: u32) -> bool {
        let has_spun = spin_limit > 0 && self.hup_only.saturating_add(1) >= spin_limit;
        has_spun || (!self.is_told && self.fruitless.saturating_add(1) >= STUCK_AFTER)
    }

    /// Whether it is to be looked at whether the callback takes a byte.
    pub(super) fn is_sampled(&self, events: Events) -> bool {
        !self.is_told && !events.is_hup_only() && self.fruitless.saturating_add(SAMPLES) > STUCK_AFTER
    }

    /// Begins to count anew.
    pub(super) fn forget_counts(&mut self) {
        (self.hup_only, self.fruitless) = (0, 0);
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;

    /// With a limit of zero, and years of hang-ups.
    #[test]
    fn f8_more_hangups_than_can_be_counted_are_as_many_as_can_be() {
        let mut registration = Registration::new(0, Interest::INPUT, None, Location::caller());
        (registration.hup_only, registration.fruitless, registration.seen_in) = (u32::MAX, u32::MAX, 7);
        registration.is_told = true;

        registration.count(Events::HANGUP, 8);

        assert_eq!((registration.hup_only, registration.fruitless), (u32::MAX, u32::MAX));
        assert!(registration.is_suspect(u32::MAX) && !registration.is_suspect(0), "zero stands for never");
    }

    #[test]
    fn f8_only_events_in_one_wait_after_the_other_are_in_a_row() {
        let mut registration = Registration::new(0, Interest::INPUT, None, Location::caller());

        let counts =
            [(1, Events::HANGUP), (2, Events::ERROR), (4, Events::HANGUP), (5, Events::INPUT)].map(|(wait, events)| {
                registration.count(events, wait);
                (registration.hup_only, registration.fruitless)
            });

        assert_eq!(counts, [(1, 1), (2, 2), (1, 1), (0, 2)]);
    }
}
