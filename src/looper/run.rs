//! Running a looper: polling it until it quits, until a condition holds, or until nothing is left to happen.

use std::{
    fmt::{self, Debug, Formatter},
    io,
    sync::Arc,
};

use crate::{
    core::shared::Shared,
    fd::{notice::Notice, registration::Registration},
    looper::{Looper, handle::LooperHandle, report::ReadyIdent},
    queue::account::MessageCounts,
};

/// **Running**, until it quits or something holds.
impl Looper {
    /// Polls until the looper quits, and reports how all its messages have ended.
    ///
    /// A looper that has quit before returns at once, after running what `quit_safely` left to run. Nobody sees the
    /// reports of its turns: an fd without callback that becomes ready is ignored, and logged once.
    ///
    /// # Errors
    /// As [`poll_once`](Looper::poll_once).
    ///
    /// # Panics
    /// As [`poll_once`](Looper::poll_once).
    ///
    /// # Android
    /// `Looper.loop`.
    #[doc(alias = "loop")]
    pub fn run(&self) -> io::Result<MessageCounts> {
        while !self.run_once()? {}
        Ok(self.message_counts())
    }

    /// Polls until `is_done` says so, or the looper quits; whether it was the former.
    ///
    /// It is asked before each turn and after the last one. The event that makes it true has to end a turn: a message,
    /// an fd's callback, or [`wake`](LooperHandle::wake). The looper does not quit, and may be run again.
    ///
    /// # Errors
    /// As [`poll_once`](Looper::poll_once).
    ///
    /// # Panics
    /// As [`poll_once`](Looper::poll_once), and goes on with a panic of `is_done`.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::{cell::Cell, rc::Rc};
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let answer = Rc::new(Cell::new(None));
    /// let answered = answer.clone();
    /// looper.post(move |_| answered.set(Some(42)))?;
    ///
    /// assert!(looper.run_until(|| answer.get().is_some())?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_until(&self, mut is_done: impl FnMut() -> bool) -> io::Result<bool> {
        while !is_done() {
            if self.run_once()? {
                return Ok(is_done());
            }
        }
        Ok(true)
    }

    /// Polls until nothing is left that could happen by itself, or the looper quits, and reports how all messages so far
    /// have ended.
    ///
    /// What is left are messages, with a due time or without, watched fds (signals and children, too), tasks that have not
    /// ended, idle handlers that have still to run, and guards of [`keep_alive`](LooperHandle::keep_alive). A handle or a
    /// handler's front on another thread is not: take a guard where one may still post. The looper does not quit, and may
    /// be run again.
    ///
    /// # Errors
    /// As [`poll_once`](Looper::poll_once).
    ///
    /// # Panics
    /// As [`poll_once`](Looper::poll_once).
    ///
    /// # Guarantees
    /// It ends as soon as the last of these is gone, whichever thread has removed it.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// looper.post_delayed(Duration::from_millis(1), |_| println!("the last thing"))?;
    ///
    /// assert_eq!(looper.run_while_alive()?.run, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// There is none. libuv's `uv_run` with `UV_RUN_DEFAULT`.
    #[doc(alias = "uv_run")]
    pub fn run_while_alive(&self) -> io::Result<MessageCounts> {
        let _awaited = AwaitsEnd::begin(self);
        while self.is_alive() {
            if self.run_once()? {
                break;
            }
        }
        Ok(self.message_counts())
    }

    /// Polls once without a timeout, with a report that nobody sees; whether the looper has quit.
    pub(crate) fn run_once(&self) -> io::Result<bool> {
        let turn = self.poll_once(None)?;
        if !turn.quit && !turn.idents.is_empty() {
            self.ignore_idents(&turn.idents);
        }
        Ok(turn.quit)
    }

    /// Whether something is left that could happen by itself.
    fn is_alive(&self) -> bool {
        let shared = self.shared();
        let local = self.local_state();
        #[cfg(feature = "async")]
        let has_tasks = !local.tasks.is_empty();
        #[cfg(not(feature = "async"))]
        let has_tasks = false;
        has_tasks
            || local.idlers.is_any_due(shared.begun())
            || shared.len() > 0
            || shared.fds.len() > 0
            || shared.end.is_kept_alive()
    }

    /// Whether a turn has to end because [`run_while_alive`](Looper::run_while_alive) has nothing to wait for.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.shared().end.is_awaited() && !self.is_alive()
    }

    /// Ignores fds that are reported to nobody: they would stay ready for ever.
    #[cold]
    fn ignore_idents(&self, idents: &[ReadyIdent]) {
        let shared = self.shared();
        for ignored in shared.fds.ignore_idents(|ident| idents.iter().any(|ready| ready.ident == ident)) {
            let Registration { fd, place, ident, .. } = ignored;
            shared.notices.add(Notice::IgnoredIdent { fd, place, ident: ident.unwrap_or_default() });
        }
    }
}

/// A [`run_while_alive`](Looper::run_while_alive) that is under way.
struct AwaitsEnd<'a> {
    looper: &'a Looper,
    /// One further out awaits it, too.
    was_awaited: bool,
}

impl AwaitsEnd<'_> {
    fn begin(looper: &Looper) -> AwaitsEnd<'_> {
        AwaitsEnd { looper, was_awaited: looper.shared().end.set_awaited(true) }
    }
}

impl Drop for AwaitsEnd<'_> {
    fn drop(&mut self) {
        self.looper.shared().end.set_awaited(self.was_awaited);
    }
}

/// Keeps [`Looper::run_while_alive`] going until it is dropped. Made by [`LooperHandle::keep_alive`].
///
/// # Thread safety
/// `Send` and `Sync`.
#[must_use = "a guard that is dropped at once keeps nothing going"]
pub struct KeepAlive {
    shared: Arc<Shared>,
}

impl LooperHandle {
    /// Keeps [`Looper::run_while_alive`] going for as long as the guard lives: for work elsewhere that will post.
    ///
    /// It does not keep the looper from quitting.
    pub fn keep_alive(&self) -> KeepAlive {
        self.shared.end.keep();
        KeepAlive { shared: self.shared.clone() }
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.shared.end.let_go();
        self.shared.tell_end();
    }
}

impl Debug for KeepAlive {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepAlive").finish_non_exhaustive()
    }
}
