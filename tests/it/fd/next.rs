//! Watched fds: what a callback does to its own registration and to others, and what its answer applies to.
//!
//! Holds F5, F6, F15, C15, C19, C22, C24, C26, C27.

use std::{
    cell::{Cell, OnceCell, RefCell},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::mpsc,
    thread,
};

use alooper::{Events, FdHandle, FdNext, FdSource, Interest, Looper};
use nix::unistd::dup2;

use crate::support::{
    fds::{poll_now, ready_pipe, shared_ready},
    ms, watched,
};

#[test]
fn f5_c22_a_callback_that_answers_remove_is_not_called_again_though_its_fd_is_ready() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = shared_ready();
        let source = looper.add_fd(near.clone(), Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();

        assert_eq!(poll_now(&looper).fds, 1);

        assert!(poll_now(&looper).timed_out);
        assert!(!source.is_registered());
        assert_eq!(Rc::strong_count(&near), 1, "the source was dropped");
    });
}

#[test]
fn f5_c22_a_callback_that_removes_itself_is_not_called_again_whatever_it_answers() {
    for answer in [FdNext::Keep, FdNext::Remove, FdNext::Interest(Interest::INPUT)] {
        watched(move || {
            let looper = Looper::new().unwrap();
            let (near, _far) = shared_ready();
            let own = Rc::new(RefCell::new(None::<FdSource<Rc<UnixStream>>>));
            let inside = own.clone();
            let source = looper
                .add_fd(near.clone(), Interest::INPUT, move |_, _, _| {
                    assert!(inside.borrow().as_ref().unwrap().remove().is_none());
                    answer
                })
                .unwrap();
            *own.borrow_mut() = Some(source);

            assert_eq!(poll_now(&looper).fds, 1);

            assert!(poll_now(&looper).timed_out, "{answer:?}");
            assert!(!own.borrow().as_ref().unwrap().is_registered());
            assert_eq!(Rc::strong_count(&near), 1, "the source was dropped");
        });
    }
}

/// Removes itself, registers the same fd again and answers in some way: the answer is about what has ended.
#[test]
fn f5_c24_a_callback_that_registers_its_fd_again_is_followed_by_the_new_one_once_per_turn() {
    for answer in [FdNext::Keep, FdNext::Remove, FdNext::Interest(Interest::OUTPUT)] {
        watched(move || {
            let looper = Looper::new().unwrap();
            let (near, _far) = shared_ready();
            let seen = Rc::new(RefCell::new(Vec::new()));
            let own = Rc::new(RefCell::new(None::<FdSource<Rc<UnixStream>>>));
            let (inside, log) = (own.clone(), seen.clone());
            let source = looper
                .add_fd(near.clone(), Interest::INPUT, move |looper, near, events| {
                    log.borrow_mut().push(("old", events));
                    inside.borrow().as_ref().unwrap().remove();
                    let log = log.clone();
                    let again = looper.add_fd(near.clone(), Interest::INPUT, move |_, _, events| {
                        log.borrow_mut().push(("new", events));
                        FdNext::Keep
                    });
                    *inside.borrow_mut() = Some(again.unwrap());
                    answer
                })
                .unwrap();
            *own.borrow_mut() = Some(source);

            let called = [(); 3].map(|()| poll_now(&looper).fds);

            assert_eq!(called, [1, 1, 1], "{answer:?}");
            assert_eq!(*seen.borrow(), [("old", Events::INPUT), ("new", Events::INPUT), ("new", Events::INPUT)]);
            assert!(own.borrow().as_ref().unwrap().is_registered());
            own.borrow_mut().take();
        });
    }
}

/// The fd number is closed and opened again inside the callback, for a pipe that is ready as well.
#[test]
fn f5_c26_the_answer_spares_a_new_registration_of_the_same_fd_number() {
    for answer in [FdNext::Remove, FdNext::Keep, FdNext::Interest(Interest::OUTPUT)] {
        watched(move || {
            let looper = Looper::new().unwrap();
            let (source, _writer) = ready_pipe();
            let number = source.as_raw_fd();
            let (other, mut other_writer) = ready_pipe();
            let (idle, _idle_writer) = io::pipe().unwrap();
            let calls = Rc::new(Cell::new(0));
            let counted = calls.clone();
            let mut ends = Some((other, OwnedFd::from(idle)));
            let old = looper
                .add_fd(source, Interest::INPUT, move |looper, source, _| {
                    let (other, idle) = ends.take().unwrap();
                    dup2(&other, source).unwrap();
                    let renewed = std::mem::replace(source, idle);
                    assert_eq!(renewed.as_raw_fd(), number);
                    let counted = counted.clone();
                    let new = looper.add_fd(renewed, Interest::INPUT, move |_, _, events| {
                        assert_eq!(events, Events::INPUT);
                        counted.set(counted.get() + 1);
                        FdNext::Keep
                    });
                    new.unwrap();
                    answer
                })
                .unwrap();

            assert_eq!(poll_now(&looper).fds, 1);

            assert!(!old.is_registered());
            other_writer.write_all(b"y").unwrap();
            for turn in 1..=3 {
                assert_eq!(poll_now(&looper).fds, 1, "{answer:?}");
                assert_eq!(calls.get(), turn);
            }
        });
    }
}

