//! cargo run -p alooper-guide --example child_processes
//!
//! docs/guide/how-to/child-processes.md: three children at a time, each awaited by its pidfd; one takes too long.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use alooper::{FdNext, Handler, Interest, Looper};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

// [process]
/// A child, and the fd that becomes readable when it has ended.
struct Process {
    child: Child,
    pidfd: OwnedFd,
}

impl Process {
    fn spawn(command: &mut Command) -> io::Result<Process> {
        let mut child = command.spawn()?;
        // The number is this child's until somebody has waited for it, which only we do.
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Process { child, pidfd }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Process {
    /// Leaves neither a child that runs on unwatched nor one that has ended and stays in the table of processes.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
// [/process]

// [watch]
/// Tells `ended` how the process ends. It is killed when that takes longer than `limit`.
fn watch(looper: &Looper, process: Process, limit: Duration, ended: Handler<Ended>, number: usize) -> io::Result<()> {
    let source = looper.add_fd(process, Interest::INPUT, move |_, process, _| {
        let outcome = match process.child.try_wait() {
            Ok(None) => return FdNext::Keep,
            Ok(Some(status)) => Ok(status),
            Err(error) => Err(error),
        };
        // Refused only if the looper has quit: then nobody wants to know.
        let _ = ended.send(Ended { number, outcome });
        FdNext::Remove
    })?;
    // When the process has ended before, the source is gone, and this does nothing.
    looper.post_delayed(limit, move |_| drop(source.with(|process| process.child.kill())))?;
    Ok(())
}
// [/watch]

struct Ended {
    number: usize,
    outcome: io::Result<ExitStatus>,
}

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let commands: [(&[&str], Duration); 3] = [
        (&["sh", "-c", "exit 3"], Duration::from_secs(30)),
        (&["sh", "-c", "kill -TERM $$"], Duration::from_secs(30)),
        (&["sleep", "60"], Duration::from_millis(100)),
    ];

    // They end in any order: the list is shown when it is complete.
    let mut list = [const { String::new() }; 3];
    let mut left = list.len();
    let ended = Handler::new(&looper, move |looper, Ended { number, outcome }| {
        list[number] = match outcome {
            Ok(status) => match status.signal() {
                Some(signal) => format!("was ended by signal {signal}"),
                None => format!("has ended, {status}"),
            },
            Err(error) => format!("cannot be waited for: {error}"),
        };
        left -= 1;
        if left == 0 {
            (1..).zip(&list).for_each(|(number, outcome)| println!("process {number} {outcome}"));
            looper.quit();
        }
    });

    for (number, (command, limit)) in commands.into_iter().enumerate() {
        let process = Process::spawn(Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()))?;
        watch(&looper, process, limit, ended.clone(), number)?;
    }
    looper.run()?;
    Ok(())
}
