//! The model's fds: files and their descriptors, the kernel's set, registrations, and the end of a turn.

use std::{io, mem};

use alooper::Events;

use super::{Model, back_from, turns::Turn};
use crate::{
    history::{Answers, By, How, Op, Returns, Script, Swap},
    seen::{Event, Outcome},
};

/// F3: these are always reported.
const ALWAYS: u8 = Events::ERROR.bits() | Events::HANGUP.bits();
/// F7: in so many events of one registration, the kernel is asked once.
const CHECK_EVERY: u8 = 64;

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;

#[derive(Default)]
pub(super) struct Fds {
    files: Vec<File>,
    descriptors: Vec<Descriptor>,
    /// Descriptors that the history holds, with their files; `None` once they were let go.
    held: Vec<(Option<usize>, usize)>,
    pub(super) registrations: Vec<Registration>,
    /// What the kernel watches.
    set: Vec<Entry>,
    waits: u32,
    pub(super) spin_limit: u32,
    /// Handles set interests from another thread.
    pub(super) is_afar: bool,
    /// Whether callbacks may swap sources now.
    pub(super) may_swap: bool,
    /// In this turn the kernel reports an fd that nobody is registered for.
    has_strays: bool,
    /// For so many turns in a row it has.
    stray_turns: u32,
    /// The report says that the set was made anew.
    pub(super) is_rebuilt: bool,
}

/// What descriptors stand for.
struct File {
    ready: u8,
    is_hung: bool,
}

struct Descriptor {
    number: i32,
    file: usize,
    /// By how many the descriptor is held. It is closed by the last of them.
    holders: usize,
}

/// What the kernel watches: a file by a number, also after the number was closed.
#[derive(Clone, Copy)]
struct Entry {
    number: i32,
    file: usize,
    asked: Asked,
    registration: usize,
    /// It was added or modified, or something has changed, since it was reported last.
    has_changed: bool,
}

/// What the kernel is asked for.
#[derive(Clone, Copy)]
struct Asked {
    events: u8,
    /// Only when something changes.
    changes_alone: bool,
}

/// F8: when the kernel reports a registration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trigger {
    Level,
    /// When something changes; its next report may be of before.
    Trial,
    /// Likewise, and that has come.
    Awaited,
    Muted,
    /// F9: nobody sees the reports of what has no callback.
    Ignored,
}

pub(super) struct Registration {
    source: u32,
    callback: Option<u32>,
    /// The number by which it was added.
    number: i32,
    descriptor: usize,
    interest: u8,
    ident: Option<u32>,
    answers: Answers,
    calls: usize,
    /// It can be looked at: it was added on the looper's thread.
    is_own: bool,
    pub(super) is_registered: bool,
    /// Its callback runs, or somebody looks at it.
    is_out: bool,
    trigger: Trigger,
    hup_only: u32,
    /// How often another thread has set its interest.
    sets: u32,
    seen_in: u32,
    check_in: u8,
}

/// An event that was taken from the kernel.
pub(super) struct Taken {
    registration: usize,
    events: u8,
    /// There was a time, since it was taken, at which it would have been passed over.
    may_be_passed: bool,
}

impl Registration {
    fn asked(&self) -> Asked {
        Asked { events: self.interest, changes_alone: self.trigger != Trigger::Level || self.interest == 0 }
    }
}

impl File {
    fn events(&self) -> u8 {
        let hung = Events::INPUT | Events::OUTPUT | Events::READ_HANGUP | Events::HANGUP;
        self.ready | if self.is_hung { hung.bits() } else { 0 }
    }
}

impl Fds {
    fn file_at(&self, number: i32) -> Option<usize> {
        let open = |descriptor: &&Descriptor| descriptor.number == number && descriptor.holders > 0;
        self.descriptors.iter().find(open).map(|descriptor| descriptor.file)
    }

