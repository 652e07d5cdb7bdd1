//! The accounting can fail: each planted fault is found, as what it is, and nothing is found where none was planted.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

const SOAK: &str = env!("CARGO_BIN_EXE_alooper-soak");

/// A soak small enough for a build without optimisation.
fn soak(record: &str, arguments: &[&str]) -> (Output, String) {
    let record = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(record);
    let _ = fs::remove_file(&record);
    let output = Command::new(SOAK)
        .args(["--quick", "--messages", "100000", "--timers", "0", "--fd-changes", "0"])
        .args(["--threads", "4", "--fds", "400", "--record"])
        .arg(&record)
        .args(arguments)
        .output()
        .unwrap();
    let recorded = fs::read_to_string(&record).unwrap_or_default();
    (output, recorded)
}

/// The sum of the column `name` of a record.
fn sum(record: &str, name: &str) -> u64 {
    let number = |line: &str| -> Option<u64> {
        let mut words = line.split(' ').skip_while(|word| *word != name);
        words.nth(1)?.parse().ok()
    };
    record.lines().map(|line| number(line).unwrap_or_else(|| panic!("no {name} in {line}"))).sum()
}

const FINDINGS: [&str; 9] =
    ["lost", "duplicated", "reordered", "early", "corrupted", "unbalanced", "fd_events_lost", "sources_lost", "leaked"];

#[test]
fn where_nothing_is_planted_nothing_is_found() {
    let (output, record) = soak("nothing", &[]);

    assert!(output.status.success(), "{output:?}");
    assert!(FINDINGS.iter().all(|name| sum(&record, name) == 0), "{record}");
    assert!(sum(&record, "messages") >= 95_000, "{record}");
    assert_eq!(
        sum(&record, "run") + sum(&record, "removed") + sum(&record, "dropped"),
        sum(&record, "messages"),
        "M6: each ends in exactly one way"
    );
    for used in ["removed", "dropped", "timers_fired", "barriers", "fd_changes", "fd_events", "loopers"] {
        assert!(sum(&record, used) > 0, "no {used}: {record}");
    }
}

#[test]
fn each_planted_fault_is_found() {
    let faults = [
        ("lose", "lost"),
        ("duplicate", "duplicated"),
        ("reorder", "reordered"),
        ("early", "early"),
        ("corrupt", "corrupted"),
        ("miscount", "unbalanced"),
        ("fd-event", "fd_events_lost"),
        ("source", "sources_lost"),
        ("fd", "leaked"),
        ("memory", "leaked"),
    ];
    for (fault, finding) in faults {
        let (output, record) = soak(fault, &["--plant", fault]);

        assert!(!output.status.success(), "{fault} was not found: {record}");
        assert!(sum(&record, finding) > 0, "{fault} was found as something else: {record}");
        // A fault that stays is found again in each portion, but nothing else is.
        let others = FINDINGS.iter().filter(|name| **name != finding && (fault, **name) != ("lose", "unbalanced"));
        assert!(
            others.copied().all(|name| sum(&record, name) == 0),
            "{fault} was found as something else, too: {record}"
        );
    }
}

#[test]
fn a_record_goes_on_where_it_stopped_and_is_summed_up_with_others() {
    let (_, record) = soak("stopped", &[]);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let kept: String = record.lines().take(3).flat_map(|line| [line, "\n"]).collect();
    fs::write(folder.join("goes_on"), &kept).unwrap();
    let goes_on = Command::new(SOAK)
        .args([
            "--quick",
            "--messages",
            "100000",
            "--timers",
            "0",
            "--fd-changes",
            "0",
            "--threads",
            "4",
            "--fds",
            "400",
        ])
        .arg("--record")
        .arg(folder.join("goes_on"))
        .output()
        .unwrap();

    let whole = fs::read_to_string(folder.join("goes_on")).unwrap();
    let summed = Command::new(SOAK).arg("sum").args([folder.join("stopped"), folder.join("goes_on")]).output().unwrap();

    assert!(goes_on.status.success(), "{goes_on:?}");
    assert!(whole.starts_with(&kept) && sum(&whole, "messages") >= 100_000);
    assert!(sum(&whole, "messages") < 100_000 + sum(&kept, "messages"), "what was recorded counts");
    let said = String::from_utf8(summed.stdout).unwrap();
    let all = (sum(&record, "messages") + sum(&whole, "messages")).to_string();
    assert!(summed.status.success() && said.contains(&format!("{all} messages")), "{said}");
}

/// C39, C40, and the looper that sleeps.
#[test]
fn an_early_timer_and_a_wake_up_are_found() {
    let cases: [(&[&str], bool); 4] = [
        (&["timers", "--count", "500"], true),
        (&["timers", "--count", "500", "--plant", "early"], false),
        (&["idle", "--seconds", "1"], true),
        (&["idle", "--seconds", "1", "--plant", "wake"], false),
    ];
    for (arguments, is_fine) in cases {
        let output = Command::new(SOAK).args(arguments).output().unwrap();

        assert_eq!(output.status.success(), is_fine, "{arguments:?}: {output:?}");
    }
}

/// X2: a child that hangs is told from one that ends.
#[test]
fn a_forked_child_that_hangs_is_found() {
    let forks = |arguments: &[&str]| {
        let output = Command::new(SOAK).args(["forks", "--count", "6"]).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };

    let (is_fine, said) = forks(&[]);
    assert!(is_fine && said.matches("0 of 3 children hung, 0 failed").count() == 2, "{said}");

    let (is_fine, said) = forks(&["--seconds", "1", "--plant", "hang"]);
    assert!(!is_fine && said.contains("1 of 3 children hung"), "{said}");
}
