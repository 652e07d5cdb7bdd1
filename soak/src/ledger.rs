//! The fate of each message, exactly.
//!
//! A message carries a [`Ticket`] of the account of whoever posted it. The ticket writes down how it ended: that it
//! ran, or that it was dropped. A second end of the same ticket is a finding, and so is a ticket without an end when
//! its looper is gone.

use std::{
    mem,
    sync::{
        Mutex,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
};

use crate::tally::{self, Count};

/// How many messages of one poster a looper gets before it has to make way for another.
const CAPACITY: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    Pending,
    Run,
    /// By a removal, a quit, or the end of the looper.
    Dropped,
    /// Cancelled by its own name, or a call whose time had passed.
    Removed,
    /// Given back instead of accepted.
    Refused,
    /// A call that a quit gave back; whether it had been accepted, nobody is told.
    CameBack,
    /// A call whose time had passed when its looper quit: one of both has taken it, nobody is told which.
    TimedOut,
}

const FATES: usize = Fate::TimedOut as usize + 1;

/// Which order a message keeps among those of its poster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    Plain,
    /// Passes barriers, and so the plain ones.
    Asynchronous,
    None,
}

/// The messages of one poster to one looper.
#[derive(Debug)]
pub struct Account {
    fates: Box<[AtomicU8]>,
    /// Its poster writes it.
    next: AtomicU32,
    /// One more than the last that ran, of each order. The looper's thread writes it.
    last: [AtomicU32; 2],
}

impl Account {
    fn new() -> Account {
        let fates = (0..CAPACITY).map(|_| AtomicU8::new(0)).collect();
        Account { fates, next: AtomicU32::new(0), last: Default::default() }
    }

    /// A ticket for another message; `None` if the account is full.
    pub fn ticket(&'static self, order: Order) -> Option<Ticket> {
        let index = self.next.load(Ordering::Relaxed);
        if index as usize == self.fates.len() {
            return None;
        }
        self.next.store(index + 1, Ordering::Relaxed);
        Some(Ticket { entry: Entry { account: self, index }, order })
    }
}

/// Where the fate of a message is written down.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    account: &'static Account,
    index: u32,
}

impl Entry {
    fn fate(&self) -> &'static AtomicU8 {
        &self.account.fates[self.index as usize]
    }

    fn end(&self, fate: Fate) {
        let before = self.fate().swap(fate as u8, Ordering::Relaxed);
        if before != Fate::Pending as u8 {
            tally::find(Count::Duplicated, || format!("message {} ends as {fate:?} after fate {before}", self.index));
        }
    }

    /// Says more exactly what has happened; `from` has to be what is known.
    pub fn restate(&self, from: Fate, to: Fate) {
        let was = self.fate().compare_exchange(from as u8, to as u8, Ordering::Relaxed, Ordering::Relaxed);
        if let Err(fate) = was {
            tally::find(Count::Unbalanced, || format!("message {} is {to:?} but has fate {fate}", self.index));
        }
    }

    /// Whether the message has not ended yet.
    pub fn is_pending(&self) -> bool {
        self.fate().load(Ordering::Relaxed) == Fate::Pending as u8
    }
}

/// Goes with a message, and writes down how it ends.
#[derive(Debug)]
pub struct Ticket {
    entry: Entry,
    order: Order,
}

impl Ticket {
    pub fn entry(&self) -> Entry {
        self.entry
    }

    /// Its message runs.
    pub fn run(self) {
        let Entry { account, index } = self.entry;
        self.entry.end(Fate::Run);
        if let Some(last) = account.last.get(self.order as usize) {
            let before = last.load(Ordering::Relaxed);
            if before > index {
                tally::find(Count::Reordered, || format!("{index} ran after {}", before - 1));
            }
            last.store(index + 1, Ordering::Relaxed);
        }
        mem::forget(self);
    }

    /// Writes nothing down, as if its message were lost: to see that this is found.
    pub fn lose(self) {
        mem::forget(self);
    }

    /// A second ticket of the same message, which cannot be: to see that this is found.
    pub fn forge(&self) -> Ticket {
        Ticket { entry: self.entry, order: Order::None }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.entry.end(Fate::Dropped);
    }
}

/// The accounts of all that post to one looper: each producer's, and last that of the looper's own thread.
#[derive(Debug)]
pub struct Ledger {
    accounts: Box<[Account]>,
    /// How many messages were removed, by what the removals said.
    pub removed: AtomicU64,
}

/// Ledgers that are not in use. Messages refer to them for ever, so they are never freed.
static FREE: Mutex<Vec<&'static Ledger>> = Mutex::new(Vec::new());

/// What a ledger says when its looper is gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Balance {
    fates: [u64; FATES],
    pub removed: u64,
}

impl Balance {
    pub fn of(&self, fate: Fate) -> u64 {
        self.fates[fate as usize]
    }
}

impl Ledger {
    /// Makes `count` ledgers in advance, so that their memory does not look like a leak later.
    pub fn prepare(count: usize, producers: usize) {
        let ledgers: Vec<_> = (0..count).map(|_| Ledger::make(producers)).collect();
        FREE.lock().unwrap().extend(ledgers);
    }

    fn make(producers: usize) -> &'static Ledger {
        let accounts = (0..=producers).map(|_| Account::new()).collect();
        Box::leak(Box::new(Ledger { accounts, removed: AtomicU64::new(0) }))
    }

    /// An empty one.
    pub fn open(producers: usize) -> &'static Ledger {
        let free = FREE.lock().unwrap().pop();
        free.unwrap_or_else(|| Ledger::make(producers))
    }

    pub fn account(&'static self, producer: usize) -> &'static Account {
        &self.accounts[producer]
    }

    /// Of the looper's own thread.
    pub fn own(&'static self) -> &'static Account {
        &self.accounts[self.accounts.len() - 1]
    }

    /// Adds up the fates when the looper and all that posted to it are gone, and empties the ledger for the next one.
    pub fn close(&'static self) -> Balance {
        let mut balance = Balance { removed: self.removed.swap(0, Ordering::Relaxed), ..Balance::default() };
        for account in &self.accounts {
            let used = account.next.swap(0, Ordering::Relaxed) as usize;
            for fate in &account.fates[..used] {
                balance.fates[fate.swap(Fate::Pending as u8, Ordering::Relaxed) as usize] += 1;
            }
            account.last.iter().for_each(|last| last.store(0, Ordering::Relaxed));
        }
        FREE.lock().unwrap().push(self);
        balance
    }
}
