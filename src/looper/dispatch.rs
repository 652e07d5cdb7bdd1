//! Running messages, watched or not.

#[cfg(feature = "testing")]
use std::io;
use std::{
    mem,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    time::Duration,
};
#[cfg(feature = "trace")]
use std::{ptr, rc::Weak};

#[cfg(feature = "trace")]
use crate::looper::Core;
use crate::{
    core::{
        activity::Phase,
        cancelled::EndTargets,
        item::{Body, HandlerFn},
    },
    looper::{
        Looper,
        observer::{DispatchInfo, Observer},
        turn::PASSED,
        wants::Wants,
    },
    mem::{
        drop::{caught, drop_each},
        slots::Key,
    },
    queue::{Next, Queue, details::Details},
    time::Moment,
};

/// Where the observer of a looper is.
#[cfg(feature = "trace")]
pub(crate) struct ObserverSeat(Weak<Core>);

#[cfg(feature = "trace")]
impl ObserverSeat {
    /// Puts `former`, which `wants` something, in the place of `present` if that is there.
    pub(crate) fn give_back(&self, present: *const (), former: Option<Rc<dyn Observer>>, wants: Wants) {
        let Some(core) = self.0.upgrade().filter(|core| !core.has_ended.get()) else {
            return;
        };
        let (seated, _) = core.watching.observer();
        if seated.is_some_and(|seated| ptr::addr_eq(Rc::as_ptr(&seated), present)) {
            let left = core.watching.set_observer(former, wants);
            core.local.shared.set_watched(core.watching.wants_posts());
            drop_each(left);
        }
    }
}

/// **Observing.**
impl Looper {
    /// Sets the observer, which sees what it [wants](Observer::wants), and replaces the one before; `None` removes it.
    ///
    /// Called from inside a message, it takes effect with the next one. An observer that keeps an `Rc` of its own
    /// looper keeps both alive: give it a [`LooperHandle`](crate::LooperHandle). A looper that has ended with its
    /// thread drops `observer` at once.
    ///
    /// # Android
    /// `Looper.setObserver`, and `Looper.setMessageLogging`.
    #[doc(alias = "setMessageLogging")]
    pub fn set_observer(&self, observer: Option<Rc<dyn Observer>>) {
        // Asked before anything is borrowed: it is a user's.
        let wants = observer.as_ref().map_or(Wants::empty(), |observer| observer.wants());
        let has_ended = self.core.has_ended.get();
        let former = if has_ended { observer } else { self.core.watching.set_observer(observer, wants) };
        self.shared().set_watched(self.core.watching.wants_posts());
        drop_each(former);
    }

    /// Its observer, and what that wants.
    #[cfg(any(feature = "trace", feature = "tracing"))]
    pub(crate) fn observer(&self) -> (Option<Rc<dyn Observer>>, Wants) {
        self.core.watching.observer()
    }

    /// From when on messages are slow to run, and slow to begin.
    #[cfg(feature = "tracing")]
    pub(crate) fn slow_thresholds(&self) -> (Option<Duration>, Option<Duration>) {
        self.core.watching.slow_thresholds()
    }

    /// Where its observer is, for one that ends itself.
    #[cfg(feature = "trace")]
    pub(crate) fn observer_seat(&self) -> ObserverSeat {
        ObserverSeat(Rc::downgrade(&self.core))
    }

    /// Logs messages, fd callbacks, idle handlers and tasks that run at least for `dispatch`, and messages that start at
    /// least `delivery` late; `None` for never. See
    /// [`LooperBuilder::slow_dispatch`](crate::LooperBuilder::slow_dispatch) and
    /// [`LooperBuilder::slow_delivery`](crate::LooperBuilder::slow_delivery).
    ///
    /// # Android
    /// `Looper.setSlowLogThresholdMs`.
    #[doc(alias = "setSlowLogThresholdMs")]
    pub fn set_slow_thresholds(&self, dispatch: Option<Duration>, delivery: Option<Duration>) {
        self.core.watching.set_slow_thresholds(dispatch, delivery);
        self.shared().set_watched(self.core.watching.wants_posts());
    }

    /// Runs the next message if it is due, and nothing else; whether there was one.
    #[cfg(feature = "testing")]
    pub(crate) fn run_one(&self) -> io::Result<bool> {
        let _polling = self.enter()?;
        self.core.local.tidy();
        Ok(self.run_messages(1) == 1)
    }

    /// Phase "messages": runs what is due, also what is posted meanwhile, `most` messages at most. Gives how many ran.
    pub(super) fn run_messages(&self, most: usize) -> usize {
        if self.shared().has_nothing_queued(self.core.here) {
            return 0;
        }
        self.shared().activity.set_phase(Phase::Messages);
        // Read when a timed message comes to the front: what is plain is due.
        let mut now = PASSED;
        // Made once: to hand a body out for each message would cost more than to find it.
        let mut body = Body::default();
        let mut ran = 0;
        // One that panicked may have left it.
        self.core.skipped.set(0);
        while ran < most {
            let outcome = if self.core.watching.is_on() {
                self.run_next_watched(now, &mut body)
            } else {
                self.run_next(now, &mut body)
            };
            match outcome {
                Ok(()) => ran += 1,
                Err(Some(due)) => {
                    now = self.clock().now();
                    if due > now {
                        break;
                    }
                }
                Err(None) => break,
            }
            if self.core.skipped.get() > 0 {
                ran -= self.core.skipped.take();
            }
        }
        self.shared().activity.set_phase(Phase::Between);
        ran
    }

    /// Counts the message that is being run in another way: it has ended between being taken out and its first line.
    pub(crate) fn skip_message(&self, count: impl FnOnce(&mut Queue<Looper>)) {
        self.shared().with_queue_alone(count);
        self.core.skipped.set(self.core.skipped.get() + 1);
    }

