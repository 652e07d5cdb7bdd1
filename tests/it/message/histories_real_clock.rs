//! Random histories on the real clock, where plain posts have approximate times: nothing runs before what has to come
//! before it.
//!
//! Holds B1, B2, M1, M2, M3, M5, M6, R1, R4, T6.

use std::{
    env, panic,
    rc::Rc,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use alooper::{Barrier, Handler, Looper, LooperHandle, Posted, Token};

use crate::support::{HOUR, dice::Dice, watched};

/// An explicit time that had passed may fall on either side of plain posts that are as close to it.
const CLOSE: Duration = Duration::from_millis(500);
#[derive(Clone, Copy, Debug, PartialEq)]
enum Post {
    Plain,
    At(Instant),
    Front,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    id: usize,
    post: Post,
    asynchronous: bool,
    before: Instant,
    after: Instant,
    has_token: bool,
}

impl Note {
    fn had_passed(&self, when: Instant) -> bool {
        when <= self.after
    }

    /// Whether this has to run before `other`, if both may run.
    fn precedes(&self, other: &Note) -> bool {
        match (self.post, other.post) {
            (Post::Front, Post::Front) => self.id > other.id,
            (Post::Front, _) => true,
            (_, Post::Front) => false,
            (Post::Plain, Post::Plain) => self.id < other.id,
            (Post::At(mine), Post::At(others)) => (mine, self.id) < (others, other.id),
            (Post::Plain, Post::At(when)) => {
                let is_exempt = other.had_passed(when) && when < self.after + CLOSE;
                when > self.after && !is_exempt
            }
            (Post::At(when), Post::Plain) => {
                let is_exempt = self.had_passed(when) && when + CLOSE > other.before;
                when < other.before && !is_exempt
            }
        }
    }
}

struct Standing {
    _barrier: Barrier,
    next_id: usize,
    before: Instant,
    after: Instant,
}

impl Standing {
    fn certainly_holds(&self, note: &Note) -> bool {
        !note.asynchronous
            && match note.post {
                Post::Front => false,
                Post::Plain => note.id >= self.next_id,
                Post::At(when) => when > self.after,
            }
    }

    fn may_hold(&self, note: &Note) -> bool {
        !note.asynchronous
            && match note.post {
                Post::Front => false,
                Post::Plain => note.id >= self.next_id,
                Post::At(when) => when >= self.before,
            }
    }
}

type Deed = Box<dyn FnOnce() + Send>;

/// A thread that does what it is told.
struct Other(mpsc::Sender<(Deed, mpsc::Sender<()>)>);

impl Other {
    fn new() -> Other {
        let (sender, receiver) = mpsc::channel::<(Deed, mpsc::Sender<()>)>();
        thread::spawn(move || {
            for (deed, done) in receiver {
                deed();
                done.send(()).unwrap();
            }
        });
        Other(sender)
    }

    fn run<R: Send + 'static>(&self, deed: impl FnOnce() -> R + Send + 'static) -> R {
        let (done, is_done) = mpsc::channel();
        let (give, given) = mpsc::channel();
        self.0.send((Box::new(move || give.send(deed()).unwrap()), done)).unwrap();
        is_done.recv().unwrap();
        given.recv().unwrap()
    }
}

enum Sent {
    Closure(Posted),
    Message(Posted<Message>),
}

impl Clone for Sent {
    fn clone(&self) -> Self {
        match self {
            Sent::Closure(posted) => Sent::Closure(posted.clone()),
            Sent::Message(posted) => Sent::Message(posted.clone()),
        }
    }
}

impl Sent {
    fn cancel(&self) -> bool {
        match self {
            Sent::Closure(posted) => posted.cancel(),
            Sent::Message(posted) => posted.cancel(),
        }
    }
}

struct Message(usize, mpsc::Sender<(usize, Instant)>);

struct World {
    looper: Looper,
    handle: LooperHandle,
    handler: Handler<Message>,
    token: Token,
    ran: mpsc::Receiver<(usize, Instant)>,
    says: mpsc::Sender<(usize, Instant)>,
    pending: Vec<(Note, Sent)>,
    next_id: usize,
    barrier: Option<Standing>,
    budget: usize,
}

impl World {
    fn new(budget: usize) -> World {
        let looper = Looper::builder().budget(budget).build().unwrap();
        let handle = looper.handle();
        let (says, ran) = mpsc::channel();
        let handler =
            Handler::new(&looper, |looper: &Looper, Message(id, says)| says.send((id, looper.now())).unwrap());
        World {
            looper,
            handle,
            handler,
            token: Token::new(),
            ran,
            says,
            pending: Vec::new(),
            next_id: 0,
            barrier: None,
            budget,
        }
    }

