//! An fd that is called again and again without anything being taken is noticed.
//!
//! Holds F3, F13.

use std::{
    cell::Cell,
    fs::OpenOptions,
    io::{self, Read, Write},
    net::UdpSocket,
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    rc::Rc,
    thread,
};

use alooper::{Events, FdNext, Interest, Looper, LooperBuilder, Notice, Observer};
use nix::{
    fcntl::OFlag,
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
};

use crate::support::{ms, watched};

/// So many calls in a row are noticed.
const CALLS: u64 = 1000;

/// Notes what is told of stuck fds.
#[derive(Clone, Default)]
struct Told(Rc<Cell<Vec<(u32, bool, u32)>>>);

impl Observer for Told {
    fn noticed(&self, notice: &Notice) {
        let Notice::StuckFd { calls, muted, place, .. } = notice else { panic!("{notice}") };
        assert_eq!(place.file(), file!());
        let mut told = self.0.take();
        told.push((*calls, *muted, place.line()));
        self.0.set(told);
    }
}

fn looper(set: impl FnOnce(LooperBuilder) -> LooperBuilder) -> (Looper, Told) {
    let looper = set(Looper::builder()).build().unwrap();
    let told = Told::default();
    looper.set_observer(Some(Rc::new(told.clone())));
    (looper, told)
}

fn poll(looper: &Looper, turns: u64) -> usize {
    (0..turns).map(|_| looper.poll_once(ms(0)).unwrap().fds).sum()
}

/// A callback that reads the end of a stream and keeps on watching.
fn read_and_keep<S: Read>() -> impl FnMut(&Looper, &mut S, Events) -> FdNext {
    |_, source, _| {
        let _ = source.read(&mut [0; 64]);
        FdNext::Keep
    }
}

/// It was called for ever, and nobody said a word. What is reported stays truthful: it is level-triggered.
#[test]
fn f13_f3_keeping_on_at_the_end_of_a_stream_is_told_once_and_goes_on() {
    watched(|| {
        let (looper, told) = looper(|builder| builder);
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        looper.add_fd(near, Interest::INPUT, read_and_keep()).unwrap();
        let line = line!() - 1;
        far.write_all(b"the last words").unwrap();
        drop(far);
        assert_eq!(poll(&looper, CALLS), CALLS as usize);
        assert_eq!((told.0.take(), looper.stats().stuck_fds), (vec![], 0), "the first call has read");

        assert_eq!(poll(&looper, 3 * CALLS), 3 * CALLS as usize, "each turn calls it");

        assert_eq!(told.0.take(), [(CALLS as u32, false, line)]);
        let stats = looper.stats();
        assert_eq!((stats.stuck_fds, stats.muted_fds), (1, 0));
    });
}

/// A terminal whose other side is closed is ready for input that cannot be read, and hangs up.
#[test]
fn f13_a_terminal_that_has_ended_is_told() {
    watched(|| {
        let (looper, told) = looper(|builder| builder);
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let mut open = OpenOptions::new();
        open.read(true).custom_flags(OFlag::O_NOCTTY.bits());
        let terminal = open.open(ptsname_r(&master).unwrap()).unwrap();
        looper.add_fd(terminal, Interest::INPUT, read_and_keep()).unwrap();

        drop(master);
        poll(&looper, 2 * CALLS);

        assert_eq!(told.0.take().len(), 1);
    });
}

#[test]
fn f13_who_asks_for_a_read_hangup_alone_and_keeps_on_is_told() {
    watched(|| {
        let (looper, told) = looper(|builder| builder);
        let (near, far) = UnixStream::pair().unwrap();
        far.shutdown(std::net::Shutdown::Write).unwrap();
        looper.add_fd(near, Interest::READ_HANGUP, |_, _, _| FdNext::Keep).unwrap();

        poll(&looper, 2 * CALLS);

        assert_eq!(told.0.take().len(), 1);
    });
}

