//! cargo run -p alooper-guide --example ported
//!
//! docs/guide/how-to/porting-from-android.md: the twin of a small Android program.

use std::{io, ops::ControlFlow, time::Duration};

use alooper::{Handler, HandlerThread, Looper};

// [ported]
enum Message {
    Tick(u32),
    Loaded(String),
    TimedOut,
}

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let disk = HandlerThread::spawn("disk")?;
    let loader = disk.handle().clone();

    let main = Handler::new_cyclic(&looper, |this| {
        let this = this.clone();
        move |looper: &Looper, message| {
            let Some(main) = this.upgrade() else { return };
            match message {
                Message::Tick(number) if number < 3 => {
                    println!("tick {number}");
                    main.send_delayed(Duration::from_millis(20), Message::Tick(number + 1)).expect("it has not quit");
                }
                Message::Tick(number) => {
                    println!("tick {number}, loads");
                    main.send_delayed(Duration::from_secs(10), Message::TimedOut).expect("it has not quit");
                    let load = move |_: &Looper| drop(main.send(Message::Loaded(load())));
                    loader.post(load).expect("the disk thread has not quit");
                }
                Message::Loaded(text) => {
                    let removed = main.remove_if(|message| matches!(message, Message::TimedOut));
                    println!("loaded: {text}; {removed} timeout removed");
                    looper.quit_safely();
                }
                Message::TimedOut => {
                    println!("timed out");
                    looper.quit();
                }
            }
        }
    });

    looper.add_idle(|_| {
        println!("nothing to do");
        ControlFlow::Break(())
    })?;
    main.send(Message::Tick(1))?;
    let report = looper.run()?;
    disk.quit_safely();
    disk.join()?;
    println!("{} messages sent, {} handled, {} removed", report.posted, report.run, report.removed);
    Ok(())
}
// [/ported]

/// Takes a while on a real disk.
fn load() -> String {
    "settings".to_owned()
}
