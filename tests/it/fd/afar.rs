//! Watched fds, from another thread: added, changed and removed while the looper sleeps or runs.
//!
//! Holds T14, F2, F4, F9, F11, C27, C30.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use alooper::{Events, FdHandle, FdNext, Interest, Looper, LooperHandle, Turn};
use nix::errno::Errno;

use crate::support::{
    Elsewhere,
    fds::{poll_now, ready_stream, witnessed_ready},
    ms, until_polling, watched,
};

/// Runs a looper elsewhere that notes the reports of all its turns, until it quits.
fn reporting_looper(prepare: impl FnOnce(&Looper) + Send + 'static) -> (LooperHandle, thread::JoinHandle<Vec<Turn>>) {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let looper = Looper::new().unwrap();
        prepare(&looper);
        sender.send(looper.handle()).unwrap();
        let mut turns = Vec::new();
        while !looper.has_quit() {
            turns.push(looper.poll_once(None).unwrap());
        }
        turns
    });
    (receiver.recv().unwrap(), thread)
}

/// The removal ends no poll, wakes nobody for a report, and is tidied up in the wait that was under way.
#[test]
fn f4_t14_a_removal_from_another_thread_is_dropped_by_the_sleeping_looper() {
    watched(|| {
        let (near, witness, heard, far) = witnessed_ready();
        (&near.stream).read_exact(&mut [0]).unwrap();
        let (sender, receiver) = mpsc::channel();
        let (handle, thread) = reporting_looper(move |looper| {
            let source = looper.add_fd(near, Interest::INPUT, move |_, _, _| {
                let _ = &witness;
                FdNext::Keep
            });
            sender.send(source.unwrap().handle()).unwrap();
        });
        let looper_thread = thread.thread().id();
        let registered: FdHandle = receiver.recv().unwrap();
        until_polling(&handle);

        assert!(registered.remove());

        let dropped = [heard.recv().unwrap(), heard.recv().unwrap()];
        assert_eq!(dropped, [looper_thread; 2]);
        assert!(!registered.remove(), "it has ended");
        drop(far);
        handle.post(|looper| looper.quit()).unwrap();
        let turns = thread.join().unwrap();
        assert_eq!(turns.len(), 1, "{turns:?}");
        assert!(!turns[0].woken && turns[0].messages == 1 && turns[0].fds == 0, "{turns:?}");
    });
}

/// The callback waits until another thread has removed it: were the removal to wait for it, both would hang.
#[test]
fn f4_c30_a_removal_from_another_thread_does_not_wait_for_the_running_callback() {
    watched(|| {
        let (near, witness, heard, _far) = witnessed_ready();
        let (sender, receiver) = mpsc::channel();
        let is_running = Arc::new(Barrier::new(2));
        let is_removed = Arc::new(Barrier::new(2));
        let barriers = (is_running.clone(), is_removed.clone());
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let (heard_inside, inside) = mpsc::channel();
        let looper = Elsewhere::run(move |looper| {
            let source = looper.add_fd(near, Interest::INPUT, move |_, near, _| {
                let _ = &witness;
                counted.fetch_add(1, Ordering::SeqCst);
                barriers.0.wait();
                barriers.1.wait();
                heard_inside.send((&near.stream).read(&mut [0]).unwrap()).unwrap();
                FdNext::Keep
            });
            sender.send(source.unwrap().handle()).unwrap();
        });
        let registered: FdHandle = receiver.recv().unwrap();
        is_running.wait();

        assert!(registered.remove());

        assert!(!registered.is_registered());
        assert!(heard.try_recv().is_err(), "the callback has its source yet");
        is_removed.wait();
        assert_eq!(inside.recv().unwrap(), 1, "it could read from it");
        let dropped = [heard.recv().unwrap(), heard.recv().unwrap()];
        assert!(dropped.iter().all(|thread| *thread != thread::current().id()));
        looper.handle.quit_safely();
        looper.join();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    });
}

