//! Watched fds: panics in callbacks and in the `Drop` of sources.
//!
//! Holds F12, X1, X3, C61, C74.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    thread,
    time::Duration,
};

use alooper::{FdHandle, FdNext, FdSource, Interest, Looper};

use crate::support::{
    fds::{poll_now, ready_stream},
    ms, watched,
};

/// Polls once, which panics, and gives what the panic said.
#[track_caller]
fn panic_of<R>(run: impl FnOnce() -> R) -> String {
    let panic: Box<dyn Any + Send> = catch_unwind(AssertUnwindSafe(|| drop(run()))).unwrap_err();
    panic.downcast_ref::<&str>().map_or_else(|| panic.downcast_ref::<String>().unwrap().clone(), |text| (*text).into())
}

/// A stream whose `Drop` panics, once it has noted itself.
struct Explosive {
    stream: UnixStream,
    dropped: Rc<Cell<u32>>,
}

impl AsFd for Explosive {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Drop for Explosive {
    fn drop(&mut self) {
        self.dropped.set(self.dropped.get() + 1);
        panic!("in drop");
    }
}

/// An explosive stream that is ready for input, how often any was dropped, and its peer.
fn explosive() -> (Explosive, Rc<Cell<u32>>, UnixStream) {
    let (stream, far) = ready_stream();
    let dropped = Rc::new(Cell::new(0));
    (Explosive { stream, dropped: dropped.clone() }, dropped, far)
}

#[test]
fn x1_c74_a_panic_unwinds_out_of_the_poll_and_ends_its_registration() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let near = Rc::new(near);
        let source = looper.add_fd(near.clone(), Interest::INPUT, |_, _, _| panic!("in the callback")).unwrap();

        assert_eq!(panic_of(|| looper.poll_once(None)), "in the callback");

        assert!(!source.is_registered());
        assert_eq!(Rc::strong_count(&near), 1, "its source was dropped");
        assert!(source.remove().is_none());
        assert!(source.with(|_| ()).is_none());
        assert!(poll_now(&looper).timed_out);
        let again = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
        assert_eq!(poll_now(&looper).fds, 1);
        assert!(!again.is_registered());
    });
}

#[test]
fn x1_what_else_was_ready_is_served_in_the_next_turn() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (bad, _bad_far) = ready_stream();
        let peers: Vec<_> = (0..5)
            .map(|_| {
                let (near, far) = ready_stream();
                looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
                far
            })
            .collect();
        let (ident, _ident_far) = ready_stream();
        looper.add_ident(ident, Interest::INPUT, 9).unwrap();
        looper.add_fd(bad, Interest::INPUT, |_, _, _| panic!("in the callback")).unwrap();
        looper.wake().unwrap();
        let later = looper.post_delayed(Duration::from_secs(3600), |_| ()).unwrap();

        panic_of(|| looper.poll_once(None));

        let turn = poll_now(&looper);
        assert_eq!(turn.fds, peers.len());
        assert_eq!(turn.idents.len(), 1);
        assert!(turn.woken, "the wake was not reported yet");
        assert!(later.is_pending());
        assert!(!poll_now(&looper).woken);
    });
}

#[test]
fn x1_a_panic_after_messages_keeps_those_that_did_not_run() {
    watched(|| {
        let looper = Looper::builder().budget(1).build().unwrap();
        let (near, _far) = ready_stream();
        looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("in the callback")).unwrap();
        looper.post(|_| ()).unwrap();
        looper.post(|_| ()).unwrap();

        panic_of(|| looper.poll_once(None));

        let report = looper.message_counts();
        assert_eq!((report.posted, report.run), (2, 1));
        let turn = looper.poll_once(None).unwrap();
        assert_eq!((turn.messages, turn.fds), (1, 0));
    });
}

#[test]
fn x1_each_of_several_panics_unwinds_out_of_a_poll_of_its_own() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let _peers = ["a", "b", "c"].map(|name| {
            let (near, far) = ready_stream();
            looper.add_fd(near, Interest::INPUT, move |_, _, _| panic!("{name}")).unwrap();
            far
        });

        let mut panics = [(); 3].map(|()| panic_of(|| looper.poll_once(None)));

        panics.sort();
        assert_eq!(panics, ["a", "b", "c"]);
        assert!(poll_now(&looper).timed_out);
    });
}

