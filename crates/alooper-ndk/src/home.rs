//! What a thread has for its looper: it polls here.
//!
//! A poll is a turn of the library, which calls nothing of C. What the turn has found goes to a list, and the list is
//! served when the turn is over: functions and callbacks first, then one ident. An exception of C++ so passes through
//! frames of this crate alone, and the rest of the list is for the next poll.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ffi::{c_int, c_void},
    mem,
    panic::{self, AssertUnwindSafe},
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use alooper::{Looper, ReadyIdent, Turn};
use nix::errno::Errno;

use crate::{constants::bits_of, errno, fds::Watched, looper::ALooper, posts::Message};

thread_local! {
    static HOME: RefCell<Option<Rc<Home>>> = const { RefCell::new(None) };
}

/// A thread's looper, with what a turn has found and nobody was told yet.
pub(crate) struct Home {
    looper: Weak<Looper>,
    pub(crate) shell: Arc<ALooper>,
    list: RefCell<VecDeque<Found>>,
    /// Somebody has called `ALooper_wake`, and no poll has told so yet.
    woken: Cell<bool>,
    /// C polls.
    is_polling: Cell<bool>,
    /// The library's turn runs, for a poll of C.
    is_collecting: Cell<bool>,
}

/// What a turn has found.
enum Found {
    Message(Message),
    /// An fd, and what it is ready for.
    Fd(Arc<Watched>, c_int),
}

/// What a poll tells.
pub(crate) enum Told {
    Wake,
    Callback,
    Timeout,
    Ident { ident: c_int, fd: c_int, events: c_int, data: *mut c_void },
}

/// How long a poll may wait.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    Not,
    Until(Instant),
    Forever,
}

/// The calling thread's, if the thread has a looper.
pub(crate) fn of_thread() -> Option<Rc<Home>> {
    let looper = Looper::current()?;
    let mut outdated = None;
    let home = HOME.try_with(|home| {
        let mut home = home.borrow_mut();
        match &*home {
            Some(home) if home.is_of(&looper) => home.clone(),
            _ => {
                let new = Rc::new(Home::new(&looper));
                outdated = home.replace(new.clone());
                new
            }
        }
    });
    // A forked child has it from its parent. What is in it was neither run nor given up here.
    mem::forget(outdated);
    home.ok()
}

/// The calling thread's, while the library's turn runs for a poll of C.
pub(crate) fn collecting() -> Option<Rc<Home>> {
    HOME.try_with(|home| home.borrow().clone()).ok().flatten().filter(|home| home.is_collecting.get())
}

impl Home {
    fn new(looper: &Rc<Looper>) -> Home {
        Home {
            looper: Rc::downgrade(looper),
            shell: ALooper::new(looper),
            list: RefCell::default(),
            woken: Cell::new(false),
            is_polling: Cell::new(false),
            is_collecting: Cell::new(false),
        }
    }

    fn is_of(&self, looper: &Rc<Looper>) -> bool {
        Weak::ptr_eq(&self.looper, &Rc::downgrade(looper))
    }

    /// Keeps a message for after the turn.
    pub(crate) fn take(&self, message: Message) {
        self.list.borrow_mut().push_back(Found::Message(message));
    }

    /// Waits until there is something to tell, and calls back.
    ///
    /// # Errors
    /// `EDEADLK` inside a callback, `ESHUTDOWN` when the looper has quit, `ECANCELED` if a closure of Rust panicked, and
    /// the kernel's.
    pub(crate) fn poll_once(&self, wait: Wait) -> Result<Told, Errno> {
        let looper = self.looper.upgrade().ok_or(Errno::EINVAL)?;
        let _polling = Raised::raise(&self.is_polling).ok_or(Errno::EDEADLK)?;
        self.take_back_calls();
        // What the last turn has left is told without a wait, an ident or a wake in each poll.
        if let Some(told) = self.serve(false) {
            return Ok(told);
        }
        if self.woken.take() {
            return Ok(Told::Wake);
        }
        loop {
            let timeout = wait.left(&looper);
            let turn = self.turn(&looper, timeout)?;
            self.woken.set(self.woken.get() || turn.woken);
            self.find(&turn.idents);
            if let Some(told) = self.serve(self.has_called(&turn)) {
                return Ok(told);
            }
            if self.woken.take() {
                return Ok(Told::Wake);
            }
            if turn.quit {
                return Err(Errno::ESHUTDOWN);
            }
            // It may have found only what has been removed since.
            if wait.left(&looper) == Some(Duration::ZERO) {
                return Ok(Told::Timeout);
            }
        }
    }

