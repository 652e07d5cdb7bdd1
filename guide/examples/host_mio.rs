//! cargo run -p alooper-guide --example host_mio
//!
//! docs/guide/how-to/embed.md: a looper inside a loop around mio, which reports each readiness once.

use std::{
    io::{self, ErrorKind},
    os::fd::AsRawFd,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

mod hosted;

const LOOPER: Token = Token(0);
const STREAM: Token = Token(1);

fn main() -> io::Result<()> {
    let (looper, stream) = hosted::looper_with_work()?;

    // [host]
    let mut poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&looper.as_raw_fd()), LOOPER, Interest::READABLE)?;
    poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), STREAM, Interest::READABLE)?;
    let mut events = Events::with_capacity(16);
    // Whether the looper may have more to do: mio does not say so again.
    let mut has_more = false;
    loop {
        let timeout = has_more.then_some(Duration::ZERO);
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            match event.token() {
                LOOPER => has_more = true,
                _ => hosted::answer(&stream)?,
            }
        }
        if has_more {
            let turn = looper.poll_once(Duration::ZERO)?;
            if turn.quit {
                break;
            }
            has_more = !turn.is_empty();
        }
    }
    poll.registry().deregister(&mut SourceFd(&looper.as_raw_fd()))?;
    // [/host]
    println!("host: the looper has quit");
    Ok(())
}