/// Both are ready in one batch. Whichever runs first ends the other one, and lets its fd number stand for a quiet pipe.
#[test]
fn f6_c15_a_number_that_is_used_again_does_not_get_the_old_events() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let sources = [(); 2].map(|()| Rc::new(RefCell::new(None::<FdSource<OwnedFd>>)));
        let old_calls = Rc::new(Cell::new(0));
        let mut writers = Vec::new();
        for index in [0, 1] {
            let (reader, writer) = ready_pipe();
            writers.push(writer);
            let (other, old_calls) = (sources[1 - index].clone(), old_calls.clone());
            let source = looper
                .add_fd(reader, Interest::INPUT, move |looper, _, _| {
                    old_calls.set(old_calls.get() + 1);
                    let mut victim = other.take().unwrap().remove().unwrap();
                    let (quiet, quiet_writer) = io::pipe().unwrap();
                    dup2(&quiet, &mut victim).unwrap();
                    let new = looper.add_fd(victim, Interest::INPUT, move |_, _, _| {
                        let _ = &quiet_writer;
                        panic!("it is quiet");
                    });
                    assert!(new.unwrap().is_registered());
                    FdNext::Remove
                })
                .unwrap();
            *sources[index].borrow_mut() = Some(source);
        }

        let turn = poll_now(&looper);

        assert_eq!(turn.fds, 1);
        assert_eq!(old_calls.get(), 1);
        assert!(looper.poll_once(ms(5)).unwrap().timed_out);
    });
}

/// The new registration has the number of the old one, and the slot that it had in the looper as well.
#[test]
fn f6_a_handle_of_an_ended_registration_does_not_reach_the_new_one_of_its_number() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = shared_ready();
        let old = looper.add_fd(near.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        old.remove().unwrap();
        let new = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

        assert!(old.remove().is_none());
        assert!(!old.handle().remove());
        assert!(old.with(|_| ()).is_none());
        assert!(old.set_interest(Interest::empty()).is_err());
        assert!(!old.is_registered());
        drop(old.guard());

        assert!(new.is_registered());
        assert_eq!(poll_now(&looper).fds, 1);
    });
}

#[test]
fn c19_duplicates_are_registrations_of_their_own() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = shared_ready();
        let calls = Rc::new(Cell::new([0, 0]));
        let [first, second] = [0, 1].map(|index| {
            let calls = calls.clone();
            let duplicate = near.try_clone().unwrap();
            let source = looper.add_fd(duplicate, Interest::INPUT, move |_, _, _| {
                let mut count = calls.get();
                count[index] += 1;
                calls.set(count);
                FdNext::Keep
            });
            source.unwrap()
        });

        assert_eq!(poll_now(&looper).fds, 2);
        drop(first.remove().unwrap());
        assert_eq!(poll_now(&looper).fds, 1);

        assert_eq!(calls.get(), [1, 2]);
        assert!(second.is_registered());
        assert!(!poll_now(&looper).rebuilt, "removing one of them spoils nothing");
    });
}

#[test]
fn f5_c27_a_callback_that_changes_its_own_interest_and_answers_keep_keeps_the_change() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = shared_ready();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let own = Rc::new(RefCell::new(None::<FdSource<Rc<UnixStream>>>));
        let (inside, log) = (own.clone(), seen.clone());
        let source = looper
            .add_fd(near, Interest::INPUT, move |_, _, events| {
                log.borrow_mut().push(events);
                inside.borrow().as_ref().unwrap().set_interest(Interest::OUTPUT).unwrap();
                FdNext::Keep
            })
            .unwrap();
        *own.borrow_mut() = Some(source);

        poll_now(&looper);
        poll_now(&looper);

        assert_eq!(*seen.borrow(), [Events::INPUT, Events::OUTPUT]);
        own.borrow_mut().take();
    });
}

