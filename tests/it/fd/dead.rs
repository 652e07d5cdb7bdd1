//! Watched fds that die under their registration, with and without a duplicate that keeps them in the kernel's set.
//!
//! Holds F6, F7, F8, C13, C14, C25. Each test has a process of its own: among others, a closed number is soon another
//! test's file, and what a program that is being started has inherited is not closed.

use std::{
    cell::Cell,
    io::{self, PipeReader, Read, Write},
    mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    rc::Rc,
};

use alooper::{FdNext, FdSource, Interest, Looper};
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::dup2,
};

use crate::support::{
    alone::alone,
    fds::{poll_now, ready_pipe, ready_stream},
    ms,
    rest::{
        PATIENCE, assert_not_warned, assert_sleeps, assert_warned_once_of, assert_works, count_rebuilds, logged_looper,
        warnings, watch,
    },
};

#[test]
fn f7_a_source_exchanged_while_it_is_lent_ends_its_registration() {
    alone("f7_a_source_exchanged_while_it_is_lent_ends_its_registration", || {
        let looper = logged_looper();
        let (near, _far) = ready_stream();
        let duplicate = near.try_clone().unwrap();
        let (other, _other_far) = ready_stream();
        let (source, place) = watch(&looper, near, |_, _, _| panic!("it is another stream now"));

        let lent = source.with(|near| *near = other);

        assert_eq!(lent, Some(()));
        assert!(!source.is_registered());
        assert_warned_once_of(&place);
        assert_eq!(count_rebuilds(&looper), 1);
        assert_sleeps(&looper);
        drop(duplicate);
    });
}

#[test]
fn f7_c13_a_source_exchanged_without_a_duplicate_ends_its_registration() {
    alone("f7_c13_a_source_exchanged_without_a_duplicate_ends_its_registration", || {
        let looper = logged_looper();
        let (near, _far) = ready_stream();
        let (other, mut other_far) = ready_stream();
        let mut spare = Some(other);
        let (source, place) = watch(&looper, near, move |_, near, _| {
            *near = spare.take().unwrap();
            FdNext::Keep
        });

        assert_eq!(poll_now(&looper).fds, 1);

        assert_warned_once_of(&place);
        assert!(source.remove().is_none());
        assert_eq!(count_rebuilds(&looper), 0);
        assert_sleeps(&looper);
        assert!(other_far.read(&mut [0]).is_err(), "both streams are closed: its unread byte is lost");
    });
}

/// No fd is left for a new set: until there is one, the looper rests in between, and everything goes on.
#[test]
fn f7_c14_c33_a_set_that_cannot_be_made_anew_does_not_keep_the_thread_busy() {
    alone("f7_c14_c33_a_set_that_cannot_be_made_anew_does_not_keep_the_thread_busy", || {
        let looper = logged_looper();
        let (near, _far) = ready_stream();
        let duplicate = near.try_clone().unwrap();
        let (other, _other_far) = ready_stream();
        let (source, _place) = watch(&looper, near, |_, _, _| panic!("it is another stream now"));
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        source.with(|near| *near = other).unwrap();

        assert_eq!(count_rebuilds(&looper), 0);
        let before = looper.stats().waits;
        assert!(looper.poll_once(ms(50)).unwrap().timed_out);
        let waits = looper.stats().waits - before;
        assert!(waits <= 60, "{waits} in 50 ms");
        let posted = looper.post_delayed(ms(5), |_| ()).unwrap();
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        assert!(!posted.is_pending());

        assert!(warnings().last().unwrap().contains("epoll_create1"), "the log has said why");
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert!((0..10 * PATIENCE).any(|_| looper.poll_once(ms(1)).unwrap().rebuilt));
        assert_works(&looper);
        drop(duplicate);
    });
}