#[test]
fn x1_a_callback_that_removes_itself_and_panics_ends_only_its_own_registration() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let near = Rc::new(near);
        let own = Rc::new(RefCell::new(None::<FdSource<Rc<UnixStream>>>));
        let inside = own.clone();
        let source = looper
            .add_fd(near.clone(), Interest::INPUT, move |looper, near, _| {
                inside.borrow().as_ref().unwrap().remove();
                let again = looper.add_fd(near.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
                *inside.borrow_mut() = Some(again);
                panic!("in the callback")
            })
            .unwrap();
        *own.borrow_mut() = Some(source);

        panic_of(|| looper.poll_once(None));

        assert!(own.borrow().as_ref().unwrap().is_registered(), "it is the new one");
        assert_eq!(poll_now(&looper).fds, 1);
        assert_eq!(Rc::strong_count(&near), 2);
        own.borrow_mut().take();
    });
}

#[test]
fn x1_a_source_whose_drop_panics_is_gone_after_the_poll_that_it_panicked_out_of() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, dropped, _far) = explosive();
        let (other, _other_far) = ready_stream();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
        looper.add_fd(other, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

        assert_eq!(panic_of(|| looper.poll_once(None)), "in drop");

        assert_eq!(dropped.get(), 1);
        assert!(!source.is_registered());
        assert_eq!(poll_now(&looper).fds, 1);
    });
}

/// One panic unwinds; a second one on top of it would abort the process.
#[test]
fn x1_x3_a_callback_and_the_drop_of_its_source_may_both_panic() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, dropped, _far) = explosive();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("in the callback")).unwrap();

        assert_eq!(panic_of(|| looper.poll_once(None)), "in the callback");

        assert_eq!(dropped.get(), 1);
        assert!(!source.is_registered());
        assert!(poll_now(&looper).timed_out);
    });
}

#[test]
fn x1_a_drop_that_panics_in_a_removal_reaches_who_removes() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, dropped, _far) = explosive();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

        assert_eq!(panic_of(|| source.handle().remove()), "in drop");

        assert_eq!(dropped.get(), 1);
        assert!(!source.is_registered());
        assert!(poll_now(&looper).timed_out);
    });
}

#[test]
fn x1_c61_drops_that_panic_after_removals_elsewhere_unwind_out_of_the_poll_and_all_are_dropped() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let explosives = [explosive(), explosive(), explosive()];
        let (sources, dropped): (Vec<_>, Vec<_>) = explosives
            .into_iter()
            .map(|(near, dropped, far)| {
                let source = looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("it was removed")).unwrap();
                (source.handle(), (dropped, far))
            })
            .unzip();
        let remover = thread::spawn(move || sources.iter().all(FdHandle::remove));
        assert!(remover.join().unwrap());

        assert_eq!(panic_of(|| looper.poll_once(ms(1))), "in drop");

        assert!(dropped.iter().all(|(dropped, _)| dropped.get() == 1));
        assert!(poll_now(&looper).timed_out);
    });
}

#[test]
fn x1_c61_a_looper_drops_all_its_sources_though_some_panic() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (first, first_dropped, _first_far) = explosive();
        let (second, second_dropped, _second_far) = explosive();
        let (quiet, _quiet_far) = ready_stream();
        let quiet = Rc::new(quiet);
        looper.add_fd(first, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.add_fd(second, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.add_fd(quiet.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

        assert_eq!(panic_of(|| drop(looper)), "in drop");

        assert_eq!((first_dropped.get(), second_dropped.get()), (1, 1));
        assert_eq!(Rc::strong_count(&quiet), 1);
    });
}

#[test]
fn x1_f12_a_panic_while_a_source_is_lent_leaves_it_registered() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

        assert_eq!(panic_of(|| source.with(|_| panic!("in the look"))), "in the look");

        assert!(source.is_registered());
        assert!(source.with(|_| ()).is_some());
        assert_eq!(poll_now(&looper).fds, 1);
    });
}

#[test]
fn x3_a_source_and_a_callback_that_both_panic_when_dropped_do_not_abort() {
    struct PanicsWhenDropped<T>(T);

    impl<T: AsFd> AsFd for PanicsWhenDropped<T> {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl<T> Drop for PanicsWhenDropped<T> {
        fn drop(&mut self) {
            panic!("planned");
        }
    }

    let looper = Looper::new().unwrap();
    let (near, _far) = UnixStream::pair().unwrap();
    let held = PanicsWhenDropped(());
    let callback = move |_: &Looper, _: &mut PanicsWhenDropped<UnixStream>, _| {
        let _ = &held;
        FdNext::Keep
    };
    let source = looper.add_fd(PanicsWhenDropped(near), Interest::INPUT, callback).unwrap();

    let removed = catch_unwind(AssertUnwindSafe(|| source.handle().remove()));

    assert!(removed.is_err(), "one panic goes on");
    assert!(!source.is_registered());
    assert!(looper.poll_once(ms(0)).unwrap().timed_out);
}
