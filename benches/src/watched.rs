//! A child under a program that counts something.

use std::{
    io,
    process::{Command, Output},
};

/// Runs `watcher` with `arguments`. An error says that it is missing, or how it has failed.
pub fn run(watcher: &str, arguments: &[String]) -> Result<Output, String> {
    let output = Command::new(watcher).args(arguments).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{watcher} is not installed"),
        _ => format!("{watcher}: {error}"),
    })?;
    if output.status.success() {
        Ok(output)
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("{watcher}: {}: {}", output.status, errors.lines().next_back().unwrap_or_default()))
    }
}
