//! cargo run -p alooper-guide --bin looper_between_processes
//!
//! Chapter 6 of docs/guide: a child process sends structs through a pipe, and a looper calls back for each.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    process,
};

use alooper::{FdNext, Interest, Looper};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::wait::waitpid,
    unistd::{ForkResult, fork, pipe2},
};

fn main() -> io::Result<()> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let (reader, mut writer) = (File::from(reader), File::from(writer));

    // The fork comes first: a looper has an epoll set, and those do not survive one unharmed.
    // SAFETY: this program has one thread, so that no lock can be held by a thread which the child does not have.
    let child = match unsafe { fork() }? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let sent = [1u64, 2, 4, 7, 14].iter().try_for_each(|value| writer.write_all(&value.to_ne_bytes()));
            process::exit(if sent.is_ok() { 0 } else { 1 });
        }
    };
    drop(writer);

    // [looper]
    let looper = Looper::prepare()?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let mut sum = 0;
    looper.add_fd(reader, Interest::INPUT, move |looper, reader, _| {
        // Written in one piece of eight bytes, so that it comes in one.
        let mut bytes = [0; 8];
        match reader.read(&mut bytes) {
            Ok(8) => {
                let value = u64::from_ne_bytes(bytes);
                sum += value;
                println!("received {value}, together {sum}");
                FdNext::Keep
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => FdNext::Keep,
            ended => {
                match ended {
                    Ok(0) => println!("the child has closed its end"),
                    other => eprintln!("not a number: {other:?}"),
                }
                looper.quit();
                FdNext::Remove
            }
        }
    })?;
    looper.run()?;
    // [/looper]

    waitpid(child, None)?;
    Ok(())
}
