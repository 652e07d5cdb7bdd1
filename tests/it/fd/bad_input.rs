//! What a looper cannot do: the error says what to do instead, nothing is lost, and the looper works on.
//!
//! Holds T1, T10, M4, Q5, F1, F7, F11, F12, O2, C18, C20, C21, C31, C34, C75.

use std::{
    cell::Cell,
    fmt::Display,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
        unix::{fs::OpenOptionsExt, net::UnixStream},
    },
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper, OsError};
use nix::{
    errno::Errno,
    libc,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
};

use crate::support::{
    fds::{poll_now, ready_stream},
    ms,
    rest::assert_works,
    watched,
};

#[track_caller]
fn assert_says(error: &impl Display, what_to_do: &str) {
    let text = error.to_string();
    assert!(text.contains(what_to_do), "{text}");
}

/// Asserts that `source` is refused with `errno` and `what_to_do` in all ways of adding, and gives it back.
#[track_caller]
fn assert_refused<S: AsFd + 'static>(looper: &Looper, source: S, errno: Errno, what_to_do: &str) -> S {
    let refused = looper.add_fd(source, Interest::INPUT, |_, _, _| panic!("it was refused")).unwrap_err();
    assert_eq!(refused.error().raw_os_error(), Some(errno as i32), "{refused}");
    assert_says(&refused, what_to_do);

    let refused = looper.add_ident(refused.into_source().unwrap(), Interest::empty(), 1).unwrap_err();
    assert_eq!(refused.error().raw_os_error(), Some(errno as i32), "{refused}");

    let refused =
        looper.replace_fd(refused.into_source().unwrap(), Interest::OUTPUT, |_, _, _| panic!("it was refused"));
    let refused = refused.unwrap_err();
    assert_eq!(refused.error().raw_os_error(), Some(errno as i32), "{refused}");
    refused.into_source().unwrap()
}

#[test]
fn c20_f1_what_is_always_ready_is_refused_and_comes_back() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let file = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
        let directory = File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
        let null = File::open("/dev/null").unwrap();
        let advice = "read them directly";

        let mut file = assert_refused(&looper, file, Errno::EPERM, advice);
        let directory = assert_refused(&looper, directory, Errno::EPERM, advice);
        let mut null = assert_refused(&looper, null, Errno::EPERM, advice);

        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert!(text.contains("alooper"));
        assert!(directory.metadata().unwrap().is_dir());
        assert_eq!(null.read(&mut [0]).unwrap(), 0);
        assert_works(&looper);
    });
}

#[test]
fn c20_f11_from_another_thread_it_is_the_same() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let other = thread::spawn(move || {
            let directory = File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
            let refused = handle.add_fd(directory, Interest::INPUT, |_, _, _| panic!("it was refused")).unwrap_err();
            assert_says(&refused, "read them directly");
            refused.into_source().unwrap().metadata().unwrap().is_dir()
        });

        assert!(other.join().unwrap());
        assert_works(&looper);
    });
}

#[test]
fn c20_a_refused_callback_is_dropped_once_in_all_ways_of_adding() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let directory = File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
        let drops = Arc::new(AtomicUsize::new(0));
        let callback = || {
            let counted = CountsDrop(drops.clone());
            move |_: &Looper, _: &mut File, _| panic!("it was refused, with {counted:?}")
        };

        let directory = looper.add_fd(directory, Interest::INPUT, callback()).unwrap_err().into_source().unwrap();
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        let directory = looper.replace_fd(directory, Interest::INPUT, callback()).unwrap_err().into_source().unwrap();
        assert_eq!(drops.load(Ordering::Relaxed), 2);
        let directory = handle.add_fd(directory, Interest::INPUT, callback()).unwrap_err().into_source().unwrap();
        assert_eq!(drops.load(Ordering::Relaxed), 3);
        handle.replace_fd(directory, Interest::INPUT, callback()).unwrap_err();
        assert_eq!(drops.load(Ordering::Relaxed), 4);

        drop(looper);
        assert_eq!(drops.load(Ordering::Relaxed), 4);
    });
}

#[derive(Debug)]
struct CountsDrop(Arc<AtomicUsize>);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A path's fd is open, and yet no file to wait for.
#[test]
fn c21_an_fd_that_is_only_a_path_is_refused() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let path = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open("/").unwrap();

        let path = assert_refused(&looper, path, Errno::EBADF, "keep it open");

        assert!(path.metadata().unwrap().is_dir());
        assert_works(&looper);
    });
}

/// Breaks the promise of `AsFd`: the number that it lends is not open.
#[derive(Debug)]
struct Closed;

impl AsFd for Closed {
    #[allow(unsafe_code, reason = "no safe type lends an fd that is not open")]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: no process may open so many files, so the number never is an fd. The looper gives it to `epoll_ctl`
        // alone, which looks it up and fails.
        unsafe { BorrowedFd::borrow_raw(RawFd::MAX) }
    }
}

