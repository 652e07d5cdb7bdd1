//! What looptop shows of a program with a known load: `examples/load.rs`.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rexpect::session::{PtySession, spawn_command};

/// For how long looptop may take to show something, on a busy machine.
const PATIENCE: Option<u64> = Some(60_000);

fn looptop() -> Command {
    Command::new(env!("CARGO_BIN_EXE_looptop"))
}

fn fresh_path() -> PathBuf {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("looptop-test-{}-{number}.sock", std::process::id()))
}

/// A program that runs until this is dropped.
struct Load {
    path: PathBuf,
    program: Child,
    stdin: Option<ChildStdin>,
}

impl Load {
    fn start() -> Load {
        let path = fresh_path();
        let example = Path::new(env!("CARGO_BIN_EXE_looptop")).with_file_name("examples").join("load");
        let mut program = Command::new(example).arg(&path).stdin(Stdio::piped()).spawn().unwrap();
        let stdin = program.stdin.take();
        while !path.exists() {
            assert_eq!(program.try_wait().unwrap(), None, "it has ended before it serves");
            thread::yield_now();
        }
        Load { path, program, stdin }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.program.wait();
    }
}

fn text_of(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// looptop in a pseudo terminal, which has no size of its own.
fn in_terminal(load: &Load) -> PtySession {
    let mut shell = Command::new("sh");
    shell.args(["-c", "stty rows 40 cols 160 && exec \"$0\" \"$1\" --interval 0.1", env!("CARGO_BIN_EXE_looptop")]);
    spawn_command(
        {
            shell.arg(&load.path).env("TERM", "xterm-256color");
            shell
        },
        PATIENCE,
    )
    .unwrap()
}

#[test]
fn once_prints_what_holds_a_looper_up_and_by_which_line() {
    let load = Load::start();

    let output = looptop().args(["--once", "--interval", "0.3"]).arg(&load.path).output().unwrap();

    let (text, errors) = text_of(&output);
    assert!(output.status.success(), "{errors}");
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(line("load "), format!("load {}, 2 loopers", load.program.id()));
    // The looper with the load comes first: its queue, and the line that it is in.
    let stuck: Vec<_> = line("stuck ").split_whitespace().collect();
    assert_eq!((stuck[2], stuck[3], stuck[4]), ("load", "100%", "3"), "{text}");
    assert!(line("stuck ").contains("message crates/looptop/examples/load.rs:15:11 for "), "{text}");
    assert!(line("100%").ends_with("stuck   message crates/looptop/examples/load.rs:15:11"), "{text}");
    assert!(text.find("\nstuck ") < text.find("\nidle "), "{text}");
    let idle: Vec<_> = line("idle ").split_whitespace().collect();
    assert!(idle[6].parse::<u32>().unwrap() > 0, "it has run messages: {text}");
}

/// What a page shows of the load, and what looptop prints of it, without what differs from run to run: one space stands
/// between columns, a `#` for each number with its unit and for a lateness that there is not, and what `idle` runs at that
/// moment is left out. The numbers of a line in the source stay.
fn unvaried(text: &str) -> Vec<String> {
    let is_number = |word: &str| word == "-" || word.starts_with(|first: char| first.is_ascii_digit());
    let mask = |word: &str| match word {
        word if is_number(word) && word.ends_with('%') => "#%".to_owned(),
        word if is_number(word) && word.ends_with(',') => "#,".to_owned(),
        word if is_number(word) => "#".to_owned(),
        word => word.to_owned(),
    };
    let line = |line: &str| {
        let words = line.split_whitespace().map(mask);
        let columns = if line.starts_with("idle") { 8 } else { usize::MAX };
        words.take(columns).collect::<Vec<_>>().join(" ")
    };
    let is_of_idle = |line: &str| line.split_whitespace().nth(2) == Some("idle") && line.contains("load.rs");
    text.trim().lines().filter(|line| !is_of_idle(line) || line.starts_with("idle")).map(line).collect()
}

/// The how-to page shows what is printed, in its only block of plain text.
#[test]
fn the_page_shows_what_once_prints() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/how-to/slow-or-stuck.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, shown) = page.split_once("```text\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let load = Load::start();

    let output = looptop().args(["--once", "--interval", "0.3"]).arg(&load.path).output().unwrap();

    assert_eq!(unvaried(&text_of(&output).0), unvaried(shown));
}

