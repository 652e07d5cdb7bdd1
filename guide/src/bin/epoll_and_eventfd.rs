//! cargo run -p alooper-guide --bin epoll_and_eventfd -- [SECONDS]
//!
//! Chapter 4 of docs/guide: a thread writes an eventfd twice, SECONDS (4) apart; the main thread waits for it with a
//! timeout of half that time.

use std::{env, io, thread, time::Duration};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    eventfd::{EfdFlags, EventFd},
};

fn main() -> io::Result<()> {
    let gap = match env::args().nth(1) {
        None => Duration::from_secs(4),
        Some(seconds) => seconds
            .parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| io::Error::other("usage: epoll_and_eventfd [SECONDS]"))?,
    };
    println!("non-blocking: {}", wakes_and_timeouts(EfdFlags::EFD_NONBLOCK, gap)?.join(", "));
    println!("blocking: {}", wakes_and_timeouts(EfdFlags::empty(), gap)?.join(", "));
    Ok(())
}

// [wait]
fn wakes_and_timeouts(flags: EfdFlags, gap: Duration) -> io::Result<Vec<&'static str>> {
    let eventfd = EventFd::from_flags(flags | EfdFlags::EFD_CLOEXEC)?;
    let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    set.add(&eventfd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let timeout = EpollTimeout::try_from(gap / 2).map_err(io::Error::other)?;

    thread::scope(|scope| {
        scope.spawn(|| {
            eventfd.write(1)?;
            thread::sleep(gap);
            eventfd.write(1)
        });

        let mut seen = Vec::new();
        while seen.len() < 4 {
            let mut events = [EpollEvent::empty()];
            match set.wait(&mut events, timeout)? {
                0 => seen.push("timeout"),
                _ => {
                    // Takes the reason away: else the next wait would end at once.
                    eventfd.read()?;
                    seen.push("wake");
                    // What there was to do takes a quarter of the time.
                    thread::sleep(gap / 4);
                }
            }
        }
        Ok(seen)
    })
}
// [/wait]
