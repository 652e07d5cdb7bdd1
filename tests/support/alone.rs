//! Running one test in a process of its own: for limits, counts of fds and memory, and what is process-wide.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{env, fs, process::Command};

use crate::support::watched;

/// Names, in the process that was started for it, the one test that runs there.
const ALONE: &str = "ALOOPER_TEST_ALONE";

/// Runs `body` in a new process in which no other test runs: this binary, asked for `test` only. `test` names the
/// caller.
pub(crate) fn alone(test: &str, body: impl FnOnce() + Send + 'static) {
    if env::var_os(ALONE).is_some_and(|name| name == test) {
        return watched(body);
    }
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, test)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    assert!(said.contains("1 passed"), "no test is named {test}:\n{said}");
}

/// The memory of this process that is in RAM.
pub(crate) fn resident_bytes() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
