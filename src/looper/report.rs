//! What a turn came to.

use std::io;

use crate::sys::interest::Events;

/// What happened in one [`poll_once`](crate::Looper::poll_once), or in all turns of one
/// [`poll_all`](crate::Looper::poll_all).
///
/// # Guarantees
/// It names everything that happened, each in a field of its own: nothing hides anything else.
///
/// # Android
/// The return value of `Looper::pollOnce`, which names one thing and loses the rest. [`Turn::code`] gives the code that
/// Android would return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// `wake()` was called since a turn last reported it; any number of calls count as one.
    pub woken: bool,
    /// How many messages ran.
    pub messages: usize,
    /// How many fd callbacks ran.
    pub fds: usize,
    /// How many idle handlers ran. That alone does not end a turn.
    pub idles: usize,
    /// The callback-less fds that were ready, in the kernel's order.
    pub idents: Vec<ReadyIdent>,
    /// The timeout passed and there was nothing else to report.
    pub timed_out: bool,
    /// More messages are due: the turn stopped at its budget, or an fd callback posted. The next turn does not sleep.
    pub more: bool,
    /// The looper has quit and everything it still had to run has run.
    pub quit: bool,
    /// A signal interrupted a wait. The wait went on to the same deadline: a turn never ends for this.
    pub interrupted: bool,
    /// The epoll set was made anew, because it held an fd that was closed under its registration while a duplicate
    /// kept it alive. Registrations, and the fd by which another loop hosts this looper, stay valid.
    pub rebuilt: bool,
}

impl Turn {
    /// Whether nothing happened and nothing more is due: when a host that watches the looper edge-triggered may stop
    /// polling.
    ///
    /// That the looper has quit does not count: it stays so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let has_worked = self.woken || self.messages > 0 || self.fds > 0 || !self.idents.is_empty() || self.rebuilt;
        !has_worked && !self.more
    }

    /// Whether something happened that the caller of `poll_once` waits for.
    pub(crate) fn names_something(&self) -> bool {
        self.woken || self.messages > 0 || self.fds > 0 || !self.idents.is_empty() || self.quit || self.rebuilt
    }

    /// Adds what happened in `next`, a later turn, to this report.
    pub(crate) fn add(&mut self, next: Turn) {
        self.woken |= next.woken;
        self.messages += next.messages;
        self.fds += next.fds;
        self.idles += next.idles;
        self.idents.extend(next.idents);
        self.timed_out = next.timed_out;
        self.more = next.more;
        self.quit |= next.quit;
        self.interrupted |= next.interrupted;
        self.rebuilt |= next.rebuilt;
    }

    /// Gives what Android's `pollOnce` would return for this turn, for ported code.
    ///
    /// An ident comes before [`PollCode::Callback`], that before [`PollCode::Wake`], that before [`PollCode::Timeout`].
    /// With several idents, Android returns them in calls of their own; here they all are in [`Turn::idents`].
    ///
    /// # Android
    /// `ALooper_pollOnce`. Its `ALOOPER_POLL_ERROR` is `poll_once`'s `Err`; see [`PollCode::of`].
    #[must_use]
    pub fn code(&self) -> PollCode {
        if let Some(ready) = self.idents.first() {
            PollCode::Ident(ready.ident)
        } else if self.messages > 0 || self.fds > 0 {
            PollCode::Callback
        } else if self.woken || self.interrupted || self.quit || self.rebuilt {
            PollCode::Wake
        } else {
            PollCode::Timeout
        }
    }
}

/// An fd without callback that was ready in a turn. See [`Looper::add_ident`](crate::Looper::add_ident).
///
/// # Android
/// The non-negative result of `ALooper_pollOnce`, with its `outEvents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadyIdent {
    /// The ident that the fd was added with.
    pub ident: u32,
    /// Its readiness.
    pub events: Events,
}

impl ReadyIdent {
    pub(crate) fn new(ident: u32, events: Events) -> ReadyIdent {
        ReadyIdent { ident, events }
    }
}

