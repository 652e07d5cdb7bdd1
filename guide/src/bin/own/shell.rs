//! Chapter 13 of docs/guide: jobs as processes, each a command of the shell.

// [shell]
use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Command, Stdio},
};

use alooper::{Handler, HandlerThread};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::runner::{Event, World};

/// Runs commands. To read what they print may take long: so each slot has a thread for it.
pub struct Shell {
    readers: Vec<HandlerThread>,
}

impl Shell {
    pub fn new(slots: usize) -> io::Result<Shell> {
        let readers = (0..slots).map(|slot| HandlerThread::spawn(format!("reader {slot}")));
        Ok(Shell { readers: readers.collect::<io::Result<_>>()? })
    }
}

impl World for Shell {
    type Process = Process;

    fn start(&mut self, slot: usize, id: usize, job: &str, runner: Handler<Event>) -> io::Result<Process> {
        let mut command = Command::new("sh");
        command.args(["-c", job]).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let mut process = Process(command.spawn()?);
        let output = process.0.stdout.take().expect("it is piped");
        self.readers[slot].handle().post(move |_| {
            // Refused only if the runner's looper has quit.
            let _ = runner.send(Event::Done { id, output: read(output) });
        })?;
        Ok(process)
    }

    fn report(&mut self, job: &str, outcome: &str) {
        println!("{job}: {outcome}");
    }
}

fn read(mut output: ChildStdout) -> String {
    let mut text = Vec::new();
    match output.read_to_end(&mut text) {
        Ok(_) => String::from_utf8_lossy(&text).trim_end().to_owned(),
        Err(error) => error.to_string(),
    }
}

/// A process and those that it has started, which are one group.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody has waited for it yet, so its number is still its own.
        let _ = killpg(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}
// [/shell]
