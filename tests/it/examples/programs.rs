//! The examples, run as their users run them: what they print, and how they end.
//!
//! `cargo test` builds them first. Nobody sleeps here: a test waits for a line of the program, under a watchdog.
//!
//! Holds L1, T2, T6, M1, M5, M6, R1, Q1, Q2, Q4, F1, F3, F5.

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    ops::ControlFlow,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{self, Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use alooper::Looper;
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// After this long without a line, a program hangs, also on a busy machine.
const WATCHDOG: Duration = Duration::from_secs(100);
/// Longer than the time for which `watch` waits for quiet.
const LONG_QUIET: Duration = Duration::from_millis(300);
/// What stands before a line that came from standard error.
const ERROR: &str = "stderr: ";

/// An example that runs. It is killed when the test ends before it.
struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    fn start(name: &str, args: &[&str]) -> Program {
        Program::spawn(name, example(name).args(args).stdin(Stdio::piped()))
    }

    fn spawn(name: &str, command: &mut Command) -> Program {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        send_lines(child.stdout.take().unwrap(), "", sender.clone());
        send_lines(child.stderr.take().unwrap(), ERROR, sender);
        Program { name: name.to_owned(), child, lines, seen: Vec::new() }
    }

    /// Starts an example of which only standard error is read, and gives its standard output.
    fn start_unread(name: &str) -> (Program, BufReader<ChildStdout>) {
        let mut command = example(name);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        send_lines(child.stderr.take().unwrap(), ERROR, sender);
        let output = BufReader::new(child.stdout.take().unwrap());
        (Program { name: name.to_owned(), child, lines, seen: Vec::new() }, output)
    }

    /// Waits for a line with `part` in it, and gives it.
    fn line_with(&mut self, part: &str) -> String {
        loop {
            let Some(line) = self.next_line() else {
                panic!("{} has ended without a line with {part:?}; it printed {:#?}", self.name, self.seen);
            };
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Waits for a line; `None` at the end of all output.
    fn next_line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(WATCHDOG) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("{} hangs; it printed {:#?}", self.name, self.seen),
        }
    }

    /// Whether no line comes for some time. Nothing waits for this: it is how to see that something does not happen.
    fn prints_nothing_for(&self, time: Duration) -> bool {
        self.lines.recv_timeout(time).is_err()
    }

    fn write(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Closes its standard input and waits for its end. Gives its exit status, and all its lines.
    fn end(mut self) -> (ExitStatus, Vec<String>) {
        drop(self.child.stdin.take());
        while self.next_line().is_some() {}
        (self.child.wait().unwrap(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn example(name: &str) -> Command {
    let test = env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap().join("examples");
    let program = folder.join(name);
    assert!(program.exists(), "{} is missing: run `cargo build --examples`", program.display());
    Command::new(program)
}

fn send_lines(output: impl Read + Send + 'static, prefix: &'static str, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let _ = sender.send(format!("{prefix}{}", line.unwrap()));
        }
    });
}

/// A new folder, which is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = env::temp_dir().join(format!("alooper-{name}-{}", process::id()));
        fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    fn as_str(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn write(&self, file: &str) {
        fs::write(self.0.join(file), "changed").unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

// hello, timer, worker_thread, signals

/// M1: by due time, from whichever thread. Q4: the report counts them.
#[test]
fn hello_greets_in_order() {
    let (status, mut lines) = Program::start("hello", &[]).end();

    assert!(status.success());
    // A program that is kept waiting for so long posts the first one when the second one is due, and so after it.
    if lines[1] == "now: hello" {
        lines.swap(0, 1);
    }
    let expected = [
        "now: hello",
        "after 100 ms: still here",
        "after 200 ms: goodbye, says another thread",
        "3 messages were posted, 3 were run",
    ];
    assert_eq!(lines, expected);
}

/// M1: by due time, and by posting order at the same time. R1: what is cancelled does not run. T6: none is early.
#[test]
fn timer_prints_messages_in_the_order_in_which_they_are_due() {
    let (status, lines) = Program::start("timer", &[]).end();

    assert!(status.success());
    let place = |what: &str| {
        let is_it = |line: &String| line.starts_with(what) && line.ends_with(" us late");
        lines.iter().position(is_it).unwrap_or_else(|| panic!("no {what:?} in {lines:#?}"))
    };
    assert_eq!(place("at one time, second"), place("at one time, first") + 1);
    assert!(place("after 100ms") < place("after 200ms"));
    assert!(place("after 200ms") < place("after 300ms"));
    for run in 1..5 {
        assert!(place(&format!("every 80ms, run {run}")) < place(&format!("every 80ms, run {}", run + 1)));
    }
    assert_eq!(lines[0], "cancelled before it ran: true");
    assert_eq!(lines.last().unwrap(), "11 messages were posted: 10 run, 1 cancelled");
    assert_eq!(lines.len(), 12);
}

/// M5: jobs and results in posting order. Q1: a safe quit runs what is due.
#[test]
fn worker_thread_posts_its_results_back() {
    let (status, lines) = Program::start("worker_thread", &[]).end();

    assert!(status.success());
    let results: Vec<_> = lines.iter().filter(|line| line.starts_with("[main] there are")).collect();
    let expected = [(168, "1000"), (1229, "10000"), (9592, "100000")];
    assert_eq!(
        results,
        expected.map(|(count, limit)| format!("[main] there are {count} primes below {limit}")).each_ref()
    );
    assert_eq!(lines.iter().filter(|line| line.starts_with("[worker] counted")).count(), 3);
    assert_eq!(lines.last().unwrap(), "[main] the worker has ended: 3 jobs posted, 3 run");
}

/// G1: signals are events, and the first of some quits.
#[test]
fn signals_prints_what_arrives_and_ends_on_sigterm_and_sigint() {
    for end in [Signal::SIGTERM, Signal::SIGINT] {
        let mut program = Program::start("signals", &[]);
        let invitation = program.line_with("waiting for signals");
        assert!(invitation.contains(&format!("`kill -USR1 {}`", program.pid())), "{invitation}");

        for number in 1..=2 {
            program.signal(Signal::SIGUSR1);
            program.line_with(&format!("SIGUSR1 from process {}, number {number}", process::id()));
        }
        program.signal(end);
        let (status, lines) = program.end();

        assert!(status.success(), "{status}");
        assert_eq!(lines.last().unwrap(), "goodbye");
    }
}

/// G2: children are told of when they end, and their output is read line by line.
#[test]
fn supervisor_restarts_what_fails_and_ends_when_nothing_is_left() {
    let (status, lines) = Program::start("supervisor", &[]).end();

    assert!(status.success(), "{status}");
    let of = |name: &str| lines.iter().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
    let steady = of("steady: ");
    let printed: Vec<_> = steady.iter().filter(|line| line.contains("line")).collect();
    assert_eq!(printed, ["steady: line 1", "steady: line 2", "steady: line 3"].each_ref());
    assert_eq!(steady.len(), 4);
    let flaky = of("flaky: ");
    assert_eq!(flaky.iter().filter(|line| **line == "flaky: begins").count(), 4);
    let pauses: Vec<_> = flaky.iter().filter_map(|line| line.split_once("starts again in ")).collect();
    assert_eq!(pauses.iter().map(|(_, pause)| *pause).collect::<Vec<_>>(), ["50ms", "100ms", "200ms"]);
    assert!(flaky.iter().any(|line| *line == "flaky: given up after 3 restarts"));
    assert_eq!(lines.last().unwrap(), "supervisor: ends");
}

/// G1, G2: a signal ends it in order, while a child runs.
#[test]
fn supervisor_ends_on_sigterm() {
    let mut program = Program::start("supervisor", &[]);
    program.line_with("starts again in");

    program.signal(Signal::SIGTERM);
    let (status, lines) = program.end();

    assert!(status.success(), "{status}");
    assert_eq!(lines.last().unwrap(), "supervisor: ends");
}

// watchdog

/// W7: it is named while it is stuck, which is before the answer comes.
#[test]
fn watchdog_names_what_the_ui_is_stuck_in_and_tells_its_end() {
    let (status, lines) = Program::start("watchdog", &[]).end();

    assert!(status.success());
    let place = |what: &str| {
        let is_it = |line: &String| line.starts_with(what);
        lines.iter().position(is_it).unwrap_or_else(|| panic!("no {what:?} in {lines:#?}"))
    };
    let stuck = place("watchdog: a looper is stuck for 1");
    assert!(lines[stuck].contains("in a message, posted at examples/watchdog.rs:"), "{lines:#?}");
    assert!(lines[stuck].ends_with("; 2 messages wait behind it:"), "{lines:#?}");
    assert!(stuck < place("ui: the answer is 42") && place("ui: the answer is 42") < place("ui: another one"));
    place("watchdog: it goes on; it was stuck in a message, posted at examples/watchdog.rs:");
}

// inspect

/// W12: what it says of itself is what a client is told.
#[test]
fn inspect_sees_both_loopers_and_the_line_that_takes_the_time() {
    let (status, lines) = Program::start("inspect", &[]).end();

    assert!(status.success() && lines.len() == 2, "{lines:#?}");
    let answer: serde_json::Value = lines[1].parse().unwrap();
    let looper =
        |name: &str| answer["loopers"].as_array().unwrap().iter().find(|looper| looper["name"] == name).cloned();
    let worker = looper("worker").expect("the worker is told of");
    assert!(looper("ui").is_some() && worker["run"].as_u64() > Some(0), "{answer:#}");
    for place in worker["places"].as_array().unwrap() {
        // What is between two messages has no place.
        let is_known =
            place["place"].as_str().map_or(place["kind"] == "other", |at| at.starts_with("examples/inspect.rs:"));
        assert!(is_known, "{answer:#}");
    }
}

// trace

/// W8: what it says is in the file is there.
#[test]
fn trace_makes_a_file_with_both_loopers() {
    let path = env::temp_dir().join(format!("alooper-trace-{}-example.json", process::id()));
    let (status, lines) = Program::start("trace", &[path.to_str().unwrap()]).end();
    let file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    fs::remove_file(&path).unwrap();

    assert!(status.success(), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("the worker says")).count(), 20);
    let events = file["traceEvents"].as_array().unwrap();
    let is_named = |name: &str| events.iter().any(|event| event["args"]["name"] == name);
    assert!(is_named("ui") && is_named("worker"));
    let slices = events.iter().filter(|event| event["ph"] == "X" && event["cat"] != "post").count();
    assert!(lines.last().unwrap().starts_with(&format!("{slices} slices are in ")), "{lines:#?}");
}

// tour

/// All of it at once, such as T6, M1, R1, Q1, Q2, Q4, F1 and F3, and the figures that the tour itself checks.
#[test]
fn tour_shows_everything() {
    let (status, lines) = Program::start("tour", &[]).end();

    assert!(status.success(), "{lines:#?}");
    assert!(lines.last().unwrap().starts_with("Everything happened"), "{lines:#?}");
    for stop in 1..=7 {
        assert_eq!(lines.iter().filter(|line| line.starts_with(&format!("{stop}. "))).count(), 1, "{lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.starts_with(ERROR) || line.contains("false")), "{lines:#?}");
}

#[test]
fn tour_goes_on_when_nobody_reads_it_any_more() {
    let (program, mut output) = Program::start_unread("tour");
    let mut first = String::new();
    output.read_line(&mut first).unwrap();

    drop(output);
    let (status, errors) = program.end();

    assert!(first.starts_with("1. "), "{first}");
    assert!(status.success() && errors.is_empty(), "{status}, {errors:?}");
}

#[test]
fn tour_says_what_did_not_happen() {
    let (status, lines) = Program::spawn("tour", example("tour").env("TMPDIR", "/nowhere")).end();

    assert_eq!(status.code(), Some(1));
    let failure = lines.iter().find(|line| line.starts_with(ERROR)).unwrap();
    assert!(failure.contains("FAILED: /nowhere/") && failure.contains("No such file"), "{failure}");
    assert!(!lines.iter().any(|line| line.contains("Everything happened")));
}

// stdin

/// T2: what is there is read when it is there, in whatever pieces.
#[test]
fn stdin_prints_each_line_of_a_pipe_at_once_and_the_last_one_without_its_end() {
    let mut program = Program::start("stdin", &[]);

    program.write("one\r\ntw");
    program.line_with("1: one");
    program.write("o\n\nlast");
    program.line_with("2: two");
    let (status, lines) = program.end();

    assert!(status.success());
    assert_eq!(lines, ["1: one", "2: two", "3: ", "4: last"]);
}

/// F3: a hang-up without input is reported.
#[test]
fn stdin_prints_nothing_for_an_empty_pipe() {
    let (status, lines) = Program::start("stdin", &[]).end();

    assert!(status.success());
    assert_eq!(lines, [""; 0]);
}

#[test]
fn stdin_reads_more_than_its_buffer_holds() {
    let mut program = Program::start("stdin", &[]);
    let long = "x".repeat(100_000);

    program.write(&format!("{long}\n{long}"));
    let (status, lines) = program.end();

    assert!(status.success());
    assert_eq!(lines, [format!("1: {long}"), format!("2: {long}")]);
}

/// F1: EPERM comes back, and the program says what to do.
#[test]
fn stdin_says_what_to_do_about_a_file() {
    for path in ["Cargo.toml", "/dev/null"] {
        let file = File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();

        let (status, lines) = Program::spawn("stdin", example("stdin").stdin(file)).end();

        assert_eq!(status.code(), Some(1));
        assert!(lines[0].starts_with(ERROR) && lines[0].contains("cat FILE |"), "{lines:?}");
    }
}

#[test]
fn stdin_ends_quietly_when_nobody_reads_it_any_more() {
    let (mut program, mut output) = Program::start_unread("stdin");
    let mut stdin = program.child.stdin.take().unwrap();
    let mut first = String::new();
    stdin.write_all(b"one\n").unwrap();
    output.read_line(&mut first).unwrap();

    drop(output);
    // One line is not enough: a child of another test has this output open too, between its fork and its exec.
    let has_ended = (0..1_000_000).any(|_| stdin.write_all(b"more\n").is_err());
    let (status, errors) = program.end();

    assert!(has_ended, "it goes on for nobody");
    assert!(status.success() && errors.is_empty(), "{status}, {errors:?}");
}

// chat, chat_async

/// The chat on callbacks, and the one of tasks: they do the same.
const CHATS: [&str; 2] = ["chat", "chat_async"];

/// A chat that listens, and its address.
fn start_chat(name: &str, idle: &str) -> (Program, String) {
    start(name, example(name).args(["127.0.0.1:0", idle]))
}

fn say(mut client: &TcpStream, text: &str) {
    client.write_all(text.as_bytes()).unwrap();
}

fn assert_hears(mut client: &TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(heard, text.as_bytes());
}

/// F1, F5, A1, A3, A4, G1: hundreds of callbacks or a thousand tasks, and a signal that ends all of them.
#[test]
fn chats_serve_five_hundred_clients_until_a_signal() {
    for (name, signal) in CHATS.into_iter().flat_map(|name| [(name, Signal::SIGTERM), (name, Signal::SIGINT)]) {
        let (chat, address) = start_chat(name, "600000");
        let clients: Vec<_> = (0..500).map(|_| connect(&address)).collect();
        // They are accepted in their order: when the last one speaks, all others are there.
        say(&clients[499], "to all");
        clients[..499].iter().for_each(|client| assert_hears(client, "to all"));
        say(&clients[7], "and back");
        assert_hears(&clients[499], "and back");
        chat.signal(signal);
        let (status, lines) = chat.end();

        assert!(status.success(), "{name}: {status}: {lines:?}");
        assert_eq!(lines.last().unwrap(), "ended by a signal");
    }
}

/// F5, K1: its queue is full, and so are all buffers: who speaks waits, until the timeout ends the one that does not
/// read.
#[test]
fn chats_end_a_client_that_says_nothing_or_reads_nothing() {
    for name in CHATS {
        let (_chat, address) = start_chat(name, "300");
        let (silent, talker) = (connect(&address), connect(&address));
        let talking = thread::spawn(move || {
            let mut said = 0;
            while (&talker).write_all(&[b'x'; 1 << 16]).is_ok() && said < 1 << 9 {
                said += 1;
            }
        });

        // It reads only now, when it has been ended.
        talking.join().unwrap();
        let mut heard = Vec::new();
        let end = (&silent).read_to_end(&mut heard);

        assert!(end.is_ok() || heard.len() < 1 << 28, "{name} ends it");
    }
}

/// F5: what a client does not read is neither kept without bound nor lost; the one that speaks waits meanwhile.
#[test]
fn chats_hold_back_the_one_who_speaks_while_another_does_not_read() {
    for name in CHATS {
        let (_chat, address) = start_chat(name, "600000");
        let (mut listener, mut talker) = (connect(&address), connect(&address));
        // Who has come last has joined when it is heard, and so has who came before.
        say(&talker, "a");
        assert_hears(&listener, "a");
        talker.set_write_timeout(Some(Duration::from_millis(200))).unwrap();

        let mut said = 0;
        while let Ok(count) = talker.write(&[b'x'; 1 << 16]) {
            said += count;
            assert!(said < 256 << 20, "{name} takes everything and keeps it");
        }
        talker.shutdown(Shutdown::Write).unwrap();
        let mut heard = vec![0; said];
        listener.read_exact(&mut heard).unwrap();

        assert!(heard.iter().all(|byte| *byte == b'x'), "{name} sends other bytes");
    }
}

/// They are to be read at one sight.
#[test]
fn chats_have_less_than_eighty_lines() {
    for name in CHATS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).with_extension("rs");

        assert!(fs::read_to_string(path).unwrap().lines().count() < 80, "{name}");
    }
}

// echo_server

/// A server that listens, and its address.
fn start(name: &str, command: &mut Command) -> (Program, String) {
    let mut server = Program::spawn(name, command);
    let line = server.line_with("listening on ");
    (server, line.trim_start_matches("listening on ").to_owned())
}

/// An echo server that listens, and its address.
fn start_server(command: &mut Command) -> (Program, String) {
    start("echo_server", command)
}

fn connect(address: &str) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(WATCHDOG)).unwrap();
    client
}

fn assert_echoes(mut client: &TcpStream, text: &str) {
    let mut echo = vec![0; text.len()];
    client.write_all(text.as_bytes()).unwrap();
    client.read_exact(&mut echo).unwrap();
    assert_eq!(echo, text.as_bytes());
}

fn some_bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n / 251) as u8 ^ (n % 253) as u8).collect()
}