/// The stream can be written all the time, and nobody asks, until another thread does.
#[test]
fn c27_a_change_of_interest_from_another_thread_ends_the_wait_that_is_under_way() {
    watched(|| {
        let (near, _far) = UnixStream::pair().unwrap();
        let (sender, receiver) = mpsc::channel();
        let (handle, thread) = reporting_looper(move |looper| {
            let source = looper.add_fd(near, Interest::INPUT, |looper, _, events| {
                assert_eq!(events, Events::OUTPUT);
                looper.quit();
                FdNext::Keep
            });
            sender.send(source.unwrap().handle()).unwrap();
        });
        let registered: FdHandle = receiver.recv().unwrap();
        until_polling(&handle);

        registered.set_interest(Interest::OUTPUT).unwrap();

        let turns = thread.join().unwrap();
        assert_eq!(turns.len(), 1, "{turns:?}");
        assert!(turns[0].fds == 1 && !turns[0].woken, "{turns:?}");
    });
}

#[test]
fn c27_an_interest_that_another_thread_takes_away_is_not_reported_in_the_wait_that_is_under_way() {
    watched(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (sender, receiver) = mpsc::channel();
        let (handle, thread) = reporting_looper(move |looper| {
            let source = looper.add_fd(near, Interest::INPUT, |_, _, _| panic!("input is no longer asked for"));
            sender.send(source.unwrap().handle()).unwrap();
        });
        let registered: FdHandle = receiver.recv().unwrap();
        until_polling(&handle);

        registered.set_interest(Interest::empty()).unwrap();
        far.write_all(b"x").unwrap();
        handle.post_delayed(ms(5), |looper| looper.quit()).unwrap();

        let turns = thread.join().unwrap();
        assert_eq!(turns.len(), 1, "{turns:?}");
    });
}

#[test]
fn f11_an_fd_that_another_thread_adds_is_served_by_the_wait_that_is_under_way() {
    watched(|| {
        let (handle, thread) = reporting_looper(|_| ());
        let looper_thread = thread.thread().id();
        until_polling(&handle);
        let (near, witness, heard, _far) = witnessed_ready();
        let (called, calls) = mpsc::channel();

        let registered = handle
            .add_fd(near, Interest::INPUT, move |looper, near, events| {
                let _ = &witness;
                (&near.stream).read_exact(&mut [0]).unwrap();
                called.send((thread::current().id(), events)).unwrap();
                looper.quit();
                FdNext::Remove
            })
            .unwrap();

        assert_eq!(calls.recv().unwrap(), (looper_thread, Events::INPUT));
        assert_eq!([heard.recv().unwrap(), heard.recv().unwrap()], [looper_thread; 2]);
        let turns = thread.join().unwrap();
        assert_eq!(turns.len(), 1, "{turns:?}");
        assert!(turns[0].fds == 1 && !turns[0].woken, "{turns:?}");
        assert!(!registered.is_registered());
    });
}

#[test]
fn f11_adding_from_another_thread_gives_the_kernels_error_and_the_source_at_once() {
    watched(|| {
        let looper = Elsewhere::run(|_| ());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let (near, _far) = UnixStream::pair().unwrap();
        let near = Arc::new(near);
        let first = looper.handle.add_fd(near.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

        let regular = looper.handle.add_fd(File::open(path).unwrap(), Interest::INPUT, |_, _, _| FdNext::Keep);
        let twice = looper.handle.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep);

        let regular = regular.unwrap_err();
        assert_eq!(regular.error().raw_os_error(), Some(Errno::EPERM as i32));
        assert!(regular.into_source().unwrap().metadata().unwrap().is_file());
        let twice = twice.unwrap_err();
        assert_eq!(twice.error().raw_os_error(), Some(Errno::EEXIST as i32));
        assert!(first.is_registered());
        looper.handle.quit();
        let handle = looper.handle.clone();
        looper.join();
        let late = handle.add_fd(twice.into_source().unwrap(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
        assert_eq!(late.error().kind(), ErrorKind::BrokenPipe);
        assert_eq!(Arc::strong_count(&late.into_source().unwrap()), 1, "the looper's is dropped with it");
    });
}

#[test]
fn f11_what_another_thread_adds_and_removes_at_once_is_dropped_on_the_loopers_thread() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let (near, witness, heard, _far) = witnessed_ready();
        let other = thread::spawn(move || {
            let added = handle.add_fd(near, Interest::INPUT, move |_, _, _| {
                let _ = &witness;
                panic!("it was removed")
            });
            assert!(added.unwrap().remove());
        });
        other.join().unwrap();
        assert!(heard.try_recv().is_err());

        let turn = looper.poll_once(ms(5)).unwrap();

        assert!(turn.timed_out && !turn.woken, "{turn:?}");
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [thread::current().id(); 2]);
    });
}