#[test]
fn f13_input_that_the_callback_leaves_where_it_is_is_told() {
    watched(|| {
        let (looper, told) = looper(|builder| builder);
        let (reader, mut writer) = io::pipe().unwrap();
        looper.add_fd(reader, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        writer.write_all(b"x").unwrap();

        poll(&looper, 2 * CALLS);

        assert_eq!(told.0.take().len(), 1);
    });
}

#[test]
fn f13_what_is_read_little_by_little_is_not_stuck() {
    watched(|| {
        let (looper, told) = looper(|builder| builder.mute_stuck_fds(true));
        let (reader, mut writer) = io::pipe().unwrap();
        let bytes = 3 * CALLS as usize;
        writer.write_all(&vec![0; bytes]).unwrap();
        let read = |_: &Looper, reader: &mut io::PipeReader, _: Events| {
            assert_eq!(reader.read(&mut [0]).unwrap(), 1);
            FdNext::Keep
        };
        looper.add_fd(reader, Interest::INPUT, read).unwrap();

        assert_eq!(poll(&looper, 2 * bytes as u64), bytes);

        assert_eq!((told.0.take(), looper.stats().stuck_fds), (vec![], 0));
    });
}

/// There is always as much to read as before, and yet all of it is read.
#[test]
fn f13_what_is_filled_up_again_at_once_is_not_stuck() {
    watched(|| {
        let (looper, told) = looper(|builder| builder.mute_stuck_fds(true));
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        let exchange = move |_: &Looper, reader: &mut io::PipeReader, _: Events| {
            reader.read_exact(&mut [0]).unwrap();
            writer.write_all(b"y").unwrap();
            FdNext::Keep
        };
        looper.add_fd(reader, Interest::INPUT, exchange).unwrap();

        assert_eq!(poll(&looper, 5 * CALLS), 5 * CALLS as usize);

        assert_eq!((told.0.take(), looper.stats().stuck_fds), (vec![], 0));
    });
}

/// Of what does not count bytes nobody knows.
#[test]
fn f13_datagrams_of_the_same_length_are_not_stuck() {
    watched(|| {
        let (looper, told) = looper(|builder| builder.mute_stuck_fds(true));
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        (0..20).for_each(|_| _ = sender.send(b"x").unwrap());
        let receive = move |_: &Looper, receiver: &mut UdpSocket, _: Events| {
            receiver.recv(&mut [0]).unwrap();
            sender.send(b"x").unwrap();
            FdNext::Keep
        };
        looper.add_fd(receiver, Interest::INPUT, receive).unwrap();

        poll(&looper, 3 * CALLS);

        assert_eq!((told.0.take(), looper.stats().stuck_fds), (vec![], 0));
    });
}

#[test]
fn f13_a_stuck_fd_is_muted_if_the_builder_asks_for_it_and_hears_the_next_change() {
    watched(|| {
        let (looper, told) = looper(|builder| builder.mute_stuck_fds(true));
        let (reader, mut writer) = io::pipe().unwrap();
        let source = looper.add_fd(reader, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(poll(&looper, 2 * CALLS), CALLS as usize);
        assert!(told.0.take().iter().all(|(_, muted, _)| *muted));
        assert!(looper.poll_once(ms(1)).unwrap().timed_out);

        writer.write_all(b"x").unwrap();
        assert_eq!(poll(&looper, 10), 10, "from now on as before");
        source.set_interest(Interest::empty()).unwrap();
        source.set_interest(Interest::INPUT).unwrap();
        assert_eq!(poll(&looper, 2 * CALLS), CALLS as usize);

        assert_eq!(looper.stats().stuck_fds, 2, "a new interest begins anew");
    });
}

/// `run` must not wait for a change to say that there is none.
#[test]
fn f13_a_looper_that_runs_is_told_without_another_event() {
    watched(|| {
        let (looper, told) = looper(|builder| builder.mute_stuck_fds(true));
        let (reader, mut writer) = io::pipe().unwrap();
        looper.add_fd(reader, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        writer.write_all(b"x").unwrap();
        let handle = looper.handle();
        let other = thread::spawn(move || {
            while handle.stats().stuck_fds == 0 {
                thread::yield_now();
            }
            handle.quit();
        });

        looper.run().unwrap();

        other.join().unwrap();
        assert_eq!(told.0.take().len(), 1);
    });
}