    /// Takes callbacks from the list, which an exception has left there: the fd may no longer be ready.
    fn take_back_calls(&self) {
        self.list.borrow_mut().retain(|found| match found {
            Found::Fd(watched, _) if watched.callback.is_some() => {
                watched.look_anew();
                false
            }
            _ => true,
        });
    }

    /// Polls until there is something to tell that is not a callback.
    ///
    /// # Errors
    /// As [`poll_once`](Home::poll_once).
    pub(crate) fn poll_all(&self, wait: Wait) -> Result<Told, Errno> {
        loop {
            match self.poll_once(wait)? {
                Told::Callback if wait.has_passed(&self.looper) => return Ok(Told::Timeout),
                Told::Callback => {}
                told => return Ok(told),
            }
        }
    }

    /// A turn of the library. It runs no code of C but what Rust calls.
    fn turn(&self, looper: &Looper, timeout: Option<Duration>) -> Result<Turn, Errno> {
        let _collecting = Raised::raise(&self.is_collecting);
        let turn = panic::catch_unwind(AssertUnwindSafe(|| looper.poll_once(timeout)));
        turn.map_err(|_| Errno::ECANCELED)?.map_err(|error| errno::of(&error))
    }

    /// Whether a callback of Rust has run.
    fn has_called(&self, turn: &Turn) -> bool {
        let is_message = |found: &&Found| matches!(found, Found::Message(_));
        turn.fds > 0 || turn.messages > self.list.borrow().iter().filter(is_message).count()
    }

    /// Puts fds on the list: those with a callback first.
    fn find(&self, idents: &[ReadyIdent]) {
        let watched =
            idents.iter().filter_map(|ready| Some((self.shell.fds.named(ready.ident)?, bits_of(ready.events))));
        let (called, told): (Vec<_>, Vec<_>) = watched.partition(|(watched, _)| watched.callback.is_some());
        self.list
            .borrow_mut()
            .extend(called.into_iter().chain(told).map(|(watched, events)| Found::Fd(watched, events)));
    }

    /// Serves the list up to the first ident. `None` if there is nothing to tell.
    fn serve(&self, mut has_called: bool) -> Option<Told> {
        loop {
            // Not borrowed while C is called.
            let next = self.list.borrow_mut().pop_front();
            match next {
                None => return has_called.then_some(Told::Callback),
                Some(Found::Message(message)) => has_called |= message.run(),
                Some(Found::Fd(watched, events)) => {
                    if !self.shell.fds.has(&watched) || self.shell.handle.has_quit() {
                        continue;
                    }
                    let Watched { fd, ident, data, .. } = *watched;
                    let Some(callback) = watched.callback else { return Some(Told::Ident { ident, fd, events, data }) };
                    has_called = true;
                    // SAFETY: C promises that it may be called with this on the looper's thread, which this is.
                    if unsafe { callback(fd, events, data) } == 0 {
                        self.shell.fds.remove_this(&watched);
                    }
                }
            }
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.shell.leave_thread();
    }
}

impl Wait {
    /// As C says it: negative for ever, zero not at all.
    pub(crate) fn of_millis(home: &Home, millis: c_int) -> Wait {
        match u64::try_from(millis) {
            Err(_) => Wait::Forever,
            Ok(0) => Wait::Not,
            Ok(millis) => Wait::Until(home.shell.handle.now() + Duration::from_millis(millis)),
        }
    }

    /// How much of it is left; `None` for ever.
    fn left(self, looper: &Looper) -> Option<Duration> {
        match self {
            Wait::Not => Some(Duration::ZERO),
            Wait::Until(end) => Some(end.saturating_duration_since(looper.now())),
            Wait::Forever => None,
        }
    }

    /// Whether a wait of some length is over. One of no length ends when there is nothing left to call.
    fn has_passed(self, looper: &Weak<Looper>) -> bool {
        match self {
            Wait::Until(_) => looper.upgrade().is_none_or(|looper| self.left(&looper) == Some(Duration::ZERO)),
            Wait::Not | Wait::Forever => false,
        }
    }
}

/// A flag that is lowered at the end, also by an exception.
struct Raised<'a>(&'a Cell<bool>);

impl<'a> Raised<'a> {
    /// `None` if it is raised already.
    fn raise(flag: &'a Cell<bool>) -> Option<Raised<'a>> {
        (!flag.replace(true)).then_some(Raised(flag))
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
