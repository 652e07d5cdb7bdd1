//! Watched fds: who owns the source, when it comes back, and one fd in two registrations.
//!
//! Holds F1, F2, F9, F12.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    rc::Rc,
    sync::Arc,
};

use alooper::{FdNext, Interest, Looper, OsError};
use nix::errno::Errno;

use crate::support::{
    fds::{poll_now, ready_stream, shared_ready},
    watched,
};

/// A stream that tells when it is dropped.
struct Noted {
    stream: UnixStream,
    is_dropped: Rc<Cell<bool>>,
}

impl AsFd for Noted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.is_dropped.set(true);
    }
}

/// A stream that tells when it is dropped and is ready for input, and what it tells it by.
fn noted() -> (Noted, Rc<Cell<bool>>, UnixStream) {
    let (stream, far) = ready_stream();
    let is_dropped = Rc::new(Cell::new(false));
    (Noted { stream, is_dropped: is_dropped.clone() }, is_dropped, far)
}

#[test]
fn f1_a_source_lives_until_its_looper_is_dropped() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        drop(source);

        assert_eq!(far.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "the near end is open");
        drop(looper);
        assert_eq!(far.read(&mut [0]).unwrap(), 0, "the near end is closed");
    });
}

#[test]
fn f1_a_source_is_whatever_lends_an_fd() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (reader, _writer) = io::pipe().unwrap();
        let (stream, _far) = UnixStream::pair().unwrap();
        let [owned, in_rc, in_arc] = [(); 3].map(|()| OwnedFd::from(stream.try_clone().unwrap()));

        looper.add_fd(reader, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.add_fd(stream, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.add_fd(owned, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.add_fd(Rc::new(in_rc), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.add_fd(Arc::new(in_arc), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

        assert!(poll_now(&looper).timed_out);
    });
}

#[test]
fn f1_a_refused_source_comes_back_as_it_was() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

        let refused = looper.add_fd(File::open(path).unwrap(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();

        assert_eq!(refused.error().raw_os_error(), Some(Errno::EPERM as i32));
        let mut file = refused.into_source().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert!(text.contains("alooper"), "the file can be read from its beginning");
    });
}

#[test]
fn f1_a_refusal_turns_into_an_io_error_by_question_mark() {
    fn watch_twice(looper: &Looper) -> io::Result<()> {
        let (near, _far) = shared_ready();
        looper.add_fd(near.clone(), Interest::INPUT, |_, _, _| FdNext::Keep)?;
        looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep)?;
        Ok(())
    }

    watched(|| {
        let error = watch_twice(&Looper::new().unwrap()).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        let failed = error.get_ref().and_then(|inner| inner.downcast_ref::<OsError>()).unwrap();
        assert_eq!(failed.raw_os_error(), Errno::EEXIST as i32);
    });
}

#[test]
fn f2_the_same_fd_twice_is_refused_and_the_first_registration_goes_on() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = shared_ready();
        let calls = Rc::new(Cell::new(0));
        let counted = calls.clone();
        let first = looper
            .add_fd(near.clone(), Interest::INPUT, move |_, _, _| {
                counted.set(counted.get() + 1);
                FdNext::Keep
            })
            .unwrap();

        let refused = looper.add_fd(near, Interest::OUTPUT, |_, _, _| panic!("it was refused")).unwrap_err();

        assert_eq!(refused.error().raw_os_error(), Some(Errno::EEXIST as i32));
        let source = refused.into_source().unwrap();
        assert_eq!(poll_now(&looper).fds, 1);
        assert_eq!(calls.get(), 1);
        assert!(first.is_registered());
        assert_eq!(Rc::strong_count(&source), 2, "one here, one in the first registration");
    });
}

#[test]
fn f2_a_replaced_callback_is_not_called_again_and_its_source_is_dropped() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = shared_ready();
        let new_calls = Rc::new(Cell::new(0));
        let old = looper.add_fd(near.clone(), Interest::INPUT, |_, _, _| panic!("it was replaced")).unwrap();

        let counted = new_calls.clone();
        let new = looper
            .replace_fd(near.clone(), Interest::INPUT, move |_, _, _| {
                counted.set(counted.get() + 1);
                FdNext::Keep
            })
            .unwrap();

        assert!(!old.is_registered());
        assert!(new.is_registered());
        assert_eq!(Rc::strong_count(&near), 2, "the old registration's is dropped");
        assert!(old.remove().is_none(), "it has ended");
        for turn in 1..=3 {
            assert_eq!(poll_now(&looper).fds, 1);
            assert_eq!(new_calls.get(), turn);
        }
    });
}

#[test]
fn f2_replacing_what_is_not_registered_registers_it() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = shared_ready();

        let source = looper.replace_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();

        assert_eq!(poll_now(&looper).fds, 1);
        assert!(!source.is_registered());
    });
}

/// Both fds are ready, and whichever callback comes first replaces the other one.
#[test]
fn f2_a_callback_that_is_replaced_in_its_own_batch_is_not_called() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let streams = [shared_ready(), shared_ready()];
        let old_calls = Rc::new(RefCell::new(Vec::new()));
        let new_calls = Rc::new(RefCell::new(Vec::new()));
        for index in [0, 1] {
            let other = streams[1 - index].0.clone();
            let (old_calls, new_calls) = (old_calls.clone(), new_calls.clone());
            looper
                .add_fd(streams[index].0.clone(), Interest::INPUT, move |looper, _, _| {
                    old_calls.borrow_mut().push(index);
                    let new_calls = new_calls.clone();
                    let replaced = looper.replace_fd(other.clone(), Interest::INPUT, move |_, _, _| {
                        new_calls.borrow_mut().push(1 - index);
                        FdNext::Keep
                    });
                    replaced.unwrap();
                    FdNext::Remove
                })
                .unwrap();
        }

        poll_now(&looper);
        poll_now(&looper);

        let first = old_calls.borrow()[0];
        assert_eq!(*old_calls.borrow(), [first], "the other one was replaced before it was called");
        assert_eq!(new_calls.borrow()[0], 1 - first, "its replacement was called");
    });
}

