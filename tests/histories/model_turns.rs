//! The model's turns: idle handlers, the wait, the messages.

use std::mem;

use super::{Body, Entry, Idler, Model};
use crate::{
    history::Script,
    seen::{Due, Event, Outcome},
};

#[derive(Default)]
pub(super) struct Turn {
    pub(super) messages: usize,
    pub(super) fds: usize,
    pub(super) idents: Vec<(u32, u8)>,
    idles: usize,
    more: bool,
    pub(super) quit: bool,
    pub(super) woken: bool,
    rebuilt: bool,
}

impl Turn {
    fn names_something(&self) -> bool {
        self.messages > 0 || self.fds > 0 || !self.idents.is_empty() || self.quit || self.woken || self.rebuilt
    }
}

impl Model {
    /// T2, T7, T14, I1, I3: idle handlers if nothing is due, the wait, the messages, the fds, until there is something
    /// to report.
    pub(super) fn turn(&mut self, deadline: i64) -> Turn {
        let mut turn = Turn::default();
        self.turns += 1;
        self.fds.begin_turn();
        let mut must_rebuild = false;
        while !self.has_quit {
            self.run_idlers(&mut turn, deadline);
            let until = self.next_due().unwrap_or(Due::Never).min(Due::At(deadline));
            if !self.take_arrivals() && self.may_sleep_until(until) && !self.has_quit {
                self.sleep_until(until);
            }
            self.take_wake();
            self.waits.1 += 1;
            let taken = self.fds.wait();
            self.run_messages(self.budget, &mut turn);
            self.serve_fds(taken, &mut turn);
            let is_revived = self.fds.end_trials();
            let has_worked = self.is_woken || turn.names_something();
            must_rebuild = !has_worked && self.now < deadline && self.fds.must_rebuild();
            let is_over = has_worked || must_rebuild || (self.now >= deadline && !is_revived);
            if is_over {
                break;
            }
        }
        if self.has_quit {
            // A host is told nothing more.
            self.waits.1 += 1;
            self.take_wake();
            // Q5: it drains.
            self.run_messages(self.budget, &mut turn);
        }
        turn.more = self.is_due(self.next());
        turn.quit = self.has_quit && !turn.more;
        if turn.quit {
            self.give_up_tasks();
        }
        turn.woken = self.is_woken;
        let is_seen = matches!(self.seen_outcome, Some(Outcome::Turn { rebuilt: true, .. }));
        turn.rebuilt = must_rebuild || (is_seen && self.has_strays());
        self.end_turn_with(turn.rebuilt);
        turn
    }

    /// T4: what wakes the looper during a turn ends its next wait.
    fn take_wake(&mut self) {
        self.is_woken |= mem::take(&mut self.is_waking);
    }

    fn may_sleep_until(&self, until: Due) -> bool {
        let is_quiet = !self.fds.is_any_ready() && !self.fds.has_trials();
        until > Due::At(self.now) && !self.is_woken && !self.is_waking && is_quiet
    }

    /// T11: a wake ends it, too.
    pub(super) fn poll_all(&mut self, timeout: i64) -> Outcome {
        let deadline = self.now + timeout;
        let mut sum = self.turn(deadline);
        let mut has_worked = sum.names_something();
        while has_worked && !self.is_woken && !sum.quit && sum.idents.is_empty() && self.now < deadline {
            let next = self.turn(self.now);
            has_worked = next.names_something();
            sum.messages += next.messages;
            sum.fds += next.fds;
            sum.idles += next.idles;
            sum.idents.extend(next.idents);
            (sum.more, sum.quit) = (next.more, next.quit);
        }
        sum.woken = self.is_woken;
        self.outcome_of(sum)
    }

