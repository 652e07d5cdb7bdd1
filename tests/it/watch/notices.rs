//! What a looper notices itself is logged, told to its observer, and counted.
//!
//! Holds W11, B4, F7, F8, F9, F13, X1.

use std::{
    cell::RefCell,
    io::{self, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{Arc, mpsc},
};

use alooper::{Barrier, FdNext, FdSource, Interest, Looper, LooperHandle, Notice, Observer, Stats};

use crate::support::{ms, panic_of, rest::warnings, watched};

#[derive(Clone, Default)]
struct Told(Rc<RefCell<Vec<Notice>>>);

impl Observer for Told {
    fn noticed(&self, notice: &Notice) {
        self.0.borrow_mut().push(notice.clone());
    }
}

fn looper() -> (Looper, Told) {
    warnings();
    let looper = Looper::builder().spin_limit(2).barrier_alarm(ms(1)).build().unwrap();
    let told = Told::default();
    looper.set_observer(Some(Rc::new(told.clone())));
    (looper, told)
}

fn hung_up() -> UnixStream {
    UnixStream::pair().unwrap().0
}

/// The counts of what is noticed.
fn counts(stats: Stats) -> [u64; 5] {
    [stats.muted_fds, stats.stuck_fds, stats.stale_fds, stats.ignored_idents, stats.overdue_barriers]
}

/// Asserts that one thing was noticed: told, logged and counted, and where.
#[track_caller]
fn assert_noticed(looper: &Looper, told: &Told, count: [u64; 5], place: u32) -> Notice {
    let notices = told.0.take();
    let logged = warnings();
    assert!(notices.len() == 1 && logged.len() == 1, "{notices:?}, {logged:?}");
    assert!(logged[0].ends_with(&notices[0].to_string()), "{logged:?}");
    assert!(logged[0].contains(&format!("{}:{place}", file!())), "{logged:?}");
    assert_eq!(counts(looper.stats()), count);
    notices[0].clone()
}

#[test]
fn w11_f8_a_muted_fd_is_told_logged_and_counted() {
    watched(|| {
        let (looper, told) = looper();
        let source = hung_up();
        let number = source.as_raw_fd();
        looper.add_fd(source, Interest::PRIORITY, |_, _, _| FdNext::Keep).unwrap();
        let place = line!() - 1;

        (0..5).for_each(|_| _ = looper.poll_once(ms(0)).unwrap());

        let notice = assert_noticed(&looper, &told, [1, 0, 0, 0, 0], place);
        assert!(matches!(notice, Notice::MutedFd { fd, calls: 2, .. } if fd == number), "{notice:?}");
    });
}

#[test]
fn w11_f13_a_stuck_fd_is_told_logged_and_counted() {
    watched(|| {
        let (looper, told) = looper();
        looper.add_fd(hung_up(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        let place = line!() - 1;

        (0..1100).for_each(|_| _ = looper.poll_once(ms(0)).unwrap());

        let notice = assert_noticed(&looper, &told, [0, 1, 0, 0, 0], place);
        assert!(matches!(notice, Notice::StuckFd { calls: 1000, muted: false, .. }), "{notice:?}");
    });
}

#[test]
fn w11_f7_a_stale_fd_is_told_at_once_when_it_is_seen_outside_a_turn() {
    watched(|| {
        let (looper, told) = looper();
        let source = looper.add_fd(hung_up(), Interest::PRIORITY, |_, _, _| FdNext::Keep).unwrap();
        let place = line!() - 1;

        source.with(|source| *source = hung_up()).unwrap();

        let notice = assert_noticed(&looper, &told, [0, 0, 1, 0, 0], place);
        assert!(matches!(&notice, Notice::StaleFd { why, .. } if why.contains("exchanged")), "{notice:?}");
    });
}

#[test]
fn w11_f9_an_ident_that_run_ignores_is_told_logged_and_counted() {
    watched(|| {
        let (looper, told) = looper();
        let (near, mut far) = UnixStream::pair().unwrap();
        looper.add_ident(near, Interest::INPUT, 7).unwrap();
        let place = line!() - 1;
        far.write_all(b"x").unwrap();
        looper.post_delayed(ms(5), Looper::quit).unwrap();

        looper.run().unwrap();

        let notice = assert_noticed(&looper, &told, [0, 0, 0, 1, 0], place);
        assert!(matches!(notice, Notice::IgnoredIdent { ident: 7, .. }), "{notice:?}");
    });
}

#[test]
fn w11_b4_a_barrier_that_stands_too_long_is_told_logged_and_counted() {
    watched(|| {
        let (looper, told) = looper();
        let _barrier: Barrier = looper.barrier().unwrap();
        let place = line!() - 1;

        while looper.stats().overdue_barriers == 0 {
            looper.poll_once(ms(2)).unwrap();
        }
        looper.poll_once(ms(2)).unwrap();

        let notice = assert_noticed(&looper, &told, [0, 0, 0, 0, 1], place);
        assert!(matches!(notice, Notice::OverdueBarrier { age, .. } if age == ms(1)), "{notice:?}");
    });
}

/// Another thread finds that the number it adds belonged to one that has died: the observer lives on the looper's.
#[test]
fn w11_f7_what_another_thread_comes_upon_is_told_on_the_loopers() {
    watched(|| {
        let (looper, told) = looper();
        let handle = looper.handle();
        let (add, to_add) = mpsc::channel::<Arc<UnixStream>>();
        let other = std::thread::spawn(move || {
            let stream = to_add.recv().unwrap();
            handle.add_fd(stream, Interest::INPUT, |_, _, _| FdNext::Keep).map(drop).unwrap();
        });
        // The set keeps the file under its number, though it is another's there.
        let first = Arc::new(UnixStream::pair().unwrap().0);
        let duplicate = first.try_clone().unwrap();
        looper.add_fd(first.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        let place = line!() - 1;
        let (fresh, _far) = UnixStream::pair().unwrap();
        nix::unistd::dup2(&fresh, &mut owned_by_number(&first)).unwrap();

        add.send(first).unwrap();
        other.join().unwrap();
        assert_eq!(counts(looper.stats()), [0, 0, 1, 0, 0], "counted at once");
        assert!(told.0.borrow().is_empty());
        looper.poll_once(ms(100)).unwrap();

        let notice = assert_noticed(&looper, &told, [0, 0, 1, 0, 0], place);
        assert!(matches!(&notice, Notice::StaleFd { why, .. } if why.contains("closed")), "{notice:?}");
        drop(duplicate);
    });
}

/// The number of a stream, as `dup2` wants it: the stream itself goes on owning it.
#[allow(unsafe_code, reason = "dup2 exchanges what an owned number stands for, and this number is owned elsewhere")]
fn owned_by_number(stream: &UnixStream) -> std::mem::ManuallyDrop<std::os::fd::OwnedFd> {
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: the number stays open, and this is never dropped.
    std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(stream.as_raw_fd()) })
}

/// X1: the notice is consumed, and the next ones are told in the next turn.
#[test]
fn w11_x1_an_observer_that_panics_when_it_is_told_does_so_through_the_turn() {
    struct Panics;

    impl Observer for Panics {
        fn noticed(&self, _: &Notice) {
            panic!("planned");
        }
    }

    watched(|| {
        let (looper, _told) = looper();
        looper.set_observer(Some(Rc::new(Panics)));
        looper.add_fd(hung_up(), Interest::PRIORITY, |_, _, _| FdNext::Keep).unwrap();
        let polls = |count| (0..count).map(|_| panic::catch_unwind(AssertUnwindSafe(|| looper.poll_once(ms(0)))));

        let panics: Vec<_> = polls(5).filter_map(Result::err).collect();

        assert_eq!(panics.len(), 1);
        assert_eq!(panic_of(|| panic::resume_unwind(panics.into_iter().next().unwrap())), "planned");
        assert_eq!(counts(looper.stats()), [1, 0, 0, 0, 0]);
        looper.post(|_| ()).unwrap();
        assert_eq!(looper.poll_once(ms(0)).unwrap().messages, 1);
    });
}

/// X1: as above, of two that are noticed in one turn.
#[test]
fn w11_x1_what_is_noticed_beside_a_panicking_observers_notice_is_told_in_the_next_turn() {
    struct PanicsOnce(Told);

    impl Observer for PanicsOnce {
        fn noticed(&self, notice: &Notice) {
            self.0.noticed(notice);
            assert!(self.0.0.borrow().len() > 1, "planned");
        }
    }

    watched(|| {
        let (looper, told) = looper();
        looper.set_observer(Some(Rc::new(PanicsOnce(told.clone()))));
        (0..2).for_each(|_| _ = looper.add_fd(hung_up(), Interest::PRIORITY, |_, _, _| FdNext::Keep).unwrap());

        let polls = (0..6).map(|_| panic::catch_unwind(AssertUnwindSafe(|| looper.poll_once(ms(0)))));
        let panics = polls.filter(Result::is_err).count();

        assert_eq!((panics, told.0.borrow().len()), (1, 2));
    });
}

/// It may do anything that a callback may.
#[test]
fn w11_an_observer_that_is_told_may_remove_the_fd_and_quit() {
    struct Acts(RefCell<Option<FdSource<UnixStream>>>, LooperHandle);

    impl Observer for Acts {
        fn noticed(&self, _: &Notice) {
            let source = self.0.take().unwrap();
            assert!(source.remove().is_some());
            self.1.post(Looper::quit).unwrap();
            let polled = Looper::current().unwrap().poll_once(ms(0));
            assert_eq!(polled.unwrap_err().kind(), io::ErrorKind::Deadlock, "it is inside a turn");
        }
    }

    watched(|| {
        warnings();
        let looper = Looper::builder().spin_limit(2).prepare().unwrap();
        let source = looper.add_fd(hung_up(), Interest::PRIORITY, |_, _, _| FdNext::Keep).unwrap();
        looper.set_observer(Some(Rc::new(Acts(RefCell::new(Some(source)), looper.handle()))));

        looper.run().unwrap();

        assert_eq!(looper.stats().muted_fds, 1);
    });
}
