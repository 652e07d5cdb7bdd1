//! The fds that belong to a looper under test, and what their callbacks do.

use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use alooper::{Events, FdHandle, FdNext, FdSource, Interest, Looper};

use super::{Payload, World};
use crate::{
    history::{Answer, Answers, By, How, Op, Returns, Script, Swap},
    kernel::{Fd, File, Kernel},
    model::back_from,
    seen::{Event, Outcome},
};

const EBADF: i32 = 9;

thread_local! {
    /// The sources that were added on this thread, by their places among all that were watched.
    static OWN: RefCell<Vec<Option<FdSource<Source>>>> = const { RefCell::new(Vec::new()) };
}

/// Nothing here is locked while the library is called.
#[derive(Default)]
pub(crate) struct Fds {
    kernel: Kernel,
    files: Mutex<Vec<File>>,
    /// Descriptors, with the places of their files; `None` once they were let go.
    held: Mutex<Vec<(Option<Fd>, usize)>>,
    watched: Mutex<Vec<FdHandle>>,
    /// Whether callbacks may swap sources now.
    may_swap: AtomicBool,
}

/// What the looper watches: a descriptor, and a value that notes when it is dropped.
pub(crate) struct Source {
    /// `None` only for a moment.
    fd: Option<Fd>,
    file: usize,
    payload: Payload,
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("it is not being swapped").as_fd()
    }
}

impl Fds {
    pub(crate) fn new(kernel: Kernel) -> Fds {
        OWN.take();
        Fds { kernel, ..Fds::default() }
    }

    /// Lets callbacks swap sources from now on, or not.
    pub(crate) fn let_swap(&self, may_swap: bool) {
        self.may_swap.store(may_swap, Ordering::Relaxed);
    }

    pub(crate) fn are_watched(&self) -> Vec<bool> {
        self.watched.lock().unwrap().iter().map(FdHandle::is_registered).collect()
    }

    fn descriptor(&self, back: usize) -> Option<(Fd, usize)> {
        let held = self.held.lock().unwrap();
        let (fd, file) = &held[back_from(back, held.len())?];
        Some((fd.clone()?, *file))
    }

    /// The handle of what was watched so far back, and its source if it was added on this thread.
    fn watched(&self, back: usize) -> Option<(FdHandle, Option<FdSource<Source>>)> {
        let watched = self.watched.lock().unwrap();
        let index = back_from(back, watched.len())?;
        Some((watched[index].clone(), OWN.with_borrow(|own| own[index].clone())))
    }

    fn hold(&self, fd: &Fd, file: usize) {
        self.held.lock().unwrap().push((Some(fd.clone()), file));
    }
}

impl World {
    /// Does what is done with fds.
    pub(super) fn apply_to_fds(self: &Arc<World>, looper: &Looper, op: &Op) -> Outcome {
        let fds = &self.fds;
        match *op {
            Op::Open => {
                self.open();
                Outcome::Done
            }
            Op::Dup { back } => fds.descriptor(back).map_or(Outcome::Nothing, |(fd, file)| {
                let other = fd.dup();
                self.note(Event::Opened(other.number()));
                fds.hold(&other, file);
                Outcome::Done
            }),
            Op::Close { back } => {
                let mut held = fds.held.lock().unwrap();
                let Some(index) = back_from(back, held.len()) else { return Outcome::Nothing };
                held[index].0 = None;
                Outcome::Done
            }
            Op::Ready { back, events } => fds.descriptor(back).map_or(Outcome::Nothing, |(fd, file)| {
                fds.files.lock().unwrap()[file].set_ready(&fd, events);
                Outcome::Done
            }),
            Op::Hang { back } => {
                let held = fds.held.lock().unwrap();
                let Some(index) = back_from(back, held.len()) else { return Outcome::Nothing };
                fds.files.lock().unwrap()[held[index].1].hang();
                Outcome::Done
            }
            Op::Watch { .. } => self.watch(looper, op),
            Op::SetInterest { by, back, interest } => fds.watched(back).map_or(Outcome::Nothing, |(handle, own)| {
                let interest = Interest::from_bits_truncate(interest);
                failed(match (by, own) {
                    (By::Looper, Some(own)) => own.set_interest(interest),
                    _ => self.from(self.is_afar && by != By::Looper, || handle.set_interest(interest)),
                })
            }),
            Op::Repoll { by, back } => fds.watched(back).map_or(Outcome::Nothing, |(handle, own)| {
                failed(match (by, own) {
                    (By::Looper, Some(own)) => own.repoll(),
                    _ => handle.repoll(),
                })
            }),
            Op::Unwatch { by, back } => fds.watched(back).map_or(Outcome::Nothing, |(handle, own)| match (by, own) {
                (By::Looper, Some(own)) => {
                    let source = own.remove();
                    Outcome::Cancelled(
                        source.map(|source| self.note(Event::GivenBack(source.payload.number))).is_some(),
                    )
                }
                (By::AsynchronousHandle, Some(own)) => {
                    drop(own.guard());
                    Outcome::Done
                }
                _ => Outcome::Cancelled(handle.remove()),
            }),
            Op::Lend { back, swap, ref script } => match fds.watched(back) {
                Some((_, Some(own))) => {
                    let look = |source: &mut Source| {
                        self.swap(source, swap);
                        self.follow(looper, script);
                    };
                    Outcome::Lent(self.inside(|| own.with(look)).is_some())
                }
                _ => Outcome::Nothing,
            },
            _ => unreachable!("it has to do with fds"),
        }
    }

