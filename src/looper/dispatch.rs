//! Running messages, watched or not.

#[cfg(feature = "testing")]
use std::io;
use std::{mem, rc::Rc, time::Duration};
#[cfg(feature = "trace")]
use std::{ptr, rc::Weak};

#[cfg(feature = "trace")]
use crate::looper::Core;
use crate::{
    core::{activity::Phase, cancelled::EndTargets, item::Body},
    looper::{
        Looper,
        observe::{messages::Series, observer::Observer, wants::Wants},
        turn::PASSED,
    },
    mem::{drop::drop_each, slots::Key},
    queue::{Next, Queue},
    sys::time::Moment,
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
        let mut series = Series::new(&self.core.watching);
        let mut begun = 0;
        // Nobody runs so many; what is skipped is added.
        let most = most.min(usize::MAX / 2);
        self.core.begin_limit.set(most);
        'messages: loop {
            // Fast path.
            while begun < self.core.begin_limit.get() && !self.core.watching.is_on() && self.run_next_plain(&mut body) {
                begun += 1;
            }
            // Until the fast path may be tried again.
            let mut is_plain = false;
            while !is_plain {
                if begun == self.core.begin_limit.get() {
                    break 'messages;
                }
                let outcome = if self.core.watching.is_on() {
                    self.run_next_watched(now, &mut body, &mut series)
                } else {
                    self.run_next(now, &mut body, &mut is_plain)
                };
                match outcome {
                    Ok(()) => begun += 1,
                    Err(Some(due)) => {
                        now = self.clock().now();
                        series.look(now);
                        if due > now {
                            break 'messages;
                        }
                    }
                    Err(None) => break 'messages,
                }
            }
        }
        self.shared().activity.set_phase(Phase::Between);
        let skipped = self.core.begin_limit.get() - most;
        begun - skipped
    }

    /// Counts the message that is being run in another way: it has ended between being taken out and its first line.
    pub(crate) fn skip_message(&self, count: impl FnOnce(&mut Queue<Looper>)) {
        self.shared().with_queue_alone(count);
        // Another one may begin in its place.
        self.core.begin_limit.set(self.core.begin_limit.get() + 1);
    }

    /// Fast path: runs the first message, by way of `body`, in which there is nothing before and after, if nothing but
    /// plain messages is near and far. Whether there was one.
    #[inline(always)]
    fn run_next_plain(&self, body: &mut Body) -> bool {
        match self.shared().next_plain_message(self.core.here, body) {
            Some(Next::Closure) => body.call(self.core.here, self),
            Some(Next::Message(target)) => self.run_handlers(target, body),
            // One was taken out: there is nothing to tell.
            Some(next) => _ = self.run_other(next, body),
            None => return false,
        }
        true
    }

    /// Runs the first message if it is due at `now`, by way of `body`, in which there is nothing before and after.
    /// Otherwise tells when it is due, if there is one. Notes in `is_plain` whether the next one may be a plain one.
    #[inline(never)]
    fn run_next(&self, now: Moment, body: &mut Body, is_plain: &mut bool) -> Result<(), Option<Moment>> {
        let next;
        (next, *is_plain) = self.shared().next_message(self.core.here, now, body, None);
        match next {
            Next::Closure => body.call(self.core.here, self),
            Next::Message(target) => self.run_handlers(target, body),
            next => return self.run_other(next, body),
        }
        Ok(())
    }

    /// Runs the last message of a handler, and drops that of one that is gone; or tells when the next message is due.
    #[inline(never)]
    pub(super) fn run_other(&self, next: Next, body: &mut Body) -> Result<(), Option<Moment>> {
        let _end = self.end_of(next);
        match next {
            Next::Nothing => return Err(None),
            Next::NotBefore(due) => return Err(Some(due)),
            Next::LastMessage(target) | Next::Message(target) => {
                self.run_handlers(target, body);
            }
            Next::Closure | Next::Orphan => {
                drop(mem::take(body));
            }
        }
        Ok(())
    }

    /// Ends the handler of a message that is its last one, after that has run, also if it panics.
    pub(super) fn end_of(&self, next: Next) -> Option<EndTargets<'_>> {
        matches!(next, Next::LastMessage(_)).then(|| EndTargets(self.shared()))
    }

    #[inline(always)]
    fn run_handlers(&self, target: Key, body: &mut Body) {
        if self.core.local.with_target(target, |target| target.run(self, body)).is_none() {
            drop(mem::take(body));
        }
    }
}
