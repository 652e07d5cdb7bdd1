//! Changes of paths: what is told, and how the watching ends.

use std::{
    cell::{Cell, RefCell},
    env, fs,
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process,
    rc::Rc,
    time::Duration,
};

use alooper::{
    Looper, OsError,
    source::{PathChanges, PathEvent},
};

use crate::support::{
    alone::alone,
    forks::{assert_echild, in_child},
    watched,
};

/// A new folder, which is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = env::temp_dir().join(format!("alooper-{name}-{}", process::id()));
        fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    fn write(&self, file: &str) {
        fs::write(self.0.join(file), "changed").unwrap();
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn poll(looper: &Looper) {
    looper.poll_once(Some(Duration::ZERO)).unwrap();
}

/// What was told: changes and names.
type Diary = Rc<RefCell<Vec<(PathChanges, String)>>>;

fn diary() -> (Diary, impl FnMut(&Looper, &PathEvent)) {
    let diary = Diary::default();
    let own = diary.clone();
    let note = move |_: &Looper, event: &PathEvent| {
        let name = event.name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        own.borrow_mut().push((event.changes(), name));
    };
    (diary, note)
}

#[test]
fn g4_changes_are_told_with_names_and_the_two_sides_of_a_move_belong_together() {
    watched(|| {
        let folder = Folder::new("g4-told");
        let looper = Looper::new().unwrap();
        let (diary, note) = diary();
        looper.watch_path(&folder, PathChanges::CREATED | PathChanges::WRITTEN, note).unwrap();
        let cookies = Rc::new(RefCell::new(Vec::new()));
        let own = cookies.clone();
        let moves = PathChanges::MOVED_IN | PathChanges::MOVED_OUT;
        looper.watch_path(&folder, moves, move |_, event| own.borrow_mut().push(event.cookie().unwrap())).unwrap();

        folder.write("a");
        fs::rename(folder.0.join("a"), folder.0.join("b")).unwrap();
        poll(&looper);

        let expected = [(PathChanges::CREATED, "a".to_owned()), (PathChanges::WRITTEN, "a".to_owned())];
        assert_eq!(*diary.borrow(), expected);
        assert!(matches!(cookies.borrow()[..], [from, to] if from == to));
    });
}

#[test]
fn g4_the_end_of_the_path_is_told_last_and_ends_the_watching() {
    watched(|| {
        let folder = Folder::new("g4-gone");
        let looper = Looper::new().unwrap();
        let is_gone = Rc::new(Cell::new(false));
        let own = is_gone.clone();
        let watch = looper.watch_path(&folder, PathChanges::CREATED, move |_, event| {
            assert!(event.is_gone() && !event.is_overflow() && event.changes().is_empty());
            assert!(!own.replace(true));
        });

        fs::remove_dir(&folder).unwrap();
        poll(&looper);

        assert!(is_gone.get() && !watch.unwrap().is_registered());
        assert_eq!(Rc::strong_count(&is_gone), 1);
    });
}

/// The kernel keeps so many events at most.
#[test]
fn g4_an_overflow_is_told() {
    watched(|| {
        let most: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        let folder = Folder::new("g4-overflow");
        folder.write("a");
        folder.write("b");
        let looper = Looper::new().unwrap();
        let has_overflown = Rc::new(Cell::new(false));
        let own = has_overflown.clone();
        let note = move |_: &Looper, event: &PathEvent| own.set(own.get() || event.is_overflow());
        looper.watch_path(&folder, PathChanges::ATTRIBUTES, note).unwrap();

        // Equal ones in a row would be one.
        let names = ["a", "b"].map(|name| folder.0.join(name));
        let permissions = fs::metadata(&names[0]).unwrap().permissions();
        for at in 0..=most {
            fs::set_permissions(&names[at % 2], permissions.clone()).unwrap();
        }
        while !has_overflown.get() {
            assert!(looper.poll_once(Some(Duration::ZERO)).unwrap().fds > 0, "all was read");
        }
    });
}

/// Q5, X1: nothing is told after the watching has ended, not even what was read with the event before.
#[test]
fn g4_x1_removal_quit_and_panic_end_it_within_a_batch() {
    watched(|| {
        let folder = Folder::new("g4-ends");
        let changes = PathChanges::CREATED;
        let count = Rc::new(Cell::new(0));
        let counter = |count: &Rc<Cell<u32>>| {
            let own = count.clone();
            move || own.set(own.get() + 1)
        };

        let looper = Looper::new().unwrap();
        let note = counter(&count);
        let removes = looper.watch_path(&folder, changes, move |looper, _| {
            note();
            assert!(looper.current_fd().unwrap().remove());
        });
        let note = counter(&count);
        let panics = looper.watch_path(&folder, changes, move |_, _| {
            note();
            panic!("no");
        });
        folder.write("a");
        folder.write("b");
        let panic = catch_unwind(AssertUnwindSafe(|| poll(&looper))).unwrap_err();
        poll(&looper);
        assert_eq!((panic.downcast_ref(), count.replace(0)), (Some(&"no"), 2));
        assert!(!removes.unwrap().is_registered() && !panics.unwrap().is_registered());
        assert_eq!(Rc::strong_count(&count), 1);

        let note = counter(&count);
        let quits = looper.watch_path(&folder, changes, move |looper, _| {
            note();
            looper.quit();
        });
        let guard = looper.watch_path(&folder, changes, |_, _| panic!("it was removed")).unwrap().guard();
        let other = Folder::new("g4-ends-other");
        let kept = looper.watch_path(&other, changes, |_, _| panic!("it has quit")).unwrap().guard().keep();
        drop(guard);
        folder.write("c");
        folder.write("d");
        // It is ready later, and so comes later.
        other.write("e");
        looper.run().unwrap();
        assert_eq!((count.get(), kept.is_registered()), (1, true));
        drop(looper);
        assert!(!quits.unwrap().is_registered() && !kept.remove());
        assert_eq!(Rc::strong_count(&count), 1);
    });
}

/// E1, E3: the callback comes back, and the error says what to do.
#[test]
fn g4_e1_what_is_refused_comes_back() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let refused = looper.watch_path("/no/such/path", PathChanges::WRITTEN, |_, _| ()).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::NotFound);
        let inner = refused.error().get_ref().and_then(|inner| inner.downcast_ref::<OsError>()).unwrap();
        assert_eq!(inner.operation(), "inotify_add_watch");
        assert!(refused.to_string().contains("watch the folder"), "{refused}");
        assert!(refused.into_value().is_some());

        looper.quit();
        let refused = looper.watch_path("/", PathChanges::WRITTEN, |_, _| ()).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
    });
}

/// X2
#[test]
fn g4_x2_a_forked_child_does_not_touch_its_parents_watch() {
    alone("g4_x2_a_forked_child_does_not_touch_its_parents_watch", || {
        let folder = Folder::new("g4-fork");
        let looper = Looper::new().unwrap();
        let (diary, note) = diary();
        let watch = looper.watch_path(&folder, PathChanges::CREATED, note).unwrap();

        in_child("it watches on its own", || {
            assert_echild(looper.watch_path(&folder, PathChanges::CREATED, |_, _| ()).unwrap_err());
            assert!(!watch.remove());
            let own = Looper::new().unwrap();
            own.watch_path(&folder, PathChanges::CREATED, |looper, _| looper.quit()).unwrap();
            folder.write("a");
            own.run().unwrap();
        });

        poll(&looper);
        assert_eq!(*diary.borrow(), [(PathChanges::CREATED, "a".to_owned())]);
    });
}
