//! A thread that posts, removes and ends loopers at random.

use std::{
    collections::VecDeque,
    hint::black_box,
    mem,
    rc::Rc,
    sync::{Arc, LazyLock, Mutex, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use alooper::{CallError, Looper, Posted, Rejected, Token};

use crate::{
    dice::Dice,
    fds::{self, Cell, Desk},
    ledger::{Account, Entry, Fate, Ledger, Order, Ticket},
    life::{LARGE, Large, Life, Name, SHELF, Small},
    plant::{self, Fault},
    tally::{self, Count},
};

/// How much is done with one looper before the next one is looked at.
const BATCH: usize = 512;
/// From how many pending messages on producers wait.
const FULL: usize = 20_000;
/// After how many batches a looper ends, on average.
const BATCHES_OF_A_LIFE: u64 = 400;
const HOUR: Duration = Duration::from_secs(3600);
/// How many of its last messages a producer may cancel.
const REMEMBERED: usize = 16;

static TOKENS: LazyLock<[Token; 3]> = LazyLock::new(|| std::array::from_fn(|_| Token::new()));

/// What the producers share: the loopers of this moment.
#[derive(Debug)]
pub struct Site {
    pub slots: Vec<Mutex<Arc<Life>>>,
    pub producers: usize,
    pub cells: &'static [Cell],
}

impl Site {
    pub fn new(slots: usize, producers: usize, cells: &'static [Cell], dice: &mut Dice) -> Site {
        let slots = (0..slots).map(|slot| {
            let life = Life::begin(slot, producers, cells, dice).expect("a looper can be made");
            Mutex::new(Arc::new(life))
        });
        Site { slots: slots.collect(), producers, cells }
    }

    /// Ends what lives, when no producer is left.
    pub fn close(self) {
        for life in self.slots {
            let life = life.into_inner().unwrap();
            life.begin_end(0);
            settle(life);
        }
    }
}

/// The last one who had `life` settles its accounts.
fn settle(life: Arc<Life>) {
    if let Some(life) = Arc::into_inner(life) {
        life.settle();
    }
}

#[derive(Debug)]
pub struct Producer<'a> {
    site: &'a Site,
    number: usize,
    dice: Dice,
    desk: Desk,
    /// How many messages it still has to post.
    left: u64,
    /// Its last messages to the looper of this batch.
    remembered: VecDeque<Name>,
}

/// The looper takes nothing more, or not from this producer.
struct Over;

impl<'a> Producer<'a> {
    pub fn new(site: &'a Site, number: usize, seed: u64, messages: u64) -> Producer<'a> {
        let desk = Desk::new(site.cells, number, site.producers, site.slots.len());
        let dice = Dice::of(seed, number as u64);
        Producer { site, number, dice, desk, left: messages, remembered: VecDeque::with_capacity(REMEMBERED) }
    }

    pub fn run(mut self) {
        while self.left > 0 {
            let slot = self.dice.below(self.site.slots.len() as u64) as usize;
            let life = self.site.slots[slot].lock().unwrap().clone();
            self.desk.move_in(&life, &mut self.dice);
            let over = self.batch(&life).is_err();
            self.remembered.clear();
            if over || self.dice.one_in(BATCHES_OF_A_LIFE) {
                self.replace(&life);
            } else {
                while life.handle.len() > FULL {
                    thread::sleep(Duration::from_micros(100));
                }
            }
            settle(life);
        }
    }

    /// Puts another looper in the place of `life`, unless somebody else does, and begins its end.
    fn replace(&mut self, life: &Life) {
        if !life.claim_end() {
            return;
        }
        let next = Life::begin(life.slot, self.site.producers, self.site.cells, &mut self.dice);
        let next = Arc::new(next.expect("a looper can be made"));
        let old = mem::replace(&mut *self.site.slots[life.slot].lock().unwrap(), next);
        life.begin_end(self.number);
        settle(old);
    }

    fn batch(&mut self, life: &Life) -> Result<(), Over> {
        self.plant(life)?;
        let mut barrier = None;
        for _ in 0..BATCH {
            match self.dice.below(1000) {
                300..400 => self.medium(life)?,
                400..460 => self.large(life)?,
                460..680 => self.message(life)?,
                680..700 => self.rare_message(life)?,
                700..760 => self.asynchronous(life)?,
                760..800 => self.asynchronous_message(life)?,
                800..840 => self.at_front(life)?,
                840..890 => self.delayed(life)?,
                890..910 => self.at_time(life)?,
                910..920 => self.delayed_message(life)?,
                920..925 => self.far(life)?,
                925..945 => self.follow_up(life)?,
                945..975 => self.cancel(life),
                975..980 => self.cancel_anybodys(life),
                980..988 => {
                    if !self.desk.visit(life, &mut self.dice) {
                        return Err(Over);
                    }
                }
                988 => self.come_and_go(life)?,
                989 => {
                    barrier = match barrier {
                        Some(_) => None,
                        None => Some(life.handle.barrier().map_err(|_| Over)?),
                    };
                    tally::add(Count::Barriers, u64::from(barrier.is_some()));
                }
                990 => self.remove_labelled(life),
                991 => self.remove_rare(life),
                992 => self.call(life)?,
                993 => self.ask(life),
                994 => self.own_handler(life)?,
                _ => self.small(life)?,
            }
        }
        Ok(())
    }

    fn ticket(&mut self, life: &Life, order: Order) -> Result<Ticket, Over> {
        self.left = self.left.saturating_sub(1);
        life.ledger.account(self.number).ticket(order).ok_or(Over)
    }

    fn small(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::Plain)?;
        let entry = ticket.entry();
        let posted = accepted(entry, life.handle.post(move |_| ticket.run()))?;
        self.remember(Name::Closure(entry, posted), life);
        Ok(())
    }

    fn medium(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::Plain)?;
        let (entry, content) = (ticket.entry(), self.dice.roll());
        let run = move |_: &Looper| check([content, content], content, ticket);
        let posted = accepted(entry, life.handle.post(run))?;
        self.remember(Name::Closure(entry, posted), life);
        Ok(())
    }

    /// One that is boxed.
    fn large(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::Plain)?;
        let key = self.dice.roll();
        let (entry, content) = (ticket.entry(), [key; LARGE]);
        let posted = accepted(entry, life.handle.post(move |_| check(content, key, ticket)))?;
        self.remember(Name::Closure(entry, posted), life);
        Ok(())
    }

    fn message(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::Plain)?;
        let entry = ticket.entry();
        let draft = life.busy.message(Small { ticket });
        let sent = match self.dice.below(16) {
            0 => draft.what(self.dice.below(4) as i32).token(self.token()).send(),
            1 => draft.token(self.token()).send(),
            2 | 3 => draft.what(self.dice.below(4) as i32).send(),
            _ => draft.send(),
        };
        let posted = accepted(entry, sent)?;
        self.remember(Name::Message(entry, posted), life);
        Ok(())
    }

    fn rare_message(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::Plain)?;
        let entry = ticket.entry();
        let posted = accepted(entry, life.rare.send(Large::new(ticket, self.dice.roll())))?;
        self.remember(Name::LateMessage(posted), life);
        Ok(())
    }

    fn asynchronous(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::Asynchronous)?;
        let entry = ticket.entry();
        let posted = accepted(entry, life.asynchronous.post(move |_| ticket.run()))?;
        self.remember(Name::Closure(entry, posted), life);
        Ok(())
    }

    fn asynchronous_message(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::Asynchronous)?;
        let entry = ticket.entry();
        let draft = life.busy.message(Small { ticket }).asynchronous();
        let posted = accepted(entry, draft.what(self.dice.below(4) as i32).send())?;
        self.remember(Name::Message(entry, posted), life);
        Ok(())
    }

    fn at_front(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::None)?;
        let entry = ticket.entry();
        if self.dice.one_in(4) {
            accepted(entry, life.busy.send_at_front(Small { ticket })).map(drop)
        } else {
            accepted(entry, life.handle.post_at_front(move |_| ticket.run())).map(drop)
        }
    }

    /// Mostly within what a looper sleeps, by any number of nanoseconds.
    fn delay(&mut self) -> Duration {
        Duration::from_nanos(self.dice.below(5_000_000))
    }

    fn delayed(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::None)?;
        let (entry, delay) = (ticket.entry(), self.delay());
        let due = life.handle.now() + delay;
        let posted = accepted(entry, life.handle.post_delayed(delay, move |looper| fire(looper, due, ticket)))?;
        tally::add(Count::Timers, 1);
        self.remember(Name::Closure(entry, posted), life);
        Ok(())
    }

    /// At a time, which may have passed.
    fn at_time(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::None)?;
        let (entry, delay) = (ticket.entry(), self.delay());
        let now = life.handle.now();
        let when = if self.dice.one_in(4) { now.checked_sub(delay).unwrap_or(now) } else { now + delay };
        let posted = accepted(entry, life.handle.post_at(when, move |looper| fire(looper, when, ticket)))?;
        tally::add(Count::Timers, 1);
        self.remember(Name::Closure(entry, posted), life);
        Ok(())
    }

    fn delayed_message(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::None)?;
        let (entry, delay) = (ticket.entry(), self.delay());
        let posted = accepted(entry, life.busy.send_delayed(delay, Small { ticket }))?;
        tally::add(Count::Timers, 1);
        self.remember(Name::Message(entry, posted), life);
        Ok(())
    }

    /// So late that it is removed or dropped.
    fn far(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::None)?;
        let entry = ticket.entry();
        let delay = if self.dice.one_in(8) { Duration::MAX } else { HOUR };
        let posted = accepted(entry, life.handle.post_delayed(delay, move |_| ticket.run()))?;
        tally::add(Count::Timers, 1);
        self.remember(Name::Closure(entry, posted), life);
        Ok(())
    }

    /// One that posts on the looper's thread what is not `Send`.
    fn follow_up(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::Plain)?;
        let entry = ticket.entry();
        let (ledger, kind) = (life.ledger, self.dice.below(6));
        let run = move |looper: &Looper| {
            ticket.run();
            post_here(looper, ledger, kind);
        };
        accepted(entry, life.handle.post(run)).map(drop)
    }

    fn come_and_go(&mut self, life: &Life) -> Result<(), Over> {
        let ticket = self.ticket(life, Order::Plain)?;
        let entry = ticket.entry();
        let run = move |looper: &Looper| {
            ticket.run();
            fds::come_and_go(looper);
        };
        accepted(entry, life.handle.post(run)).map(drop)
    }

    /// A handler of its own for a few messages, which outlive its front.
    fn own_handler(&mut self, life: &Life) -> Result<(), Over> {
        let handler = life.handle.handler(|_, large: Large| large.run()).map_err(|_| Over)?;
        for _ in 0..self.dice.below(4) {
            let ticket = self.ticket(life, Order::Plain)?;
            let entry = ticket.entry();
            accepted(entry, handler.send(Large::new(ticket, self.dice.roll())))?;
        }
        if self.dice.one_in(4) {
            let removed = handler.clear();
            life.ledger.removed.fetch_add(removed as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn call(&mut self, life: &Life) -> Result<(), Over> {
        if !self.dice.one_in(4) {
            return Ok(());
        }
        let ticket = self.ticket(life, Order::None)?;
        let (entry, value) = (ticket.entry(), self.dice.roll());
        let callback = move |_: &Looper| {
            ticket.run();
            value
        };
        // Past a barrier of anybody's, whose batch need not end before this call does.
        let called = match self.dice.below(3) {
            0 => life.asynchronous.call_timeout(Duration::from_micros(self.dice.below(500)), callback),
            _ => life.asynchronous.call(callback),
        };
        tally::add(Count::Calls, 1);
        match called {
            Ok(answer) => {
                if answer != value {
                    tally::find(Count::Corrupted, || format!("a call answers {answer} instead of {value}"));
                }
                Ok(())
            }
            Err(CallError::Rejected(refused)) => {
                give_back(entry, refused.into_value(), Fate::CameBack);
                Err(Over)
            }
            Err(CallError::TimedOut(refused)) => {
                let value = refused.into_value();
                if life.handle.has_quit() {
                    give_back(entry, value, Fate::TimedOut);
                } else {
                    give_back(entry, value, Fate::Removed);
                    life.ledger.removed.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
            Err(CallError::StillRunning) => Ok(()),
            Err(error) => {
                tally::find(Count::Unbalanced, || format!("a call ends with {error}"));
                Ok(())
            }
        }
    }

    fn remember(&mut self, name: Name, life: &Life) {
        if self.dice.one_in(64) {
            let mut shelf = life.shelf();
            if shelf.len() < SHELF {
                shelf.push(name);
            }
            return;
        }
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(name);
    }

    fn cancel(&mut self, life: &Life) {
        let at = self.dice.below(REMEMBERED as u64) as usize;
        if let Some(name) = self.remembered.remove(at) {
            name.cancel(life.ledger);
        }
    }

    fn cancel_anybodys(&mut self, life: &Life) {
        let name = {
            let mut shelf = life.shelf();
            let many = shelf.len() as u64;
            (many > 0).then(|| shelf.swap_remove(self.dice.below(many) as usize))
        };
        if let Some(name) = name {
            name.cancel(life.ledger);
        }
    }

    fn remove_labelled(&mut self, life: &Life) {
        let (what, token) = (self.dice.below(4) as i32, self.token());
        let removed = match self.dice.below(16) {
            0 => life.busy.clear(),
            1..4 => life.busy.remove(what),
            4..8 => life.busy.remove(token),
            _ => life.busy.remove((what, token)),
        };
        life.ledger.removed.fetch_add(removed as u64, Ordering::Relaxed);
    }

    fn remove_rare(&mut self, life: &Life) {
        let removed = match self.dice.below(8) {
            0 => life.rare.clear(),
            1 => life.rare.remove_if(|large| large.key % 4 == 0),
            _ => return,
        };
        life.ledger.removed.fetch_add(removed as u64, Ordering::Relaxed);
    }

    fn ask(&mut self, life: &Life) {
        let what = self.dice.below(4) as i32;
        black_box((life.busy.has(what), life.busy.has(self.token()), life.busy.len()));
        black_box((life.handle.len(), life.handle.stats(), self.remembered.front().map(Name::is_pending)));
        if self.dice.one_in(16) {
            black_box(life.rare.has_if(|large| large.key == 0));
        }
    }

    fn token(&mut self) -> Token {
        TOKENS[self.dice.below(3) as usize]
    }

    /// Commits the fault that was asked for, if it is one of these.
    fn plant(&mut self, life: &Life) -> Result<(), Over> {
        for fault in [Fault::Lose, Fault::Duplicate, Fault::Reorder, Fault::Early, Fault::Corrupt, Fault::Miscount] {
            if plant::is_due(fault) && self.commit(fault, life).is_err() {
                plant::again(fault);
                return Err(Over);
            }
        }
        Ok(())
    }

    /// Waits until it is committed, since what is posted may be dropped instead.
    fn commit(&mut self, fault: Fault, life: &Life) -> Result<(), Over> {
        let order = if fault == Fault::Reorder { Order::Asynchronous } else { Order::None };
        let ticket = self.ticket(life, order)?;
        match fault {
            Fault::Lose => {
                ticket.lose();
                Ok(())
            }
            Fault::Duplicate => {
                drop(ticket.forge());
                call_with(life, ticket, |_, ticket| ticket.run())
            }
            Fault::Reorder => {
                let later = self.ticket(life, order)?;
                let outcome = call_with(life, later, |_, later| later.run());
                call_with(life, ticket, |_, ticket| ticket.run()).and(outcome)
            }
            Fault::Early => call_with(life, ticket, |looper, ticket| fire(looper, looper.now() + HOUR, ticket)),
            Fault::Corrupt => call_with(life, ticket, |_, ticket| check([0, 1], 0, ticket)),
            _ => {
                life.ledger.removed.fetch_add(1, Ordering::Relaxed);
                call_with(life, ticket, |_, ticket| ticket.run())
            }
        }
    }
}

/// Has `run` run on the looper's thread.
fn call_with(life: &Life, ticket: Ticket, run: fn(&Looper, Ticket)) -> Result<(), Over> {
    let entry = ticket.entry();
    life.asynchronous.call(move |looper| run(looper, ticket)).map_err(|error| {
        drop(error);
        entry.restate(Fate::Dropped, Fate::CameBack);
        Over
    })
}

/// Whether the looper took the message; if not, it has to have come back as it was.
fn accepted<T: 'static, M>(entry: Entry, result: Result<Posted<M>, Rejected<T>>) -> Result<Posted<M>, Over> {
    result.map_err(|refused| {
        give_back(entry, refused.into_value(), Fate::Refused);
        Over
    })
}

/// A value has come back: nothing has become of it before.
fn give_back<T>(entry: Entry, value: T, fate: Fate) {
    if !entry.is_pending() {
        tally::find(Count::Unbalanced, || "what came back had ended already".to_owned());
    }
    drop(value);
    entry.restate(Fate::Dropped, fate);
}

fn check<const N: usize>(content: [u64; N], key: u64, ticket: Ticket) {
    if content != [key; N] {
        tally::find(Count::Corrupted, || format!("{content:?} instead of {key}"));
    }
    ticket.run();
}

fn fire(looper: &Looper, due: Instant, ticket: Ticket) {
    let now = looper.now();
    if now < due {
        tally::find(Count::Early, || format!("by {:?}", due - now));
    }
    tally::add(Count::TimersFired, 1);
    ticket.run();
}

/// Posts what is not `Send` on the looper's thread.
fn post_here(looper: &Looper, ledger: &'static Ledger, kind: u64) {
    let own: &'static Account = ledger.own();
    let Some(ticket) = own.ticket(if kind < 4 { Order::Plain } else { Order::None }) else { return };
    let entry = ticket.entry();
    let state = Rc::new(());
    let run = move |_: &Looper| {
        drop(state);
        ticket.run();
    };
    let posted = match kind {
        0..4 => looper.post(run),
        4 => looper.post_delayed(Duration::from_micros(300), run),
        _ => looper.post_at_front(run),
    };
    if let Ok(posted) = accepted(entry, posted)
        && kind % 2 == 1
    {
        Name::Late(posted).cancel(ledger);
    }
}