/// The result of a turn as one of Android's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollCode {
    /// `ALOOPER_POLL_WAKE`: woken by `wake()`, or interrupted by a signal, before the timeout.
    Wake,
    /// `ALOOPER_POLL_CALLBACK`: messages or fd callbacks ran.
    Callback,
    /// `ALOOPER_POLL_TIMEOUT`: the timeout passed.
    Timeout,
    /// `ALOOPER_POLL_ERROR`: polling failed.
    Error,
    /// An ident: a callback-less fd is ready.
    Ident(u32),
}

impl PollCode {
    /// The code for a result of `poll_once` or `poll_all`.
    #[must_use]
    pub fn of(result: &io::Result<Turn>) -> PollCode {
        result.as_ref().map_or(PollCode::Error, Turn::code)
    }

    /// The number that the NDK has for this code: -1 to -4, or the ident.
    #[must_use]
    pub fn as_number(self) -> i64 {
        match self {
            PollCode::Wake => -1,
            PollCode::Callback => -2,
            PollCode::Timeout => -3,
            PollCode::Error => -4,
            PollCode::Ident(ident) => i64::from(ident),
        }
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;

    fn ready() -> Vec<ReadyIdent> {
        vec![ReadyIdent::new(5, Events::INPUT)]
    }

    #[test]
    fn t3_codes_have_androids_precedence() {
        let all = Turn { woken: true, messages: 1, fds: 1, idents: ready(), ..Turn::default() };
        let callback = Turn { woken: true, fds: 1, interrupted: true, ..Turn::default() };
        let delayed = Turn { messages: 1, ..Turn::default() };
        let interrupted = Turn { interrupted: true, timed_out: true, ..Turn::default() };
        let quit = Turn { quit: true, ..Turn::default() };
        let timeout = Turn { timed_out: true, ..Turn::default() };

        assert_eq!(all.code(), PollCode::Ident(5));
        assert_eq!(callback.code(), PollCode::Callback);
        assert_eq!(delayed.code(), PollCode::Callback);
        assert_eq!(interrupted.code(), PollCode::Wake);
        assert_eq!(quit.code(), PollCode::Wake);
        assert_eq!(timeout.code(), PollCode::Timeout);
        assert_eq!(PollCode::of(&Err(io::Error::other("broken"))), PollCode::Error);
    }

    #[test]
    fn t3_codes_are_the_ndks_numbers() {
        let codes = [PollCode::Wake, PollCode::Callback, PollCode::Timeout, PollCode::Error, PollCode::Ident(5)];

        assert_eq!(codes.map(PollCode::as_number), [-1, -2, -3, -4, 5]);
    }

    #[test]
    fn t11_a_sum_keeps_everything_and_the_last_turns_end() {
        let mut sum = Turn { woken: true, messages: 2, more: true, ..Turn::default() };

        sum.add(Turn { fds: 1, idents: ready(), timed_out: true, ..Turn::default() });

        let expected = Turn { woken: true, messages: 2, fds: 1, idents: ready(), timed_out: true, ..Turn::default() };
        assert_eq!(sum, expected);

        let marks = || Turn { woken: true, quit: true, interrupted: true, rebuilt: true, ..Turn::default() };
        let mut sum = Turn::default();
        sum.add(marks());
        assert_eq!(sum, marks(), "a mark of a later turn is one of the sum");
        sum.add(Turn::default());
        assert_eq!(sum, marks(), "and stays one");
    }

    #[test]
    fn o1_a_turn_is_empty_unless_it_has_worked_or_there_is_more_to_do() {
        let nothing = [
            Turn::default(),
            Turn { timed_out: true, ..Turn::default() },
            Turn { interrupted: true, ..Turn::default() },
            Turn { quit: true, ..Turn::default() },
        ];
        let something = [
            Turn { woken: true, ..Turn::default() },
            Turn { messages: 1, ..Turn::default() },
            Turn { fds: 1, ..Turn::default() },
            Turn { idents: ready(), ..Turn::default() },
            Turn { rebuilt: true, ..Turn::default() },
            Turn { more: true, ..Turn::default() },
        ];

        assert!(nothing.iter().all(Turn::is_empty), "{nothing:?}");
        assert!(!something.iter().any(Turn::is_empty), "{something:?}");
    }
}
