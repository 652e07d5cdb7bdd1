//! cargo run -p alooper-guide --bin select_poll_epoll
//!
//! Chapter 3 of docs/guide: three ways to wait for one eventfd, what exec does to fds, and what fork does to an epoll
//! set.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    process::{self, Command},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
        select::{FdSet, select},
        time::TimeVal,
        wait::waitpid,
    },
    unistd::{ForkResult, fork, pipe2},
};

fn main() -> io::Result<()> {
    let arguments: Vec<OsString> = env::args_os().collect();
    if let [_, flag, number] = &arguments[..]
        && flag == "--is-open"
    {
        return say_whether_open(number);
    }
    side_by_side()?;
    close_on_exec()?;
    fork_and_epoll()?;
    Ok(())
}

// [select]
fn by_select(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    // The kernel overwrites the set with its answer, so it is filled again before each call.
    let mut readable = FdSet::new();
    readable.insert(fd);
    let mut at_once = TimeVal::new(0, 0);
    select(None, &mut readable, None, None, &mut at_once)?;
    Ok(readable.contains(fd))
}
// [/select]

// [poll]
fn by_poll(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    // What is asked for and what is answered are two fields, so the array can be used again. It is copied in each call.
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO)?;
    Ok(fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN)))
}
// [/poll]

// [epoll]
fn by_epoll(set: &Epoll) -> nix::Result<bool> {
    // The kernel has the set already. It gives only what is ready, and for each the number that we added it with.
    Ok(ready_keys(set)? == [1])
}

fn ready_keys(set: &Epoll) -> nix::Result<Vec<u64>> {
    let mut events = [EpollEvent::empty(); 8];
    let count = set.wait(&mut events, EpollTimeout::ZERO)?;
    Ok(events[..count].iter().map(EpollEvent::data).collect())
}
// [/epoll]

fn side_by_side() -> io::Result<()> {
    println!("One eventfd, readable to select, poll, epoll:");
    // [side]
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    set.add(&eventfd, EpollEvent::new(EpollFlags::EPOLLIN, 1))?;
    let ask = |when: &str| {
        let fd = eventfd.as_fd();
        println!("  {when}: {}, {}, {}", by_select(fd)?, by_poll(fd)?, by_epoll(&set)?);
        nix::Result::Ok(())
    };

    ask("at first")?;
    eventfd.write(3)?;
    ask("after a write")?;
    ask("asked again")?;
    eventfd.read()?;
    ask("after a read")?;
    // [/side]
    Ok(())
}

fn close_on_exec() -> io::Result<()> {
    println!("What another program finds that this one starts:");
    // [exec]
    for (name, flags) in [("without", EfdFlags::empty()), ("with", EfdFlags::EFD_CLOEXEC)] {
        let eventfd = EventFd::from_flags(flags)?;
        let number = eventfd.as_raw_fd().to_string();
        let output = Command::new(env::current_exe()?).args(["--is-open", &number]).output()?;
        println!("  {name} EFD_CLOEXEC: {}", String::from_utf8_lossy(&output.stdout).trim());
    }
    // [/exec]
    Ok(())
}

/// What this program does when it is started by itself.
fn say_whether_open(number: &OsString) -> io::Result<()> {
    let number: RawFd = number.to_str().and_then(|number| number.parse().ok()).ok_or(Errno::EINVAL)?;
    // SAFETY: asking for the flags of a number touches nothing, whether or not it is an fd.
    let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } != -1;
    println!("{}", if is_open { "the eventfd is open" } else { "nothing" });
    Ok(())
}

fn fork_and_epoll() -> io::Result<()> {
    println!("An epoll set and a fork:");
    // [fork]
    let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mine = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
    set.add(&mine, EpollEvent::new(EpollFlags::EPOLLIN, 1))?;
    let (mut child_is_ready, tell_parent) = pipe()?;
    let (mut child_may_end, tell_child) = pipe()?;

    // SAFETY: this program has one thread, so that no lock can be held by a thread which the child does not have.
    let child = match unsafe { fork() }? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            drop(tell_child);
            let own = EventFd::from_value_and_flags(1, EfdFlags::EFD_CLOEXEC)?;
            // The child's number of the set, but the parent's set.
            set.add(&own, EpollEvent::new(EpollFlags::EPOLLIN, 2))?;
            drop(tell_parent);
            child_may_end.read_to_end(&mut Vec::new())?;
            process::exit(0);
        }
    };
    drop((tell_parent, child_may_end));
    child_is_ready.read_to_end(&mut Vec::new())?;

    println!("  the child has added its own eventfd; the parent is told of {:?}", ready_keys(&set)?);
    mine.write(1)?;
    drop(mine);
    println!("  the parent has written 1 to its own and closed it: {:?}", sorted(ready_keys(&set)?));
    drop(tell_child);
    waitpid(child, None)?;
    println!("  the child has ended: {:?}", ready_keys(&set)?);
    // [/fork]
    Ok(())
}

fn pipe() -> nix::Result<(File, File)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((reader.into(), writer.into()))
}

fn sorted(mut keys: Vec<u64>) -> Vec<u64> {
    keys.sort_unstable();
    keys
}
