//! A program that is looked into, by the protocol of PROTOCOL.md.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, de::DeserializeOwned};

/// The version of the protocol that is spoken here.
const VERSION: u32 = 1;
/// For how long a program may let an answer wait: it has a thread that does nothing else.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a line is at most.
const MOST_BYTES: u64 = 1 << 26;

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Greeting {
    alooper_inspect: u32,
    pub(crate) process: u32,
    pub(crate) program: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) at_ns: u64,
    pub(crate) loopers: Vec<Looper>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Looper {
    pub(crate) id: u64,
    pub(crate) name: Option<String>,
    pub(crate) thread: i32,
    pub(crate) thread_name: Option<String>,
    pub(crate) state: String,
    pub(crate) running: Option<Running>,
    pub(crate) pending: u64,
    pub(crate) due_ns: Option<i64>,
    pub(crate) run: u64,
    pub(crate) fd_callbacks: u64,
    pub(crate) samples: u64,
    pub(crate) places: Vec<Place>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Running {
    pub(crate) kind: String,
    pub(crate) place: Option<String>,
    pub(crate) for_ns: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Place {
    pub(crate) kind: String,
    pub(crate) place: Option<String>,
    pub(crate) seen: u64,
    pub(crate) longest_ns: u64,
}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
    pub(crate) greeting: Greeting,
}

impl Connection {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Connection> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("nobody serves at {}: the program calls `Inspector::spawn`", path.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut stream = BufReader::new(stream);
        let greeting: Greeting = read(&mut stream)?;
        if greeting.alooper_inspect != VERSION {
            bail!("the program speaks version {} of the protocol, not {VERSION}", greeting.alooper_inspect);
        }
        Ok(Connection { stream, greeting })
    }

    pub(crate) fn look(&mut self) -> anyhow::Result<Answer> {
        match self.stream.get_mut().write_all(b"look\n") {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => bail!(ENDED),
            result => result?,
        }
        read(&mut self.stream)
    }
}

const ENDED: &str = "the program has ended";

/// What a program says instead.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

fn read<T: DeserializeOwned>(stream: &mut BufReader<UnixStream>) -> anyhow::Result<T> {
    let mut line = Vec::new();
    match stream.take(MOST_BYTES).read_until(b'\n', &mut line) {
        Ok(0) => bail!(ENDED),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => bail!(ENDED),
        Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("the program does not answer: is it stopped?"),
        result => result?,
    };
    serde_json::from_slice(&line).map_err(|error| match serde_json::from_slice::<Refusal>(&line) {
        Ok(refusal) => anyhow!("the program refuses: {}", refusal.error),
        Err(_) => anyhow!("this is no answer of a program with alooper: {error}"),
    })
}

/// Where `target`, a process or a path, serves.
pub(crate) fn path_of(target: &OsStr) -> PathBuf {
    let process = target.to_str().filter(|text| text.parse::<u32>().is_ok());
    process.map_or_else(|| target.into(), |process| alooper::inspect::folder().join(format!("{process}.sock")))
}

/// The sockets of processes in `folder`, by their numbers. What a process has left that was killed is removed.
pub(crate) fn sockets_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let numbered = |path: PathBuf| Some((path.file_stem()?.to_str()?.parse::<u32>().ok()?, path));
    let mut sockets: Vec<_> = entries.filter_map(|entry| numbered(entry.path())).collect();
    sockets.sort_unstable();
    sockets.retain(|(process, path)| {
        let has_ended = !Path::new("/proc").join(process.to_string()).exists();
        let is_left = || UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        if has_ended && is_left() {
            // Another `looptop` may have done it.
            let _ = fs::remove_file(path);
        }
        !has_ended
    });
    sockets.into_iter().map(|(_, path)| path).collect()
}
