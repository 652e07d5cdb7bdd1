//! How the watching of signals ends: quits, panics, forks, and the looper's own end.

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

use alooper::{
    Looper,
    source::{Signal, Signals},
};
use nix::sys::{
    signal::Signal as Raw,
    wait::{WaitStatus, waitpid},
};

use super::signals::send;
use crate::support::{
    blocked::alone_blocking,
    forks::{assert_echild, end, split},
};

const BLOCKED: [Raw; 2] = [Raw::SIGUSR1, Raw::SIGTERM];

fn poll(looper: &Looper) {
    looper.poll_once(Some(Duration::ZERO)).unwrap();
}

/// X1: what panics is gone, and the panic goes through the poll. The others do not notice.
#[test]
fn g1_x1_a_panic_ends_one_watcher_and_the_others_are_called() {
    alone_blocking(&BLOCKED, "g1_x1_a_panic_ends_one_watcher_and_the_others_are_called", || {
        let signals = Signals::block(&[Signal::USR1]).unwrap();
        let looper = Looper::new().unwrap();
        let count = Rc::new(Cell::new(0));
        let bad = looper.add_signals(&signals, |_, _| panic!("no")).unwrap();
        let also_bad = looper.add_signals(&signals, |_, _| panic!("nor this")).unwrap();
        let own = count.clone();
        looper.add_signals(&signals, move |_, _| own.set(own.get() + 1)).unwrap();

        send(Raw::SIGUSR1);
        let panic = catch_unwind(AssertUnwindSafe(|| poll(&looper))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"no"));
        assert_eq!((count.get(), bad.is_registered(), also_bad.is_registered()), (1, false, false));

        send(Raw::SIGUSR1);
        poll(&looper);
        assert_eq!(count.get(), 2);
    });
}

#[test]
fn g1_a_watcher_that_another_removes_is_not_called_for_a_signal_that_was_read() {
    alone_blocking(&BLOCKED, "g1_a_watcher_that_another_removes_is_not_called_for_a_signal_that_was_read", || {
        let signals = Signals::block(&[Signal::USR1]).unwrap();
        let looper = Looper::new().unwrap();
        let others = Rc::new(RefCell::new(Vec::<alooper::source::SignalWatch>::new()));
        let own = others.clone();
        let first = looper.add_signals(&signals, move |_, _| {
            let all = own.take();
            assert!(all.iter().all(|watch| watch.remove()), "this one is among them");
        });
        others.borrow_mut().push(first.unwrap());
        others.borrow_mut().push(looper.add_signals(&signals, |_, _| panic!("it was removed")).unwrap());

        send(Raw::SIGUSR1);
        poll(&looper);
        assert_eq!(Rc::strong_count(&others), 1, "its callback is dropped when it has run");

        send(Raw::SIGUSR1);
        let count = Rc::new(Cell::new(0));
        let own = count.clone();
        looper.add_signals(&signals, move |_, _| own.set(own.get() + 1)).unwrap();
        poll(&looper);
        assert_eq!(count.get(), 1);
    });
}

/// Q5: none is called after a quit, and callbacks stay until the looper goes.
#[test]
fn g1_q5_after_a_quit_no_watcher_is_called_and_none_is_added() {
    alone_blocking(&BLOCKED, "g1_q5_after_a_quit_no_watcher_is_called_and_none_is_added", || {
        let signals = Signals::block(&[Signal::USR1]).unwrap();
        let looper = Looper::new().unwrap();
        looper.add_signals(&signals, |looper, _| looper.quit()).unwrap();
        let kept = Rc::new(());
        let own = kept.clone();
        let last = looper.add_signals(&signals, move |_, _| panic!("it has quit: {own:?}")).unwrap();

        send(Raw::SIGUSR1);
        looper.run().unwrap();

        assert!(last.is_registered());
        let refused = looper.add_signals(&signals, |_, _| ()).unwrap_err();
        assert_eq!(refused.error().kind(), std::io::ErrorKind::BrokenPipe);
        drop(looper);
        assert_eq!((Rc::strong_count(&kept), last.is_registered(), last.remove()), (1, false, false));
    });
}

/// Q1: what is due still runs.
#[test]
fn g1_quit_on_quits_safely_at_first_and_the_second_signal_kills() {
    alone_blocking(&BLOCKED, "g1_quit_on_quits_safely_at_first_and_the_second_signal_kills", || {
        let Some(child) = split() else {
            end(|| {
                let looper = Looper::new().unwrap();
                looper.quit_on(&[Signal::TERM, Signal::USR1]).unwrap();
                looper.post(|_| send(Raw::SIGTERM)).unwrap();
                let counts = looper.run().unwrap();
                assert_eq!((counts.run, counts.dropped), (1, 0));
                send(Raw::SIGUSR1);
                unreachable!("the second one ends the process");
            })
        };

        let status = waitpid(child.pid(), None).unwrap();

        assert!(matches!(status, WaitStatus::Signaled(_, Raw::SIGUSR1, _)), "{status:?}");
    });
}

/// X2: the child's own looper may watch what the parent's does; the parent's is not touched.
#[test]
fn g1_x2_a_forked_child_watches_its_own_signals() {
    alone_blocking(&BLOCKED, "g1_x2_a_forked_child_watches_its_own_signals", || {
        let signals = Signals::block(&[Signal::USR1]).unwrap();
        let looper = Looper::new().unwrap();
        let count = Rc::new(Cell::new(0));
        let own = count.clone();
        let watch = looper.add_signals(&signals, move |_, _| own.set(own.get() + 1)).unwrap();

        let Some(child) = split() else {
            end(|| {
                assert_echild(looper.add_signals(&signals, |_, _| ()).unwrap_err());
                assert!(!watch.remove() && !watch.is_registered());
                let own = Looper::new().unwrap();
                own.add_signals(&signals, |looper, _| looper.quit()).unwrap();
                drop(looper);
                assert!(Looper::new().unwrap().add_signals(&signals, |_, _| ()).is_err(), "it is still watched");
                send(Raw::SIGUSR1);
                own.run().unwrap();
            })
        };
        child.join("it watches a signal");

        assert!(watch.is_registered());
        send(Raw::SIGUSR1);
        poll(&looper);
        assert_eq!(count.get(), 1);
    });
}
