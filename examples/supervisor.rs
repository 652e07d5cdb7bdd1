//! cargo run --example supervisor --features process,signals
//!
//! Keeps two programs running: what they print is read line by line, and what fails is started again after a pause that
//! doubles. Ends when nothing is left to do, or on SIGTERM or Ctrl-C, and takes its children along.

use std::{
    io::{self, Read},
    process::{ChildStdout, Command, ExitStatus, Stdio},
    rc::Rc,
    time::Duration,
};

use alooper::{
    FdNext, Interest, Looper, LooperHandle,
    source::{Signal, Signals},
};

const PAUSE: Duration = Duration::from_millis(50);
const MOST_RESTARTS: u32 = 3;

/// What all callbacks share. When the last of them is dropped, nothing is left to do.
struct Supervisor {
    signals: Signals,
    handle: LooperHandle,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.handle.quit_safely();
    }
}

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let all = Supervisor { signals: looper.quit_on(&[Signal::INT, Signal::TERM])?, handle: looper.handle() };
    let all = Rc::new(all);
    start(&looper, all.clone(), ["steady", "for n in 1 2 3; do echo line $n; done"], 0)?;
    start(&looper, all, ["flaky", "echo begins; exit 1"], 0)?;
    looper.run()?;
    println!("supervisor: ends");
    Ok(())
}

fn start(looper: &Looper, all: Rc<Supervisor>, job: [&'static str; 2], restarts: u32) -> io::Result<()> {
    let [name, script] = job;
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
    all.signals.unblock_in(&mut command);
    let own = all.clone();
    let ended = move |looper: &Looper, status: io::Result<ExitStatus>| match status {
        Ok(status) if status.success() => println!("{name}: done"),
        _ if restarts == MOST_RESTARTS => println!("{name}: given up after {restarts} restarts"),
        _ => {
            let pause = PAUSE * 2_u32.pow(restarts);
            println!("{name}: has failed, starts again in {pause:?}");
            let again = move |looper: &Looper| {
                start(looper, own, job, restarts + 1).unwrap_or_else(|error| eprintln!("{name}: {error}"));
            };
            // Refused only if the looper has quit.
            _ = looper.post_delayed(pause, again);
        }
    };
    let mut child = looper.spawn_process(&mut command, ended)?;
    child.stdout.take().map_or(Ok(()), |output| read(looper, all, name, output))
}

fn read(looper: &Looper, all: Rc<Supervisor>, name: &'static str, output: ChildStdout) -> io::Result<()> {
    let mut text = Vec::new();
    let lines = move |_: &Looper, output: &mut ChildStdout, _| {
        let (_busy, mut buffer) = (&all, [0; 4096]);
        // One read takes what there is, and does not block.
        let length = output.read(&mut buffer).unwrap_or(0);
        text.extend_from_slice(&buffer[..length]);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            println!("{name}: {}", String::from_utf8_lossy(&text.drain(..=end).as_slice()[..end]));
        }
        if length == 0 { FdNext::Remove } else { FdNext::Keep }
    };
    looper.add_fd(output, Interest::INPUT, lines)?;
    Ok(())
}
