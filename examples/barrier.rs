//! cargo run --example barrier
//!
//! A service reads its settings. Requests that arrive meanwhile wait behind a barrier, in their order; health checks
//! are asynchronous, pass it, and are answered at once.

use std::{io, time::Duration};

use alooper::{Handler, HandlerThread, Looper};

enum Event {
    Request(u32),
    HealthCheck,
    Stop,
}

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let service = Handler::new(&looper, |looper, event| match event {
        Event::Request(number) => println!("request {number}: served"),
        Event::HealthCheck => println!("health check: alive, {} messages pending", looper.len()),
        Event::Stop => looper.quit(),
    });
    let health = service.asynchronous();

    service.send(Event::Request(1))?;
    // It stands behind what is due already. A thread that needs time to read has it, and lets go of it in the end: also
    // if it fails, so that no barrier is forgotten.
    let barrier = looper.barrier()?;
    let reader = HandlerThread::spawn("reader")?;
    reader.handle().post_delayed(Duration::from_millis(150), move |_| {
        println!("reader: here are the settings");
        drop(barrier);
    })?;

    service.send(Event::Request(2))?;
    service.send(Event::Request(3))?;
    service.send(Event::Stop)?;
    for delay in [50, 100].map(Duration::from_millis) {
        health.send_delayed(delay, Event::HealthCheck)?;
    }

    let report = looper.run()?;
    println!("{} messages were posted, {} were run", report.posted, report.run);
    Ok(())
}
