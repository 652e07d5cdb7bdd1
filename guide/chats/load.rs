//! cargo build --release -p alooper-guide --examples
//! cargo run --release -p alooper-guide --example chat_load -- [CLIENTS [ROUNDS]]
//!
//! docs/guide/how-to/tasks.md: what the chats take for the same work. They take turns; each serves all clients, of which
//! each says something that all others have to hear, and its processor time is what the kernel has counted.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        signal::{Signal, kill},
        time::{TimeVal, TimeValLike},
    },
    unistd::Pid,
};

/// The programs, and where their code is.
const CHATS: [(&str, &str); 4] = [
    ("chat_callbacks", "../examples/chat.rs"),
    ("chat_calloop", "chats/calloop.rs"),
    ("chat_tasks", "../examples/chat_async.rs"),
    ("chat_tokio", "chats/tokio.rs"),
];
/// How many speak at once.
const SPEAKERS: usize = 10;
/// How long somebody waits to hear what was said.
const LONGEST: Duration = Duration::from_secs(60);

fn main() -> io::Result<()> {
    let argument = |number, default| env::args().nth(number).map_or(Ok(default), |text| text.parse());
    let clients = argument(1, 500).map_err(io::Error::other)?;
    let rounds = argument(2, 5).map_err(io::Error::other)?;

    let mut times = CHATS.map(|_| Vec::new());
    for _ in 0..rounds {
        for ((name, _), times) in CHATS.iter().zip(&mut times) {
            times.push(time_of(name, clients)?);
        }
    }

    println!("{:<15} {:>14} {:>16} {:>13}", "", "lines of code", "processor time", "least..most");
    for ((name, code), times) in CHATS.iter().zip(&mut times) {
        times.sort();
        let [least, middle, most] = [0, times.len() / 2, times.len() - 1].map(|at| times[at].as_millis());
        println!("{name:<15} {:>14} {:>13} ms {:>13}", lines_of(code)?, middle, format!("{least}..{most}"));
    }
    Ok(())
}

/// How many lines of code there are that are neither empty nor comments.
fn lines_of(code: &str) -> io::Result<usize> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(code))?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count())
}

/// A chat, which is ended whatever happens.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Lets a chat serve so many clients. Gives the processor time that it has taken from its beginning to its end.
fn time_of(name: &str, count: usize) -> io::Result<Duration> {
    let program = env::current_exe()?.with_file_name(name);
    let mut server = Server(Command::new(program).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn()?);
    let mut output = BufReader::new(server.0.stdout.take().ok_or(io::ErrorKind::NotFound)?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let address = line.trim_start_matches("listening on ").trim();

    let before = time_of_children()?;
    let clients = (0..count).map(|_| connect(address)).collect::<io::Result<Vec<_>>>()?;
    // They are accepted in their order: when the last one is heard, all others are there.
    chat(&clients, &[count - 1])?;
    let all: Vec<usize> = (0..count).collect();
    all.chunks(SPEAKERS).try_for_each(|speakers| chat(&clients, speakers))?;

    kill(Pid::from_raw(server.0.id().cast_signed()), Signal::SIGTERM)?;
    let status = server.0.wait()?;
    assert!(status.success(), "{name} has ended with {status}");
    Ok(time_of_children()? - before)
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(LONGEST))?;
    client.set_nodelay(true)?;
    Ok(client)
}

/// Some speak, and all others hear each of them once, in whatever order.
fn chat(clients: &[TcpStream], speakers: &[usize]) -> io::Result<()> {
    for speaker in speakers {
        (&clients[*speaker]).write_all(&speaker.to_ne_bytes())?;
    }
    for (number, mut client) in clients.iter().enumerate() {
        let mut expected: Vec<usize> = speakers.iter().copied().filter(|speaker| *speaker != number).collect();
        let mut heard = vec![0; expected.len() * size_of::<usize>()];
        client.read_exact(&mut heard)?;
        let (words, _) = heard.as_chunks();
        let mut heard: Vec<usize> = words.iter().map(|word| usize::from_ne_bytes(*word)).collect();
        expected.sort_unstable();
        heard.sort_unstable();
        assert_eq!(heard, expected, "what client {number} has heard");
    }
    Ok(())
}

/// The processor time of all children that have ended.
fn time_of_children() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs());
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}
