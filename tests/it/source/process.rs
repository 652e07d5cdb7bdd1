//! Child processes of a looper: how their end is told, and what becomes of those that still run.

use std::{
    cell::{Cell, RefCell},
    io::{self, ErrorKind, Read},
    os::unix::process::ExitStatusExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    rc::Rc,
};

use alooper::{FdNext, Interest, Looper, OsError};
use nix::{
    libc::{SIGKILL, SIGTERM},
    sys::{
        signal::{SigHandler, Signal, signal},
        wait::waitpid,
    },
    unistd::Pid,
};

use crate::support::{
    alone::alone,
    forks::{assert_echild, end, split},
    watched,
};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

/// What a callback was told.
type Told = Rc<RefCell<Option<io::Result<ExitStatus>>>>;

/// Where a callback leaves the status, and quits.
fn note() -> (Told, impl FnOnce(&Looper, io::Result<ExitStatus>)) {
    let told = Told::default();
    let own = told.clone();
    let callback = move |looper: &Looper, status| {
        assert!(own.borrow_mut().replace(status).is_none());
        looper.quit();
    };
    (told, callback)
}

fn exists(id: u32) -> bool {
    Path::new(&format!("/proc/{id}")).exists()
}

#[test]
fn g2_the_status_is_told_and_no_zombie_stays() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (told, callback) = note();

        let child = looper.spawn_process(&mut shell("exit 3"), callback).unwrap();
        assert!(child.is_running());
        looper.run().unwrap();

        assert_eq!(told.take().unwrap().unwrap().code(), Some(3));
        assert!(!child.is_running() && !child.kill().unwrap() && !exists(child.id()));
        assert!(child.detach().is_none());
    });
}

#[test]
fn g2_a_child_that_ended_before_it_was_added_is_told_too() {
    watched(|| {
        let (mut waited_for, zombie) = (shell("exit 4").spawn().unwrap(), shell("exit 4").spawn().unwrap());
        waited_for.wait().unwrap();
        while std::fs::read_to_string(format!("/proc/{}/stat", zombie.id())).unwrap().split(' ').nth(2) != Some("Z") {
            std::thread::yield_now();
        }

        for child in [waited_for, zombie] {
            let looper = Looper::new().unwrap();
            let (told, callback) = note();
            let child = looper.add_child(child, callback).unwrap();
            assert!(!child.kill().unwrap() || exists(child.id()), "no stranger is signalled");
            looper.run().unwrap();
            assert_eq!(told.take().unwrap().unwrap().code(), Some(4));
        }
    });
}

#[test]
fn g2_pipes_are_taken_from_the_handle_and_signals_reach_the_child() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (told, callback) = note();
        let mut command = shell("echo ready; exec sleep 600");
        let mut child = looper.spawn_process(command.stdout(Stdio::piped()), callback).unwrap();
        let output = child.stdout.take().unwrap();
        looper
            .add_fd(output, Interest::INPUT, move |_, output, _| {
                let mut text = [0; 16];
                let length = output.read(&mut text).unwrap();
                if length == 0 {
                    return FdNext::Remove;
                }
                assert_eq!(&text[..length], b"ready\n");
                assert!(child.terminate().unwrap());
                FdNext::Keep
            })
            .unwrap();

        looper.run().unwrap();

        assert_eq!(told.take().unwrap().unwrap().signal(), Some(SIGTERM));
    });
}

#[test]
fn g2_a_guard_kills_and_the_callback_is_told() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (told, callback) = note();
        let mut guard = looper.spawn_process(shell("exec sleep 600").stdin(Stdio::piped()), callback).unwrap().guard();
        assert!(guard.process().stdin.take().is_some());
        let kept = looper.spawn_process(&mut shell("exec sleep 600"), |_, _| ()).unwrap().guard().keep();

        drop(guard);
        looper.run().unwrap();

        assert_eq!(told.take().unwrap().unwrap().signal(), Some(SIGKILL));
        assert!(kept.is_running() && exists(kept.id()));
    });
}

/// Q5: nobody is told after a quit; what still runs is killed with the looper, unless it was taken out.
#[test]
fn g2_q5_a_dropped_looper_kills_its_children_and_waits_for_them() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let told = Rc::new(());
        let own = told.clone();
        let owned = looper.spawn_process(&mut shell("exec sleep 600"), move |_, _| panic!("{own:?}")).unwrap();
        let mut command = shell("exec sleep 600");
        let taken = looper.spawn_process(command.stdout(Stdio::piped()), |_, _| panic!("it was taken out")).unwrap();

        looper.quit();
        let refused = looper.spawn_process(&mut shell("exit 0"), |_, _| ()).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
        let mut taken = taken.detach().unwrap();
        assert!(taken.stdout.is_some());
        drop(looper);

        assert!(!exists(owned.id()) && !owned.is_running() && !owned.kill().unwrap());
        assert_eq!(Rc::strong_count(&told), 1);
        assert!(taken.try_wait().unwrap().is_none());
        taken.kill().unwrap();
        taken.wait().unwrap();
    });
}

