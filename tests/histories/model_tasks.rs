//! The model's tasks.

use alooper::task::TaskError;

use super::{Body, Model};
use crate::{
    history::{By, Polls},
    seen::{Due, Event, Outcome},
};

pub(super) struct Task {
    number: u32,
    polls: Polls,
    /// How often it was polled.
    polled: usize,
    asynchronous: bool,
    /// It has come to the looper's thread.
    is_home: bool,
    /// A message that polls it is on its way.
    is_scheduled: bool,
    is_running: bool,
    has_ended: bool,
    is_cancelled: bool,
    /// Whoever awaited it was told how it has ended.
    is_told: bool,
    is_dropped: bool,
}

impl Model {
    /// A1: the message that polls it first is an ordinary one.
    pub(super) fn spawn(&mut self, by: By, polls: &Polls) -> Outcome {
        let number = self.number();
        if self.has_quit {
            return self.refuse(number);
        }
        self.tasks.push(Task {
            number,
            polls: polls.clone(),
            polled: 0,
            asynchronous: by == By::AsynchronousHandle,
            is_home: by == By::Looper,
            is_scheduled: false,
            is_running: false,
            has_ended: false,
            is_cancelled: false,
            is_told: false,
            is_dropped: false,
        });
        self.schedule(self.tasks.len() - 1);
        Outcome::Accepted
    }

    fn schedule(&mut self, task: usize) {
        let Task { asynchronous, is_scheduled, .. } = &mut self.tasks[task];
        *is_scheduled = true;
        let asynchronous = *asynchronous;
        self.insert(Due::At(self.now), false, asynchronous, Body::Poll(task));
    }

    /// A2: one that is on its way to a poll needs no further one.
    pub(super) fn wake_task(&mut self, task: usize) -> Outcome {
        let Task { polled, is_scheduled, has_ended, .. } = self.tasks[task];
        if polled == 0 {
            return Outcome::Nothing;
        }
        if !is_scheduled && !has_ended && !self.has_quit {
            self.schedule(task);
        }
        Outcome::Done
    }

    /// A4. What becomes of it after a quit is seen elsewhere.
    pub(super) fn cancel_task(&mut self, task: usize) -> Outcome {
        if self.has_quit {
            return Outcome::Nothing;
        }
        let Task { number, polled, is_running, has_ended, .. } = self.tasks[task];
        if has_ended {
            return Outcome::Cancelled(false);
        }
        (self.tasks[task].has_ended, self.tasks[task].is_cancelled) = (true, true);
        self.wake_block_on(task);
        if polled == 0 {
            self.list.retain(|entry| !matches!(entry.body, Body::Poll(other) if other == task));
            self.report.removed += 1;
        }
        if !is_running {
            self.tasks[task].is_dropped = true;
            self.events.push(Event::Dropped(number));
        }
        Outcome::Cancelled(true)
    }

    pub(super) fn has_ended(&self, task: usize) -> bool {
        self.tasks[task].has_ended
    }

    pub(super) fn poll_task(&mut self, index: usize) {
        let task = &mut self.tasks[index];
        (task.is_home, task.is_scheduled, task.is_running) = (true, false, true);
        let (number, script) = (task.number, task.polls[task.polled].clone());
        task.polled += 1;
        self.begin(number, None, &script);
        let task = &mut self.tasks[index];
        task.is_running = false;
        task.has_ended |= task.polled == task.polls.len();
        if task.has_ended {
            task.is_dropped = true;
            self.events.push(Event::Dropped(number));
            self.wake_block_on(index);
        }
    }

    /// Whether nobody can await it any more.
    pub(super) fn is_told(&self, task: usize) -> bool {
        self.tasks[task].is_told
    }

    /// How it has ended, for whoever awaits it.
    pub(super) fn tell(&mut self, task: usize) -> Option<Result<u32, TaskError>> {
        let Task { number, has_ended, is_cancelled, is_told, .. } = &mut self.tasks[task];
        *is_told = *has_ended;
        has_ended.then_some(if *is_cancelled { Err(TaskError::Cancelled) } else { Ok(*number) })
    }

    /// Those that a quit has met on their way are given up with their messages.
    pub(super) fn give_up_arriving_tasks(&mut self) {
        let pending = |task| self.list.iter().any(|entry| matches!(entry.body, Body::Poll(other) if other == task));
        let lost = (0..self.tasks.len()).filter(|task| !self.tasks[*task].is_home && !pending(*task));
        let lost: Vec<usize> = lost.filter(|task| !self.tasks[*task].is_dropped).collect();
        lost.into_iter().for_each(|task| self.give_up_task(task));
    }

    /// A4: a looper that has quit and has nothing more to run drops its tasks.
    pub(super) fn give_up_tasks(&mut self) {
        (0..self.tasks.len()).for_each(|task| self.give_up_task(task));
    }

    fn give_up_task(&mut self, task: usize) {
        let task = &mut self.tasks[task];
        if !task.is_dropped {
            (task.has_ended, task.is_dropped) = (true, true);
            self.given_up.insert(task.number);
        }
    }

    pub(super) fn are_finished(&self) -> Vec<bool> {
        let tasks = self.tasks.iter().filter(|_| !self.has_quit);
        tasks.map(|task| task.has_ended).collect()
    }
}
