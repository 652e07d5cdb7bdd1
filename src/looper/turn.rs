//! The turn: how a looper polls, as phases in the order in which they run.
//!
//! 1. **tidy**: drop what other threads have cancelled or removed, take over what they have added;
//! 2. **deadline**: run idle handlers if nothing is due, and the hooks before the wait; publish until when this turn may
//!    sleep, unless something was left meanwhile;
//! 3. **wait** in epoll, without blocking if something is due or was left; run the hooks after it; then tidy again;
//! 4. **messages**: run those that are due, at most the budget;
//! 5. **fds**: call back for each that is ready, then note the callback-less ones.
//!
//! A turn repeats them until it has something to report or its deadline has passed.

use std::{io, mem, panic, thread, time::Duration};

use crate::{
    core::{activity::Phase, local::Busy},
    error::Misuse,
    fd::{
        notice::Notice,
        registration::Registration,
        registrations::{Claim, Reported, Served, Verdict},
    },
    looper::{
        Looper,
        observe::wants::Wants,
        report::{ReadyIdent, Turn},
    },
    mem::{log, slots::Key},
    queue::message::{PostKind, Rank},
    sys::{
        poller::{Ready, Waited},
        sync::yield_now,
        time::Moment,
    },
};

/// A deadline that has passed, whatever the time is.
pub(super) const PASSED: Moment = Moment::EARLIEST;

/// **Polling**, turn by turn.
impl Looper {
    /// Waits for something to happen, runs the callbacks for it, and reports it.
    ///
    /// `timeout` bounds the wait: zero does not wait, `None` waits until something happens, any other value, up to
    /// `Duration::MAX`, is an upper bound in nanoseconds. It runs the messages that are due, at most a budget of them,
    /// and then the callback of each ready fd, once.
    ///
    /// # Errors
    /// The kernel's; nothing is lost then, and polling again is possible. An error of kind `Deadlock` if it is called
    /// from inside one of this looper's callbacks. [`RejectReason::Forked`](crate::RejectReason::Forked) in a forked child, also if
    /// it was forked in one of these callbacks.
    ///
    /// # Panics
    /// Goes on with a panic of a callback. That message is consumed, that fd's registration has ended, everything else
    /// stays as it was, and polling again works.
    ///
    /// # Guarantees
    /// Returns only when the report names something or the timeout has passed. Never runs a message early.
    /// An interrupting signal neither ends the wait nor moves its deadline.
    ///
    /// # Android
    /// `ALooper_pollOnce`. Its code for this turn is [`Turn::code`].
    #[doc(alias = "ALooper_pollOnce")]
    pub fn poll_once(&self, timeout: impl Into<Option<Duration>>) -> io::Result<Turn> {
        let _polling = self.enter()?;
        let mut turn = Turn::default();
        self.turn(self.deadline_of(timeout.into()), &mut turn)?;
        self.prepare_hosts_wait();
        self.report(&mut turn)?;
        Ok(turn)
    }

    /// Polls until there is nothing left to do, an ident is ready, the looper is woken, or `timeout` has passed, and
    /// reports the sum.
    ///
    /// Like [`poll_once`](Looper::poll_once), it waits at most `timeout` for the first thing to happen. It stops at an
    /// ident, so that the caller can serve that fd, and after the turn that saw a wake. With a timeout of zero it is one
    /// turn.
    ///
    /// # Errors
    /// As [`poll_once`](Looper::poll_once), if that is the first thing to happen. A later error ends it, and the sum is
    /// reported.
    ///
    /// # Panics
    /// As [`poll_once`](Looper::poll_once).
    ///
    /// # Guarantees
    /// A message that posts itself again, an fd that stays ready or a thread that posts without end cannot make it go on
    /// after `timeout`, or after a [`wake`](crate::LooperHandle::wake). `None` sets no such bound.
    ///
    /// # Android
    /// `ALooper_pollAll`, which waits out its timeout even when everything has been done, and for which a timeout of
    /// zero sets no bound. It may miss a wake in a turn that has also called back, and so run on for ever: the NDK has
    /// removed it in r27.
    #[doc(alias = "ALooper_pollAll")]
    pub fn poll_all(&self, timeout: impl Into<Option<Duration>>) -> io::Result<Turn> {
        let _polling = self.enter()?;
        let deadline = self.deadline_of(timeout.into());
        let mut sum = Turn::default();
        self.turn(deadline, &mut sum)?;
        let mut has_worked = sum.names_something() || self.core.rebuilt.get();
        let is_over = |sum: &Turn| sum.quit || !sum.idents.is_empty() || self.core.woken.get();
        while has_worked && !is_over(&sum) && !self.has_passed(deadline) {
            let mut next = Turn::default();
            if self.turn(PASSED, &mut next).is_err() {
                break;
            }
            has_worked = next.names_something();
            sum.add(next);
        }
        self.prepare_hosts_wait();
        self.report(&mut sum)?;
        Ok(sum)
    }

