//! cargo run -p alooper-guide --bin handlers
//!
//! Chapter 7 of docs/guide: a handler with its own state, which restarts its own timeout with each message.

use std::{io, time::Duration};

use alooper::{Handler, Looper};

// [handler]
enum Event {
    Line(&'static str),
    Silence,
}

const SILENCE: i32 = 1;
const PATIENCE: Duration = Duration::from_millis(50);

/// Prints lines, and quits when none has come for a while.
fn printer(looper: &Looper) -> Handler<Event> {
    Handler::new_cyclic(looper, |printer| {
        let (printer, mut count) = (printer.clone(), 0);
        move |looper, event| match event {
            Event::Line(line) => {
                count += 1;
                println!("line {count}: {line}");
                let Some(printer) = printer.upgrade() else { return };
                printer.remove(SILENCE);
                // Refused only if the looper has quit: then nobody waits for it.
                let _ = printer.message(Event::Silence).what(SILENCE).send_delayed(PATIENCE);
            }
            Event::Silence => {
                println!("nothing more after {count} lines");
                looper.quit();
            }
        }
    })
}
// [/handler]

// [main]
fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let printer = printer(&looper);
    printer.send(Event::Line("one"))?;
    printer.send_delayed(Duration::from_millis(20), Event::Line("three"))?;
    let two = printer.send_delayed(Duration::from_millis(10), Event::Line("two"))?;
    let four = printer.send_delayed(Duration::from_millis(30), Event::Line("four"))?;
    println!("pending: {}, of them {} labelled", printer.len(), printer.count(SILENCE));
    println!("cancelled: {}", four.cancel());

    looper.run()?;
    println!("too late to cancel: {}", !two.cancel());
    Ok(())
}
// [/main]