    /// Opens a descriptor.
    fn open(&mut self, number: i32, file: usize) -> usize {
        self.descriptors.push(Descriptor { number, file, holders: 1 });
        self.held.push((Some(self.descriptors.len() - 1), file));
        self.descriptors.len() - 1
    }

    fn let_go(&mut self, descriptor: usize) {
        self.descriptors[descriptor].holders -= 1;
        let file = self.descriptors[descriptor].file;
        let is_open = |descriptor: &Descriptor| descriptor.file == file && descriptor.holders > 0;
        if !self.descriptors.iter().any(is_open) {
            self.set.retain(|entry| entry.file != file);
        }
    }

    fn held(&self, back: usize) -> Option<(usize, usize)> {
        let (descriptor, file) = self.held[back_from(back, self.held.len())?];
        Some((descriptor?, file))
    }

    // epoll_ctl.

    fn find(&self, number: i32) -> Result<usize, i32> {
        let file = self.file_at(number).ok_or(ENOENT)?;
        self.set.iter().position(|entry| (entry.number, entry.file) == (number, file)).ok_or(ENOENT)
    }

    fn add(&mut self, number: i32, asked: Asked, registration: usize) -> Result<(), i32> {
        let file = self.file_at(number).ok_or(ENOENT)?;
        if self.find(number).is_ok() {
            return Err(EEXIST);
        }
        self.set.push(Entry { number, file, asked, registration, has_changed: true });
        Ok(())
    }

    /// F6: adds what nobody is registered for, which may have stayed in the set by another number of the same file.
    fn add_or_take_over(&mut self, number: i32, asked: Asked, registration: usize) -> Result<(), i32> {
        self.modify(number, asked, registration).or_else(|_| self.add(number, asked, registration))
    }

    fn modify(&mut self, number: i32, asked: Asked, registration: usize) -> Result<(), i32> {
        let found = self.find(number)?;
        let entry = &mut self.set[found];
        (entry.asked, entry.registration, entry.has_changed) = (asked, registration, true);
        Ok(())
    }

    /// Changes a file, of which the kernel tells who has asked for what comes with that.
    fn change(&mut self, file: usize, change: impl FnOnce(&mut File)) {
        let before = self.files[file].events();
        change(&mut self.files[file]);
        let risen = self.files[file].events() & !before;
        for entry in self.set.iter_mut().filter(|entry| entry.file == file) {
            entry.has_changed |= risen & (entry.asked.events | ALWAYS) != 0;
        }
    }

    fn delete(&mut self, number: i32) {
        if let Ok(found) = self.find(number) {
            self.set.remove(found);
        }
    }

    fn events_of(&self, entry: &Entry) -> u8 {
        let events = self.files[entry.file].events() & (entry.asked.events | ALWAYS);
        if entry.asked.changes_alone && !entry.has_changed { 0 } else { events }
    }

    // Registrations.

    /// What is asked for of an event, unless nobody is to be called for it.
    fn wanted(&self, taken: &Taken) -> Option<u8> {
        let registration = &self.registrations[taken.registration];
        let wanted = taken.events & (registration.interest | ALWAYS);
        (registration.is_registered && wanted != 0).then_some(wanted)
    }

    fn is_stray(&self, registration: usize) -> bool {
        !self.registrations[registration].is_registered
    }

    /// Whether the kernel watches an fd that nobody is registered for.
    fn has_orphans(&self) -> bool {
        self.set.iter().any(|entry| self.is_stray(entry.registration))
    }

    /// Whether the set may have to be made anew: for an fd that nobody is registered for, or whose registration has
    /// only to end for that, since it is not what the number stands for now.
    pub(super) fn may_be_spoilt(&self) -> bool {
        self.has_orphans() || self.set.iter().any(|entry| self.file_at(entry.number) != Some(entry.file))
    }

    pub(super) fn is_any_ready(&self) -> bool {
        self.set.iter().any(|entry| self.events_of(entry) != 0)
    }