    fn deadline_of(&self, timeout: Option<Duration>) -> Moment {
        match timeout {
            None => Moment::NEVER,
            Some(Duration::ZERO) => PASSED,
            Some(timeout) => self.clock().now().after(timeout),
        }
    }

    /// Whether `moment` is not to come any more. The clock is read only if that is not known without.
    pub(super) fn has_passed(&self, moment: Moment) -> bool {
        match moment {
            PASSED => true,
            Moment::NEVER => false,
            moment => moment <= self.clock().now(),
        }
    }

    /// Whether the message at `next` is due: a plain one always is.
    pub(super) fn is_due(&self, next: Option<Rank>) -> bool {
        next.is_some_and(|next| next.seq().kind() != PostKind::Timed || self.has_passed(next.when))
    }

    fn turn(&self, deadline: Moment, turn: &mut Turn) -> io::Result<()> {
        self.shared().counters.turns.add(1);
        loop {
            self.core.local.tidy();
            // Looked at after that, since it takes what a quit leaves to keep the looper from sleeping.
            if self.shared().is_quitting() {
                break;
            }
            // Likewise: what others took away since was told by what tidying clears.
            if self.is_at_its_end() {
                break;
            }
            self.run_idle(turn);
            self.run_before_wait();
            let may_block = self.prepare_sleep_until(deadline)?;
            let waited = self.wait(may_block, turn);
            self.run_after_wait();
            let ready = waited?;
            let had_events = !ready.is_empty();
            let had_cleanup = self.core.local.tidy();
            self.core.watching.tell_wait();
            turn.messages += self.run_messages(self.core.budget - turn.messages);
            self.serve_fds(ready, turn);
            let is_revived = self.end_trials();
            self.deal_with_stale_keys(may_block && !turn.names_something());
            self.tell_notices();
            // A callback may have forked.
            self.shared().check_process()?;
            self.count_wake(may_block && !had_events && !had_cleanup, turn, deadline);
            let has_something = self.core.woken.get() || self.core.rebuilt.get() || turn.names_something();
            if has_something || (self.has_passed(deadline) && !is_revived) {
                break;
            }
        }
        self.shared().check_process()?;
        self.conclude(turn);
        Ok(())
    }

    /// Phase "deadline", first half: runs the idle handlers that have not run since there was something to do, if
    /// nothing is due.
    fn run_idle(&self, turn: &mut Turn) {
        if self.is_idle_awaited() {
            turn.idles += self
                .core
                .local
                .idlers
                .run(self, self.shared().begun(), || !self.shared().is_quitting() && !self.shared().is_inherited());
        }
    }

    /// Whether nothing is due, and idle handlers have still to run.
    pub(super) fn is_idle_awaited(&self) -> bool {
        self.core.local.idlers.is_any_due(self.shared().begun())
            && !self.shared().is_quitting()
            && self.shared().await_idle()
    }

    /// Counts a wait as spurious if it blocked, had nothing to report, and ended before anything was due.
    fn count_wake(&self, had_nothing: bool, turn: &Turn, deadline: Moment) {
        let is_spurious =
            had_nothing && !self.core.woken.get() && !turn.names_something() && !self.has_passed(deadline);
        if is_spurious {
            self.shared().counters.spurious_wakes.add(1);
        }
    }

