//! What belongs to a looper under test: its handlers, what was posted, and what its callbacks do.

#[path = "world_blocks.rs"]
mod blocks;
#[path = "world_fds.rs"]
mod fds;
#[path = "world_tasks.rs"]
mod tasks;

use std::{
    io::ErrorKind,
    mem,
    ops::ControlFlow,
    os::fd::AsFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use alooper::{
    Barrier, BoundedHandler, CallError, Handler, IdleHandler, Looper, LooperHandle, Posted, Rejected, Token,
};

use fds::Fds;
use tasks::Spawned;

use crate::{
    history::{By, HANDLERS, History, Labels, Op, Passes, ROOM, Script, TOKENS, When, Which},
    kernel::Kernel,
    model::back_from,
    seen::{Due, Event, Glance, Outcome, Pending, View},
};

/// So long a time that it stands for the front, or for never: two hundred years.
const AGE: Duration = Duration::from_secs(200 * 365 * 24 * 3600);

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
    bounded: Mutex<Option<BoundedHandler<Letter>>>,
    pub(crate) tickets: Mutex<Vec<Ticket>>,
    pub(crate) barriers: Mutex<Vec<Option<Barrier>>>,
    pub(crate) idlers: Mutex<Vec<IdleHandler>>,
    tasks: Mutex<Vec<Spawned>>,
    /// What lets a `block_on` end that is under way.
    rescue: Mutex<Option<Posted>>,
    pub(crate) numbers: Mutex<u32>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    pub(crate) fds: Fds,
    /// How many callbacks are under way, one in the other.
    callbacks: AtomicUsize,
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

    fn reschedule(&self, delay: Duration) -> bool {
        match self {
            Ticket::Closure(posted) => posted.reschedule(delay),
            Ticket::Letter(posted) => posted.reschedule(delay),
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
    pub(crate) fn new(looper: &Looper, history: &History, kernel: Kernel) -> Arc<World> {
        if history.is_hosted {
            let _ = looper.as_fd();
        }
        let world = Arc::new(World {
            handle: looper.handle(),
            is_afar: history.is_afar,
            looks: history.looks_each == 1,
            start: looper.now(),
            tokens: [(); TOKENS].map(|()| Token::new()),
            handlers: Mutex::default(),
            bounded: Mutex::default(),
            tickets: Mutex::default(),
            barriers: Mutex::default(),
            idlers: Mutex::default(),
            tasks: Mutex::default(),
            rescue: Mutex::default(),
            numbers: Mutex::default(),
            events: Arc::default(),
            fds: Fds::new(kernel),
            callbacks: AtomicUsize::new(0),
        });
        for _ in 0..HANDLERS {
            let handler = Handler::new(looper, world.receiver(world.number()));
            world.handlers.lock().unwrap().push(handler);
        }
        let bounded = looper.bounded_handler(ROOM, world.receiver(world.number()));
        *world.bounded.lock().unwrap() = bounded.ok();
        world
    }

    pub(crate) fn take_events(&self) -> Vec<Event> {
        mem::take(&mut *self.events.lock().unwrap())
    }

    /// Does one step of a history that any looper can do.
    pub(crate) fn step(self: &Arc<World>, looper: &Looper, op: &Op) -> Outcome {
        self.fds.let_swap(op.lets_swap());
        match *op {
            Op::Poll { timeout } => self.inside(|| looper.poll_once(nanos(timeout))).unwrap().into(),
            Op::PollAll { timeout } => self.inside(|| looper.poll_all(nanos(timeout))).unwrap().into(),
            Op::Block { awaits, time, ref script } => self.block_on(looper, awaits, time, script),
            _ => self.apply(looper, op),
        }
    }

    /// L4: what a handler that outlived its looper answers.
    pub(crate) fn send_too_late(self: &Arc<World>) -> (Outcome, Outcome) {
        let labels = Labels { what: None, token: None, mark: 0 };
        let script = Script::from([]);
        let send = Op::Send { to: 0, labels, passes: Passes::AsTheHandler, when: When::Now, script };
        let payload = self.payload(self.number());
        let number = payload.number();
        let posted = self.handle.post(move |_| drop(payload));
        (self.send(&send), self.accept(number, posted, Ticket::Closure))
    }

    /// All that can be asked, given what only the test can see.
    pub(crate) fn view(&self, looper: &Looper, pending: Vec<alooper::Pending>, next: Option<Instant>) -> View {
        let handlers = self.handlers.lock().unwrap().clone();
        let has = |slot: usize| Which::questions().map(|which| self.has(&handlers[slot], which)).collect();
        let pending = pending.into_iter().map(|pending| Pending {
            due: pending.due.map_or(Due::Front, |due| self.due(due)),
            what: pending.what,
            asynchronous: pending.asynchronous,
        });
        View {
            now: self.time(looper.now()),
            glance: self.glance(),
            has: std::array::from_fn(has),
            pending: pending.collect(),
            next_deadline: next.map(|due| self.due(due)),
            is_idle: looper.is_idle(),
            are_pending: self.tickets.lock().unwrap().iter().map(Ticket::is_pending).collect(),
            are_added: self.idlers.lock().unwrap().iter().map(IdleHandler::is_added).collect(),
            are_finished: self.are_finished(),
            are_watched: self.fds.are_watched(),
        }
    }

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

    /// Does something as part of a callback, in which polling is an error.
    pub(crate) fn inside<R>(&self, act: impl FnOnce() -> R) -> R {
        self.callbacks.fetch_add(1, Ordering::Relaxed);
        let result = act();
        self.callbacks.fetch_sub(1, Ordering::Relaxed);
        result
    }

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
    ) -> impl FnMut(&Looper) -> ControlFlow<()> + Send + use<> {
        let (world, payload, script) = (self.clone(), self.payload(number), script.clone());
        move |looper| {
            world.note(Event::Idled { number: payload.number(), at: world.time(looper.now()) });
            world.follow(looper, &script);
            runs = runs.map(|left| left - 1);
            if runs == Some(0) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
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
            Op::SendBounded { asynchronous, waits, script } => self.send_bounded(*asynchronous, *waits, script),
            Op::ClearBounded => Outcome::Removed(self.bounded().clear()),
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
            Op::Reschedule { back, delay } => self.ticket(*back).map_or(Outcome::Nothing, |ticket| {
                Outcome::Rescheduled(self.from(self.is_afar, || ticket.reschedule(nanos(*delay))))
            }),
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
                Err(refused) => Outcome::Refused(refused.reason()),
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
                    Err(refused) => self.refuse(number, refused),
                }
            }
            Op::RemoveIdle { back } => {
                let idlers = self.idlers.lock().unwrap().clone();
                back_from(*back, idlers.len())
                    .map_or(Outcome::Nothing, |index| Outcome::Cancelled(idlers[index].remove()))
            }
            Op::Spawn { by, polls } => self.spawn(looper, *by, polls),
            Op::WakeTask { back } => self.wake_task(*back),
            Op::CancelTask { back } => self.cancel_task(*back),
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
            // Allowed in a call outside of turns: that would be a step within a step.
            Op::Poll { .. } | Op::PollAll { .. } | Op::Block { .. } if self.callbacks.load(Ordering::Relaxed) == 0 => {
                Outcome::Nothing
            }
            Op::Block { awaits, time, script } => self.block_inside(looper, *awaits, *time, script),
            Op::Poll { timeout } | Op::PollAll { timeout } => match looper.poll_once(nanos(*timeout)) {
                Err(error) if error.kind() == ErrorKind::Deadlock => Outcome::Nested,
                result => panic!("polled inside a callback: {result:?}"),
            },
            Op::Call { script } => {
                let number = self.number();
                match self.handle.call(self.once(number, script)) {
                    Ok(()) => Outcome::Done,
                    Err(CallError::Rejected(refused)) => self.refuse(number, refused),
                    Err(error) => panic!("a call on the looper's own thread: {error}"),
                }
            }
            Op::Advance { .. } | Op::Oversleep { .. } | Op::RunOne => unreachable!("only between turns"),
            _ => self.apply_to_fds(looper, op),
        }
    }

    fn handler(&self, slot: usize) -> Handler<Letter> {
        self.handlers.lock().unwrap()[slot].clone()
    }

    fn bounded(&self) -> BoundedHandler<Letter> {
        self.bounded.lock().unwrap().clone().expect("it has room")
    }

    fn send_bounded(self: &Arc<World>, asynchronous: bool, waits: bool, script: &Script) -> Outcome {
        let number = self.number();
        let letter = Letter { payload: self.payload(number), mark: 0, script: script.clone() };
        let mut handler = self.bounded();
        if asynchronous {
            handler = handler.asynchronous();
        }
        // Elsewhere, it would wait for ever.
        if waits {
            return self.accept(number, handler.send(letter), Ticket::Letter);
        }
        self.from(self.is_afar, || self.accept(number, handler.try_send(letter), Ticket::Letter))
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
            if (labels.what, labels.token) == (None, None) && *passes != Passes::ByDraft {
                match *when {
                    When::Now => handler.send(letter),
                    When::After(delay) => handler.send_delayed(nanos(delay), letter),
                    When::Never => handler.send_delayed(Duration::MAX, letter),
                    When::At(offset) => handler.send_at(shifted(self.handle.now(), offset), letter),
                    When::AtFront => handler.send_at_front(letter),
                }
            } else {
                let mut draft = handler.message(letter);
                if let Some(what) = labels.what {
                    draft = draft.what(what);
                }
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
        // What is refused stays on the thread where it was (E1).
        self.from(self.is_afar && labels.mark == 1, || self.accept(number, send(), Ticket::Letter))
    }

    pub(crate) fn accept<M, T: 'static>(
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
            Err(refused) => self.refuse(number, refused),
        }
    }

    /// The value has come back whole, unless it is said to be dropped before this.
    pub(crate) fn refuse<T: 'static>(&self, number: u32, refused: Rejected<T>) -> Outcome {
        let reason = refused.reason();
        let value = refused.into_value().expect("it comes back where it was refused");
        self.note(Event::GivenBack(number));
        drop(value);
        Outcome::Refused(reason)
    }

    fn remove(&self, from: usize, which: Which) -> Outcome {
        let handler = self.handler(from);
        Outcome::Removed(match which {
            Which::All => handler.clear(),
            Which::What(what) => handler.remove(what),
            Which::Token(token) => handler.remove(self.tokens[token]),
            Which::WhatWithToken(what, token) => handler.remove((what, self.tokens[token])),
            Which::Marked(mark) => handler.remove_if(|letter| {
                self.note(Event::Asked(letter.payload.number()));
                letter.mark == mark
            }),
        })
    }

    pub(crate) fn has(&self, handler: &Handler<Letter>, which: Which) -> bool {
        match which {
            Which::All => !handler.is_empty(),
            Which::What(what) => handler.has(what),
            Which::Token(token) => handler.has(self.tokens[token]),
            Which::WhatWithToken(what, token) => handler.has((what, self.tokens[token])),
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
            Err(refused) => self.refuse(number, refused),
        }
    }

    pub(crate) fn glance(&self) -> Glance {
        let lens = std::array::from_fn(|slot| self.handler(slot).len());
        let latest = self.tickets.lock().unwrap().last().cloned();
        Glance {
            len: self.handle.len(),
            lens,
            bounded_len: self.bounded().len(),
            report: self.handle.message_counts().into(),
            has_quit: self.handle.has_quit(),
            is_pending: latest.map(|ticket| ticket.is_pending()),
        }
    }
}
