//! Random changes of registrations, most of them out of callbacks, against a plain list of what is registered.
//!
//! Slots and fd numbers are few, so that each event may well find its slot or its number in other hands.
//!
//! Holds F2, F4, F5, F6, C15, C16, C23, C24.

use std::collections::HashSet;

use super::*;

/// How many fds there are.
const FDS: u64 = 5;
const TURNS: u64 = 40;

/// What all callbacks of one history share.
struct World {
    kernel: Arc<FakeKernel>,
    sources: Vec<Rc<OwnedFd>>,
    known: RefCell<Vec<Known>>,
    /// Registrations whose callbacks have run in this turn.
    called: RefCell<Vec<usize>>,
    dice: Cell<u64>,
}

/// What is known of a registration.
struct Known {
    /// The fd that it watches, by its index.
    fd: usize,
    handle: crate::FdHandle,
    lives: bool,
    interest: Interest,
    /// Something about it was changed in this turn.
    is_touched: bool,
}

impl World {
    fn roll(&self, bound: u64) -> u64 {
        let mut state = self.dice.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.dice.set(state);
        state % bound
    }

    fn living_on(&self, fd: usize) -> Option<usize> {
        self.known.borrow().iter().position(|known| known.fd == fd && known.lives)
    }

    fn end(&self, index: usize) {
        let known = &mut self.known.borrow_mut()[index];
        known.lives = false;
        known.is_touched = true;
    }

    /// Registers an fd, if that goes; in place of another registration, if there is one and that is meant.
    fn register(self: &Rc<World>, looper: &Looper, fd: usize, replace: bool) {
        let index = self.known.borrow().len();
        let old = self.living_on(fd);
        let world = self.clone();
        let callback = move |looper: &Looper, _: &mut Rc<OwnedFd>, events: Events| world.serve(looper, index, events);
        let source = self.sources[fd].clone();
        let added = match replace {
            true => looper.replace_fd(source, Interest::INPUT, callback),
            false => looper.add_fd(source, Interest::INPUT, callback),
        };
        assert_eq!(added.is_ok(), replace || old.is_none(), "EEXIST if it is registered, and only then");
        if let Ok(added) = added {
            old.into_iter().for_each(|old| self.end(old));
            let handle = added.handle();
            let known = Known { fd, handle, lives: true, interest: Interest::INPUT, is_touched: true };
            self.known.borrow_mut().push(known);
        }
    }

    fn remove(&self, index: usize, is_remote: bool) {
        let (handle, lived) = {
            let known = &self.known.borrow()[index];
            (known.handle.clone(), known.lives)
        };
        let removed = if is_remote { elsewhere(move || handle.remove()) } else { handle.remove() };
        assert_eq!(removed, lived, "registration {index}");
        self.end(index);
    }

    fn set_interest(&self, index: usize, interest: Interest) {
        let known = &mut self.known.borrow_mut()[index];
        assert_eq!(known.handle.set_interest(interest).is_ok(), known.lives, "registration {index}");
        known.interest = interest;
        known.is_touched = true;
    }

    /// Does something or other.
    fn act(self: &Rc<World>, looper: &Looper) {
        let fd = self.roll(FDS) as usize;
        let ever = self.known.borrow().len() as u64;
        match self.roll(8) {
            0..=2 => self.register(looper, fd, false),
            3 => self.register(looper, fd, true),
            4 => self.kernel.set_ready(number(&self.sources[fd]), if self.roll(3) == 0 { NOT_READY } else { IN }),
            _ if ever == 0 => {}
            5 => self.remove(self.roll(ever) as usize, self.roll(4) == 0),
            6 => self.living_on(fd).into_iter().for_each(|living| self.remove(living, false)),
            _ => {
                let interest = if self.roll(2) == 0 { Interest::INPUT } else { Interest::OUTPUT };
                self.set_interest(self.roll(ever) as usize, interest);
            }
        }
    }

    /// What the callback of a registration does.
    fn serve(self: &Rc<World>, looper: &Looper, index: usize, events: Events) -> FdNext {
        {
            let known = &self.known.borrow()[index];
            assert!(known.lives, "registration {index} is called after its end");
            assert_eq!((events, known.interest), (Events::INPUT, Interest::INPUT));
            let mut called = self.called.borrow_mut();
            assert!(!called.contains(&index), "registration {index} is called twice in a turn");
            called.push(index);
        }
        (0..self.roll(3)).for_each(|_| self.act(looper));
        if self.roll(4) > 0 {
            return FdNext::Keep;
        }
        // Its answer is about itself, whoever has its fd by now.
        self.end(index);
        FdNext::Remove
    }

    /// Which registrations the kernel will find ready.
    fn ready(&self, is_ready: &HashSet<RawFd>) -> Vec<usize> {
        let known = self.known.borrow();
        let is_due =
            |known: &Known| known.lives && known.interest == Interest::INPUT && is_ready.contains(&self.raw(known.fd));
        (0..known.len()).filter(|index| is_due(&known[*index])).collect()
    }

    fn raw(&self, fd: usize) -> RawFd {
        number(&self.sources[fd])
    }
}

#[test]
fn f4_f6_c16_whatever_callbacks_change_no_event_reaches_what_it_was_not_for_and_all_others_are_served() {
    for seed in 1..=300 {
        let (looper, kernel) = fake();
        let world = Rc::new(World {
            kernel: kernel.clone(),
            sources: (0..FDS).map(|_| Rc::new(source())).collect(),
            known: RefCell::default(),
            called: RefCell::default(),
            dice: Cell::new(seed << 32 | 0x9e37_79b9),
        });

        for turn in 0..TURNS {
            (0..world.roll(3)).for_each(|_| world.act(&looper));
            world.known.borrow_mut().iter_mut().for_each(|known| known.is_touched = false);
            let is_ready = world.sources.iter().map(number).filter(|fd| kernel.is_ready(*fd)).collect();
            let due = world.ready(&is_ready);

            looper.poll_once(Duration::ZERO).unwrap();

            let called = world.called.take();
            let known = world.known.borrow();
            assert!(called.iter().all(|index| due.contains(index)), "seed {seed}, turn {turn}: {called:?} of {due:?}");
            let missed: Vec<_> =
                due.iter().filter(|index| !called.contains(index) && !known[**index].is_touched).collect();
            assert!(missed.is_empty(), "seed {seed}, turn {turn}: {missed:?} were not called");
            assert!(known.iter().all(|known| known.handle.is_registered() == known.lives));
        }

        world.sources.iter().for_each(|source| kernel.set_ready(number(source), NOT_READY));
        assert!(looper.poll_once(ms(1)).unwrap().timed_out, "what has ended elsewhere is tidied up");
        let living = world.known.borrow().iter().filter(|known| known.lives).count();
        assert_eq!(looper.shared().fds.len(), living);
        let held: usize = world.sources.iter().map(|source| Rc::strong_count(source) - 1).sum();
        assert_eq!(held, living, "what has ended is dropped");
    }
}
