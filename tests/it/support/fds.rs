//! Fds to watch: ready ones, and ones that tell where they are dropped.

use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    rc::Rc,
    sync::mpsc,
    thread::{self, ThreadId},
    time::Duration,
};

use alooper::{Looper, Turn};

/// Polls once without waiting.
#[track_caller]
pub(crate) fn poll_now(looper: &Looper) -> Turn {
    looper.poll_once(Duration::ZERO).unwrap()
}

/// A stream that is ready for input, and its peer.
pub(crate) fn ready_stream() -> (UnixStream, UnixStream) {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"x").unwrap();
    (near, far)
}

/// A stream that is ready for input, shared, so that it can be registered twice; and its peer.
pub(crate) fn shared_ready() -> (Rc<UnixStream>, UnixStream) {
    let (near, far) = ready_stream();
    (Rc::new(near), far)
}

/// The reading end of a pipe that is ready for input, and its writing end.
pub(crate) fn ready_pipe() -> (OwnedFd, io::PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(b"x").unwrap();
    (reader.into(), writer)
}

/// Tells on which thread it is dropped.
pub(crate) struct Witness {
    dropped_on: mpsc::Sender<ThreadId>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        // Nobody may be listening any more.
        let _ = self.dropped_on.send(thread::current().id());
    }
}

/// A stream that tells on which thread it is dropped.
pub(crate) struct Witnessed {
    pub(crate) stream: UnixStream,
    _witness: Witness,
}

impl AsFd for Witnessed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A stream that is ready for input, a witness for its callback, where both are heard of, and its peer.
pub(crate) fn witnessed_ready() -> (Witnessed, Witness, mpsc::Receiver<ThreadId>, UnixStream) {
    let (stream, far) = ready_stream();
    let (dropped_on, heard) = mpsc::channel();
    let source = Witnessed { stream, _witness: Witness { dropped_on: dropped_on.clone() } };
    (source, Witness { dropped_on }, heard, far)
}
