//! Watched fds: threads that add and remove them while the looper serves them.
//!
//! Holds F4, F6, F11, F12.

use std::{
    cell::Cell,
    io::{Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use alooper::{FdNext, Interest, Looper, LooperHandle};

use crate::support::{
    Elsewhere,
    fds::{poll_now, ready_stream},
    watched,
};

/// A call that the looper was about to make when the removal came may still be seen after it; a second one may not.
#[test]
fn f4_after_a_removal_from_another_thread_at_most_the_call_under_way_is_seen() {
    watched(|| {
        let looper = Elsewhere::run(|_| ());
        let mut late_calls = Vec::new();
        for _ in 0..100 {
            let (near, _far) = ready_stream();
            let is_removed = Arc::new(AtomicBool::new(false));
            let [calls, late] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
            let (seen, counted, counted_late) = (is_removed.clone(), calls.clone(), late.clone());
            let registered = looper.handle.add_fd(near, Interest::INPUT, move |_, _, _| {
                counted.fetch_add(1, Ordering::SeqCst);
                counted_late.fetch_add(usize::from(seen.load(Ordering::SeqCst)), Ordering::SeqCst);
                FdNext::Keep
            });
            let registered = registered.unwrap();
            while calls.load(Ordering::SeqCst) < 3 {
                thread::yield_now();
            }

            assert!(registered.remove());
            is_removed.store(true, Ordering::SeqCst);
            late_calls.push(late);
        }

        looper.handle.quit();
        looper.join();
        assert!(late_calls.iter().all(|late| late.load(Ordering::SeqCst) <= 1));
    });
}

/// Three threads, one of them the looper's own, add and remove; what was not removed has to be called.
#[test]
fn f11_registrations_of_several_threads_at_once_are_all_served() {
    const ROUNDS: usize = 100;

    fn add_and_remove(handle: &LooperHandle, round: usize) {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (called, calls) = mpsc::channel();
        let registered = handle.add_fd(near, Interest::INPUT, move |_, near, _| {
            near.read_exact(&mut [0]).unwrap();
            called.send(()).unwrap();
            FdNext::Keep
        });
        let registered = registered.unwrap();
        if round.is_multiple_of(2) {
            far.write_all(b"x").unwrap();
            calls.recv().expect("it is registered and ready");
        }
        assert!(registered.remove());
    }

    watched(|| {
        let looper = Looper::new().unwrap();
        let others = [0, 1].map(|offset| {
            let handle = looper.handle();
            thread::spawn(move || (0..ROUNDS).for_each(|round| add_and_remove(&handle, round + offset)))
        });

        while !others.iter().all(JoinHandle::is_finished) {
            let (near, _far) = ready_stream();
            let calls = Rc::new(Cell::new(0));
            let counted = calls.clone();
            let source = looper.add_fd(near, Interest::INPUT, move |_, _, _| {
                counted.set(counted.get() + 1);
                FdNext::Keep
            });
            poll_now(&looper);
            assert_eq!(calls.get(), 1, "it is registered and ready");
            assert!(source.unwrap().remove().is_some(), "the looper has its source");
        }

        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn f12_a_removal_gives_the_source_back_also_while_another_thread_adds() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let is_over = Arc::new(AtomicBool::new(false));
        let until = is_over.clone();
        let other = thread::spawn(move || {
            let (near, _far) = UnixStream::pair().unwrap();
            let near = Arc::new(near);
            while !until.load(Ordering::Relaxed) {
                assert!(handle.add_fd(near.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap().remove());
            }
        });
        let (near, _far) = UnixStream::pair().unwrap();
        let mut near = Some(near);
        let mut given_back = 0;

        while let Some(source) = near.take().filter(|_| given_back < 4000) {
            near = looper.add_fd(source, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap().remove();
            given_back += usize::from(near.is_some());
            if given_back % 100 == 0 {
                poll_now(&looper);
            }
        }

        is_over.store(true, Ordering::Relaxed);
        other.join().unwrap();
        assert_eq!(given_back, 4000);
    });
}

/// Android's `MultiThreaded_NoUnexpectedFdRemoval`: an fd hangs up while another thread removes it, and its number is
/// used again at once.
#[test]
fn f6_a_hangup_that_races_with_removal_never_removes_the_next_registration_of_that_number() {
    watched(|| {
        let looper = Elsewhere::run(|_| ());
        for _ in 0..200 {
            let (near, far) = UnixStream::pair().unwrap();
            let registered = looper.handle.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
            drop(far);
            registered.remove();

            let (near, mut far) = UnixStream::pair().unwrap();
            let (called, calls) = mpsc::channel();
            let answers = looper.handle.add_fd(near, Interest::INPUT, move |_, near, _| {
                near.read_exact(&mut [0]).unwrap();
                called.send(()).unwrap();
                FdNext::Keep
            });
            let answers = answers.unwrap();
            far.write_all(b"x").unwrap();
            calls.recv().unwrap();
            assert!(answers.remove());
        }
        looper.handle.quit();
        looper.join();
    });
}
