//! What other threads have added and ended, and the looper has not yet taken home, against what it does meanwhile.
//!
//! Holds M9, F11, F12, C16, C61.

use std::{
    cell::{Cell, RefCell},
    io::{Read, Write},
    os::unix::net::UnixStream,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use alooper::{FdHandle, FdNext, Interest, Looper, LooperHandle};

use crate::support::{ms, watched};

/// A stream that is ready to be read, and its other end.
fn ready_stream() -> (UnixStream, UnixStream) {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"x").unwrap();
    (near, far)
}

/// Adds a stream that is not ready, with a callback that holds `held`.
fn add_holding<T: Send + 'static>(handle: &LooperHandle, held: T) -> FdHandle {
    let (near, far) = UnixStream::pair().unwrap();
    let callback = move |_: &Looper, _: &mut UnixStream, _| {
        let _ = (&held, &far);
        FdNext::Keep
    };
    handle.add_fd(near, Interest::INPUT, callback).unwrap()
}

/// Takes home what other threads have added.
fn take_home(looper: &Looper) {
    looper.wake().unwrap();
    let (near, _far) = UnixStream::pair().unwrap();
    looper.handle().add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap().remove();
    assert!(looper.poll_once(ms(0)).unwrap().woken);
}

/// Does something when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn f11_c16_one_that_has_ended_before_it_was_taken_home_does_not_displace_the_next_in_its_slot() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        thread::spawn(move || assert!(add_holding(&handle, ()).remove())).join().unwrap();
        let (near, mut far) = ready_stream();
        let calls = Rc::new(Cell::new(0));
        let counted = calls.clone();
        let read = move |_: &Looper, near: &mut UnixStream, _| {
            counted.set(counted.get() + near.read(&mut [0; 8]).unwrap());
            FdNext::Keep
        };
        let source = looper.add_fd(near, Interest::INPUT, read).unwrap();

        assert_eq!(looper.poll_once(ms(1000)).unwrap().fds, 1);

        assert!(source.is_registered() && source.with(|_| ()).is_some());
        assert_eq!(calls.get(), 1);
        far.write_all(b"y").unwrap();
        assert_eq!(looper.poll_once(ms(1000)).unwrap().fds, 1);
    });
}

#[test]
fn c61_a_drop_that_panics_while_arrivals_are_taken_home_loses_none_of_them() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let first = add_holding(&handle, OnDrop(|| panic!("a value of the user's")));
        take_home(&looper);
        let calls = Arc::new(AtomicUsize::new(0));
        let counts = [calls.clone(), calls.clone()];
        let far_ends = thread::spawn(move || {
            assert!(first.remove());
            counts.map(|count| {
                let (near, far) = ready_stream();
                let call = move |_: &Looper, _: &mut UnixStream, _| {
                    count.fetch_add(1, Relaxed);
                    FdNext::Remove
                };
                handle.add_fd(near, Interest::INPUT, call).unwrap();
                far
            })
        });
        let _far_ends = far_ends.join().unwrap();

        let first_poll = panic::catch_unwind(AssertUnwindSafe(|| looper.poll_once(ms(1000))));

        assert!(first_poll.is_err(), "the panic goes on");
        while calls.load(Relaxed) < 2 {
            assert!(looper.poll_once(ms(1000)).unwrap().fds > 0);
        }
    });
}

#[test]
fn m9_a_drop_that_changes_fds_while_arrivals_are_taken_home_is_not_overwritten_by_them() {
    thread_local! {
        /// What the drop does, on the looper's thread.
        static ACT: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    }

    watched(|| {
        let looper = Rc::new(Looper::new().unwrap());
        let handle = looper.handle();
        let first = add_holding(&handle, OnDrop(|| ACT.take().into_iter().for_each(|act| act())));
        take_home(&looper);
        let last = thread::spawn(move || {
            assert!(first.remove());
            add_holding(&handle, ());
            add_holding(&handle, ())
        });
        let last = last.join().unwrap();
        let calls = Rc::new(Cell::new(0));
        let (near, _far) = ready_stream();
        let (own, counted) = (Rc::downgrade(&looper), calls.clone());
        ACT.set(Some(Box::new(move || {
            assert!(last.remove());
            let count = move |_: &Looper, _: &mut UnixStream, _| {
                counted.set(counted.get() + 1);
                FdNext::Remove
            };
            own.upgrade().unwrap().add_fd(near, Interest::INPUT, count).unwrap();
        })));

        assert_eq!(looper.poll_once(ms(1000)).unwrap().fds, 1);

        assert_eq!(calls.get(), 1);
    });
}

#[test]
fn f12_a_source_that_another_thread_has_removed_is_not_lent_any_more() {
    let looper = Looper::new().unwrap();
    let (near, _far) = UnixStream::pair().unwrap();
    let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
    let handle = source.handle();

    thread::spawn(move || assert!(handle.remove())).join().unwrap();

    assert!(!source.is_registered());
    assert!(source.with(|_| ()).is_none());
}
