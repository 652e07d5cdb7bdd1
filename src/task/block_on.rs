//! A future that the looper's thread runs to its end, turn by turn.

use std::{
    cell::Cell,
    io,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    core::{
        activity::Kind,
        item::{Stamp, When},
        local::Local,
        tasks::{self, header::Header, local_task},
    },
    error::{Misuse, TaskError},
    looper::Looper,
    mem::slots::Key,
};

impl Looper {
    /// Polls the looper until `future` ends, and gives its value.
    ///
    /// The future need not be `Send`, nor live for ever: it may borrow what the caller has. It is polled between turns,
    /// when a message of its wake has run; in the turns, all else goes on. As under [`run`](Looper::run), nobody sees
    /// the reports of the turns: an fd without callback that becomes ready is ignored, and logged once.
    ///
    /// # Errors
    /// One with [`TaskError::Quit`] if the looper quits before the future ends, which is dropped then; of kind
    /// `Deadlock` if it is called from inside one of this looper's callbacks or tasks; and as
    /// [`poll_once`](Looper::poll_once).
    ///
    /// # Panics
    /// Goes on with a panic of the future or of a callback.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let name = "borrowed".to_owned();
    ///
    /// let length = looper.block_on(async {
    ///     looper.sleep(Duration::from_millis(2)).await;
    ///     name.len()
    /// })?;
    ///
    /// assert_eq!(length, 8);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> io::Result<F::Output> {
        let stamp = Stamp::new(When::Now);
        drop(self.local_state().occupy().ok_or(Misuse::NestedPoll)?);
        self.shared().check_process()?;
        let root = Root::new(self, stamp);
        let waker = Waker::from(root.header.clone());
        let mut future = pin!(future);
        loop {
            if root.is_due.replace(false) && !self.shared().is_quitting() {
                // What is polled must not poll the looper.
                let _busy = self.local_state().occupy();
                let _polled = Polled::note(self.local_state(), root.header.polled());
                let _inside = self.shared().enter(Kind::Task, Some(stamp.origin));
                root.header.begin_poll();
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Ok(value);
                }
            }
            if self.run_once()? {
                return Err(TaskError::Quit.into());
            }
        }
    }
}

/// A future that is being polled, until this is dropped.
struct Polled<'a> {
    local: &'a Local,
    before: Option<tasks::Polled>,
}

impl Polled<'_> {
    fn note(local: &Local, polled: tasks::Polled) -> Polled<'_> {
        Polled { local, before: local.tasks.note_polled(Some(polled)) }
    }
}

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        self.local.tasks.note_polled(self.before);
    }
}

/// The place of a future that is run by `block_on`, for as long as it is.
struct Root<'a> {
    local: &'a Local,
    key: Key,
    header: Arc<Header>,
    is_due: Rc<Cell<bool>>,
}

impl Root<'_> {
    fn new(looper: &Looper, stamp: Stamp) -> Root<'_> {
        let local = looper.local_state();
        let key = local.tasks.reserve();
        let header = Header::new(looper.shared(), stamp, Some(key), looper.shared().owner().get());
        let is_due = Rc::new(Cell::new(true));
        local.tasks.put(key, local_task::root(&header, is_due.clone()));
        Root { local, key, header, is_due }
    }
}

impl Drop for Root<'_> {
    fn drop(&mut self) {
        self.header.give_up();
        drop(self.local.tasks.remove(self.key));
    }
}
