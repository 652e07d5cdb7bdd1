//! cargo run --example hello
//!
//! A looper runs what is posted to it, each message when it is due, until it quits.

use std::{io, thread, time::Duration};

use alooper::Looper;

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;

    looper.post_delayed(Duration::from_millis(100), |_| println!("after 100 ms: still here"))?;
    looper.post(|_| println!("now: hello"))?;

    // A handle is what other threads have of a looper.
    let handle = looper.handle();
    let other = thread::spawn(move || {
        let goodbye = |looper: &Looper| {
            println!("after 200 ms: goodbye, says another thread");
            looper.quit();
        };
        handle.post_delayed(Duration::from_millis(200), goodbye).is_ok()
    });

    let report = looper.run()?;

    assert!(other.join().expect("the other thread does not panic"));
    println!("{} messages were posted, {} were run", report.posted, report.run);
    Ok(())
}
