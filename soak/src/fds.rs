//! The fds that are watched: eventfds, so that each event carries a number that can be added up.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use alooper::{Events, FdHandle, FdNext, Interest, Looper};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::{
    dice::Dice,
    life::Life,
    plant::{self, Fault},
    tally::{self, Count},
};

/// What a looper that is drained has to have served.
const SERVED: u64 = 1;
const NOT_SERVED: u64 = 0;

/// An fd, for as long as the process lives. Each is changed and written by one producer alone.
#[derive(Debug)]
pub struct Cell {
    fd: EventFd,
    written: AtomicU64,
    /// By callbacks.
    read: AtomicU64,
    /// The looper that watches it, twice, plus whether that serves it.
    watched: AtomicU64,
}

impl Cell {
    pub fn new() -> io::Result<Cell> {
        let fd = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Cell { fd, written: AtomicU64::new(0), read: AtomicU64::new(0), watched: AtomicU64::new(0) })
    }

    fn write(&self) {
        let lost = u64::from(plant::is_due(Fault::FdEvent));
        self.written.fetch_add(1 + lost, Ordering::Relaxed);
        self.fd.write(1).expect("an eventfd takes a number");
    }

    fn note(&self, looper: u64, served: u64) {
        self.watched.store(2 * looper + served, Ordering::Relaxed);
    }

    /// On the thread of `looper`, when that has served all that is ready.
    pub fn check_is_served(&self, looper: u64) {
        if self.watched.load(Ordering::Relaxed) == 2 * looper + SERVED
            && let Ok(number) = self.fd.read()
        {
            self.read.fetch_add(number, Ordering::Relaxed);
            tally::find(Count::FdEventsLost, || format!("{number} in an fd when its looper was idle"));
        }
    }

    /// When no looper watches it: all that was written was read, or still is there.
    pub fn check_is_whole(&self) {
        let left = self.fd.read().unwrap_or(0);
        let read = self.read.swap(0, Ordering::Relaxed) + left;
        let written = self.written.swap(0, Ordering::Relaxed);
        if read != written {
            tally::find(Count::FdEventsLost, || format!("{written} written, {read} read"));
        }
        self.note(0, NOT_SERVED);
    }
}

/// How many sources there are.
static SOURCES: AtomicI64 = AtomicI64::new(0);

/// What a looper owns while it watches a cell.
#[derive(Debug)]
pub struct Source {
    cell: &'static Cell,
}

impl Source {
    fn new(cell: &'static Cell) -> Source {
        SOURCES.fetch_add(1, Ordering::Relaxed);
        Source { cell }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        SOURCES.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.cell.fd.as_fd()
    }
}

/// When no looper is left: all sources were dropped, each once.
pub fn check_sources() {
    let left = SOURCES.swap(0, Ordering::Relaxed);
    if left != 0 {
        tally::find(Count::SourcesLost, || format!("{left} sources too many"));
    }
}

/// What becomes of a registration in its callback.
#[derive(Clone, Copy, Debug)]
enum Habit {
    Stays,
    RemovesItself,
    /// Is writable at first, and asks for input then.
    Changes,
}

/// A registration as its producer knows it.
#[derive(Debug)]
struct Watch {
    looper: u64,
    handle: FdHandle,
    habit: Habit,
}

/// A producer's part of the fds.
#[derive(Debug)]
pub struct Desk {
    cells: Vec<&'static Cell>,
    watches: Vec<Option<Watch>>,
    slots: usize,
    /// The looper that watches the fds of each slot.
    living: Vec<u64>,
}

impl Desk {
    pub fn new(cells: &'static [Cell], producer: usize, producers: usize, slots: usize) -> Desk {
        let cells: Vec<_> = cells.iter().skip(producer).step_by(producers).collect();
        let watches = cells.iter().map(|_| None).collect();
        Desk { cells, watches, slots, living: vec![0; slots] }
    }

    /// Has all fds of this slot watched, if `life` is new in it.
    pub fn move_in(&mut self, life: &Life, dice: &mut Dice) {
        if self.living[life.slot] == life.id {
            return;
        }
        self.living[life.slot] = life.id;
        for at in (life.slot..self.cells.len()).step_by(self.slots) {
            if !self.add(at, life, dice) {
                return;
            }
        }
    }

