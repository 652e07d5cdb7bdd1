//! The cases of Android's own test of its native `Looper`, one test each, named as there: fds. Those of waiting and of
//! messages are in waiting.rs.
//!
//! Holds T1, T2, F1, F2, F3, F4, F5, F6, F9, W3.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, ErrorKind, PipeReader, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    rc::Rc,
    sync::mpsc,
    time::Duration,
};

use alooper::{Events, FdHandle, FdNext, FdSource, Interest, Looper, LooperHandle, PollCode, testing::TestLooper};
use nix::unistd::dup2;

use crate::support::{Elsewhere, HOUR, fds::ready_pipe, ms, watched};

const AT_ONCE: Duration = Duration::ZERO;

/// Polls once: Android's code for that, and how much of the looper's time it took.
#[track_caller]
fn poll(looper: &Looper, timeout: Duration) -> (PollCode, Duration) {
    let start = looper.now();
    let code = looper.poll_once(timeout).unwrap().code();
    (code, looper.now() - start)
}

type Log<T> = Rc<RefCell<Vec<T>>>;

/// A callback that logs what it is called with, and answers `next`.
fn logging(
    log: &Log<(RawFd, Events)>,
    next: FdNext,
) -> impl FnMut(&Looper, &mut Rc<PipeReader>, Events) -> FdNext + 'static {
    let log = log.clone();
    move |_, reader, events| {
        log.borrow_mut().push((reader.as_raw_fd(), events));
        next
    }
}

/// Watches `reader` for input. The log has what its callback is called with.
fn watch(looper: &Looper, reader: PipeReader) -> (FdSource<Rc<PipeReader>>, Log<(RawFd, Events)>) {
    let calls = Log::default();
    let source = looper.add_fd(Rc::new(reader), Interest::INPUT, logging(&calls, FdNext::Keep));
    (source.unwrap(), calls)
}

/// A looper on another thread that runs `then` when 100 ms have passed.
fn after_100_ms(then: impl FnOnce() + Send + 'static) -> Elsewhere {
    Elsewhere::run(move |looper| {
        let last = |looper: &Looper| {
            then();
            looper.quit();
        };
        looper.post_delayed(ms(100), last).unwrap();
    })
}

// pollOnce, with fds

/// T1, F3.
#[test]
fn poll_once_when_zero_timeout_and_no_signalled_fds_immediately_returns() {
    let looper = TestLooper::new().unwrap();
    let (reader, _writer) = io::pipe().unwrap();
    let (_source, calls) = watch(&looper, reader);

    assert_eq!(poll(&looper, Duration::ZERO), (PollCode::Timeout, AT_ONCE));

    assert_eq!(*calls.borrow(), []);
}

/// F3: input, and nothing else.
#[test]
fn poll_once_when_zero_timeout_and_signalled_fd_immediately_invokes_callback_and_returns() {
    let looper = TestLooper::new().unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    let fd = reader.as_raw_fd();
    writer.write_all(b"x").unwrap();
    let (_source, calls) = watch(&looper, reader);

    assert_eq!(poll(&looper, Duration::ZERO), (PollCode::Callback, AT_ONCE));

    assert_eq!(*calls.borrow(), [(fd, Events::INPUT)]);
}

/// T1.
#[test]
fn poll_once_when_non_zero_timeout_and_no_signalled_fds_waits_for_timeout_and_returns() {
    let looper = TestLooper::new().unwrap();
    let (reader, _writer) = io::pipe().unwrap();
    let (_source, calls) = watch(&looper, reader);

    assert_eq!(poll(&looper, ms(100)), (PollCode::Timeout, ms(100)));

    assert_eq!(*calls.borrow(), []);
}

/// T2, F3.
#[test]
fn poll_once_when_non_zero_timeout_and_signalled_fd_before_waiting_immediately_invokes_callback_and_returns() {
    let looper = TestLooper::new().unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    let fd = reader.as_raw_fd();
    let (_source, calls) = watch(&looper, reader);
    writer.write_all(b"x").unwrap();

    assert_eq!(poll(&looper, ms(100)), (PollCode::Callback, AT_ONCE));

    assert_eq!(*calls.borrow(), [(fd, Events::INPUT)]);
}

