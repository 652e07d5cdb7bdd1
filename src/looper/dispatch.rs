//! Running messages, watched or not.

#[cfg(feature = "testing")]
use std::io;
use std::{
    mem,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    time::Duration,
};

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
    },
    mem::{
        drop::{Shielded, caught, drop_each},
        slots::Key,
    },
    queue::{Details, Next, Queue},
    time::Moment,
};

impl Looper {
    /// Lets `observer` see each message before and after it runs, in place of the observer that there was; `None` for
    /// nobody.
    ///
    /// Called from inside a message, it takes effect with the next one. An observer that keeps an `Rc` of its own
    /// looper keeps both alive: give it a [`LooperHandle`](crate::LooperHandle). A looper that has ended with its
    /// thread drops `observer` at once.
    ///
    /// # Android
    /// `Looper.setObserver`, and `Looper.setMessageLogging`.
    #[doc(alias = "setMessageLogging")]
    pub fn set_observer(&self, observer: Option<Rc<dyn Observer>>) {
        let former = if self.core.has_ended.get() { observer } else { self.core.watching.set_observer(observer) };
        self.shared().set_watched(self.core.watching.is_on());
        drop_each(former);
    }

    /// Logs messages that run at least for `dispatch`, or start at least `delivery` late; `None` for never. See [`LooperBuilder::slow_dispatch`](crate::LooperBuilder::slow_dispatch) and
    /// [`LooperBuilder::slow_delivery`](crate::LooperBuilder::slow_delivery).
    ///
    /// # Android
    /// `Looper.setSlowLogThresholdMs`.
    #[doc(alias = "setSlowLogThresholdMs")]
    pub fn set_slow_thresholds(&self, dispatch: Option<Duration>, delivery: Option<Duration>) {
        self.core.watching.set_slow_thresholds(dispatch, delivery);
        self.shared().set_watched(self.core.watching.is_on());
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
    fn run_seen(&self, details: Details, handler: Option<&'static str>, body: &mut Body, run: impl FnOnce(&mut Body)) {
        let watching = &self.core.watching;
        let label = &self.shared().label;
        let Details { origin, when, what, posted } = details;
        let started = self.clock().now();
        let _begun = self.shared().activity.measured(started);
        let dispatch = DispatchInfo {
            handler,
            what,
            due: (when != Moment::FRONT).then(|| when.to_instant()),
            posted: posted.map(Moment::to_instant),
            started: started.to_instant(),
            place: origin,
        };
        // One and the same from beginning to end, also if the message sets another. It may be the last of it then.
        let kept = Shielded::new(watching.observer());
        let observer = kept.as_deref();
        let begin = || {
            watching.look_at_delivery(label, &dispatch);
            observer.inspect(|observer| observer.started(&dispatch));
        };
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(begin)) {
            // The message is consumed by this panic as by its own.
            caught(|| drop(mem::take(body)));
            panic::resume_unwind(panic);
        }
        let result = panic::catch_unwind(AssertUnwindSafe(|| run(body)));
        if self.shared().is_inherited() {
            // The message has forked: it is the parent's that ends there. A log may be locked for ever here.
            return result.unwrap_or_else(|panic| panic::resume_unwind(panic));
        }
        let took = started.until(self.clock().now());
        watching.look_at_dispatch(label, &dispatch, took);
        match (result, observer) {
            (Ok(()), None) => {}
            (Ok(()), Some(observer)) => observer.finished(&dispatch, took),
            (Err(panic), observer) => {
                // A second panic must not hide the first.
                caught(|| observer.map(|observer| observer.panicked(&dispatch, took)));
                panic::resume_unwind(panic);
            }
        }
    }
}
