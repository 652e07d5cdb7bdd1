//! Histories from bytes: each byte decides one thing, and after the last one nothing more is decided.
//!
//! The first bytes say which kinds of operations are frequent in a history, so that rare states are come to.

use crate::{
    Kind,
    history::{
        Answer, Answers, Awaits, By, HANDLERS, History, How, Labels, MARKS, Op, Passes, Returns, Script, Swap, TOKENS,
        WHATS, When, Which,
    },
    kernel::CONDITIONS,
};

/// The longest history.
const STEPS: usize = 120;
/// How deep scripts do things that have scripts.
const DEPTH: u8 = 2;

/// How frequent each kind of operation is: posting, removing, barriers, idle handlers, calls and wakes, files, fds.
const FLAVOURS: [[u8; 7]; 8] = [
    [40, 16, 8, 8, 4, 16, 24],
    [30, 8, 4, 4, 4, 30, 60],
    [8, 0, 0, 0, 2, 30, 60],
    [60, 30, 0, 4, 4, 0, 0],
    [60, 10, 30, 10, 4, 0, 0],
    [40, 10, 4, 30, 10, 8, 10],
    [60, 0, 4, 0, 2, 10, 10],
    [20, 60, 10, 4, 4, 4, 8],
];

pub(crate) fn history(data: &[u8], kind: Kind) -> History {
    let mut bytes = Bytes { data, kind, flavour: FLAVOURS[0] };
    bytes.flavour = FLAVOURS[bytes.below(FLAVOURS.len())];
    let budget = [256, 1, 2, 3][bytes.below(4)];
    let spin_limit = [1000, 1, 2, 3][bytes.below(4)];
    let looks_each = [1, 3, 7, 1000][bytes.below(4)];
    let is_hosted = bytes.one_in(4);
    // A thread for each post takes long.
    let is_afar = bytes.byte() == 255;
    let mut steps = Vec::new();
    while !bytes.data.is_empty() && steps.len() < STEPS {
        steps.push(bytes.step());
    }
    History { budget, is_afar, looks_each, spin_limit, is_hosted, steps }
}

