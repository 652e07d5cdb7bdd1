//! One looper from its making to its end, and the accounts that are settled then.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use alooper::{Handler, HandlerThread, Looper, LooperHandle, MessageCounts, Posted};

use crate::{
    dice::Dice,
    fds::Cell,
    ledger::{Entry, Fate, Ledger, Order, Ticket},
    tally::{self, Count},
};

/// How much more than its ticket a large message carries: more than a message has room for without a box.
pub const LARGE: usize = 12;

/// A message with room to spare.
#[derive(Debug)]
pub struct Small {
    pub ticket: Ticket,
}

/// A message that is boxed.
#[derive(Debug)]
pub struct Large {
    pub ticket: Ticket,
    pub key: u64,
    pub content: [u64; LARGE],
}

impl Large {
    pub fn new(ticket: Ticket, key: u64) -> Large {
        Large { ticket, key, content: [key; LARGE] }
    }

    pub fn run(self) {
        if self.content != [self.key; LARGE] {
            tally::find(Count::Corrupted, || format!("{:?} instead of {}", self.content, self.key));
        }
        self.ticket.run();
    }
}

/// Something that another thread may cancel.
#[derive(Debug)]
pub enum Name {
    /// Dropped by the thread that cancels it.
    Closure(Entry, Posted),
    Message(Entry, Posted<Small>),
    /// Dropped later, or by another thread.
    Late(Posted),
    LateMessage(Posted<Large>),
}

impl Name {
    /// Cancels it, and checks the answer as far as it can be known.
    pub fn cancel(&self, ledger: &Ledger) {
        let (cancelled, entry) = match self {
            Name::Closure(entry, posted) => (posted.cancel(), Some(entry)),
            Name::Message(entry, posted) => (posted.cancel(), Some(entry)),
            Name::Late(posted) => (posted.cancel(), None),
            Name::LateMessage(posted) => (posted.cancel(), None),
        };
        if !cancelled {
            return;
        }
        ledger.removed.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = entry {
            entry.restate(Fate::Dropped, Fate::Removed);
        }
    }

    pub fn is_pending(&self) -> bool {
        match self {
            Name::Closure(_, posted) | Name::Late(posted) => posted.is_pending(),
            Name::Message(_, posted) => posted.is_pending(),
            Name::LateMessage(posted) => posted.is_pending(),
        }
    }
}

/// How a looper ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Quit,
    QuitSafely,
    QuitInMessage,
    /// Its thread is dropped (a `HandlerThread`), or it is dropped by its thread without having quit.
    Drop,
    /// It is dropped when it has served all that was ready, which is checked.
    Drain,
}

/// What the thread of a looper that is polled turn by turn is to do.
const GO_ON: u8 = 0;
const LEAVE: u8 = 1;
const DRAIN: u8 = 2;

#[derive(Debug)]
enum Runner {
    HandlerThread(HandlerThread),
    Running(JoinHandle<io::Result<()>>),
    Polling(JoinHandle<io::Result<()>>, Arc<AtomicU8>),
}

/// A looper with its thread and all that the producers need of it.
#[derive(Debug)]
pub struct Life {
    pub id: u64,
    pub slot: usize,
    pub ledger: &'static Ledger,
    pub handle: LooperHandle,
    pub asynchronous: LooperHandle,
    pub busy: Handler<Small>,
    /// Has few messages, which predicates look at.
    pub rare: Handler<Large>,
    /// What any producer may cancel.
    shelf: Mutex<Vec<Name>>,
    runner: Runner,
    end: End,
    /// A looper in its place is being made.
    ending: AtomicBool,
}

static LIVES: AtomicU64 = AtomicU64::new(1);

impl Life {
    pub fn begin(slot: usize, producers: usize, cells: &'static [Cell], dice: &mut Dice) -> io::Result<Life> {
        let id = LIVES.fetch_add(1, Ordering::Relaxed);
        let ledger = Ledger::open(producers);
        let budget = [1, 16, 256, 256, 256, 4096][dice.below(6) as usize];
        let looper = Looper::builder().budget(budget).barrier_alarm(Duration::ZERO);
        let (runner, handle) = match dice.below(3) {
            0 => {
                let thread = HandlerThread::builder().name("soaked").looper(looper).spawn()?;
                let handle = thread.handle().clone();
                (Runner::HandlerThread(thread), handle)
            }
            1 => {
                let (sender, receiver) = mpsc::sync_channel(1);
                let thread = thread::spawn(move || {
                    let looper = looper.build()?;
                    let _ = sender.send(looper.handle());
                    looper.run().map(drop)
                });
                let Ok(handle) = receiver.recv() else { return Err(failure(thread)) };
                (Runner::Running(thread), handle)
            }
            _ => {
                let (sender, receiver) = mpsc::sync_channel(1);
                let todo = Arc::new(AtomicU8::new(GO_ON));
                let thread = thread::spawn({
                    let todo = todo.clone();
                    move || {
                        let looper = looper.build()?;
                        let _ = sender.send(looper.handle());
                        poll(&looper, &todo, id, cells)
                    }
                });
                let Ok(handle) = receiver.recv() else { return Err(failure(thread)) };
                (Runner::Polling(thread, todo), handle)
            }
        };
        let end = match (&runner, dice.below(5)) {
            (_, 0) => End::Quit,
            (_, 1) => End::QuitSafely,
            (Runner::Running(_), _) | (_, 2) => End::QuitInMessage,
            (Runner::Polling(..), 3) => End::Drain,
            _ => End::Drop,
        };
        let busy = handle.handler(|_, small: Small| small.ticket.run())?;
        let rare = handle.handler(|_, large: Large| large.run())?;
        let asynchronous = handle.asynchronous();
        let (shelf, ending) = (Mutex::new(Vec::with_capacity(SHELF)), AtomicBool::new(false));
        tally::add(Count::Loopers, 1);
        Ok(Life { id, slot, ledger, handle, asynchronous, busy, rare, shelf, runner, end, ending })
    }

