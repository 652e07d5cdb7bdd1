//! cargo run -p alooper-guide --bin poll_inner
//!
//! Chapter 11 of docs/guide: the phases of a looper's turn, seen from outside.

use std::{
    cell::RefCell,
    fmt::Display,
    io::{self, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper, Turn};

const NOW: Duration = Duration::ZERO;

fn main() -> io::Result<()> {
    all_in_one_turn()?;
    deadline()?;
    wait()?;
    messages()?;
    fds()?;
    report()?;
    Ok(())
}

/// What happened, in its order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn note(&self, what: impl Display) {
        self.0.borrow_mut().push(what.to_string());
    }

    fn show(&self, name: &str) {
        println!("  {name}: {}", self.0.take().join(", "));
    }
}

fn all_in_one_turn() -> io::Result<()> {
    println!("One turn");
    // [order]
    let (looper, log) = (Looper::new()?, Log::default());
    let (plain, _far) = ready_stream()?;
    looper.add_ident(plain, Interest::INPUT, 7)?;
    let (watched, _far) = ready_stream()?;
    let in_callback = log.clone();
    looper.add_fd(watched, Interest::INPUT, move |_, _, _| {
        in_callback.note("fd callback");
        FdNext::Remove
    })?;
    let in_message = log.clone();
    looper.post(move |_| in_message.note("message"))?;
    looper.wake()?;

    let turn = looper.poll_once(Duration::from_secs(1))?;
    // [/order]
    log.show("the order");
    println!("  the report: {}", summary(&turn));
    Ok(())
}

fn deadline() -> io::Result<()> {
    println!("1. Deadline");
    // [deadline]
    let looper = Looper::new()?;
    let soon = looper.post_delayed(Duration::from_millis(20), |_| ())?;
    soon.cancel();

    let start = looper.now();
    let turn = looper.poll_once(Duration::from_millis(60))?;
    let waited = looper.now() - start;
    // [/deadline]
    println!("  the only message is cancelled: {}", summary(&turn));
    println!("  waited all of its timeout: {}", waited >= Duration::from_millis(60));
    Ok(())
}

fn wait() -> io::Result<()> {
    println!("2. Wait");
    // [wait]
    let looper = Looper::new()?;
    let mut far_ends = Vec::new();
    for _ in 0..40 {
        let (near, far) = ready_stream()?;
        looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep)?;
        far_ends.push(far);
    }
    let turn = looper.poll_once(NOW)?;
    // [/wait]
    println!("  40 fds are ready: {}", summary(&turn));
    Ok(())
}

fn messages() -> io::Result<()> {
    println!("3. Messages");
    // [messages]
    let (looper, log) = (Looper::new()?, Log::default());
    let (first, second) = (log.clone(), log.clone());
    looper.post(move |looper| {
        first.note("one");
        let _ = looper.post(move |_| second.note("what it posts"));
    })?;
    let turn = looper.poll_once(NOW)?;
    // [/messages]
    log.show("run");
    println!("  the report: {}", summary(&turn));

    // [budget]
    let looper = Looper::new()?;
    let (near, _far) = ready_stream()?;
    looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep)?;
    post_for_ever(&looper);
    let turn = looper.poll_once(NOW)?;
    // [/budget]
    println!("  one that posts itself again, beside an fd: {}", summary(&turn));

    let looper = Looper::new()?;
    looper.post(|looper| {
        let nested = looper.poll_once(None);
        println!("  a poll inside: {:?}", nested.unwrap_err().kind());
    })?;
    looper.poll_once(NOW)?;
    Ok(())
}

fn post_for_ever(looper: &Looper) {
    let _ = looper.post(post_for_ever);
}

fn fds() -> io::Result<()> {
    println!("4. Fds");
    // [batch]
    let looper = Looper::new()?;
    let mut far_ends = Vec::new();
    let both = Rc::new(RefCell::new(Vec::new()));
    for _ in 0..2 {
        let (near, far) = ready_stream()?;
        let remove_all = both.clone();
        let registration = looper.add_fd(near, Interest::INPUT, move |_, _, _| {
            let all: Vec<alooper::FdSource<UnixStream>> = remove_all.take();
            for registration in all {
                registration.remove();
            }
            FdNext::Keep
        })?;
        both.borrow_mut().push(registration);
        far_ends.push(far);
    }
    let turn = looper.poll_once(NOW)?;
    // [/batch]
    println!("  two are ready, and the first one removes both: {}", summary(&turn));

    let looper = Looper::new()?;
    let (near, _far) = ready_stream()?;
    looper.add_fd(near, Interest::INPUT, |looper, _, _| {
        let _ = looper.post(|_| ());
        FdNext::Remove
    })?;
    let turns = [looper.poll_once(NOW)?, looper.poll_once(None)?];
    println!("  a callback posts: {}", summary(&turns[0]));
    println!("  the next turn: {}", summary(&turns[1]));
    Ok(())
}

fn report() -> io::Result<()> {
    println!("5. Report");
    // [report]
    let looper = Looper::new()?;
    for _ in 0..3 {
        looper.wake()?;
    }
    looper.post(|_| ())?;
    let turns = [looper.poll_once(NOW)?, looper.poll_once(NOW)?];
    // [/report]
    println!("  three wakes and a message: {}", summary(&turns[0]));
    println!("  the next turn: {}", summary(&turns[1]));
    Ok(())
}

/// What a report names.
fn summary(turn: &Turn) -> String {
    let mut parts = Vec::new();
    let mut add = |is_so: bool, part: String| parts.extend(is_so.then_some(part));
    add(turn.woken, "woken".to_owned());
    add(turn.messages > 0, format!("messages {}", turn.messages));
    add(turn.fds > 0, format!("fds {}", turn.fds));
    for ready in &turn.idents {
        add(true, format!("ident {}", ready.ident));
    }
    add(turn.timed_out, "timed out".to_owned());
    add(turn.more, "more".to_owned());
    format!("{} (Android's code: {:?})", parts.join(", "), turn.code())
}

/// A stream with something to read, and its other end.
fn ready_stream() -> io::Result<(UnixStream, UnixStream)> {
    let (near, mut far) = UnixStream::pair()?;
    far.write_all(b"x")?;
    Ok((near, far))
}