    /// T9: takes all that is ready.
    pub(super) fn wait(&mut self) -> Vec<Taken> {
        self.waits = self.waits.wrapping_add(1);
        let ready = self.set.iter().map(|entry| (entry.registration, self.events_of(entry)));
        let taken = |(registration, events)| Taken { registration, events, may_be_passed: false };
        let taken: Vec<Taken> = ready.filter(|(_, events)| *events != 0).map(taken).collect();
        self.set.iter_mut().for_each(|entry| entry.has_changed = false);
        self.has_strays |= taken.iter().any(|taken| self.is_stray(taken.registration));
        taken
    }

    pub(super) fn begin_turn(&mut self) {
        self.has_strays = false;
    }

    /// F7: whether the turn has nothing else to end for, and an fd that nobody is registered for keeps it from
    /// sleeping, so that it goes on until the set is made anew.
    pub(super) fn must_rebuild(&self) -> bool {
        self.has_strays && self.has_orphans() && self.is_any_ready()
    }

    /// F14: what it has already makes no call, unless there is something to lift.
    fn set_interest(&mut self, index: usize, interest: u8) -> Outcome {
        let registration = &mut self.registrations[index];
        let is_known = registration.interest == interest
            && registration.trigger == Trigger::Level
            && (interest != 0 || registration.hup_only == 0);
        if registration.is_registered && is_known {
            registration.hup_only = 0;
            return Outcome::Done;
        }
        self.watch_for(index, interest)
    }

    fn watch_for(&mut self, index: usize, interest: u8) -> Outcome {
        let Registration { number, is_registered, .. } = self.registrations[index];
        if !is_registered {
            return Outcome::Failed(io::ErrorKind::NotFound);
        }
        match self.modify(number, Asked { events: interest, changes_alone: interest == 0 }, index) {
            Ok(()) => {
                let registration = &mut self.registrations[index];
                (registration.interest, registration.trigger, registration.hup_only) = (interest, Trigger::Level, 0);
                Outcome::Done
            }
            Err(errno) => Outcome::Failed(io::Error::from_raw_os_error(errno).kind()),
        }
    }

    /// F8: counts an event that is served; whether the kernel turns out to have lost its fd.
    fn count(&mut self, index: usize, events: u8) -> bool {
        let (wait, spin_limit) = (self.waits, self.spin_limit);
        let registration = &mut self.registrations[index];
        let is_hup_only = events & !ALWAYS == 0;
        let before = if registration.seen_in.wrapping_add(1) == wait { registration.hup_only } else { 0 };
        registration.hup_only = if is_hup_only { before + 1 } else { 0 };
        registration.seen_in = wait;
        registration.check_in -= 1;
        if registration.check_in == 0 {
            registration.check_in = CHECK_EVERY;
            let number = registration.number;
            if self.find(number).is_err() {
                return true;
            }
        }
        let registration = &mut self.registrations[index];
        let is_suspect = spin_limit > 0 && registration.hup_only + 1 >= spin_limit.max(2);
        let trigger = match registration.trigger {
            Trigger::Level if is_suspect && registration.interest != 0 => Trigger::Trial,
            Trigger::Trial if is_suspect => {
                registration.trigger = Trigger::Awaited;
                return false;
            }
            Trigger::Muted if is_hup_only => return false,
            Trigger::Level | Trigger::Ignored => return false,
            Trigger::Trial | Trigger::Awaited | Trigger::Muted => {
                registration.hup_only = 0;
                Trigger::Level
            }
        };
        let before = std::mem::replace(&mut registration.trigger, trigger);
        let (number, asked) = (registration.number, registration.asked());
        if self.modify(number, asked, index).is_err() {
            self.registrations[index].trigger = before;
            return true;
        }
        false
    }