    pub(super) fn enter(&self) -> io::Result<Polling<'_>> {
        self.shared().check_process()?;
        let busy = self.core.local.occupy().ok_or(Misuse::NestedPoll)?;
        self.shared().activity.set_phase(Phase::Between);
        Ok(Polling { looper: self, busy: Some(busy) })
    }

    /// Phase "deadline": publishes until when this turn may sleep. `false` if it must not sleep at all.
    fn prepare_sleep_until(&self, deadline: Moment) -> io::Result<bool> {
        // An idle handler may have forked.
        self.shared().check_process()?;
        let is_hasty = self.core.woken.get() || self.core.must_not_block.get();
        if is_hasty || self.is_idle_awaited() || self.shared().fds.has_trials() {
            return Ok(false);
        }
        let (next, alarm) = self.shared().next_stops(self.core.here);
        #[cfg(feature = "async")]
        if self.core.local.tasks.is_roomy() && !self.is_due(next) {
            self.core.local.tasks.give_back_room();
        }
        if alarm.is_some_and(|alarm| self.has_passed(alarm)) {
            self.shared().report_barriers();
            return Ok(false);
        }
        if deadline == PASSED || self.is_due(next) {
            return Ok(false);
        }
        let due = next.map(|next| next.when);
        let until = due.into_iter().chain(alarm).min().map_or(deadline, |stop| stop.min(deadline));
        if self.has_passed(until) {
            return Ok(false);
        }
        // `prepare_sleep` would see it, too, but only after a system call.
        if self.shared().inbox.has_something() {
            return Ok(false);
        }
        self.core.poller.borrow_mut().arm(until)?;
        Ok(self.shared().prepare_sleep(until))
    }

    /// Phase "wait": gives what is ready.
    pub(super) fn wait(&self, block: bool, turn: &mut Turn) -> io::Result<Vec<Ready>> {
        let shared = self.shared();
        shared.check_process()?;
        let mut ready = self.core.ready.take();
        shared.counters.waits.add(1);
        let seen = self.begin_wait();
        shared.activity.set_phase(Phase::Waiting);
        let waited = self.core.poller.borrow_mut().wait(block, shared.fds.len(), &mut ready);
        shared.activity.set_phase(Phase::Between);
        self.awake();
        if let Some(started) = seen {
            self.end_wait(started, block, ready.len());
        }
        turn.interrupted |= waited? == Waited::Interrupted;
        Ok(ready)
    }

    /// Is awake from now on, for those who look whether it sleeps.
    fn awake(&self) {
        if self.shared().inbox.awake() {
            self.core.woken.set(true);
        }
    }

    /// Phase "fds": calls back for what is ready, in the kernel's order; then notes the idents that are still
    /// registered.
    fn serve_fds(&self, ready: Vec<Ready>, turn: &mut Turn) {
        let fds = &self.shared().fds;
        let (wait, limits) = (self.wait_number(), self.core.limits);
        let mut batch = Batch { looper: self, ready, served: 0, idents: Vec::new() };
        self.shared().activity.set_phase(Phase::Fds);
        while let Some(Ready { data, events }) = batch.next() {
            let key = Key::from_bits(data);
            let reported = Reported { key, events, wait };
            match fds.claim_callback(reported, limits) {
                Claim::Ident => batch.idents.push(reported),
                claim => {
                    if let Some(event) = self.follow(key, claim) {
                        let is_seen = self.core.watching.sees(Wants::FDS);
                        let seen = if is_seen { self.begin_fd(key) } else { None };
                        self.core.serving.set(key);
                        let served = self.core.local.sources.serve(self, fds, key, event);
                        self.core.serving.set(Key::NONE);
                        let served = match seen {
                            Some(seen) => self.end_run(seen, served),
                            None => served,
                        };
                        let has_run = *served.as_ref().unwrap_or(&true);
                        turn.fds += usize::from(has_run);
                        self.shared().counters.fd_callbacks.add(u64::from(has_run));
                        if let Err(panic) = served {
                            panic::resume_unwind(panic);
                        }
                    }
                }
            }
        }
        for reported in mem::take(&mut batch.idents) {
            let claim = fds.claim_ident(reported, limits);
            if let Some(Served { events, ident: Some(ident), .. }) = self.follow(reported.key, claim) {
                turn.idents.push(ReadyIdent::new(ident, events));
            }
        }
        self.shared().activity.set_phase(Phase::Between);
    }

    /// The number of the last wait; it comes again after 2^32 waits.
    fn wait_number(&self) -> u32 {
        self.shared().counters.waits.get() as u32
    }

    /// Handles each claim but `Serve`, which it gives back.
    fn follow(&self, key: Key, claim: Claim) -> Option<Served> {
        match claim {
            Claim::Serve(served) => return Some(served),
            Claim::Gone => self.core.stale_keys.borrow_mut().note(key),
            Claim::Died(registration) => {
                let activity = &self.shared().activity;
                // What it drops is no callback.
                activity.set_phase(Phase::Between);
                self.core.local.sources.drop_stale(&self.shared().fds, vec![(key, registration)]);
                activity.set_phase(Phase::Fds);
            }
            Claim::Pass | Claim::Ident => {}
        }
        None
    }

    /// Notices the fds that the last wait would have reported if anything about them had changed. Whether some are
    /// watched as before.
    fn end_trials(&self) -> bool {
        let shared = self.shared();
        if !shared.fds.has_trials() {
            return false;
        }
        let limits = self.core.limits;
        let mut is_revived = false;
        for verdict in shared.fds.end_trials(self.wait_number(), limits) {
            match verdict {
                Verdict::HupOnly(Registration { fd, place, hup_only, .. }) => {
                    shared.notices.add(Notice::MutedFd { fd, place, calls: hup_only });
                }
                Verdict::Stuck(Registration { fd, place, fruitless, .. }) => {
                    let muted = limits.mutes_stuck;
                    is_revived |= !muted;
                    shared.notices.add(Notice::StuckFd { fd, place, calls: fruitless, muted });
                }
                Verdict::Cleared => is_revived = true,
            }
        }
        is_revived
    }

    /// Tells the log and the observer what was noticed.
    pub(crate) fn tell_notices(&self) {
        if self.shared().notices.has_untold() {
            self.tell_all_notices();
        }
    }

    #[cold]
    fn tell_all_notices(&self) {
        // One by one: an observer that panics leaves the others for the next turn.
        while let Some(notice) = self.shared().notices.pop() {
            log::warn!("{} {notice}", self.shared().label);
            self.core.watching.tell(&notice);
        }
    }

    fn conclude(&self, turn: &mut Turn) {
        // Asked first: once it has quit, no message comes after the last one.
        if self.shared().is_quitting() {
            self.tell_notices();
            self.awake();
            self.fall_silent(turn);
            self.core.local.tidy();
            turn.messages += self.run_messages(self.core.budget - turn.messages);
            turn.more = self.shared().len() > 0;
            turn.quit = !turn.more;
            #[cfg(feature = "async")]
            if turn.quit {
                self.core.local.drop_tasks();
            }
            if turn.more && turn.messages < self.core.budget {
                // The next message is being looked at by a predicate on another thread.
                yield_now();
            }
        } else {
            let shared = self.shared();
            let next = match turn.messages {
                0 if shared.has_nothing_queued(self.core.here) => None,
                _ => shared.next_rank(),
            };
            turn.more = self.is_due(next);
        }
    }

    /// Completes a turn's report: takes what no turn that fails or panics may lose. If a callback has forked, the
    /// child has nothing to report.
    fn report(&self, turn: &mut Turn) -> io::Result<()> {
        self.shared().check_process()?;
        turn.woken = self.core.woken.take();
        turn.rebuilt = self.core.rebuilt.take();
        turn.timed_out = !turn.names_something();
        Ok(())
    }
}

/// What a wait has found ready. What of it is not served, since a callback panics, is looked at anew.
struct Batch<'a> {
    looper: &'a Looper,
    ready: Vec<Ready>,
    /// How many of these were.
    served: usize,
    /// What is reported when the callbacks have run.
    idents: Vec<Reported>,
}

impl Batch<'_> {
    fn next(&mut self) -> Option<Ready> {
        let next = self.ready.get(self.served).copied();
        self.served += 1;
        next
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if thread::panicking() && !self.looper.shared().is_inherited() {
            let unserved = self.ready.iter().skip(self.served).map(|ready| Key::from_bits(ready.data));
            let idents = self.idents.iter().map(|reported| reported.key);
            self.looper.shared().fds.look_anew(unserved.chain(idents));
        }
        self.ready.clear();
        self.looper.core.ready.set(mem::take(&mut self.ready));
    }
}

/// A poll that is under way. When it ends, also by a panic, a looper that is hosted tells its host when to look again.
pub(super) struct Polling<'a> {
    looper: &'a Looper,
    busy: Option<Busy<'a>>,
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.busy = None;
        self.looper.shared().activity.set_phase(Phase::Away);
        if self.looper.core.host.get().is_some() {
            self.looper.publish();
        }
    }
}
