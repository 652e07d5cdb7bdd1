//! Calls that are awaited: something runs on a looper, and its value comes back to a task on any executor.

use std::{
    fmt::{self, Debug, Formatter},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    core::{
        item::{Body, Stamp, When},
        refused::{Refused, Rejected},
        shared::{Post, Shared, Waiting},
        tasks::wake,
    },
    error::RejectReason,
    looper::{Looper, call::CallError, handle::LooperHandle},
    mem::{
        drop::{caught, drop_each},
        slots::Key,
    },
    queue::{
        Queue,
        message::{MessageId, Origin},
    },
    sys::fork_aware_mutex::ForkAwareMutex,
};

/// What caller and looper share.
struct Call<F, R> {
    state: ForkAwareMutex<State<F, R>>,
}

struct State<F, R> {
    stage: Stage<F, R>,
    waker: Option<Waker>,
}

/// How far a call is. Each step is taken by one side:
///
/// | from | to | by |
/// |---|---|---|
/// | `Waiting` | `Running` | the looper, when it begins |
/// | `Waiting` | `Dropped` | the looper, when it gives the message up |
/// | `Waiting`, `Running` | `Left` | the caller, who does not wait any longer |
/// | `Running` | `Done`, `Panicked` | the looper, if the caller has not left |
/// | `Dropped`, `Done`, `Panicked` | `Told` | the caller |
enum Stage<F, R> {
    Waiting(Box<F>),
    Running,
    Done(R),
    Panicked,
    Dropped(Box<F>),
    Told,
    Left,
}

impl<F, R> Call<F, R> {
    /// Takes a step with the state locked, and wakes the caller afterwards if that is what it says.
    fn step<T>(&self, step: impl FnOnce(&mut Stage<F, R>) -> (T, bool)) -> Option<T> {
        let mut state = self.state.lock()?;
        let (result, wakes) = step(&mut state.stage);
        let waker = if wakes { state.waker.take() } else { None };
        drop(state);
        wake(waker);
        Some(result)
    }

    /// Gives the closure back, unless it has begun.
    fn release(&self) {
        self.step(|stage| match mem::replace(stage, Stage::Left) {
            Stage::Waiting(run) => {
                *stage = Stage::Dropped(run);
                ((), true)
            }
            other => {
                *stage = other;
                ((), false)
            }
        });
    }
}

impl<F: Send, R: Send> Waiting for Call<F, R> {
    fn give_up(&self) {
        // The waker may be a user's, and panic: that must not keep others waiting.
        caught(|| self.release());
    }
}

/// The looper's side: begins the call, or tells the caller that nobody will.
struct Side<F, R>(Arc<Call<F, R>>);

impl<F, R> Side<F, R>
where
    F: FnOnce(&Looper) -> R,
{
    fn run(self, looper: &Looper) {
        let begun = self.0.step(|stage| match mem::replace(stage, Stage::Running) {
            Stage::Waiting(run) => (Ok(run), false),
            other => {
                let is_given_up = matches!(other, Stage::Dropped(_));
                *stage = other;
                (Err(is_given_up), false)
            }
        });
        match begun {
            Some(Ok(run)) => {
                // Told if `run` panics.
                let mut end = End { call: &self.0, value: None };
                end.value = Some(run(looper));
            }
            Some(Err(true)) => looper.skip_message(Queue::count_as_given_up),
            Some(Err(false)) => looper.skip_message(Queue::count_as_cancelled),
            None => {}
        }
    }
}

impl<F, R> Drop for Side<F, R> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The end of a call: leaves its value for the caller, or drops it if the caller has left.
struct End<'a, F, R> {
    call: &'a Call<F, R>,
    value: Option<R>,
}

impl<F, R> Drop for End<'_, F, R> {
    fn drop(&mut self) {
        let value = &mut self.value;
        self.call.step(|stage| {
            let is_awaited = !matches!(stage, Stage::Left);
            if is_awaited {
                *stage = value.take().map_or(Stage::Panicked, Stage::Done);
            }
            ((), is_awaited)
        });
    }
}

/// A call that was posted to a looper, to be awaited. Made by [`LooperHandle::call_async`].
///
/// Dropping it cancels the call, unless that has begun: then its value is dropped on the looper's thread.
///
/// # Thread safety
/// `Send`: it can be awaited on any thread and by any executor.
///
/// # Panics
/// If it is awaited again after it has ended.
#[must_use = "a call that is dropped is cancelled"]
pub struct AsyncCall<F: 'static, R: 'static> {
    shared: Arc<Shared>,
    call: Arc<Call<F, R>>,
    /// The looper knows of it, to give it back when it quits; `None` if it was the parent's from the first.
    noted: Option<Key>,
    posted: Option<MessageId>,
    place: Origin,
}

