//! cargo run -p alooper-guide --bin eventfd_between_processes
//!
//! Chapter 1 of docs/guide: a counter that two processes share, and all that its reads and writes can do.

use std::{io, process, thread, time::Duration};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, read},
};

const WRITES: [u64; 5] = [1, 2, 4, 7, 14];
/// The largest value that a counter can hold after a write.
const FULL: u64 = u64::MAX - 1;

fn main() -> io::Result<()> {
    counter()?;
    semaphore()?;
    empty()?;
    full_without_blocking()?;
    full_and_blocking()?;
    Ok(())
}

fn counter() -> io::Result<()> {
    println!("A counter:");
    // [counter]
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
    let child = in_child(|| {
        for value in WRITES {
            eventfd.write(value)?;
            println!("  child: wrote {value}");
        }
        Ok(())
    })?;

    // The pause: until the child has ended. What it has added is kept by the kernel.
    waitpid(child, None)?;
    println!("  parent: one read gives {}", eventfd.read()?);
    // [/counter]
    Ok(())
}

fn semaphore() -> io::Result<()> {
    println!("A semaphore, written in the same way:");
    // [semaphore]
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_SEMAPHORE | EfdFlags::EFD_NONBLOCK)?;
    let child = in_child(|| WRITES.iter().try_for_each(|value| eventfd.write(*value).map(drop)))?;

    waitpid(child, None)?;
    let mut reads = 0;
    while let Ok(value) = eventfd.read() {
        assert_eq!(value, 1);
        reads += 1;
    }
    println!("  parent: {reads} reads, and each gives 1");
    // [/semaphore]
    Ok(())
}

fn empty() -> io::Result<()> {
    println!("An empty counter, non-blocking:");
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    println!("  read: {}", outcome(eventfd.read()));
    println!("  write of 0: {}", outcome(eventfd.write(0)));
    println!("  read: {}", outcome(eventfd.read()));
    println!("  write of 5: {}", outcome(eventfd.write(5)));
    println!("  read into 4 bytes: {}", outcome(read(&eventfd, &mut [0; 4])));
    println!("  read into 8 bytes: {}", outcome(eventfd.read()));
    Ok(())
}

fn full_without_blocking() -> io::Result<()> {
    println!("A full counter, non-blocking:");
    // [full]
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    println!("  write of 2^64 - 1: {}", outcome(eventfd.write(u64::MAX)));
    println!("  write of 2^64 - 2: {}", outcome(eventfd.write(FULL)));
    println!("  write of 1: {}; writable: {}", outcome(eventfd.write(1)), is_writable(&eventfd)?);
    assert_eq!(eventfd.read()?, FULL);
    println!("  write of 1 after a read: {}; writable: {}", outcome(eventfd.write(1)), is_writable(&eventfd)?);
    // [/full]
    Ok(())
}

fn full_and_blocking() -> io::Result<()> {
    println!("A full counter, blocking:");
    // [blocking]
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
    eventfd.write(FULL)?;
    let child = in_child(|| eventfd.write(1).map(drop))?;

    // Nothing waits for this pause: however long it is, the child comes no further.
    thread::sleep(Duration::from_millis(50));
    let is_blocked = waitpid(child, Some(WaitPidFlag::WNOHANG))? == WaitStatus::StillAlive;
    println!("  child: is still writing 1: {is_blocked}");
    println!("  parent: a read gives 2^64 - 2: {}", eventfd.read()? == FULL);
    println!("  child: has written: {}", waitpid(child, None)? == WaitStatus::Exited(child, 0));
    println!("  parent: a read gives {}", eventfd.read()?);
    // [/blocking]
    Ok(())
}

// [fork]
/// Runs `work` in a child process, which ends after it.
fn in_child(work: impl FnOnce() -> nix::Result<()>) -> nix::Result<Pid> {
    // SAFETY: this program has one thread, so that no lock can be held by a thread which the child does not have.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => process::exit(if work().is_ok() { 0 } else { 1 }),
    }
}
// [/fork]

fn is_writable(eventfd: &EventFd) -> nix::Result<bool> {
    let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(eventfd), PollFlags::POLLOUT)];
    Ok(poll(&mut fds, PollTimeout::ZERO)? == 1)
}

fn outcome<T: std::fmt::Display>(result: Result<T, Errno>) -> String {
    match result {
        Ok(value) => value.to_string(),
        Err(errno) => format!("{errno:?}"),
    }
}
