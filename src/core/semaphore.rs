//! The semaphore of a bounded handler: how many messages it may still be sent, and who waits for that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Debug, Formatter},
    mem,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    core::shared::{Shared, Waiting},
    mem::{drop::caught, slots::Key},
    sys::{
        fork_aware_mutex::ForkAwareMutex,
        sync::{Condvar, Mutex},
    },
};

/// Counts the free places of a bounded handler, and hands them to those who wait in the order in which they came.
pub(crate) struct Semaphore {
    state: ForkAwareMutex<State>,
}

#[derive(Debug)]
struct State {
    /// None is free while somebody waits.
    free: usize,
    /// Who waits, by the number of the ticket.
    waiting: BTreeMap<u64, Waker>,
    /// Tickets for which there is a place, until their owners look.
    granted: BTreeSet<u64>,
    next_ticket: u64,
    /// The looper has quit: nobody need wait.
    is_closed: bool,
}

impl Semaphore {
    /// Makes the semaphore of a handler of `shared`'s, whose quit ends all waiting.
    pub(crate) fn new(shared: &Shared, capacity: usize) -> (Arc<Semaphore>, Option<Key>) {
        let state = State {
            free: capacity,
            waiting: BTreeMap::new(),
            granted: BTreeSet::new(),
            next_ticket: 0,
            is_closed: false,
        };
        let semaphore = Arc::new(Semaphore { state: ForkAwareMutex::new(state) });
        let key = if shared.is_inherited() { None } else { shared.senders.note(&semaphore) };
        if key.is_none() {
            semaphore.give_up();
        }
        (semaphore, key)
    }

    /// A place, if one is free.
    pub(crate) fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.state.lock()?;
        state.free = state.free.checked_sub(1)?;
        Some(Permit { semaphore: self.clone() })
    }

    /// Waits for a place, which blocks the thread. `None` if the looper has quit.
    pub(crate) fn acquire(self: &Arc<Self>) -> Option<Permit> {
        let bell = Arc::new(Bell { has_rung: Mutex::new(false), rung: Condvar::new() });
        let waker = Waker::from(bell.clone());
        let mut pending = self.line_up();
        loop {
            match pending.poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(permit) => return permit,
                Poll::Pending => bell.wait(),
            }
        }
    }

    /// Begins to wait for a place.
    pub(crate) fn line_up(self: &Arc<Self>) -> PendingPermit {
        PendingPermit { semaphore: self.clone(), ticket: None }
    }

    /// Hands a place to the one who has waited longest, or leaves it free.
    fn release(&self) {
        let next = self.state.lock().and_then(|mut state| {
            let next = state.waiting.pop_first();
            match &next {
                Some((ticket, _)) => _ = state.granted.insert(*ticket),
                None => state.free += 1,
            }
            next
        });
        if let Some((_, waker)) = next {
            // It may be a user's, and panic: that must not end a message that is about to run.
            _ = caught(|| waker.wake());
        }
    }
}

impl Waiting for Semaphore {
    fn give_up(&self) {
        let waiting = self.state.lock().map(|mut state| {
            state.is_closed = true;
            mem::take(&mut state.waiting)
        });
        waiting.into_iter().flatten().for_each(|(_, waker)| _ = caught(|| waker.wake()));
    }
}

impl Debug for Semaphore {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").finish_non_exhaustive()
    }
}

/// A message of a bounded handler, and the place that it takes.
pub(crate) struct Bounded<M> {
    pub(crate) message: M,
    pub(crate) permit: Permit,
}

/// A place that is taken, until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    semaphore: Arc<Semaphore>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.semaphore.release();
    }
}

/// A place that somebody waits for. One that was granted and not taken goes to the next.
#[derive(Debug)]
pub(crate) struct PendingPermit {
    semaphore: Arc<Semaphore>,
    ticket: Option<u64>,
}

impl PendingPermit {
    /// Gives the place when there is one, or `None` when the looper has quit; else wakes `context` then.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Permit>> {
        // Cloned and dropped with nothing locked, since it may be a user's.
        let waker = context.waker().clone();
        let Some(mut state) = self.semaphore.state.lock() else {
            return Poll::Ready(None);
        };
        let (answer, displaced) = state.look(&mut self.ticket, waker);
        drop(state);
        drop(displaced);
        answer.map(|is_granted| is_granted.then(|| Permit { semaphore: self.semaphore.clone() }))
    }
}

impl State {
    /// Takes a place if there is one for the owner of `ticket`; otherwise lets `waker` be woken for it. Gives a waker that
    /// is to be dropped.
    fn look(&mut self, ticket: &mut Option<u64>, waker: Waker) -> (Poll<bool>, Option<Waker>) {
        let is_granted = match *ticket {
            Some(number) => self.granted.remove(&number),
            None => self.free.checked_sub(1).inspect(|free| self.free = *free).is_some(),
        };
        if is_granted {
            *ticket = None;
            return (Poll::Ready(true), Some(waker));
        }
        if self.is_closed {
            return (Poll::Ready(false), Some(waker));
        }
        let number = *ticket.get_or_insert(self.next_ticket);
        self.next_ticket = self.next_ticket.max(number + 1);
        (Poll::Pending, self.waiting.insert(number, waker))
    }
}

impl Drop for PendingPermit {
    fn drop(&mut self) {
        let Some((ticket, mut state)) = self.ticket.zip(self.semaphore.state.lock()) else {
            return;
        };
        let is_granted = state.granted.remove(&ticket);
        let waker = state.waiting.remove(&ticket);
        drop(state);
        drop(waker);
        if is_granted {
            self.semaphore.release();
        }
    }
}

/// Wakes a thread that waits.
struct Bell {
    has_rung: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    fn wait(&self) {
        let mut has_rung = self.has_rung.lock();
        while !*has_rung {
            has_rung = self.rung.wait(has_rung);
        }
        *has_rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.has_rung.lock() = true;
        self.rung.notify_all();
    }
}
