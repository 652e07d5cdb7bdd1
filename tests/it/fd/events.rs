//! Watched fds: which readiness is asked for and which is reported.
//!
//! Holds F3, F10, C27, C29.

use std::{
    cell::RefCell,
    io::{self, ErrorKind, PipeReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
    rc::Rc,
};

use alooper::{Events, FdNext, FdSource, Interest, Looper};
use nix::sys::socket::{MsgFlags, send};

use crate::support::{
    fds::{poll_now, ready_stream},
    ms, watched,
};

/// The events of each call, in their order.
type Seen = Rc<RefCell<Vec<Events>>>;

/// Watches `source` and notes what is reported.
fn note<S: AsFd + 'static>(looper: &Looper, source: S, interest: Interest) -> (FdSource<S>, Seen) {
    let seen = Seen::default();
    let log = seen.clone();
    let source = looper
        .add_fd(source, interest, move |_, _, events| {
            log.borrow_mut().push(events);
            FdNext::Keep
        })
        .unwrap();
    (source, seen)
}

/// Polls once and gives what was reported for the one fd; it has to be ready, or soon.
fn next_events(looper: &Looper, seen: &Seen) -> Events {
    let turn = looper.poll_once(None).unwrap();
    assert_eq!(turn.fds, 1);
    seen.borrow_mut().pop().unwrap()
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, far)
}

/// A pipe that takes no more: nothing but its reader can make its writer ready.
fn full_pipe() -> (PipeReader, io::PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    let full = loop {
        if let Err(error) = writer.write(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    (reader, writer)
}

#[test]
fn f3_input_is_reported_in_every_turn_until_it_is_read() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let (source, seen) = note(&looper, near, Interest::INPUT);
        assert!(poll_now(&looper).timed_out);

        far.write_all(b"x").unwrap();

        assert_eq!(next_events(&looper, &seen), Events::INPUT);
        assert_eq!(next_events(&looper, &seen), Events::INPUT);
        source.with(|near| near.read_exact(&mut [0])).unwrap().unwrap();
        assert!(poll_now(&looper).timed_out);
        assert!(seen.borrow().is_empty());
    });
}

#[test]
fn f3_output_is_reported_where_it_is_asked_for() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let (source, seen) = note(&looper, near, Interest::OUTPUT);

        assert_eq!(next_events(&looper, &seen), Events::OUTPUT, "input was not asked for");
        source.set_interest(Interest::INPUT | Interest::OUTPUT).unwrap();
        assert_eq!(next_events(&looper, &seen), Events::INPUT | Events::OUTPUT);
        source.set_interest(Interest::INPUT).unwrap();
        assert_eq!(next_events(&looper, &seen), Events::INPUT);
    });
}

#[test]
fn f3_urgent_data_is_priority_where_it_is_asked_for() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, far) = tcp_pair();
        let (source, seen) = note(&looper, near, Interest::PRIORITY);

        assert_eq!(send(far.as_raw_fd(), b"!", MsgFlags::MSG_OOB).unwrap(), 1);

        assert_eq!(next_events(&looper, &seen), Events::PRIORITY);
        source.set_interest(Interest::OUTPUT).unwrap();
        assert_eq!(next_events(&looper, &seen), Events::OUTPUT, "it was not asked for any more");
    });
}

#[test]
fn f3_a_peer_that_stops_writing_is_a_read_hangup_where_it_is_asked_for() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let (source, seen) = note(&looper, near, Interest::INPUT | Interest::READ_HANGUP);

        far.shutdown(Shutdown::Write).unwrap();

        assert_eq!(next_events(&looper, &seen), Events::INPUT | Events::READ_HANGUP);
        source.set_interest(Interest::INPUT).unwrap();
        assert_eq!(next_events(&looper, &seen), Events::INPUT, "end of file is input");
        source.set_interest(Interest::READ_HANGUP).unwrap();
        assert_eq!(next_events(&looper, &seen), Events::READ_HANGUP);
    });
}

#[test]
fn f3_c29_a_pipe_whose_writer_is_gone_hangs_up_without_input() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let (_source, seen) = note(&looper, reader, Interest::INPUT);

        drop(writer);

        assert_eq!(next_events(&looper, &seen), Events::HANGUP);
    });
}

