//! The turn: how a looper polls, as phases in the order in which they run.
//!
//! 1. **deadline**: publish until when this turn may sleep, unless something was left meanwhile;
//! 2. **wait** in epoll, without blocking if something is due or was left;
//! 3. **tidy**: drop what other threads have cancelled or removed, take home what they have added;
//! 4. **messages**: run those that are due, at most the budget;
//! 5. **fds**: call back for each that is ready, then note the callback-less ones.
//!
//! A turn repeats them until it has something to report or its deadline has passed.

use std::{io, time::Duration};

use crate::{
    clock::Moment,
    error::Misuse,
    fd::table::Claim,
    home,
    looper::Looper,
    message::{Message, drop_each},
    report::{ExitReport, ReadyIdent, Turn},
    sys::poller::{Ready, Waited},
};

impl Looper {
    /// Waits for something to happen, runs the callbacks for it, and reports it.
    ///
    /// `timeout` bounds the wait: zero does not wait, `None` waits until something happens, any other value, up to
    /// `Duration::MAX`, is an upper bound in nanoseconds. What runs is at most the budget of messages that are due, and then
    /// the callback of each fd that is ready, once.
    ///
    /// # Errors
    /// The kernel's; nothing is lost then, and polling again is possible. An error of kind `Deadlock` if it is called from
    /// inside one of this looper's callbacks.
    ///
    /// # Panics
    /// Goes on with a panic of a callback. That message is consumed, that fd's registration has ended, everything else stays
    /// as it was, and polling again works.
    ///
    /// # Guarantees
    /// Returns only when the report names something or the timeout has passed (T14). Never runs a message early (T6). An
    /// interrupting signal neither ends the wait nor moves its deadline (T12).
    ///
    /// # Android
    /// `ALooper_pollOnce`. Its code for this turn is [`Turn::code`].
    #[doc(alias = "ALooper_pollOnce")]
    pub fn poll_once(&self, timeout: impl Into<Option<Duration>>) -> io::Result<Turn> {
        self.turn(self.deadline_of(timeout.into()))
    }

    /// Polls again and again until nothing is due and no fd is ready, or until `timeout` has passed, and reports the sum.
    ///
    /// Like [`poll_once`](Looper::poll_once), it waits at most `timeout` for the first thing to happen.
    ///
    /// # Errors
    /// As [`poll_once`](Looper::poll_once).
    ///
    /// # Panics
    /// As [`poll_once`](Looper::poll_once).
    ///
    /// # Guarantees
    /// A message that posts itself again cannot make it go on after `timeout` (T11). `None` sets no such bound.
    ///
    /// # Android
    /// `ALooper_pollAll`, which waits out its timeout even when everything has been done.
    #[doc(alias = "ALooper_pollAll")]
    pub fn poll_all(&self, timeout: impl Into<Option<Duration>>) -> io::Result<Turn> {
        let deadline = self.deadline_of(timeout.into());
        let mut sum = self.turn(deadline)?;
        while sum.names_something() && !sum.quit && self.clock().now() < deadline {
            let next = self.turn(self.clock().now())?;
            let is_empty = !next.names_something();
            sum.add(next);
            if is_empty {
                break;
            }
        }
        sum.timed_out = !sum.names_something();
        Ok(sum)
    }

    /// Polls until the looper quits, and reports how all its messages have ended.
    ///
    /// A looper that has quit before returns at once, after running what `quit_safely` left to run.
    ///
    /// # Errors
    /// As [`poll_once`](Looper::poll_once).
    ///
    /// # Panics
    /// As [`poll_once`](Looper::poll_once).
    ///
    /// # Android
    /// `Looper.loop`.
    #[doc(alias = "loop")]
    pub fn run(&self) -> io::Result<ExitReport> {
        while !self.poll_once(None)?.quit {}
        Ok(self.exit_report())
    }

    fn deadline_of(&self, timeout: Option<Duration>) -> Moment {
        timeout.map_or(Moment::NEVER, |timeout| self.clock().now().after(timeout))
    }

    fn turn(&self, deadline: Moment) -> io::Result<Turn> {
        let _turn = self.enter()?;
        let mut turn = Turn::default();
        while !self.shared().is_quitting() {
            let may_block = self.settle_until(deadline)?;
            let ready = self.wait(may_block, &mut turn)?;
            self.home.tidy();
            self.run_messages(&mut turn);
            self.serve_fds(ready, &mut turn);
            if self.woken.get() || turn.names_something() || self.clock().now() >= deadline {
                break;
            }
        }
        self.conclude(&mut turn);
        Ok(turn)
    }

