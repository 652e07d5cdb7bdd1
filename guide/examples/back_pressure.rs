//! cargo run -p alooper-guide --example back_pressure
//!
//! docs/guide/how-to/back-pressure.md: a fast producer waits for a slow consumer, or is given its message back.

use std::{
    io,
    sync::mpsc::{self, SyncSender},
    thread,
};

use alooper::{Handler, Looper};

// [bounded]
/// Sends to a handler, but never more than a limit before they are handled.
struct Bounded<M> {
    handler: Handler<M>,
    permits: SyncSender<()>,
}

fn bounded<M: 'static>(looper: &Looper, limit: usize, mut handle: impl FnMut(&Looper, M) + 'static) -> Bounded<M> {
    let (permits, taken) = mpsc::sync_channel(limit);
    let handler = Handler::new(looper, move |looper, message| {
        // Never waits: who sends puts the permit there first.
        let _ = taken.recv();
        handle(looper, message);
    });
    Bounded { handler, permits }
}

impl<M: 'static> Bounded<M> {
    /// Waits for room. Gives the message back if the looper has quit.
    fn send(&self, message: M) -> Result<(), M> {
        if self.permits.send(()).is_err() { Err(message) } else { self.put(message) }
    }

    /// Gives the message back if there is no room, too.
    fn try_send(&self, message: M) -> Result<(), M> {
        if self.permits.try_send(()).is_err() { Err(message) } else { self.put(message) }
    }

    fn put(&self, message: M) -> Result<(), M> {
        let refused = self.handler.send(message).map(drop);
        refused.map_err(|refused| refused.into_value().expect("the value is with the thread that sent it"))
    }
}
// [/bounded]

fn main() -> io::Result<()> {
    let looper = Looper::new()?;
    let (mut count, mut most) = (0, 0);
    let numbers = bounded(&looper, 4, move |looper, number: u32| {
        count += 1;
        most = most.max(looper.len());
        if number == 1000 {
            println!("{count} handled, never more than 4 pending: {}", most <= 4);
            looper.quit();
        }
    });

    let given_back: Vec<u32> = (1..=6).filter_map(|number| numbers.try_send(number).err()).collect();
    println!("no room for {given_back:?}");
    // [producer]
    let producer = thread::spawn(move || (7..).find_map(|number| numbers.send(number).err()));
    looper.run()?;
    // Whoever still waits for room is released.
    drop(looper);
    let refused = producer.join().expect("it does not panic");
    println!("one came back after the end: {}", refused.is_some_and(|number| number > 1000));
    // [/producer]
    Ok(())
}
