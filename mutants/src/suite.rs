//! The tests: how they are built, listed and run.

use std::{
    env, fs,
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::Value;

pub(crate) struct Suite {
    /// The binaries' names and paths.
    pub(crate) binaries: Vec<(String, PathBuf)>,
    /// Where they run.
    tree: PathBuf,
    /// Where what they print goes.
    folder: PathBuf,
    count: AtomicUsize,
}

/// How a run of some tests ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    /// A test has failed, or the process has died in it.
    Failed(String),
    /// A test hangs, by its watchdog or by the limit.
    Hung(String),
    /// It has failed or hung, and it is not known in which test.
    Unknown,
}

/// What a run is given.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) environment: (&'static str, &'a str),
    pub(crate) limit: Duration,
    /// After this a test's own watchdog barks.
    pub(crate) watchdog: Duration,
    pub(crate) threads: usize,
}

impl Suite {
    /// Builds `tests`.
    pub(crate) fn build(tree: &Path, folder: &Path, tests: &[&str]) -> Suite {
        let mut command = Command::new("cargo");
        command.current_dir(tree).args(["test", "--no-run", "--features=testing", "--message-format=json", "-q"]);
        for test in tests {
            match *test {
                "lib" => command.arg("--lib"),
                test => command.arg(format!("--test={test}")),
            };
        }
        let output = command.stderr(Stdio::inherit()).output().expect("cargo runs");
        assert!(output.status.success(), "the tests do not build");
        let lines = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        let binaries = lines.filter_map(|line: Value| {
            let path = line["executable"].as_str()?;
            let is_lib = line["target"]["kind"][0] == "lib";
            let name = if is_lib { "lib" } else { line["target"]["name"].as_str()? };
            Some((name.to_owned(), PathBuf::from(path)))
        });
        let folder = folder.join("printed");
        fs::create_dir_all(&folder).expect("a folder for what tests print");
        Suite { binaries: binaries.collect(), tree: tree.to_owned(), folder, count: AtomicUsize::new(0) }
    }

    /// All tests, each as its binary's index and its name.
    pub(crate) fn tests(&self) -> Vec<(usize, String)> {
        let mut tests = Vec::new();
        for (index, (_, path)) in self.binaries.iter().enumerate() {
            let output = Command::new(path).current_dir(&self.tree).args(["--list", "--format=terse"]).output();
            let output = String::from_utf8(output.expect("the tests are listed").stdout).expect("names");
            tests.extend(output.lines().filter_map(|line| Some((index, line.strip_suffix(": test")?.to_owned()))));
        }
        tests
    }

    /// Runs `tests` of one binary until one fails.
    pub(crate) fn run(&self, binary: usize, tests: &[&str], run: Run<'_>) -> (End, Duration) {
        let printed = self.folder.join(self.count.fetch_add(1, Relaxed).to_string());
        let file = File::create(&printed).expect("a file for what tests print");
        let mut command = Command::new(&self.binaries[binary].1);
        command.current_dir(&self.tree).args(tests).args(["--exact", "-Zunstable-options", "--fail-fast"]);
        command.arg(format!("--test-threads={}", run.threads));
        command.env("RUSTC_BOOTSTRAP", "1").env("RUST_BACKTRACE", "0").env(run.environment.0, run.environment.1);
        command.env("ALOOPER_WATCHDOG", run.watchdog.as_secs().to_string());
        command.env("CARGO_MANIFEST_DIR", &self.tree);
        // What the tests fork is killed with them.
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file).process_group(0);
        let started = Instant::now();
        let mut child = command.spawn().expect("a test binary runs");
        let group = Pid::from_raw(child.id().cast_signed());
        let (ended, end) = mpsc::channel();
        let waiting = thread::spawn(move || {
            let status = child.wait();
            _ = ended.send(());
            status
        });
        let is_late = end.recv_timeout(run.limit).is_err();
        _ = killpg(group, Signal::SIGKILL);
        let status = waiting.join().expect("no panic").expect("it has ended");
        let duration = started.elapsed();
        let text = fs::read(&printed).unwrap_or_default();
        _ = fs::remove_file(&printed);
        let text = String::from_utf8_lossy(&text);
        let end = match () {
            () if status.success() && !is_late => End::Passed,
            () => end_of(&text, tests, is_late),
        };
        if env::var_os("ALOOPER_MUTANTS_VERBOSE").is_some() && end != End::Passed {
            eprintln!("{:?} {end:?} {tests:?}: {text}", run.environment);
        }
        (end, duration)
    }
}

/// In which test, and how, a run that has printed `text` has ended.
fn end_of(text: &str, tests: &[&str], is_late: bool) -> End {
    let hangs = text.contains("the test hangs");
    let named = |name: &str| tests.iter().find(|test| **test == name).map(|test| (*test).to_owned());
    let failed = text.lines().find_map(|line| {
        let line = line.strip_prefix("test ")?;
        line.strip_suffix(" ... FAILED").or_else(|| line.strip_suffix(" - should panic ... FAILED")).and_then(named)
    });
    let begun = || {
        // It has begun, and nothing tells how it ended.
        let lines = text.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ..."));
        lines
            .filter(|(_, end)| !end.ends_with("ok") && !end.ends_with("ignored"))
            .filter_map(|(name, _)| named(name))
            .next_back()
    };
    let only = || if let [only] = tests { Some((*only).to_owned()) } else { None };
    match failed.or_else(only).or_else(begun) {
        Some(test) if is_late || hangs => End::Hung(test),
        Some(test) => End::Failed(test),
        None => End::Unknown,
    }
}
