//! Synchronous calls: another thread runs something on the looper and waits for its value.

use std::{
    error::Error,
    fmt::{self, Debug, Display, Formatter},
    io::{self, ErrorKind},
    mem,
    sync::Arc,
    time::Duration,
};

use crate::{
    core::{
        item::{Body, Stamp, When},
        local::Local,
        predicate,
        refused::{Refused, Rejected, is_large},
        shared::{Post, Shared, Waiting},
    },
    error::RejectReason,
    looper::{Looper, handle::LooperHandle},
    mem::slots::Key,
    queue::{Queue, message::Origin},
    sys::{
        fork::ForkGeneration,
        sync::{Condvar, Mutex},
        time::Clock,
    },
};

/// Why a synchronous call returned no value.
///
/// It is `Send` and `Sync` whatever the closure is, as [`Rejected`] is. Turns into an [`io::Error`] with `?`, of kind
/// `BrokenPipe`, `TimedOut`, `Deadlock`, or, after a panic, `Other`.
///
/// # Android
/// The `false` of `Handler.runWithScissors`.
#[non_exhaustive]
pub enum CallError<F> {
    /// The looper has quit, or was dropped, before the closure was begun: here it is.
    Rejected(Rejected<F>),
    /// The time has passed before the closure was begun: here it is, and it will not run.
    TimedOut(Rejected<F>),
    /// The time has passed, and the closure is still running. Its value will be dropped on the looper's thread.
    StillRunning,
    /// The closure has panicked. The panic goes on on the looper's thread.
    Panicked,
    /// Called from inside a predicate of [`Handler::remove_if`](crate::Handler::remove_if), where nothing may wait for
    /// a looper: here is the closure.
    InPredicate(Rejected<F>),
}

impl<F> Debug for CallError<F> {
    /// The text, since that is what a `main` prints that returns it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl<F> Display for CallError<F> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Rejected(closure) | CallError::TimedOut(closure) | CallError::InPredicate(closure) => {
                Display::fmt(closure, f)
            }
            CallError::StillRunning => f.write_str(
                "the call was begun but did not end in time: allow more time, or post it and be told when it ends",
            ),
            CallError::Panicked => f.write_str("the call panicked on the looper's thread: see the panic there"),
        }
    }
}

impl<F> Error for CallError<F> {}

impl<F> From<CallError<F>> for io::Error {
    fn from(error: CallError<F>) -> io::Error {
        match error {
            CallError::Rejected(closure) | CallError::TimedOut(closure) | CallError::InPredicate(closure) => {
                closure.into()
            }
            CallError::StillRunning => io::Error::new(ErrorKind::TimedOut, CallError::<()>::StillRunning),
            CallError::Panicked => io::Error::other(CallError::<()>::Panicked),
        }
    }
}

/// What caller and looper share of a call.
struct Call<F, R> {
    /// If the closure forks, the child does not lock this: the caller, whom it does not have, may have it locked.
    process: ForkGeneration,
    state: Mutex<State<F, R>>,
    changed: Condvar,
}

/// How far a call is. Each step is taken by one side:
///
/// | from | to | by |
/// |---|---|---|
/// | `Waiting` | `Running` | the looper, when it begins |
/// | `Waiting` | `Dropped` | the looper, when it gives the message up |
/// | `Dropped` | `Returned` | the caller, who has the closure back |
/// | `Waiting`, `Running` | `Left` | the caller, whose time has passed |
/// | `Running` | `Done`, `Panicked` | the looper, if the caller has not left |
enum State<F, R> {
    Waiting(F),
    Running,
    Done(R),
    Panicked,
    Dropped(F),
    /// As `Dropped`, and the caller has taken the closure.
    Returned,
    Left,
}

/// The looper's side of a call: begins it, or tells the caller that nobody will.
struct Side<F, R>(Arc<Call<F, R>>);

