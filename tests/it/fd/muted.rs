//! A muted fd hears the next change: nothing that comes later is lost.
//!
//! Holds F8, F9, C28.

use std::{
    cell::Cell,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::OpenOptionsExt, net::UnixStream},
    },
    path::PathBuf,
    rc::Rc,
};

use alooper::{Events, FdNext, FdSource, Interest, Looper};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::{
        socket::{
            AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrIn, bind, connect, getsockname, listen,
            recvmsg, setsockopt, socket, sockopt,
        },
        stat::Mode,
    },
    unistd::mkfifo,
};

use crate::support::{ms, watched};

/// After so many hang-ups an fd is muted.
const LIMIT: u32 = 10;

fn looper() -> Looper {
    Looper::builder().spin_limit(LIMIT).build().unwrap()
}

/// What a callback has seen: all events, and the bytes that it has read.
#[derive(Clone, Default)]
struct Seen {
    calls: Rc<Cell<usize>>,
    bytes: Rc<Cell<usize>>,
}

impl Seen {
    /// Watches `source`, and reads all that there is.
    fn read_all<S: AsFd + Read + 'static>(&self, looper: &Looper, source: S, interest: Interest) -> FdSource<S> {
        let seen = self.clone();
        let read = move |_: &Looper, source: &mut S, _: Events| {
            seen.calls.set(seen.calls.get() + 1);
            let mut buffer = [0; 64];
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                seen.bytes.set(seen.bytes.get() + count);
            }
            FdNext::Keep
        };
        looper.add_fd(source, interest, read).unwrap()
    }
}

/// Polls until an fd is muted.
fn poll_until_muted(looper: &Looper) {
    let before = looper.stats().muted_fds;
    let polls = (0..20 * LIMIT).take_while(|_| {
        looper.poll_once(ms(0)).unwrap();
        looper.stats().muted_fds == before
    });
    let calls = polls.count();
    assert_eq!(looper.stats().muted_fds, before + 1, "after {calls} turns");
    assert!(looper.poll_once(ms(1)).unwrap().timed_out, "it is quiet");
}

/// A path for a FIFO, which goes with this.
struct Fifo(PathBuf);

