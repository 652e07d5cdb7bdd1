//! cargo run -p alooper-guide --example host_tokio
//!
//! docs/guide/how-to/embed.md: a looper inside a tokio runtime of one thread, by an `AsyncFd`.

use std::{
    io::{self, ErrorKind},
    rc::Rc,
    time::Duration,
};

use alooper::Looper;
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixStream,
    runtime, task,
};

#[allow(dead_code, reason = "the host has its own way to answer")]
mod hosted;

// [host]
/// Does what the looper has to do, until it quits.
async fn host(looper: Rc<Looper>) -> io::Result<()> {
    // SAFETY: a looper's fd is open and the same for as long as it lives (F7), and the `AsyncFd` keeps it alive.
    let looper = unsafe { AsyncFd::register_with_interest(looper, Interest::READABLE) }?;
    loop {
        let mut ready = looper.readable().await?;
        let turn = looper.get_ref().poll_once(Duration::ZERO)?;
        if turn.quit {
            return Ok(());
        }
        if turn.is_empty() {
            ready.clear_ready();
        } else {
            // There may be more to do. But the others come first.
            task::yield_now().await;
        }
    }
}
// [/host]

async fn answer(stream: UnixStream) -> io::Result<()> {
    loop {
        stream.readable().await?;
        match stream.try_read(&mut [0; 16]) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                println!("host: {count} bytes, and answers");
                stream.try_write(b"answer")?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn main() -> io::Result<()> {
    // [runtime]
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let (looper, stream) = hosted::looper_with_work()?;
    runtime.block_on(async {
        let stream = UnixStream::from_std(stream)?;
        tokio::try_join!(host(looper), answer(stream))
    })?;
    // [/runtime]
    println!("host: the looper has quit");
    Ok(())
}
