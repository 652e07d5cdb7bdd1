//! cargo run --example watch -- FOLDER COMMAND [ARGS..]
//!
//! Runs a command whenever something below a folder has changed. Changes are events of an inotify fd on the main
//! looper; each one replaces the delayed message that will run the command, on a worker's looper, which may block.

use std::{
    env,
    ffi::OsString,
    fmt::Display,
    fs::{self, DirEntry},
    io::{self, ErrorKind},
    path::PathBuf,
    process::{self, Command},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use alooper::{FdNext, Interest, Looper, LooperHandle, PostedGuard};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

const HELP: &str = "\
Usage: watch FOLDER COMMAND [ARGS..]

Runs COMMAND when something below FOLDER has changed and nothing more did for 100 ms, or 1 s after the first change.
What changes while COMMAND runs makes it run again, so let it write its results elsewhere. Ctrl-C ends both.

Exit status: 1 if FOLDER cannot be watched, 2 if the arguments are wrong, 127 if COMMAND cannot be started.";

const QUIET: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);

fn main() -> io::Result<()> {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    match &args[..] {
        [help, ..] if help == "--help" || help == "-h" => println!("{HELP}"),
        [option, ..] if option.as_encoded_bytes().starts_with(b"-") => {
            fail(2, format_args!("there is no option {}: see --help", option.display()))
        }
        [folder, program, args @ ..] => watch(folder.into(), program.clone(), args.to_vec())?,
        _ => fail(2, "a folder and a command are needed: see --help"),
    }
    Ok(())
}

fn fail(status: i32, reason: impl Display) -> ! {
    eprintln!("watch: {reason}");
    process::exit(status)
}

fn watch(folder: PathBuf, program: OsString, args: Vec<OsString>) -> io::Result<()> {
    let inotify = Arc::new(Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?);
    let job = Arc::new(Job { inotify: inotify.clone(), folder, program, args });
    job.watch_folders();
    let worker = start_worker()?;
    let looper = Looper::prepare()?;

    let mut next: Option<(PostedGuard, Instant)> = None;
    let on_change = job.clone();
    looper.add_fd(inotify, Interest::INPUT, move |looper, inotify, _| {
        // Many events at a time. What does not fit, or comes while the command runs, waits in the kernel.
        if inotify.read_events().is_err() {
            return FdNext::Keep;
        }
        let now = looper.now();
        let first = match &next {
            Some((posted, first)) if posted.posted().is_pending() => *first,
            _ => now,
        };
        let job = on_change.clone();
        let posted = worker.post_at((now + QUIET).min(first + PATIENCE), move |_| job.run());
        // The guard of the message before cancels it, unless it runs already: then this one runs after it.
        next = posted.ok().map(|posted| (posted.guard(), first));
        FdNext::Keep
    })?;
    eprintln!("watch: waiting for changes below {}", job.folder.display());
    looper.run()?;
    Ok(())
}

/// Starts a thread whose looper runs commands, one after the other.
fn start_worker() -> io::Result<LooperHandle> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let looper = Looper::prepare()?;
        let _ = sender.send(looper.handle());
        looper.run()
    });
    receiver.recv().map_err(|_| io::Error::other("the worker has no looper"))
}

struct Job {
    inotify: Arc<Inotify>,
    folder: PathBuf,
    program: OsString,
    args: Vec<OsString>,
}

impl Job {
    /// Runs the command. New folders are watched first, so that a change in them is seen by the command or by a watch.
    fn run(&self) {
        self.watch_folders();
        match Command::new(&self.program).args(&self.args).status() {
            Ok(status) if status.success() => {}
            Ok(status) => eprintln!("watch: the command failed: {status}"),
            Err(error) => fail(127, format_args!("cannot start {}: {error}", self.program.display())),
        }
    }

    /// Watches the folder and all below it, since inotify itself does not look below. Those that are watched stay so.
    fn watch_folders(&self) {
        let inside = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE;
        let names = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE | AddWatchFlags::IN_MOVE_SELF;
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            // Listed once it is watched: a folder that is made just then is in the list, or told of.
            let watched = self.inotify.add_watch(&folder, inside | names | AddWatchFlags::IN_ONLYDIR);
            match watched.map_err(io::Error::from).and_then(|_| fs::read_dir(&folder)) {
                Ok(entries) => {
                    let is_folder = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
                    folders.extend(entries.flatten().filter(is_folder).map(|entry| entry.path()));
                }
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    fail(1, "there are too many folders: raise the sysctl fs.inotify.max_user_watches")
                }
                Err(error) if folder == self.folder => {
                    fail(1, format_args!("cannot watch {}: {error}", folder.display()))
                }
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => eprintln!("watch: changes in {} are not seen: {error}", folder.display()),
            }
        }
    }
}
