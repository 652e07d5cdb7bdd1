//! cargo run -p alooper-guide --example with_tokio
//!
//! docs/guide/how-to/tasks.md: tokio awaits what a looper computes, and a looper's task awaits tokio's channel.

use std::{
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use alooper::{HandlerThread, Looper};
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    time,
};

/// A question, and where the answer is to go.
type Question = (&'static str, oneshot::Sender<usize>);

fn main() -> io::Result<()> {
    let (ask, questions) = mpsc::channel(4);
    // [looper]
    let thread = HandlerThread::spawn("counter")?;
    // The future is made on the looper's thread, so that it need not be `Send`.
    thread.handle().spawn_with(move || count(questions))?;
    // [/looper]
    let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(client(&thread, ask))?;
    thread.quit();
    thread.join().map_err(io::Error::other)?;
    Ok(())
}

// [count]
/// A looper's task, which awaits tokio's channel.
async fn count(mut questions: mpsc::Receiver<Question>) {
    let vowels = Rc::new(['a', 'e', 'i', 'o', 'u']);
    while let Some((word, answer)) = questions.recv().await {
        let count = word.chars().filter(|letter| vowels.contains(letter)).count();
        _ = answer.send(count);
    }
}
// [/count]

// [client]
/// Polled by tokio.
async fn client(thread: &HandlerThread, ask: mpsc::Sender<Question>) -> io::Result<()> {
    // A closure on the looper's thread, awaited from here.
    let name = thread.handle().call_async(|looper: &Looper| looper.name().map(str::to_owned)).await?;
    println!("tokio has asked the looper {}", name.unwrap_or_default());

    let (answer, answered) = oneshot::channel();
    ask.send(("a looper's task", answer)).await.map_err(io::Error::other)?;
    println!("the looper's task has counted {} vowels", answered.await.map_err(io::Error::other)?);

    // A time limit of tokio's for a call to a looper.
    let start = Instant::now();
    let slow = thread.handle().call_async(move |_: &Looper| start.elapsed() < Duration::from_secs(60));
    println!("in time: {}", time::timeout(Duration::from_secs(60), slow).await??);
    Ok(())
}
// [/client]
