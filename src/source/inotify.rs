//! Changes of files and folders as events.

use std::{
    ffi::OsStr,
    fmt::{self, Debug, Formatter},
    os::fd::{AsFd, BorrowedFd},
    panic::Location,
    path::Path,
};

use bitflags::bitflags;
use nix::libc;

use super::SourceError;
use crate::{
    fd::FdNext,
    looper::{Looper, fd_source::FdHandle},
    mem::{drop::Shielded, log},
    queue::message::Origin,
    sys::{
        inotify::{Inotify, Read},
        interest::Interest,
    },
};

bitflags! {
    /// Changes of a path, or of the entries of a folder.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct PathChanges: u32 {
        /// A file was written to. Comes for each write, in the middle of what somebody does.
        const MODIFIED = libc::IN_MODIFY;
        /// A file that was open for writing was closed: how most programs end a change.
        const WRITTEN = libc::IN_CLOSE_WRITE;
        /// Something was created in the folder.
        const CREATED = libc::IN_CREATE;
        /// Something was removed from the folder.
        const REMOVED = libc::IN_DELETE;
        /// Something was moved into the folder: how most programs replace a file.
        const MOVED_IN = libc::IN_MOVED_TO;
        /// Something was moved out of the folder, or to another name in it.
        const MOVED_OUT = libc::IN_MOVED_FROM;
        /// Owner, permissions, times or the number of links have changed.
        const ATTRIBUTES = libc::IN_ATTRIB;
        /// The path itself was moved. It goes on being watched, by whatever name it has.
        const SELF_MOVED = libc::IN_MOVE_SELF;
        /// The path itself was removed.
        const SELF_REMOVED = libc::IN_DELETE_SELF;
    }
}

/// Something that has happened to a path that is watched.
#[derive(Clone, Debug)]
pub struct PathEvent(Read);

impl PathEvent {
    /// What has happened; empty if that is an [overflow](PathEvent::is_overflow) or [the end](PathEvent::is_gone).
    #[must_use]
    pub fn changes(&self) -> PathChanges {
        PathChanges::from_bits_truncate(self.0.mask)
    }

    /// To what in the folder; `None` for the path itself.
    #[must_use]
    pub fn name(&self) -> Option<&OsStr> {
        self.0.name.as_deref()
    }

    /// What `MOVED_OUT` and `MOVED_IN` of one move have in common; `None` for anything else.
    #[must_use]
    pub fn cookie(&self) -> Option<u32> {
        (self.0.cookie != 0).then_some(self.0.cookie)
    }

    /// Whether it has happened to a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.has(libc::IN_ISDIR)
    }

    /// Whether events were lost, because more came than the kernel keeps: take it for a change of everything.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        self.has(libc::IN_Q_OVERFLOW)
    }

    /// Whether the path is gone: it was removed, or its file system unmounted. No event comes after it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.has(libc::IN_IGNORED)
    }

    fn has(&self, bit: u32) -> bool {
        self.0.mask & bit != 0
    }
}

/// **Changes of files**, with the feature `inotify`.
impl Looper {
    /// Watches `path`, a file or a folder but not what is in its folders, and calls `callback` for each change that is
    /// among `changes`.
    ///
    /// To see a file replaced, watch its folder: a watch of the file follows the old one. Equal events in a row are
    /// one. The callback runs in the turn's phase of fds.
    ///
    /// # Errors
    /// Gives the callback back: with the kernel's error, such as `ENOENT`, `EACCES`, or `EMFILE` if this user watches
    /// more paths than `fs.inotify.max_user_instances`; or with one of kind `BrokenPipe` if the looper has quit.
    ///
    /// # Guarantees
    /// An [overflow](PathEvent::is_overflow) and [the end](PathEvent::is_gone) of the path are told, whatever `changes`
    /// says. With the end, the watching ends. A panic of the callback ends it, too.
    ///
    /// # Examples
    /// ```
    /// use alooper::{Looper, source::PathChanges};
    /// use std::fs;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let folder = std::env::temp_dir().join(format!("watched-{}", std::process::id()));
    /// fs::create_dir(&folder)?;
    /// let looper = Looper::prepare()?;
    /// looper.watch_path(&folder, PathChanges::WRITTEN, |looper, event| {
    ///     assert_eq!(event.name(), Some("settings".as_ref()));
    ///     looper.quit();
    /// })?;
    /// fs::write(folder.join("settings"), "color = green")?;
    /// looper.run()?;
    /// # fs::remove_dir_all(folder)
    /// # }
    /// ```
    #[track_caller]
    pub fn watch_path<F>(
        &self,
        path: impl AsRef<Path>,
        changes: PathChanges,
        callback: F,
    ) -> Result<PathWatch, SourceError<F>>
    where
        F: FnMut(&Looper, &PathEvent) + 'static,
    {
        let place = Location::caller();
        let opened = match self.shared().closed() {
            Some(reason) => Err(reason.into()),
            None => Inotify::new(path.as_ref(), changes.bits()),
        };
        match opened {
            Ok(inotify) => self.watch_inotify(inotify, callback, place),
            Err(error) => Err(SourceError::local_error(error, place, callback)),
        }
    }