#[test]
fn f2_a_callback_that_replaces_itself_is_dropped_after_it_and_the_new_one_stays() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = shared_ready();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = seen.clone();
        looper
            .add_fd(near.clone(), Interest::INPUT, move |looper, near, _| {
                let again = log.clone();
                let new = looper.replace_fd(near.clone(), Interest::INPUT, move |_, _, _| {
                    again.borrow_mut().push("new");
                    FdNext::Keep
                });
                assert!(new.unwrap().is_registered());
                log.borrow_mut().push("old");
                FdNext::Remove
            })
            .unwrap();

        for _ in 0..3 {
            poll_now(&looper);
        }

        assert_eq!(*seen.borrow(), ["old", "new", "new"]);
        assert_eq!(Rc::strong_count(&near), 2, "one here, one in the new registration");
    });
}

#[test]
fn f2_a_replacement_that_is_refused_leaves_the_old_registration() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = shared_ready();
        let old = looper.add_fd(near.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.quit();

        let refused = looper.replace_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();

        assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
        assert!(old.is_registered());
        assert_eq!(Rc::strong_count(&refused.into_source().unwrap()), 2);
    });
}

#[test]
fn f2_f9_replace_ident_ends_a_callback_or_an_ident_of_the_same_fd() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = shared_ready();
        let idents = |looper: &Looper| poll_now(looper).idents.iter().map(|ready| ready.ident).collect::<Vec<_>>();
        let callback = looper.add_fd(near.clone(), Interest::INPUT, |_, _, _| panic!("it was replaced")).unwrap();

        let first = looper.replace_ident(near.clone(), Interest::INPUT, 1).unwrap();

        assert!(!callback.is_registered());
        assert_eq!(idents(&looper), [1]);

        let second = looper.replace_ident(near.clone(), Interest::INPUT, 2).unwrap();

        assert!(!first.is_registered() && second.is_registered());
        assert_eq!(idents(&looper), [2]);
        assert_eq!(Rc::strong_count(&near), 2, "one here, one in the new registration");
    });
}

#[test]
fn f2_f9_a_replace_ident_that_is_refused_leaves_the_old_registration() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = shared_ready();
        let old = looper.add_ident(near.clone(), Interest::INPUT, 1).unwrap();
        looper.quit();

        let refused = looper.replace_ident(near, Interest::INPUT, 2).unwrap_err();

        assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
        assert!(old.is_registered());
    });
}

#[test]
fn f12_the_source_can_be_reached_outside_its_callback() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let number = near.as_raw_fd();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

        let written = source.with(|near| (near.as_raw_fd(), near.write(b"hello").unwrap()));

        assert_eq!(written, Some((number, 5)));
        let mut buffer = [0; 5];
        far.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
        far.write_all(b"x").unwrap();
        assert_eq!(poll_now(&looper).fds, 1, "it is watched as before");
    });
}

#[test]
fn f12_removal_gives_the_source_back_and_drops_the_callback() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, is_dropped, _far) = noted();
        let held_by_callback = Rc::new(());
        let held = held_by_callback.clone();
        let source = looper
            .add_fd(near, Interest::INPUT, move |_, _, _| {
                let _ = &held;
                FdNext::Keep
            })
            .unwrap();

        let mut back = source.remove().unwrap();

        assert_eq!(Rc::strong_count(&held_by_callback), 1);
        assert!(!is_dropped.get());
        let mut buffer = [0];
        back.stream.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"x");
        assert!(source.remove().is_none());
        assert!(source.with(|_| ()).is_none());
        assert!(!source.is_registered());
    });
}

#[test]
fn f12_a_running_callback_lends_and_gives_back_nothing_and_its_source_is_dropped_after_it() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, is_dropped, _far) = noted();
        let (quiet, _quiet_far) = UnixStream::pair().unwrap();
        let other = looper.add_fd(quiet, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        let own = Rc::new(Cell::new(None::<alooper::FdSource<Noted>>));
        let (handle, is_dropped_inside) = (own.clone(), is_dropped.clone());
        let source = looper
            .add_fd(near, Interest::INPUT, move |_, near, _| {
                let own = handle.take().unwrap();
                assert!(own.with(|_| ()).is_none(), "the callback has it");
                assert!(other.with(|_| ()).is_some(), "another one can be reached");
                assert!(own.is_registered());
                assert!(own.remove().is_none(), "the callback has it");
                assert!(!own.is_registered());
                assert!(!is_dropped_inside.get());
                near.stream.read_exact(&mut [0]).unwrap();
                handle.set(Some(own));
                FdNext::Keep
            })
            .unwrap();
        own.set(Some(source));

        let turn = poll_now(&looper);

        assert_eq!(turn.fds, 1);
        assert!(is_dropped.get());
        assert!(own.take().unwrap().with(|_| ()).is_none());
    });
}

#[test]
fn f12_a_source_that_is_lent_can_be_removed_but_not_lent_again() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, is_dropped, _far) = noted();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("it was removed")).unwrap();

        let inside = source.with(|near| {
            assert!(source.with(|_| ()).is_none());
            assert!(source.remove().is_none());
            near.is_dropped.get()
        });

        assert_eq!(inside, Some(false));
        assert!(is_dropped.get(), "after it was lent");
        assert!(!source.is_registered());
        assert!(poll_now(&looper).timed_out);
    });
}