    /// Runs the first message if it is due at `now`, by way of `body`, in which there is nothing before and after.
    /// Otherwise tells when it is due, if there is one.
    #[inline(always)]
    fn run_next(&self, now: Moment, body: &mut Body) -> Result<(), Option<Moment>> {
        let next = self.shared().next_message(self.core.here, now, body, None);
        // Not a `match`: the first two are nearly all there are.
        if next == Next::Closure {
            self.core.local.idlers.note_work();
            body.call(self.core.here, self);
            return Ok(());
        }
        if let Next::Message(target) = next {
            self.core.local.idlers.note_work();
            self.run_handlers(target, body);
            return Ok(());
        }
        self.run_other(next, body)
    }

    /// As [`run_next`](Looper::run_next), seen by those who watch.
    #[cold]
    #[inline(never)]
    fn run_next_watched(&self, now: Moment, body: &mut Body) -> Result<(), Option<Moment>> {
        let mut details = None;
        let next = self.shared().next_message(self.core.here, now, body, Some(&mut details));
        let _end = self.end_of(next);
        match details {
            Some(details) => {
                self.core.local.idlers.note_work();
                self.run_watched(next, details, body);
                Ok(())
            }
            None => self.run_other(next, body),
        }
    }

    fn run_watched(&self, next: Next, details: Details, body: &mut Body) {
        let drop_it = |body: &mut Body| drop(mem::take(body));
        match next {
            Next::Closure => self.run_seen(details, None, body, |body| body.call(self.core.here, self)),
            Next::Message(target) | Next::LastMessage(target) => {
                let run = |target: &dyn HandlerFn| {
                    self.run_seen(details, Some(target.name()), body, |body| target.run(self, body));
                };
                if self.core.local.with_target(target, run).is_none() {
                    self.run_seen(details, None, body, drop_it);
                }
            }
            Next::Orphan | Next::NotBefore(_) | Next::Nothing => self.run_seen(details, None, body, drop_it),
        }
    }

    /// Runs the last message of a handler, and drops that of one that is gone; or tells when the next message is due.
    #[inline(never)]
    fn run_other(&self, next: Next, body: &mut Body) -> Result<(), Option<Moment>> {
        let _end = self.end_of(next);
        match next {
            Next::Nothing => return Err(None),
            Next::NotBefore(due) => return Err(Some(due)),
            Next::LastMessage(target) | Next::Message(target) => {
                self.core.local.idlers.note_work();
                self.run_handlers(target, body);
            }
            Next::Closure | Next::Orphan => {
                self.core.local.idlers.note_work();
                drop(mem::take(body));
            }
        }
        Ok(())
    }

    /// Ends the handler of a message that is its last one, after that has run, also if it panics.
    fn end_of(&self, next: Next) -> Option<EndTargets<'_>> {
        matches!(next, Next::LastMessage(_)).then(|| EndTargets(self.shared()))
    }

    #[inline(always)]
    fn run_handlers(&self, target: Key, body: &mut Body) {
        if self.core.local.with_target(target, |target| target.run(self, body)).is_none() {
            drop(mem::take(body));
        }
    }

    /// Runs a message, of a handler whose type is called `handler` or of nobody, by `run`, and tells who watches.
    #[inline]
    fn run_seen(&self, details: Details, handler: Option<&'static str>, body: &mut Body, run: impl FnOnce(&mut Body)) {
        let Details { origin, when, what, posted } = details;
        let untimed = DispatchInfo {
            handler,
            what,
            due: None,
            posted: posted.map(|posting| posting.at.to_instant()),
            poster: posted.map(|posting| posting.by.get().cast_signed()),
            started: None,
            place: origin,
        };
        if self.core.watching.needs_times() {
            self.run_timed(untimed, when, body, run)
        } else {
            self.run_told(&untimed, body, run)
        }
    }

    /// As [`run_seen`](Looper::run_seen), and measures it for the log, the counts, and whoever asks what runs.
    fn run_timed(&self, untimed: DispatchInfo, when: Moment, body: &mut Body, run: impl FnOnce(&mut Body)) {
        let started = self.clock().now();
        let _measured = self.shared().activity.measured(started);
        let due = (when != Moment::FRONT).then(|| when.to_instant());
        let dispatch = DispatchInfo { due, started: Some(started.to_instant()), ..untimed };
        self.count_begin(&dispatch);
        self.run_told(&dispatch, body, run);
    }

    /// Runs a message between what an observer is told of its begin and of its end.
    #[inline]
    fn run_told(&self, dispatch: &DispatchInfo, body: &mut Body, run: impl FnOnce(&mut Body)) {
        // One and the same from beginning to end, also if the message sets another. It may be the last of it then.
        let kept = self.core.watching.observer_of(Wants::MESSAGES);
        let observer = kept.get();
        let mut has_begun = false;
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            self.look_at_delivery(dispatch);
            observer.inspect(|observer| observer.started(dispatch));
            has_begun = true;
            run(body);
        }));
        if !has_begun {
            // The message is consumed by this panic as by its own.
            caught(|| drop(mem::take(body)));
        }
        if !has_begun || self.shared().is_inherited() {
            // The message has forked: it is the parent's that ends there. A log may be locked for ever here.
            return result.unwrap_or_else(|panic| panic::resume_unwind(panic));
        }
        let took = self.took(dispatch);
        match (result, observer) {
            (Ok(()), None) => {}
            (Ok(()), Some(observer)) => observer.finished(dispatch, took),
            (Err(panic), observer) => {
                // A second panic must not hide the first.
                caught(|| observer.map(|observer| observer.panicked(dispatch, took)));
                panic::resume_unwind(panic);
            }
        }
    }
}