#[test]
fn f11_what_another_thread_added_is_dropped_with_a_looper_that_never_polled() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let (near, witness, heard, _far) = witnessed_ready();
        let other = thread::spawn(move || {
            let added = handle.add_fd(near, Interest::INPUT, move |_, _, _| {
                let _ = &witness;
                FdNext::Keep
            });
            added.unwrap()
        });
        let registered = other.join().unwrap();

        drop(looper);

        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [thread::current().id(); 2]);
        assert!(!registered.is_registered());
        assert!(!registered.remove());
    });
}

/// Nothing is tidied up between the three steps, so that the last one may well take the place of the first.
#[test]
fn f11_what_another_thread_added_and_removed_leaves_the_next_registration_alone() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let (near, _far) = ready_stream();
        let other = thread::spawn(move || {
            handle.add_fd(near, Interest::INPUT, |_, _, _| panic!("it was removed")).unwrap().remove()
        });
        assert!(other.join().unwrap());
        let (near, _far) = ready_stream();
        let near = Rc::new(near);

        let source = looper.add_fd(near.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

        assert_eq!(poll_now(&looper).fds, 1);
        assert!(source.is_registered());
        assert_eq!(Rc::strong_count(&near), 2, "the looper has its source yet");
        assert!(source.with(|_| ()).is_some());
        assert!(source.remove().is_some());
    });
}

#[test]
fn f11_f2_another_thread_replaces_a_registration_and_only_the_new_callback_is_called() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let near = Arc::new(near);
        let old = looper.add_fd(near.clone(), Interest::INPUT, |_, _, _| panic!("it was replaced")).unwrap();
        let handle = looper.handle();

        let new = thread::spawn(move || handle.replace_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap());
        let new = new.join().unwrap();

        assert!(!old.is_registered() && new.is_registered());
        assert_eq!(poll_now(&looper).fds, 1);
        assert!(!new.is_registered());
    });
}

#[test]
fn f11_f9_another_thread_adds_an_ident() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let handle = looper.handle();

        let added = thread::spawn(move || handle.add_ident(near, Interest::INPUT, 7).unwrap()).join().unwrap();

        assert_eq!(poll_now(&looper).idents.iter().map(|ready| ready.ident).collect::<Vec<_>>(), [7]);
        assert!(added.remove());
        assert!(poll_now(&looper).timed_out);
    });
}

#[test]
fn f11_f2_f9_another_thread_replaces_a_callback_by_an_ident() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let near = Arc::new(near);
        let old = looper.add_fd(near.clone(), Interest::INPUT, |_, _, _| panic!("it was replaced")).unwrap();
        let handle = looper.handle();

        let new = thread::spawn(move || handle.replace_ident(near, Interest::INPUT, 7).unwrap()).join().unwrap();

        assert!(!old.is_registered() && new.is_registered());
        assert_eq!(poll_now(&looper).idents.iter().map(|ready| ready.ident).collect::<Vec<_>>(), [7]);
    });
}
