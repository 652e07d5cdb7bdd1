//! One measurement in a process of its own: no contender meets the memory or the threads of another.

use std::{
    io::{self, Read},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{
    contenders,
    meter::{Meter, Pace, Sample},
    workload::Workload,
};

/// What a child prints for a workload that its contender does not offer.
const NOT_OFFERED: &str = "none";
/// A child hangs that takes longer than this: many times what the slowest takes beside eight busy threads.
pub const LIMIT: Duration = Duration::from_secs(100);

/// The child's side: measures, and prints one line.
pub fn measure(contender: &str, workload: &str, size: usize, pace: Pace) -> Result<(), String> {
    let run = contenders::find(contender).ok_or_else(|| format!("there is no contender {contender}"))?;
    let workload = Workload::find(workload).ok_or_else(|| format!("there is no workload {workload}"))?;
    be_threaded();
    match run(workload.kind, &Meter::new(size, pace)) {
        Some(sample) => println!("{sample}"),
        None => println!("{NOT_OFFERED}"),
    }
    Ok(())
}

/// Starts a thread that only sleeps. A program that has a loop has other threads; in one that has none, glibc spares
/// `malloc` and `free` every atomic operation, which flatters whoever allocates by a fifth.
fn be_threaded() {
    thread::spawn(|| {
        loop {
            thread::park();
        }
    });
}

/// A program whose child measures one contender.
#[derive(Clone, Debug)]
pub struct Program {
    /// How the contender is called in the tables.
    pub name: String,
    pub binary: PathBuf,
    /// How the binary calls it.
    pub contender: String,
}

/// How a child has ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Measured(Sample),
    NotOffered,
    /// After [`LIMIT`].
    Killed,
    /// How; why, the child has said on the standard error that it shares with this program.
    Failed(String),
}

impl Program {
    /// Runs a child, and kills it if it hangs.
    pub fn run(&self, workload: &Workload, size: usize, pace: Pace) -> Outcome {
        let mut command = Command::new(&self.binary);
        command.args(self.arguments(workload.id, size, pace));
        outcome(&mut command).unwrap_or_else(|error| Outcome::Failed(error.to_string()))
    }

    /// What tells the binary to be a child.
    pub fn arguments(&self, workload: &str, size: usize, pace: Pace) -> Vec<String> {
        let mut arguments = vec!["child".into(), self.contender.clone(), workload.into(), size.to_string()];
        match pace {
            Pace::Full => {}
            Pace::Quick => arguments.push("--quick".into()),
            Pace::Cold => arguments.push("--cold".into()),
            Pace::Counted(repetitions) => arguments.extend(["--count".into(), repetitions.to_string()]),
        }
        arguments
    }
}

fn outcome(command: &mut Command) -> io::Result<Outcome> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().expect("it is piped");
    let (sender, receiver) = mpsc::channel();
    // A thread that sleeps in `read` costs the child no time, as asking again and again would.
    let reader = thread::spawn(move || {
        let mut line = String::new();
        let _ = sender.send(stdout.read_to_string(&mut line).map(|_| line));
    });
    let read = receiver.recv_timeout(LIMIT);
    if read.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    let _ = reader.join();
    let Ok(read) = read else {
        return Ok(Outcome::Killed);
    };
    let line = read?;
    if !status.success() {
        return Ok(Outcome::Failed(status.to_string()));
    }
    match Sample::parse(&line) {
        Some(sample) => Ok(Outcome::Measured(sample)),
        None if line.trim() == NOT_OFFERED => Ok(Outcome::NotOffered),
        None => Ok(Outcome::Failed(format!("unexpected output: {line:?}"))),
    }
}