    /// F8: whether the kernel is told to report it in another way if this event is served.
    fn is_guarded(&self, taken: &Taken) -> bool {
        let registration = &self.registrations[taken.registration];
        let is_hup_only = taken.events & (registration.interest | ALWAYS) & !ALWAYS == 0;
        let is_in_a_row = registration.seen_in.wrapping_add(1) == self.waits;
        let count = if !is_hup_only {
            0
        } else if is_in_a_row {
            registration.hup_only + 1
        } else {
            1
        };
        let is_suspect = self.spin_limit > 0 && count + 1 >= self.spin_limit.max(2);
        match registration.trigger {
            Trigger::Level => is_suspect && registration.interest != 0,
            Trigger::Trial => !is_suspect,
            Trigger::Awaited => true,
            Trigger::Muted => !is_hup_only,
            Trigger::Ignored => false,
        }
    }

    /// F9: nobody has seen that these were reported, so that only changes of them are from now on.
    pub(super) fn ignore(&mut self, reported: &[(u32, u8)]) {
        for index in 0..self.registrations.len() {
            let Registration { number, ident, is_registered, trigger, .. } = self.registrations[index];
            let is_reported = reported.iter().any(|(reported, _)| Some(*reported) == ident);
            if is_registered && is_reported && trigger != Trigger::Ignored {
                self.registrations[index].trigger = Trigger::Ignored;
                if self.modify(number, self.registrations[index].asked(), index).is_err() {
                    self.registrations[index].trigger = trigger;
                }
            }
        }
    }

    /// F8: what the last wait has not reported does not change. It is muted if there were enough of them in a row; whether some
    /// are watched as before.
    pub(super) fn end_trials(&mut self) -> bool {
        let mut is_revived = false;
        for index in 0..self.registrations.len() {
            let registration = &mut self.registrations[index];
            if registration.trigger != Trigger::Awaited || registration.seen_in == self.waits {
                continue;
            }
            let has_spun = std::mem::take(&mut registration.hup_only) >= self.spin_limit.max(2);
            registration.trigger = if has_spun { Trigger::Muted } else { Trigger::Level };
            is_revived |= !has_spun;
            let (number, asked) = (registration.number, registration.asked());
            if !has_spun && self.modify(number, asked, index).is_err() {
                self.registrations[index].trigger = Trigger::Awaited;
            }
        }
        is_revived
    }

    /// Whether the next wait has to show something at once.
    pub(super) fn has_trials(&self) -> bool {
        let is_awaited = |it: &Registration| it.is_registered && it.trigger == Trigger::Awaited;
        self.registrations.iter().any(is_awaited)
    }
}

impl Model {
    pub(super) fn apply_to_fds(&mut self, op: &Op) -> Outcome {
        match *op {
            Op::Open => {
                self.open();
                Outcome::Done
            }
            Op::Dup { back } => match self.fds.held(back) {
                Some((_, file)) => {
                    let number = self.opened();
                    self.fds.open(number, file);
                    Outcome::Done
                }
                None => Outcome::Nothing,
            },
            Op::Close { back } => match back_from(back, self.fds.held.len()) {
                Some(index) => {
                    if let Some(descriptor) = self.fds.held[index].0.take() {
                        self.fds.let_go(descriptor);
                    }
                    Outcome::Done
                }
                None => Outcome::Nothing,
            },
            Op::Ready { back, events } => match self.fds.held(back) {
                Some((_, file)) => {
                    self.fds.change(file, |file| file.ready = events);
                    Outcome::Done
                }
                None => Outcome::Nothing,
            },
            Op::Hang { back } => match back_from(back, self.fds.held.len()) {
                Some(index) => {
                    self.fds.change(self.fds.held[index].1, |file| file.is_hung = true);
                    Outcome::Done
                }
                None => Outcome::Nothing,
            },
            Op::Watch { by, back, how, interest, ref answers } => match self.fds.held(back) {
                Some((descriptor, _)) => self.watch(by, descriptor, how, interest, answers),
                None => Outcome::Nothing,
            },
            Op::SetInterest { by, back, interest } => match self.watched(back) {
                Some(index) => {
                    self.fds.registrations[index].sets += u32::from(self.fds.is_afar && by != By::Looper);
                    self.fds.set_interest(index, interest)
                }
                None => Outcome::Nothing,
            },
            Op::Repoll { back, .. } => match self.watched(back) {
                Some(index) => self.fds.watch_for(index, self.fds.registrations[index].interest),
                None => Outcome::Nothing,
            },
            Op::Unwatch { by, back } => match self.watched(back) {
                Some(index) => self.unwatch(by, index),
                None => Outcome::Nothing,
            },
            Op::Lend { back, swap, ref script } => match self.watched(back) {
                Some(index) if self.fds.registrations[index].is_own => self.lend(index, swap, script),
                _ => Outcome::Nothing,
            },
            _ => unreachable!("it has to do with fds"),
        }
    }

