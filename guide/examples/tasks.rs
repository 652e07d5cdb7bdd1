//! cargo run -p alooper-guide --example tasks
//!
//! docs/guide/how-to/tasks.md: tasks that write and read a socket, with a bounded queue, a timeout and an end.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use alooper::{Looper, LooperHandle, task::AsyncFd};
use tokio::sync::mpsc;

const LONGEST: Duration = Duration::from_secs(5);

// [write]
/// Writes what is queued, until nobody queues any more, or until the other end takes nothing for too long.
async fn write(looper: LooperHandle, stream: AsyncFd<UnixStream>, mut queue: mpsc::Receiver<&'static str>) {
    while let Some(word) = queue.recv().await {
        let written = stream.write_with(|mut stream| stream.write(word.as_bytes()));
        if !matches!(looper.timeout(LONGEST, written).await, Ok(Ok(_))) {
            break;
        }
    }
}
// [/write]

// [read]
/// Reads until the other end is closed: how many bytes there were.
async fn read(stream: AsyncFd<UnixStream>) -> io::Result<usize> {
    let (mut buffer, mut sum) = ([0; 64], 0);
    loop {
        match stream.read_with(|mut stream| stream.read(&mut buffer)).await? {
            0 => return Ok(sum),
            count => sum += count,
        }
    }
}
// [/read]

fn main() -> io::Result<()> {
    // [spawn]
    let looper = Looper::prepare()?;
    let (near, far) = UnixStream::pair()?;
    let (sender, queue) = mpsc::channel(2);
    looper.spawn(write(looper.handle(), AsyncFd::new(&looper, near)?, queue))?;
    let reader = looper.spawn(read(AsyncFd::new(&looper, far)?))?;
    looper.spawn(async move {
        for word in ["a task ", "that is polled ", "by a looper"] {
            // Waits while two words are queued.
            sender.send(word).await.expect("the writer lives until nobody queues");
        }
    })?;
    println!("read {} bytes", looper.block_on(reader)???);
    // [/spawn]

    // [end]
    let sleeper = looper.spawn(looper.sleep(Duration::from_secs(3600)))?;
    println!("cancelled: {}", sleeper.cancel());
    println!("{}", looper.block_on(sleeper)?.expect_err("it was cancelled"));
    // [/end]
    Ok(())
}