    pub fn shelf(&self) -> MutexGuard<'_, Vec<Name>> {
        self.shelf.lock().unwrap()
    }

    /// Whether the caller is the first to end it, who puts another one in its place.
    pub fn claim_end(&self) -> bool {
        !self.ending.swap(true, Ordering::Relaxed)
    }

    /// Begins the end, while others may still post. `producer` is the caller's number.
    pub fn begin_end(&self, producer: usize) {
        match self.end {
            End::Quit => self.handle.quit(),
            End::QuitSafely => self.handle.quit_safely(),
            End::QuitInMessage => {
                let Some(ticket) = self.ledger.account(producer).ticket(Order::Plain) else {
                    return self.handle.quit();
                };
                let entry = ticket.entry();
                let quits = move |looper: &Looper| {
                    looper.quit();
                    ticket.run();
                };
                if let Err(refused) = self.handle.post(quits) {
                    drop(refused);
                    entry.restate(Fate::Dropped, Fate::Refused);
                }
            }
            End::Drop | End::Drain => {}
        }
        if let (End::Drop, Runner::Polling(_, todo)) = (self.end, &self.runner) {
            todo.store(LEAVE, Ordering::Relaxed);
            wake(&self.handle);
        }
    }

    /// Waits for the end, when nobody else has the looper any more, and sees that all accounts fit.
    pub fn settle(self) {
        let Life { handle, ledger, runner, end, shelf, .. } = self;
        drop(shelf);
        let ended = match runner {
            Runner::HandlerThread(thread) if end == End::Drop => {
                drop(thread);
                Ok(())
            }
            Runner::HandlerThread(thread) => thread.join().map(drop).map_err(Into::into),
            Runner::Running(thread) => join(thread),
            Runner::Polling(thread, todo) => {
                if end == End::Drain {
                    todo.store(DRAIN, Ordering::Relaxed);
                    wake(&handle);
                }
                join(thread)
            }
        };
        if let Err(error) = ended {
            tally::find(Count::Unbalanced, || format!("a looper ended with {error}"));
        }
        balance(ledger, handle.message_counts(), end);
    }
}

/// How much may be on the shelf.
pub const SHELF: usize = 64;

fn wake(handle: &LooperHandle) {
    if let Err(error) = handle.wake() {
        tally::find(Count::Unbalanced, || format!("a looper could not be woken: {error}"));
    }
}

fn failure(thread: JoinHandle<io::Result<()>>) -> io::Error {
    join(thread).err().unwrap_or_else(|| io::Error::other("the thread said nothing"))
}

fn join(thread: JoinHandle<io::Result<()>>) -> io::Result<()> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a panic")))
}

/// Polls turn by turn, with all kinds of timeouts. The looper is dropped by the caller, mostly without having quit.
fn poll(looper: &Looper, todo: &AtomicU8, id: u64, cells: &[Cell]) -> io::Result<()> {
    let mut dice = Dice::new(id);
    loop {
        let turn = match dice.below(4) {
            0 => looper.poll_once(Duration::ZERO)?,
            1 => looper.poll_once(Duration::from_micros(dice.below(3000)))?,
            2 => looper.poll_all(Duration::from_millis(1))?,
            _ => looper.poll_once(None)?,
        };
        match todo.load(Ordering::Relaxed) {
            LEAVE => return Ok(()),
            DRAIN => break,
            _ if turn.quit => return Ok(()),
            _ => {}
        }
    }
    // Nobody else posts any more or writes into the fds: what is ready now is all.
    loop {
        let turn = looper.poll_once(Duration::ZERO)?;
        if turn.messages == 0 && turn.fds == 0 && !turn.more {
            break;
        }
    }
    cells.iter().for_each(|cell| cell.check_is_served(id));
    Ok(())
}

/// Compares what the tickets say with what the looper says.
fn balance(ledger: &'static Ledger, report: MessageCounts, end: End) {
    let balance = ledger.close();
    let [pending, run, dropped, removed, refused, came_back, timed_out] =
        [Fate::Pending, Fate::Run, Fate::Dropped, Fate::Removed, Fate::Refused, Fate::CameBack, Fate::TimedOut]
            .map(|fate| balance.of(fate));
    if pending > 0 {
        tally::find(Count::Lost, || format!("{pending} messages of a looper that ended by {end:?}: {report:?}"));
        tally::add(Count::Lost, pending - 1);
    }
    // Of the calls that came back, a part had been accepted: exactly as many as make up the rest.
    let accepted = pending + run + dropped + removed + timed_out;
    let called = report.posted.wrapping_sub(accepted);
    let said_removed = balance.removed + timed_out;
    let fits = called <= came_back
        && report.run == run
        && report.posted == report.run + report.removed + report.dropped
        && report.removed + report.dropped == pending + dropped + removed + timed_out + called
        && (balance.removed..=said_removed).contains(&report.removed)
        && balance.removed >= removed;
    if !fits {
        tally::find(Count::Unbalanced, || format!("{balance:?} does not fit {report:?}, ended by {end:?}"));
    }
    tally::add(Count::Messages, report.posted);
    tally::add(Count::Run, run);
    tally::add(Count::Removed, report.removed);
    tally::add(Count::Dropped, report.dropped);
    tally::add(Count::Refused, refused + came_back.saturating_sub(called));
}