impl<F, R> Side<F, R>
where
    F: FnOnce(&Looper) -> R,
{
    fn run(self, looper: &Looper) {
        let run = match self.begin() {
            Ok(run) => run,
            Err(Unbegun::LeftByItsCaller) => return looper.skip_message(Queue::count_as_cancelled),
            Err(Unbegun::GivenUpByAQuit) => return looper.skip_message(Queue::count_as_given_up),
        };
        // Told if `run` panics.
        let mut end = End { call: &self.0, value: None };
        end.value = Some(run(looper));
    }

    fn begin(&self) -> Result<F, Unbegun> {
        let mut state = self.0.state.lock();
        match mem::replace(&mut *state, State::Running) {
            State::Waiting(run) => Ok(run),
            other => {
                let is_given_up = matches!(other, State::Dropped(_) | State::Returned);
                let why = if is_given_up { Unbegun::GivenUpByAQuit } else { Unbegun::LeftByItsCaller };
                *state = other;
                Err(why)
            }
        }
    }
}

/// Why a call that has come to be run is not.
enum Unbegun {
    LeftByItsCaller,
    GivenUpByAQuit,
}

impl<F, R> Drop for Side<F, R> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl<F, R> Call<F, R> {
    /// Releases its caller, unless the closure has begun.
    fn release(&self) {
        if !self.process.is_current() {
            return;
        }
        let mut state = self.state.lock();
        match mem::replace(&mut *state, State::Left) {
            State::Waiting(run) => *state = State::Dropped(run),
            other => *state = other,
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl<F: Send, R: Send> Waiting for Call<F, R> {
    fn give_up(&self) {
        self.release();
    }
}

/// A caller who waits, for as long as it does.
struct Noted<'a> {
    shared: &'a Shared,
    /// `None` if the looper has quit.
    key: Option<Key>,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.calls.forget(key);
        }
    }
}

/// The end of a call: leaves its value for the caller, or drops it if the caller has left.
struct End<'a, F, R> {
    call: &'a Call<F, R>,
    value: Option<R>,
}

impl<F, R> Drop for End<'_, F, R> {
    fn drop(&mut self) {
        if !self.call.process.is_current() {
            return;
        }
        let mut state = self.call.state.lock();
        if !matches!(*state, State::Left) {
            *state = self.value.take().map_or(State::Panicked, State::Done);
        }
        drop(state);
        self.call.changed.notify_all();
    }
}

