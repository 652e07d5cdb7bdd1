//! A socket by which another program sees what the loopers of this one do, live: the program `looptop` shows it in a
//! terminal.
//!
//! With the feature `inspect`. `PROTOCOL.md` of the crate `looptop` has the protocol, for other viewers.

mod client;
mod report;
mod sampler;
mod server;

use std::{
    env,
    fmt::{self, Debug, Formatter},
    fs::{self, DirBuilder, Metadata},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process,
    sync::{Arc, mpsc},
};

use self::server::{Fds, Kind, Server};
use crate::{
    looper::{Looper, thread::HandlerThread},
    sys::{fork::ForkGeneration, unix_socket},
};

/// Serves what all loopers of this process do, on a Unix socket, until it is dropped.
///
/// `looptop` lists the processes of its user that serve, and shows one: its loopers with their threads, what each runs now
/// and for how long, how many messages are pending, how many run per second, and in which places of the source they
/// spend their time.
///
/// # Guarantees
/// Only the user of this process may connect. The socket's file has the mode 0600 from its beginning, and a client of
/// another user, root included, is refused by the kernel's word for who it is.
///
/// Loopers pay nothing per message. While a client is connected, a thread named `inspect` looks every 10 ms at what each
/// looper runs, and adds up the places. So a place is seen in proportion to the time that it takes.
///
/// A client cannot harm the process: it may ask for nothing but the state, there are eight at most, and one that stalls
/// for ten seconds in reading its answer, is silent for a minute or asks for something unknown is disconnected.
///
/// A forked child serves nothing, and leaves the socket to its parent. A process that is killed leaves the file, which the
/// next one that wants the path replaces.
///
/// # Examples
/// ```
/// use alooper::inspect::Inspector;
///
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("alooper-inspect-doc-{}.sock", std::process::id()));
/// // A program says `let _inspector = Inspector::spawn()?;`.
/// let inspector = Inspector::builder().path(&path).spawn()?;
/// assert!(inspector.path().exists());
/// drop(inspector);
/// assert!(!path.exists());
/// # Ok(())
/// # }
/// ```
///
/// # Android
/// Nothing like it: `adb shell dumpsys` asks a service for a dump.
#[must_use = "dropping it ends the service"]
pub struct Inspector {
    file: SocketFile,
    fds: Arc<Fds>,
    /// The thread that serves; `None` if a looper of the caller's does.
    _thread: Option<HandlerThread>,
}

/// Says where an [`Inspector`] serves, and starts it. See [`Inspector::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder starts nothing until `spawn` or `run_on` is called"]
pub struct InspectorBuilder {
    path: Option<PathBuf>,
}

impl Inspector {
    /// Serves at this process's place in the [`folder`] where `looptop` looks, on a thread named `inspect`.
    ///
    /// If the program watches signals, block them before: the thread inherits that.
    ///
    /// # Errors
    /// The kernel's, for the folder, the socket, the thread or its looper. One of kind `AddrInUse` if this process
    /// serves there already.
    pub fn spawn() -> io::Result<Inspector> {
        Inspector::builder().spawn()
    }

    /// Makes a builder, to serve elsewhere.
    pub fn builder() -> InspectorBuilder {
        InspectorBuilder::default()
    }

    /// Where the socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        self.fds.end();
    }
}

impl Debug for Inspector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector").field("path", &self.file.path).finish_non_exhaustive()
    }
}

impl InspectorBuilder {
    /// Serves at `path`, whose folder must exist. Unless set, that is `PID.sock` in the [`folder`], which is made.
    pub fn path(mut self, path: impl Into<PathBuf>) -> InspectorBuilder {
        self.path = Some(path.into());
        self
    }

