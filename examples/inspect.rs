//! cargo run --example inspect --features inspect
//!
//! A program that `looptop` can look into while it runs: see docs/guide/how-to/slow-or-stuck.md. Without arguments, it
//! looks into itself, and ends. With `--for SECONDS`, it runs for so long, and says where to look.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    ops::ControlFlow,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use alooper::{HandlerThread, Looper, inspect::Inspector};

const TICK: Duration = Duration::from_millis(1);

fn main() -> io::Result<()> {
    let inspector = Inspector::spawn()?;
    let ui = Looper::builder().name("ui").prepare()?;
    let worker = HandlerThread::spawn("worker")?;

    // The user interface draws; the worker is busy for most of the time.
    ui.post_every(16 * TICK, |looper| keep_busy(looper, TICK))?;
    worker.handle().post_every(4 * TICK, |looper| keep_busy(looper, 3 * TICK))?;

    let seconds = env::args().skip_while(|argument| argument != "--for").nth(1);
    match seconds.and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) => {
            println!("looptop {}", std::process::id());
            ui.post_delayed(Duration::from_secs(seconds), Looper::quit)?;
            ui.run()?;
        }
        None => look_from_outside(&ui, UnixStream::connect(inspector.path())?)?,
    }
    Ok(())
}

/// Stands for work that takes so long.
fn keep_busy(looper: &Looper, duration: Duration) -> ControlFlow<()> {
    let end: Instant = looper.now() + duration;
    while looper.now() < end {
        std::hint::spin_loop();
    }
    ControlFlow::Continue(())
}

/// Lets another thread look, after a tenth of a second.
fn look_from_outside(ui: &Looper, mut stream: UnixStream) -> io::Result<()> {
    let viewer = HandlerThread::spawn("viewer")?;
    let ui_handle = ui.handle();
    viewer.handle().post_delayed(100 * TICK, move |_| {
        look(&mut stream).unwrap_or_else(|error| println!("nobody answers: {error}"));
        ui_handle.quit();
    })?;
    ui.run().map(drop)
}

/// What `looptop` does again and again: asks, and shows the answer.
fn look(stream: &mut UnixStream) -> io::Result<()> {
    stream.write_all(b"look\n")?;
    let lines = BufReader::new(stream).lines();
    for line in lines.take(2) {
        println!("{}", line?);
    }
    Ok(())
}