/// E1: callback and child come back, and the child goes on.
#[test]
fn g2_e1_what_is_refused_comes_back() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let missing = looper.spawn_process(&mut Command::new("/no/such/program"), |_, _| ()).unwrap_err();
        assert_eq!(missing.error().kind(), ErrorKind::NotFound);
        assert!(missing.place().file().ends_with("process.rs"));
        assert!(missing.into_value().is_some());

        looper.quit();
        let child = shell("exec sleep 600").stdout(Stdio::piped()).spawn().unwrap();
        let (error, value) = looper.add_child(child, |_, _| ()).unwrap_err().into_parts();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let (mut child, _callback) = value.unwrap();
        assert!(child.stdout.is_some() && child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

/// A number that somebody else has waited for may be another process's: it is neither watched nor signalled.
#[test]
fn g2_a_child_that_somebody_else_waited_for_is_an_error() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let child = shell("exit 0").spawn().unwrap();
        waitpid(Pid::from_raw(child.id().cast_signed()), None).unwrap();

        let (error, value) = looper.add_child(child, |_, _| ()).unwrap_err().into_parts();

        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<OsError>()).unwrap();
        assert_eq!((inner.operation(), inner.raw_os_error()), ("waitpid", nix::libc::ECHILD));
        assert!(error.to_string().contains("let only the looper wait for it"), "{error}");
        assert!(value.is_some());
    });
}

/// The kernel forgets such children by itself.
#[test]
fn g2_a_child_that_nobody_may_wait_for_is_told_as_an_error() {
    alone("g2_a_child_that_nobody_may_wait_for_is_told_as_an_error", || {
        #[allow(unsafe_code, reason = "it is what a careless program does")]
        // SAFETY: no handler is installed.
        unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.unwrap();
        let looper = Looper::new().unwrap();
        let (told, callback) = note();
        let mut child = looper.spawn_process(shell("read line").stdin(Stdio::piped()), callback).unwrap();

        drop(child.stdin.take());
        looper.run().unwrap();

        assert!(told.take().unwrap().unwrap_err().to_string().contains("SIGCHLD is ignored"));
    });
}

/// X1: the child has been waited for by then.
#[test]
fn g2_x1_a_panic_of_the_callback_goes_through_the_poll() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let kept = Rc::new(Cell::new(0));
        let own = kept.clone();
        let callback = move |_: &Looper, _| {
            own.set(own.get() + 1);
            panic!("no");
        };
        let child = looper.spawn_process(&mut shell("exit 0"), callback).unwrap();

        let panic = catch_unwind(AssertUnwindSafe(|| looper.poll_once(None))).unwrap_err();

        assert_eq!(panic.downcast_ref(), Some(&"no"));
        assert!(!child.is_running() && !exists(child.id()));
        assert_eq!((kept.get(), Rc::strong_count(&kept)), (1, 1));
    });
}

/// X2: a forked child neither kills nor waits for its parent's children.
#[test]
fn g2_x2_a_forked_child_does_not_end_its_parents_children() {
    alone("g2_x2_a_forked_child_does_not_end_its_parents_children", || {
        let looper = Looper::new().unwrap();
        let (told, callback) = note();
        let child = looper.spawn_process(&mut shell("exec sleep 600"), callback).unwrap();
        let guard = child.guard();

        let Some(fork) = split() else {
            end(|| {
                assert_echild(looper.spawn_process(&mut shell("exit 0"), |_, _| ()).unwrap_err());
                drop(guard);
                drop(looper);
                let own = Looper::new().unwrap();
                let (told, callback) = note();
                own.spawn_process(&mut shell("exit 7"), callback).unwrap();
                own.run().unwrap();
                assert_eq!(told.take().unwrap().unwrap().code(), Some(7));
            })
        };
        fork.join("it has a looper and a child of its own");

        let child = guard.keep();
        assert!(child.is_running() && child.kill().unwrap());
        looper.run().unwrap();
        assert_eq!(told.take().unwrap().unwrap().signal(), Some(SIGKILL));
    });
}
