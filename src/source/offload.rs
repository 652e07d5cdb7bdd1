//! Work that would hold the looper up, on other threads, and what comes of it on the looper's thread.

use std::{
    cell::Cell,
    fmt::{self, Debug, Formatter},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use crate::{
    core::{
        item::{Stamp, When},
        refused::{Refused, Rejected},
    },
    handler::Handler,
    looper::{Looper, thread::Panic},
    mem::drop::{caught, drop_each},
    sys::{fork::ForkGeneration, lock::Mutex},
};

/// A piece of work for a pool of threads.
type Job = Box<dyn FnOnce() + Send>;

/// **Work on other threads**, with the feature `offload`.
impl Looper {
    /// Runs `work` on another thread, and then `then` with what comes of it on this one.
    ///
    /// For what would hold the looper up: to read a file, look up a name, compress. `work` goes to a pool of threads, the
    /// one of the crate `blocking`: it is the process's, grows to 500 threads as needed, and threads with nothing to do
    /// end. `then` stays here, so that it need not be `Send`, and runs as a message that is posted when `work` has ended.
    ///
    /// A panic of `work` ends there, and `then` gets it: [`Panic::into_payload`] is for
    /// [`resume_unwind`](std::panic::resume_unwind).
    ///
    /// # Errors
    /// Gives `work` and `then` back if the looper has quit.
    ///
    /// # Guarantees
    /// `then` runs once or not at all, and is dropped on this thread: not later than with the looper. If the looper
    /// quits meanwhile, `work` goes on without anybody waiting, and its result is dropped on its thread.
    ///
    /// # Examples
    /// ```
    /// use alooper::Looper;
    /// use std::{fs, rc::Rc};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::prepare()?;
    /// let title = Rc::new("the manifest");
    /// looper.offload(
    ///     || fs::read_to_string("Cargo.toml"),
    ///     move |looper, read| {
    ///         println!("{title} has {} bytes", read.unwrap().map_or(0, |text| text.len()));
    ///         looper.quit();
    ///     },
    /// )?;
    /// looper.run()?;
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn offload<F, R, T>(&self, work: F, then: T) -> Result<Offload, Rejected<(F, T)>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
        T: FnOnce(&Looper, Result<R, Panic>) + 'static,
    {
        self.offload_with(to_pool, work, then)
    }

    /// As [`offload`](Looper::offload), on threads of yours: `spawner` lets the job that it gets run somewhere, such as
    /// `rayon::spawn`.
    ///
    /// A job that is dropped without being run takes `then` along, which is dropped here, not called.
    ///
    /// # Errors
    /// As [`offload`](Looper::offload); `spawner` is not called then.
    #[track_caller]
    pub fn offload_with<S, F, R, T>(&self, spawner: S, work: F, then: T) -> Result<Offload, Rejected<(F, T)>>
    where
        S: FnOnce(Box<dyn FnOnce() + Send>),
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
        T: FnOnce(&Looper, Result<R, Panic>) + 'static,
    {
        // What is posted later was posted here.
        let stamp = Stamp::new(When::Now);
        if let Some(reason) = self.shared().closed() {
            return Err(Refused { value: (work, then), reason }.local_error(stamp.origin));
        }
        let then = Rc::new(Then(Cell::new(Some(Box::new(then)))));
        let own = then.clone();
        let answers = Handler::new(self, move |looper: &Looper, outcome: Result<R, Panic>| {
            if let Some(then) = own.0.take() {
                then(looper, outcome);
            }
        });
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let offload = Offload { then, is_cancelled: is_cancelled.clone(), process: ForkGeneration::current() };
        spawner(Box::new(move || {
            if !is_cancelled.load(Relaxed) {
                let outcome = catch_unwind(AssertUnwindSafe(work)).map_err(Panic::new);
                // If the looper has quit, the outcome is dropped here. A panic of that must not end a thread of the pool.
                caught(|| drop(answers.send_stamped(outcome, stamp)));
            }
        }));
        Ok(offload)
    }
}

/// What is to run on the looper's thread, until it runs or is cancelled.
struct Then<T>(Cell<Option<Box<T>>>);

/// A [`Then`], whatever its type.
trait Pending {
    fn is_pending(&self) -> bool;
    /// Drops it; whether it was still there.
    fn cancel(&self) -> bool;
}

impl<T: 'static> Pending for Then<T> {
    fn is_pending(&self) -> bool {
        let then = self.0.take();
        let is_there = then.is_some();
        // There is nothing in its place to be dropped.
        self.0.set(then);
        is_there
    }

    fn cancel(&self) -> bool {
        let then = self.0.take();
        let was_there = then.is_some();
        drop_each(then);
        was_there
    }
}

/// The process whose threads the pool has; 0 before it has any. No lock, since a forked child asks, too.
static POOL: AtomicU64 = AtomicU64::new(0);

/// Runs `job` on the pool. A forked child has none of the threads that its parent's pool had, and cannot make new ones
/// there: its jobs have a thread each.
fn to_pool(job: Job) {
    let own = ForkGeneration::current().number();
    let (Ok(holder) | Err(holder)) = POOL.compare_exchange(0, own, Relaxed, Relaxed);
    if holder == 0 || holder == own {
        blocking::unblock(job).detach();
    } else {
        to_thread(job);
    }
}

/// Runs `job` on a thread of its own, or here if there is no room for one.
fn to_thread(job: Job) {
    let job = Arc::new(Mutex::new(Some(job)));
    let run = |job: &Mutex<Option<Job>>| {
        let taken = job.lock().take();
        _ = taken.map(|job| job());
    };
    let theirs = job.clone();
    if thread::Builder::new().name("offload".to_owned()).spawn(move || run(&theirs)).is_err() {
        run(&job);
    }
}

/// Work on another thread, and what runs here after it. Made by [`Looper::offload`].
///
/// Dropping it does nothing: the work goes on, and `then` runs. [`guard`](Offload::guard) turns it into one that cancels
/// when dropped. It stays on the looper's thread.
pub struct Offload {
    then: Rc<dyn Pending>,
    /// The work need not begin.
    is_cancelled: Arc<AtomicBool>,
    process: ForkGeneration,
}

impl Offload {
    /// Keeps `then` from running, and drops it; whether it had not begun before.
    ///
    /// Work that has not begun does not begin. Work that runs goes on, and what comes of it is dropped.
    pub fn cancel(&self) -> bool {
        if !self.process.is_current() {
            return false;
        }
        self.is_cancelled.store(true, Relaxed);
        self.then.cancel()
    }

    /// Whether `then` is still to run.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.process.is_current() && self.then.is_pending()
    }

    /// Turns this into a guard that cancels when it is dropped.
    #[must_use = "a guard that is dropped at once cancels at once"]
    pub fn guard(self) -> OffloadGuard {
        OffloadGuard { offload: self, kept: false }
    }
}

impl Debug for Offload {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offload").field("is_pending", &self.is_pending()).finish_non_exhaustive()
    }
}

/// Cancels offloaded work when it is dropped. See [`Offload::guard`].
#[derive(Debug)]
#[must_use = "a guard that is dropped at once cancels at once"]
pub struct OffloadGuard {
    offload: Offload,
    /// It is to be let be.
    kept: bool,
}

impl OffloadGuard {
    /// Lets the work be: the guard no longer cancels it.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for OffloadGuard {
    fn drop(&mut self) {
        if !self.kept {
            self.offload.cancel();
        }
    }
}
