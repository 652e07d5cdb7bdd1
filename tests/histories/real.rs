//! The library, driven by the same operations as the model, and looked at from outside.

use std::{
    mem,
    sync::{Arc, Mutex},
};

use alooper::{
    Handler, IdleHandler, Looper, Token, Turn,
    testing::{TestClock, TestLooper},
};

use crate::{
    history::{HANDLERS, History, Labels, Op, Passes, TOKENS, When, Which},
    seen::{Due, Event, Glance, Outcome, Pending, View},
    world::{Ticket, World, nanos},
};

/// A looper under test.
pub(crate) struct Real {
    /// `None` once it was dropped.
    looper: Option<TestLooper>,
    /// Follows the same clock and has nothing to do: when it waits, time passes and nothing runs.
    sleeper: TestLooper,
    world: Arc<World>,
}

impl Real {
    pub(crate) fn new(history: &History) -> Real {
        let clock = TestClock::new();
        let looper = clock.build(Looper::builder().budget(history.budget)).unwrap();
        let sleeper = clock.build(Looper::builder()).unwrap();
        looper.allow_leftovers();
        let world = Arc::new(World {
            handle: looper.handle(),
            is_afar: history.is_afar,
            looks: history.looks_each == 1,
            start: looper.now(),
            tokens: [(); TOKENS].map(|()| Token::new()),
            handlers: Mutex::default(),
            tickets: Mutex::default(),
            barriers: Mutex::default(),
            idlers: Mutex::default(),
            numbers: Mutex::default(),
            events: Arc::default(),
        });
        for _ in 0..HANDLERS {
            let handler = Handler::new(&looper, world.receiver(world.number()));
            world.handlers.lock().unwrap().push(handler);
        }
        Real { looper: Some(looper), sleeper, world }
    }

    fn looper(&self) -> &TestLooper {
        self.looper.as_ref().expect("it was not dropped yet")
    }

    pub(crate) fn take_events(&self) -> Vec<Event> {
        mem::take(&mut *self.world.events.lock().unwrap())
    }

    /// Does one step of a history.
    pub(crate) fn step(&self, op: &Op) -> Outcome {
        let looper = self.looper();
        match *op {
            Op::Poll { timeout } => outcome_of(looper.poll_once(nanos(timeout)).unwrap()),
            Op::PollAll { timeout } => outcome_of(looper.poll_all(nanos(timeout)).unwrap()),
            Op::Advance { by } => Outcome::Ran(looper.advance(nanos(by))),
            Op::Oversleep { by } => {
                assert!(self.sleeper.poll_once(nanos(by)).unwrap().timed_out);
                Outcome::Done
            }
            Op::RunOne => Outcome::Ran(usize::from(looper.run_one())),
            _ => self.world.apply(looper, op),
        }
    }

    pub(crate) fn drop_looper(&mut self) {
        self.looper = None;
    }

    pub(crate) fn glance(&self) -> Glance {
        self.world.glance()
    }

    /// L4: what a handler that outlived its looper answers.
    pub(crate) fn send_too_late(&self) -> (Outcome, Outcome) {
        let labels = Labels { what: 0, token: None, mark: 0 };
        let send = Op::Send { to: 0, labels, passes: Passes::AsTheHandler, when: When::Now, script: Arc::new([]) };
        let number = self.world.number();
        let payload = self.world.payload(number);
        let posted = self.world.handle.post(move |_| drop(payload));
        (self.world.send(&send), self.world.accept(number, posted, Ticket::Closure))
    }

    pub(crate) fn view(&self) -> View {
        let looper = self.looper();
        let world = &self.world;
        let handlers = world.handlers.lock().unwrap().clone();
        let has = |slot: usize| Which::questions().map(|which| world.has(&handlers[slot], which)).collect();
        let pending = looper.pending().into_iter().map(|pending| Pending {
            due: pending.due.map_or(Due::Front, |due| world.due(due)),
            what: pending.what,
            asynchronous: pending.asynchronous,
        });
        View {
            now: world.time(looper.now()),
            glance: world.glance(),
            has: std::array::from_fn(has),
            pending: pending.collect(),
            next_deadline: looper.next_deadline().map(|due| world.due(due)),
            is_idle: looper.is_idle(),
            are_pending: world.tickets.lock().unwrap().iter().map(Ticket::is_pending).collect(),
            are_added: world.idlers.lock().unwrap().iter().map(IdleHandler::is_added).collect(),
        }
    }
}

fn outcome_of(turn: Turn) -> Outcome {
    assert!(turn.fds == 0 && turn.idents.is_empty() && !turn.rebuilt, "{turn:?} without fds");
    let Turn { messages, idles, more, quit, timed_out, woken, .. } = turn;
    Outcome::Turn { messages, idles, more, quit, timed_out, woken }
}
