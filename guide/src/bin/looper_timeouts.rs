//! cargo run -p alooper-guide --bin looper_timeouts -- [SECONDS]
//!
//! Chapter 6 of docs/guide: two messages, SECONDS (4) apart, to a looper that is polled with a timeout of half that
//! time.

use std::{env, io, thread, time::Duration};

use alooper::{Looper, testing::TestLooper};

fn main() -> io::Result<()> {
    let gap = match env::args().nth(1) {
        None => Duration::from_secs(4),
        Some(seconds) => seconds
            .parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| io::Error::other("usage: looper_timeouts [SECONDS]"))?,
    };
    println!("posted by another thread: {}", posted_by_a_thread(gap)?.join(", "));
    println!("posted with a delay: {}", posted_with_a_delay(&Looper::new()?, gap)?.join(", "));

    let test = TestLooper::new()?;
    let hours = Duration::from_secs(4 * 60 * 60);
    println!("in a test, four hours apart: {}", posted_with_a_delay(&test, hours)?.join(", "));
    Ok(())
}

// [thread]
fn posted_by_a_thread(gap: Duration) -> io::Result<Vec<&'static str>> {
    let looper = Looper::new()?;
    let handle = looper.handle();
    let thread = thread::spawn(move || {
        // What there is to do takes a quarter of the time.
        let work = move |_: &Looper| thread::sleep(gap / 4);
        handle.post(work).expect("the looper has not quit");
        thread::sleep(gap);
        handle.post(work).expect("the looper has not quit");
    });
    let seen = four_turns(&looper, gap / 2)?;
    thread.join().expect("the thread does not panic");
    Ok(seen)
}

fn four_turns(looper: &Looper, timeout: Duration) -> io::Result<Vec<&'static str>> {
    let mut seen = Vec::new();
    for _ in 0..4 {
        let turn = looper.poll_once(timeout)?;
        seen.push(if turn.timed_out { "timeout" } else { "message" });
    }
    Ok(seen)
}
// [/thread]

// [delay]
fn posted_with_a_delay(looper: &Looper, gap: Duration) -> io::Result<Vec<&'static str>> {
    looper.post(|_| ())?;
    looper.post_delayed(gap, |_| ())?;
    four_turns(looper, gap / 2)
}
// [/delay]
