//! cargo run --example stdin
//!
//! Reads lines from a terminal or a pipe through the looper, which stays free for other things meanwhile. Nothing is
//! set non-blocking, since others may share the terminal: it reads only when something is there, and only that.

use std::{
    cell::Cell,
    io::{self, BufRead, ErrorKind, Stdin, Write},
    process::ExitCode,
    rc::Rc,
};

use alooper::{AddFdError, FdNext, Interest, Looper};

fn main() -> ExitCode {
    match number_lines() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has enough, such as `head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stdin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number_lines() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let outcome = Rc::new(Cell::new(Ok(())));
    let mut lines = Lines::default();

    let at_end = outcome.clone();
    let added = looper.add_fd(io::stdin(), Interest::INPUT, move |looper, stdin, _| match lines.read_some(stdin) {
        Ok(true) => FdNext::Keep,
        Err(error) if error.kind() == ErrorKind::Interrupted => FdNext::Keep,
        ended => {
            at_end.set(ended.map(drop));
            looper.quit();
            FdNext::Remove
        }
    });
    added.map_err(explain)?;

    looper.run()?;
    outcome.replace(Ok(()))
}

/// Says what to do about a standard input that epoll refuses.
fn explain(refused: AddFdError<Stdin>) -> io::Error {
    if refused.error().kind() != ErrorKind::PermissionDenied {
        return refused.into();
    }
    io::Error::other("epoll cannot wait for a file or /dev/null on standard input: use a pipe, as in `cat FILE | ...`")
}

/// Numbers and prints the lines in what is read, in whatever pieces it comes.
#[derive(Default)]
struct Lines {
    count: u64,
    line: Vec<u8>,
}

impl Lines {
    /// Reads once and leaves nothing in the buffer, where epoll would not see it; whether more can follow.
    fn read_some(&mut self, stdin: &Stdin) -> io::Result<bool> {
        let mut stdin = stdin.lock();
        let read = stdin.fill_buf()?;
        let length = read.len();
        for piece in read.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.print_line()?;
            }
        }
        stdin.consume(length);
        if length == 0 && !self.line.is_empty() {
            self.print_line()?;
        }
        Ok(length > 0)
    }

    fn print_line(&mut self) -> io::Result<()> {
        self.count += 1;
        let line = String::from_utf8_lossy(&self.line);
        writeln!(io::stdout(), "{}: {}", self.count, line.trim_end_matches(['\r', '\n']))?;
        self.line.clear();
        Ok(())
    }
}
