//! The rules, followed literally and slowly: what is pending stands in a plain list, in the order in which it is to
//! run.
//!
//! Written from the rules alone, so that a fault of the library is not repeated here.

#[path = "model_blocks.rs"]
mod blocks;
#[path = "model_fds.rs"]
mod fds;
#[path = "model_ops.rs"]
mod ops;
#[path = "model_tasks.rs"]
mod tasks;
#[path = "model_turns.rs"]
mod turns;

use std::{collections::BTreeSet, mem};

use crate::{
    history::{By, HANDLERS, History, Labels, MARKS, Op, Script, TOKENS, WHATS, Which},
    seen::{Due, Event, Glance, Outcome, Pending, Report, View},
};
use blocks::Block;
use fds::Fds;
use tasks::Task;
use turns::{Turn, without_drops};

/// Something that stands in the list.
struct Entry {
    due: Due,
    /// Its posting order.
    order: u64,
    /// It was posted with a delay or a time.
    is_timed: bool,
    asynchronous: bool,
    body: Body,
}

enum Body {
    Barrier(usize),
    Closure {
        number: u32,
        script: Script,
    },
    Tick(usize),
    /// Of a task, by its place.
    Poll(usize),
    /// Of the future that blocks the thread.
    Root,
    /// The sleep of that future.
    Alarm,
    /// What lets it end.
    Rescue,
    Message {
        number: u32,
        handler: usize,
        labels: Labels,
        script: Script,
    },
}

/// A repeating closure.
struct Repeat {
    number: u32,
    period: i64,
    left: Option<u8>,
    script: Script,
    is_running: bool,
    is_over: bool,
}

struct Handler {
    number: u32,
    asynchronous: bool,
    has_front: bool,
    is_running: bool,
    is_dropped: bool,
    /// It was made by a handle, and no turn has taken it home since.
    is_arriving: bool,
}

struct Idler {
    number: u32,
    left: Option<u8>,
    script: Script,
    /// No message has run since it ran.
    has_run: bool,
    is_running: bool,
    is_added: bool,
    /// The turn from which on it has to run, by number.
    turn: u64,
    /// It was added by a handle, and no wait has taken it home since.
    is_arriving: bool,
}

/// What was posted, as the one who posted it holds it.
enum Ticket {
    Once(u32),
    Repeat(usize),
}

#[derive(Default)]
pub(crate) struct Model {
    budget: usize,
    /// Callbacks look at everything.
    looks: bool,
    now: i64,
    list: Vec<Entry>,
    repeats: Vec<Repeat>,
    handlers: Vec<Handler>,
    slots: [usize; HANDLERS],
    /// The bounded handler, which stays.
    bounded: usize,
    idlers: Vec<Idler>,
    tasks: Vec<Task>,
    /// The `block_on` that is under way.
    block: Option<Block>,
    tickets: Vec<Ticket>,
    orders: u64,
    barriers: usize,
    has_quit: bool,
    /// `wake()` was called, and no wait has ended by it since.
    is_waking: bool,
    is_woken: bool,
    turns: u64,
    /// How many there were before this step.
    turns_before: u64,
    /// An idle handler runs at the end of a turn, and could as well run in the next one.
    is_vague: bool,
    report: Report,
    numbers: u32,
    operations: u64,
    /// How often the looper had waited when that was last looked at, and how often it has to have waited since.
    waits: (u64, u64),
    /// How many callbacks are under way, one in the other: turns are counted as such.
    callbacks: u32,
    events: Vec<Event>,
    /// What the library did in this step, but for drops. Only asked where the rules leave a choice.
    seen: Vec<Event>,
    /// What it reports of this step. Only asked likewise.
    seen_outcome: Option<Outcome>,
    fds: Fds,
    /// What a quit gave up and no turn has dropped yet.
    given_up: BTreeSet<u32>,
    /// A quit gave up a message without a value, as the poll of a task, which is tidied away as others are.
    has_given_up_poll: bool,
    /// What ended before it arrived: the turn after this one drops it at the latest.
    given_up_late: BTreeSet<u32>,
}

impl Model {
    pub(crate) fn new(history: &History) -> Model {
        let mut model = Model { budget: history.budget, looks: history.looks_each == 1, ..Model::default() };
        model.fds.spin_limit = history.spin_limit;
        model.fds.is_afar = history.is_afar;
        model.slots = [0; HANDLERS].map(|_| model.add_handler(By::Looper));
        model.bounded = model.add_handler(By::Looper);
        model
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        mem::take(&mut self.events)
    }

    /// What is dropped in one of the next turns, and may be before.
    pub(crate) fn given_up(&self) -> impl Iterator<Item = u32> {
        self.given_up.union(&self.given_up_late).copied()
    }

    /// Whether turns were part of this step.
    pub(crate) fn has_turned(&self) -> bool {
        self.turns > self.turns_before
    }

    /// A turn has ended: gives what has to be dropped by now.
    pub(crate) fn end_turn(&mut self) -> BTreeSet<u32> {
        self.has_given_up_poll = false;
        mem::replace(&mut self.given_up, mem::take(&mut self.given_up_late))
    }

    /// How many things were numbered.
    pub(crate) fn numbers(&self) -> u32 {
        self.numbers
    }

