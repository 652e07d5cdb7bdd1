//! Short histories of several threads at once, of which only that is checked which holds in whatever order they meet.
//!
//! A count that all threads share tells which call had returned before another one began.

use std::{
    sync::{
        Arc, Barrier, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    elsewhere::Elsewhere,
    plan::{Deed, POSTERS, Plan, To, When},
};
use alooper::{Handler, Looper, LooperHandle, Posted};

const HOUR: Duration = Duration::from_secs(3600);

/// What is common to all threads.
struct Record {
    count: AtomicU64,
    fates: Mutex<Vec<Arc<Fate>>>,
    removals: Mutex<Vec<Removal>>,
    /// What was cancelled in vain, and when that had returned.
    vain: Mutex<Vec<(Arc<Fate>, u64)>>,
    /// What removals and cancels said that they kept from running.
    removed: AtomicU64,
    begun: OnceLock<Instant>,
}

impl Record {
    fn time(&self, after: u64) -> Instant {
        *self.begun.get().expect("all threads have begun") + Duration::from_micros(after)
    }

    fn tick(&self) -> u64 {
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn note_removed(&self, count: usize) {
        self.removed.fetch_add(count as u64, Ordering::SeqCst);
    }
}

/// What became of one message. Zero stands for not yet.
struct Fate {
    thread: usize,
    /// Whose it is and its `what`; `None` for a closure.
    labels: Option<(To, i32)>,
    when: When,
    asynchronous: bool,
    called: u64,
    /// When the call had returned; stays zero if it was refused.
    accepted: AtomicU64,
    started: AtomicU64,
    starts: AtomicU64,
    is_early: AtomicU64,
    is_cancelled: AtomicU64,
    drops: AtomicU64,
}

/// Says what becomes of it.
struct Payload(Arc<Fate>);

impl Drop for Payload {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, Ordering::SeqCst);
    }
}

impl Payload {
    fn start(&self, record: &Record, now: Instant) {
        self.0.started.store(record.tick(), Ordering::SeqCst);
        self.0.starts.fetch_add(1, Ordering::SeqCst);
        if matches!(self.0.when, When::At(after) if now < record.time(after)) {
            self.0.is_early.store(1, Ordering::SeqCst);
        }
    }
}

/// A removal: none that was accepted before it began starts after it has ended.
struct Removal {
    thread: usize,
    from: To,
    what: Option<i32>,
    began: u64,
    ended: u64,
}

impl Removal {
    fn concerns(&self, fate: &Fate) -> bool {
        let accepted = fate.accepted.load(Ordering::SeqCst);
        let is_its = fate.labels.is_some_and(|(to, what)| {
            to == self.from && (to == To::Shared || fate.thread == self.thread) && self.what.is_none_or(|w| w == what)
        });
        is_its && accepted > 0 && accepted < self.began
    }
}

/// One of the posting threads.
struct Poster {
    thread: usize,
    record: Arc<Record>,
    handle: LooperHandle,
    shared: Handler<Payload>,
    own: Handler<Payload>,
}

enum Ticket {
    Closure(Posted),
    Message(Posted<Payload>),
}

impl Poster {
    fn follow(&self, deeds: &[Deed]) {
        let mut tickets: Vec<(Ticket, Arc<Fate>)> = Vec::new();
        let mut barriers = Vec::new();
        for deed in deeds {
            match *deed {
                Deed::Post { when, asynchronous } => tickets.extend(self.post(when, asynchronous)),
                Deed::Send { to, what, when, asynchronous } => tickets.extend(self.send(to, what, when, asynchronous)),
                Deed::Cancel { back } => {
                    if let Some((ticket, fate)) = tickets.iter().rev().nth(back) {
                        let cancelled = match ticket {
                            Ticket::Closure(posted) => posted.cancel(),
                            Ticket::Message(posted) => posted.cancel(),
                        };
                        fate.is_cancelled.fetch_add(cancelled.into(), Ordering::SeqCst);
                        self.record.note_removed(cancelled.into());
                        if !cancelled {
                            let ended = self.record.tick();
                            self.record.vain.lock().unwrap().push((fate.clone(), ended));
                        }
                    }
                }
                Deed::Remove { from, what } => self.remove(from, what, |handler| match what {
                    None => handler.clear(),
                    Some(what) => handler.remove(what),
                }),
                Deed::RemoveIf { from, what } => {
                    let is_meant = |payload: &Payload| payload.0.labels.is_some_and(|(_, its)| its == what);
                    self.remove(from, Some(what), |handler| handler.remove_if(is_meant));
                }
                Deed::PostRemoval { what } => self.post_removal(what),
                Deed::Barrier => barriers.extend(self.handle.barrier()),
                Deed::Lift => drop(barriers.pop()),
                Deed::Quit { safely: true } => self.handle.quit_safely(),
                Deed::Quit { safely: false } => self.handle.quit(),
            }
        }
    }

