//! cargo run --example trace --features trace
//!
//! Makes a picture of a program: a user interface that asks a worker, and a stream that it reads. Open the file in
//! https://ui.perfetto.dev, or in Chromium's about:tracing.

use std::{
    env, io,
    io::{Read, Write},
    ops::ControlFlow,
    os::unix::net::UnixStream,
    time::Duration,
};

use alooper::{FdNext, Handler, HandlerThread, Interest, Looper, trace::Trace};

/// How many frames are drawn, and answers asked for.
const FRAMES: u32 = 20;
const FRAME: Duration = Duration::from_millis(2);

/// What the worker has worked out.
struct Answer {
    frame: u32,
    sum: u64,
}

fn main() -> io::Result<()> {
    let path = env::args().nth(1).map_or_else(|| env::temp_dir().join("alooper-trace.json"), Into::into);
    let trace = Trace::to_file(&path)?;
    let ui = Looper::builder().name("ui").prepare()?;
    trace.attach(&ui);
    let worker = HandlerThread::spawn("worker")?;
    trace.attach_handle(worker.handle())?;

    let (near, mut far) = UnixStream::pair()?;
    ui.add_fd(near, Interest::INPUT, |_, near, _| {
        let mut bytes = [0; 64];
        match near.read(&mut bytes) {
            Ok(1..) => FdNext::Keep,
            _ => FdNext::Remove,
        }
    })?;

    let answers = Handler::new(&ui, move |looper, Answer { frame, sum }| {
        println!("the worker says {sum}");
        // A program would ask the socket whether it can be written.
        if far.write_all(b"an answer").is_err() || frame == FRAMES {
            looper.quit_safely();
        }
    });
    ask_in_each_frame(&ui, worker.handle().clone(), answers)?;
    ui.run()?;

    worker.quit_safely();
    worker.join().map_err(|error| io::Error::other(error.to_string()))?;
    let summary = trace.finish()?;
    println!("{} slices are in {}", summary.slices, path.display());
    Ok(())
}

fn ask_in_each_frame(ui: &Looper, worker: alooper::LooperHandle, answers: Handler<Answer>) -> io::Result<()> {
    let mut frame = 0;
    ui.post_every(FRAME, move |_| {
        frame += 1;
        let answers = answers.clone();
        let asked = worker.post(move |_| _ = answers.send(Answer { frame, sum: work(frame.into()) }));
        if asked.is_ok() && frame < FRAMES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(())
}

/// Takes a while.
fn work(size: u64) -> u64 {
    (0..size * 1000).fold(0, |sum, number| sum ^ number.wrapping_mul(size))
}