    /// Does something with an fd of this slot. `false` if the looper has quit.
    pub fn visit(&mut self, life: &Life, dice: &mut Dice) -> bool {
        let many = self.cells.len() / self.slots;
        if many == 0 {
            return true;
        }
        let at = dice.below(many as u64) as usize * self.slots + life.slot;
        let cell = self.cells[at];
        let Some(watch) = &self.watches[at] else { return self.add(at, life, dice) };
        if watch.looper != life.id {
            // That looper may be gone: it must be answered all the same.
            if dice.one_in(4) {
                watch.handle.remove();
            }
            return self.add(at, life, dice);
        }
        if matches!(watch.habit, Habit::RemovesItself) && dice.one_in(2) {
            if !watch.handle.is_registered() {
                return self.add(at, life, dice);
            }
            cell.write();
            return true;
        }
        let changed = match dice.below(10) {
            0 => {
                cell.note(life.id, NOT_SERVED);
                self.watches[at].take().is_some_and(|watch| watch.handle.remove())
            }
            1 => {
                cell.note(life.id, NOT_SERVED);
                watch.handle.set_interest(Interest::empty()).is_ok()
            }
            2 | 3 => {
                let changed = watch.handle.set_interest(Interest::INPUT).is_ok();
                if changed && matches!(watch.habit, Habit::Stays) {
                    cell.note(life.id, SERVED);
                }
                changed
            }
            4 => watch.handle.repoll().is_ok(),
            5 => return self.replace(at, life, dice),
            _ => {
                cell.write();
                false
            }
        };
        tally::add(Count::FdChanges, u64::from(changed));
        true
    }

    fn add(&mut self, at: usize, life: &Life, dice: &mut Dice) -> bool {
        self.register(at, life, dice, false)
    }

    fn replace(&mut self, at: usize, life: &Life, dice: &mut Dice) -> bool {
        self.register(at, life, dice, true)
    }

    fn register(&mut self, at: usize, life: &Life, dice: &mut Dice, replace: bool) -> bool {
        let cell = self.cells[at];
        let habit = match dice.below(10) {
            0 => Habit::RemovesItself,
            1 => Habit::Changes,
            _ => Habit::Stays,
        };
        let served = if matches!(habit, Habit::Stays) { SERVED } else { NOT_SERVED };
        let interest = if matches!(habit, Habit::Changes) { Interest::OUTPUT } else { Interest::INPUT };
        let source = Source::new(cell);
        if plant::is_due(Fault::Source) {
            std::mem::forget(Source::new(cell));
        }
        let callback = move |_: &Looper, source: &mut Source, events: Events| serve(source, events, habit);
        let added = if replace {
            life.handle.replace_fd(source, interest, callback)
        } else {
            life.handle.add_fd(source, interest, callback)
        };
        match added {
            Ok(handle) => {
                cell.note(life.id, served);
                self.watches[at] = Some(Watch { looper: life.id, handle, habit });
                tally::add(Count::FdChanges, 1);
                true
            }
            Err(refused) => {
                let error = refused.error();
                if error.kind() != io::ErrorKind::BrokenPipe {
                    tally::find(Count::Unbalanced, || format!("an fd was refused: {error}"));
                }
                false
            }
        }
    }
}

fn serve(source: &mut Source, events: Events, habit: Habit) -> FdNext {
    tally::add(Count::FdEvents, 1);
    if events.contains(Events::INPUT) {
        // Another looper, which is just ending, may have read it.
        let number = source.cell.fd.read().unwrap_or(0);
        source.cell.read.fetch_add(number, Ordering::Relaxed);
    }
    match habit {
        Habit::Stays => FdNext::Keep,
        Habit::RemovesItself => FdNext::Remove,
        Habit::Changes => FdNext::Interest(Interest::INPUT),
    }
}

/// On the looper's own thread: a new fd comes, changes and goes again.
pub fn come_and_go(looper: &Looper) {
    let Ok(fd) = EventFd::from_value_and_flags(1, EfdFlags::EFD_NONBLOCK) else { return };
    let added = looper.add_fd(fd, Interest::INPUT, |_, _, _| {
        tally::find(Count::Unbalanced, || "an fd was served that had been removed".to_owned());
        FdNext::Keep
    });
    let Ok(watched) = added else { return };
    let changed = watched.set_interest(Interest::OUTPUT).is_ok();
    let Some(fd) = watched.remove() else {
        tally::find(Count::SourcesLost, || "removing an fd does not give it back".to_owned());
        return;
    };
    tally::add(Count::FdChanges, 2 + u64::from(changed));
    if plant::is_due(Fault::Fd) {
        std::mem::forget(fd);
    }
}
