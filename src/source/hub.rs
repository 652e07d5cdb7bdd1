//! The one signalfd of a looper, and all who watch a signal there: a signal can be read only once.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    io, mem,
    os::fd::{AsFd, BorrowedFd},
    panic::{self, AssertUnwindSafe, Location},
    rc::{Rc, Weak},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    SignalWatch, SourceError,
    signals::{Signal, SignalError, SignalInfo, Signals},
};
use crate::{
    fd::FdNext,
    looper::{Looper, fd_source::FdHandle},
    mem::{
        drop::{Shielded, drop_each},
        log,
    },
    queue::message::Origin,
    sys::{
        fork::ForkGeneration,
        interest::Interest,
        signalfd::{self, SignalBits, SignalFd},
    },
};

/// For each signal, the number of the process in which some looper watches it; 0 for nobody. No lock, since a forked
/// child asks, too, and takes what is its parent's for nobody's.
static WATCHED: [AtomicU64; 65] = [const { AtomicU64::new(0) }; 65];

/// How many signals are read before other fds have their turn. There are fewer unless callbacks raise more.
const AT_ONCE: usize = 32;

type Callback = Shielded<Box<dyn FnMut(&Looper, &SignalInfo)>>;

/// What all watchers of a looper share. Its registration owns it; handles hold a `Weak`.
pub(super) struct Hub {
    process: ForkGeneration,
    fd: SignalFd,
    /// What the fd reads.
    bits: Cell<SignalBits>,
    watchers: RefCell<Vec<Watcher>>,
    /// The name of the latest watcher.
    last: Cell<u64>,
    /// Its registration, and where that was made.
    registration: RefCell<Option<(FdHandle, Origin)>>,
}

struct Watcher {
    name: u64,
    bits: SignalBits,
    /// `None` while it runs.
    callback: Option<Callback>,
}

impl AsFd for Hub {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// **Signals**, with the feature `signals`.
impl Looper {
    /// Calls `callback` for each of these signals that arrives, as ordinary code: it may allocate, lock and print.
    ///
    /// Several watchers of one signal on one looper are all called, in the order in which they were added. Signals of one
    /// number that come before the looper reads them are one. The callback runs in the turn's phase of fds.
    ///
    /// # Errors
    /// Gives the callback back, with a [`SignalError`] if another looper watches one of these signals, or if a thread
    /// does not block one any more; with the kernel's error; or with one of kind `BrokenPipe` if the looper has quit.
    ///
    /// # Guarantees
    /// A signal can be read only once in a process, so that it is watched on one looper at a time. A panic of the
    /// callback ends this watcher; the others are called all the same, before the panic goes on. After a quit none is
    /// called.
    ///
    /// # Examples
    /// ```no_run
    /// # use alooper::{Looper, source::{Signal, Signals}};
    /// # fn main() -> std::io::Result<()> {
    /// let signals = Signals::block(&[Signal::HUP])?;
    /// let looper = Looper::prepare()?;
    /// looper.add_signals(&signals, |_, info| println!("{} from {:?}", info.signal(), info.pid()))?;
    /// looper.run()?;
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn add_signals<F>(&self, signals: &Signals, callback: F) -> Result<SignalWatch, SourceError<F>>
    where
        F: FnMut(&Looper, &SignalInfo) + 'static,
    {
        let place = Location::caller();
        match self.hub_for(signals, place) {
            Ok(hub) => Ok(hub.add(signals.bits, Shielded::new(Box::new(callback)))),
            Err(error) => Err(SourceError::local_error(error, place, callback)),
        }
    }

    /// Blocks `signals`, and quits safely when the first of them comes: what is due still runs. From then on they are
    /// no longer blocked, so that a second one does what it does to any program: it ends the process.
    ///
    /// Gives the proof that they are blocked, for [`Signals::unblock_in`].
    ///
    /// # Errors
    /// As [`Signals::block`] and [`add_signals`](Looper::add_signals).
    ///
    /// # Examples
    /// ```no_run
    /// # use alooper::{Looper, source::Signal};
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::prepare()?;
    /// looper.quit_on(&[Signal::INT, Signal::TERM])?;
    /// looper.run()?;
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn quit_on(&self, signals: &[Signal]) -> io::Result<Signals> {
        let proof = Signals::block(signals)?;
        let bits = proof.bits;
        let quit = move |looper: &Looper, _: &SignalInfo| {
            looper.quit_safely();
            if let Err(error) = signalfd::unblock(bits) {
                log::warn!("a second signal will not end the process: {error}");
            }
        };
        match self.add_signals(&proof, quit) {
            Ok(_) => Ok(proof),
            Err(error) => {
                _ = signalfd::unblock(bits);
                proof.let_go();
                Err(error.into())
            }
        }
    }

