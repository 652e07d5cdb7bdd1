//! cargo run -p alooper-guide --example frame_clock
//!
//! docs/guide/how-to/frame-clock.md: frames at a fixed rate, and everything else waits until the one at hand is drawn.
//! The clock is a test's, so that the times are exact.

use std::{
    io,
    time::{Duration, Instant},
};

use alooper::{Barrier, Handler, Looper, testing::TestLooper};

// [frames]
const PERIOD: Duration = Duration::from_millis(16);

struct Frame<D> {
    due: Instant,
    barrier: Barrier,
    draw: D,
}

/// Draws at whole periods of the looper's clock.
struct Frames<D> {
    start: Instant,
    handler: Handler<Frame<D>>,
}

impl<D: FnOnce(&Looper, u128) + 'static> Frames<D> {
    fn new(looper: &Looper) -> Frames<D> {
        let handler = Handler::new(looper, |looper, frame: Frame<D>| {
            drop(frame.barrier);
            let late = looper.now().duration_since(frame.due);
            (frame.draw)(looper, late.as_nanos() / PERIOD.as_nanos());
        });
        Frames { start: looper.now(), handler: handler.asynchronous() }
    }

    /// Draws in the next frame. What is posted until then waits for it.
    fn request(&self, looper: &Looper, draw: D) -> io::Result<()> {
        let barrier = looper.barrier()?;
        let passed = looper.now().duration_since(self.start).as_nanos() / PERIOD.as_nanos();
        let due = self.start + PERIOD * (passed as u32 + 1);
        self.handler.send_at(due, Frame { due, barrier, draw })?;
        Ok(())
    }
}
// [/frames]

fn main() -> io::Result<()> {
    let looper = TestLooper::new()?;
    let start = looper.now();
    let say =
        move |looper: &Looper, what: &str| println!("{:>3} ms: {what}", looper.now().duration_since(start).as_millis());
    // [use]
    let frames = Frames::new(&looper);
    let draw = move |looper: &Looper, missed| say(looper, &format!("a frame, {missed} missed before it"));

    looper.post(move |looper| say(looper, "posted before"))?;
    frames.request(&looper, draw)?;
    looper.post(move |looper| say(looper, "posted after"))?;
    looper.advance(PERIOD);

    let clock = looper.clock().clone();
    looper.post(move |_| clock.pass(Duration::from_millis(50)))?;
    frames.request(&looper, draw)?;
    looper.advance(PERIOD);
    // [/use]
    Ok(())
}