/// F1, F5: connections are added by a callback, and each answers its own client.
#[test]
fn echo_server_serves_several_clients_until_a_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (server, address) = start_server(&mut example("echo_server"));
        let clients: Vec<_> = (0..20).map(|_| connect(&address)).collect();

        for round in 0..3 {
            for (number, client) in clients.iter().enumerate() {
                assert_echoes(client, &format!("client {number}, round {round}"));
            }
        }
        server.signal(signal);
        let (status, lines) = server.end();

        assert!(status.success(), "{status}");
        assert_eq!(lines.last().unwrap(), "stderr: ended by a signal");
    }
}

/// F3: the end of a client's data is no reason to lose what it sent before.
#[test]
fn echo_server_sends_everything_back_to_a_client_that_half_closes() {
    let (_server, address) = start_server(&mut example("echo_server"));
    let data = some_bytes(3 << 20);
    let client = connect(&address);

    let mut echo = Vec::new();
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            (&client).write_all(&data).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        (&client).read_to_end(&mut echo).unwrap();
        // Which the thread sanitizer sees, unlike that the scope waits.
        sender.join().unwrap();
    });

    assert!(echo == data, "{} of {} bytes came back, or other bytes", echo.len(), data.len());
}

/// F3, F5: a client that does not read is waited for with OUTPUT; it neither fills the server nor stops the others.
#[test]
fn echo_server_holds_a_client_back_that_does_not_read() {
    let (_server, address) = start_server(&mut example("echo_server"));
    let data = some_bytes(1 << 20);
    let mut client = connect(&address);
    client.set_write_timeout(Some(Duration::from_millis(200))).unwrap();

    let mut sent = 0;
    while let Ok(count) = client.write(&data[sent % data.len()..]) {
        sent += count;
        assert!(sent < 256 << 20, "the server takes everything and keeps it");
    }
    assert_echoes(&connect(&address), "somebody else");
    client.shutdown(Shutdown::Write).unwrap();
    let mut echo = Vec::new();
    client.read_to_end(&mut echo).unwrap();

    assert_eq!(echo.len(), sent);
    assert!(echo.chunks(data.len()).all(|chunk| chunk == &data[..chunk.len()]), "other bytes came back");
}