    /// Serves on a thread of its own, named `inspect`. See [`Inspector::spawn`].
    ///
    /// # Errors
    /// As [`Inspector::spawn`]. One of kind `AddrInUse` also if something else than an abandoned socket is at the path.
    pub fn spawn(self) -> io::Result<Inspector> {
        let (file, listener) = self.open()?;
        let fds = Arc::new(Fds::new());
        let (sender, outcome) = mpsc::channel();
        let serving = fds.clone();
        let thread = HandlerThread::builder().name("inspect").on_prepared(move |looper| {
            let _ = sender.send(Server::start(looper, listener, Kind::Own, &serving));
            Ok(())
        });
        let thread = thread.spawn()?;
        outcome.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that serves has ended")))?;
        Ok(Inspector { file, fds, _thread: Some(thread) })
    }

    /// Serves on a looper of the caller's, and on its clock: so a test drives it in virtual time. While that looper is stuck,
    /// nobody is answered.
    ///
    /// # Errors
    /// As [`spawn`](InspectorBuilder::spawn); one of kind `BrokenPipe` if the looper has quit.
    pub fn run_on(self, looper: &Looper) -> io::Result<Inspector> {
        let (file, listener) = self.open()?;
        let fds = Arc::new(Fds::new());
        Server::start(looper, listener, Kind::Lent, &fds)?;
        Ok(Inspector { file, fds, _thread: None })
    }

    fn open(self) -> io::Result<(SocketFile, UnixListener)> {
        let path = self.path.map_or_else(own_path, Ok)?;
        let listener = match unix_socket::listen_at(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(&path) => {
                fs::remove_file(&path)?;
                unix_socket::listen_at(&path)?
            }
            result => result?,
        };
        Ok((SocketFile::new(path)?, listener))
    }
}

/// Whether a process that has ended has left a socket at `path`.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket && !unix_socket::is_listened_at(path)
}

/// The file of a socket, removed when this is dropped, unless it is another one by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    process: ForkGeneration,
}

impl SocketFile {
    fn new(path: PathBuf) -> io::Result<SocketFile> {
        // Relative to where the process is now, which it may leave.
        let path = std::path::absolute(path)?;
        let identity = identity_of(&fs::symlink_metadata(&path)?);
        Ok(SocketFile { path, identity, process: ForkGeneration::current() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_same = || fs::symlink_metadata(&self.path).is_ok_and(|found| identity_of(&found) == self.identity);
        if self.process.is_current() && is_same() {
            // Whoever has removed it meanwhile has done what was to be done.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The folder in which the processes of this user serve: `alooper` in `$XDG_RUNTIME_DIR`, or, where that is not set,
/// `/tmp/alooper-UID`. It need not exist. A process serves at `PID.sock` in it.
#[must_use]
pub fn folder() -> PathBuf {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let fallback = || PathBuf::from(format!("/tmp/alooper-{}", unix_socket::own_user()));
    runtime.map_or_else(fallback, |runtime| runtime.join("alooper"))
}

/// Where this process serves, in a folder that is this user's alone.
fn own_path() -> io::Result<PathBuf> {
    let folder = folder();
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check_private(&folder)?;
    Ok(folder.join(format!("{}.sock", process::id())))
}

/// Fails if others may write to `folder`, or if it is another user's: in `/tmp`, anybody may have made it before.
fn check_private(folder: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    if found.is_dir() && unix_socket::is_own(found.uid()) && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let text = format!("{} is not a folder that this user alone may write to: serve elsewhere", folder.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn w12_a_folder_that_others_may_write_to_or_that_is_a_link_is_refused() {
        let folder = env::temp_dir().join(format!("alooper-private-{}", process::id()));
        let link = folder.with_extension("link");
        DirBuilder::new().mode(0o700).create(&folder).unwrap();
        symlink(&folder, &link).unwrap();

        let results = [0o700, 0o755, 0o720, 0o702, 0o1777].map(|mode| {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            check_private(&folder).map_err(|error| error.kind())
        });
        let of_link = check_private(&link).map_err(|error| error.kind());
        fs::remove_file(&link).unwrap();
        fs::remove_dir(&folder).unwrap();

        let refused = Err(io::ErrorKind::PermissionDenied);
        assert_eq!(results, [Ok(()), Ok(()), refused, refused, refused]);
        assert_eq!(of_link, refused);
    }
}
