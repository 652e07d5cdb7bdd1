//! Watched fds: the epoll set that is made anew because of a duplicate, and what goes on in it.
//!
//! Holds T9, F7, C14.

use std::{
    cell::Cell,
    io::{Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    rc::Rc,
};

use alooper::{Events, FdNext, FdSource, Interest, Looper};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::support::{
    fds::{poll_now, ready_stream},
    host::{drain, is_readable},
    ms,
    rest::{
        assert_not_warned, assert_sleeps, assert_warned_once_of, assert_works, count_rebuilds, logged_looper, warnings,
        watch,
    },
    watched,
};

/// Registers a stream that is ready and has a duplicate, whose callback exchanges it for another stream.
fn exchanging(looper: &Looper) -> (FdSource<UnixStream>, String, Rc<Cell<usize>>, [UnixStream; 4]) {
    let (near, far) = ready_stream();
    let duplicate = near.try_clone().unwrap();
    let (other, other_far) = ready_stream();
    let mut spare = Some(other.try_clone().unwrap());
    let calls = Rc::new(Cell::new(0));
    let counted = calls.clone();
    let (source, place) = watch(looper, near, move |_, near, _| {
        counted.set(counted.get() + 1);
        *near = spare.take().unwrap();
        FdNext::Keep
    });
    (source, place, calls, [far, duplicate, other, other_far])
}

#[test]
fn f7_c14_a_source_exchanged_in_its_callback_ends_its_registration_though_a_duplicate_is_ready() {
    watched(|| {
        let looper = logged_looper();
        let (source, place, calls, _alive) = exchanging(&looper);

        let first = poll_now(&looper);
        assert_eq!(first.fds, 1);
        assert!(!source.is_registered());
        assert_warned_once_of(&place);

        assert_eq!(count_rebuilds(&looper), 1);
        assert_sleeps(&looper);
        assert_works(&looper);
        assert_eq!(calls.get(), 1);
        assert_not_warned();
    });
}

#[test]
fn f7_a_wait_without_end_comes_to_rest_as_well() {
    watched(|| {
        let looper = logged_looper();
        let (_source, _place, _calls, _alive) = exchanging(&looper);
        assert_eq!(looper.poll_once(None).unwrap().fds, 1);
        let posted = looper.post_delayed(ms(20), |_| ()).unwrap();

        let mut rebuilds = 0;
        while posted.is_pending() {
            rebuilds += usize::from(looper.poll_once(None).unwrap().rebuilt);
        }

        assert_eq!(rebuilds + count_rebuilds(&looper), 1, "and the timer went on in the new set");
        assert_sleeps(&looper);
    });
}

#[test]
fn f7_the_other_registrations_go_on_in_the_new_set() {
    watched(|| {
        let looper = logged_looper();
        let (with_input, mut far) = UnixStream::pair().unwrap();
        let (with_ident, mut ident_far) = UnixStream::pair().unwrap();
        let source = looper
            .add_fd(with_input, Interest::empty(), |_, near, events| {
                assert_eq!(events, Events::INPUT);
                near.read_exact(&mut [0]).unwrap();
                FdNext::Keep
            })
            .unwrap();
        source.set_interest(Interest::INPUT).unwrap();
        looper.add_ident(with_ident, Interest::INPUT, 3).unwrap();
        let (dead, _place, _calls, _alive) = exchanging(&looper);

        assert_eq!(poll_now(&looper).fds, 1);
        assert_eq!(count_rebuilds(&looper), 1);

        assert!(!dead.is_registered());
        far.write_all(b"x").unwrap();
        assert_eq!(looper.poll_once(None).unwrap().fds, 1);
        ident_far.write_all(b"x").unwrap();
        let turn = looper.poll_once(None).unwrap();
        assert_eq!(turn.idents.iter().map(|ready| ready.ident).collect::<Vec<_>>(), [3]);
        source.set_interest(Interest::OUTPUT).unwrap();
        assert!(source.remove().is_some());
        assert_eq!(poll_now(&looper).fds, 0);
    });
}

/// More of them than a wait has room for, once they no longer count as watched.
#[test]
fn f7_c14_many_that_die_in_one_batch_come_to_rest_as_well() {
    watched(|| {
        let looper = logged_looper();
        let dying: Vec<_> = (0..100).map(|_| exchanging(&looper)).collect();

        assert_eq!(poll_now(&looper).fds, dying.len());
        assert_eq!(warnings().len(), dying.len());

        assert_eq!(count_rebuilds(&looper), 1);
        assert_sleeps(&looper);
        assert_works(&looper);
        assert!(dying.iter().all(|(_, _, calls, _)| calls.get() == 1));
    });
}

#[test]
fn f7_t9_many_that_died_starve_none_that_lives() {
    watched(|| {
        let looper = logged_looper();
        let (live, mut far) = UnixStream::pair().unwrap();
        looper.add_fd(live, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        let dying: Vec<_> = (0..100).map(|_| exchanging(&looper)).collect();
        assert_eq!(poll_now(&looper).fds, dying.len());

        far.write_all(b"x").unwrap();

        for turn in 0..10 {
            assert_eq!(poll_now(&looper).fds, 1, "turn {turn}");
        }
    });
}

#[test]
fn f7_a_host_that_watches_the_looper_goes_on_after_the_set_was_made_anew() {
    watched(|| {
        let looper = logged_looper();
        let number = looper.as_raw_fd();
        let host = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        host.add(&looper, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();
        let is_ready = || {
            let by_epoll = host.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO).unwrap() == 1;
            assert_eq!(by_epoll, is_readable(&looper), "both ways of hosting see the same");
            by_epoll
        };
        let (_source, _place, _calls, _alive) = exchanging(&looper);
        assert!(is_ready());
        assert_eq!(poll_now(&looper).fds, 1);

        assert_eq!(count_rebuilds(&looper), 1);

        assert_eq!(looper.as_raw_fd(), number);
        assert!(!is_ready());
        let (near, _far) = ready_stream();
        looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
        assert!(is_ready(), "an fd");
        assert_eq!(poll_now(&looper).fds, 1);
        looper.handle().wake().unwrap();
        assert!(is_ready(), "a wake");
        assert!(poll_now(&looper).woken);
        looper.post_delayed(ms(1), |_| ()).unwrap();
        while poll_now(&looper).messages == 0 {
            assert_eq!(
                host.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE).unwrap(),
                1,
                "a message that comes due"
            );
        }
        assert!(!is_ready());
    });
}

#[test]
fn f7_a_looper_can_be_hosted_after_its_set_was_made_anew() {
    watched(|| {
        let looper = logged_looper();
        let (_source, _place, _calls, _alive) = exchanging(&looper);
        assert_eq!(poll_now(&looper).fds, 1);
        assert_eq!(count_rebuilds(&looper), 1);

        assert!(!is_readable(&looper));
        looper.post(|_| ()).unwrap();
        assert!(is_readable(&looper));
        assert_eq!(drain(&looper), (1, 0));
    });
}