/// F3: on the real clock, which tells only that it was not too early.
#[test]
fn poll_once_when_non_zero_timeout_and_signalled_fd_while_waiting_promptly_invokes_callback_and_returns() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let fd = reader.as_raw_fd();
        let (_source, calls) = watch(&looper, reader);
        let start = looper.now();
        let (done, is_done) = mpsc::channel::<()>();
        let signaller = after_100_ms(move || {
            writer.write_all(b"x").unwrap();
            // Open until the looper has seen it: a pipe without writer would also hang up.
            is_done.recv().unwrap_err();
        });

        let (code, _) = poll(&looper, HOUR);
        drop(done);

        assert_eq!(code, PollCode::Callback);
        assert!(looper.now() - start >= ms(100));
        assert_eq!(*calls.borrow(), [(fd, Events::INPUT)]);
        signaller.join();
    });
}

/// F4.
#[test]
fn poll_once_when_callback_added_then_removed_callback_should_not_be_invoked() {
    let looper = TestLooper::new().unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    let (source, calls) = watch(&looper, reader);
    writer.write_all(b"x").unwrap();
    // Still open, so that only the removal keeps the callback from being called.
    let _reader = source.remove().unwrap();

    assert_eq!(poll(&looper, ms(100)), (PollCode::Timeout, ms(100)));

    assert_eq!(*calls.borrow(), []);
}

/// F5.
#[test]
fn poll_once_when_callback_returns_false_callback_should_not_be_invoked_again_later() {
    let looper = TestLooper::new().unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    let reader = Rc::new(reader);
    let calls = Log::default();
    looper.add_fd(reader.clone(), Interest::INPUT, logging(&calls, FdNext::Remove)).unwrap();
    writer.write_all(b"x").unwrap();

    assert_eq!(poll(&looper, Duration::ZERO), (PollCode::Callback, AT_ONCE));
    writer.write_all(b"x").unwrap();
    assert_eq!(poll(&looper, Duration::ZERO), (PollCode::Timeout, AT_ONCE));

    assert_eq!(calls.borrow().len(), 1);
    assert_eq!(Rc::strong_count(&reader), 1, "the looper has dropped its share");
}

/// F9: ident and events stand in the turn's report. Fd and data are reached through the source.
#[test]
fn poll_once_when_non_callback_fd_is_signalled_returns_ident() {
    let looper = TestLooper::new().unwrap();
    let (reader, _writer) = ready_pipe();
    let fd = reader.as_raw_fd();
    let source = looper.add_ident(reader, Interest::INPUT, 5).unwrap();

    let turn = looper.poll_once(ms(100)).unwrap();

    assert_eq!((turn.code(), turn.code().as_number()), (PollCode::Ident(5), 5));
    let ready: Vec<_> = turn.idents.iter().map(|ready| (ready.ident, ready.events)).collect();
    assert_eq!(ready, [(5, Events::INPUT)]);
    assert_eq!(source.with(|reader| reader.as_raw_fd()), Some(fd));
}

// addFd, getFdStateDebug, removeFd

/// F1: where Android returns one, the registration is returned.
#[test]
fn add_fd_when_callback_added_returns_one() {
    let looper = TestLooper::new().unwrap();
    let (reader, _writer) = io::pipe().unwrap();

    let added = looper.add_fd(reader, Interest::INPUT, |_, _, _| FdNext::Keep);

    assert!(added.is_ok_and(|source| source.is_registered()));
}

/// F9. Better than Android: idents are `u32`, so that a negative one does not compile. What remains to be seen is that
/// each `u32` is an ident, also one that would be negative as an `i32`, and that none of them is taken for another
/// code.
#[test]
fn add_fd_when_ident_is_negative_and_callback_is_null_returns_error() {
    for ident in [0, i32::MAX as u32 + 1, u32::MAX] {
        let looper = TestLooper::new().unwrap();
        let (reader, _writer) = ready_pipe();
        looper.add_ident(reader, Interest::INPUT, ident).unwrap();

        let code = looper.poll_once(Duration::ZERO).unwrap().code();

        assert_eq!((code, code.as_number()), (PollCode::Ident(ident), i64::from(ident)));
    }
}

