//! One client: it sends a line, and is sent a line.

use std::{
    io::{self, Read},
    mem,
    os::unix::net::UnixStream,
    rc::Rc,
    time::Duration,
};

use super::{
    report::{failure, greeting},
    server::Server,
};
use crate::{
    fd::FdNext,
    looper::{Looper, posted::PostedGuard},
    sys::{interest::Interest, unix_socket},
};

/// For how long a client may leave an answer unread.
const MOST_STALLED: Duration = Duration::from_secs(10);
/// For how long it may ask for nothing.
const MOST_SILENT: Duration = Duration::from_secs(60);
/// How long a line that asks for something is at most.
const MOST_ASKED: usize = 64;

/// A client, in the callback of its socket.
pub(super) struct Client {
    server: Rc<Server>,
    /// What it has sent of its next line.
    asked: Vec<u8>,
    /// What is being sent to it, and how much of that was.
    answer: Rc<[u8]>,
    sent: usize,
    /// It has done what none may, and is sent no more than why.
    is_over: bool,
    /// Ends the registration when it has waited too long for the client.
    patience: Option<PostedGuard>,
}

impl Client {
    pub(super) fn new(server: Rc<Server>) -> Client {
        server.enter();
        let answer = Rc::from(greeting());
        Client { server, asked: Vec::new(), answer, sent: 0, is_over: false, patience: None }
    }

    /// Goes on as far as the socket lets it, with one answer at most: others want one, too.
    pub(super) fn serve(&mut self, looper: &Looper, stream: &mut UnixStream) -> FdNext {
        self.server.look_on(looper);
        let next = match self.is_answered() {
            true => self.hear(looper, stream),
            false => self.answer(looper, stream),
        };
        next.unwrap_or_else(|error| if is_temporary(&error) { FdNext::Keep } else { FdNext::Remove })
    }

    fn is_answered(&self) -> bool {
        self.sent == self.answer.len()
    }

    /// Sends what there is to send.
    fn answer(&mut self, looper: &Looper, stream: &mut UnixStream) -> io::Result<FdNext> {
        if self.patience.is_none() {
            self.wait_for(looper, MOST_STALLED);
        }
        match unix_socket::send(stream, &self.answer[self.sent..]) {
            Ok(count) => self.sent += count,
            Err(error) if is_temporary(&error) => {}
            Err(error) => return Err(error),
        }
        if !self.is_answered() {
            // It is not heard meanwhile.
            return Ok(FdNext::Interest(Interest::OUTPUT));
        }
        if self.is_over {
            return Ok(FdNext::Remove);
        }
        self.wait_for(looper, MOST_SILENT);
        Ok(FdNext::Interest(Interest::INPUT))
    }

    /// Takes what was sent; a whole line is answered.
    fn hear(&mut self, looper: &Looper, stream: &mut UnixStream) -> io::Result<FdNext> {
        let mut bytes = [0; MOST_ASKED];
        let count = stream.read(&mut bytes[self.asked.len()..])?;
        if count == 0 {
            return Ok(FdNext::Remove);
        }
        self.asked.extend_from_slice(&bytes[self.asked.len()..][..count]);
        let length = self.asked.iter().position(|byte| *byte == b'\n');
        if length.is_none() && self.asked.len() < MOST_ASKED {
            return Ok(FdNext::Keep);
        }
        let asked = mem::take(&mut self.asked);
        // One that sends its next line before it has its answer asks for it twice.
        let is_known = length == Some(asked.len() - 1) && matches!(asked.trim_ascii_end(), b"look");
        self.is_over = !is_known;
        self.answer = if is_known { self.server.report(looper) } else { Rc::from(failure(UNKNOWN)) };
        self.sent = 0;
        self.wait_for(looper, MOST_STALLED);
        self.answer(looper, stream)
    }

    /// Ends this client unless it goes on within `limit`.
    fn wait_for(&mut self, looper: &Looper, limit: Duration) {
        let this = looper.current_fd();
        let end = move |_: &Looper| _ = this.map(|this| this.remove());
        self.patience = looper.post_delayed(limit, end).ok().map(|posted| posted.guard());
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// What a client is told that asks for something else.
const UNKNOWN: &str = "a client sends the line \"look\", and the next one after its answer";

impl Drop for Client {
    fn drop(&mut self) {
        self.server.leave();
    }
}