#[test]
fn in_a_terminal_the_load_is_shown_until_q_quits() {
    let load = Load::start();

    let mut terminal = in_terminal(&load);
    terminal.exp_string("RUNS NOW").unwrap();
    terminal.exp_string("crates/looptop/examples/load.rs:15:11").unwrap();
    terminal.exp_string("100%").unwrap();
    terminal.send("s").unwrap();
    terminal.flush().unwrap();
    terminal.exp_string("queue").unwrap();
    terminal.send("q").unwrap();
    terminal.flush().unwrap();

    terminal.exp_eof().unwrap();
    let status = format!("{:?}", terminal.process().wait().unwrap());
    assert!(status.starts_with("Exited(") && status.ends_with(", 0)"), "{status}");
}

#[test]
fn the_end_of_the_program_ends_looptop_with_an_error() {
    let mut load = Load::start();
    let mut terminal = in_terminal(&load);
    terminal.exp_string("RUNS NOW").unwrap();

    drop(load.stdin.take());

    terminal.exp_string("the program has ended").unwrap();
    terminal.exp_eof().unwrap();
}

#[test]
fn what_is_no_program_with_alooper_is_named_as_such() {
    let nobody = looptop().arg("--once").arg(fresh_path()).output().unwrap();
    assert!(text_of(&nobody).1.contains("nobody serves at"), "{nobody:?}");

    for (said, told) in [
        ("HTTP/1.1 400 Bad Request\n", "no answer of a program with alooper"),
        ("{\"alooper_inspect\":2,\"process\":1,\"program\":\"later\"}\n", "version 2 of the protocol"),
        ("{\"error\":\"there are too many clients\"}\n", "refuses: there are too many clients"),
        ("", "the program has ended"),
    ] {
        let path = fresh_path();
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || listener.accept().unwrap().0.write_all(said.as_bytes()));
        let output = looptop().arg("--once").arg(&path).output().unwrap();
        server.join().unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();

        assert!(!output.status.success());
        assert!(text_of(&output).1.contains(told), "{said:?}: {output:?}");
    }
}

#[test]
fn without_arguments_the_programs_of_the_user_are_listed_and_what_killed_ones_left_is_removed() {
    let runtime = fresh_path().with_extension("runtime");
    let folder = runtime.join("alooper");
    std::fs::create_dir_all(&folder).unwrap();
    // No process has this number.
    let left = folder.join("4294967294.sock");
    drop(UnixListener::bind(&left).unwrap());
    let list = || looptop().env("XDG_RUNTIME_DIR", &runtime).output().unwrap();

    let nobody = list();
    let own = folder.join(format!("{}.sock", std::process::id()));
    let inspector = alooper::inspect::Inspector::builder().path(&own).spawn().unwrap();
    let one = list();
    drop(inspector);

    assert!(text_of(&nobody).1.contains("no program serves"), "{nobody:?}");
    assert!(!left.exists());
    let line = BufReader::new(&one.stdout[..]).lines().nth(1).expect("a line of this process").unwrap();
    assert!(line.trim_start().starts_with(&format!("{}  shows", std::process::id())), "{line}");
    std::fs::remove_dir_all(&runtime).unwrap();
}

#[test]
fn wrong_arguments_are_refused_and_help_tells_the_right_ones() {
    for wrong in [&["--interval", "0"][..], &["--once"], &["--sort", "speed", "1"], &["1", "2"], &["--twice"]] {
        let output = looptop().args(wrong).output().unwrap();
        assert!(!output.status.success() && !output.stderr.is_empty(), "{wrong:?}");
    }
    let help = looptop().arg("--help").output().unwrap();
    assert!(help.status.success() && text_of(&help).0.contains("looptop [options] PID|PATH"));
}