impl LooperHandle {
    /// Runs `callback` on the looper's thread, waits for it, and gives its value.
    ///
    /// On the looper's own thread it runs at once; on any other it is posted, after everything that is due.
    ///
    /// It waits for as long as the looper takes; if no thread polls the looper, for ever. Two loopers that call each
    /// other at the same time wait for ever: see [`call_timeout`](LooperHandle::call_timeout).
    ///
    /// # Errors
    /// See [`CallError`]. A looper that quits or is dropped, and a closure that panics, end the waiting.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::thread;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let handle = looper.handle();
    /// let caller = thread::spawn(move || {
    ///     let name = handle.call(|looper| looper.name().map(str::to_owned))?;
    ///     handle.quit();
    ///     std::io::Result::Ok(name)
    /// });
    ///
    /// looper.run()?;
    /// assert_eq!(caller.join().unwrap()?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// `Handler.runWithScissors`, which brings no value, and whose caller waits for ever when the looper quits.
    #[doc(alias = "runWithScissors")]
    #[track_caller]
    pub fn call<F, R>(&self, callback: F) -> Result<R, CallError<F>>
    where
        F: FnOnce(&Looper) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.call_within(None, callback)
    }

    /// As [`call`](LooperHandle::call), and waits for `timeout` at most, on the system's clock.
    ///
    /// # Errors
    /// See [`CallError`]. If the time has passed before the closure was begun, it comes back and will not run; if it
    /// has passed after that, the closure goes on and its value is dropped on the looper's thread.
    ///
    /// # Android
    /// `Handler.runWithScissors`. There, what has timed out stays queued and runs later.
    #[doc(alias = "runWithScissors")]
    #[track_caller]
    pub fn call_timeout<F, R>(&self, timeout: Duration, callback: F) -> Result<R, CallError<F>>
    where
        F: FnOnce(&Looper) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.call_within(Some(timeout), callback)
    }

    #[track_caller]
    fn call_within<F, R>(&self, timeout: Option<Duration>, callback: F) -> Result<R, CallError<F>>
    where
        F: FnOnce(&Looper) -> R + Send + 'static,
        R: Send + 'static,
    {
        let stamp = Stamp { asynchronous: self.asynchronous, ..Stamp::new(When::Now) };
        if const { is_large::<F>() } {
            self.call_with(stamp, timeout, Box::new(callback), Refused::unboxed_send_error)
        } else {
            self.call_with(stamp, timeout, callback, Refused::send_error)
        }
    }

    /// Calls a closure that is an `F` or a box with one, which `refuse` gives back.
    fn call_with<P, F, R>(
        &self,
        stamp: Stamp,
        timeout: Option<Duration>,
        callback: P,
        refuse: fn(Refused<P>, Origin) -> Rejected<F>,
    ) -> Result<R, CallError<F>>
    where
        P: FnOnce(&Looper) -> R + Send + 'static,
        R: Send + 'static,
    {
        let refuse = |value, reason| refuse(Refused { value, reason }, stamp.origin);
        if self.shared.is_inherited() {
            return Err(CallError::Rejected(refuse(callback, RejectReason::Forked)));
        }
        if self.is_current() {
            return self
                .call_here(callback)
                .map_err(|(callback, reason)| CallError::Rejected(refuse(callback, reason)));
        }
        if predicate::in_predicate() {
            return Err(CallError::InPredicate(refuse(callback, RejectReason::InPredicate)));
        }
        // A time that the clock cannot say does not come.
        let deadline = timeout.and_then(|timeout| Clock::System.instant().checked_add(timeout));
        let call = Arc::new(Call {
            process: ForkGeneration::current(),
            state: Mutex::new(State::Waiting(callback)),
            changed: Condvar::new(),
        });
        let _noted = Noted { shared: &self.shared, key: self.shared.calls.note(&call) };
        let side = Side(call.clone());
        // One that is refused is dropped at once, and says so.
        let fill = |body: &mut Body, side: Side<_, _>, _| body.fill(move |looper: &Looper| side.run(looper));
        let posted = self.shared.post(Post::closure(stamp), side, fill).ok();
        let mut state = call.state.lock();
        loop {
            match mem::replace(&mut *state, State::Left) {
                State::Done(value) => return Ok(value),
                State::Panicked => return Err(CallError::Panicked),
                State::Dropped(value) => {
                    *state = State::Returned;
                    let reason = self.shared.closed().unwrap_or(RejectReason::Quit);
                    drop(state);
                    return Err(CallError::Rejected(refuse(value, reason)));
                }
                other => *state = other,
            }
            let (woken, has_passed) = call.changed.wait_until(state, deadline);
            state = woken;
            if has_passed {
                match mem::replace(&mut *state, State::Left) {
                    State::Waiting(value) => {
                        drop(state);
                        drop(posted.and_then(|name| self.shared.cancel(name)));
                        return Err(CallError::TimedOut(refuse(value, RejectReason::TimedOut)));
                    }
                    State::Running => return Err(CallError::StillRunning),
                    other => *state = other,
                }
            }
        }
    }

    /// Not a part of its caller, whose stack would have to have room for the closure also where it is not run.
    #[inline(never)]
    fn call_here<P, R>(&self, callback: P) -> Result<R, (P, RejectReason)>
    where
        P: FnOnce(&Looper) -> R,
    {
        let looper = Local::of(&self.shared).and_then(|local| Looper::of(&local));
        match (self.shared.closed(), looper) {
            (None, Some(looper)) => Ok(callback(&looper)),
            (reason, _) => Err((callback, reason.unwrap_or(RejectReason::Dropped))),
        }
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    /// X2, C71: the caller, whom a forked child does not have, may have had it locked.
    #[test]
    fn c71_the_ends_of_a_parents_call_are_not_locked() {
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let state = Mutex::new(State::Waiting(|_: &Looper| ()));
            let call = Arc::new(Call { process: ForkGeneration::parent(), state, changed: Condvar::new() });
            let _locked = call.state.lock();

            drop(End { call: &call, value: Some(()) });
            drop(Side(call.clone()));

            done.send(()).unwrap();
        });

        is_done.recv_timeout(Duration::from_secs(10)).expect("it waits for nobody");
    }
}
