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
    Killed(Duration),
    Failed(String),
}

impl Program {
    /// Runs a child, and kills it when `limit` has passed.
    pub fn run(&self, workload: &Workload, size: usize, pace: Pace, limit: Duration) -> Outcome {
        let mut command = Command::new(&self.binary);
        command.args(self.arguments(workload.id, size, pace));
        outcome(&mut command, limit).unwrap_or_else(|error| Outcome::Failed(error.to_string()))
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

fn outcome(command: &mut Command, limit: Duration) -> io::Result<Outcome> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut stdout, mut stderr) =
        (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    let (sender, receiver) = mpsc::channel();
    // A thread that sleeps in `read` costs the child no time, as asking again and again would.
    let reader = thread::spawn(move || {
        let (mut line, mut errors) = (String::new(), String::new());
        let read = stdout.read_to_string(&mut line).and_then(|_| stderr.read_to_string(&mut errors));
        let _ = sender.send(read.map(|_| (line, errors)));
    });
    let read = receiver.recv_timeout(limit);
    if read.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    let _ = reader.join();
    let Ok(read) = read else {
        return Ok(Outcome::Killed(limit));
    };
    let (line, errors) = read?;
    if !status.success() {
        return Ok(Outcome::Failed(format!("{status}: {}", errors.lines().next_back().unwrap_or_default())));
    }
    match Sample::parse(&line) {
        Some(sample) => Ok(Outcome::Measured(sample)),
        None if line.trim() == NOT_OFFERED => Ok(Outcome::NotOffered),
        None => Ok(Outcome::Failed(format!("unexpected output: {line:?}"))),
    }
}
