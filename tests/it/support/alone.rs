//! Running one test in a process of its own: for limits, counts of fds and memory, and what is process-wide.

use std::{env, panic::Location, process::Command};

use super::watched::watched;

/// Names, in the process that was started for it, the one test that runs there.
const ALONE: &str = "ALOOPER_TEST_ALONE";

/// Runs `body` in a new process in which no other test runs: this binary, asked for `test` only. `test` names the
/// caller.
#[track_caller]
pub(crate) fn alone(test: &str, body: impl FnOnce() + Send + 'static) {
    let test = full_name(test);
    if env::var_os(ALONE).is_some_and(|name| name == test.as_str()) {
        return watched(body);
    }
    let output = Command::new(env::current_exe().unwrap())
        .args([&test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, &test)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    assert!(said.contains("1 passed"), "no test is named {test}:\n{said}");
}

/// The name of the caller's `test` with its modules, which are those of its file. The thread's name would not do: on
/// one core all tests run on the main thread.
#[track_caller]
pub(crate) fn full_name(test: &str) -> String {
    let file = Location::caller().file();
    match file.strip_prefix("tests/it/").and_then(|file| file.strip_suffix(".rs")) {
        Some(modules) => format!("{}::{test}", modules.replace('/', "::")),
        None => test.to_owned(),
    }
}
