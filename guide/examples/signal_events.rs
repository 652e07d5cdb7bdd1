//! cargo run -p alooper-guide --example signal_events
//!
//! docs/guide/how-to/signals.md: a program that reads its settings anew on SIGHUP and ends in order on SIGTERM; and
//! what its children inherit.

use std::{
    ffi::CString,
    io,
    process::{Command, exit},
    time::Duration,
};

use alooper::{FdNext, HandlerThread, Interest, Looper};
use nix::{
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

fn main() -> io::Result<()> {
    // [block]
    // Before any thread is started: threads inherit what is blocked, and one that does not block it would be ended.
    let taken = Signal::SIGHUP | Signal::SIGTERM;
    taken.thread_block()?;
    let signals = SignalFd::with_flags(&taken, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    // [/block]

    let looper = Looper::prepare()?;
    let worker = HandlerThread::spawn("worker")?;

    // [watch]
    looper.add_fd(signals, Interest::INPUT, |looper, signals, _| {
        loop {
            match signals.read_signal() {
                Ok(Some(info)) if info.ssi_signo == Signal::SIGHUP as u32 => println!("SIGHUP: reads its settings"),
                Ok(Some(_)) => {
                    println!("SIGTERM: ends when everything that is due is done");
                    // Refused only if it has quit already, after an earlier SIGTERM.
                    let _ = looper.post(|_| println!("saved"));
                    looper.quit_safely();
                }
                Ok(None) => return FdNext::Keep,
                Err(error) => {
                    eprintln!("signals are no longer seen: {error}");
                    return FdNext::Remove;
                }
            }
        }
    })?;
    // [/watch]

    // [send]
    looper.post(|looper| {
        println!("three SIGHUPs while it is busy");
        (0..3).for_each(|_| send_to_this_process(Signal::SIGHUP));
        let end = |_: &Looper| send_to_this_process(Signal::SIGTERM);
        looper.post_delayed(Duration::from_millis(20), end).expect("it has not quit");
    })?;
    looper.run()?;
    // [/send]
    worker.quit_safely();
    worker.join()?;

    println!("a child, started by Command: {}", outcome(inherits()?));
    println!("a child that blocks nothing: {}", outcome(blocks_nothing()?));
    Ok(())
}

fn send_to_this_process(signal: Signal) {
    if let Err(error) = kill(Pid::this(), signal) {
        eprintln!("{signal}: {error}");
        exit(1);
    }
}

/// What the children do: they send themselves the signal that would end them.
const SCRIPT: &str = "kill -TERM $$; exit 5";

fn inherits() -> io::Result<WaitStatus> {
    let child = Command::new("sh").args(["-c", SCRIPT]).spawn()?;
    Ok(waitpid(Pid::from_raw(child.id().cast_signed()), None)?)
}

// [unblocked]
fn blocks_nothing() -> io::Result<WaitStatus> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
    let arguments = ["sh", "-c", SCRIPT].map(|word| CString::new(word).expect("no word has a zero in it"));
    let environment: [CString; 0] = [];
    let child = posix_spawnp(&arguments[0], &PosixSpawnFileActions::init()?, &attributes, &arguments, &environment)?;
    Ok(waitpid(child, None)?)
}
// [/unblocked]

fn outcome(status: WaitStatus) -> String {
    match status {
        WaitStatus::Signaled(_, signal, _) => format!("was ended by {signal}"),
        WaitStatus::Exited(_, code) => format!("lived through it, exit status {code}"),
        other => format!("{other:?}"),
    }
}