    /// The hub of this looper, which reads `signals` from now on.
    fn hub_for(&self, signals: &Signals, place: Origin) -> io::Result<Rc<Hub>> {
        if let Some(reason) = self.shared().closed() {
            return Err(reason.into());
        }
        signals.check()?;
        let hub = match self.known_hub() {
            Some(hub) => hub,
            None => Hub::new()?,
        };
        hub.claim(signals.bits)?;
        hub.start(self, place).inspect_err(|_| hub.shrink())?;
        Ok(hub)
    }

    fn known_hub(&self) -> Option<Rc<Hub>> {
        self.local_state().signal_hub.borrow().as_ref()?.upgrade()?.downcast().ok()
    }
}

impl Hub {
    fn new() -> io::Result<Rc<Hub>> {
        Ok(Rc::new(Hub {
            process: ForkGeneration::current(),
            fd: SignalFd::new(SignalBits::default())?,
            bits: Cell::default(),
            watchers: RefCell::default(),
            last: Cell::new(0),
            registration: RefCell::default(),
        }))
    }

    /// Lets this hub read `bits`, too, unless another looper's does.
    fn claim(&self, bits: SignalBits) -> io::Result<()> {
        let own = self.process.number();
        let mut claimed = SignalBits::default();
        for number in bits.without(self.bits.get()).numbers() {
            let free = |holder| (holder != own).then_some(own);
            if WATCHED[number as usize].fetch_update(Relaxed, Relaxed, free).is_err() {
                release(claimed, own);
                let signal = Signal::from_number(number).unwrap_or(Signal::TERM);
                return Err(SignalError::WatchedElsewhere(signal).into());
            }
            claimed = claimed.and(SignalBits::of(number));
        }
        let all = self.bits.get().and(claimed);
        self.fd.set(all).inspect_err(|_| release(claimed, own))?;
        self.bits.set(all);
        Ok(())
    }

    /// Registers the fd, unless it is.
    fn start(self: &Rc<Self>, looper: &Looper, place: Origin) -> io::Result<()> {
        let is_registered = self.registration.borrow().as_ref().is_some_and(|(handle, _)| handle.is_registered());
        if !is_registered {
            self.register(looper, place)?;
            let hub: Weak<dyn Any> = Rc::downgrade(&(self.clone() as Rc<dyn Any>));
            looper.local_state().signal_hub.replace(Some(hub));
        }
        Ok(())
    }

    fn register(self: &Rc<Self>, looper: &Looper, place: Origin) -> io::Result<()> {
        let serve = |looper: &Looper, hub: &mut Rc<Hub>, _| hub.clone().serve(looper);
        let source = looper.watch_at(self.clone(), Interest::INPUT, serve, place)?;
        self.registration.replace(Some((source.handle(), place)));
        Ok(())
    }

    fn add(self: &Rc<Self>, bits: SignalBits, callback: Callback) -> SignalWatch {
        let name = self.last.get() + 1;
        self.last.set(name);
        self.watchers.borrow_mut().push(Watcher { name, bits, callback: Some(callback) });
        SignalWatch::new(self, name)
    }

    fn serve(self: Rc<Self>, looper: &Looper) -> FdNext {
        for _ in 0..AT_ONCE {
            match self.fd.read() {
                Ok(Some(read)) => _ = SignalInfo::new(read).map(|info| self.tell(looper, &info)),
                Ok(None) => break,
                Err(error) => {
                    log::error!("signals are no longer seen: {error}");
                    return FdNext::Remove;
                }
            }
            // What nobody reads any more stays for the next looper. A callback may also have quit, or have forked.
            if looper.shared().closed().is_some() || self.bits.get().is_empty() {
                break;
            }
        }
        FdNext::Keep
    }

