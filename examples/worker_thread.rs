//! cargo run --example worker_thread
//!
//! A worker thread runs a looper of its own. Jobs are posted to it, and their results are posted back, so that the main
//! thread never waits for a job and no state is shared.

use std::{
    io,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use alooper::{Looper, LooperHandle, MessageCounts};

fn main() -> io::Result<()> {
    let main = Looper::prepare_main()?;
    let (worker, thread) = start_worker(main.handle())?;

    for limit in [1_000, 10_000, 100_000] {
        let main = main.handle();
        worker.post(move |_| {
            let count = primes_below(limit);
            println!("[{}] counted the primes below {limit}", name());
            // Refused only if the main looper has quit: then nobody wants the result.
            let _ = main.post(move |_| println!("[{}] there are {count} primes below {limit}", name()));
        })?;
    }
    // What is due still runs, which is all three jobs; then the worker ends, and with it the main looper.
    worker.quit_safely();
    println!("[{}] three jobs are posted; waiting for results", name());

    main.run()?;

    let report = thread.join().expect("no job panics")?;
    println!("[{}] the worker has ended: {} jobs posted, {} run", name(), report.posted, report.run);
    Ok(())
}

/// Starts a thread with a looper, and gives its handle once that looper takes posts.
fn start_worker(main: LooperHandle) -> io::Result<(LooperHandle, JoinHandle<io::Result<MessageCounts>>)> {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name("worker".into()).spawn(move || {
        let _last = QuitWhenDropped(main);
        let looper = Looper::prepare()?;
        let _ = sender.send(looper.handle());
        looper.run()
    })?;
    match receiver.recv() {
        Ok(handle) => Ok((handle, thread)),
        // It could not prepare a looper: the thread's result says why.
        Err(_) => Err(thread.join().expect("preparing does not panic").expect_err("no handle was sent")),
    }
}

/// Quits a looper when the thread that has this ends, also if it ends by a panic: nobody waits for ever.
struct QuitWhenDropped(LooperHandle);

impl Drop for QuitWhenDropped {
    fn drop(&mut self) {
        // Safely: results that were posted before still arrive.
        self.0.quit_safely();
    }
}

fn primes_below(limit: u32) -> usize {
    let is_prime = |n: &u32| (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    (2..limit).filter(is_prime).count()
}

fn name() -> String {
    thread::current().name().unwrap_or("?").to_owned()
}