    /// How many operations there were, those of callbacks included.
    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// Does one step of a history, in which the library did what was `seen`.
    pub(crate) fn step(&mut self, op: &Op, seen: &[Event], outcome: &Outcome) -> Outcome {
        self.seen = without_drops(seen).cloned().collect();
        self.seen_outcome = Some(outcome.clone());
        self.fds.may_swap = op.lets_swap();
        self.operations += 1;
        self.turns_before = self.turns;
        self.callbacks = u32::from(matches!(
            op,
            Op::Poll { .. } | Op::PollAll { .. } | Op::Advance { .. } | Op::RunOne | Op::Block { .. }
        ));
        match op {
            Op::Poll { timeout } => {
                let turn = self.turn(self.now + timeout);
                let outcome = self.outcome_of(turn);
                self.fds.is_rebuilt = false;
                outcome
            }
            Op::PollAll { timeout } => self.poll_all(*timeout),
            Op::Advance { by } => Outcome::Ran(self.advance(*by)),
            Op::Oversleep { by } => {
                self.now += by;
                Outcome::Done
            }
            Op::RunOne => match self.next_due() {
                Some(Due::Never) | None => Outcome::Ran(0),
                Some(due) => {
                    self.sleep_until(due);
                    let mut turn = Turn::default();
                    self.run_messages(1, &mut turn);
                    Outcome::Ran(turn.messages)
                }
            },
            Op::Block { awaits, time, script } => self.block_on(*awaits, *time, script),
            _ => self.apply(op),
        }
    }

    /// What takes the place of a step in this state. While the set has to be made anew, turns run one at a time: only
    /// then is it seen which of them did it.
    pub(crate) fn instead_of(&self, op: &Op) -> Op {
        match op {
            Op::PollAll { timeout } if self.fds.may_be_spoilt() => Op::Poll { timeout: *timeout },
            Op::Block { time, .. } if self.fds.may_be_spoilt() => Op::Poll { timeout: *time },
            Op::Advance { .. } if self.fds.may_be_spoilt() => Op::Poll { timeout: 0 },
            op => op.clone(),
        }
    }

    /// O1: whether the looper has to tell its host.
    pub(crate) fn wants_to_be_polled(&self) -> bool {
        !self.has_quit
            && (self.is_waking
                || self.next_due() <= Some(Due::At(self.now)) && self.next_due().is_some()
                || self.fds.is_any_ready())
    }

    /// T14, C39: whether the looper has waited more often than it has to: for each time that the model waits, it may get
    /// up once for something of its own.
    pub(crate) fn compare_waits(&mut self, waits: Option<u64>) -> Result<(), String> {
        let Some(waits) = waits else { return Ok(()) };
        let (before, expected) = mem::replace(&mut self.waits, (waits, 0));
        let count = waits - before;
        if count <= 2 * expected {
            return Ok(());
        }
        Err(format!("it has waited {count} times instead of {expected}"))
    }

    /// What the library did next.
    fn next_seen(&self) -> Option<&Event> {
        self.seen.get(without_drops(&self.events).count())
    }

    /// L4, Q4: dropping the looper gives up what is pending.
    pub(crate) fn drop_looper(&mut self) {
        self.report.dropped += self.len() as u64;
        self.list.clear();
        self.has_quit = true;
    }

    fn len(&self) -> usize {
        self.list.iter().filter(|entry| !matches!(entry.body, Body::Barrier(_))).count()
    }

    fn is_pending(&self, ticket: &Ticket) -> bool {
        (0..self.list.len()).any(|index| self.number_at(index) == Some(self.number_of(ticket)))
    }

    pub(crate) fn glance(&self) -> Glance {
        Glance {
            len: self.len(),
            lens: self.slots.map(|handler| self.messages_of(handler).count()),
            bounded_len: self.messages_of(self.bounded).count(),
            report: self.report,
            has_quit: self.has_quit,
            is_pending: self.tickets.last().map(|ticket| self.is_pending(ticket)),
        }
    }

    pub(crate) fn view(&self) -> View {
        let has = |handler| {
            Which::questions().map(|which| self.messages_of(handler).any(|(_, labels)| which.matches(labels))).collect()
        };
        let pending = self.list.iter().filter_map(|entry| {
            let what = match entry.body {
                Body::Barrier(_) => return None,
                Body::Message { labels, .. } => labels.what,
                _ => None,
            };
            Some(Pending { due: entry.due, what, asynchronous: entry.asynchronous })
        });
        View {
            now: self.now,
            glance: self.glance(),
            has: self.slots.map(has),
            pending: pending.collect(),
            next_deadline: self.next_due().filter(|due| *due != Due::Never),
            is_idle: self.is_idle(),
            are_pending: self.tickets.iter().map(|ticket| self.is_pending(ticket)).collect(),
            are_added: self.idlers.iter().map(|idler| idler.is_added).collect(),
            are_finished: self.are_finished(),
            are_watched: self.fds.registrations.iter().map(|registration| registration.is_registered).collect(),
        }
    }
}

/// The place of what is `back` from the latest of `count`.
pub(crate) fn back_from(back: usize, count: usize) -> Option<usize> {
    (count > 0).then(|| count - 1 - back % count)
}

impl Which {
    /// All that a handler can be asked.
    pub(crate) fn questions() -> impl Iterator<Item = Which> {
        let pairs = (0..WHATS).flat_map(|what| (0..TOKENS).map(move |token| Which::WhatWithToken(what, token)));
        (0..WHATS)
            .map(Which::What)
            .chain((0..TOKENS).map(Which::Token))
            .chain(pairs)
            .chain((0..MARKS).map(Which::Marked))
    }

    fn matches(self, labels: Labels) -> bool {
        match self {
            Which::All => true,
            Which::What(what) => labels.what == Some(what),
            Which::Token(token) => labels.token == Some(token),
            Which::WhatWithToken(what, token) => labels.what == Some(what) && labels.token == Some(token),
            Which::Marked(mark) => labels.mark == mark,
        }
    }
}