#[test]
fn c21_a_number_that_is_not_open_is_refused() {
    watched(|| {
        let looper = Looper::new().unwrap();

        let Closed = assert_refused(&looper, Closed, Errno::EBADF, "keep it open");

        assert_works(&looper);
    });
}

#[test]
fn c21_a_looper_inside_itself_is_refused() {
    watched(|| {
        let looper = Rc::new(Looper::new().unwrap());

        let refused = looper.add_fd(looper.clone(), Interest::INPUT, |_, _, _| panic!("it was refused")).unwrap_err();

        let errno = refused.error().raw_os_error().map(Errno::from_raw);
        assert!(matches!(errno, Some(Errno::EINVAL | Errno::ELOOP)), "{refused}");
        assert_says(&refused, "cannot watch themselves");
        drop(refused.into_source().unwrap());
        assert_eq!(Rc::strong_count(&looper), 1, "nothing holds it in a circle");
        assert_works(&looper);
    });
}

#[test]
fn c21_loopers_in_a_circle_are_refused_and_both_work() {
    watched(|| {
        let loopers = [(); 2].map(|()| Rc::new(Looper::new().unwrap()));
        let outer = loopers[0].add_fd(loopers[1].clone(), Interest::INPUT, |_, inner, _| {
            poll_now(inner);
            FdNext::Keep
        });

        let refused = loopers[1].add_fd(loopers[0].clone(), Interest::INPUT, |_, _, _| panic!("it was refused"));

        let refused = refused.unwrap_err();
        assert_eq!(refused.error().raw_os_error(), Some(Errno::ELOOP as i32));
        assert_says(&refused, "in a circle");
        assert_works(&loopers[1]);
        assert_works(&loopers[0]);
        assert!(outer.unwrap().is_registered());
    });
}

/// The kernel lets epoll sets stand in each other only a few deep; a looper that is hosted counts as two.
#[test]
fn c21_o2_loopers_too_deep_inside_each_other_are_refused_and_the_rest_works() {
    watched(|| {
        let innermost = Rc::new(Looper::new().unwrap());
        let mut outermost = innermost.clone();
        let mut depth = 1;
        let refused = loop {
            let around = Rc::new(Looper::new().unwrap());
            let hosted = around.add_fd(outermost.clone(), Interest::INPUT, |_, inner, _| {
                poll_now(inner);
                FdNext::Keep
            });
            match hosted {
                Ok(_) => (outermost, depth) = (around, depth + 1),
                Err(refused) => break refused,
            }
            assert!(depth < 10, "the kernel has a limit");
        };

        assert!(depth >= 3, "{depth} loopers");
        assert_says(&refused, "more than five deep");
        assert!(Rc::ptr_eq(&refused.into_source().unwrap(), &outermost));
        innermost.post(|_| ()).unwrap();
        while innermost.message_counts().run == 0 {
            outermost.poll_once(None).unwrap();
        }
    });
}

#[test]
fn c21_an_epoll_set_of_the_users_own_is_a_source_like_any_other() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        epoll.add(&near, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();

        looper.add_fd(epoll.0, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();

        assert_eq!(poll_now(&looper).fds, 1);
    });
}

#[test]
fn c18_c31_the_same_fd_twice_is_refused_in_all_ways_but_replacing() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let near = Rc::new(OwnedFd::from(near));
        let first = looper.add_ident(near.clone(), Interest::INPUT, 4).unwrap();

        let twice = looper.add_ident(near.clone(), Interest::INPUT, 5).unwrap_err();
        assert_eq!(twice.error().raw_os_error(), Some(Errno::EEXIST as i32));
        let twice = twice.into_source().unwrap();
        let refused = looper.add_fd(twice, Interest::INPUT, |_, _, _| panic!("it was refused")).unwrap_err();

        assert_eq!(refused.error().raw_os_error(), Some(Errno::EEXIST as i32));
        assert_says(&refused, "call `replace_fd`");
        assert_eq!(poll_now(&looper).idents.iter().map(|ready| ready.ident).collect::<Vec<_>>(), [4]);
        drop(first.remove());
        let again = looper.add_fd(refused.into_source().unwrap(), Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
        assert_eq!(poll_now(&looper).fds, 1);
        assert!(!again.is_registered());
        assert_eq!(Rc::strong_count(&near), 1);
        assert_works(&looper);
    });
}

#[test]
fn q5_f1_nothing_is_added_after_quit_and_every_source_comes_back() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let (near, mut far) = UnixStream::pair().unwrap();
        looper.quit();

        let refused = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
        assert_says(&refused, "the looper has quit");
        let refused =
            looper.replace_fd(refused.into_source().unwrap(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
        let refused = looper.add_ident(refused.into_source().unwrap(), Interest::INPUT, 1).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
        drop(looper);
        let refused =
            handle.add_fd(refused.into_source().unwrap(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);

        let mut near = refused.into_source().unwrap();
        near.write_all(b"hello").unwrap();
        let mut buffer = [0; 5];
        far.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
    });
}

