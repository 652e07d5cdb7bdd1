//! cargo run --example timer
//!
//! Messages for later: after a delay, at a time, again and again, and cancelled. Each line shows how late its message
//! ran. None runs early.

use std::{
    io,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use alooper::Looper;

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;

    // What is due first runs first, whatever the order of posting.
    for delay in [300, 100, 200].map(Duration::from_millis) {
        let due = looper.now() + delay;
        looper.post_delayed(delay, move |looper| show(looper, &format!("after {delay:?}"), due))?;
    }

    // At the same instant, the order of posting decides.
    let noon = looper.now() + Duration::from_millis(150);
    for name in ["first", "second"] {
        looper.post_at(noon, move |looper| show(looper, &format!("at one time, {name}"), noon))?;
    }

    let cancelled = looper.post_delayed(Duration::from_millis(50), |_| println!("cancelled, and yet it runs!"))?;
    println!("cancelled before it ran: {}", cancelled.cancel());

    // The runs stay on a grid of whole periods: that one is late does not make the next one late.
    let period = Duration::from_millis(80);
    let mut due = looper.now();
    let mut runs = 0;
    looper.post_every(period, move |looper| {
        due += period;
        runs += 1;
        show(looper, &format!("every {period:?}, run {runs}"), due);
        if runs < 5 {
            return ControlFlow::Continue(());
        }
        looper.quit();
        ControlFlow::Break(())
    })?;

    let report = looper.run()?;
    println!("{} messages were posted: {} run, {} cancelled", report.posted, report.run, report.removed);
    Ok(())
}

fn show(looper: &Looper, what: &str, due: Instant) {
    println!("{what:<22} {:>6} us late", (looper.now() - due).as_micros());
}