    /// Calls all who watch this signal. The first panic goes on when all were called: it ends the fd's registration, so
    /// that there has to be a new one for the others.
    fn tell(self: &Rc<Self>, looper: &Looper, info: &SignalInfo) {
        let is_meant = |watcher: &&Watcher| !watcher.bits.both(info.bits()).is_empty();
        let names: Vec<u64> = self.watchers.borrow().iter().filter(is_meant).map(|watcher| watcher.name).collect();
        let mut first_panic = None;
        for name in names {
            if looper.shared().closed().is_some() {
                break;
            }
            let called = panic::catch_unwind(AssertUnwindSafe(|| self.call(name, looper, info)));
            if let Err(panic) = called {
                drop_each(self.take(name).and_then(|watcher| watcher.callback));
                match first_panic {
                    None => first_panic = Some(panic),
                    Some(_) => mem::forget(panic),
                }
            }
        }
        if let Some(panic) = first_panic {
            self.survive(looper);
            panic::resume_unwind(panic);
        }
    }

    fn call(&self, name: u64, looper: &Looper, info: &SignalInfo) {
        let Some(mut callback) = self.with(name, |watcher| watcher.callback.take()).flatten() else { return };
        callback(looper, info);
        let mut back = Some(callback);
        self.with(name, |watcher| watcher.callback = back.take());
        // It was removed meanwhile.
        drop_each(back);
    }

    /// Registers the fd anew, for who is left, before a panic ends its registration.
    fn survive(self: &Rc<Self>, looper: &Looper) {
        let place = self.registration.borrow().as_ref().map(|(_, place)| *place);
        let Some(place) = place.filter(|_| !self.watchers.borrow().is_empty() && !looper.has_quit()) else { return };
        if let Err(error) = self.register(looper, place) {
            log::error!("signals are no longer seen: {error}");
        }
    }

    /// The hub, unless its looper is gone, or its parent's.
    pub(super) fn of(hub: &Weak<Hub>) -> Option<Rc<Hub>> {
        hub.upgrade().filter(|hub| hub.process.is_current())
    }

    pub(super) fn has(&self, name: u64) -> bool {
        self.with(name, |_| ()).is_some()
    }

    /// Ends a watcher; whether it was there.
    pub(super) fn remove(&self, name: u64) -> bool {
        let watcher = self.take(name);
        let removed = watcher.is_some();
        drop_each(watcher.and_then(|watcher| watcher.callback));
        removed
    }

    fn with<R>(&self, name: u64, look: impl FnOnce(&mut Watcher) -> R) -> Option<R> {
        self.watchers.borrow_mut().iter_mut().find(|watcher| watcher.name == name).map(look)
    }

    /// Takes a watcher out, and stops reading what nobody else watches.
    fn take(&self, name: u64) -> Option<Watcher> {
        let watcher = {
            let mut watchers = self.watchers.borrow_mut();
            let at = watchers.iter().position(|watcher| watcher.name == name)?;
            watchers.remove(at)
        };
        self.shrink();
        Some(watcher)
    }

    /// Stops reading what nobody watches, and ends the registration if that is everything. A forked child leaves the fd
    /// as it is, which is its parent's, too.
    fn shrink(&self) {
        if !self.process.is_current() {
            return;
        }
        let fold = |bits: SignalBits, watcher: &Watcher| bits.and(watcher.bits);
        let wanted = self.watchers.borrow().iter().fold(SignalBits::default(), fold);
        let unwanted = self.bits.get().without(wanted);
        // A mask is refused by the kernel only to what is no signalfd.
        if !unwanted.is_empty() && self.fd.set(wanted).is_ok() {
            self.bits.set(wanted);
            release(unwanted, self.process.number());
        }
        if wanted.is_empty() {
            let registration = self.registration.take();
            _ = registration.map(|(handle, _)| handle.remove());
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        release(self.bits.get(), self.process.number());
        drop_each(self.watchers.take().into_iter().filter_map(|watcher| watcher.callback));
    }
}

/// Lets other loopers watch `bits`, which the process `own` has had. In a forked child they may be its own by now.
fn release(bits: SignalBits, own: u64) {
    for number in bits.numbers() {
        _ = WATCHED[number as usize].compare_exchange(own, 0, Relaxed, Relaxed);
    }
}