    /// T3, T4: a wake is reported once.
    pub(super) fn outcome_of(&mut self, turn: Turn) -> Outcome {
        self.is_woken = false;
        let timed_out = !turn.names_something();
        let Turn { messages, fds, idles, mut idents, more, quit, woken, rebuilt } = turn;
        idents.sort_unstable();
        Outcome::Turn { messages, fds, idles, idents, more, quit, timed_out, woken, rebuilt }
    }

    /// V1: from deadline to deadline.
    pub(super) fn advance(&mut self, by: i64) -> usize {
        let end = self.now + by;
        let mut count = self.rest();
        while let Some(due) = self.next_due().filter(|due| *due <= Due::At(end)) {
            self.sleep_until(due);
            count += self.rest();
        }
        self.sleep_until(Due::At(end));
        count + self.rest()
    }

    fn rest(&mut self) -> usize {
        let mut count = 0;
        loop {
            let turn = self.turn(self.now);
            self.is_woken = false;
            count += turn.messages;
            if turn.messages == 0 && turn.fds == 0 && turn.idles == 0 && !turn.more {
                return count;
            }
        }
    }

    pub(super) fn sleep_until(&mut self, due: Due) {
        if let Due::At(time) = due {
            self.now = self.now.max(time);
        }
    }

    /// T8: also what is posted meanwhile.
    pub(super) fn run_messages(&mut self, budget: usize, turn: &mut Turn) {
        while turn.messages < budget
            && let Some(index) = self.next().filter(|index| self.is_due(Some(*index)))
        {
            turn.messages += usize::from(self.run(index));
        }
    }

    /// B1, B2: the place of the next one that may run. Behind a barrier, that is the first asynchronous one.
    fn next(&self) -> Option<usize> {
        match self.list.first()?.body {
            Body::Barrier(_) => self.list.iter().position(|entry| entry.asynchronous),
            _ => Some(0),
        }
    }

    pub(super) fn next_due(&self) -> Option<Due> {
        self.next().map(|index| self.list[index].due)
    }

    fn is_due(&self, index: Option<usize>) -> bool {
        index.is_some_and(|index| self.list[index].due <= Due::At(self.now))
    }

    /// I1.
    pub(super) fn is_idle(&self) -> bool {
        self.list.first().is_none_or(|entry| entry.due > Due::At(self.now))
    }

    /// Runs what stands there; whether that was a message, and not what was cancelled before.
    fn run(&mut self, index: usize) -> bool {
        // M7: it is no longer pending.
        let Entry { due, asynchronous, body, .. } = self.list.remove(index);
        for idler in &mut self.idlers {
            idler.has_run = false;
        }
        // A1: a task that has ended meanwhile.
        if let Body::Poll(task) = body
            && self.has_ended(task)
        {
            self.report.removed += 1;
            return false;
        }
        self.report.run += 1;
        match body {
            Body::Barrier(_) => unreachable!("a barrier does not run"),
            Body::Closure { number, script } => {
                self.begin(number, None, &script);
                self.events.push(Event::Dropped(number));
            }
            Body::Tick(repeat) => self.tick(repeat, due, asynchronous),
            Body::Poll(task) => self.poll_task(task),
            Body::Root => self.let_block_be_polled(),
            Body::Alarm => self.resume_block(),
            Body::Rescue => self.rescue_block(),
            Body::Message { number, handler, script, .. } => {
                self.handlers[handler].is_running = true;
                self.begin(number, Some(self.handlers[handler].number), &script);
                self.handlers[handler].is_running = false;
                self.events.push(Event::Dropped(number));
                self.drop_abandoned();
            }
        }
        true
    }

    pub(super) fn begin(&mut self, number: u32, handler: Option<u32>, script: &Script) {
        self.events.push(Event::Ran { number, at: self.now, handler });
        self.follow(script);
    }

    /// M8: everything may be done from inside a callback.
    pub(super) fn follow(&mut self, script: &Script) {
        self.look();
        for op in script.iter() {
            self.operations += 1;
            let outcome = self.apply(op);
            self.events.push(Event::Did(outcome));
            self.look();
        }
    }

