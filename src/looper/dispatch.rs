//! Running one message, watched or not.

use std::{
    mem,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    time::Duration,
};

use crate::{
    core::{
        cancelled::EndTargets,
        item::{Body, Target},
        local::Lent,
    },
    looper::{
        Looper,
        observer::{DispatchInfo, Observer},
    },
    mem::{
        drop::{Shielded, caught, drop_each},
        slots::Key,
    },
    queue::Begun,
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

    /// Sets from which duration on the run of a message, and from which lateness on its start, is reported in the log;
    /// `None` for never. See [`LooperBuilder::slow_dispatch`](crate::LooperBuilder::slow_dispatch) and
    /// [`LooperBuilder::slow_delivery`](crate::LooperBuilder::slow_delivery).
    ///
    /// # Android
    /// `Looper.setSlowLogThresholdMs`.
    #[doc(alias = "setSlowLogThresholdMs")]
    pub fn set_slow_thresholds(&self, dispatch: Option<Duration>, delivery: Option<Duration>) {
        self.core.watching.set_slow_thresholds(dispatch, delivery);
        self.shared().set_watched(self.core.watching.is_on());
    }

    /// Runs a message that was taken out of the queue, and leaves nothing of it in `begun` that runs.
    #[inline(always)]
    pub(super) fn run_message(&self, begun: &mut Begun<Looper>) {
        // Also if the message panics.
        let _end = if begun.ends_target { Some(EndTargets(self.shared())) } else { None };
        if self.core.watching.is_on() {
            self.run_watched(begun);
        } else {
            let lent = self.lend(begun.target);
            self.run_body(&mut begun.body, lent.as_ref().map(Lent::target), begun.address.target().is_some());
        }
    }

    /// The handler that a message is for.
    #[inline(always)]
    fn lend(&self, target: Option<Key>) -> Option<Lent<'_>> {
        target.and_then(|target| self.core.local.lend_target(target))
    }

    /// Runs what is in `body`, and leaves nothing in it.
    #[inline(always)]
    fn run_body(&self, body: &mut Body, target: Option<&dyn Target>, is_handlers: bool) {
        match target {
            Some(target) => target.run(self, body),
            None if is_handlers => drop(mem::take(body)),
            None => body.call(self.core.here, self),
        }
    }

    #[cold]
    fn run_watched(&self, begun: &mut Begun<Looper>) {
        let watching = &self.core.watching;
        let label = &self.shared().label;
        let Begun { body, origin, when, address, posted, .. } = begun;
        let (origin, when, address, posted) = (*origin, *when, *address, *posted);
        let lent = self.lend(begun.target);
        let target = lent.as_ref().map(Lent::target);
        let started = self.clock().now();
        let dispatch = DispatchInfo {
            handler: target.map(Target::name),
            what: address.what(),
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
        let result = panic::catch_unwind(AssertUnwindSafe(|| self.run_body(body, target, address.target().is_some())));
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