    fn payload(&self, labels: Option<(To, i32)>, when: When, asynchronous: bool) -> Payload {
        let zero = || AtomicU64::new(0);
        let fate = Arc::new(Fate {
            thread: self.thread,
            labels,
            when,
            asynchronous,
            called: self.record.tick(),
            accepted: zero(),
            started: zero(),
            starts: zero(),
            is_early: zero(),
            is_cancelled: zero(),
            drops: zero(),
        });
        self.record.fates.lock().unwrap().push(fate.clone());
        Payload(fate)
    }

    fn post(&self, when: When, asynchronous: bool) -> Option<(Ticket, Arc<Fate>)> {
        let payload = self.payload(None, when, asynchronous);
        let (fate, record) = (payload.0.clone(), self.record.clone());
        let closure = move |looper: &Looper| payload.start(&record, looper.now());
        let handle = if asynchronous { self.handle.asynchronous() } else { self.handle.clone() };
        let posted = match when {
            When::Now => handle.post(closure),
            When::At(after) => handle.post_at(self.record.time(after), closure),
            When::AtFront => handle.post_at_front(closure),
            When::Later => handle.post_delayed(HOUR, closure),
        };
        self.accept(fate, posted.ok().map(Ticket::Closure))
    }

    fn send(&self, to: To, what: i32, when: When, asynchronous: bool) -> Option<(Ticket, Arc<Fate>)> {
        let payload = self.payload(Some((to, what)), when, asynchronous);
        let fate = payload.0.clone();
        let draft = self.handler(to).message(payload).what(what);
        let draft = if asynchronous { draft.asynchronous() } else { draft };
        let sent = match when {
            When::Now => draft.send(),
            When::At(after) => draft.send_at(self.record.time(after)),
            When::AtFront => draft.send_at_front(),
            When::Later => draft.send_delayed(HOUR),
        };
        self.accept(fate, sent.ok().map(Ticket::Message))
    }

    fn accept(&self, fate: Arc<Fate>, ticket: Option<Ticket>) -> Option<(Ticket, Arc<Fate>)> {
        let ticket = ticket?;
        fate.accepted.store(self.record.tick(), Ordering::SeqCst);
        Some((ticket, fate))
    }

    fn handler(&self, of: To) -> &Handler<Payload> {
        match of {
            To::Shared => &self.shared,
            To::Own => &self.own,
        }
    }

    /// Removes, and notes it. To its own handler nobody else sends: what is gone stays so.
    fn remove(&self, from: To, what: Option<i32>, remove: impl FnOnce(&Handler<Payload>) -> usize) {
        let handler = self.handler(from);
        let began = self.record.tick();
        let count = remove(handler);
        let ended = self.record.tick();
        self.record.note_removed(count);
        self.record.removals.lock().unwrap().push(Removal { thread: self.thread, from, what, began, ended });
        if from == To::Own {
            assert!(!what.map_or(!handler.is_empty(), |what| handler.has(what)), "removed and still there");
        }
    }

    fn post_removal(&self, what: i32) {
        let (thread, record, shared) = (self.thread, self.record.clone(), self.shared.clone());
        let payload = self.payload(None, When::Now, false);
        let fate = payload.0.clone();
        let posted = self.handle.post(move |looper| {
            payload.start(&record, looper.now());
            let began = record.tick();
            record.note_removed(shared.remove(what));
            let ended = record.tick();
            let removal = Removal { thread, from: To::Shared, what: Some(what), began, ended };
            record.removals.lock().unwrap().push(removal);
        });
        drop(self.accept(fate, posted.ok().map(Ticket::Closure)));
    }
}

