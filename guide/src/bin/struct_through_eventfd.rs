//! cargo run -p alooper-guide --bin struct_through_eventfd
//!
//! Chapter 2 of docs/guide: what becomes of a struct that is written into an eventfd, and how to send one.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Write},
    process,
    sync::Mutex,
    thread,
};

use nix::{
    fcntl::OFlag,
    sys::{
        eventfd::{EfdFlags, EventFd},
        wait::waitpid,
    },
    unistd::{ForkResult, fork, pipe2},
};

// [struct]
/// Eight bytes: as many as an eventfd wants.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pids {
    from: u32,
    to: u32,
}

impl Pids {
    fn to_bytes(self) -> [u8; 8] {
        let [from, to] = [self.from, self.to].map(u32::to_ne_bytes);
        std::array::from_fn(|i| if i < 4 { from[i] } else { to[i - 4] })
    }

    fn from_bytes(bytes: [u8; 8]) -> Pids {
        let half = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
        Pids { from: half(0), to: half(4) }
    }
}
// [/struct]

/// They stand for real ones, so that this prints the same each time.
const MESSAGES: [Pids; 3] = [Pids { from: 100, to: 7 }, Pids { from: 200, to: 8 }, Pids { from: 300, to: 9 }];

fn main() -> io::Result<()> {
    by_mistake()?;
    pipe_and_eventfd()?;
    queue_and_eventfd()?;
    Ok(())
}

fn by_mistake() -> io::Result<()> {
    println!("By mistake, the struct itself:");
    // [mistake]
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let send = |pids: Pids| eventfd.write(u64::from_ne_bytes(pids.to_bytes()));
    let receive = || eventfd.read().map(|sum| Pids::from_bytes(sum.to_ne_bytes()));

    send(MESSAGES[0])?;
    println!("  one was sent: {:?}", receive()?);
    for pids in MESSAGES {
        send(pids)?;
    }
    println!("  three were sent: {:?}", receive()?);
    println!("  and then: {:?}", receive().unwrap_err());
    // [/mistake]

    send(Pids { from: u32::MAX, to: 7 })?;
    send(Pids { from: 1, to: 7 })?;
    println!("  from 4294967295 and from 1, both to 7: {:?}", receive()?);
    send(Pids { from: 0, to: 0 })?;
    println!("  from 0 to 0: {:?}", receive().unwrap_err());
    let refused = send(Pids { from: u32::MAX, to: u32::MAX });
    println!("  from 4294967295 to 4294967295: {:?}", refused.unwrap_err());
    Ok(())
}

fn pipe_and_eventfd() -> io::Result<()> {
    println!("Between processes, a pipe carries them and an eventfd counts them:");
    // [pipe]
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let (mut reader, mut writer) = (File::from(reader), File::from(writer));

    // SAFETY: this program has one thread so far, so that the child lacks none that could hold a lock.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let sent = MESSAGES.iter().try_for_each(|pids| {
                writer.write_all(&pids.to_bytes())?;
                eventfd.write(1)?;
                io::Result::Ok(())
            });
            process::exit(if sent.is_ok() { 0 } else { 1 });
        }
        ForkResult::Parent { child } => waitpid(child, None)?,
    };

    let count = eventfd.read()?;
    println!("  parent: {count} have come");
    for _ in 0..count {
        let mut bytes = [0; 8];
        reader.read_exact(&mut bytes)?;
        println!("  parent: {:?}", Pids::from_bytes(bytes));
    }
    // [/pipe]
    Ok(())
}

fn queue_and_eventfd() -> io::Result<()> {
    println!("Between threads, a queue carries them and the eventfd wakes:");
    // [queue]
    let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
    let queue = Mutex::new(VecDeque::new());

    thread::scope(|scope| {
        scope.spawn(|| {
            for pids in MESSAGES {
                let mut queue = queue.lock().unwrap();
                queue.push_back(pids);
                // Whoever finds the queue empty wakes the reader; the others know that it is on its way.
                if queue.len() == 1 {
                    eventfd.write(1).expect("the counter is far from full");
                }
            }
        });

        let mut received = Vec::new();
        while received.len() < MESSAGES.len() {
            eventfd.read()?;
            received.extend(queue.lock().unwrap().drain(..));
        }
        println!("  all have come, in order: {}", received == MESSAGES);
        Ok(())
    })
    // [/queue]
}
