//! cargo run -p alooper-guide --example config_reload
//!
//! docs/guide/how-to/inotify.md: a file is read again when it was changed, however that was done.

use std::{
    cell::Cell,
    env, fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process,
    rc::Rc,
    time::Duration,
};

use alooper::{
    Handler, Looper,
    source::{PathChanges, PathEvent},
};

/// So long after the last change, it is read.
const QUIET: Duration = Duration::from_millis(50);
const NAME: &str = "app.conf";

// [watch]
/// Sends `changed` when the file `NAME` in `folder` was written or replaced, and has been left alone since.
fn watch(looper: &Looper, folder: &Path, changed: Handler<()>) -> io::Result<()> {
    let kinds = PathChanges::WRITTEN | PathChanges::MOVED_IN;
    looper.watch_path(folder, kinds, move |looper, event| {
        show(event);
        if event.is_gone() {
            println!("the folder is gone");
            looper.quit();
        } else if event.is_overflow() || event.name() == Some(NAME.as_ref()) {
            // What was lost when there was too much may have been this file, too.
            changed.clear();
            // Refused only if the looper has quit.
            let _ = changed.send_delayed(QUIET, ());
        }
    })?;
    Ok(())
}
// [/watch]

fn show(event: &PathEvent) {
    let kinds: Vec<&str> = event.changes().iter_names().map(|(name, _)| name).collect();
    if let Some(name) = event.name() {
        println!("  {} {}", kinds.join(" "), name.display());
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
