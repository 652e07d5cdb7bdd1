//! Signals as events: who is called, what is told, and what is refused. Each test has a process of its own, in which all
//! threads block some signals from the first, since libtest's own threads do not.

use std::{
    cell::RefCell,
    error::Error,
    io,
    os::unix::process::ExitStatusExt,
    process::{self, Command},
    rc::Rc,
    sync::mpsc,
    thread,
};

use alooper::{
    Looper, OsError,
    source::{Signal, SignalError, Signals},
};
use nix::{
    sys::signal::{SigSet, Signal as Raw, kill},
    unistd::Pid,
};

use crate::support::blocked::alone_blocking;

const BLOCKED: [Raw; 4] = [Raw::SIGUSR1, Raw::SIGUSR2, Raw::SIGTERM, Raw::SIGHUP];

pub(super) fn send(signal: Raw) {
    kill(Pid::this(), signal).unwrap();
}

fn poll(looper: &Looper) {
    looper.poll_once(Some(std::time::Duration::ZERO)).unwrap();
}

/// The [`SignalError`] inside.
fn inner(error: &io::Error) -> &SignalError {
    error.get_ref().and_then(|inner| inner.downcast_ref()).unwrap_or_else(|| panic!("{error:?}"))
}

/// G1: three that come before the looper reads them are one.
#[test]
fn g1_each_watcher_of_a_signal_is_told_of_it_in_order() {
    alone_blocking(&BLOCKED, "g1_each_watcher_of_a_signal_is_told_of_it_in_order", || {
        let both = Signals::block(&[Signal::USR1, Signal::USR2]).unwrap();
        let looper = Looper::new().unwrap();
        let diary = Rc::new(RefCell::new(Vec::new()));
        for name in ["first", "second"] {
            let diary = diary.clone();
            let note = move |_: &Looper, info: &alooper::source::SignalInfo| {
                assert_eq!(info.pid(), Some(process::id()));
                assert!(info.uid().is_some());
                diary.borrow_mut().push((name, info.signal()));
            };
            looper.add_signals(&both, note).unwrap();
        }

        (0..3).for_each(|_| send(Raw::SIGUSR2));
        poll(&looper);
        assert_eq!(*diary.borrow(), [("first", Signal::USR2), ("second", Signal::USR2)]);
        send(Raw::SIGUSR1);
        poll(&looper);

        assert_eq!(diary.borrow()[2..], [("first", Signal::USR1), ("second", Signal::USR1)]);
        poll(&looper);
        assert_eq!(diary.borrow().len(), 4);
    });
}

/// G1: a watcher is called for its own signals alone, though the looper has one fd for all.
#[test]
fn g1_watchers_of_different_signals_share_an_fd_and_nothing_else() {
    alone_blocking(&BLOCKED, "g1_watchers_of_different_signals_share_an_fd_and_nothing_else", || {
        let first = Signals::block(&[Signal::USR1]).unwrap();
        let second = Signals::block(&[Signal::USR2]).unwrap();
        let looper = Looper::new().unwrap();
        let diary = Rc::new(RefCell::new(Vec::new()));
        let own = diary.clone();
        let watch = looper.add_signals(&first, move |_, info| own.borrow_mut().push(info.signal())).unwrap();
        let own = diary.clone();
        looper.add_signals(&second, move |_, info| own.borrow_mut().push(info.signal())).unwrap();

        send(Raw::SIGUSR2);
        poll(&looper);
        assert!(watch.remove() && !watch.remove() && !watch.is_registered());
        // It stays in the process, for who watches it next.
        send(Raw::SIGUSR1);
        poll(&looper);
        assert_eq!(*diary.borrow(), [Signal::USR2]);

        let own = diary.clone();
        let guard = looper.add_signals(&first, move |_, info| own.borrow_mut().push(info.signal())).unwrap().guard();
        poll(&looper);
        assert_eq!(*diary.borrow(), [Signal::USR2, Signal::USR1]);
        drop(guard);
        assert_eq!(Rc::strong_count(&diary), 2);
    });
}

#[test]
fn g1_a_thread_that_does_not_block_a_signal_is_named() {
    alone_blocking(&BLOCKED, "g1_a_thread_that_does_not_block_a_signal_is_named", || {
        let (begun, has_begun) = mpsc::channel();
        let (end, has_ended) = mpsc::channel::<()>();
        let careless = thread::Builder::new().name("careless".to_owned()).spawn(move || {
            SigSet::from(Raw::SIGUSR2).thread_unblock().unwrap();
            begun.send(()).unwrap();
            _ = has_ended.recv();
        });
        has_begun.recv().unwrap();

        let error = Signals::block(&[Signal::USR1, Signal::USR2]).unwrap_err();

        let SignalError::NotBlocked { signal, thread, .. } = inner(&error) else { panic!("{error}") };
        assert_eq!((*signal, thread.as_str()), (Signal::USR2, "careless"));
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("\"careless\""), "{error}");
        drop(end);
        careless.unwrap().join().unwrap();
        // Nothing was taken.
        Signals::block(&[Signal::USR1, Signal::USR2]).unwrap();
    });
}

