//! `HandlerThread`: a thread with a looper that runs.

use std::{
    any::Any,
    error::Error,
    fmt::{self, Debug, Display, Formatter},
    io, mem,
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use crate::{
    core::predicate,
    error::{Misuse, OsError},
    looper::{Looper, builder::LooperBuilder, handle::LooperHandle},
    mem::drop::drop_quietly,
    queue::account::MessageCounts,
};

/// What runs before the loop.
type OnPrepared = Box<dyn FnOnce(&Looper) -> io::Result<()> + Send>;

/// A thread with a looper of its own, which runs until it quits.
///
/// Dropping it quits safely and waits for the thread, but not on the thread itself, nor in a predicate of
/// [`Handler::remove_if`](crate::Handler::remove_if). Do not drop it where that thread waits for the dropping one, in a
/// [`call`](LooperHandle::call) for instance: it would wait for ever.
///
/// ```
/// use alooper::HandlerThread;
///
/// # fn main() -> std::io::Result<()> {
/// let worker = HandlerThread::spawn("worker")?;
/// let log = worker.handle().handler(|_, line: String| println!("{line}"))?;
/// log.send("on another thread".to_owned())?;
///
/// worker.quit_safely();
/// assert_eq!(worker.join()?.run, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Android
/// `android.os.HandlerThread`.
pub struct HandlerThread {
    handle: LooperHandle,
    /// `None` once it was joined.
    thread: Option<JoinHandle<io::Result<MessageCounts>>>,
}

impl HandlerThread {
    /// Starts a thread named `name`, and waits until its looper is prepared.
    ///
    /// # Errors
    /// The kernel's, for the thread or its looper; of kind `InvalidInput` if the name contains a NUL.
    ///
    /// # Android
    /// `new HandlerThread(name)`, `start()`, and the waiting of `getLooper()`.
    pub fn spawn(name: impl Into<String>) -> io::Result<HandlerThread> {
        HandlerThread::builder().name(name).spawn()
    }

    /// Makes a builder, to set the properties of the thread and of its looper.
    pub fn builder() -> HandlerThreadBuilder {
        HandlerThreadBuilder { name: None, stack_size: None, looper: Looper::builder(), on_prepared: None }
    }

    /// A handle to the thread's looper.
    ///
    /// # Android
    /// `HandlerThread.getLooper`, and `getThreadHandler` with [`LooperHandle::handler`].
    #[doc(alias = "getLooper")]
    #[must_use]
    pub fn handle(&self) -> &LooperHandle {
        &self.handle
    }

    /// The thread.
    ///
    /// # Android
    /// `HandlerThread.getThreadId`.
    #[must_use]
    pub fn thread(&self) -> Option<&thread::Thread> {
        if self.is_inherited() { None } else { self.thread.as_ref().map(JoinHandle::thread) }
    }

    /// Quits the looper, which ends the thread. See [`LooperHandle::quit`].
    ///
    /// # Android
    /// `HandlerThread.quit`.
    pub fn quit(&self) {
        self.handle.quit();
    }

    /// Quits the looper after everything that is due now has run. See [`LooperHandle::quit_safely`].
    ///
    /// # Android
    /// `HandlerThread.quitSafely`.
    #[doc(alias = "quitSafely")]
    pub fn quit_safely(&self) {
        self.handle.quit_safely();
    }

    /// Whether the loop has ended, by quitting or by a panic. Then [`join`](HandlerThread::join) hardly waits.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !self.is_inherited() && self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Whether a forked child has this from its parent, but not the thread.
    fn is_inherited(&self) -> bool {
        self.handle.shared.is_inherited()
    }

    /// Waits until the thread ends, and gives the exit report of its looper.
    ///
    /// It does not quit the looper: somebody else has to, or has.
    ///
    /// # Errors
    /// [`JoinError::Panicked`] with the panic of the thread, [`JoinError::Io`] if polling failed, in a forked child, or
    /// if it is called on the thread itself or in a predicate of [`Handler::remove_if`](crate::Handler::remove_if);
    /// then the looper quits safely.
    ///
    /// # Android
    /// `Thread.join`.
    pub fn join(mut self) -> Result<MessageCounts, JoinError> {
        self.handle.shared.check_process().map_err(JoinError::Io)?;
        if self.handle.is_current() {
            return Err(JoinError::Io(Misuse::JoinsItself.into()));
        }
        if predicate::in_predicate() {
            return Err(JoinError::Io(Misuse::CallInPredicate.into()));
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(report)) => report.map_err(JoinError::Io),
            Some(Err(panic)) => Err(JoinError::Panicked(Panic::new(panic))),
            None => Ok(self.handle.message_counts()),
        }
    }
}

