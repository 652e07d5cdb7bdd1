//! cargo run -p alooper-guide --example many_loopers
//!
//! docs/guide/how-to/many-loopers.md: a pipeline of threads, each with a looper, which ends in order.

use std::{io, thread};

use alooper::{Handler, HandlerThread, Looper};

// [pipeline]
fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let mut sum = 0;
    let total = Handler::new(&looper, move |_, length: usize| {
        sum += length;
        println!("together {sum}");
    });

    let count = HandlerThread::spawn("count")?;
    let counted = count.handle().handler(move |_, line: String| {
        // Refused only if the main looper has quit.
        let _ = total.send(line.len());
    })?;
    let trim = HandlerThread::spawn("trim")?;
    let trimmed = trim.handle().handler(move |_, line: &'static str| {
        let _ = counted.send(line.trim().to_owned());
    })?;
    for line in [" one ", "two", " three"] {
        trimmed.send(line)?;
    }

    // In the direction of the flow, so that each has all that it will ever get.
    for stage in [trim, count] {
        let name = stage.thread().and_then(thread::Thread::name).unwrap_or("?").to_owned();
        stage.quit_safely();
        let counts = stage.join()?;
        println!("{name}: {} posted, {} run, {} dropped", counts.posted, counts.run, counts.dropped);
    }
    looper.quit_safely();
    let counts = looper.run()?;
    println!("main: {} posted, {} run, {} dropped", counts.posted, counts.run, counts.dropped);
    Ok(())
}
// [/pipeline]
