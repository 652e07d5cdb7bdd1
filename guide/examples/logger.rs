//! cargo run -p alooper-guide --example logger
//!
//! docs/guide/how-to/logger.md: a logger in a few lines, and what a looper says to it.

use std::{io, time::Duration};

use alooper::{Looper, testing::TestClock};
use log::{LevelFilter, Log, Metadata, Record};

// [logger]
struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Standard output for this page; a program writes to `eprintln!`.
        println!("{}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}
// [/logger]

// [main]
fn main() -> io::Result<()> {
    log::set_logger(&Logger).map_err(io::Error::other)?;
    log::set_max_level(LevelFilter::Warn);

    let clock = TestClock::new();
    let slow = Duration::from_millis(16);
    let looper = clock.build(Looper::builder().name("ui").slow_dispatch(slow))?;
    let work = clock.clone();
    looper.post(move |_| work.pass(Duration::from_millis(40)))?;
    looper.run_until_idle();

    let forgotten = looper.barrier()?;
    looper.advance(Duration::from_secs(6));
    drop(forgotten);
    println!("counted: {}", looper.stats().overdue_barriers);
    Ok(())
}
// [/main]
