//! Watched fds: everything that a callback, and the `Drop` of a source, may call.
//!
//! Holds M8, M9, Q5, C60.

use std::{
    cell::{Cell, RefCell},
    io::{ErrorKind, Read},
    ops::ControlFlow,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    rc::Rc,
    time::Duration,
};

use alooper::{FdGuard, FdHandle, FdNext, FdSource, Interest, Looper, LooperHandle, PostedGuard};

use crate::support::{
    fds::{poll_now, ready_stream},
    ms, watched,
};

/// A source that calls back into its looper when it is dropped.
struct Busy {
    stream: UnixStream,
    handle: LooperHandle,
    others: Rc<RefCell<Vec<FdSource<UnixStream>>>>,
}

impl AsFd for Busy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // After quit it is refused.
        let _ = self.handle.post(|_| ());
        for other in self.others.borrow_mut().drain(..) {
            drop(other.remove());
        }
    }
}

#[test]
fn m9_c60_a_source_may_post_and_remove_others_when_it_is_dropped() {
    fn busy(looper: &Looper) -> (Busy, [UnixStream; 2]) {
        let (stream, far) = ready_stream();
        let (quiet, quiet_far) = UnixStream::pair().unwrap();
        let other = looper.add_fd(quiet, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        let others = Rc::new(RefCell::new(vec![other]));
        (Busy { stream, handle: looper.handle(), others }, [far, quiet_far])
    }

    watched(|| {
        let looper = Looper::new().unwrap();
        let (in_poll, _far_1) = busy(&looper);
        let (in_removal, _far_2) = busy(&looper);
        let (by_looper, mut far_3) = busy(&looper);
        by_looper.stream.set_nonblocking(true).unwrap();
        looper.add_fd(in_poll, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
        let removed = looper.add_fd(in_removal, Interest::empty(), |_, _, _| FdNext::Keep).unwrap();
        looper.add_fd(by_looper, Interest::empty(), |_, _, _| FdNext::Keep).unwrap();

        assert_eq!(poll_now(&looper).fds, 1);
        assert!(removed.handle().remove());
        assert_eq!(poll_now(&looper).messages, 2, "each drop posted");
        drop(looper);

        assert_eq!(far_3[1].read(&mut [0]).unwrap(), 0, "the other one was dropped as well");
    });
}

#[test]
fn m8_a_callback_may_drop_every_handle_there_is() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let (other, _other_far) = ready_stream();
        let (quiet, _quiet_far) = UnixStream::pair().unwrap();
        type Handles = (LooperHandle, FdSource<UnixStream>, FdHandle, FdGuard<UnixStream>, PostedGuard);
        let handles: Rc<RefCell<Option<Handles>>> = Rc::default();
        let dropped = handles.clone();
        let own = looper
            .add_fd(near, Interest::INPUT, move |_, _, _| {
                drop(dropped.take());
                FdNext::Keep
            })
            .unwrap();
        let watched_on = looper.add_fd(other, Interest::OUTPUT, |_, _, _| FdNext::Keep).unwrap();
        let guarded = looper.add_fd(quiet, Interest::OUTPUT, |_, _, _| FdNext::Keep).unwrap().guard();
        let ended = guarded.source().handle();
        let posted = looper.post_delayed(Duration::MAX, |_| ()).unwrap();
        let (own_handle, posted_guard) = (own.handle(), posted.clone().guard());
        *handles.borrow_mut() = Some((looper.handle(), own, own_handle, guarded, posted_guard));
        assert!(watched_on.is_registered());

        poll_now(&looper);

        assert!(handles.borrow().is_none());
        assert!(!ended.is_registered() && !posted.is_pending(), "guards end what they guard");
        assert_eq!(poll_now(&looper).fds, 2, "the others do not");
    });
}

