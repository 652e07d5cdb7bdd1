//! cargo run -p alooper-guide --example debounce
//!
//! docs/guide/how-to/debounce.md: what comes too often is handled once: at its end, at its beginning, or in between.
//! The clock is a test's, so that the times are exact.

use std::{
    io,
    time::{Duration, Instant},
};

use alooper::{Handler, Looper, RejectReason, testing::TestLooper};

const MS: Duration = Duration::from_millis(1);

/// Prints with the time since the start.
#[derive(Clone, Copy)]
struct Diary(Instant);

impl Diary {
    fn say(self, looper: &Looper, what: &str) {
        println!("{:>5} ms: {what}", looper.now().duration_since(self.0).as_millis());
    }
}

// [debounce]
const SEARCH: i32 = 1;

/// Searches when nobody has typed for 300 ms.
fn typed(handler: &Handler<String>, text: &str) -> io::Result<()> {
    handler.replace_delayed(SEARCH, 300 * MS, text.to_owned())?;
    Ok(())
}
// [/debounce]

// [throttle]
const PROGRESS: i32 = 2;

/// Shows at most one number in 100 ms: the first that comes, 100 ms later.
fn progressed(handler: &Handler<String>, percent: u32) -> io::Result<()> {
    let sent = handler.send_delayed_unless_pending(PROGRESS, 100 * MS, format!("{percent} %"));
    match sent {
        Err(refused) if refused.reason() == RejectReason::Pending => Ok(()),
        sent => Ok(sent.map(drop)?),
    }
}
// [/throttle]

fn main() -> io::Result<()> {
    let looper = TestLooper::new()?;
    let diary = Diary(looper.now());
    let shown = looper.handler(move |looper, text: String| diary.say(looper, &text));

    for text in ["l", "lo", "loop"] {
        typed(&shown, text)?;
        looper.advance(100 * MS);
    }
    looper.advance(700 * MS);

    for percent in (0..=100).step_by(5) {
        progressed(&shown, percent)?;
        looper.advance(20 * MS);
    }
    looper.advance(580 * MS);

    // [latest]
    const POSITION: i32 = 3;
    for x in 0..1000 {
        shown.replace(POSITION, format!("the pointer is at {x}"))?;
    }
    looper.run_until_idle();
    // [/latest]

    // [slot]
    let save = looper.handle().slot();
    for change in 1..=3 {
        save.post_delayed(1000 * MS, move |looper| diary.say(looper, &format!("saved after change {change}")))?;
        looper.advance(500 * MS);
    }
    println!("it is still to be saved: {}", save.is_pending());
    looper.advance(1000 * MS);
    // [/slot]

    // [reschedule]
    let timeout = looper.post_delayed(5000 * MS, move |looper| diary.say(looper, "nothing came for 5 s"))?;
    for _ in 0..3 {
        looper.advance(4000 * MS);
        println!("something came in time: {}", timeout.reschedule(5000 * MS));
    }
    looper.advance(5000 * MS);
    println!("something came in time: {}", timeout.reschedule(5000 * MS));
    // [/reschedule]
    Ok(())
}