impl Fifo {
    fn new(name: &str) -> Fifo {
        let path = std::env::temp_dir().join(format!("alooper-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        Fifo(path)
    }

    fn open(&self, options: &mut OpenOptions) -> File {
        options.custom_flags(OFlag::O_NONBLOCK.bits()).open(&self.0).unwrap()
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A FIFO's second writer was never heard: the first one had closed, and the looper no longer looked.
#[test]
fn f8_the_second_writer_of_a_fifo_is_read() {
    watched(|| {
        let looper = looper();
        let fifo = Fifo::new("second-writer");
        let seen = Seen::default();
        let reader = fifo.open(OpenOptions::new().read(true));
        seen.read_all(&looper, reader, Interest::INPUT);
        let mut first = fifo.open(OpenOptions::new().write(true));
        first.write_all(b"one").unwrap();
        drop(first);
        poll_until_muted(&looper);

        for writers in 2..5 {
            fifo.open(OpenOptions::new().write(true)).write_all(b"two").unwrap();
            assert_eq!(looper.poll_once(None).unwrap().fds, 1);
            assert_eq!(seen.bytes.get(), 3 * writers);
            poll_until_muted(&looper);
        }
    });
}

/// A writer that writes nothing is told of by its hang-up, once.
#[test]
fn f8_a_hangup_that_comes_anew_is_reported_once() {
    watched(|| {
        let looper = looper();
        let fifo = Fifo::new("hangups");
        let seen = Seen::default();
        let reader = fifo.open(OpenOptions::new().read(true));
        seen.read_all(&looper, reader, Interest::INPUT);
        drop(fifo.open(OpenOptions::new().write(true)));
        poll_until_muted(&looper);
        let before = seen.calls.get();

        drop(fifo.open(OpenOptions::new().write(true)));

        let calls: usize = (0..5).map(|_| looper.poll_once(ms(1)).unwrap().fds).sum();
        assert!(calls <= 2, "{calls} calls for a writer that comes and goes");
        assert_eq!(seen.calls.get(), before + calls);
        assert_eq!(looper.stats().muted_fds, 1);
    });
}

fn pty() -> (PtyMaster, PathBuf) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname_r(&master).unwrap().into();
    (master, path)
}

#[test]
fn f8_a_terminal_that_is_opened_again_is_heard() {
    watched(|| {
        let looper = looper();
        let (master, path) = pty();
        let open = || OpenOptions::new().write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(&path).unwrap();
        let seen = Seen::default();
        seen.read_all(&looper, master, Interest::INPUT);
        open().write_all(b"one").unwrap();
        poll_until_muted(&looper);
        assert_eq!(seen.bytes.get(), 3);

        let mut second = open();
        second.write_all(b"two").unwrap();

        while seen.bytes.get() < 6 {
            assert!(looper.poll_once(None).unwrap().fds > 0);
        }
    });
}

fn tcp_socket() -> OwnedFd {
    socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap()
}

/// A socket that is nothing yet reports a hang-up.
#[test]
fn f8_a_socket_that_was_added_before_it_listens_accepts() {
    watched(|| {
        let looper = looper();
        let socket = Rc::new(tcp_socket());
        let accepted = Rc::new(Cell::new(0));
        let count = accepted.clone();
        let accept = move |_: &Looper, socket: &mut Rc<OwnedFd>, _: Events| {
            count.set(count.get() + usize::from(nix::sys::socket::accept(&**socket).is_ok()));
            FdNext::Keep
        };
        looper.add_fd(socket.clone(), Interest::INPUT, accept).unwrap();
        poll_until_muted(&looper);

        bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        listen(&*socket, Backlog::new(8).unwrap()).unwrap();
        let address: SockaddrIn = getsockname(socket.as_raw_fd()).unwrap();
        let _client = TcpStream::connect(("127.0.0.1", address.port())).unwrap();

        assert_eq!(looper.poll_once(None).unwrap().fds, 1);
        assert_eq!(accepted.get(), 1);
    });
}

#[test]
fn f8_a_socket_that_was_added_before_it_connects_is_heard() {
    watched(|| {
        let looper = looper();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = tcp_socket();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen::default();
        let stream = seen.read_all(&looper, TcpStream::from(socket), Interest::INPUT);
        poll_until_muted(&looper);

        let connected = stream.with(|stream| connect(stream.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)));
        assert!(matches!(connected, Some(Ok(()) | Err(Errno::EINPROGRESS))), "{connected:?}");
        listener.accept().unwrap().0.write_all(b"hello").unwrap();

        while seen.bytes.get() < 5 {
            looper.poll_once(None).unwrap();
        }
    });
}

/// A client of a server that is down, and another front of it that sends.
fn refused_client() -> (UdpSocket, UdpSocket) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server).unwrap();
    let sender = client.try_clone().unwrap();
    (client, sender)
}

/// Each call is for another error, which is there when the callback returns: that is no spin, and not told as one.
#[test]
fn f8_a_thousand_errors_each_of_which_the_callback_takes_are_no_spin() {
    watched(|| {
        for limit in [LIMIT, 1000] {
            let looper = Looper::builder().spin_limit(limit).build().unwrap();
            let (client, sender) = refused_client();
            let errors = Rc::new(Cell::new(0));
            let count = errors.clone();
            let again = sender.try_clone().unwrap();
            let take = move |_: &Looper, client: &mut UdpSocket, events: Events| {
                assert_eq!(events, Events::ERROR);
                count.set(count.get() + usize::from(client.take_error().unwrap().is_some()));
                again.send(b"x").unwrap();
                FdNext::Keep
            };
            looper.add_fd(client, Interest::INPUT, take).unwrap();
            sender.send(b"x").unwrap();

            for call in 1..=2500 {
                assert_eq!(looper.poll_once(ms(1000)).unwrap().fds, 1, "call {call}");
            }

            assert_eq!(errors.get(), 2500);
            assert_eq!(looper.stats().muted_fds, 0);
        }
    });
}