    fn look(&mut self) {
        if self.looks {
            self.events.push(Event::Saw(self.glance()));
        }
    }

    /// M13: runs a repeating closure; its next run is on the grid, and still to come.
    fn tick(&mut self, index: usize, due: Due, asynchronous: bool) {
        let number = self.repeats[index].number;
        self.repeats[index].is_running = true;
        let script = self.repeats[index].script.clone();
        self.begin(number, None, &script);
        let repeat = &mut self.repeats[index];
        repeat.is_running = false;
        repeat.left = repeat.left.map(|left| left - 1);
        repeat.is_over |= repeat.left == Some(0) || self.has_quit;
        let Due::At(mut next) = due else { unreachable!("a repeating closure has a time") };
        if repeat.is_over {
            self.events.push(Event::Dropped(number));
            return;
        }
        next += repeat.period;
        if repeat.period > 0 && next <= self.now {
            next += ((self.now - next) / repeat.period + 1) * repeat.period;
        }
        self.insert(Due::At(next.max(self.now)), true, asynchronous, Body::Tick(index));
    }

    /// What was made by handles arrives; whether there was any.
    fn take_arrivals(&mut self) -> bool {
        let idlers = self.idlers.iter_mut().map(|idler| &mut idler.is_arriving);
        let handlers = self.handlers.iter_mut().map(|handler| &mut handler.is_arriving);
        idlers.chain(handlers).filter_map(|is_arriving| mem::take(is_arriving).then_some(())).count() > 0
    }

    /// I1, I2, I3: rounds of idle handlers before the wait, until there is none that has to run.
    fn run_idlers(&mut self, turn: &mut Turn, deadline: i64) {
        let mut count = usize::MAX;
        while mem::replace(&mut count, turn.idles) != turn.idles {
            let until = self.next_due().unwrap_or(Due::Never).min(Due::At(deadline));
            self.run_round(turn, self.may_sleep_until(until));
        }
    }

    /// One round, each handler in its order; Q5: not after a quit.
    fn run_round(&mut self, turn: &mut Turn, sleeps: bool) {
        if !self.is_idle() {
            return;
        }
        for index in 0..self.idlers.len() {
            let (has_to, may) = self.has_to_run(index, sleeps);
            if !self.has_quit && (has_to || may) {
                self.is_vague = !has_to;
                self.run_idler(index);
                self.is_vague = false;
                turn.idles += 1;
            }
        }
    }

    /// Whether an idle handler has to run now, and whether it may and did. It has to before the looper sleeps, and in
    /// any turn but the one in which it was added, unless it still arrives. It may whenever the looper gets up for
    /// something of its own.
    fn has_to_run(&self, index: usize, sleeps: bool) -> (bool, bool) {
        let Idler { number, is_added, has_run, turn, is_arriving, .. } = self.idlers[index];
        if !is_added || has_run {
            return (false, false);
        }
        let has_to = !is_arriving && (sleeps || turn <= self.turns);
        let is_seen = || self.next_seen() == Some(&Event::Idled { number, at: self.now });
        (has_to, is_seen())
    }

    fn run_idler(&mut self, index: usize) {
        // After each round it looks whether it may sleep.
        self.waits.1 += 1;
        let idler = &mut self.idlers[index];
        (idler.has_run, idler.is_running) = (true, true);
        let (number, script) = (idler.number, idler.script.clone());
        self.events.push(Event::Idled { number, at: self.now });
        self.follow(&script);
        let idler = &mut self.idlers[index];
        idler.is_running = false;
        idler.left = idler.left.map(|left| left - 1);
        idler.is_added &= idler.left != Some(0);
        if !idler.is_added {
            self.events.push(Event::Dropped(number));
        }
    }
}

pub(super) fn without_drops(events: &[Event]) -> impl Iterator<Item = &Event> {
    events.iter().filter(|event| !matches!(event, Event::Dropped(_)))
}
