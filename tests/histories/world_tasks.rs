//! What a history does with tasks.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use alooper::{
    Looper, Rejected,
    task::{Task, TaskError},
};

use super::{Payload, World};
use crate::{
    history::{By, Polls},
    model::back_from,
    seen::Outcome,
};

/// A task, for those who wake and cancel it.
#[derive(Clone)]
pub(super) struct Spawned {
    /// Locked for a poll and for a cancel, which do nothing of the history's.
    task: Arc<Mutex<Task<u32>>>,
    /// Whoever awaited it was told how it has ended.
    is_told: Arc<AtomicBool>,
    /// Of its latest poll.
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Spawned {
    pub(super) fn cancel(&self) -> bool {
        self.task.lock().unwrap().cancel()
    }

    /// Whether nobody can await it any more.
    pub(super) fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Relaxed)
    }
}

/// Awaits the task, which others may cancel meanwhile.
impl Future for Spawned {
    type Output = Result<u32, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut *self.task.lock().unwrap()).poll(context);
        self.is_told.store(polled.is_ready(), Ordering::Relaxed);
        polled
    }
}

/// A future that does what its polls say.
struct Scripted {
    world: Arc<World>,
    handle: alooper::LooperHandle,
    payload: Payload,
    polls: Polls,
    polled: usize,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Future for Scripted {
    type Output = u32;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u32> {
        let waker = context.waker().clone();
        let former = self.waker.lock().unwrap().replace(waker);
        drop(former);
        let script = self.polls[self.polled].clone();
        self.polled += 1;
        let number = self.payload.number();
        let begun = self.handle.with_looper(|looper| self.world.begin(looper, number, None, &script));
        begun.expect("it is polled on its looper's thread");
        if self.polled == self.polls.len() { Poll::Ready(number) } else { Poll::Pending }
    }
}

impl World {
    pub(super) fn spawn(self: &Arc<World>, looper: &Looper, by: By, polls: &Polls) -> Outcome {
        let number = self.number();
        let waker = Arc::default();
        let future = Scripted {
            world: self.clone(),
            handle: self.handle.clone(),
            payload: self.payload(number),
            polls: polls.clone(),
            polled: 0,
            waker: Arc::clone(&waker),
        };
        let spawned: Result<Task<u32>, Rejected<Scripted>> = match by {
            By::Looper => looper.spawn(future),
            By::Handle => self.from(self.is_afar, || self.handle.spawn(future)),
            By::AsynchronousHandle => self.from(self.is_afar, || self.handle.asynchronous().spawn(future)),
        };
        match spawned {
            Ok(task) => {
                let (task, is_told) = (Arc::new(Mutex::new(task)), Arc::default());
                self.tasks.lock().unwrap().push(Spawned { task, is_told, waker });
                Outcome::Accepted
            }
            Err(refused) => self.refuse(number, refused),
        }
    }

    pub(super) fn task(&self, back: usize) -> Option<Spawned> {
        let tasks = self.tasks.lock().unwrap();
        back_from(back, tasks.len()).map(|index| tasks[index].clone())
    }

    pub(super) fn wake_task(&self, back: usize) -> Outcome {
        let waker = self.task(back).and_then(|spawned| spawned.waker.lock().unwrap().clone());
        waker.map_or(Outcome::Nothing, |waker| {
            self.from(self.is_afar, || waker.wake());
            Outcome::Done
        })
    }

    /// What becomes of tasks after a quit is seen elsewhere.
    pub(super) fn cancel_task(&self, back: usize) -> Outcome {
        let spawned = self.task(back).filter(|_| !self.handle.has_quit());
        spawned.map_or(Outcome::Nothing, |spawned| Outcome::Cancelled(spawned.cancel()))
    }

    pub(super) fn are_finished(&self) -> Vec<bool> {
        let tasks = self.tasks.lock().unwrap();
        tasks
            .iter()
            .filter(|_| !self.handle.has_quit())
            .map(|spawned| spawned.task.lock().unwrap().is_finished())
            .collect()
    }
}