#[test]
fn f5_a_callback_may_change_another_registration() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = shared_ready();
        let (other, _other_far) = UnixStream::pair().unwrap();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = seen.clone();
        let other = looper
            .add_fd(other, Interest::INPUT, move |_, _, events| {
                log.borrow_mut().push(events);
                FdNext::Remove
            })
            .unwrap();
        looper
            .add_fd(near, Interest::INPUT, move |_, near, _| {
                (&**near).read_exact(&mut [0]).unwrap();
                other.set_interest(Interest::OUTPUT).unwrap();
                FdNext::Keep
            })
            .unwrap();

        assert_eq!(poll_now(&looper).fds, 1);
        assert_eq!(poll_now(&looper).fds, 1);

        assert_eq!(*seen.borrow(), [Events::OUTPUT]);
        assert!(poll_now(&looper).timed_out);
    });
}

/// The answer was formed before the other thread's wish, and undid it: nobody was called any more.
#[test]
fn f5_an_interest_that_another_thread_sets_during_the_call_wins_over_the_answer() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let (ask, asked) = mpsc::channel::<FdHandle>();
        let (answer, answered) = mpsc::channel();
        let other = thread::spawn(move || {
            for handle in asked {
                handle.set_interest(Interest::INPUT).unwrap();
                answer.send(()).unwrap();
            }
        });
        let own: Rc<OnceCell<FdHandle>> = Rc::default();
        let handle = own.clone();
        let mut ask = Some(ask);
        let callback = move |_: &Looper, near: &mut UnixStream, _: Events| {
            near.read_exact(&mut [0]).unwrap();
            // The first time only: the second answer is the last word.
            if let Some(ask) = ask.take() {
                ask.send(handle.get().unwrap().clone()).unwrap();
                answered.recv().unwrap();
            }
            FdNext::Interest(Interest::empty())
        };
        let source = looper.add_fd(near, Interest::INPUT, callback).unwrap();
        own.set(source.handle()).unwrap();
        far.write_all(b"ab").unwrap();

        assert_eq!(looper.poll_once(ms(1000)).unwrap().fds, 1);
        assert_eq!(source.interest(), Some(Interest::INPUT));
        assert_eq!(looper.poll_once(ms(1000)).unwrap().fds, 1, "the second byte");
        assert_eq!(source.interest(), Some(Interest::empty()));

        other.join().unwrap();
    });
}

/// A callback's own wish comes before its answer.
#[test]
fn f5_an_interest_that_the_callback_sets_itself_comes_before_its_answer() {
    let looper = Looper::new().unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    let own: Rc<OnceCell<FdHandle>> = Rc::default();
    let handle = own.clone();
    let callback = move |_: &Looper, _: &mut UnixStream, _: Events| {
        handle.get().unwrap().set_interest(Interest::OUTPUT).unwrap();
        FdNext::Interest(Interest::empty())
    };
    let source = looper.add_fd(near, Interest::INPUT, callback).unwrap();
    own.set(source.handle()).unwrap();
    far.write_all(b"x").unwrap();

    assert_eq!(looper.poll_once(ms(1000)).unwrap().fds, 1);

    assert_eq!(source.interest(), Some(Interest::empty()));
}

#[test]
fn f15_a_callback_reaches_its_own_registration_and_nothing_else_does() {
    let looper = Looper::new().unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"x").unwrap();
    let (told, seen) = mpsc::channel();
    looper
        .add_fd(near, Interest::INPUT, move |looper, _, _| {
            let this = looper.current_fd().unwrap();
            let is_registered = this.is_registered();
            told.send((is_registered, this.remove(), this.is_registered())).unwrap();
            assert!(
                looper.current_fd().is_some_and(|this| !this.is_registered()),
                "it has ended, and still is this one"
            );
            let not_in_a_message = |looper: &Looper| assert!(looper.current_fd().is_none());
            looper.post(not_in_a_message).unwrap();
            FdNext::Keep
        })
        .unwrap();
    assert!(looper.current_fd().is_none());

    looper.poll_all(ms(0)).unwrap();
    looper.poll_all(ms(0)).unwrap();

    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [(true, true, false)]);
    assert!(looper.current_fd().is_none());
    assert_eq!(looper.message_counts().run, 1);
}

#[test]
fn f15_x1_after_a_callback_that_panicked_there_is_none() {
    let looper = Looper::new().unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"x").unwrap();
    looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("on purpose")).unwrap();

    assert!(catch_unwind(AssertUnwindSafe(|| looper.poll_once(ms(0)))).is_err());

    assert!(looper.current_fd().is_none());
}
