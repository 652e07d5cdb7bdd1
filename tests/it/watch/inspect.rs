//! The inspector: what its clients see, and what they cannot do.
//!
//! Holds W12.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use alooper::{
    HandlerThread, Looper,
    inspect::Inspector,
    testing::{TestClock, TestLooper},
};
use serde_json::Value;

use crate::support::{
    fds::poll_now,
    forks::{end, split},
    ms, watched,
};

/// A path that no other test has.
fn fresh_path() -> PathBuf {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("alooper-inspect-{}-{number}.sock", process::id()))
}

fn inspector() -> Inspector {
    Inspector::builder().path(fresh_path()).spawn().unwrap()
}

struct Client {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Client {
    /// Connects, and takes the greeting.
    fn new(path: &Path) -> (Client, Value) {
        let stream = UnixStream::connect(path).unwrap();
        let mut client = Client { lines: BufReader::new(stream.try_clone().unwrap()), stream };
        let greeting = client.line().expect("a greeting");
        (client, greeting)
    }

    /// The next line; `None` at the end of the stream.
    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            result => {
                result.unwrap();
                Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
            }
        }
    }

    fn look(&mut self) -> Value {
        self.stream.write_all(b"look\n").unwrap();
        self.line().expect("an answer")
    }

    /// Looks until a looper named `name` is as `is` says.
    fn look_until(&mut self, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let found =
                self.look()["loopers"].as_array().unwrap().iter().find(|looper| looper["name"] == name).cloned();
            if let Some(found) = found.filter(|looper| is(looper)) {
                return found;
            }
        }
    }
}

#[test]
fn w12_a_client_sees_what_runs_and_where_and_what_waits_behind_it() {
    watched(|| {
        let inspector = inspector();
        let ui = HandlerThread::spawn("w12-stuck").unwrap();
        let (go_on, waits) = mpsc::channel::<()>();
        let line = line!() + 1;
        ui.handle().post(move |_| waits.recv().unwrap()).unwrap();
        ui.handle().post(|_| ()).unwrap();
        ui.handle().post_delayed(ms(1_000_000), |_| ()).unwrap();

        let (mut client, greeting) = Client::new(inspector.path());
        // The place fills up as it is seen again and again.
        let looper = client.look_until("w12-stuck", |looper| looper["places"][0]["seen"].as_u64() > Some(2));
        go_on.send(()).unwrap();
        let later = client.look_until("w12-stuck", |looper| looper["run"] == 2);

        assert_eq!(
            (&greeting["alooper_inspect"], &greeting["process"]),
            (&Value::from(1), &Value::from(process::id()))
        );
        assert_eq!((&looper["state"], &looper["running"]["kind"]), (&Value::from("runs"), &Value::from("message")));
        let place = format!("{}:{line}:", file!());
        for place_seen in [&looper["running"]["place"], &looper["places"][0]["place"]] {
            assert!(place_seen.as_str().unwrap().starts_with(&place), "{looper:#}");
        }
        assert!(looper["places"][0]["longest_ns"].as_u64() >= Some(10_000_000), "{looper:#}");
        assert_eq!(
            (&looper["pending"], &looper["posted"], &looper["thread_name"]),
            (&2.into(), &3.into(), &looper["name"])
        );
        assert!(looper["due_ns"].as_i64() < Some(0), "the second message is overdue: {looper:#}");
        assert!(later["due_ns"].as_i64() > Some(0), "the last one is due later: {later:#}");
    });
}

#[test]
fn w12_a_looper_that_was_dropped_is_told_of_no_more() {
    watched(|| {
        let inspector = inspector();
        let (mut client, _) = Client::new(inspector.path());
        let looper = Looper::builder().name("w12-dropped").build().unwrap();
        client.look_until("w12-dropped", |looper| looper["state"] == "away");
        looper.quit();
        client.look_until("w12-dropped", |looper| looper["state"] == "quit");

        drop(looper);

        let is_told_of =
            |look: &Value| look["loopers"].as_array().unwrap().iter().any(|it| it["name"] == "w12-dropped");
        while is_told_of(&client.look()) {}
    });
}

#[test]
fn w12_rubbish_is_answered_by_an_error_and_the_end_and_harms_no_other_client() {
    watched(|| {
        let inspector = inspector();
        let (mut other, _) = Client::new(inspector.path());

        for rubbish in
            [&b"\n"[..], b"LOOK\n", b"look\nlook\n", &[0xff; 64], &[b'x'; 100_000], b"GET / HTTP/1.1\r\n\r\n"]
        {
            let (mut client, _) = Client::new(inspector.path());
            // It may be disconnected before it has sent all of it.
            let _ = client.stream.write_all(rubbish);
            let answer = client.line();

            if rubbish.len() < 100 {
                assert!(answer.is_some_and(|answer| answer["error"].is_string()), "{rubbish:?}");
            }
            assert_eq!(client.line(), None, "{rubbish:?}");
            assert!(other.look()["loopers"].is_array());
        }
    });
}

