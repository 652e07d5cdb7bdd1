//! cargo run -p alooper-guide --bin barriers
//!
//! Chapter 8 of docs/guide: what a barrier holds up, what passes it, and when a looper is idle.

use std::{io, ops::ControlFlow, thread, time::Duration};

use alooper::{Handler, Looper};

fn main() -> io::Result<()> {
    barrier()?;
    settings()?;
    idle()
}

// [barrier]
fn barrier() -> io::Result<()> {
    let looper = Looper::new()?;
    let handler = Handler::new(&looper, |_, text: &str| println!("{text}"));

    handler.send("sent before the barrier")?;
    let barrier = looper.barrier()?;
    handler.send("sent behind it")?;
    handler.asynchronous().send("asynchronous")?;

    looper.poll_all(Duration::ZERO)?;
    println!("held up: {}", looper.len());
    drop(barrier);
    looper.poll_all(Duration::ZERO)?;
    Ok(())
}
// [/barrier]

// [settings]
fn settings() -> io::Result<()> {
    let looper = Looper::new()?;
    let requests = Handler::new(&looper, |looper, number: u32| {
        println!("request {number} is served");
        if number == 2 {
            looper.quit();
        }
    });
    let barrier = looper.barrier()?;
    for number in [1, 2] {
        requests.send(number)?;
    }
    let reader = thread::spawn(move || {
        println!("the settings are read");
        drop(barrier);
    });
    looper.run()?;
    reader.join().expect("the thread does not panic");
    Ok(())
}
// [/settings]

// [idle]
fn idle() -> io::Result<()> {
    let looper = Looper::new()?;
    let mut rounds = 0;
    looper.add_idle(move |_| {
        rounds += 1;
        println!("idle, round {rounds}");
        ControlFlow::Continue(())
    })?;

    looper.post(|_| println!("first message"))?;
    looper.post(|_| println!("second message"))?;
    println!("idle handlers run: {}", two_turns(&looper)?);
    looper.wake()?;
    println!("idle handlers run: {}", two_turns(&looper)?);
    looper.post(|_| println!("third message"))?;
    println!("idle handlers run: {}", two_turns(&looper)?);
    Ok(())
}

fn two_turns(looper: &Looper) -> io::Result<usize> {
    let turns = [looper.poll_once(Duration::ZERO)?, looper.poll_once(Duration::ZERO)?];
    Ok(turns.iter().map(|turn| turn.idles).sum())
}
// [/idle]