#[test]
fn m8_everything_can_be_called_from_inside_an_fd_callback() {
    watched(|| {
        let looper = Looper::builder().name("reentrant").build().unwrap();
        let (near, _far) = ready_stream();
        let near = Rc::new(near);
        let (to_remove, _far_1) = ready_stream();
        let (to_replace, _far_2) = UnixStream::pair().unwrap();
        let to_replace = Rc::new(to_replace);
        let removed = looper.add_ident(to_remove, Interest::INPUT, 1).unwrap();
        let replaced = looper.add_fd(to_replace.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        let cancelled = looper.post_delayed(Duration::MAX, |_| panic!("it was cancelled")).unwrap();
        let own = Rc::new(RefCell::new(None::<FdSource<Rc<UnixStream>>>));
        let inside = own.clone();
        let source = looper
            .add_fd(near, Interest::INPUT, move |looper, near, _| {
                let handle = looper.handle();
                looper.post(|_| ()).unwrap();
                looper.post_delayed(ms(1), |_| ()).unwrap();
                looper.post_at(looper.now(), |_| ()).unwrap();
                looper.post_at_front(|_| ()).unwrap();
                looper.post_every(ms(1), |_| ControlFlow::Break(())).unwrap();
                handle.post(|_| ()).unwrap();
                handle.wake().unwrap();
                looper.wake().unwrap();
                assert!(cancelled.is_pending() && cancelled.cancel());
                assert_eq!((looper.len(), handle.len()), (6, 6));
                assert!(!looper.is_empty() && !looper.has_quit() && handle.is_current() && !handle.is_polling());
                assert_eq!((looper.name(), looper.message_counts().posted), (Some("reentrant"), 7));

                let own = inside.borrow();
                let own = own.as_ref().unwrap();
                own.set_interest(Interest::INPUT | Interest::PRIORITY).unwrap();
                own.repoll().unwrap();
                assert!(own.is_registered() && own.with(|_| ()).is_none());
                assert!(removed.with(|_| ()).is_some() && removed.remove().is_some());
                replaced.set_interest(Interest::READ_HANGUP).unwrap();
                let new = looper.replace_fd(to_replace.clone(), Interest::OUTPUT, |_, _, _| FdNext::Remove).unwrap();
                assert!(new.is_registered() && !replaced.is_registered());
                let twice = looper.add_fd(near.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
                assert_eq!(twice.error().kind(), ErrorKind::AlreadyExists);
                let (quiet, _far) = UnixStream::pair().unwrap();
                let added = handle.add_fd(quiet, Interest::OUTPUT, |_, _, _| panic!("it was removed")).unwrap();
                assert!(added.is_registered() && added.remove() && !added.is_registered());
                assert_eq!(looper.poll_once(None).unwrap_err().kind(), ErrorKind::Deadlock);
                assert!(format!("{looper:?} {handle:?} {own:?} {added:?}").contains("reentrant"));
                FdNext::Remove
            })
            .unwrap();
        *own.borrow_mut() = Some(source);

        let first = poll_now(&looper);
        let mut rest = looper.poll_once(None).unwrap();
        let woken = u8::from(first.woken) + u8::from(rest.woken);
        while !looper.is_empty() {
            let turn = looper.poll_once(None).unwrap();
            rest.messages += turn.messages;
            rest.fds += turn.fds;
        }

        assert_eq!((first.messages, first.fds, first.idents.len()), (0, 1, 0));
        assert_eq!((rest.messages, rest.fds), (6, 1));
        assert_eq!(woken, 1);
        assert!(!own.borrow().as_ref().unwrap().is_registered());
        own.borrow_mut().take();
    });
}

#[test]
fn m8_q5_a_callback_that_quits_is_the_last_to_run_and_registrations_stay_until_the_looper_goes() {
    for quit in [Looper::quit, Looper::quit_safely] {
        watched(move || {
            let looper = Looper::new().unwrap();
            let calls = Rc::new(Cell::new(0));
            let held = Rc::new(());
            let mut sources = Vec::new();
            let mut peers = Vec::new();
            for _ in 0..3 {
                let (near, far) = ready_stream();
                peers.push(far);
                let (calls, held) = (calls.clone(), held.clone());
                let source = looper.add_fd(near, Interest::INPUT, move |looper, _, _| {
                    let _ = &held;
                    calls.set(calls.get() + 1);
                    quit(looper);
                    assert!(looper.post(|_| ()).is_err());
                    FdNext::Keep
                });
                sources.push(source.unwrap());
            }

            let turn = looper.poll_once(None).unwrap();

            assert_eq!((turn.fds, turn.quit), (1, true));
            assert_eq!(calls.get(), 1);
            assert!(sources.iter().all(FdSource::is_registered));
            let turn = poll_now(&looper);
            assert!(turn.quit && turn.fds == 0, "{turn:?}");
            drop(sources[0].remove().unwrap());
            assert_eq!(Rc::strong_count(&held), 3);
            drop(looper);
            assert_eq!(Rc::strong_count(&held), 1);
            assert!(sources.iter().all(|source| !source.is_registered()));
        });
    }
}

/// Adds a hundred fds, each ready, in one callback; they are served in the next turn.
#[test]
fn m8_a_callback_may_add_many_fds_while_the_batch_is_served() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        looper
            .add_fd(near, Interest::INPUT, |looper, near, _| {
                for _ in 0..100 {
                    let clone = near.try_clone().unwrap();
                    looper.add_fd(clone, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
                }
                FdNext::Remove
            })
            .unwrap();

        let served = [poll_now(&looper).fds, poll_now(&looper).fds, poll_now(&looper).fds];

        assert_eq!(served, [1, 100, 0]);
    });
}