/// F9: no looper disallows idents, and none has to. `add_fd` does not compile without a callback, and what it adds is
/// never reported as an ident; what `add_ident` adds has no callback.
#[test]
fn add_fd_when_no_callback_and_allow_non_callbacks_is_false_returns_error() {
    let looper = TestLooper::new().unwrap();
    let (with_callback, _writer) = ready_pipe();
    let (without, _writer_too) = ready_pipe();
    looper.add_fd(with_callback, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
    looper.add_ident(without, Interest::INPUT, 5).unwrap();

    let turn = looper.poll_once(Duration::ZERO).unwrap();

    assert_eq!((turn.fds, turn.idents.len()), (1, 1));
    assert_eq!(turn.idents[0].ident, 5);
}

/// W3: fd, interest, and ident or callback stand in the dump.
#[test]
fn get_fd_state_debug_when_fd_is_in_requests_returns_true() {
    let looper = TestLooper::new().unwrap();
    let (with_callback, _writer) = io::pipe().unwrap();
    let (without, _writer_too) = io::pipe().unwrap();
    let fds = [with_callback.as_raw_fd(), without.as_raw_fd()];
    let both = Interest::INPUT | Interest::OUTPUT;
    looper.add_fd(with_callback, both, |_, _, _| FdNext::Keep).unwrap();
    looper.add_ident(without, Interest::INPUT, 5).unwrap();

    let text = looper.dump().to_string();

    assert!(text.contains(&format!("fd {} for {both:?}, callback", fds[0])), "{text}");
    assert!(text.contains(&format!("fd {} for {:?}, ident 5", fds[1], Interest::INPUT)), "{text}");
    assert!(text.contains("fds: 2"), "{text}");
}

/// W3.
#[test]
fn get_fd_state_debug_when_fd_is_not_in_requests_returns_false() {
    let looper = TestLooper::new().unwrap();
    let (reader, _writer) = io::pipe().unwrap();
    let (other, _writer_too) = io::pipe().unwrap();
    let unknown = format!("fd {} for", reader.as_raw_fd());
    looper.add_ident(other, Interest::INPUT, 5).unwrap();

    let text = looper.dump().to_string();

    assert!(!text.contains(&unknown), "{text}");
    assert!(text.contains("fds: 1"), "{text}");
}

/// F1: only what was added can be named to be removed. What was refused comes back, and nothing stays of it.
#[test]
fn remove_fd_when_callback_not_added_returns_zero() {
    let looper = TestLooper::new().unwrap();
    let regular_file = File::open("/proc/self/exe").unwrap();

    let refused = looper.add_fd(regular_file, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();

    assert_eq!(refused.error().kind(), ErrorKind::PermissionDenied);
    assert!(refused.into_source().unwrap().metadata().is_ok(), "the file is still open");
    assert!(looper.dump().to_string().contains("fds: 0"));
}

/// F4.
#[test]
fn remove_fd_when_callback_added_then_removed_twice_returns_once_first_time_and_returns_zero_second_time() {
    let looper = TestLooper::new().unwrap();
    let (reader, _writer) = io::pipe().unwrap();
    let source = looper.add_fd(reader, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
    let (other, _writer_too) = io::pipe().unwrap();
    let from_afar = looper.handle().add_fd(other, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();

    assert!(source.remove().is_some());
    assert!(source.remove().is_none());
    assert!(from_afar.remove());
    assert!(!from_afar.remove());
}

/// F2. Better than Android: adding an fd twice is an error, so that nobody loses a callback to another by accident;
/// replacing it has to be asked for.
#[test]
fn poll_once_when_callback_added_twice_only_second_callback_should_be_invoked() {
    let looper = TestLooper::new().unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    let reader = Rc::new(reader);
    let (first, second) = (Log::default(), Log::default());
    looper.add_fd(reader.clone(), Interest::INPUT, logging(&first, FdNext::Keep)).unwrap();
    writer.write_all(b"x").unwrap();

    let unasked = looper.add_fd(reader.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
    looper.replace_fd(reader.clone(), Interest::INPUT, logging(&second, FdNext::Keep)).unwrap();
    let polled = poll(&looper, ms(100));

    assert_eq!(unasked.error().kind(), ErrorKind::AlreadyExists);
    assert_eq!(polled, (PollCode::Callback, AT_ONCE));
    assert_eq!(*first.borrow(), []);
    assert_eq!(*second.borrow(), [(reader.as_raw_fd(), Events::INPUT)]);
}

// A callback that ends its registration, while another thread ends it, too, and uses the fd's number again.

/// An fd that comes back to the test, still open, when its registration lets go of it.
struct Returning {
    fd: Option<OwnedFd>,
    to: mpsc::Sender<OwnedFd>,
}

impl Returning {
    /// Lets go of the fd now, for one of another number.
    fn hand_over(&mut self) {
        let other = File::open("/dev/null").unwrap();
        self.to.send(self.fd.replace(other.into()).unwrap()).unwrap();
    }
}

impl AsFd for Returning {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().unwrap().as_fd()
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        // Nobody listens any more for the one of another number.
        let _ = self.to.send(self.fd.take().unwrap());
    }
}

/// Watches a pipe that has hung up, with a callback that lets go of its fd, does `last`, and answers that it is to be
/// removed; and where the fd comes back.
fn watch_hung_up(
    handle: &LooperHandle,
    mut last: impl FnMut() + Send + 'static,
) -> (FdHandle, mpsc::Receiver<OwnedFd>) {
    let (reader, writer) = io::pipe().unwrap();
    let (to, returned) = mpsc::channel();
    let source = Returning { fd: Some(reader.into()), to };
    let registered = handle.add_fd(source, Interest::INPUT, move |_, source, events| {
        assert_eq!(events, Events::HANGUP);
        source.hand_over();
        last();
        FdNext::Remove
    });
    drop(writer);
    (registered.unwrap(), returned)
}

/// Watches a new pipe whose reading end has the number of `fd`, which is closed; with its writing end, and where its
/// calls are heard of.
fn watch_at_number_of(handle: &LooperHandle, mut fd: OwnedFd) -> (FdHandle, io::PipeWriter, mpsc::Receiver<Events>) {
    let (reader, writer) = io::pipe().unwrap();
    dup2(&reader, &mut fd).unwrap();
    let (called, calls) = mpsc::channel();
    let registered = handle.add_fd(File::from(fd), Interest::INPUT, move |_, reader, events| {
        reader.read_exact(&mut [0]).unwrap();
        called.send(events).unwrap();
        FdNext::Keep
    });
    (registered.unwrap(), writer, calls)
}

/// F4, F5, F6: a thousand times, on real threads. In half of the rounds, the old callback is about to answer when the
/// new registration is made.
#[test]
fn multi_threaded_no_unexpected_fd_removal() {
    watched(|| {
        let looper = Elsewhere::run(|_| ());
        let handle = looper.handle.clone();

        for round in 0..200 {
            let (old, returned) = watch_hung_up(&handle, || ());
            let handed_over = (round % 2 == 0).then(|| returned.recv().unwrap());
            old.remove();
            let fd = handed_over.unwrap_or_else(|| returned.recv().unwrap());
            let (new, mut writer, calls) = watch_at_number_of(&handle, fd);
            writer.write_all(b"x").unwrap();

            assert_eq!(calls.recv(), Ok(Events::INPUT), "round {round}");
            assert!(new.remove(), "round {round}");
        }

        handle.quit();
        looper.join();
    });
}

/// F4, F5, F6: the one order of steps that is meant by it, for certain.
#[test]
fn multi_threaded_no_unexpected_fd_removal_when_the_old_callback_answers_last() {
    watched(|| {
        let looper = Elsewhere::run(|_| ());
        let handle = looper.handle.clone();
        let (answer, may_answer) = mpsc::channel();
        let (old, returned) = watch_hung_up(&handle, move || may_answer.recv().unwrap());
        let fd = returned.recv().unwrap();
        let number = fd.as_raw_fd();

        assert!(old.remove());
        let (new, mut writer, calls) = watch_at_number_of(&handle, fd);
        answer.send(()).unwrap();
        handle.call(|_| ()).unwrap();

        assert!(new.is_registered() && !old.is_registered());
        assert!(handle.dump().to_string().contains(&format!("fd {number} for")));
        writer.write_all(b"x").unwrap();
        assert_eq!(calls.recv(), Ok(Events::INPUT));
        handle.quit();
        looper.join();
    });
}