struct Bytes<'a> {
    data: &'a [u8],
    kind: Kind,
    flavour: [u8; 7],
}

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        match self.data.split_first() {
            Some((first, rest)) => {
                self.data = rest;
                *first
            }
            None => 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// The place of one of these weights.
    fn weighted(&mut self, weights: &[u8]) -> usize {
        let sum: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        let mut left = self.below(sum);
        let is_here = |weight: &u8| match left.checked_sub(usize::from(*weight)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        };
        weights.iter().position(is_here).unwrap_or(0)
    }

    fn step(&mut self) -> Op {
        match self.below(100) {
            0..65 => self.anywhere(DEPTH),
            65..80 => Op::Poll { timeout: self.time() },
            80..86 => Op::PollAll { timeout: self.time() },
            86..93 => Op::Oversleep { by: self.time() },
            93..95 if self.kind == Kind::Real => Op::Advance { by: self.short() },
            95..97 if self.kind == Kind::Real => Op::RunOne,
            97 => Op::Wake,
            _ => self.block(DEPTH),
        }
    }

    /// Briefly: something may be due all the time.
    fn block(&mut self, depth: u8) -> Op {
        let awaits = match self.below(5) {
            0 => Awaits::Sleep(self.by()),
            1..3 => Awaits::Task { back: self.back() },
            _ => Awaits::Timeout { by: self.by(), back: self.back() },
        };
        Op::Block { awaits, time: self.short(), script: self.script(depth) }
    }

    /// What may also be done from inside a callback.
    fn anywhere(&mut self, depth: u8) -> Op {
        let flavour = self.flavour;
        match self.weighted(&flavour) {
            0 => self.posting(depth),
            1 => self.removing(),
            2 if self.one_in(2) => Op::Lift { back: self.back() },
            2 => Op::Barrier,
            3 => self.idle(depth),
            4 => self.seldom(depth),
            5 => self.file(),
            _ => self.fd(depth),
        }
    }

    fn posting(&mut self, depth: u8) -> Op {
        match self.below(22) {
            0..6 => Op::Post { by: self.by(), when: self.when(), script: self.script(depth) },
            6..8 => Op::SendBounded { asynchronous: self.one_in(4), waits: self.one_in(8), script: self.script(depth) },
            8..14 => Op::Send {
                to: self.below(HANDLERS),
                labels: self.labels(),
                passes: self.one_of(&[Passes::AsTheHandler, Passes::AsTheHandler, Passes::ByDraft, Passes::ByView]),
                when: self.when(),
                script: self.script(depth),
            },
            14 => {
                let (by, period) = (self.by(), self.short());
                let runs = Some(1 + self.below(3) as u8);
                Op::Every { by, period, runs, script: self.script(depth) }
            }
            15..18 => {
                let by = self.by();
                let polls: Vec<Script> = (0..1 + self.below(3)).map(|_| self.script(depth)).collect();
                Op::Spawn { by, polls: polls.into() }
            }
            18..21 => Op::WakeTask { back: self.back() },
            // Without a script, and with a pause, it may go on for ever.
            _ => Op::Every { by: self.by(), period: self.time().max(1), runs: None, script: Script::from([]) },
        }
    }

    fn removing(&mut self) -> Op {
        match self.below(11) {
            0..3 => Op::Cancel { back: self.back() },
            3 => Op::CancelByGuard { back: self.back() },
            4 if self.one_in(2) => Op::ClearBounded,
            4..7 => Op::Remove { from: self.below(HANDLERS), which: self.which() },
            7 => Op::Renew { slot: self.below(HANDLERS), by: self.by() },
            8 => Op::CancelTask { back: self.back() },
            _ => Op::Reschedule { back: self.back(), delay: self.time() },
        }
    }

    fn idle(&mut self, depth: u8) -> Op {
        match self.below(4) {
            0 => Op::RemoveIdle { back: self.back() },
            // At which time that a looper gets up one runs that a handle has added is not said: so it does nothing
            // that shows it.
            1 => Op::AddIdle { by: self.by(), runs: None, script: Script::from([]) },
            _ => {
                let runs = Some(1 + self.below(2) as u8);
                Op::AddIdle { by: By::Looper, runs, script: self.script(depth) }
            }
        }
    }

    fn seldom(&mut self, depth: u8) -> Op {
        match self.below(16) {
            0 if self.one_in(2) => Op::Quit,
            0 | 1 if self.one_in(2) => Op::QuitSafely,
            2..6 => Op::Wake,
            // From inside a callback it is an error.
            6 if self.one_in(2) => self.block(0),
            6 => Op::Poll { timeout: 0 },
            _ => Op::Call { script: self.script(depth) },
        }
    }

    fn file(&mut self) -> Op {
        match self.below(16) {
            0..3 => Op::Open,
            3..5 => Op::Dup { back: self.back() },
            5..7 => Op::Close { back: self.back() },
            7 => Op::Hang { back: self.back() },
            _ => {
                let back = self.back();
                // In most cases for input alone.
                let events = if self.one_in(4) { self.byte() } else { 1 };
                let possible = if self.kind == Kind::Fake { 0b01_0111 } else { CONDITIONS };
                Op::Ready { back, events: events & possible }
            }
        }
    }

    fn fd(&mut self, depth: u8) -> Op {
        match self.below(16) {
            0..7 => self.watching(depth),
            7..9 => Op::SetInterest { by: self.by(), back: self.back(), interest: self.interest() },
            9..11 => Op::Repoll { by: self.by(), back: self.back() },
            11..14 => Op::Unwatch { by: self.by(), back: self.back() },
            _ => Op::Lend { back: self.back(), swap: self.swap(), script: self.script(depth) },
        }
    }

    fn watching(&mut self, depth: u8) -> Op {
        let how = match self.below(8) {
            0..4 => How::Adding,
            4..6 => How::Replacing,
            _ => How::Ident(self.below(4) as u32),
        };
        let (by, back, interest) = (self.by(), self.back(), self.interest());
        let answers: Vec<Answer> = match how {
            How::Ident(_) => vec![],
            _ => (0..1 + self.below(4)).map(|_| self.answer(depth)).collect(),
        };
        Op::Watch { by, back, how, interest, answers: Answers::from(answers) }
    }

    fn answer(&mut self, depth: u8) -> Answer {
        let how = self.byte();
        Answer {
            drains: how & 1 == 1,
            swap: if how & 14 == 14 { self.swap() } else { None },
            script: self.script(depth),
            next: match how >> 4 {
                0..9 => Returns::Keep,
                9..14 => Returns::Interest(self.interest()),
                _ => Returns::Remove,
            },
        }
    }

    fn swap(&mut self) -> Option<Swap> {
        match self.below(4) {
            0 => Some(Swap::Anew),
            1 => Some(Swap::Held(self.back())),
            _ => None,
        }
    }

    fn interest(&mut self) -> u8 {
        let interest = self.byte();
        if interest < 128 { 1 } else { interest & 15 }
    }

    fn script(&mut self, depth: u8) -> Script {
        if depth == 0 || !self.one_in(3) {
            return Script::from([]);
        }
        (0..1 + self.below(3)).map(|_| self.anywhere(depth - 1)).collect::<Vec<_>>().into()
    }

    /// A time that other times are likely to equal.
    fn short(&mut self) -> i64 {
        match self.below(16) {
            0..6 => 0,
            6..14 => 1 + self.below(5) as i64,
            _ => 6 + self.below(14) as i64,
        }
    }

    /// Mostly short, seldom up to a year.
    fn time(&mut self) -> i64 {
        if self.one_in(16) { (1 << self.below(56)) + self.below(3) as i64 - 1 } else { self.short() }
    }

    fn when(&mut self) -> When {
        match self.below(16) {
            0..4 => When::Now,
            4..9 => When::After(self.time()),
            9..13 => When::At(self.below(12) as i64 - 4),
            13..15 => When::AtFront,
            _ => When::Never,
        }
    }

    fn by(&mut self) -> By {
        self.one_of(&[By::Looper, By::Looper, By::Handle, By::AsynchronousHandle])
    }

    fn labels(&mut self) -> Labels {
        let labels = self.byte();
        Labels {
            what: (labels & 15 > 2).then_some(i32::from(labels & 15) % WHATS),
            token: [None, Some(0), Some(1), None][usize::from(labels >> 4 & 3)].filter(|token| *token < TOKENS),
            mark: u32::from(labels >> 6) % MARKS,
        }
    }

    fn which(&mut self) -> Which {
        match self.below(8) {
            0 => Which::All,
            1..3 => Which::What(self.below(WHATS as usize) as i32),
            3..5 => Which::Token(self.below(TOKENS)),
            5..7 => Which::WhatWithToken(self.below(WHATS as usize) as i32, self.below(TOKENS)),
            _ => Which::Marked(self.below(MARKS as usize) as u32),
        }
    }

    /// Mostly one of the latest.
    fn back(&mut self) -> usize {
        let back = self.below(24);
        if back < 16 { back % 4 } else { back }
    }
}
