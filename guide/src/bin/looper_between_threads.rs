//! cargo run -p alooper-guide --bin looper_between_threads
//!
//! Chapter 6 of docs/guide: a thread sends structs to a looper, each by itself, and is told when one is refused.

use std::{io, thread};

use alooper::{Handler, Looper};

// [send]
#[derive(Debug)]
struct Pids {
    from: u32,
    to: u32,
}

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let handler = Handler::new(&looper, |_, pids: Pids| println!("from {} to {}", pids.from, pids.to));

    let sender = handler.clone();
    let thread = thread::spawn(move || {
        for (from, to) in [(100, 7), (200, 8), (300, 9)] {
            sender.send(Pids { from, to }).expect("the looper has not quit");
        }
        sender.looper().quit_safely();
    });
    looper.run()?;
    thread.join().expect("the thread does not panic");

    let refused = handler.send(Pids { from: 400, to: 10 }).unwrap_err();
    println!("refused, and given back: {:?}", refused.into_value().unwrap());
    Ok(())
}
// [/send]