    fn post(&mut self, other: Option<&Other>, post: Post, asynchronous: bool, as_message: bool, has_token: bool) {
        let id = self.next_id;
        self.next_id += 1;
        let says = self.says.clone();
        let has_token = has_token && as_message;
        let before = self.looper.now();
        let sent = if as_message {
            let handler = self.handler.clone();
            let token = self.token;
            let deed = move || {
                let mut draft = handler.message(Message(id, says)).what(id as i32 % 3);
                if has_token {
                    draft = draft.token(token);
                }
                if asynchronous {
                    draft = draft.asynchronous();
                }
                let sent = match post {
                    Post::Plain => draft.send(),
                    Post::At(when) => draft.send_at(when),
                    Post::Front => draft.send_at_front(),
                };
                Sent::Message(sent.map_err(|_| ()).unwrap())
            };
            match other {
                Some(other) => other.run(deed),
                None => deed(),
            }
        } else {
            let closure = move |looper: &Looper| says.send((id, looper.now())).unwrap();
            let handle = if asynchronous { self.handle.asynchronous() } else { self.handle.clone() };
            let is_local = other.is_none() && !asynchronous;
            if is_local {
                // One that is not Send, too.
                let rc = Rc::new(());
                let closure = move |looper: &Looper| {
                    let _rc = rc;
                    closure(looper);
                };
                Sent::Closure(
                    match post {
                        Post::Plain => self.looper.post(closure),
                        Post::At(when) => self.looper.post_at(when, closure),
                        Post::Front => self.looper.post_at_front(closure),
                    }
                    .unwrap(),
                )
            } else {
                let deed = move || {
                    Sent::Closure(
                        match post {
                            Post::Plain => handle.post(closure),
                            Post::At(when) => handle.post_at(when, closure),
                            Post::Front => handle.post_at_front(closure),
                        }
                        .unwrap(),
                    )
                };
                match other {
                    Some(other) => other.run(deed),
                    None => deed(),
                }
            }
        };
        let after = self.looper.now();
        self.pending.push((Note { id, post, asynchronous, before, after, has_token }, sent));
    }

