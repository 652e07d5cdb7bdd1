//! cargo run --example watchdog
//!
//! An "application not responding", and its end: the user interface's thread asks another one for an answer and waits
//! for it, which takes too long. Its clicks wait behind that. The watchdog names the place while it is still stuck.

use std::{
    io,
    sync::mpsc::{self, Sender},
    time::Duration,
};

use alooper::{Handler, HandlerThread, Looper, Watchdog};

/// For how long a callback may run here. A program would take the 500 ms that it is unless set.
const THRESHOLD: Duration = Duration::from_millis(100);
/// How long the answer takes.
const SLOW: Duration = Duration::from_millis(400);

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let ui = Handler::new(&looper, |looper, click: &'static str| match click {
        "close" => looper.quit(),
        click => println!("ui: {click} was clicked"),
    });

    let watchdog = Watchdog::builder()
        .threshold(THRESHOLD)
        .on_stuck(|stuck| println!("watchdog: {stuck}"))
        .on_resumed(|stuck| println!("watchdog: it goes on; it was stuck in {}", stuck.running))
        .spawn()?;
    watchdog.watch(&looper.handle());

    let server = HandlerThread::spawn("server")?;
    let requests = server.handle().clone();
    looper.post(move |_| {
        println!("ui: asks the server, and waits");
        let (sender, answer) = mpsc::channel();
        answer_later(&requests, sender);
        // Do not do this in a callback: let the server post its answer to the looper instead.
        println!("ui: the answer is {}", answer.recv().unwrap_or_default());
    })?;
    ui.send("a menu")?;
    ui.send("another one")?;
    ui.send_delayed(2 * SLOW, "close")?;

    looper.run().map(drop)
}

/// The answer comes when it was worked out.
fn answer_later(server: &alooper::LooperHandle, sender: Sender<u32>) {
    let sent = server.post_delayed(SLOW, move |_| _ = sender.send(42));
    if let Err(error) = sent {
        println!("the server is gone: {error}");
    }
}
