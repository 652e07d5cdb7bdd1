//! What may be done to the model at any time, also from inside a callback.

use std::mem;

use alooper::RejectReason;

use super::{Body, Entry, Handler, Idler, Model, Repeat, Ticket, back_from};
use crate::{
    history::{By, Labels, Op, Passes, ROOM, Script, When, Which},
    seen::{Due, Event, Outcome},
};

impl Model {
    pub(super) fn apply(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Post { by, when, script } => {
                let number = self.number();
                let body = Body::Closure { number, script: script.clone() };
                self.post(number, *when, *by == By::AsynchronousHandle, body, Ticket::Once(number))
            }
            Op::Send { to, labels, passes, when, script } => {
                let number = self.number();
                let handler = self.slots[*to];
                let asynchronous = self.handlers[handler].asynchronous || *passes != Passes::AsTheHandler;
                let body = Body::Message { number, handler, labels: *labels, script: script.clone() };
                self.post(number, *when, asynchronous, body, Ticket::Once(number))
            }
            Op::SendBounded { asynchronous, waits, script } => self.send_bounded(*asynchronous, *waits, script),
            Op::ClearBounded => self.remove(self.bounded, Which::All),
            Op::Every { by, period, runs, script } => {
                let number = self.number();
                let index = self.repeats.len();
                self.repeats.push(Repeat {
                    number,
                    period: *period,
                    left: *runs,
                    script: script.clone(),
                    is_running: false,
                    is_over: false,
                });
                let asynchronous = *by == By::AsynchronousHandle;
                self.post(number, When::After(*period), asynchronous, Body::Tick(index), Ticket::Repeat(index))
            }
            Op::Cancel { back } => match back_from(*back, self.tickets.len()) {
                Some(ticket) => Outcome::Cancelled(self.cancel(ticket)),
                None => Outcome::Nothing,
            },
            Op::Reschedule { back, delay } => match back_from(*back, self.tickets.len()) {
                Some(ticket) => Outcome::Rescheduled(self.reschedule(ticket, Due::At(self.now + delay))),
                None => Outcome::Nothing,
            },
            Op::CancelByGuard { back } => match back_from(*back, self.tickets.len()) {
                Some(ticket) => {
                    self.cancel(ticket);
                    Outcome::Done
                }
                None => Outcome::Nothing,
            },
            Op::Remove { from, which } => self.remove(self.slots[*from], *which),
            Op::Renew { slot, by } => self.renew(*slot, *by),
            Op::Barrier => self.put_up_barrier(),
            Op::Lift { back } => match back_from(*back, self.barriers) {
                Some(barrier) => {
                    self.list.retain(|entry| !matches!(entry.body, Body::Barrier(index) if index == barrier));
                    Outcome::Done
                }
                None => Outcome::Nothing,
            },
            Op::AddIdle { by, runs, script } => {
                let number = self.number();
                if self.has_quit {
                    return self.refuse(number);
                }
                self.idlers.push(Idler {
                    number,
                    left: *runs,
                    script: script.clone(),
                    has_run: false,
                    is_running: false,
                    is_added: true,
                    turn: self.turns + 1 + u64::from(self.is_vague),
                    is_arriving: *by != By::Looper,
                });
                Outcome::Accepted
            }
            Op::RemoveIdle { back } => match back_from(*back, self.idlers.len()) {
                Some(index) => {
                    let idler = &mut self.idlers[index];
                    let was_added = mem::replace(&mut idler.is_added, false);
                    if was_added && idler.is_arriving {
                        self.given_up_late.insert(idler.number);
                    } else if was_added && !idler.is_running {
                        self.events.push(Event::Dropped(idler.number));
                    }
                    Outcome::Cancelled(was_added)
                }
                None => Outcome::Nothing,
            },
            Op::Quit => self.quit(|_| false),
            Op::QuitSafely => {
                let now = Due::At(self.now);
                self.quit(|due| due <= now)
            }
            Op::Wake => {
                self.is_waking = true;
                Outcome::Done
            }
            Op::Poll { .. } | Op::PollAll { .. } | Op::Block { .. } if self.callbacks == 0 => Outcome::Nothing,
            Op::Spawn { by, polls } => self.spawn(*by, polls),
            Op::WakeTask { back } => match back_from(*back, self.tasks.len()) {
                Some(task) => self.wake_task(task),
                None => Outcome::Nothing,
            },
            Op::CancelTask { back } => match back_from(*back, self.tasks.len()) {
                Some(task) => self.cancel_task(task),
                None => Outcome::Nothing,
            },
            // T10.
            Op::Poll { .. } | Op::PollAll { .. } => Outcome::Nested,
            Op::Block { awaits, .. } => self.block_inside(*awaits),
            Op::Call { script } => self.call_at_once(script),
            Op::Advance { .. } | Op::Oversleep { .. } | Op::RunOne => unreachable!("only between turns"),
            _ => self.apply_to_fds(op),
        }
    }

    /// S1.
    fn call_at_once(&mut self, script: &Script) -> Outcome {
        let number = self.number();
        if self.has_quit {
            return self.refuse(number);
        }
        self.begin(number, None, script);
        self.events.push(Event::Dropped(number));
        Outcome::Done
    }

    /// K2: a message that runs takes no room.
    fn send_bounded(&mut self, asynchronous: bool, waits: bool, script: &Script) -> Outcome {
        let (number, handler) = (self.number(), self.bounded);
        if !self.has_quit && self.messages_of(handler).count() == ROOM {
            self.give_back(number);
            return Outcome::Refused(if waits { RejectReason::OwnThread } else { RejectReason::Full });
        }
        let labels = Labels { what: None, token: None, mark: 0 };
        let body = Body::Message { number, handler, labels, script: script.clone() };
        self.post(number, When::Now, asynchronous, body, Ticket::Once(number))
    }

    pub(super) fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers - 1
    }

    /// Q2: the value comes back, and is dropped here.
    pub(super) fn refuse(&mut self, number: u32) -> Outcome {
        self.give_back(number);
        Outcome::Refused(RejectReason::Quit)
    }

    fn give_back(&mut self, number: u32) {
        self.events.extend([Event::GivenBack(number), Event::Dropped(number)]);
    }

    /// M1, M2, M3, M4.
    fn post(&mut self, number: u32, when: When, asynchronous: bool, body: Body, ticket: Ticket) -> Outcome {
        if self.has_quit {
            return self.refuse(number);
        }
        let due = match when {
            When::Now => Due::At(self.now),
            When::After(delay) => Due::At(self.now + delay),
            When::Never => Due::Never,
            When::At(offset) => Due::At(self.now + offset),
            When::AtFront => Due::Front,
        };
        self.tickets.push(ticket);
        let is_timed = !matches!(when, When::Now | When::AtFront);
        self.insert(due, is_timed, asynchronous, body);
        Outcome::Accepted
    }

    pub(super) fn insert(&mut self, due: Due, is_timed: bool, asynchronous: bool, body: Body) {
        if !matches!(body, Body::Barrier(_)) {
            self.report.posted += 1;
        }
        self.orders += 1;
        self.place(Entry { due, order: self.orders, is_timed, asynchronous, body });
    }

    fn place(&mut self, entry: Entry) {
        let later = |other: &Entry| entry.due == Due::Front || (other.due, other.order) > (entry.due, entry.order);
        let place = self.list.iter().position(later).unwrap_or(self.list.len());
        self.list.insert(place, entry);
    }

    /// K1: what has a due time gets another one, and keeps its posting order.
    fn reschedule(&mut self, ticket: usize, due: Due) -> bool {
        let number = self.number_of(&self.tickets[ticket]);
        let place = (0..self.list.len()).find(|index| self.number_at(*index) == Some(number));
        let Some(place) = place.filter(|place| self.list[*place].is_timed && !self.has_quit) else {
            return false;
        };
        let entry = self.list.remove(place);
        self.place(Entry { due, ..entry });
        true
    }

    /// B1, B3.
    fn put_up_barrier(&mut self) -> Outcome {
        if self.has_quit {
            return Outcome::Refused(RejectReason::Quit);
        }
        let body = Body::Barrier(self.barriers);
        self.barriers += 1;
        self.insert(Due::At(self.now), false, false, body);
        Outcome::Accepted
    }

    /// R1.
    fn cancel(&mut self, ticket: usize) -> bool {
        let was_pending = self.take(|_, entry| entry == ticket) == 1;
        let has_quit = self.has_quit;
        match self.tickets[ticket] {
            Ticket::Once(_) => was_pending,
            Ticket::Repeat(index) => {
                let repeat = &mut self.repeats[index];
                let was_over = mem::replace(&mut repeat.is_over, true);
                was_pending || (repeat.is_running && !was_over && !has_quit)
            }
        }
    }

    /// R2, R3.
    fn remove(&mut self, handler: usize, which: Which) -> Outcome {
        if let Which::Marked(_) = which {
            let asked = self.messages_of(handler).map(|(number, _)| Event::Asked(number)).collect::<Vec<_>>();
            self.events.extend(asked);
        }
        let matching: Vec<u32> =
            self.messages_of(handler).filter(|(_, labels)| which.matches(*labels)).map(|(number, _)| number).collect();
        Outcome::Removed(self.take(|number, _| matching.contains(&number)))
    }

    /// Removes what `is_meant`, by its number and ticket; gives how many they were. Their values are dropped at once.
    fn take(&mut self, is_meant: impl Fn(u32, usize) -> bool) -> usize {
        let mut count = 0;
        for index in (0..self.list.len()).rev() {
            let Some(number) = self.number_at(index) else { continue };
            let ticket = self.tickets.iter().position(|ticket| self.number_of(ticket) == number);
            if is_meant(number, ticket.expect("what is pending has a ticket")) {
                self.list.remove(index);
                self.events.push(Event::Dropped(number));
                count += 1;
            }
        }
        self.report.removed += count as u64;
        self.drop_abandoned();
        count
    }

    pub(super) fn number_at(&self, index: usize) -> Option<u32> {
        match self.list[index].body {
            Body::Barrier(_) | Body::Poll(_) | Body::Root | Body::Alarm | Body::Rescue => None,
            Body::Closure { number, .. } | Body::Message { number, .. } => Some(number),
            Body::Tick(repeat) => Some(self.repeats[repeat].number),
        }
    }

    pub(super) fn number_of(&self, ticket: &Ticket) -> u32 {
        match ticket {
            Ticket::Once(number) => *number,
            Ticket::Repeat(index) => self.repeats[*index].number,
        }
    }

    pub(super) fn messages_of(&self, of: usize) -> impl Iterator<Item = (u32, Labels)> {
        self.list.iter().filter_map(move |entry| match entry.body {
            Body::Message { number, handler, labels, .. } if handler == of => Some((number, labels)),
            _ => None,
        })
    }

    fn renew(&mut self, slot: usize, by: By) -> Outcome {
        if self.has_quit && by != By::Looper {
            let number = self.number();
            return self.refuse(number);
        }
        let old = self.slots[slot];
        self.slots[slot] = self.add_handler(by);
        self.handlers[old].has_front = false;
        self.drop_abandoned();
        Outcome::Accepted
    }

    pub(super) fn add_handler(&mut self, by: By) -> usize {
        let number = self.number();
        self.handlers.push(Handler {
            number,
            asynchronous: by == By::AsynchronousHandle,
            has_front: true,
            is_running: false,
            is_dropped: false,
            is_arriving: by != By::Looper,
        });
        self.handlers.len() - 1
    }

    /// H2: a handler ends after its last front and its last message.
    pub(super) fn drop_abandoned(&mut self) {
        for index in 0..self.handlers.len() {
            let Handler { number, has_front, is_running, is_dropped, is_arriving, .. } = self.handlers[index];
            if !has_front && !is_running && !is_dropped && self.messages_of(index).next().is_none() {
                self.handlers[index].is_dropped = true;
                if is_arriving {
                    self.given_up_late.insert(number);
                } else if self.given_up.is_empty() && !self.has_given_up_poll {
                    self.events.push(Event::Dropped(number));
                } else {
                    self.given_up.insert(number);
                }
            }
        }
    }

    /// Q1, Q3, Q4: the first call counts, barriers are lifted, and what is not to run is given up.
    fn quit(&mut self, may_run: impl Fn(Due) -> bool) -> Outcome {
        if mem::replace(&mut self.has_quit, true) {
            return Outcome::Done;
        }
        for index in (0..self.list.len()).rev() {
            let number = self.number_at(index);
            let Entry { due, body, .. } = &self.list[index];
            let is_barrier = matches!(body, Body::Barrier(_));
            if is_barrier || !may_run(*due) {
                self.has_given_up_poll |= !is_barrier && number.is_none();
                self.list.remove(index);
                self.report.dropped += u64::from(!is_barrier);
                self.given_up.extend(number);
            }
        }
        self.give_up_arriving_tasks();
        self.drop_abandoned();
        Outcome::Done
    }
}