    fn watch_inotify<F>(&self, inotify: Inotify, callback: F, place: Origin) -> Result<PathWatch, SourceError<F>>
    where
        F: FnMut(&Looper, &PathEvent) + 'static,
    {
        let source = Changes { inotify, callback: Shielded::new(callback) };
        let serve = |looper: &Looper, changes: &mut Changes<F>, _| changes.tell(looper);
        self.watch_at(source, Interest::INPUT, serve, place).map(|source| PathWatch(source.handle())).map_err(
            |refused| {
                let (error, changes) = refused.into_parts();
                // It was passed in just now, on this thread.
                let changes = changes.expect("a refused source comes back");
                SourceError::local_error(error, place, changes.callback.into_inner())
            },
        )
    }
}

/// The source of the registration: the fd, and the callback, so that both come back if they are refused.
struct Changes<F> {
    inotify: Inotify,
    callback: Shielded<F>,
}

impl<F> AsFd for Changes<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl<F: FnMut(&Looper, &PathEvent)> Changes<F> {
    fn tell(&mut self, looper: &Looper) -> FdNext {
        let events = match self.inotify.read() {
            Ok(events) => events,
            Err(error) => {
                log::error!("changes of a path are no longer seen: {error}");
                return FdNext::Remove;
            }
        };
        for event in events.into_iter().map(PathEvent) {
            // The callback may have ended the watching, quit or forked.
            if looper.shared().closed().is_some() || !looper.current_fd().is_some_and(|own| own.is_registered()) {
                break;
            }
            (self.callback)(looper, &event);
            if event.is_gone() {
                return FdNext::Remove;
            }
        }
        FdNext::Keep
    }
}

/// A path that a looper watches, for any thread. Made by [`Looper::watch_path`].
///
/// Dropping it does nothing: the looper goes on watching. [`guard`](PathWatch::guard) turns it into one that removes
/// when dropped.
#[derive(Clone)]
pub struct PathWatch(FdHandle);

impl PathWatch {
    /// Ends the watching; whether it had not ended before. The callback is dropped on the looper's thread.
    ///
    /// # Guarantees
    /// After this has returned the looper begins no call of the callback, not even for an event that it has read.
    pub fn remove(&self) -> bool {
        self.0.remove()
    }

    /// Whether the path is still watched.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.0.is_registered()
    }

    /// Turns this into a guard that ends the watching when it is dropped.
    #[must_use = "a guard that is dropped at once ends the watching at once"]
    pub fn guard(self) -> PathGuard {
        PathGuard { watch: self, kept: false }
    }
}

impl Debug for PathWatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathWatch").field("is_registered", &self.is_registered()).finish_non_exhaustive()
    }
}

/// Ends the watching of a path when it is dropped. See [`PathWatch::guard`].
#[derive(Debug)]
#[must_use = "a guard that is dropped at once ends the watching at once"]
pub struct PathGuard {
    watch: PathWatch,
    /// It is to be let be.
    kept: bool,
}

impl PathGuard {
    /// Lets the looper go on: the guard no longer ends the watching.
    pub fn keep(mut self) -> PathWatch {
        self.kept = true;
        self.watch.clone()
    }
}

impl Drop for PathGuard {
    fn drop(&mut self) {
        if !self.kept {
            self.watch.remove();
        }
    }
}
