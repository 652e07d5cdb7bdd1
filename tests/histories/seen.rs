//! What can be seen of a looper from outside: by this, library and model are compared.

use std::io::ErrorKind;

use alooper::{MessageCounts, RejectReason, Turn, task::TaskError};

use crate::history::HANDLERS;

/// When a message is due, in nanoseconds from the start of the history. In the order in which messages run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    Front,
    At(i64),
    Never,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It went nowhere: there is no such thing yet.
    Nothing,
    Accepted,
    Refused(RejectReason),
    Cancelled(bool),
    Rescheduled(bool),
    Removed(usize),
    Turn {
        messages: usize,
        fds: usize,
        idles: usize,
        /// With their events, in order of their numbers.
        idents: Vec<(u32, u8)>,
        more: bool,
        quit: bool,
        timed_out: bool,
        woken: bool,
        rebuilt: bool,
    },
    Nested,
    Ran(usize),
    Failed(ErrorKind),
    Slept,
    /// A task that was awaited: its value is its number.
    Ended(Result<u32, TaskError>),
    /// A timeout of so many nanoseconds.
    Elapsed(i64),
    /// `block_on` gave its future up.
    GivenUp(TaskError),
    /// Whether a source could be looked at.
    Lent(bool),
}

impl From<Turn> for Outcome {
    fn from(turn: Turn) -> Outcome {
        assert!(!turn.interrupted, "{turn:?} without signals");
        let mut idents: Vec<_> = turn.idents.iter().map(|ready| (ready.ident, ready.events.bits())).collect();
        idents.sort_unstable();
        let Turn { messages, fds, idles, more, quit, timed_out, woken, rebuilt, .. } = turn;
        Outcome::Turn { messages, fds, idles, idents, more, quit, timed_out, woken, rebuilt }
    }
}

/// What happens during a step, in its order. Numbers name what was posted, added or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Ran {
        number: u32,
        at: i64,
        /// The handler that ran it.
        handler: Option<u32>,
    },
    Idled {
        number: u32,
        at: i64,
    },
    /// An fd's callback is called for these events, by their bits.
    Called {
        number: u32,
        at: i64,
        events: u8,
    },
    /// A descriptor was given this number.
    Opened(i32),
    /// A predicate is asked about it.
    Asked(u32),
    GivenBack(u32),
    Dropped(u32),
    /// What a callback did came to this.
    Did(Outcome),
    /// What a callback saw.
    Saw(Glance),
}

/// The numbers of a looper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    pub(crate) len: usize,
    pub(crate) lens: [usize; HANDLERS],
    /// Of the bounded handler.
    pub(crate) bounded_len: usize,
    pub(crate) report: Report,
    pub(crate) has_quit: bool,
    /// Of the one posted last.
    pub(crate) is_pending: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) posted: u64,
    pub(crate) run: u64,
    pub(crate) removed: u64,
    pub(crate) dropped: u64,
}

impl From<MessageCounts> for Report {
    fn from(report: MessageCounts) -> Report {
        let MessageCounts { posted, run, removed, dropped, .. } = report;
        Report { posted, run, removed, dropped }
    }
}

/// All that can be asked of a looper and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) now: i64,
    pub(crate) glance: Glance,
    /// For each handler: each what, each token, each pair of both, and each rest of the predicate.
    pub(crate) has: [Vec<bool>; HANDLERS],
    /// In their order.
    pub(crate) pending: Vec<Pending>,
    pub(crate) next_deadline: Option<Due>,
    pub(crate) is_idle: bool,
    /// Of all that was ever posted.
    pub(crate) are_pending: Vec<bool>,
    /// Of all idle handlers.
    pub(crate) are_added: Vec<bool>,
    /// Of all tasks, before a quit.
    pub(crate) are_finished: Vec<bool>,
    /// Of all that was ever watched.
    pub(crate) are_watched: Vec<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) due: Due,
    /// `None` for a closure.
    pub(crate) what: Option<i32>,
    pub(crate) asynchronous: bool,
}