    fn watched(&self, back: usize) -> Option<usize> {
        back_from(back, self.fds.registrations.len())
    }

    /// A descriptor is opened: the kernel chooses its number.
    fn opened(&mut self) -> i32 {
        let number = match self.next_seen() {
            Some(Event::Opened(number)) => *number,
            _ => -1,
        };
        self.events.push(Event::Opened(number));
        number
    }

    fn open(&mut self) -> usize {
        let number = self.opened();
        self.fds.files.push(File { ready: 0, is_hung: false });
        self.fds.open(number, self.fds.files.len() - 1)
    }

    /// F1, F2, Q5.
    fn watch(&mut self, by: By, descriptor: usize, how: How, interest: u8, answers: &Answers) -> Outcome {
        let source = self.number();
        let ident = if let How::Ident(ident) = how { Some(ident) } else { None };
        let callback = ident.is_none().then(|| self.number());
        let number = self.fds.descriptors[descriptor].number;
        let added = if self.has_quit {
            Err(io::ErrorKind::BrokenPipe)
        } else {
            self.enter(number, how, interest).map_err(|errno| io::Error::from_raw_os_error(errno).kind())
        };
        let ended = match added {
            Ok(ended) => ended,
            Err(kind) => {
                self.events.extend(callback.map(Event::Dropped));
                self.events.extend([Event::GivenBack(source), Event::Dropped(source)]);
                return Outcome::Failed(kind);
            }
        };
        self.fds.descriptors[descriptor].holders += 1;
        self.fds.registrations.push(Registration {
            source,
            callback,
            number,
            descriptor,
            interest,
            ident,
            answers: answers.clone(),
            calls: 0,
            is_own: by == By::Looper,
            is_registered: true,
            is_out: false,
            trigger: Trigger::Level,
            hup_only: 0,
            sets: 0,
            seen_in: 0,
            check_in: CHECK_EVERY,
        });
        if let Some(ended) = ended {
            self.end(ended);
        }
        Outcome::Accepted
    }

    /// Tells the kernel of a registration that is about to be made. Gives the one that it ends: one that it replaces,
    /// or one whose fd has died.
    fn enter(&mut self, number: i32, how: How, interest: u8) -> Result<Option<usize>, i32> {
        let fds = &mut self.fds;
        let new = fds.registrations.len();
        let is_old = |registration: &Registration| registration.is_registered && registration.number == number;
        let old = fds.registrations.iter().position(is_old);
        let asked = Asked { events: interest, changes_alone: interest == 0 };
        if old.is_some() && how != How::Replacing {
            fds.add(number, asked, new)?;
        } else {
            fds.add_or_take_over(number, asked, new)?;
        }
        Ok(old)
    }

    /// F4: it is not called again; source and callback are dropped, unless they are in use.
    fn end(&mut self, index: usize) {
        let registration = &mut self.fds.registrations[index];
        registration.is_registered = false;
        if !registration.is_out {
            let Registration { source, callback, descriptor, .. } = *registration;
            self.events.extend([source].into_iter().chain(callback).map(Event::Dropped));
            self.fds.let_go(descriptor);
        }
    }

