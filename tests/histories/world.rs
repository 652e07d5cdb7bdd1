//! What belongs to a looper under test: its handlers, what was posted, and what its callbacks do.

use std::{
    io::ErrorKind,
    mem,
    ops::ControlFlow,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use alooper::{Barrier, Handler, IdleHandler, IdleNext, Looper, LooperHandle, Posted, Reason, Rejected, Token};

use crate::{
    history::{By, Op, Passes, Script, TOKENS, When, Which},
    model::back_from,
    seen::{Due, Event, Glance, Outcome},
};

/// So long a time that it stands for the front, or for never.
const AGE: Duration = Duration::from_secs(1800);

/// What belongs to the looper, for the test and for its callbacks. Nothing here is locked while the library is called.
pub(crate) struct World {
    pub(crate) handle: LooperHandle,
    /// Handles post from another thread.
    pub(crate) is_afar: bool,
    /// Callbacks look at everything.
    pub(crate) looks: bool,
    pub(crate) start: Instant,
    pub(crate) tokens: [Token; TOKENS],
    pub(crate) handlers: Mutex<Vec<Handler<Letter>>>,
    pub(crate) tickets: Mutex<Vec<Ticket>>,
    pub(crate) barriers: Mutex<Vec<Option<Barrier>>>,
    pub(crate) idlers: Mutex<Vec<IdleHandler>>,
    pub(crate) numbers: Mutex<u32>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
}

/// A value that notes when it is dropped.
pub(crate) struct Payload {
    number: u32,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Payload {
    /// A method, since a closure that reads the field would capture that alone.
    fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.events.lock().unwrap().push(Event::Dropped(self.number));
    }
}

/// What is sent to handlers.
pub(crate) struct Letter {
    payload: Payload,
    mark: u32,
    script: Script,
}

#[derive(Clone)]
pub(crate) enum Ticket {
    Closure(Posted),
    Letter(Posted<Letter>),
}

impl Ticket {
    pub(crate) fn is_pending(&self) -> bool {
        match self {
            Ticket::Closure(posted) => posted.is_pending(),
            Ticket::Letter(posted) => posted.is_pending(),
        }
    }

    fn cancel(&self) -> bool {
        match self {
            Ticket::Closure(posted) => posted.cancel(),
            Ticket::Letter(posted) => posted.cancel(),
        }
    }

    fn cancel_by_guard(self) {
        match self {
            Ticket::Closure(posted) => drop(posted.guard()),
            Ticket::Letter(posted) => drop(posted.guard()),
        }
    }
}

pub(crate) fn nanos(count: i64) -> Duration {
    Duration::from_nanos(count.try_into().expect("a delay is not negative"))
}

/// Posts a closure, by the looper or a handle.
macro_rules! post {
    ($to:expr, $when:expr, $closure:expr) => {{
        let to = $to;
        match $when {
            When::Now => to.post($closure),
            When::After(delay) => to.post_delayed(nanos(delay), $closure),
            When::Never => to.post_delayed(Duration::MAX, $closure),
            When::At(offset) => to.post_at(shifted(to.now(), offset), $closure),
            When::AtFront => to.post_at_front($closure),
        }
    }};
}

fn shifted(time: Instant, by: i64) -> Instant {
    if by < 0 { time - nanos(-by) } else { time + nanos(by) }
}

impl World {
    pub(crate) fn number(&self) -> u32 {
        let mut numbers = self.numbers.lock().unwrap();
        *numbers += 1;
        *numbers - 1
    }

    pub(crate) fn payload(&self, number: u32) -> Payload {
        Payload { number, events: self.events.clone() }
    }

    fn note(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    pub(crate) fn time(&self, instant: Instant) -> i64 {
        let since = instant.saturating_duration_since(self.start).as_nanos();
        let until = self.start.saturating_duration_since(instant).as_nanos();
        i64::try_from(since).unwrap() - i64::try_from(until).unwrap()
    }

    pub(crate) fn due(&self, instant: Instant) -> Due {
        if instant < self.start - AGE {
            Due::Front
        } else if instant > self.start + AGE {
            Due::Never
        } else {
            Due::At(self.time(instant))
        }
    }

    // What callbacks do.

    fn begin(self: &Arc<World>, looper: &Looper, number: u32, handler: Option<u32>, script: &Script) {
        self.note(Event::Ran { number, at: self.time(looper.now()), handler });
        self.follow(looper, script);
    }

    fn follow(self: &Arc<World>, looper: &Looper, script: &Script) {
        self.look();
        for op in script.iter() {
            let outcome = self.apply(looper, op);
            self.note(Event::Did(outcome));
            self.look();
        }
    }

    fn look(&self) {
        if self.looks {
            self.note(Event::Saw(self.glance()));
        }
    }

    pub(crate) fn receiver(self: &Arc<World>, number: u32) -> impl FnMut(&Looper, Letter) + Send + use<> {
        let (world, payload) = (self.clone(), self.payload(number));
        move |looper, letter: Letter| {
            world.begin(looper, letter.payload.number(), Some(payload.number()), &letter.script)
        }
    }

    fn once(self: &Arc<World>, number: u32, script: &Script) -> impl FnOnce(&Looper) + Send + use<> {
        let (world, payload, script) = (self.clone(), self.payload(number), script.clone());
        move |looper| world.begin(looper, payload.number(), None, &script)
    }

    fn repeat(
        self: &Arc<World>,
        number: u32,
        mut runs: Option<u8>,
        script: &Script,
    ) -> impl FnMut(&Looper) -> ControlFlow<()> + Send + use<> {
        let (world, payload, script) = (self.clone(), self.payload(number), script.clone());
        move |looper| {
            world.begin(looper, payload.number(), None, &script);
            runs = runs.map(|left| left - 1);
            if runs == Some(0) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }

    fn idler(
        self: &Arc<World>,
        number: u32,
        mut runs: Option<u8>,
        script: &Script,
    ) -> impl FnMut(&Looper) -> IdleNext + Send + use<> {
        let (world, payload, script) = (self.clone(), self.payload(number), script.clone());
        move |looper| {
            world.note(Event::Idled { number: payload.number(), at: world.time(looper.now()) });
            world.follow(looper, &script);
            runs = runs.map(|left| left - 1);
            if runs == Some(0) { IdleNext::Remove } else { IdleNext::Keep }
        }
    }

    // What may be done anywhere.

    pub(crate) fn apply(self: &Arc<World>, looper: &Looper, op: &Op) -> Outcome {
        match op {
            Op::Post { by, when, script } => {
                let number = self.number();
                let closure = self.once(number, script);
                let posted = match by {
                    By::Looper => post!(looper, *when, closure),
                    By::Handle => self.from(self.is_afar, || post!(&self.handle, *when, closure)),
                    By::AsynchronousHandle => {
                        self.from(self.is_afar, || post!(&self.handle.asynchronous(), *when, closure))
                    }
                };
                self.accept(number, posted, Ticket::Closure)
            }
            Op::Send { .. } => self.send(op),
            Op::Every { by, period, runs, script } => {
                let number = self.number();
                let closure = self.repeat(number, *runs, script);
                let posted = match by {
                    By::Looper => looper.post_every(nanos(*period), closure),
                    By::Handle => self.from(self.is_afar, || self.handle.post_every(nanos(*period), closure)),
                    By::AsynchronousHandle => {
                        self.from(self.is_afar, || self.handle.asynchronous().post_every(nanos(*period), closure))
                    }
                };
                self.accept(number, posted, Ticket::Closure)
            }
            Op::Cancel { back } => {
                self.ticket(*back).map_or(Outcome::Nothing, |ticket| Outcome::Cancelled(ticket.cancel()))
            }
            Op::CancelByGuard { back } => self.ticket(*back).map_or(Outcome::Nothing, |ticket| {
                ticket.cancel_by_guard();
                Outcome::Done
            }),
            Op::Remove { from, which } => self.remove(*from, *which),
            Op::Renew { slot, by } => self.renew(looper, *slot, *by),
            Op::Barrier => match self.handle.barrier() {
                Ok(barrier) => {
                    self.barriers.lock().unwrap().push(Some(barrier));
                    Outcome::Accepted
                }
                Err(Rejected { reason, .. }) => Outcome::Refused(reason),
            },
            Op::Lift { back } => {
                let mut barriers = self.barriers.lock().unwrap();
                let Some(index) = back_from(*back, barriers.len()) else { return Outcome::Nothing };
                let barrier = barriers[index].take();
                drop(barriers);
                drop(barrier);
                Outcome::Done
            }
            Op::AddIdle { by, runs, script } => {
                let number = self.number();
                let closure = self.idler(number, *runs, script);
                let added = match by {
                    By::Looper => looper.add_idle(closure),
                    By::Handle | By::AsynchronousHandle => self.handle.add_idle(closure),
                };
                match added {
                    Ok(idler) => {
                        self.idlers.lock().unwrap().push(idler);
                        Outcome::Accepted
                    }
                    Err(Rejected { value, reason }) => self.refuse(number, value, reason),
                }
            }
            Op::RemoveIdle { back } => {
                let idlers = self.idlers.lock().unwrap().clone();
                back_from(*back, idlers.len())
                    .map_or(Outcome::Nothing, |index| Outcome::Cancelled(idlers[index].remove()))
            }
            Op::Quit => {
                looper.quit();
                Outcome::Done
            }
            Op::QuitSafely => {
                self.handle.quit_safely();
                Outcome::Done
            }
            Op::Wake => {
                looper.wake().unwrap();
                Outcome::Done
            }
            Op::Poll { timeout } | Op::PollAll { timeout } => match looper.poll_once(nanos(*timeout)) {
                Err(error) if error.kind() == ErrorKind::Deadlock => Outcome::Nested,
                result => panic!("polled inside a callback: {result:?}"),
            },
            Op::Advance { .. } | Op::Oversleep { .. } | Op::RunOne => unreachable!("only between turns"),
        }
    }

    fn handler(&self, slot: usize) -> Handler<Letter> {
        self.handlers.lock().unwrap()[slot].clone()
    }

    fn ticket(&self, back: usize) -> Option<Ticket> {
        let tickets = self.tickets.lock().unwrap();
        back_from(back, tickets.len()).map(|index| tickets[index].clone())
    }

    /// Does something here, or on another thread.
    fn from<R: Send>(&self, is_afar: bool, act: impl FnOnce() -> R + Send) -> R {
        if !is_afar {
            return act();
        }
        thread::scope(|scope| scope.spawn(act).join()).unwrap()
    }

    pub(crate) fn send(self: &Arc<World>, op: &Op) -> Outcome {
        let Op::Send { to, labels, passes, when, script } = op else { unreachable!("it sends") };
        let number = self.number();
        let letter = Letter { payload: self.payload(number), mark: labels.mark, script: script.clone() };
        let mut handler = self.handler(*to);
        if *passes == Passes::ByView {
            handler = handler.asynchronous();
        }
        let send = || {
            if (labels.what, labels.token) == (0, None) && *passes != Passes::ByDraft {
                match *when {
                    When::Now => handler.send(letter),
                    When::After(delay) => handler.send_delayed(nanos(delay), letter),
                    When::Never => handler.send_delayed(Duration::MAX, letter),
                    When::At(offset) => handler.send_at(shifted(self.handle.now(), offset), letter),
                    When::AtFront => handler.send_at_front(letter),
                }
            } else {
                let mut draft = handler.message(letter).what(labels.what);
                if let Some(token) = labels.token {
                    draft = draft.token(self.tokens[token]);
                }
                if *passes == Passes::ByDraft {
                    draft = draft.asynchronous();
                }
                match *when {
                    When::Now => draft.send(),
                    When::After(delay) => draft.send_delayed(nanos(delay)),
                    When::Never => draft.send_delayed(Duration::MAX),
                    When::At(offset) => draft.send_at(shifted(self.handle.now(), offset)),
                    When::AtFront => draft.send_at_front(),
                }
            }
        };
        let sent = self.from(self.is_afar && labels.mark == 1, send);
        self.accept(number, sent, Ticket::Letter)
    }

    pub(crate) fn accept<M, T>(
        &self,
        number: u32,
        posted: Result<Posted<M>, Rejected<T>>,
        ticket: impl Fn(Posted<M>) -> Ticket,
    ) -> Outcome {
        match posted {
            Ok(posted) => {
                self.tickets.lock().unwrap().push(ticket(posted));
                Outcome::Accepted
            }
            Err(Rejected { value, reason }) => self.refuse(number, value, reason),
        }
    }

    /// The value has come back whole, unless it is said to be dropped before this.
    fn refuse<T>(&self, number: u32, value: T, reason: Reason) -> Outcome {
        self.note(Event::GivenBack(number));
        drop(value);
        Outcome::Refused(reason)
    }

    fn remove(&self, from: usize, which: Which) -> Outcome {
        let handler = self.handler(from);
        Outcome::Removed(match which {
            Which::All => handler.remove(),
            Which::What(what) => handler.remove_what(what),
            Which::Token(token) => handler.remove_token(self.tokens[token]),
            Which::WhatWithToken(what, token) => handler.remove_what_with_token(what, self.tokens[token]),
            Which::Marked(mark) => handler.remove_if(|letter| {
                self.note(Event::Asked(letter.payload.number()));
                letter.mark == mark
            }),
        })
    }

    pub(crate) fn has(&self, handler: &Handler<Letter>, which: Which) -> bool {
        match which {
            Which::All => !handler.is_empty(),
            Which::What(what) => handler.has_what(what),
            Which::Token(token) => handler.has_token(self.tokens[token]),
            Which::WhatWithToken(what, token) => handler.has_what_with_token(what, self.tokens[token]),
            Which::Marked(mark) => handler.has_if(|letter| letter.mark == mark),
        }
    }

    fn renew(self: &Arc<World>, looper: &Looper, slot: usize, by: By) -> Outcome {
        let number = self.number();
        let receiver = self.receiver(number);
        let made = match by {
            By::Looper => Ok(Handler::new(looper, receiver)),
            By::Handle => self.handle.handler(receiver),
            By::AsynchronousHandle => self.handle.asynchronous().handler(receiver),
        };
        match made {
            Ok(handler) => {
                let old = mem::replace(&mut self.handlers.lock().unwrap()[slot], handler);
                drop(old);
                Outcome::Accepted
            }
            Err(Rejected { value, reason }) => self.refuse(number, value, reason),
        }
    }

    pub(crate) fn glance(&self) -> Glance {
        let lens = std::array::from_fn(|slot| self.handler(slot).len());
        let latest = self.tickets.lock().unwrap().last().cloned();
        Glance {
            len: self.handle.len(),
            lens,
            report: self.handle.exit_report().into(),
            has_quit: self.handle.has_quit(),
            is_pending: latest.map(|ticket| ticket.is_pending()),
        }
    }
}