/// Follows the plan, and says what does not hold.
pub(crate) fn check(plan: &Plan) -> Result<(), String> {
    let looper = Elsewhere::run(|_| ());
    let record = Arc::new(Record {
        count: AtomicU64::new(0),
        fates: Mutex::default(),
        removals: Mutex::default(),
        vain: Mutex::default(),
        removed: AtomicU64::new(0),
        begun: OnceLock::new(),
    });
    let receive = |record: &Arc<Record>| {
        let record = record.clone();
        looper.handle.handler(move |looper, payload: Payload| payload.start(&record, looper.now())).unwrap()
    };
    let shared = receive(&record);
    let start = Barrier::new(POSTERS);
    thread::scope(|scope| {
        for (thread, deeds) in plan.threads.iter().enumerate() {
            let (record, handle, start) = (record.clone(), looper.handle.clone(), &start);
            let poster = Poster { thread, own: receive(&record), record, handle, shared: shared.clone() };
            scope.spawn(move || {
                start.wait();
                poster.record.begun.get_or_init(|| poster.handle.now());
                poster.follow(deeds);
            });
        }
    });
    if plan.safely {
        looper.handle.quit_safely();
    } else {
        looper.handle.quit();
    }
    let report = looper.join();
    drop(shared);

    let fates = std::mem::take(&mut *record.fates.lock().unwrap());
    let mut started: Vec<u64> = fates.iter().map(|fate| fate.started.load(Ordering::SeqCst)).collect();
    started.retain(|start| *start > 0);
    started.sort_unstable();
    let accepted: Vec<&Fate> =
        fates.iter().map(|fate| &**fate).filter(|fate| fate.accepted.load(Ordering::SeqCst) > 0).collect();
    let removed = record.removed.load(Ordering::SeqCst);
    let (posted, run) = (accepted.len() as u64, started.len() as u64);
    let expected = (posted, run, removed, posted);
    let reported = (report.posted, report.run, report.removed, report.run + report.removed + report.dropped);
    if expected != reported {
        return Err(format!(
            "posted, run, removed, and the sum of all ends are {expected:?}; reported as {reported:?}"
        ));
    }
    fates.iter().try_for_each(|fate| check_fate(fate))?;
    check_order(&accepted)?;
    record.vain.lock().unwrap().iter().try_for_each(|(fate, ended)| check_start(fate, *ended, &started))?;
    record.removals.lock().unwrap().iter().try_for_each(|removal| {
        let mut concerned = accepted.iter().filter(|fate| removal.concerns(fate));
        concerned.try_for_each(|fate| check_start(fate, removal.ended, &started))
    })
}

/// M6, Q2, R1, T6: each is dropped once, and runs at most once, not early, and not if it was refused or cancelled.
fn check_fate(fate: &Fate) -> Result<(), String> {
    let load = |value: &AtomicU64| value.load(Ordering::SeqCst);
    let may_start = u64::from(load(&fate.accepted) > 0 && load(&fate.is_cancelled) == 0);
    let holds = load(&fate.drops) == 1 && load(&fate.starts) <= may_start && load(&fate.is_early) == 0;
    let said = format!("{:?} of thread {}, {:?}", fate.labels, fate.thread, fate.when);
    holds.then_some(()).ok_or_else(|| {
        let (drops, starts, early) = (load(&fate.drops), load(&fate.starts), load(&fate.is_early));
        format!("{said}: {drops} drops, {starts} starts of {may_start}, {early} early")
    })
}

/// M5: of those with the same due time, the one that was accepted before the other was posted runs first.
fn check_order(accepted: &[&Fate]) -> Result<(), String> {
    let ran = |fate: &&&Fate| fate.started.load(Ordering::SeqCst) > 0 && matches!(fate.when, When::Now | When::At(_));
    let ran: Vec<&&Fate> = accepted.iter().filter(ran).collect();
    for one in &ran {
        for next in &ran {
            let are_ordered = one.when == next.when
                && one.asynchronous == next.asynchronous
                && one.accepted.load(Ordering::SeqCst) < next.called;
            if are_ordered && one.started.load(Ordering::SeqCst) > next.started.load(Ordering::SeqCst) {
                return Err(format!("{:?} of threads {} and {} out of order", one.when, one.thread, next.thread));
            }
        }
    }
    Ok(())
}

/// R1: one that was removed, or could not be cancelled, does not start after that, unless the looper had begun it: then
/// it is the first of all that start after it.
fn check_start(fate: &Fate, ended: u64, started: &[u64]) -> Result<(), String> {
    let start = fate.started.load(Ordering::SeqCst);
    let holds = start < ended || started.iter().find(|start| **start > ended) == Some(&start);
    holds.then_some(()).ok_or_else(|| {
        let Fate { thread, labels, when, .. } = fate;
        format!("{labels:?} of thread {thread}, {when:?}, started at {start}, after the call that ended at {ended}")
    })
}