#[test]
fn w12_there_are_eight_clients_at_most_and_one_that_goes_makes_room() {
    watched(|| {
        let inspector = inspector();
        let mut clients: Vec<_> = (0..8).map(|_| Client::new(inspector.path()).0).collect();

        let (mut ninth, refusal) = Client::new(inspector.path());
        assert!(refusal["error"].as_str().unwrap().contains("too many"));
        assert_eq!(ninth.line(), None);

        clients.pop();
        while Client::new(inspector.path()).1["error"].is_string() {}
        assert!(clients[0].look()["loopers"].is_array());
    });
}

/// A looper that serves, and a client of it, in virtual time.
fn served() -> (TestLooper, Inspector, UnixStream) {
    let looper = TestClock::new().build(Looper::builder().name("x".repeat(100_000))).unwrap();
    let inspector = Inspector::builder().path(fresh_path()).run_on(&looper).unwrap();
    let mut client = UnixStream::connect(inspector.path()).unwrap();
    client.set_nonblocking(true).unwrap();
    // It is accepted, and greeted.
    poll_now(&looper);
    poll_now(&looper);
    assert!(client.read(&mut [0; 1000]).unwrap() > 20);
    (looper, inspector, client)
}

fn is_over(client: &mut UnixStream) -> bool {
    let mut rest = Vec::new();
    match client.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        // It was disconnected with something unheard.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(error) => panic!("{error}"),
    }
}

/// Whether it is disconnected, which a process that another test is just starting may hold off: until its `exec`, it has
/// the other end of the socket, too.
fn ends(client: &mut UnixStream) -> bool {
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    is_over(client)
}

#[test]
fn w12_a_client_that_is_silent_for_a_minute_is_disconnected() {
    let (looper, inspector, mut client) = served();

    looper.advance(Duration::from_secs(59));
    assert!(!is_over(&mut client));
    client.write_all(b"look\n").unwrap();
    poll_now(&looper);
    looper.advance(Duration::from_secs(59));
    assert!(!is_over(&mut client), "it has asked for something meanwhile");
    looper.advance(Duration::from_secs(2));

    assert!(ends(&mut client));
    drop(inspector);
}

#[test]
fn w12_a_client_that_does_not_read_its_answer_is_disconnected_and_others_are_answered_meanwhile() {
    let (looper, inspector, mut stalled) = served();
    // Each answer is so long that the socket takes two.
    for _ in 0..4 {
        stalled.write_all(b"look\n").unwrap();
        poll_now(&looper);
        poll_now(&looper);
    }
    let mut other = UnixStream::connect(inspector.path()).unwrap();
    other.set_nonblocking(true).unwrap();
    poll_now(&looper);
    poll_now(&looper);
    assert!(other.read(&mut [0; 1000]).is_ok());

    looper.advance(Duration::from_secs(11));

    assert!(ends(&mut stalled));
    assert!(!is_over(&mut other));
}

#[test]
fn w12_the_end_of_the_inspector_ends_its_clients_and_removes_the_file() {
    watched(|| {
        let inspector = inspector();
        let path = inspector.path().to_owned();
        let (mut client, _) = Client::new(&path);
        let second = Inspector::builder().path(&path).spawn().map(drop).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::AddrInUse);

        drop(inspector);

        assert_eq!(client.line(), None);
        assert!(!path.exists());
    });
    let (looper, inspector, mut client) = served();
    drop(inspector);
    poll_now(&looper);
    assert!(ends(&mut client), "also on a looper that goes on");
}

#[test]
fn w12_an_abandoned_socket_is_replaced_and_nothing_else() {
    let path = fresh_path();
    drop(UnixListener::bind(&path).unwrap());
    let inspector = Inspector::builder().path(&path).spawn().unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "a file of the user's").unwrap();

    let refused = Inspector::builder().path(&path).spawn().map(drop).unwrap_err();
    drop(inspector);

    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file of the user's", "it is not the inspector's to remove");
    fs::remove_file(&path).unwrap();
    let nowhere = Inspector::builder().path("/nowhere/at/all").spawn().map(drop).unwrap_err();
    assert!(nowhere.kind() == ErrorKind::NotFound && nowhere.to_string().contains("make it first"), "{nowhere}");
}

/// W12, X2.
#[test]
fn w12_a_forked_child_leaves_the_socket_to_its_parent() {
    watched(|| {
        let inspector = inspector();
        let path = inspector.path().to_owned();
        match split() {
            Some(child) => child.join("a child with an inspector"),
            None => end(|| drop(inspector)),
        }

        let (mut client, greeting) = Client::new(&path);
        assert_eq!(greeting["process"], process::id());
        assert!(client.look()["loopers"].is_array());
    });
}

/// Where `looptop` looks.
#[test]
fn w12_the_default_place_is_the_users_folder() -> io::Result<()> {
    let folder = alooper::inspect::folder();
    let inspector = Inspector::spawn()?;

    assert_eq!(inspector.path(), folder.join(format!("{}.sock", process::id())));
    assert!(Inspector::spawn().is_err(), "it is taken");
    Ok(())
}