    fn poll(&mut self, timeout: Duration) -> Result<(), String> {
        let start = self.looper.now();
        let turn = self.looper.poll_once(timeout).unwrap();
        let ran: Vec<(usize, Instant)> = self.ran.try_iter().collect();
        if ran.len() != turn.messages {
            return Err(format!("{} ran, {} are reported", ran.len(), turn.messages));
        }
        for (id, started) in ran {
            let Some(at) = self.pending.iter().position(|(note, _)| note.id == id) else {
                return Err(format!("{id} ran and was not pending"));
            };
            let (note, _) = self.pending.remove(at);
            if let Post::At(when) = note.post
                && when > started
            {
                return Err(format!("{note:?} ran early"));
            }
            if let Some(barrier) = &self.barrier
                && barrier.certainly_holds(&note)
            {
                return Err(format!("{note:?} passed a barrier"));
            }
            // What became due just before it started may have come too late to be seen.
            for (first, _) in &self.pending {
                let is_due = !matches!(first.post, Post::At(when) if when > started);
                let is_barred = self.barrier.as_ref().is_some_and(|barrier| barrier.may_hold(first));
                if is_due && !is_barred && first.precedes(&note) {
                    return Err(format!("{note:?} ran before {first:?}"));
                }
            }
        }
        if turn.messages < self.budget {
            for (first, _) in &self.pending {
                let is_due = !matches!(first.post, Post::At(when) if when > start);
                let is_barred = self.barrier.as_ref().is_some_and(|barrier| barrier.may_hold(first));
                if is_due && !is_barred {
                    return Err(format!("{first:?} was left"));
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let messages = self.pending.iter().filter(|(_, sent)| matches!(sent, Sent::Message(_)));
        let tokens = self.pending.iter().filter(|(note, _)| note.has_token).count();
        let expected = (self.pending.len(), messages.count(), tokens > 0);
        let seen = (self.looper.len(), self.handler.len(), self.handler.has(self.token));
        if seen == expected { Ok(()) } else { Err(format!("{seen:?} are pending, not {expected:?}")) }
    }
}

struct Roller(Dice);

impl Roller {
    fn roll(&mut self, bound: usize) -> usize {
        (self.0.below(1 << 40) >> 7) as usize % bound
    }
}

fn history(seed: u64, other: &Other) -> Result<(), String> {
    let mut dice = Roller(Dice((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1));
    let budget = [1, 3, 7, 256, 1000][dice.roll(5)];
    let mut world = World::new(budget);
    let steps = 5 + dice.roll(120);
    // Most histories have only some kinds of steps, so that rare states are come to.
    let has_timed = dice.roll(3) > 0;
    let has_front = dice.roll(3) > 0;
    let has_async = dice.roll(3) == 0;
    let has_barrier = dice.roll(3) == 0;
    let has_messages = dice.roll(2) == 0;
    let has_tokens = dice.roll(3) == 0;
    for _ in 0..steps {
        let from_afar = if dice.roll(2) == 0 { Some(other) } else { None };
        let what = dice.roll(12);
        match what {
            0..=4 => {
                let post = match dice.roll(6) {
                    0..=1 if has_timed => {
                        let now = world.looper.now();
                        Post::At(match dice.roll(6) {
                            0 => now - Duration::from_micros(dice.roll(200) as u64),
                            1 => now - HOUR,
                            2 => now + HOUR,
                            3 => now + Duration::from_millis(dice.roll(12) as u64),
                            _ => now + Duration::from_micros(dice.roll(150) as u64),
                        })
                    }
                    2 if has_front => Post::Front,
                    _ => Post::Plain,
                };
                let asynchronous = has_async && dice.roll(3) == 0;
                let as_message = has_messages && dice.roll(2) == 0;
                let has_token = has_tokens && dice.roll(2) == 0;
                world.post(from_afar, post, asynchronous, as_message, has_token);
            }
            5 => {
                let many = [3, 40, 150, 400][dice.roll(4)];
                let as_message = has_messages && dice.roll(2) == 0;
                for _ in 0..many {
                    world.post(None, Post::Plain, false, as_message, false);
                }
            }
            6 => {
                let until = world.looper.now() + Duration::from_micros(dice.roll(150) as u64);
                while world.looper.now() < until {}
            }
            7 if !world.pending.is_empty() => {
                for _ in 0..=dice.roll(world.pending.len().min(60)) {
                    let at = dice.roll(world.pending.len());
                    let (note, sent) = world.pending.remove(at);
                    let twice = sent.clone();
                    let is_cancelled = match from_afar {
                        Some(other) => other.run(move || sent.cancel()),
                        _ => sent.cancel(),
                    };
                    if !is_cancelled {
                        return Err(format!("{note:?} could not be cancelled"));
                    }
                    if twice.cancel() {
                        return Err(format!("{note:?} could be cancelled twice"));
                    }
                    if world.pending.is_empty() {
                        break;
                    }
                }
            }
            8 if has_barrier => {
                if world.barrier.take().is_none() {
                    let before = world.looper.now();
                    let handle = world.handle.clone();
                    let barrier = match from_afar {
                        Some(other) => other.run(move || handle.barrier().unwrap()),
                        None => handle.barrier().unwrap(),
                    };
                    let after = world.looper.now();
                    world.barrier = Some(Standing { _barrier: barrier, next_id: world.next_id, before, after });
                }
            }
            9 => world.check()?,
            10 => world.poll(Duration::from_micros(dice.roll(100) as u64 + 1))?,
            _ => world.poll(Duration::ZERO)?,
        }
    }
    world.check()?;
    world.barrier = None;
    for _ in 0..10_000 {
        world.poll(Duration::ZERO)?;
        if world.pending.iter().all(|(note, _)| matches!(note.post, Post::At(when) if when > world.looper.now())) {
            break;
        }
    }
    world.check()?;
    let report = world.looper.message_counts();
    if report.posted != report.run + report.removed + world.pending.len() as u64 {
        return Err(format!("{report:?} and {} pending", world.pending.len()));
    }
    Ok(())
}

/// 60 histories, or as many as the variable REAL_HISTORIES says, some at the same time.
#[test]
fn m2_nothing_runs_before_what_has_to_come_before_it() {
    let count: u64 = env::var("REAL_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let threads = (0..3).map(|thread| {
        thread::spawn(move || {
            for first in (0..count).step_by(10).skip(thread).step_by(3) {
                watched(move || {
                    let other = Other::new();
                    for seed in first..first + 10 {
                        if let Err(difference) = history(seed, &other) {
                            panic!("seed {seed}: {difference}");
                        }
                    }
                });
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
    }
}