    fn open(&self) -> (Fd, usize) {
        let (fd, file) = self.fds.kernel.open();
        self.note(Event::Opened(fd.number()));
        let mut files = self.fds.files.lock().unwrap();
        files.push(file);
        self.fds.hold(&fd, files.len() - 1);
        (fd, files.len() - 1)
    }

    fn watch(self: &Arc<World>, looper: &Looper, op: &Op) -> Outcome {
        let Op::Watch { by, back, how, interest, ref answers } = *op else { unreachable!("it watches") };
        let Some((fd, file)) = self.fds.descriptor(back) else { return Outcome::Nothing };
        let interest = Interest::from_bits_truncate(interest);
        let number = self.number();
        let source = Source { fd: Some(fd), file, payload: self.payload(number) };
        let own = |added: FdSource<Source>| (added.handle(), Some(added));
        let handle = |added: FdHandle| (added, None);
        let added = match (how, by) {
            (How::Ident(ident), By::Looper) => looper.add_ident(source, interest, ident).map(own),
            (How::Ident(ident), _) => self.handle.add_ident(source, interest, ident).map(handle),
            (How::Adding, By::Looper) => looper.add_fd(source, interest, self.callback(answers)).map(own),
            (How::Adding, _) => self.handle.add_fd(source, interest, self.callback(answers)).map(handle),
            (How::Replacing, By::Looper) => looper.replace_fd(source, interest, self.callback(answers)).map(own),
            (How::Replacing, _) => self.handle.replace_fd(source, interest, self.callback(answers)).map(handle),
        };
        match added {
            Ok((handle, own)) => {
                self.fds.watched.lock().unwrap().push(handle);
                OWN.with_borrow_mut(|all| all.push(own));
                Outcome::Accepted
            }
            Err(refused) => {
                let kind = refused.error().kind();
                self.note(Event::GivenBack(refused.into_source().unwrap().payload.number));
                Outcome::Failed(kind)
            }
        }
    }

    fn callback(
        self: &Arc<World>,
        answers: &Answers,
    ) -> impl FnMut(&Looper, &mut Source, Events) -> FdNext + Send + use<> {
        let (world, answers) = (self.clone(), answers.clone());
        let payload = self.payload(self.number());
        let mut calls = 0;
        move |looper, source, events| {
            let (at, events) = (world.time(looper.now()), events.bits());
            world.note(Event::Called { number: payload.number(), at, events });
            let answer = answers.get(calls);
            calls += 1;
            if let Some(Answer { drains, swap, script, .. }) = answer {
                if *drains {
                    source.fd.as_ref().unwrap().drain(&mut world.fds.files.lock().unwrap()[source.file]);
                }
                world.swap(source, *swap);
                world.follow(looper, script);
            } else {
                world.follow(looper, &Script::from([]));
            }
            match answer.map(|answer| answer.next) {
                Some(Returns::Keep) if calls < answers.len() => FdNext::Keep,
                Some(Returns::Interest(interest)) if calls < answers.len() => {
                    FdNext::Interest(Interest::from_bits_truncate(interest))
                }
                _ => FdNext::Remove,
            }
        }
    }

    fn swap(&self, source: &mut Source, swap: Option<Swap>) {
        if !self.fds.may_swap.load(Ordering::Relaxed) {
            return;
        }
        match swap {
            None => {}
            Some(Swap::Held(back)) => {
                if let Some((fd, file)) = self.fds.descriptor(back) {
                    (source.fd, source.file) = (Some(fd), file);
                }
            }
            Some(Swap::Anew) => {
                source.fd = None;
                let (fd, file) = self.open();
                (source.fd, source.file) = (Some(fd), file);
            }
        }
    }
}

/// Where the number of an fd that has died stands for nothing, that is an error like that where it stands for something
/// else: it may stand for the other end of some file.
fn failed(result: io::Result<()>) -> Outcome {
    let closed = io::Error::from_raw_os_error(EBADF).kind();
    match result {
        Ok(()) => Outcome::Done,
        Err(error) if error.kind() == closed => Outcome::Failed(ErrorKind::NotFound),
        Err(error) => Outcome::Failed(error.kind()),
    }
}
