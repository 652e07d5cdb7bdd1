//! cargo run -p alooper-guide --example replies
//!
//! docs/guide/how-to/replies.md: one looper asks another, and goes on when the answer is there.

use std::{cell::Cell, io, rc::Rc, time::Duration};

use alooper::{Handler, HandlerThread, Looper, LooperHandle};

// [ask]
/// Runs `work` on the looper of `there`, and then `reply` here, which need not be `Send`.
fn ask<R: Send + 'static>(
    here: &Looper,
    there: &LooperHandle,
    work: impl FnOnce(&Looper) -> R + Send + 'static,
    reply: impl FnOnce(&Looper, R) + 'static,
) -> io::Result<()> {
    let mut reply = Some(reply);
    let answer = Handler::new(here, move |looper, value| {
        if let Some(reply) = reply.take() {
            reply(looper, value);
        }
    });
    there.post(move |looper| {
        // Refused only if the looper that asked has quit.
        let _ = answer.send(work(looper));
    })?;
    Ok(())
}
// [/ask]

fn main() -> io::Result<()> {
    // [use]
    let looper = Looper::prepare()?;
    let store = HandlerThread::spawn("store")?;
    let open = Rc::new(Cell::new(2));
    for word in ["loop", "looper"] {
        let open = open.clone();
        ask(
            &looper,
            store.handle(),
            move |_| word.len(),
            move |looper, length| {
                println!("{word:?} has {length} letters");
                open.set(open.get() - 1);
                if open.get() == 0 {
                    looper.quit();
                }
            },
        )?;
    }
    looper.run()?;

    let length = store.handle().call_timeout(Duration::from_secs(60), |_| "event".len())?;
    println!("\"event\" has {length} letters, and the caller has waited");
    // [/use]
    Ok(())
}
