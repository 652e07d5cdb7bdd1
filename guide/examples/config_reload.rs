//! cargo run -p alooper-guide --example config_reload
//!
//! docs/guide/how-to/inotify.md: a file is read again when it was changed, however that was done.

use std::{
    cell::Cell,
    env,
    ffi::OsStr,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process,
    rc::Rc,
    time::Duration,
};

use alooper::{FdNext, Handler, Interest, Looper};
use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};

/// So long after the last change, it is read.
const QUIET: Duration = Duration::from_millis(50);
const NAME: &str = "app.conf";

// [watch]
/// Sends `changed` when the file `NAME` in `folder` was written or replaced, and has been left alone since.
fn watch(looper: &Looper, folder: &Path, changed: Handler<()>) -> io::Result<()> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let kinds = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
    inotify.add_watch(folder, kinds | AddWatchFlags::IN_ONLYDIR)?;
    looper.add_fd(inotify, Interest::INPUT, move |looper, inotify, _| {
        let events = match inotify.read_events() {
            Ok(events) => events,
            Err(Errno::EAGAIN | Errno::EINTR) => return FdNext::Keep,
            Err(error) => {
                eprintln!("changes are no longer seen: {error}");
                return FdNext::Remove;
            }
        };
        for event in events {
            show(event.mask, event.name.as_deref());
            if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                println!("the folder is gone");
                looper.quit();
                return FdNext::Remove;
            }
            // What was lost when the queue ran over may have been this file.
            if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) || event.name.as_deref() == Some(NAME.as_ref()) {
                changed.clear();
                // Refused only if the looper has quit.
                let _ = changed.send_delayed(QUIET, ());
            }
        }
        FdNext::Keep
    })?;
    Ok(())
}
// [/watch]

fn show(mask: AddWatchFlags, name: Option<&OsStr>) {
    let mask: Vec<&str> = mask.iter_names().map(|(name, _)| name).collect();
    match name {
        Some(name) => println!("  {} {}", mask.join(" "), name.display()),
        None => println!("  {}", mask.join(" ")),
    }
}

fn main() -> io::Result<()> {
    let folder = Folder::make()?;
    let path = folder.0.join(NAME);
    fs::write(&path, "color = red")?;
    let looper = Looper::prepare()?;

    let step = Rc::new(Cell::new(0));
    let file = path.clone();
    let changed = Handler::new(&looper, move |_, ()| {
        match fs::read_to_string(&file) {
            Ok(text) => println!("read again: {text}"),
            // It may have been replaced once more, and is not there yet: its arrival will be told.
            Err(error) if error.kind() == ErrorKind::NotFound => println!("it is not there"),
            Err(error) => eprintln!("{}: {error}", file.display()),
        }
        step.set(step.get() + 1);
        if let Err(error) = change(step.get(), &file) {
            eprintln!("{}: {error}", file.display());
        }
    });
    watch(&looper, &folder.0, changed)?;

    change(0, &path)?;
    looper.run()?;
    Ok(())
}

// [change]
fn change(step: u32, path: &Path) -> io::Result<()> {
    match step {
        0 => {
            println!("written in place, twice:");
            fs::write(path, "color = green")?;
            fs::write(path, "color = blue")
        }
        1 => {
            println!("written beside it, and renamed:");
            let beside = path.with_extension("new");
            fs::write(&beside, "color = white")?;
            fs::rename(beside, path)
        }
        _ => {
            println!("removed, with its folder:");
            fs::remove_file(path)?;
            fs::remove_dir(path.parent().expect("it has one"))
        }
    }
}
// [/change]

/// A folder of this program's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn make() -> io::Result<Folder> {
        let folder = env::temp_dir().join(format!("config_reload-{}", process::id()));
        fs::create_dir(&folder)?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