impl Drop for HandlerThread {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if self.is_inherited() {
            // libc has taken back what it knew of the thread, which is not to be joined or let go a second time.
            mem::forget(thread);
            return;
        }
        self.handle.quit_safely();
        // A quit that could not be signalled leaves the thread asleep. One that cannot be woken cannot be waited for.
        let can_end = self.handle.wake().is_ok();
        if can_end
            && !self.handle.is_current()
            && !predicate::in_predicate()
            && let Err(panic) = thread.join()
        {
            drop_quietly(panic);
        }
    }
}

impl Debug for HandlerThread {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerThread")
            .field("name", &self.handle.name())
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Sets the properties of a [`HandlerThread`] and starts it. See [`HandlerThread::builder`].
///
/// ```
/// use alooper::{HandlerThread, Looper};
///
/// # fn main() -> std::io::Result<()> {
/// let audio = HandlerThread::builder()
///     .name("audio")
///     .looper(Looper::builder().budget(16))
///     .on_prepared(|looper| looper.post(|_| println!("first")).map(drop).map_err(Into::into))
///     .spawn()?;
/// # drop(audio);
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder starts nothing until `spawn` is called"]
pub struct HandlerThreadBuilder {
    name: Option<String>,
    stack_size: Option<usize>,
    looper: LooperBuilder,
    on_prepared: Option<OnPrepared>,
}

impl HandlerThreadBuilder {
    /// Names the thread, and its looper in log messages unless that has a name of its own.
    pub fn name(mut self, name: impl Into<String>) -> HandlerThreadBuilder {
        self.name = Some(name.into());
        self
    }

    /// Sets the size of the thread's stack, in bytes.
    pub fn stack_size(mut self, bytes: usize) -> HandlerThreadBuilder {
        self.stack_size = Some(bytes);
        self
    }

    /// Sets the properties of the looper.
    pub fn looper(mut self, looper: LooperBuilder) -> HandlerThreadBuilder {
        self.looper = looper;
        self
    }

    /// Runs `prepare` on the thread when its looper is prepared, before it runs and before [`spawn`] returns. An error
    /// of it ends the thread and is [`spawn`]'s.
    ///
    /// It is the place to make what is not `Send`.
    ///
    /// # Android
    /// `HandlerThread.onLooperPrepared`.
    ///
    /// [`spawn`]: HandlerThreadBuilder::spawn
    #[doc(alias = "onLooperPrepared")]
    pub fn on_prepared<F>(mut self, prepare: F) -> HandlerThreadBuilder
    where
        F: FnOnce(&Looper) -> io::Result<()> + Send + 'static,
    {
        self.on_prepared = Some(Box::new(prepare));
        self
    }

