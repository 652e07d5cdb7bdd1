//! cargo run -p alooper-guide --example signal_events
//!
//! docs/guide/how-to/signals.md: a program that reads its settings anew on SIGHUP and ends in order on SIGTERM; and
//! what its children inherit.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus, exit},
    time::Duration,
};

use alooper::{
    HandlerThread, Looper,
    source::{Signal, Signals},
};
use nix::{
    sys::signal::{Signal as Raw, kill},
    unistd::Pid,
};

fn main() -> io::Result<()> {
    // [block]
    // Before any thread is started: threads inherit what is blocked, and one that does not block it would be ended.
    let signals = Signals::block(&[Signal::HUP, Signal::TERM])?;
    // [/block]

    let looper = Looper::prepare()?;
    let worker = HandlerThread::spawn("worker")?;

    // [watch]
    looper.add_signals(&signals, |looper, info| {
        if info.signal() == Signal::HUP {
            println!("SIGHUP: reads its settings");
        } else {
            println!("SIGTERM: ends when everything that is due is done");
            // Refused only if it has quit already.
            let _ = looper.post(|_| println!("saved"));
            looper.quit_safely();
        }
    })?;
    // [/watch]

    // [send]
    looper.post(|looper| {
        println!("three SIGHUPs while it is busy");
        (0..3).for_each(|_| send_to_this_process(Raw::SIGHUP));
        let end = |_: &Looper| send_to_this_process(Raw::SIGTERM);
        looper.post_delayed(Duration::from_millis(20), end).expect("it has not quit");
    })?;
    looper.run()?;
    // [/send]
    worker.quit_safely();
    worker.join()?;

    // [children]
    // What the children do: they send themselves the signal that would end them.
    let script = ["-c", "kill -TERM $$; exit 5"];
    let inherits = Command::new("sh").args(script).status()?;
    let unblocked = signals.unblock_in(Command::new("sh").args(script)).status()?;
    // [/children]
    println!("a child that inherits what is blocked: {}", outcome(inherits));
    println!("a child that unblocks it: {}", outcome(unblocked));
    Ok(())
}

fn send_to_this_process(signal: Raw) {
    if let Err(error) = kill(Pid::this(), signal) {
        eprintln!("{signal}: {error}");
        exit(1);
    }
}

fn outcome(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("was ended by signal {signal}"),
        None => format!("lived through it, {status}"),
    }
}