    fn deregister(&mut self, index: usize) {
        self.fds.delete(self.fds.registrations[index].number);
        self.end(index);
    }

    /// F12.
    fn unwatch(&mut self, by: By, index: usize) -> Outcome {
        let Registration { source, is_registered, is_out, is_own, .. } = self.fds.registrations[index];
        let gives_back = is_own && by == By::Looper;
        if is_registered {
            if gives_back && !is_out {
                // Its callback goes first.
                let at = self.events.len();
                self.deregister(index);
                let dropped = self.events.split_off(at).into_iter().filter(|event| *event != Event::Dropped(source));
                self.events.extend(dropped.collect::<Vec<_>>());
                self.events.extend([Event::GivenBack(source), Event::Dropped(source)]);
            } else {
                self.deregister(index);
            }
        }
        match by {
            By::AsynchronousHandle if is_own => Outcome::Done,
            _ => Outcome::Cancelled(is_registered && !(gives_back && is_out)),
        }
    }

    fn lend(&mut self, index: usize, swap: Option<Swap>, script: &Script) -> Outcome {
        if !self.fds.registrations[index].is_registered || self.fds.registrations[index].is_out {
            return Outcome::Lent(false);
        }
        self.fds.registrations[index].is_out = true;
        self.callbacks += 1;
        self.swap(index, swap);
        self.follow(script);
        self.callbacks -= 1;
        self.conclude(index, Returns::Keep, 0);
        Outcome::Lent(true)
    }

    fn swap(&mut self, index: usize, swap: Option<Swap>) {
        let old = self.fds.registrations[index].descriptor;
        if !self.fds.may_swap {
            return;
        }
        match swap {
            None => {}
            Some(Swap::Held(back)) => {
                if let Some((descriptor, _)) = self.fds.held(back) {
                    self.fds.descriptors[descriptor].holders += 1;
                    self.fds.let_go(old);
                    self.fds.registrations[index].descriptor = descriptor;
                }
            }
            Some(Swap::Anew) => {
                self.fds.let_go(old);
                let descriptor = self.open();
                self.fds.descriptors[descriptor].holders += 1;
                self.fds.registrations[index].descriptor = descriptor;
            }
        }
    }

    /// F5, F7: what a callback has answered is done, and what was in use is put back, or dropped if its registration
    /// has ended.
    fn conclude(&mut self, index: usize, returns: Returns, sets_before: u32) {
        let Registration { number, descriptor, interest, is_registered, sets, .. } = self.fds.registrations[index];
        let is_unchanged = self.fds.descriptors[descriptor].number == number;
        let keeps = match returns {
            Returns::Remove => false,
            Returns::Interest(new) if is_unchanged && new != interest && sets == sets_before => {
                self.fds.watch_for(index, new) == Outcome::Done
            }
            _ => is_unchanged,
        };
        if is_registered && !keeps {
            self.deregister(index);
        }
        self.fds.registrations[index].is_out = false;
        if !self.fds.registrations[index].is_registered {
            self.end(index);
        }
    }

    /// T2, T7, F4, F9: calls back for what was taken, each once, in the order that was seen; then notes the idents.
    pub(super) fn serve_fds(&mut self, mut taken: Vec<Taken>, turn: &mut Turn) {
        let (mut idents, mut calls): (Vec<_>, Vec<_>) =
            taken.drain(..).partition(|taken| self.fds.registrations[taken.registration].ident.is_some());
        while let Some(index) = self.next_call(&mut calls) {
            let taken = calls.remove(index);
            if let Some(events) = self.fds.wanted(&taken) {
                self.call(taken.registration, events, turn);
            }
        }
        idents.retain(|_| !self.has_quit);
        for taken in idents {
            if let Some(events) = self.fds.wanted(&taken) {
                if self.fds.count(taken.registration, events) {
                    self.bury(taken.registration);
                } else {
                    turn.idents.extend(self.fds.registrations[taken.registration].ident.map(|ident| (ident, events)));
                }
            }
        }
    }