#[test]
fn t10_c75_polling_inside_a_callback_is_refused_at_once_and_the_outer_poll_goes_on() {
    fn assert_refuses_to_poll(looper: &Looper) {
        let errors = [
            looper.poll_once(None).unwrap_err(),
            looper.poll_once(Duration::ZERO).unwrap_err(),
            looper.poll_all(ms(300)).unwrap_err(),
            looper.run().unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Deadlock);
            assert_says(&error, "return from the callback");
        }
    }

    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        looper.post(assert_refuses_to_poll).unwrap();
        looper.post(|_| ()).unwrap();
        looper
            .add_fd(near, Interest::INPUT, |looper, _, _| {
                assert_refuses_to_poll(looper);
                FdNext::Remove
            })
            .unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.fds), (2, 1));
        assert_works(&looper);
    });
}

/// Its fd could not be served meanwhile, so that such a poll would spin.
#[test]
fn t10_f12_polling_while_a_source_is_lent_is_refused() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();

        let error = source.with(|_| looper.poll_once(None).unwrap_err()).unwrap();

        assert_eq!(error.kind(), ErrorKind::Deadlock);
        assert_eq!(poll_now(&looper).fds, 1);
        assert_works(&looper);
    });
}

#[test]
fn t10_another_looper_may_be_polled_inside_a_callback() {
    watched(|| {
        let (outer, inner) = (Looper::new().unwrap(), Looper::new().unwrap());
        inner.post(|_| ()).unwrap();
        let inner = Rc::new(inner);
        let polled = inner.clone();
        outer.post(move |_| assert_eq!(poll_now(&polled).messages, 1)).unwrap();

        assert_eq!(poll_now(&outer).messages, 1);

        assert!(inner.is_empty());
    });
}

#[test]
fn m4_c34_a_delay_that_overflows_stays_pending_and_can_be_cancelled() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let dropped = Rc::new(());
        let held = dropped.clone();
        let local = looper.post_delayed(Duration::MAX, move |_| {
            let _ = &held;
            panic!("it is never due")
        });
        let posted = [
            local.unwrap(),
            handle.post_delayed(Duration::MAX, |_| panic!("it is never due")).unwrap(),
            looper.post_every(Duration::MAX, |_| panic!("it is never due")).unwrap(),
            handle.post_every(Duration::from_secs(u64::MAX), |_| panic!("it is never due")).unwrap(),
        ];

        assert_works(&looper);
        assert_eq!(looper.len(), 4);
        for posted in &posted {
            assert!(posted.is_pending());
            assert!(posted.cancel());
            assert!(!posted.is_pending());
            assert!(!posted.cancel());
        }

        assert!(looper.is_empty());
        assert_eq!(Rc::strong_count(&dropped), 1);
        assert!(poll_now(&looper).timed_out);
    });
}

#[test]
fn t1_any_timeout_is_accepted() {
    watched(|| {
        let looper = Looper::new().unwrap();
        for timeout in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(25 * 86_400), ms(1)] {
            looper.post(|_| ()).unwrap();
            let turn = looper.poll_once(timeout).unwrap();
            assert!(turn.messages == 1 && !turn.timed_out, "{turn:?}");
        }
        let due = looper.now() + Duration::from_nanos(1);
        assert!(looper.poll_once(Duration::from_nanos(1)).unwrap().timed_out);
        assert!(looper.now() >= due);
    });
}

/// A source that lends one fd when it is first asked, and another one later.
struct Fickle {
    streams: [UnixStream; 2],
    is_second: Cell<bool>,
}

impl AsFd for Fickle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.streams[usize::from(self.is_second.replace(true))].as_fd()
    }
}

#[test]
fn f7_a_source_that_lends_another_fd_than_before_is_no_longer_watched() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (first, _first_far) = ready_stream();
        let (second, _second_far) = ready_stream();
        let fickle = Fickle { streams: [first, second], is_second: Cell::new(false) };
        let source = looper.add_fd(fickle, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

        assert_eq!(poll_now(&looper).fds, 1);

        assert!(!source.is_registered());
        assert_works(&looper);
    });
}

#[test]
fn os_errors_can_be_told_apart_by_call_and_number() {
    fn watch_directory(looper: &Looper) -> io::Result<()> {
        looper.add_fd(File::open("/")?, Interest::INPUT, |_, _, _| FdNext::Keep)?;
        Ok(())
    }

    watched(|| {
        let error = watch_directory(&Looper::new().unwrap()).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        let failed = error.get_ref().and_then(|inner| inner.downcast_ref::<OsError>()).unwrap();
        assert_eq!((failed.operation(), failed.raw_os_error()), ("epoll_ctl", Errno::EPERM as i32));
        assert_says(&error, "read them directly");
    });
}