/// L1: without a free fd, the server neither ends nor spins, and serves on when there are some again.
#[test]
fn echo_server_outlives_a_lack_of_fds() {
    let program = example("echo_server").get_program().to_owned();
    let (mut server, address) = start_server(Command::new("sh").args(["-c", "ulimit -n 16; exec \"$0\""]).arg(program));
    let looper = Looper::new().unwrap();
    let start = looper.now();

    let clients: Vec<_> = (0..16).map(|_| connect(&address)).collect();
    for _ in 0..3 {
        server.line_with("cannot accept a client now");
    }
    assert!(looper.now() - start >= Duration::from_millis(200), "it rests for 100 ms in between");
    drop(clients);

    assert_echoes(&connect(&address), "is there a place now?");
}

#[test]
fn echo_server_says_why_it_cannot_listen() {
    let (_server, address) = start_server(example("echo_server").arg("localhost:0"));

    let (status, lines) = Program::start("echo_server", &[&address]).end();

    assert_eq!(status.code(), Some(1));
    assert!(lines[0].starts_with(ERROR) && lines[0].contains(&address) && lines[0].contains("in use"), "{lines:?}");
}

// watch

fn start_watch(folder: &Folder, script: &str) -> Program {
    let mut program = Program::start("watch", &[folder.as_str(), "sh", "-c", script]);
    program.line_with("waiting for changes below");
    program
}