    fn enter(&self) -> io::Result<InTurn<'_>> {
        if self.in_turn.replace(true) {
            return Err(Misuse::NestedPoll.into());
        }
        if self.host.get().is_some() {
            self.rise();
        }
        Ok(InTurn { looper: self })
    }

    /// Phase "deadline": publishes until when this turn may sleep. `false` if it must not sleep at all.
    fn settle_until(&self, deadline: Moment) -> io::Result<bool> {
        let until = self.shared().next_due().map_or(deadline, |due| due.min(deadline));
        if until != Moment::NEVER && until <= self.clock().now() {
            return Ok(false);
        }
        self.poller.borrow_mut().arm(until)?;
        Ok(self.shared().inbox.settle(until))
    }

    /// Phase "wait": gives what is ready.
    fn wait(&self, block: bool, turn: &mut Turn) -> io::Result<Vec<Ready>> {
        let shared = self.shared();
        let mut ready = self.ready.take();
        shared.set_polling(true);
        let waited = self.poller.borrow_mut().wait(block, shared.fds.len(), &mut ready);
        shared.set_polling(false);
        self.rise();
        turn.interrupted |= waited? == Waited::Interrupted;
        Ok(ready)
    }

    /// Is awake from now on, for those who look whether it sleeps.
    fn rise(&self) {
        if self.shared().inbox.rise().woken {
            self.woken.set(true);
        }
    }

    /// Phase "messages": runs what is due, also what is posted meanwhile, while the budget lasts.
    fn run_messages(&self, turn: &mut Turn) {
        let mut now = self.clock().now();
        while turn.messages < self.budget {
            match self.shared().next_message(now) {
                Ok(message) => {
                    turn.messages += 1;
                    self.run_message(message);
                }
                Err(Some(due)) => {
                    now = self.clock().now();
                    if due > now {
                        return;
                    }
                }
                Err(None) => return,
            }
        }
    }

    fn run_message(&self, message: Message) {
        match message {
            Message::Send(closure) => closure(self),
            Message::Local(key) => {
                if let Some(closure) = self.home.take(key) {
                    closure(self);
                }
            }
        }
    }

    /// Phase "fds": calls back for what is ready, in the kernel's order; then notes the idents that are still registered.
    fn serve_fds(&self, mut ready: Vec<Ready>, turn: &mut Turn) {
        let fds = &self.shared().fds;
        let mut idents = Vec::new();
        let mut stray = None;
        for Ready { key, events } in ready.drain(..) {
            let claimed = fds.claim(key, events, self.spin_limit);
            if let Some(spun) = claimed.spun {
                log::warn!(
                    "fd {} has reported nothing but hang-up or error {} times in a row, and is ignored until its interest \
                     changes; it was added at {}; remove it when it hangs up",
                    spun.fd,
                    self.spin_limit,
                    spun.place
                );
            }
            match claimed.claim {
                Claim::Call => turn.fds += usize::from(self.home.sources.serve(self, fds, key, events)),
                Claim::Ident(ident) => idents.push((key, ReadyIdent::new(ident, events))),
                Claim::Gone => stray = stray.or(Some(key)),
                Claim::Closed => {}
                Claim::Died(registration) => {
                    home::warn_of_death(registration);
                    drop_each(self.home.sources.remove(key));
                }
            }
        }
        turn.idents.extend(idents.into_iter().filter(|(key, _)| fds.is_live(*key)).map(|(_, ident)| ident));
        self.ready.set(ready);
        turn.rebuilt |= self.watch_strays(stray);
    }

    fn conclude(&self, turn: &mut Turn) {
        // Asked first: once it has quit, no message comes after the last one.
        if self.shared().is_quitting() {
            self.home.tidy();
            self.run_messages(turn);
            turn.more = self.shared().next_due().is_some();
            turn.quit = !turn.more;
        } else {
            turn.more = self.shared().next_due().is_some_and(|due| due <= self.clock().now());
        }
        turn.woken = self.woken.take();
        turn.timed_out = !turn.names_something();
    }
}

/// A turn that is under way. When it ends, also by a panic, a looper that is hosted tells its host when to look again.
struct InTurn<'a> {
    looper: &'a Looper,
}

impl Drop for InTurn<'_> {
    fn drop(&mut self) {
        self.looper.in_turn.set(false);
        if self.looper.host.get().is_some() {
            self.looper.publish();
        }
    }
}
