//! Waiting until the looper is idle.

use std::{
    fmt::{self, Debug, Formatter},
    ops::ControlFlow,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    core::{
        item::{Arrival, PendingDrop},
        local,
        shared::Shared,
    },
    looper::{Looper, handle::LooperHandle},
    queue::message::Origin,
    sys::sync::Mutex,
};

/// Ends when the looper is idle. Made by [`Looper::next_idle`].
///
/// Dropping it removes the idle handler that it is. On a looper that has quit it does not end.
///
/// # Thread safety
/// `Send` and `Sync`: it can be awaited on any thread and by any executor.
#[must_use = "a future does nothing unless it is awaited"]
pub struct NextIdle {
    shared: Arc<Shared>,
    /// Where it was made, in the source.
    place: Origin,
    /// The number of the idle handler, once it was added, and what it shares with this.
    added: Option<(u64, Arc<Mutex<State>>)>,
}

#[derive(Debug)]
enum State {
    Waits(Waker),
    IsIdle,
}

impl NextIdle {
    fn add(&mut self, waker: &Waker) {
        let id = self.shared.next_id();
        let state = Arc::new(Mutex::new(State::Waits(waker.clone())));
        let seen = state.clone();
        let run = move |looper: &Looper| {
            let before = std::mem::replace(&mut *seen.lock(), State::IsIdle);
            if let State::Waits(waker) = before {
                looper.resume_from_idle(waker);
            }
            Some(ControlFlow::Break(()))
        };
        if self.shared.admit((), |()| Arrival::Idle(id, Box::new(run), self.place)).is_ok() {
            self.added = Some((id, state));
        }
    }
}

impl Future for NextIdle {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.shared.is_inherited() {
            return Poll::Pending;
        }
        let Some((_, state)) = &self.added else {
            self.add(context.waker());
            return Poll::Pending;
        };
        // Neither cloned nor dropped under the lock: it may be a user's.
        let waker = context.waker().clone();
        let mut state = state.lock();
        match &mut *state {
            State::IsIdle => Poll::Ready(()),
            State::Waits(present) => {
                let former = std::mem::replace(present, waker);
                drop(state);
                drop(former);
                Poll::Pending
            }
        }
    }
}

impl Drop for NextIdle {
    fn drop(&mut self) {
        if let Some((id, _)) = self.added.take() {
            // Without its looper, it was dropped with that.
            _ = local::drop_locally(&self.shared, PendingDrop::Idle(id));
        }
    }
}

impl Debug for NextIdle {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextIdle").finish_non_exhaustive()
    }
}

impl Looper {
    /// Waits until the looper is idle: no message is due and no barrier stands, before it waits (I1).
    ///
    /// It is an idle handler that is added when this is first polled, and polls the task at once.
    #[track_caller]
    pub fn next_idle(&self) -> NextIdle {
        NextIdle { shared: self.shared().clone(), place: Location::caller(), added: None }
    }
}

impl LooperHandle {
    /// As [`Looper::next_idle`].
    #[track_caller]
    pub fn next_idle(&self) -> NextIdle {
        NextIdle { shared: self.shared.clone(), place: Location::caller(), added: None }
    }
}
