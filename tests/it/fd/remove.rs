//! Watched fds: what was removed is not called again, and where it is dropped.
//!
//! Holds F4, F12, C23.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    os::unix::net::UnixStream,
    rc::Rc,
    sync::mpsc,
    thread,
};

use alooper::{FdNext, FdSource, Interest, Looper};

use crate::support::{
    fds::{poll_now, ready_stream, witnessed_ready},
    ms, watched,
};

#[test]
fn f4_what_was_removed_is_not_called_for_what_was_ready_before() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("it was removed")).unwrap();

        drop(source.remove());

        assert!(looper.poll_once(ms(5)).unwrap().timed_out);
    });
}

/// Both are ready, in this order and in the other one; the first to run removes the other in one of the possible ways.
#[test]
fn f4_c23_a_callback_that_removes_another_of_its_batch_keeps_it_from_being_called() {
    fn by_source(other: &FdSource<UnixStream>) {
        assert!(other.remove().is_some());
    }
    fn by_handle(other: &FdSource<UnixStream>) {
        assert!(other.handle().remove());
    }
    fn from_another_thread(other: &FdSource<UnixStream>) {
        let handle = other.handle();
        assert!(thread::spawn(move || handle.remove()).join().unwrap());
    }

    for remove in [by_source, by_handle, from_another_thread] {
        for order in [[0, 1], [1, 0]] {
            watched(move || {
                let looper = Looper::new().unwrap();
                let sources = [(); 2].map(|()| Rc::new(RefCell::new(None::<FdSource<UnixStream>>)));
                let calls = Rc::new(RefCell::new(Vec::new()));
                let mut peers = [0, 1].map(|index| {
                    let (near, far) = UnixStream::pair().unwrap();
                    let (other, calls) = (sources[1 - index].clone(), calls.clone());
                    let source = looper.add_fd(near, Interest::INPUT, move |_, _, _| {
                        calls.borrow_mut().push(index);
                        remove(&other.take().unwrap());
                        FdNext::Keep
                    });
                    *sources[index].borrow_mut() = Some(source.unwrap());
                    far
                });
                for index in order {
                    peers[index].write_all(b"x").unwrap();
                }

                let turn = poll_now(&looper);

                assert_eq!(turn.fds, 1);
                assert_eq!(*calls.borrow(), order[..1]);
                sources.iter().for_each(|source| drop(source.take().and_then(|source| source.remove())));
                assert!(poll_now(&looper).timed_out);
            });
        }
    }
}

#[test]
fn f4_a_message_that_removes_an_fd_of_the_same_turn_keeps_it_from_being_called() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("it was removed")).unwrap();
        looper.post(move |_| drop(source.remove())).unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.fds), (1, 0));
    });
}

#[test]
fn f4_a_removal_on_the_loopers_thread_drops_source_and_callback_at_once() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, witness, heard, _far) = witnessed_ready();
        let source = looper.add_fd(near, Interest::INPUT, move |_, _, _| {
            let _ = &witness;
            FdNext::Keep
        });

        assert!(source.unwrap().handle().remove());

        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [thread::current().id(); 2]);
    });
}

/// As long as the first callback runs, another thread removes all others of its batch: none of them starts.
#[test]
fn f4_removals_from_another_thread_hold_for_the_batch_that_is_being_served() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (ask, asked) = mpsc::channel::<()>();
        let (confirm, confirmed) = mpsc::channel::<usize>();
        let confirmed = Rc::new(confirmed);
        let calls = Rc::new(Cell::new(0));
        let mut peers = Vec::new();
        let mut handles = Vec::new();
        for _ in 0..20 {
            let (near, far) = ready_stream();
            peers.push(far);
            let (calls, ask, confirmed) = (calls.clone(), ask.clone(), confirmed.clone());
            let source = looper.add_fd(near, Interest::INPUT, move |_, _, _| {
                calls.set(calls.get() + 1);
                ask.send(()).unwrap();
                assert_eq!(confirmed.recv().unwrap(), 20);
                FdNext::Keep
            });
            handles.push(source.unwrap().handle());
        }
        let remover = thread::spawn(move || {
            asked.recv().unwrap();
            confirm.send(handles.iter().filter(|handle| handle.remove()).count()).unwrap();
        });

        assert_eq!(poll_now(&looper).fds, 1);

        assert_eq!(calls.get(), 1);
        assert!(poll_now(&looper).timed_out);
        remover.join().unwrap();
    });
}

#[test]
fn f12_a_guard_ends_its_registration_when_it_is_dropped() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, witness, heard, _far) = witnessed_ready();
        let source = looper.add_fd(near, Interest::INPUT, move |_, _, _| {
            let _ = &witness;
            FdNext::Keep
        });
        let guard = source.unwrap().guard();
        let handle = guard.source().handle();
        assert_eq!(poll_now(&looper).fds, 1);

        drop(guard);

        assert!(!handle.is_registered());
        assert_eq!(heard.try_iter().count(), 2);
        assert!(poll_now(&looper).timed_out);
    });
}

#[test]
fn f12_a_guard_that_the_callback_drops_ends_its_registration_after_it() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, witness, heard, _far) = witnessed_ready();
        let heard = Rc::new(heard);
        let guard = Rc::new(Cell::new(None));
        let (own, heard_inside) = (guard.clone(), heard.clone());
        let source = looper.add_fd(near, Interest::INPUT, move |_, _, _| {
            let _ = &witness;
            drop(own.take());
            assert!(heard_inside.try_recv().is_err(), "it is running");
            FdNext::Keep
        });
        guard.set(Some(source.unwrap().guard()));

        assert_eq!(poll_now(&looper).fds, 1);

        assert_eq!(heard.try_iter().count(), 2);
        assert!(poll_now(&looper).timed_out);
    });
}
