//! cargo run -p alooper-guide --example child_processes
//!
//! docs/guide/how-to/child-processes.md: three children at a time, each told of when it ends; one takes too long.

use std::{
    cell::RefCell,
    io,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus, Stdio},
    rc::Rc,
    time::Duration,
};

use alooper::Looper;

// [start]
/// Starts a process, and tells `ended` how it ends. It is killed when that takes longer than `limit`.
fn start(
    looper: &Looper,
    command: &mut Command,
    limit: Duration,
    ended: impl FnOnce(&Looper, io::Result<ExitStatus>) + 'static,
) -> io::Result<()> {
    let child = looper.spawn_process(command, ended)?;
    // When the process has ended before, this does nothing.
    looper.post_delayed(limit, move |_| {
        if let Err(error) = child.kill() {
            eprintln!("process {} goes on: {error}", child.id());
        }
    })?;
    Ok(())
}
// [/start]

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let commands: [(&[&str], Duration); 3] = [
        (&["sh", "-c", "exit 3"], Duration::from_secs(30)),
        (&["sh", "-c", "kill -TERM $$"], Duration::from_secs(30)),
        (&["sleep", "60"], Duration::from_millis(100)),
    ];

    // They end in any order: the list is shown when it is complete.
    let list = Rc::new(RefCell::new([const { String::new() }; 3]));
    for (number, (command, limit)) in commands.into_iter().enumerate() {
        let list = list.clone();
        // [told]
        let ended = move |looper: &Looper, status: io::Result<ExitStatus>| {
            list.borrow_mut()[number] = match status {
                Ok(status) => match status.signal() {
                    Some(signal) => format!("was ended by signal {signal}"),
                    None => format!("has ended, {status}"),
                },
                Err(error) => format!("cannot be waited for: {error}"),
            };
            show_if_complete(looper, &*list.borrow());
        };
        // [/told]
        start(&looper, Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()), limit, ended)?;
    }
    looper.run()?;
    Ok(())
}

fn show_if_complete(looper: &Looper, list: &[String]) {
    if list.iter().all(|outcome| !outcome.is_empty()) {
        (1..).zip(list).for_each(|(number, outcome)| println!("process {number} {outcome}"));
        looper.quit();
    }
}