/// As with the completions of `MSG_ZEROCOPY`: more errors wait in a queue than the limit, and each call takes one.
#[test]
fn f8_errors_that_wait_in_a_queue_and_are_taken_one_by_one_are_all_delivered() {
    watched(|| {
        let looper = looper();
        let (client, sender) = refused_client();
        setsockopt(&client, sockopt::Ipv4RecvErr, &true).unwrap();
        let errors = 5 * LIMIT as usize;
        for _ in 0..errors {
            // An error that waits is what the next call gives.
            let _ = sender.send(b"x");
        }
        let taken = Rc::new(Cell::new(0));
        let count = taken.clone();
        let take = move |_: &Looper, client: &mut UdpSocket, _: Events| {
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let took = recvmsg::<SockaddrIn>(client.as_raw_fd(), &mut [], None, flags).is_ok();
            count.set(count.get() + usize::from(took));
            let _ = client.take_error();
            FdNext::Keep
        };
        looper.add_fd(client, Interest::INPUT, take).unwrap();

        while !looper.poll_once(ms(20)).unwrap().timed_out {}

        assert!(taken.get() > 2 * LIMIT as usize, "{} of {errors}", taken.get());
        let mut left = 0;
        while recvmsg::<SockaddrIn>(sender.as_raw_fd(), &mut [], None, MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT)
            .is_ok()
        {
            left += 1;
        }
        assert_eq!(left, 0, "all were delivered");
        assert_eq!(looper.stats().muted_fds, 0);
    });
}

/// The one report of an empty interest is for one hang-up or error. Its answer could not arm it again.
#[test]
fn f8_with_an_empty_interest_each_error_is_reported() {
    watched(|| {
        for next in [FdNext::Keep, FdNext::Interest(Interest::empty())] {
            let looper = looper();
            let (client, sender) = refused_client();
            let errors = Rc::new(Cell::new(0));
            let count = errors.clone();
            let take = move |_: &Looper, client: &mut UdpSocket, _: Events| {
                count.set(count.get() + usize::from(client.take_error().unwrap().is_some()));
                next
            };
            looper.add_fd(client, Interest::empty(), take).unwrap();

            for error in 1..=5 {
                sender.send(b"x").unwrap();
                assert_eq!(looper.poll_once(ms(1000)).unwrap().fds, 1);
                assert_eq!(errors.get(), error);
                assert!(looper.poll_once(ms(1)).unwrap().timed_out);
            }
        }
    });
}

/// What `run` has ignored is heard again by who polls, when something comes.
#[test]
fn f9_an_ident_that_run_has_ignored_is_reported_when_it_changes() {
    watched(|| {
        let looper = looper();
        let (near, mut far) = UnixStream::pair().unwrap();
        looper.add_ident(near, Interest::INPUT, 7).unwrap();
        far.write_all(b"x").unwrap();
        let handle = looper.handle();
        looper.post_delayed(ms(5), move |looper| looper.post(|_| panic!("planned")).map(drop).unwrap()).unwrap();
        // `run` ends by a panic, so that the looper can be polled again.
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| looper.run())).is_err());
        assert_eq!(handle.stats().ignored_idents, 1);
        assert!(handle.stats().turns < 10, "{:?}", handle.stats());
        assert!(looper.poll_once(ms(1)).unwrap().timed_out);

        far.write_all(b"x").unwrap();

        assert_eq!(looper.poll_once(None).unwrap().idents[0].ident, 7);
    });
}

/// A panic of another callback in the same batch must not use up what a muted fd reports once.
#[test]
fn f8_x1_a_change_is_not_lost_to_a_turn_that_panics() {
    watched(|| {
        for muted_is_first in [true, false] {
            let looper = looper();
            let fifo = Fifo::new("panics");
            let seen = Seen::default();
            let (near, mut far) = UnixStream::pair().unwrap();
            let add_panic = |near: UnixStream| {
                let panics = |_: &Looper, _: &mut UnixStream, _: Events| panic!("planned");
                looper.add_fd(near, Interest::INPUT, panics).unwrap();
            };
            let reader = fifo.open(OpenOptions::new().read(true));
            seen.read_all(&looper, reader, Interest::INPUT);
            drop(fifo.open(OpenOptions::new().write(true)));
            poll_until_muted(&looper);
            add_panic(near);
            // epoll reports in the order in which fds have become ready.
            let mut writer = fifo.open(OpenOptions::new().write(true));
            if muted_is_first {
                writer.write_all(b"abc").unwrap();
                far.write_all(b"x").unwrap();
            } else {
                far.write_all(b"x").unwrap();
                writer.write_all(b"abc").unwrap();
            }

            let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| looper.poll_once(ms(0))));

            assert!(polled.is_err());
            while seen.bytes.get() < 3 {
                assert!(looper.poll_once(ms(1000)).unwrap().fds > 0, "the change is not lost");
            }
        }
    });
}
