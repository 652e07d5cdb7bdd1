//! Waiting for time: a sleep is the timer's message, which polls the task that sleeps.

use std::{
    error::Error,
    fmt::{self, Debug, Display, Formatter},
    future::poll_fn,
    io::{self, ErrorKind},
    panic::Location,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::{
    core::{
        item::{Body, Stamp, When},
        local::Local,
        shared::{Post, Shared},
    },
    looper::{Looper, handle::LooperHandle},
    mem::drop::drop_each,
    queue::message::{MessageId, Origin},
    sys::time::Moment,
};

/// Ends when its time has come. Made by [`Looper::sleep`] and its like.
///
/// It is a message that is posted when this is first polled, also if the time has passed by then: so a task that
/// sleeps again and again lets all others run. In a task of the same looper, the message polls that task; it is
/// asynchronous if the task is, and has the place of its `spawn`. Dropping this cancels the message.
///
/// On a looper that has quit it does not end: the looper's own tasks are gone by then.
///
/// # Thread safety
/// `Send` and `Sync`: it can be awaited on any thread and by any executor.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sleep {
    shared: Arc<Shared>,
    deadline: Moment,
    asynchronous: bool,
    origin: Origin,
    /// The message, and whom it wakes.
    posted: Option<(MessageId, Waker)>,
    is_over: bool,
}

impl Sleep {
    pub(super) fn new(shared: &Arc<Shared>, deadline: Moment, asynchronous: bool, origin: Origin) -> Sleep {
        Sleep { shared: shared.clone(), deadline, asynchronous, origin, posted: None, is_over: false }
    }

    /// When it ends.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline.to_instant()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn moment(&self) -> Moment {
        self.deadline
    }

    /// Sleeps anew, until `deadline`.
    pub(super) fn reset(&mut self, deadline: Moment) {
        self.cancel();
        (self.deadline, self.is_over) = (deadline, false);
    }

    fn cancel(&mut self) {
        if let Some((id, waker)) = self.posted.take() {
            drop_each(self.shared.cancel(id));
            drop(waker);
        }
    }

    fn post(&mut self, waker: &Waker) {
        let mut stamp = Stamp { when: When::At(self.deadline), asynchronous: self.asynchronous, origin: self.origin };
        if let Some(task) = Local::of(&self.shared).and_then(|local| local.tasks.polled()) {
            stamp = Stamp { asynchronous: stamp.asynchronous || task.asynchronous, origin: task.origin, ..stamp };
        }
        let fill = |body: &mut Body, waker: Waker, _| body.fill(move |looper: &Looper| looper.resume(waker));
        if let Ok(id) = self.shared.post(Post::closure(stamp), waker.clone(), fill) {
            self.posted = Some((id, waker.clone()));
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let sleep = &mut *self;
        match &sleep.posted {
            _ if sleep.is_over => return Poll::Ready(()),
            Some(_) if sleep.shared.clock.now() >= sleep.deadline => {
                sleep.cancel();
                sleep.is_over = true;
                return Poll::Ready(());
            }
            Some((_, waker)) if waker.will_wake(context.waker()) => {}
            _ => {
                sleep.cancel();
                sleep.post(context.waker());
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Debug for Sleep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline()).field("is_over", &self.is_over).finish()
    }
}

/// The time of a [`timeout`](Looper::timeout) has passed before its future has ended. Turns into an [`io::Error`] of kind
/// `TimedOut` with `?`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Elapsed(Duration);

impl Elapsed {
    /// The time that there was.
    #[must_use]
    pub fn limit(self) -> Duration {
        self.0
    }
}

impl Display for Elapsed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "it did not end within {:?}: allow more time, or find what it waits for", self.0)
    }
}

impl Debug for Elapsed {
    /// The text, since that is what a `main` prints that returns it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(ErrorKind::TimedOut, elapsed)
    }
}

impl Looper {
    /// Sleeps for `duration` from now, on the looper's clock. See [`Sleep`].
    ///
    /// # Guarantees
    /// It does not end early, to the nanosecond. A duration that overflows the clock does not end.
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(self.shared(), self.clock().now().after(duration), false, Location::caller())
    }

    /// As [`sleep`](Looper::sleep), until `deadline`, which may have passed.
    #[track_caller]
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::new(self.shared(), self.clock().moment(deadline), false, Location::caller())
    }

    /// Awaits `future`, for `limit` from now at most, on the looper's clock.
    ///
    /// A future that ends in the poll that finds the time passed has ended in time.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::{future, time::Duration};
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let never = looper.timeout(Duration::from_millis(5), future::pending::<()>());
    ///
    /// assert!(looper.block_on(never)?.is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn timeout<F>(&self, limit: Duration, future: F) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F>
    where
        F: Future,
    {
        within(self.sleep(limit), limit, future)
    }
}

impl LooperHandle {
    /// As [`Looper::sleep`]. On a handle that is [`asynchronous`](LooperHandle::asynchronous), no barrier holds it up.
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let deadline = self.shared.clock.now().after(duration);
        Sleep::new(&self.shared, deadline, self.asynchronous, Location::caller())
    }

    /// As [`Looper::sleep_until`].
    #[track_caller]
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::new(&self.shared, self.shared.clock.moment(deadline), self.asynchronous, Location::caller())
    }

    /// As [`Looper::timeout`].
    #[track_caller]
    pub fn timeout<F>(&self, limit: Duration, future: F) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F>
    where
        F: Future,
    {
        within(self.sleep(limit), limit, future)
    }
}

async fn within<F: Future>(sleep: Sleep, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let (mut sleep, mut future) = (pin!(sleep), pin!(future));
    poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(value));
        }
        sleep.as_mut().poll(context).map(|()| Err(Elapsed(limit)))
    })
    .await
}