// It has no `F` and no `R` in it.
impl<F, R> Unpin for AsyncCall<F, R> {}

impl<F: Send, R> Future for AsyncCall<F, R> {
    type Output = Result<R, CallError<F>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Neither cloned nor dropped under the lock: it may be a user's.
        let waker = context.waker().clone();
        let Some(mut state) = self.call.state.lock() else {
            return Poll::Ready(Err(CallError::Rejected(Rejected::lost(RejectReason::Forked, self.place))));
        };
        let stage = match mem::replace(&mut state.stage, Stage::Told) {
            stage @ (Stage::Waiting(_) | Stage::Running) => {
                state.stage = stage;
                let former = state.waker.replace(waker);
                drop(state);
                drop(former);
                return Poll::Pending;
            }
            stage => stage,
        };
        drop(state);
        Poll::Ready(match stage {
            Stage::Done(value) => Ok(value),
            Stage::Dropped(value) => {
                let reason = self.shared.closed().unwrap_or(RejectReason::Quit);
                Err(CallError::Rejected(Refused { value, reason }.unboxed_send_error(self.place)))
            }
            Stage::Panicked => Err(CallError::Panicked),
            _ => panic!("a call tells its end once: do not await it again"),
        })
    }
}

impl<F, R> Drop for AsyncCall<F, R> {
    fn drop(&mut self) {
        if let Some(key) = self.noted.filter(|_| !self.shared.is_inherited()) {
            self.shared.calls.forget(key);
        }
        let left = self.call.step(|stage| (mem::replace(stage, Stage::Left), false));
        let taken = match &left {
            Some(Stage::Waiting(_)) => self.posted.and_then(|id| self.shared.cancel(id)),
            _ => None,
        };
        drop_each(taken);
        drop(left);
    }
}

impl<F, R> Debug for AsyncCall<F, R> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncCall").finish_non_exhaustive()
    }
}

impl LooperHandle {
    /// Runs `callback` on the looper's thread, after everything that is due, and gives its value to whoever awaits what
    /// this returns: a task of any looper, or of any other executor.
    ///
    /// It is posted now, also if nobody awaits it yet. In contrast to [`call`](LooperHandle::call) it blocks nobody, so
    /// that it is posted on the looper's own thread, too, and two loopers may call each other.
    ///
    /// # Errors
    /// See [`CallError`]: if the looper has quit or quits before the closure has begun, that comes back, at once.
    ///
    /// # Examples
    /// ```
    /// # use alooper::HandlerThread;
    /// # fn main() -> std::io::Result<()> {
    /// let thread = HandlerThread::spawn("worker")?;
    /// let call = thread.handle().call_async(|looper| looper.name().map(str::to_owned));
    ///
    /// let name = alooper::Looper::new()?.block_on(call)??;
    ///
    /// assert_eq!(name.as_deref(), Some("worker"));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn call_async<F, R>(&self, callback: F) -> AsyncCall<F, R>
    where
        F: FnOnce(&Looper) -> R + Send + 'static,
        R: Send + 'static,
    {
        let stamp = Stamp { asynchronous: self.asynchronous, ..Stamp::new(When::Now) };
        self.call_boxed(stamp, Box::new(callback))
    }

    fn call_boxed<F, R>(&self, stamp: Stamp, callback: Box<F>) -> AsyncCall<F, R>
    where
        F: FnOnce(&Looper) -> R + Send + 'static,
        R: Send + 'static,
    {
        let shared = self.shared.clone();
        let is_inherited = shared.is_inherited();
        let stage = if is_inherited { Stage::Dropped(callback) } else { Stage::Waiting(callback) };
        let call = Arc::new(Call { state: ForkAwareMutex::new(State { stage, waker: None }) });
        let noted = if is_inherited { None } else { shared.calls.note(&call) };
        let fill = |body: &mut Body, side: Side<F, R>, _| body.fill(move |looper: &Looper| side.run(looper));
        // One that is refused is dropped at once, and says so.
        let posted = shared.post(Post::closure(stamp), Side(call.clone()), fill).ok();
        AsyncCall { shared, call, noted, posted, place: stamp.origin }
    }
}