/// F1: a directory's inotify fd is a source.
#[test]
fn watch_runs_the_command_after_each_change() {
    let folder = Folder::new("change");
    folder.write("old");
    let mut watch = start_watch(&folder, "echo ran");

    folder.write("new");
    watch.line_with("ran");
    folder.write("old");
    watch.line_with("ran");
    fs::rename(folder.0.join("old"), folder.0.join("older")).unwrap();
    watch.line_with("ran");
    fs::remove_file(folder.0.join("older")).unwrap();
    watch.line_with("ran");

    // Not SIGINT, which a shell that runs these tests in the background has told them to ignore.
    watch.signal(Signal::SIGTERM);
    assert_eq!(watch.end().0.signal(), Some(Signal::SIGTERM as i32));
}

/// R1: each change cancels the message of the change before.
#[test]
fn watch_runs_the_command_once_for_a_burst() {
    let folder = Folder::new("burst");
    let mut watch = start_watch(&folder, "echo ran");

    // Stopped, so that it finds the whole burst at once, however slow this test is.
    watch.signal(Signal::SIGSTOP);
    let stopped = waitpid(watch.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(stopped, WaitStatus::Stopped(watch.pid(), Signal::SIGSTOP));
    for number in 0..80 {
        folder.write(&format!("file-{number}"));
    }
    watch.signal(Signal::SIGCONT);

    watch.line_with("ran");
    assert!(watch.prints_nothing_for(LONG_QUIET));
}

#[test]
fn watch_sees_changes_in_new_folders() {
    let folder = Folder::new("below");
    let mut watch = start_watch(&folder, "echo ran");

    fs::create_dir_all(folder.0.join("a/b/c")).unwrap();
    watch.line_with("ran");
    folder.write("a/b/c/file");
    watch.line_with("ran");
    fs::rename(folder.0.join("a"), folder.0.join("z")).unwrap();
    watch.line_with("ran");
    folder.write("z/b/c/file");
    watch.line_with("ran");
}

/// M6: a message that is posted while the worker is busy runs when it no longer is.
#[test]
fn watch_does_not_lose_a_change_while_the_command_runs() {
    let folder = Folder::new("meanwhile");
    let mut watch = start_watch(&folder, "echo started; read line; echo ended");

    folder.write("first");
    watch.line_with("started");
    folder.write("second");
    assert!(watch.prints_nothing_for(LONG_QUIET), "one command at a time");
    watch.write("go on\n");
    watch.line_with("ended");
    watch.line_with("started");
    watch.write("go on\n");
    watch.line_with("ended");
    assert!(watch.prints_nothing_for(LONG_QUIET));
}

/// T6, R1: a message that is put off again and again has a time at which it runs all the same.
#[test]
fn watch_runs_the_command_though_changes_never_end() {
    let folder = Folder::new("endless");
    let mut watch = start_watch(&folder, "echo ran");
    let looper = Looper::new().unwrap();
    let path = folder.0.join("log");
    let mut changes = 0;
    looper
        .post_every(Duration::from_millis(20), move |_| {
            changes += 1;
            assert!(changes < 3000, "{changes} changes have put the command off");
            fs::write(&path, "changed").unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();

    let handle = looper.handle();
    let waiter = thread::spawn(move || {
        watch.line_with("ran");
        handle.quit();
    });
    looper.run().unwrap();

    waiter.join().unwrap();
}

#[test]
fn watch_tells_of_a_command_that_fails_and_goes_on() {
    let folder = Folder::new("fails");
    let mut watch = start_watch(&folder, "exit 3");

    for _ in 0..2 {
        folder.write("file");
        watch.line_with("stderr: watch: the command failed: exit status: 3");
    }
}

#[test]
fn watch_ends_when_the_command_cannot_start_or_the_folder_is_gone() {
    let folder = Folder::new("gone");
    let mut watch = Program::start("watch", &[folder.as_str(), "/nowhere/command"]);
    watch.line_with("waiting for changes below");
    folder.write("file");
    let (status, lines) = watch.end();
    assert_eq!(status.code(), Some(127));
    assert!(
        lines.last().unwrap().starts_with("stderr: watch: cannot start /nowhere/command: No such file"),
        "{lines:?}"
    );

    let watch = start_watch(&folder, "echo ran");
    fs::remove_dir_all(&folder.0).unwrap();
    let (status, lines) = watch.end();
    assert_eq!(status.code(), Some(1));
    assert!(lines.last().unwrap().contains(": No such file"), "{lines:?}");
}

#[test]
fn watch_explains_itself_and_what_is_wrong_with_its_arguments() {
    let (status, lines) = Program::start("watch", &["--help"]).end();
    assert!(status.success());
    assert_eq!(lines[0], "Usage: watch FOLDER COMMAND [ARGS..]");

    let cases: [(&[&str], i32, &str); 5] = [
        (&[], 2, "a folder and a command are needed"),
        (&["/tmp"], 2, "a folder and a command are needed"),
        (&["--fast", "/tmp", "true"], 2, "there is no option --fast"),
        (&["/nowhere", "true"], 1, "cannot watch /nowhere: No such file"),
        (&["/dev/null", "true"], 1, "cannot watch /dev/null: Not a directory"),
    ];
    for (args, code, message) in cases {
        let (status, lines) = Program::start("watch", args).end();

        assert_eq!(status.code(), Some(code), "{args:?}");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(&format!("{ERROR}watch: {message}")), "{lines:?}");
    }
}