    /// The place of the event that is served next: of those that have to be, the one that was.
    fn next_call(&self, calls: &mut [Taken]) -> Option<usize> {
        if self.has_quit {
            return None;
        }
        for taken in calls.iter_mut() {
            taken.may_be_passed |= self.fds.wanted(taken).is_none();
        }
        let seen = match self.next_seen() {
            Some(Event::Called { number, .. }) => Some(*number),
            _ => None,
        };
        let is_seen = |taken: &Taken| seen.is_some() && self.fds.registrations[taken.registration].callback == seen;
        let may = |taken: &Taken| self.fds.wanted(taken).is_some();
        let has_to = |taken: &Taken| !taken.may_be_passed && !self.is_dying(taken);
        let seen = calls.iter().position(|taken| may(taken) && is_seen(taken));
        // One that has died is found out instead of being called.
        let dying = calls.iter().position(|taken| may(taken) && self.is_dying(taken));
        seen.or(dying).or_else(|| calls.iter().position(has_to))
    }

    /// Whether its fd has died, and that is found out now.
    fn is_dying(&self, taken: &Taken) -> bool {
        let registration = &self.fds.registrations[taken.registration];
        let is_looked_at = registration.check_in == 1 || self.fds.is_guarded(taken);
        is_looked_at && self.fds.find(registration.number).is_err()
    }

    fn call(&mut self, index: usize, events: u8, turn: &mut Turn) {
        if self.fds.count(index, events) {
            return self.bury(index);
        }
        turn.fds += 1;
        let registration = &mut self.fds.registrations[index];
        registration.is_out = true;
        registration.calls += 1;
        let (calls, answers, sets) = (registration.calls, registration.answers.clone(), registration.sets);
        let number = registration.callback.expect("an ident is not called");
        self.events.push(Event::Called { number, at: self.now, events });
        let mut returns = Returns::Remove;
        match answers.get(calls - 1) {
            Some(answer) => {
                if answer.drains {
                    let file = self.fds.descriptors[self.fds.registrations[index].descriptor].file;
                    self.fds.change(file, |file| file.ready &= !Events::INPUT.bits());
                }
                self.swap(index, answer.swap);
                self.follow(&answer.script);
                if calls < answers.len() {
                    returns = answer.next;
                }
            }
            None => self.follow(&Script::from([])),
        }
        self.conclude(index, returns, sets);
    }

    /// F7: the fd of a registration was found to have died. When among the callbacks of its turn, the kernel's order says.
    fn bury(&mut self, index: usize) {
        let at = self.events.len();
        self.end(index);
        let buried = self.events.split_off(at);
        self.given_up.extend(buried.into_iter().filter_map(|event| match event {
            Event::Dropped(number) => Some(number),
            _ => None,
        }));
    }

    /// F7: the set was made anew: strays are gone, and so is what has died.
    pub(super) fn end_turn_with(&mut self, is_rebuilt: bool) {
        let fds = &mut self.fds;
        fds.is_rebuilt = is_rebuilt;
        // No endless spin: 100 waits are the most, and each of these turns waits.
        fds.stray_turns = if fds.has_strays && !is_rebuilt { fds.stray_turns + 1 } else { 0 };
        fds.is_rebuilt |= fds.stray_turns > 100;
        if !is_rebuilt {
            return;
        }
        for index in 0..self.fds.registrations.len() {
            let Registration { is_registered, number, .. } = self.fds.registrations[index];
            let has_died = self.fds.find(number).is_err();
            if is_registered && has_died {
                self.bury(index);
            }
        }
        let set = mem::take(&mut self.fds.set);
        let watched = set.into_iter().filter(|entry| !self.fds.is_stray(entry.registration));
        self.fds.set = watched.map(|entry| Entry { has_changed: true, ..entry }).collect();
    }

    pub(super) fn has_strays(&self) -> bool {
        self.fds.has_strays
    }
}
