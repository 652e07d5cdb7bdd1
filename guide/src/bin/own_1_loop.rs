//! cargo run -p alooper-guide --bin own_1_loop -- JOB..
//!
//! Chapter 13 of docs/guide: jobs, one after the other.

// [main]
use std::{env, io, process::Command};

use alooper::Looper;

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    for job in env::args().skip(1) {
        looper.post(move |_| println!("{job}: {}", run(&job)))?;
    }
    looper.post(|looper| looper.quit())?;
    looper.run()?;
    Ok(())
}

fn run(job: &str) -> String {
    match Command::new("sh").args(["-c", job]).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
        Err(error) => error.to_string(),
    }
}
// [/main]
