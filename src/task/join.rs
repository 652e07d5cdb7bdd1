//! The end of a task, for whoever waits for it.

use std::{
    fmt::{self, Debug, Formatter},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    core::{
        item::PendingDrop,
        local::{self, Local},
        tasks::header::{Answer, Ended, Header},
    },
    error::TaskError,
    mem::{
        drop::{FirstPanic, Shielded, drop_each},
        erased::TypeToken,
    },
    queue::message::MessageId,
};

/// A task that was spawned.
///
/// Dropping it does nothing: the task goes on. [`guard`](Task::guard) turns it into one that cancels when dropped. To
/// await it, on any executor, gives the value of its future, or says why there is none.
///
/// # Thread safety
/// `Send` and `Sync` if the value is `Send`.
///
/// # Panics
/// If it is awaited again after it has told its end.
pub struct Task<T: 'static> {
    header: Arc<Header>,
    of: TypeToken<T>,
}

// It has no `T` in it.
impl<T> Unpin for Task<T> {}

impl<T: 'static> Task<T> {
    /// Of a task whose first message is `first`.
    #[inline]
    pub(super) fn new(header: Arc<Header>, first: MessageId) -> Task<T> {
        header.set_first(first);
        Task { header, of: TypeToken::new() }
    }

    /// Cancels the task; whether that kept it from ending by itself.
    ///
    /// A poll that is under way goes on, and is the last one; if it brings a value, that is dropped. Whoever awaits the
    /// task is told [`TaskError::Cancelled`].
    ///
    /// # Thread safety
    /// Callable from any thread. The future is dropped on the looper's thread: before this returns if that is the
    /// caller and the future is not being polled, and otherwise after its poll, or in the looper's next turn. One that
    /// was spawned by a [`LooperHandle`](crate::LooperHandle) and has not been polled yet is dropped by the caller.
    ///
    /// # Guarantees
    /// After it has returned, no poll of the task begins.
    pub fn cancel(&self) -> bool {
        cancel(&self.header)
    }

    /// Whether it has ended, by whatever way: exact at the moment of the call.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !self.header.is_pending()
    }

    /// Turns this into a guard that cancels the task when it is dropped.
    #[must_use = "a guard that is dropped at once cancels at once"]
    pub fn guard(self) -> TaskGuard<T> {
        TaskGuard { cancel: CancelOnDrop(Some(self.header.clone())), task: self }
    }

    /// Lets the looper tell of a quit, unless whoever waits is one of its own tasks, which is dropped then. Whether
    /// there is nothing to wait for.
    fn note(&self) -> bool {
        let shared = self.header.shared();
        let is_own = || Local::of(shared).is_some_and(|local| local.tasks.polled().is_some());
        if self.header.noted().is_some() || is_own() {
            return false;
        }
        let noted = shared.joins.note(&self.header);
        self.header.set_noted(noted);
        if noted.is_none() {
            self.header.give_up();
        }
        noted.is_none()
    }

    fn open(&self, ended: Ended) -> Result<T, TaskError> {
        match ended {
            Ended::Value(mut value) => Ok(value.open(self.of).expect("the value is of the type of its future's")),
            Ended::Failed(error) => Err(error),
        }
    }
}

impl<T: 'static> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.header.shared().is_inherited() {
            return Poll::Ready(Err(TaskError::Forked));
        }
        loop {
            match self.header.ask(context.waker()) {
                Answer::Ended(ended) => return Poll::Ready(self.open(ended)),
                Answer::ToldBefore => panic!("a task tells its end once: do not await it again"),
                Answer::Later if self.note() => {}
                Answer::Later => return Poll::Pending,
            }
        }
    }
}

impl<T: 'static> Drop for Task<T> {
    fn drop(&mut self) {
        if self.header.shared().is_inherited() {
            return;
        }
        if let Some(key) = self.header.noted() {
            self.header.set_noted(None);
            self.header.shared().joins.forget(key);
        }
        if !self.header.detach() {
            let (ended, waker) = self.header.take_unwanted();
            let _waker = Shielded::new(waker);
            drop_each(ended.map(|ended| self.open(ended)));
        }
    }
}

impl<T> Debug for Task<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("is_finished", &!self.header.is_pending()).finish_non_exhaustive()
    }
}

/// Cancels a task when it is dropped. See [`Task::guard`]. It can be awaited as the task can.
#[must_use = "a guard that is dropped at once cancels at once"]
pub struct TaskGuard<T: 'static> {
    // The first to be dropped.
    cancel: CancelOnDrop,
    task: Task<T>,
}

impl<T: 'static> TaskGuard<T> {
    /// The task.
    #[must_use]
    pub fn task(&self) -> &Task<T> {
        &self.task
    }

    /// Lets the task be: the guard no longer cancels it.
    pub fn keep(self) -> Task<T> {
        let TaskGuard { mut cancel, task } = self;
        cancel.0 = None;
        task
    }
}

impl<T: 'static> Future for TaskGuard<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(context)
    }
}

impl<T> Debug for TaskGuard<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGuard").field("task", &self.task).finish()
    }
}

/// Cancels a task when it is dropped, if there is one.
struct CancelOnDrop(Option<Arc<Header>>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(header) = &self.0 {
            cancel(header);
        }
    }
}

fn cancel(header: &Header) -> bool {
    let shared = header.shared();
    let mut panic = FirstPanic::default();
    // It has ended, too, if whoever waits panics when woken.
    if panic.note(|| header.fail(TaskError::Cancelled)) == Some(false) {
        return false;
    }
    let taken = shared.cancel(header.first());
    if let Some(key) = header.key() {
        // Without its looper, it was dropped with that.
        panic.note(|| local::drop_locally(shared, PendingDrop::Task(key)));
    }
    panic.note(|| drop_each(taken));
    panic.go_on();
    true
}
