//! cargo run -p alooper-guide --example lines
//!
//! docs/guide/how-to/lines.md: a stream is read in pieces, and lines come out.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
};

use alooper::{FdNext, Interest, Looper};

// [lines]
const LONGEST: usize = 8192;

#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
}

impl Lines {
    /// Reads once, and gives each whole line to `line`. At the end of the stream, the answer is `Remove`.
    fn read(&mut self, stream: &mut impl Read, mut line: impl FnMut(&str)) -> io::Result<FdNext> {
        let mut piece = [0; 4096];
        let count = match stream.read(&mut piece) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(FdNext::Keep);
            }
            Err(error) => return Err(error),
        };
        self.buffer.extend_from_slice(&piece[..count]);
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            line(&String::from_utf8_lossy(&self.buffer[..end]));
            self.buffer.drain(..=end);
        }
        if count == 0 && !self.buffer.is_empty() {
            line(&String::from_utf8_lossy(&self.buffer));
        }
        if self.buffer.len() > LONGEST {
            return Err(io::Error::new(ErrorKind::InvalidData, "a line is too long"));
        }
        Ok(if count == 0 { FdNext::Remove } else { FdNext::Keep })
    }
}
// [/lines]

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let (near, mut far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    // [use]
    let mut lines = Lines::default();
    looper.add_fd(near, Interest::INPUT, move |looper, stream, _| {
        let next = lines.read(stream, |line| println!("line {line:?}")).unwrap_or_else(|error| {
            eprintln!("the stream is given up: {error}");
            FdNext::Remove
        });
        if next == FdNext::Remove {
            looper.quit();
        }
        next
    })?;
    // [/use]
    // One piece a turn, so that the callback sees each by itself.
    for piece in ["first\nsec", "ond\n\nfour", "th"] {
        println!("written {piece:?}");
        far.write_all(piece.as_bytes())?;
        looper.poll_once(None)?;
    }
    drop(far);
    looper.run()?;
    Ok(())
}
