//! cargo run -p alooper-guide --example host_poll
//!
//! docs/guide/how-to/embed.md: a looper inside a loop around `poll(2)`.

use std::{io, os::fd::AsFd, time::Duration};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

mod hosted;

fn main() -> io::Result<()> {
    let (looper, stream) = hosted::looper_with_work()?;

    // [host]
    loop {
        let mut fds = [looper.as_fd(), stream.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            polled => polled?,
        };
        let [is_for_looper, is_for_host] = fds.map(|fd| fd.any().unwrap_or(true));
        if is_for_host {
            hosted::answer(&stream)?;
        }
        if is_for_looper && looper.poll_once(Duration::ZERO)?.quit {
            break;
        }
    }
    // [/host]
    println!("host: the looper has quit");
    Ok(())
}
