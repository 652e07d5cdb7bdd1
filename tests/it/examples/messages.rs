//! The examples of handlers, barriers, idle handlers and virtual time, run as their users run them: what they print.
//!
//! `cargo test` builds them first. Each ends by itself, under a watchdog.
//!
//! Holds L5, M5, M6, H1, Q2, Q4, B1, B2, B3, B5, I1, I2, S1, V1.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::watched;

/// Runs an example, which has to succeed and complain about nothing; gives its lines.
fn lines_of(name: &'static str) -> Vec<String> {
    let test = env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(program.exists(), "{} is missing: run `cargo build --examples`", program.display());
    let output = watched(move || Command::new(program).stdin(Stdio::null()).output().unwrap());
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// L5, H1, S1, Q2, and M5: those of each thread are in order, since what they say was sent in order.
#[test]
fn handler_thread_counts_for_the_main_thread_and_refuses_after_its_end() {
    let lines = lines_of("handler_thread");

    let of = |name: &str| lines.iter().filter(|line| line.starts_with(name)).cloned().collect::<Vec<_>>();
    assert_eq!(of("[worker] "), ["looper", "handler", "message"].map(|word| format!("[worker] learns {word:?}")));
    let main = of("[main] ");
    let expected = [
        "[main] the worker knows 2 words",
        "[main] the worker knows 3 words",
        "[main] [worker] answers a call",
        "[main] the worker has ended: 6 messages posted, 6 run",
    ];
    assert_eq!(main[..4], expected);
    assert!(main[4].starts_with("[main] another one is refused: the looper "), "{main:?}");
    assert_eq!(lines.len(), 8);
}

/// B1: what was due runs. B2, B5: health checks pass. B3: another thread lifts it. M5, Q4.
#[test]
fn barrier_holds_requests_up_and_lets_health_checks_pass() {
    let lines = lines_of("barrier");

    // A program that is kept waiting for long may lift the barrier, and end, before a check is due.
    let checks: Vec<_> = (1..).take_while(|line| lines[*line].starts_with("health check: ")).collect();
    for (line, pending) in checks.iter().zip([4, 3]) {
        assert_eq!(lines[*line], format!("health check: alive, {pending} messages pending"));
    }
    let others: Vec<&str> =
        lines.iter().map(String::as_str).filter(|line| !line.starts_with("health check: ")).collect();
    let run = format!("6 messages were posted, {} were run", lines.len() - 1);
    let expected =
        ["request 1: served", "reader: here are the settings", "request 2: served", "request 3: served", &run];
    assert_eq!(others, expected);
}

/// I1, I2: once after each burst.
#[test]
fn idle_saves_once_after_each_burst_of_typing() {
    let lines = lines_of("idle");

    let saved: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("nothing is due: saved ")).collect();
    // A program that is kept waiting for long finds two bursts due at once.
    let mut bursts = ["\"all\"", "\"all is\"", "\"all is well\""].iter();
    assert!(saved.iter().all(|saved| bursts.any(|burst| burst == saved)) && bursts.len() == 0, "{saved:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("typed ")).count(), 11);
    assert!(lines[3..].iter().position(|line| line.starts_with("nothing is due")) == Some(0) || saved.len() < 3);
    assert_eq!(*lines.last().unwrap(), format!("nothing will be: {} saves for 11 keys", saved.len()));
    assert_eq!(lines.len(), 12 + saved.len());
}

/// V1: its own test holds on the virtual clock, and the same code keeps to the real one.
#[test]
fn virtual_time_checks_hours_at_once_and_then_runs_for_real() {
    let lines = lines_of("virtual_time");

    assert!(lines[0].starts_with("virtual: a session of 190 minutes was right"), "{lines:?}");
    let took = lines[1].strip_prefix("real: a session of 160 ms ended after ").unwrap().strip_suffix(" ms").unwrap();
    assert!(took.parse::<u32>().unwrap() >= 160, "{took}");
    assert_eq!(lines.len(), 2);
}