#[test]
fn f3_c29_a_pipe_whose_reader_is_gone_is_in_error() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (reader, writer) = full_pipe();
        let (_source, seen) = note(&looper, writer, Interest::OUTPUT);
        assert!(poll_now(&looper).timed_out, "it is full");

        drop(reader);

        let events = next_events(&looper, &seen);
        assert!(events.contains(Events::ERROR), "{events:?}");
        assert!(!events.contains(Events::HANGUP), "{events:?}");
    });
}

#[test]
fn f3_c29_errors_and_hangups_are_reported_though_nothing_is_asked_for() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let (_source, seen) = note(&looper, writer, Interest::empty());
        assert!(poll_now(&looper).timed_out, "that it can be written was not asked for");
        drop(reader);
        assert_eq!(next_events(&looper, &seen), Events::ERROR);

        let looper = Looper::new().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let (_source, seen) = note(&looper, near, Interest::empty());
        drop(far);
        assert_eq!(next_events(&looper, &seen), Events::HANGUP);
    });
}

#[test]
fn f3_c29_a_closed_socket_is_input_and_both_hangups() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let (_source, seen) = note(&looper, near, Interest::INPUT | Interest::READ_HANGUP);

        drop(far);

        assert_eq!(next_events(&looper, &seen), Events::INPUT | Events::READ_HANGUP | Events::HANGUP);
    });
}

#[test]
fn f3_c29_a_connection_that_is_reset_is_error_and_hangup() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = tcp_pair();
        far.write_all(b"it is lost").unwrap();
        let (source, seen) = note(&looper, far, Interest::empty());

        // Closed with input that nobody read, a TCP socket resets its connection.
        drop(near);

        assert_eq!(next_events(&looper, &seen), Events::ERROR | Events::HANGUP);
        let error = source.with(|far| far.take_error().unwrap()).unwrap().unwrap();
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    });
}

#[test]
fn f3_a_peer_that_lives_is_neither_an_error_nor_a_hangup() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let (_source, seen) = note(&looper, near, Interest::all());

        assert_eq!(next_events(&looper, &seen), Events::INPUT | Events::OUTPUT);
    });
}

#[test]
fn f10_repoll_keeps_the_interest() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let (source, seen) = note(&looper, near, Interest::INPUT);

        source.repoll().unwrap();

        assert!(poll_now(&looper).timed_out, "output was not asked for");
        far.write_all(b"x").unwrap();
        source.handle().repoll().unwrap();
        assert_eq!(next_events(&looper, &seen), Events::INPUT);
        source.repoll().unwrap();
        assert_eq!(next_events(&looper, &seen), Events::INPUT);
    });
}

#[test]
fn f10_repoll_inside_the_callback_takes_effect_in_the_next_turn() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let own = Rc::new(RefCell::new(None::<FdSource<UnixStream>>));
        let inside = own.clone();
        let source = looper
            .add_fd(near, Interest::INPUT, move |_, _, _| {
                inside.borrow().as_ref().unwrap().repoll().unwrap();
                FdNext::Keep
            })
            .unwrap();
        *own.borrow_mut() = Some(source);

        for _ in 0..3 {
            assert_eq!(poll_now(&looper).fds, 1);
        }
        own.borrow_mut().take();
    });
}

#[test]
fn f10_an_ended_registration_can_be_neither_repolled_nor_changed() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        let handle = source.handle();
        source.remove().unwrap();

        let errors = [
            source.repoll(),
            source.set_interest(Interest::INPUT),
            handle.repoll(),
            handle.set_interest(Interest::INPUT),
        ];

        for error in errors.map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.to_string().contains("add the source again"), "{error}");
        }
    });
}

#[test]
fn c27_a_change_of_interest_inside_the_callback_holds_from_the_next_turn() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let seen = Seen::default();
        let log = seen.clone();
        let mut wanted = [Interest::OUTPUT, Interest::INPUT | Interest::OUTPUT, Interest::empty()].into_iter();
        looper
            .add_fd(near, Interest::INPUT, move |_, _, events| {
                log.borrow_mut().push(events);
                wanted.next().map_or(FdNext::Keep, FdNext::Interest)
            })
            .unwrap();

        for _ in 0..3 {
            poll_now(&looper);
        }

        assert_eq!(*seen.borrow(), [Events::INPUT, Events::OUTPUT, Events::INPUT | Events::OUTPUT]);
        assert!(looper.poll_once(ms(1)).unwrap().timed_out);
    });
}
