//! The model's `block_on`: a future that is polled between turns when it was woken.

use std::mem;

use alooper::task::TaskError;

use super::{Body, Model, back_from};
use crate::{
    history::{Awaits, By, Script},
    seen::{Due, Event, Outcome},
};

pub(super) struct Block {
    number: u32,
    awaits: Awaits,
    task: Option<usize>,
    time: i64,
    deadline: i64,
    /// What its first poll does.
    script: Script,
    /// It is polled before the next turn.
    is_due: bool,
    /// Likewise, or a message that lets it be polled is on its way.
    is_scheduled: bool,
    /// Its task wakes it.
    is_waiting: bool,
    has_alarm: bool,
}

impl Model {
    /// A4, A5: polls until the future ends or the looper quits.
    pub(super) fn block_on(&mut self, awaits: Awaits, time: i64, script: &Script) -> Outcome {
        let Some(task) = self.awaited(awaits) else { return Outcome::Nothing };
        let (number, script) = (self.number(), script.clone());
        let deadline = self.now + time;
        let flags = (true, true, false, false);
        let (is_due, is_scheduled, is_waiting, has_alarm) = flags;
        self.block =
            Some(Block { number, awaits, task, time, deadline, script, is_due, is_scheduled, is_waiting, has_alarm });
        if !self.has_quit {
            self.insert(Due::At(deadline), true, true, Body::Rescue);
        }
        let outcome = loop {
            if let Some(outcome) = self.poll_block() {
                break outcome;
            }
            let turn = self.turn(i64::MAX);
            let (quit, idents) = (turn.quit, turn.idents.clone());
            self.outcome_of(turn);
            if quit {
                break Outcome::GivenUp(TaskError::Quit);
            }
            self.fds.ignore(&idents);
        };
        self.withdraw(|body| matches!(body, Body::Alarm | Body::Rescue));
        self.events.push(Event::Dropped(number));
        self.block = None;
        outcome
    }

    /// T10: the future is dropped, and what it would have awaited can still be.
    pub(super) fn block_inside(&mut self, awaits: Awaits) -> Outcome {
        if self.awaited(awaits).is_none() {
            return Outcome::Nothing;
        }
        let number = self.number();
        self.events.push(Event::Dropped(number));
        Outcome::Nested
    }

    /// The task that is awaited, if it is one; `None` if there is none or nobody can await it any more.
    fn awaited(&self, awaits: Awaits) -> Option<Option<usize>> {
        match awaits {
            Awaits::Sleep(_) => Some(None),
            Awaits::Task { back } | Awaits::Timeout { back, .. } => {
                back_from(back, self.tasks.len()).filter(|task| !self.is_told(*task)).map(Some)
            }
        }
    }

    /// Polls the future if it was woken. A4: not after a quit.
    fn poll_block(&mut self) -> Option<Outcome> {
        let block = self.block.as_mut().filter(|block| block.is_due)?;
        block.is_due = false;
        if self.has_quit {
            return None;
        }
        block.is_scheduled = false;
        let (number, awaits, time) = (block.number, block.awaits, block.time);
        let script = mem::replace(&mut block.script, Script::from([]));
        let task = block.task;
        self.begin(number, None, &script);
        // What its tasks tell it now is left open.
        if self.has_quit {
            return None;
        }
        if let Some(ended) = task.and_then(|task| self.tell(task)) {
            return Some(Outcome::Ended(ended));
        }
        match awaits {
            Awaits::Sleep(by) => self.poll_alarm(by).then_some(Outcome::Slept),
            Awaits::Task { .. } => None,
            Awaits::Timeout { by, .. } => self.poll_alarm(by).then_some(Outcome::Elapsed(time)),
        }
        .or_else(|| {
            self.block.as_mut()?.is_waiting = true;
            None
        })
    }

    /// A3: a sleep is posted when it is first polled, also if its time has passed. Whether it is over.
    fn poll_alarm(&mut self, by: By) -> bool {
        let Some(block) = &mut self.block else { return false };
        if !mem::replace(&mut block.has_alarm, true) {
            let deadline = Due::At(block.deadline);
            self.insert(deadline, true, by == By::AsynchronousHandle, Body::Alarm);
            return false;
        }
        let is_over = self.now >= block.deadline;
        if is_over {
            self.withdraw(|body| matches!(body, Body::Alarm));
        }
        is_over
    }

    /// Cancels what is pending of these.
    fn withdraw(&mut self, is_meant: impl Fn(&Body) -> bool) {
        let before = self.list.len();
        self.list.retain(|entry| !is_meant(&entry.body));
        self.report.removed += (before - self.list.len()) as u64;
    }

    /// A1, A2: the future is woken by the end of the task that it awaits, with a message.
    pub(super) fn wake_block_on(&mut self, task: usize) {
        let Some(block) = &mut self.block else { return };
        if block.task != Some(task) || !block.is_waiting || block.is_scheduled || self.has_quit {
            return;
        }
        block.is_scheduled = true;
        self.insert(Due::At(self.now), false, false, Body::Root);
    }

    pub(super) fn let_block_be_polled(&mut self) {
        if let Some(block) = &mut self.block {
            block.is_due = true;
        }
    }

    /// A3: a sleep resumes it without a message of its own, unless there is one already.
    pub(super) fn resume_block(&mut self) {
        if let Some(block) = &mut self.block
            && !mem::replace(&mut block.is_scheduled, true)
        {
            block.is_due = true;
        }
    }

    /// The time of the block is over.
    pub(super) fn rescue_block(&mut self) {
        self.list.retain(|entry| !matches!(entry.body, Body::Barrier(_)));
        if let Some(Block { awaits: Awaits::Task { .. }, task: Some(task), .. }) = self.block {
            self.cancel_task(task);
        }
        if !self.has_quit {
            self.insert(Due::At(self.now + 1), true, true, Body::Rescue);
        }
    }
}
