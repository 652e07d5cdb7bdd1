//! Files that histories watch, on the real kernel: one end of a pair of sockets.
//!
//! A file is ready for input when the other end has written, for output unless its buffer is full, and for a hang-up
//! when the other end is closed; for priority data and errors it never is.

use std::{
    io::{ErrorKind, Read, Write},
    mem,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
};

use alooper::Events;

/// More than the kernel lets lie unread in a socket that is ready for output: a quarter of its buffer.
static PLENTY: [u8; 65_536] = [0; 65_536];

/// What a file can be made ready for.
pub(crate) const CONDITIONS: u8 = Events::INPUT.bits() | Events::OUTPUT.bits();

#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {}

/// A descriptor. Clones are the same one, which is closed with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Fd(Arc<UnixStream>);

/// What a file's descriptors stand for.
#[derive(Debug)]
pub(crate) struct File {
    far: Option<UnixStream>,
    is_full: bool,
    /// Something lies unread. It is not written anew, since the kernel would tell of that as of a change.
    has_input: bool,
}

impl Kernel {
    /// Opens a file that is ready for nothing.
    pub(crate) fn open(&self) -> (Fd, File) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let (fd, mut file) = (Fd(Arc::new(near)), File { far: Some(far), is_full: false, has_input: false });
        file.set_ready(&fd, 0);
        (fd, file)
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Fd {
    pub(crate) fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Another descriptor of the same file.
    pub(crate) fn dup(&self) -> Fd {
        Fd(Arc::new(self.0.try_clone().unwrap()))
    }

    /// Reads all that there is.
    pub(crate) fn drain(&self, file: &mut File) {
        exhaust(&self.0);
        file.has_input = false;
    }
}

impl File {
    /// Makes it ready for `events`, by the descriptor `near`.
    pub(crate) fn set_ready(&mut self, near: &Fd, events: u8) {
        let events = Events::from_bits_truncate(events);
        let had_input = mem::replace(&mut self.has_input, events.contains(Events::INPUT));
        if !self.has_input {
            exhaust(&near.0);
        }
        let Some(far) = &mut self.far else { return };
        if self.has_input && !had_input {
            far.write_all(&[1]).unwrap();
        }
        let is_full = !events.contains(Events::OUTPUT);
        if is_full && !self.is_full {
            assert!((&*near.0).write(&PLENTY).unwrap() > PLENTY.len() / 2);
        } else if !is_full {
            exhaust(far);
        }
        self.is_full = is_full;
    }

    pub(crate) fn hang(&mut self) {
        // Closed with something unread, it would be an error for the other end.
        if let Some(far) = self.far.take() {
            exhaust(&far);
        }
    }
}

/// Reads all that there is, also from one whose other end was closed with something unread.
fn exhaust(mut stream: &UnixStream) {
    let mut buffer = [0; PLENTY.len()];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset) => return,
            Err(error) => panic!("a socket cannot be read: {error}"),
        }
    }
}