    /// Starts the thread, and waits until its looper is prepared.
    ///
    /// The looper is the thread's own: [`Looper::current`] gives it there.
    ///
    /// # Errors
    /// The kernel's, for the thread or its looper; that of what runs when it is prepared; of kind `InvalidInput` if the
    /// name contains a NUL. The thread has ended then.
    ///
    /// # Panics
    /// Goes on with a panic of what runs when it is prepared.
    pub fn spawn(self) -> io::Result<HandlerThread> {
        let HandlerThreadBuilder { name, stack_size, mut looper, on_prepared } = self;
        let mut builder = thread::Builder::new();
        if let Some(name) = name {
            if name.contains('\0') {
                return Err(Misuse::NulInName.into());
            }
            looper.name.get_or_insert_with(|| name.clone().into_boxed_str());
            builder = builder.name(name);
        }
        if let Some(bytes) = stack_size {
            builder = builder.stack_size(bytes);
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let thread = builder.spawn(move || {
            let prepared = panic::catch_unwind(AssertUnwindSafe(|| prepare(looper, on_prepared)));
            let (looper, outcome) = match prepared {
                Ok(Ok(looper)) => {
                    let handle = looper.handle();
                    (Some(looper), Ok(Ok(handle)))
                }
                Ok(Err(error)) => (None, Ok(Err(error))),
                Err(panic) => (None, Err(panic)),
            };
            // Nobody listens only if the spawner is gone, and it waits.
            let _ = sender.send(outcome);
            looper.map_or(Ok(MessageCounts::default()), |looper| looper.run())
        });
        let thread = thread.map_err(|error| OsError::wrap("pthread_create", error))?;
        match receiver.recv() {
            Ok(Ok(Ok(handle))) => Ok(HandlerThread { handle, thread: Some(thread) }),
            Ok(Ok(Err(error))) => {
                drop_quietly(thread.join());
                Err(error)
            }
            Ok(Err(panic)) => {
                drop_quietly(thread.join());
                panic::resume_unwind(panic)
            }
            // The thread sends what has come of preparing, whatever that is, before it does anything else.
            Err(_) => Err(io::Error::other("the thread ended before its looper was prepared: look for what ends it")),
        }
    }
}

fn prepare(looper: LooperBuilder, on_prepared: Option<OnPrepared>) -> io::Result<std::rc::Rc<Looper>> {
    let looper = looper.prepare()?;
    if let Some(on_prepared) = on_prepared {
        on_prepared(&looper)?;
    }
    Ok(looper)
}

impl Debug for HandlerThreadBuilder {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerThreadBuilder")
            .field("name", &self.name)
            .field("looper", &self.looper)
            .finish_non_exhaustive()
    }
}

/// Why joining a [`HandlerThread`] gave no [`MessageCounts`].
///
/// Turns into an [`io::Error`] with `?`; after a panic, of kind `Other` with the `JoinError` inside.
#[non_exhaustive]
pub enum JoinError {
    /// The thread has panicked, with this.
    Panicked(Panic),
    /// Polling failed, or the thread was to join itself.
    Io(io::Error),
}

impl Debug for JoinError {
    /// The text, since that is what a `main` prints that returns it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Display for JoinError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(panic) => {
                write!(f, "the looper's thread panicked: {}", panic.text().unwrap_or("see the panic there"))
            }
            JoinError::Io(error) => Display::fmt(error, f),
        }
    }
}

impl Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        match error {
            JoinError::Io(error) => error,
            panicked => io::Error::other(panicked),
        }
    }
}

/// The panic of a thread: the payload of [`thread::Result`], but `Sync`, so that an error can carry it.
pub struct Panic {
    text: Option<Box<str>>,
    /// The lock makes it `Sync` and is never taken.
    payload: Mutex<Box<dyn Any + Send>>,
}

impl Panic {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Panic {
        let literal = payload.downcast_ref::<&str>().copied();
        let text = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Panic { text: text.map(Box::from), payload: Mutex::new(payload) }
    }

    /// Gives the panic's text, if it has one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Gives what the thread has panicked with, for [`resume_unwind`](panic::resume_unwind) for instance.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.payload.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for Panic {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic").field("text", &self.text).finish_non_exhaustive()
    }
}