/// The kernel's set still has it, though nobody is registered: to be watched anew is not to be watched twice (F2).
#[test]
fn f2_f7_a_file_that_was_away_when_it_was_removed_and_came_back_can_be_watched_again() {
    alone("f2_f7_a_file_that_was_away_when_it_was_removed_and_came_back_can_be_watched_again", || {
        let looper = logged_looper();
        let (fd, _writer) = ready_pipe();
        let original = fd.try_clone().unwrap();
        let (quiet, _quiet_writer) = io::pipe().unwrap();
        let (source, _) = watch(&looper, fd, |_, _, _| panic!("it was removed"));
        source.with(|fd| dup2(&quiet, fd).unwrap());
        let mut fd = source.remove().unwrap();
        dup2(&original, &mut fd).unwrap();

        looper.add_fd(fd, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();

        assert_eq!(poll_now(&looper).fds, 1);
        assert_eq!(count_rebuilds(&looper), 0);
        assert_sleeps(&looper);
    });
}

/// The number stays open, for a quiet pipe: nothing tells the looper, until somebody asks.
#[test]
fn f7_c13_a_number_that_was_given_to_another_file_has_no_event_and_can_be_removed_and_used_again() {
    alone("f7_c13_a_number_that_was_given_to_another_file_has_no_event_and_can_be_removed_and_used_again", || {
        let looper = logged_looper();
        let (fd, _writer) = ready_pipe();
        let (quiet, mut quiet_writer) = io::pipe().unwrap();
        let (source, _place) = watch(&looper, fd, |_, _, _| panic!("its file is closed"));

        source.with(|fd| dup2(&quiet, fd).unwrap()).unwrap();

        assert_sleeps(&looper);
        for error in [source.repoll().unwrap_err(), source.set_interest(Interest::OUTPUT).unwrap_err()] {
            assert!(error.to_string().contains("add the source again"), "{error}");
        }
        let fd = source.remove().unwrap();
        assert!(!source.is_registered());
        quiet_writer.write_all(b"x").unwrap();
        let again = looper.add_fd(fd, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
        assert_eq!(poll_now(&looper).fds, 1);
        assert!(!again.is_registered());
        assert_sleeps(&looper);
    });
}

#[test]
fn f7_c14_a_number_given_to_another_file_while_a_duplicate_is_ready_does_not_spin() {
    alone("f7_c14_a_number_given_to_another_file_while_a_duplicate_is_ready_does_not_spin", || {
        let looper = logged_looper();
        let (fd, _writer) = ready_pipe();
        let duplicate = fd.try_clone().unwrap();
        let (quiet, _quiet_writer) = io::pipe().unwrap();
        let calls = Rc::new(Cell::new(0));
        let counted = calls.clone();
        let (source, place) = watch(&looper, fd, move |_, fd, _| {
            counted.set(counted.get() + 1);
            if counted.get() == 1 {
                dup2(&quiet, fd).unwrap();
            }
            FdNext::Keep
        });

        let rebuilds = count_rebuilds(&looper);

        assert_eq!(rebuilds, 1);
        assert!(calls.get() < PATIENCE, "{} calls", calls.get());
        assert!(!source.is_registered());
        assert_warned_once_of(&place);
        assert_sleeps(&looper);
        assert_works(&looper);
        drop(duplicate);
    });
}

/// Lends a number that somebody else owns, as code with raw fds does.
struct Lent(RawFd);

impl AsFd for Lent {
    #[allow(unsafe_code, reason = "no safe type lends an fd that is closed under it")]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: broken on purpose once the owner has closed it. The looper gives the number to `epoll_ctl` alone, on
        // its own epoll set, which knows it together with its file: whoever has the number next is not
        // affected.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

#[test]
fn f7_c14_a_number_that_was_lent_and_closed_does_not_spin_though_a_duplicate_is_ready() {
    alone("f7_c14_a_number_that_was_lent_and_closed_does_not_spin_though_a_duplicate_is_ready", || {
        let looper = logged_looper();
        let (owner, _writer) = ready_pipe();
        let duplicate = owner.try_clone().unwrap();
        let calls = Rc::new(Cell::new(0));
        let counted = calls.clone();
        let (source, place) = watch(&looper, Lent(owner.as_raw_fd()), move |_, _, _| {
            counted.set(counted.get() + 1);
            FdNext::Keep
        });

        drop(owner);
        let rebuilds = count_rebuilds(&looper);

        assert_eq!(rebuilds, 1);
        assert!(calls.get() < PATIENCE, "{} calls", calls.get());
        assert!(!source.is_registered());
        assert_warned_once_of(&place);
        assert_sleeps(&looper);
        assert_works(&looper);
        drop(duplicate);
    });
}

#[test]
fn f7_c13_a_number_that_was_lent_and_closed_has_no_event_and_can_be_removed() {
    alone("f7_c13_a_number_that_was_lent_and_closed_has_no_event_and_can_be_removed", || {
        let looper = logged_looper();
        let (owner, _writer) = ready_pipe();
        let (source, _place) = watch(&looper, Lent(owner.as_raw_fd()), |_, _, _| panic!("it is closed"));

        drop(owner);

        assert_sleeps(&looper);
        assert!(source.remove().is_some());
        assert!(!source.is_registered());
        assert_works(&looper);
        assert_not_warned();
    });
}

/// The old file's duplicate is ready, the new file of the same number is not: it must not get the old one's events.
#[test]
fn f7_f6_the_next_owner_of_the_number_does_not_get_a_duplicates_events() {
    alone("f7_f6_the_next_owner_of_the_number_does_not_get_a_duplicates_events", || {
        let looper = logged_looper();
        let (fd, _writer) = ready_pipe();
        let duplicate = fd.try_clone().unwrap();
        let (quiet, mut quiet_writer) = io::pipe().unwrap();
        let (source, _place) = watch(&looper, fd, |_, _, _| FdNext::Keep);
        source.with(|fd| dup2(&quiet, fd).unwrap()).unwrap();

        let renewed = source.remove().unwrap();
        let calls = Rc::new(Cell::new(0));
        let counted = calls.clone();
        let (new, _place) = watch(&looper, renewed, move |_, fd, _| {
            assert_eq!(nix::unistd::read(&*fd, &mut [0]).unwrap(), 1);
            counted.set(counted.get() + 1);
            FdNext::Keep
        });

        assert_eq!(count_rebuilds(&looper), 1);
        assert_eq!(calls.get(), 0);
        assert_sleeps(&looper);
        quiet_writer.write_all(b"y").unwrap();
        assert_eq!(looper.poll_once(None).unwrap().fds, 1);
        assert!(new.is_registered());
        drop(duplicate);
    });
}

#[test]
fn c25_a_callback_that_closes_its_fd_and_answers_remove_is_no_reason_to_warn() {
    alone("c25_a_callback_that_closes_its_fd_and_answers_remove_is_no_reason_to_warn", || {
        let looper = logged_looper();
        let (near, _far) = ready_stream();
        let (source, _place) = watch(&looper, OwnedFd::from(near), |_, fd, _| {
            let (placeholder, _) = io::pipe().unwrap();
            drop(mem::replace(fd, placeholder.into()));
            FdNext::Remove
        });

        assert_eq!(poll_now(&looper).fds, 1);

        assert!(!source.is_registered());
        assert_sleeps(&looper);
        assert_not_warned();
    });
}

#[test]
fn f7_c25_a_callback_that_closes_its_fd_and_answers_remove_leaves_no_spin_behind_for_a_duplicate() {
    alone("f7_c25_a_callback_that_closes_its_fd_and_answers_remove_leaves_no_spin_behind_for_a_duplicate", || {
        let looper = logged_looper();
        let (fd, _writer) = ready_pipe();
        let duplicate = fd.try_clone().unwrap();
        watch(&looper, fd, |_, fd, _| {
            let (placeholder, _) = io::pipe().unwrap();
            *fd = placeholder.into();
            FdNext::Remove
        });

        assert_eq!(poll_now(&looper).fds, 1);

        assert_eq!(count_rebuilds(&looper), 1);
        assert_sleeps(&looper);
        assert_not_warned();
        drop(duplicate);
    });
}

#[test]
fn f7_a_source_that_is_closed_after_a_regular_removal_needs_no_new_set() {
    alone("f7_a_source_that_is_closed_after_a_regular_removal_needs_no_new_set", || {
        let looper = logged_looper();
        let (near, _far) = ready_stream();
        let duplicate = near.try_clone().unwrap();
        let (source, _place) = watch(&looper, near, |_, _, _| FdNext::Keep);

        drop(source.remove());

        assert_eq!(count_rebuilds(&looper), 0);
        assert_sleeps(&looper);
        drop(duplicate);
    });
}

/// A looper that has just muted what it watches: a pipe that has hung up, by a source made of its number or of itself.
fn muted<S: AsFd + 'static>(source_of: impl FnOnce(PipeReader) -> S) -> (Looper, FdSource<S>, RawFd) {
    let looper = Looper::builder().spin_limit(2).build().unwrap();
    let reader = io::pipe().unwrap().0;
    let number = reader.as_raw_fd();
    let source = looper.add_fd(source_of(reader), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
    (0..3).for_each(|_| _ = poll_now(&looper));
    assert_eq!(looper.stats().muted_fds, 1);
    (looper, source, number)
}

/// It said that all was well, and called the old callback for the stranger's events.
#[test]
fn f7_f8_a_muted_number_that_was_lent_closed_and_used_again_cannot_be_watched_on() {
    alone("f7_f8_a_muted_number_that_was_lent_closed_and_used_again_cannot_be_watched_on", || {
        let mut owner = None;
        let (looper, source, number) = muted(|reader| {
            let lent = Lent(reader.as_raw_fd());
            owner = Some(reader);
            lent
        });
        drop(owner);
        let (stranger, _writer) = ready_pipe();
        assert_eq!(stranger.as_raw_fd(), number, "the lowest number that is free");

        let error = source.set_interest(Interest::INPUT).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        assert_eq!(poll_now(&looper).fds, 0, "it is another file");
        assert_eq!(source.repoll().unwrap_err().kind(), io::ErrorKind::NotFound);
        let added = looper.add_fd(stranger, Interest::INPUT, |_, _, _| FdNext::Remove);
        assert!(added.is_ok(), "{added:?}");
        assert_eq!(poll_now(&looper).fds, 1);
    });
}

/// It was refused as registered already, though nobody had that number.
#[test]
fn f6_f8_the_number_of_a_muted_fd_whose_callback_exchanges_its_source_can_be_added() {
    alone("f6_f8_the_number_of_a_muted_fd_whose_callback_exchanges_its_source_can_be_added", || {
        let (looper, source, number) = muted(OwnedFd::from);

        let added = source.with(|source| {
            drop(mem::replace(source, ready_stream().0.into()));
            let (reader, writer) = ready_pipe();
            assert_eq!(reader.as_raw_fd(), number, "the lowest number that is free");
            (looper.add_fd(reader, Interest::INPUT, |_, _, _| FdNext::Remove).map(drop), writer)
        });

        assert!(added.unwrap().0.is_ok());
        assert_eq!(poll_now(&looper).fds, 1);
        assert_sleeps(&looper);
    });
}
