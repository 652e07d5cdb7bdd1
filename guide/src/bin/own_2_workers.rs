//! cargo run -p alooper-guide --bin own_2_workers -- JOB..
//!
//! Chapter 13 of docs/guide: two workers run the jobs, and their results come back.

use std::{env, io, process::Command};

use alooper::{Handler, HandlerThread, Looper};

// [main]
fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let jobs: Vec<String> = env::args().skip(1).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let mut open = jobs.len();
    let results = Handler::new(&looper, move |looper, (job, output): (String, String)| {
        println!("{job}: {output}");
        open -= 1;
        if open == 0 {
            looper.quit();
        }
    });

    let workers = [HandlerThread::spawn("worker 0")?, HandlerThread::spawn("worker 1")?];
    for (job, worker) in jobs.into_iter().zip(workers.iter().cycle()) {
        let results = results.clone();
        worker.handle().post(move |_| {
            let output = run(&job);
            // Refused only if the main looper has quit.
            let _ = results.send((job, output));
        })?;
    }
    looper.run()?;
    Ok(())
}
// [/main]

fn run(job: &str) -> String {
    match Command::new("sh").args(["-c", job]).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
        Err(error) => error.to_string(),
    }
}
