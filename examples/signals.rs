//! cargo run --example signals --features signals
//!
//! Signals as events: their callback is ordinary code, where a signal handler may call next to nothing. Ends on SIGINT
//! (Ctrl-C) and SIGTERM; a second one, while it ends, kills it.

use std::{io, process};

use alooper::{
    Looper,
    source::{Signal, Signals},
};

fn main() -> io::Result<()> {
    // Threads inherit what is blocked: so this comes first.
    let signals = Signals::block(&[Signal::USR1, Signal::USR2])?;
    let looper = Looper::prepare()?;
    looper.quit_on(&[Signal::INT, Signal::TERM])?;

    let mut count = 0;
    looper.add_signals(&signals, move |_, info| {
        count += 1;
        let sender = info.pid().map_or("the kernel".to_owned(), |pid| format!("process {pid}"));
        println!("{} from {sender}, number {count}", info.signal());
    })?;

    println!("waiting for signals: try `kill -USR1 {}`, end with Ctrl-C", process::id());
    looper.run()?;
    println!("goodbye");
    Ok(())
}
