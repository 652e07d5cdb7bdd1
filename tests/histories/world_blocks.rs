//! What a history does by `block_on`.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use alooper::{
    Looper,
    task::{Elapsed, TaskError},
};

use super::{Payload, World, nanos, tasks::Spawned};
use crate::{
    history::{Awaits, By, Script},
    seen::Outcome,
};

type Awaited = Pin<Box<dyn Future<Output = Outcome>>>;

/// A future that notes its polls and its drop.
struct Blocking {
    world: Arc<World>,
    payload: Payload,
    /// What the first poll does.
    script: Script,
    awaited: Awaited,
}

impl Future for Blocking {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let script = std::mem::replace(&mut self.script, Script::from([]));
        let number = self.payload.number();
        let begun = self.world.handle.with_looper(|looper| self.world.begin(looper, number, None, &script));
        begun.expect("it is polled on its looper's thread");
        // What its tasks tell it now is left open.
        if self.world.handle.has_quit() { Poll::Pending } else { self.awaited.as_mut().poll(context) }
    }
}

impl World {
    /// Blocks until the future ends, which `rescue` sees to.
    pub(super) fn block_on(self: &Arc<World>, looper: &Looper, awaits: Awaits, time: i64, script: &Script) -> Outcome {
        let Some(awaited) = self.awaited(looper, awaits, time) else { return Outcome::Nothing };
        let number = self.number();
        self.post_rescue(time, self.cancelled_late(awaits));
        let future = Blocking { world: self.clone(), payload: self.payload(number), script: script.clone(), awaited };
        let result = self.inside(|| looper.block_on(future));
        let rescue = self.rescue.lock().unwrap().take();
        _ = rescue.map(|posted| posted.cancel());
        result.unwrap_or_else(given_up)
    }

    /// T10.
    pub(super) fn block_inside(
        self: &Arc<World>,
        looper: &Looper,
        awaits: Awaits,
        time: i64,
        script: &Script,
    ) -> Outcome {
        let Some(awaited) = self.awaited(looper, awaits, time) else { return Outcome::Nothing };
        let payload = self.payload(self.number());
        let future = Blocking { world: self.clone(), payload, script: script.clone(), awaited };
        match looper.block_on(future) {
            Err(error) if error.kind() == ErrorKind::Deadlock => Outcome::Nested,
            result => panic!("blocked inside a callback: {result:?}"),
        }
    }

    /// `None` if there is no such task, or nobody can await it any more.
    fn awaited(&self, looper: &Looper, awaits: Awaits, time: i64) -> Option<Awaited> {
        let (time, asynchronous) = (nanos(time), self.handle.asynchronous());
        let task = |back| self.task(back).filter(|task| !task.is_told());
        Some(match awaits {
            Awaits::Sleep(by) => {
                let sleep = match by {
                    By::Looper => looper.sleep(time),
                    By::Handle => self.handle.sleep(time),
                    By::AsynchronousHandle => asynchronous.sleep(time),
                };
                Box::pin(async {
                    sleep.await;
                    Outcome::Slept
                })
            }
            Awaits::Task { back } => {
                let task = task(back)?;
                Box::pin(async { Outcome::Ended(task.await) })
            }
            Awaits::Timeout { by: By::Looper, back } => timed(looper.timeout(time, task(back)?)),
            Awaits::Timeout { by: By::Handle, back } => timed(self.handle.timeout(time, task(back)?)),
            Awaits::Timeout { by: By::AsynchronousHandle, back } => timed(asynchronous.timeout(time, task(back)?)),
        })
    }

    /// The task that nothing else may end.
    fn cancelled_late(&self, awaits: Awaits) -> Option<Spawned> {
        match awaits {
            Awaits::Task { back } => self.task(back),
            Awaits::Sleep(_) | Awaits::Timeout { .. } => None,
        }
    }

    fn post_rescue(self: &Arc<World>, after: i64, task: Option<Spawned>) {
        let world = self.clone();
        let posted = self.handle.asynchronous().post_delayed(nanos(after), move |_| world.rescue(task));
        *self.rescue.lock().unwrap() = posted.ok();
    }

    /// Lets the future end, whatever has happened: nothing holds up its wake for long any more.
    fn rescue(self: &Arc<World>, task: Option<Spawned>) {
        let lifted: Vec<_> = self.barriers.lock().unwrap().iter_mut().map(Option::take).collect();
        drop(lifted);
        if let Some(task) = task.as_ref().filter(|_| !self.handle.has_quit()) {
            task.cancel();
        }
        self.post_rescue(1, task);
    }
}

fn timed(timeout: impl Future<Output = Result<Result<u32, TaskError>, Elapsed>> + 'static) -> Awaited {
    Box::pin(async {
        match timeout.await {
            Ok(ended) => Outcome::Ended(ended),
            Err(elapsed) => Outcome::Elapsed(elapsed.limit().as_nanos().try_into().unwrap()),
        }
    })
}

fn given_up(error: io::Error) -> Outcome {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(error) => Outcome::GivenUp(*error),
        None => panic!("it cannot be polled: {error}"),
    }
}