#[test]
fn g1_a_signal_is_blocked_by_one_proof() {
    alone_blocking(&BLOCKED, "g1_a_signal_is_blocked_by_one_proof", || {
        let signals = Signals::block(&[Signal::USR1, Signal::TERM]).unwrap();
        assert_eq!(signals.iter().collect::<Vec<_>>(), [Signal::USR1, Signal::TERM]);

        let error = Signals::block(&[Signal::HUP, Signal::TERM]).unwrap_err();

        assert_eq!(*inner(&error), SignalError::Taken(Signal::TERM));
        assert!(error.to_string().starts_with("another `Signals` has SIGTERM already: "), "{error:?}");
        Signals::block(&[Signal::HUP]).unwrap();
    });
}

#[test]
fn g1_a_signal_is_watched_on_one_looper_at_a_time() {
    alone_blocking(&BLOCKED, "g1_a_signal_is_watched_on_one_looper_at_a_time", || {
        let both = Signals::block(&[Signal::USR1, Signal::USR2]).unwrap();
        let (first, second) = (Looper::new().unwrap(), Looper::new().unwrap());
        let watch = first.add_signals(&both, |_, _| ()).unwrap();

        let number = Rc::new(5);
        let returned = number.clone();
        let refused = second.add_signals(&both, move |_, _| assert_eq!(*returned, 5)).unwrap_err();
        assert_eq!(*inner(refused.error()), SignalError::WatchedElsewhere(Signal::USR1));
        assert!(refused.place().file().ends_with("signals.rs"));
        let text = refused.to_string();
        assert!(text.contains("another looper watches SIGUSR1 already") && text.contains("refused at"), "{text}");
        // The callback comes back.
        drop(refused.into_value().unwrap());
        assert_eq!(Rc::strong_count(&number), 1);

        watch.remove();
        second.add_signals(&both, |_, _| ()).unwrap();
        assert!(first.add_signals(&both, |_, _| ()).is_err());
        drop(second);
        first.add_signals(&both, |_, _| ()).unwrap();
    });
}

#[test]
fn g1_children_unblock_the_signals_if_told_to() {
    alone_blocking(&BLOCKED, "g1_children_unblock_the_signals_if_told_to", || {
        let signals = Signals::block(&[Signal::TERM]).unwrap();
        let run = |command: &mut Command| command.args(["-c", "kill -TERM $$; exit 5"]).status().unwrap();

        let inherits = run(&mut Command::new("sh"));
        let unblocked = run(signals.unblock_in(&mut Command::new("sh")));

        assert_eq!((inherits.code(), unblocked.signal()), (Some(5), Some(Raw::SIGTERM as i32)));
    });
}

/// E2: what `main` prints of these errors is their text.
#[test]
fn g1_e2_errors_say_what_to_do() {
    let not_blocked = SignalError::NotBlocked { signal: Signal::INT, thread: "worker".to_owned(), thread_id: 7 };
    for error in [not_blocked, SignalError::Taken(Signal::INT), SignalError::WatchedElsewhere(Signal::INT)] {
        let text = error.to_string();
        assert!(text.contains("SIGINT") && text.contains(": "), "{text}");
        let error = io::Error::from(error);
        assert!(format!("{error:?}").contains(&text), "{error:?}");
        assert!(error.source().is_none() && error.get_ref().is_some_and(|inner| !inner.is::<OsError>()));
    }
}

#[test]
fn g1_signals_have_the_kernels_numbers_and_names() {
    for signal in Raw::iterator() {
        let own = Signal::from_number(signal as i32);
        let cannot_wait = ["KILL", "STOP", "SEGV", "BUS", "FPE", "ILL", "TRAP", "ABRT", "SYS", "STKFLT"];
        let is_left_out = cannot_wait.iter().any(|name| signal.as_str() == format!("SIG{name}"));
        assert_eq!(own.map(Signal::name), (!is_left_out).then_some(signal.as_str()));
        assert!(own.is_none_or(|own| own.number() == signal as i32));
    }
    assert_eq!(Signal::from_number(40), None);
}
