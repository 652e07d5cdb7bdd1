//! cargo run -p alooper-guide --bin looper_wakes
//!
//! Chapter 6 of docs/guide: which system calls a looper makes for wakes and posts, by its own count.

use std::{io, thread, time::Duration};

use alooper::{Looper, LooperHandle};

fn main() -> io::Result<()> {
    // [wakes]
    let looper = Looper::new()?;
    for _ in 0..1000 {
        looper.wake()?;
        assert!(looper.poll_once(None)?.woken);
    }
    println!("1000 wakes: {}", calls(&looper.handle()));
    // [/wakes]

    // [posts]
    let looper = Looper::new()?;
    let handle = looper.handle();
    let post = move || (0..1000).all(|_| handle.post(|_| ()).is_ok());
    assert!(thread::spawn(post).join().expect("the thread does not panic"));
    assert_eq!(looper.poll_all(Duration::from_secs(1))?.messages, 1000);
    println!("1000 posts by another thread: {}", calls(&looper.handle()));
    // [/posts]

    let looper = Looper::new()?;
    let handle = looper.handle();
    let thread = thread::spawn(move || {
        while !handle.is_polling() {
            thread::yield_now();
        }
        handle.wake()
    });
    assert!(looper.poll_once(None)?.woken);
    thread.join().expect("the thread does not panic")?;
    println!("1 wake while it sleeps: {}", calls(&looper.handle()));
    Ok(())
}

fn calls(handle: &LooperHandle) -> String {
    let stats = handle.stats();
    format!("eventfd written {}, epoll_wait called {}", stats.wakes_sent, stats.waits)
}
