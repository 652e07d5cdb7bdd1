//! Running one message, watched or not.

use std::{
    mem,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    time::Duration,
};

use crate::{
    clock::Moment,
    drops::drop_each,
    item::{Body, Item, Target},
    looper::Looper,
    node::Queued,
    observer::{Dispatch, Observer},
    queue::Begun,
    recipient::EndTargets,
    slots::Key,
};

impl Looper {
    /// Lets `observer` see each message before and after it runs, in place of the observer that there was; `None` for
    /// nobody.
    ///
    /// Called from inside a message, it takes effect with the next one.
    ///
    /// # Android
    /// `Looper.setObserver`, and `Looper.setMessageLogging`.
    #[doc(alias = "setMessageLogging")]
    pub fn set_observer(&self, observer: Option<Rc<dyn Observer>>) {
        let former = self.core.watching.set_observer(observer);
        self.shared().set_watched(self.core.watching.is_on());
        drop(former);
    }

    /// Sets from which duration on the run of a message, and from which lateness on its start, is reported in the log;
    /// `None` for never. See [`Builder::slow_dispatch`](crate::Builder::slow_dispatch) and
    /// [`Builder::slow_delivery`](crate::Builder::slow_delivery).
    ///
    /// # Android
    /// `Looper.setSlowLogThresholdMs`.
    #[doc(alias = "setSlowLogThresholdMs")]
    pub fn set_slow_thresholds(&self, dispatch: Option<Duration>, delivery: Option<Duration>) {
        self.core.watching.set_slow_thresholds(dispatch, delivery);
        self.shared().set_watched(self.core.watching.is_on());
    }

    /// Runs a message that was taken out of the queue, and leaves nothing of it in `item` that runs.
    #[inline(always)]
    pub(super) fn run_message(&self, item: &mut Item, begun: Begun) {
        // Also if the message panics.
        let _end = if begun.ends_target { Some(EndTargets(self.shared())) } else { None };
        if self.core.watching.is_on() {
            self.run_watched(item, begun);
        } else {
            let target = self.target_of(begun.target);
            self.run_body(&mut item.body, target);
        }
    }

    /// The handler that a message is for. Kept until it has run: what is called in between may end the handler.
    #[inline]
    fn target_of(&self, target: Option<Key>) -> Option<Rc<dyn Target>> {
        target.and_then(|target| self.core.home.target(target))
    }

    /// Runs what is in `body`, and leaves nothing in it.
    #[inline(always)]
    fn run_body(&self, body: &mut Body, target: Option<Rc<dyn Target>>) {
        match body {
            Body::Closure(closure) => closure.call(self.core.here, self),
            Body::Sent(sent) => {
                if let Some(target) = target {
                    target.run(self, &mut sent.letter);
                }
            }
        }
    }

    #[cold]
    fn run_watched(&self, item: &mut Item, begun: Begun) {
        let watching = &self.core.watching;
        let label = &self.shared().label;
        let Begun { when, posted, .. } = begun;
        let target = self.target_of(begun.target);
        let started = self.clock().now();
        let dispatch = Dispatch {
            handler: target.as_ref().map(|target| target.name()),
            what: item.address().map(|address| address.what),
            due: (when != Moment::FRONT).then(|| when.to_instant()),
            posted: posted.map(Moment::to_instant),
            started: started.to_instant(),
            place: item.origin,
        };
        // One and the same from beginning to end, also if the message sets another.
        let kept = Kept(watching.observer());
        let observer = kept.0.as_deref();
        let body = &mut item.body;
        let begin = || {
            watching.look_at_delivery(label, &dispatch);
            observer.inspect(|observer| observer.started(&dispatch));
        };
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(begin)) {
            // The message is consumed by this panic as by its own.
            let dropped = panic::catch_unwind(AssertUnwindSafe(|| match (mem::take(body), target) {
                (Body::Sent(sent), Some(target)) => target.discard(sent.letter),
                (body, _) => drop(body),
            }));
            mem::forget(dropped);
            panic::resume_unwind(panic);
        }
        let result = panic::catch_unwind(AssertUnwindSafe(|| self.run_body(body, target)));
        let took = started.until(self.clock().now());
        watching.look_at_dispatch(label, &dispatch, took);
        match (result, observer) {
            (Ok(()), None) => {}
            (Ok(()), Some(observer)) => observer.finished(&dispatch, took),
            (Err(panic), observer) => {
                // A second panic must not hide the first.
                let tell = || observer.map(|observer| observer.panicked(&dispatch, took));
                mem::forget(panic::catch_unwind(AssertUnwindSafe(tell)));
                panic::resume_unwind(panic);
            }
        }
    }
}

/// An observer that is called. It may be the last one that there is of it, if a message has replaced it, and may then
/// panic when it is dropped, also while another panic unwinds.
struct Kept(Option<Rc<dyn Observer>>);

impl Drop for Kept {
    fn drop(&mut self) {
        drop_each(self.0.take());
    }
}
