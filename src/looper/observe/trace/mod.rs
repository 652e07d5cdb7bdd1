//! What loopers do, written as a file that [Perfetto](https://ui.perfetto.dev) and Chromium's `about:tracing` show as a
//! picture: a track for each looper's thread, with what has run there, for how long, and where each message came from.
//!
//! With the feature `trace`.

mod format;
mod sink;
mod track;
mod writer;

use std::{
    fmt::{self, Debug, Formatter},
    fs::File,
    io, mem,
    path::Path,
    rc::Rc,
    thread::{self, JoinHandle},
};

use self::{sink::SinkRef, track::Tracer, writer::Writer};
use crate::{
    error::OsError,
    looper::{Looper, handle::LooperHandle},
};

/// A file that is being written, of what the loopers do that it is [attached](Trace::attach) to.
///
/// Each looper has a track, named after it, with the kernel's number of its thread. On it stand slices: messages, fd
/// callbacks, idle handlers, hooks, polls of tasks, and waits in epoll, named by their type and their place in the
/// source. An arrow leads from each post, on the track of the thread that posted, to the message that runs; a counter
/// shows how many messages are pending.
///
/// Dropping it finishes the file, and tells nobody whether that worked: [`finish`](Trace::finish) does.
///
/// # Thread safety
/// `Send` and `Sync`; loopers of several threads are attached to one.
///
/// # Guarantees
/// The loop never waits for the file: a thread of the trace formats and writes. If that falls behind by half a million
/// slices, later ones are lost and counted. An error of the file, such as a full disk, ends the writing: it is logged once,
/// what follows is counted as lost, and the loops go on. What is behind when the process is killed is missing from the
/// file, which viewers take nevertheless.
///
/// Times are those of each looper's clock, and begin with the first looper that is attached. A message that was posted before
/// its looper was attached has no arrow. In a forked child, nothing is traced, and the file is left alone.
///
/// # Examples
/// ```
/// use alooper::{Looper, trace::Trace};
///
/// # fn main() -> std::io::Result<()> {
/// # let folder = std::env::temp_dir().join(format!("alooper-trace-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("run.json");
/// let trace = Trace::to_file(&path)?;
/// let looper = Looper::builder().name("ui").build()?;
/// trace.attach(&looper);
///
/// looper.post(|looper| looper.quit())?;
/// looper.run()?;
///
/// let summary = trace.finish()?;
/// assert!(summary.slices >= 1 && summary.lost == 0);
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(())
/// # }
/// ```
///
/// # Android
/// `Looper.setTraceTag`, and the slices of messages in a system trace.
#[must_use = "dropping it finishes the file"]
pub struct Trace {
    sink: SinkRef,
    /// `None` once it has ended.
    writer: Option<JoinHandle<io::Result<()>>>,
}

/// What a [`Trace`] has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceSummary {
    /// How many slices are in the file.
    pub slices: u64,
    /// How many are not, because the file could not be written, or not fast enough.
    pub lost: u64,
}

impl Trace {
    /// Makes or empties the file `path`, and starts the thread that writes it, named `trace`.
    ///
    /// If the program watches [signals](crate::source::Signals), block them before: the thread inherits that.
    ///
    /// # Errors
    /// The kernel's, for the file or the thread.
    pub fn to_file(path: impl AsRef<Path>) -> io::Result<Trace> {
        let file = File::create(path)?;
        let (sink, parcels) = SinkRef::new();
        let writer = Writer::new(file, sink.counts.clone());
        let writer = thread::Builder::new().name("trace".to_owned()).spawn(move || writer.run(&parcels))?;
        Ok(Trace { sink, writer: Some(writer) })
    }

    /// Traces `looper` from now on. Its observer stays, and is told what it wants. One that is traced already, in this
    /// trace, is left as it is.
    ///
    /// [`Looper::set_observer`] ends it for this looper. Called from inside a message, it takes effect with the next one.
    pub fn attach(&self, looper: &Looper) {
        attach(&self.sink, looper);
    }

    /// As [`attach`](Trace::attach), for a looper of another thread: by a message at the front of its queue.
    ///
    /// # Errors
    /// One of kind `BrokenPipe` if the looper has quit.
    #[track_caller]
    pub fn attach_handle(&self, looper: &LooperHandle) -> io::Result<()> {
        let sink = self.sink.clone();
        let posted = looper.post_at_front(move |looper| attach(&sink, looper));
        posted.map(drop).map_err(io::Error::from)
    }

    /// What it has come to so far. What is not written yet is not counted.
    #[must_use]
    pub fn summary(&self) -> TraceSummary {
        self.sink.counts.summary()
    }

    /// Ends the trace: waits until all is written, and closes the file. What runs at this moment is cut off there.
    ///
    /// Waits for the disk: that takes as long as it takes. The loopers go on, untraced: each gives its previous observer its
    /// place back with the next message or other thing that it runs, and from then on pays nothing.
    ///
    /// # Errors
    /// The first one that there was in writing the file: what was written before it stands there. `ECHILD` in a forked
    /// child.
    pub fn finish(mut self) -> io::Result<TraceSummary> {
        self.end()?;
        Ok(self.summary())
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        if !self.sink.counts.process.is_current() {
            // The thread is the parent's: libc knows nothing of it here.
            mem::forget(writer);
            return Err(OsError::forked());
        }
        self.sink.end();
        writer.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes the trace has panicked")))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Who wants to know of an error finishes it. It was logged.
        let _ = self.end();
    }
}

impl Debug for Trace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("summary", &self.summary()).finish_non_exhaustive()
    }
}

fn attach(sink: &SinkRef, looper: &Looper) {
    if sink.is_open() && !sink.has_track_of(looper.shared()) {
        let tracer = Tracer::new(sink, looper);
        looper.set_observer(Some(Rc::new(tracer)));
    }
}
