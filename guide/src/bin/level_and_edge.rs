//! cargo run -p alooper-guide --bin level_and_edge
//!
//! Chapter 5 of docs/guide: when epoll reports an fd again, what the edge saves, and what it asks for.

use std::{cell::Cell, io};

use nix::{
    fcntl::OFlag,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
    },
    unistd::{pipe2, read, write},
};

const LEVEL: EpollFlags = EpollFlags::EPOLLIN;
const EDGE: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLET);
const WAKES: u32 = 1000;

fn main() -> io::Result<()> {
    for (name, flags) in [("level-triggered", LEVEL), ("edge-triggered", EDGE)] {
        println!("An eventfd, {name}:");
        never_read(flags)?;
    }
    println!("System calls for {WAKES} wakes:");
    println!("  level-triggered: {}", count_calls(LEVEL)?);
    println!("  edge-triggered: {}", count_calls(EDGE)?);
    println!("A pipe, edge-triggered:");
    half_read_pipe()?;
    Ok(())
}

// [never]
fn never_read(flags: EpollFlags) -> io::Result<()> {
    let wake = Wake::new(flags)?;
    wake.send()?;
    println!("  one write, three waits: {}, {}, {}", wake.wait()?, wake.wait()?, wake.wait()?);
    wake.send()?;
    println!("  another write, two waits: {}, {}", wake.wait()?, wake.wait()?);
    wake.send()?;
    wake.send()?;
    println!("  two more writes, two waits: {}, {}", wake.wait()?, wake.wait()?);
    Ok(())
}
// [/never]

// [count]
fn count_calls(flags: EpollFlags) -> io::Result<u32> {
    let wake = Wake::new(flags)?;
    for _ in 0..WAKES {
        wake.send()?;
        assert_eq!(wake.wait()?, "ready");
        if flags == LEVEL {
            wake.read()?;
        }
    }
    Ok(wake.calls.get())
}
// [/count]

// [pipe]
fn half_read_pipe() -> io::Result<()> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    set.add(&reader, EpollEvent::new(EDGE, 0))?;

    write(&writer, b"abcdef")?;
    println!("  six bytes come: {}", wait(&set)?);
    let mut three = [0; 3];
    read(&reader, &mut three)?;
    println!("  three are read, three are left: {}", wait(&set)?);
    Ok(())
}
// [/pipe]

/// An eventfd in an epoll set, and how many system calls it has cost.
struct Wake {
    eventfd: EventFd,
    set: Epoll,
    calls: Cell<u32>,
}

impl Wake {
    fn new(flags: EpollFlags) -> nix::Result<Wake> {
        let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        set.add(&eventfd, EpollEvent::new(flags, 0))?;
        Ok(Wake { eventfd, set, calls: Cell::new(0) })
    }

    fn send(&self) -> nix::Result<()> {
        self.calls.update(|calls| calls + 1);
        self.eventfd.write(1).map(drop)
    }

    fn wait(&self) -> nix::Result<&'static str> {
        self.calls.update(|calls| calls + 1);
        wait(&self.set)
    }

    fn read(&self) -> nix::Result<u64> {
        self.calls.update(|calls| calls + 1);
        self.eventfd.read()
    }
}

fn wait(set: &Epoll) -> nix::Result<&'static str> {
    let count = set.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO)?;
    Ok(if count == 1 { "ready" } else { "nothing" })
}
