//! cargo run --example tour
//!
//! Seven stops that show what a looper does. The tour also checks what it shows: it ends with "Everything happened", or
//! with a line that says what did not and an exit status that is not zero.

use std::{
    env, fs,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    ops::ControlFlow,
    path::Path,
    process::{self, ExitCode},
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper};
use nix::sys::{
    inotify::{AddWatchFlags, InitFlags, Inotify},
    socket::{setsockopt, sockopt},
};

/// Prints a line. That nobody reads it is no failure of the tour, whose exit status still tells how it went.
macro_rules! say {
    ($($line:tt)*) => {{
        let _ = writeln!(io::stdout(), $($line)*);
    }};
}

fn main() -> ExitCode {
    match tour() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tour: FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tour() -> io::Result<()> {
    let looper = Looper::prepare_main()?;
    let start = looper.now();
    // The watchdog: a tour that takes so long hangs.
    looper.post_delayed(Duration::from_secs(60), |looper| looper.quit())?;

    ask_a_worker(&looper)?;
    delay_messages(&looper)?;
    cancel_messages(&looper)?;
    repeat_a_message(&looper)?;
    serve_clients(&looper)?;
    watch_a_folder(&looper)?;
    quit_safely(&looper)?;

    say!("Everything happened, in {} ms.", (looper.now() - start).as_millis());
    Ok(())
}

/// Lets the looper work until something is received; `what` names it.
fn receive<T>(looper: &Looper, receiver: &mpsc::Receiver<T>, what: &str) -> io::Result<T> {
    loop {
        if let Ok(received) = receiver.try_recv() {
            return Ok(received);
        }
        let turn = looper.poll_once(None)?;
        check(!turn.quit, &format!("{what} within the minute that the watchdog gives the tour"))?;
    }
}

fn check(holds: bool, expected: &str) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::other(format!("expected {expected}"))) }
}

fn ask_a_worker(looper: &Looper) -> io::Result<()> {
    say!("1. A worker thread runs a looper of its own, and answers to the main looper.");
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let looper = Looper::prepare()?;
        let _ = sender.send(looper.handle());
        looper.run()
    });
    let worker = receiver.recv().map_err(io::Error::other)?;

    let (sender, answers) = mpsc::channel();
    for number in 1..=3 {
        let (main, sender) = (looper.handle(), sender.clone());
        worker.post(move |_| {
            let square = number * number;
            let _ = main.post(move |_| sender.send(square).unwrap());
        })?;
    }
    for number in 1..=3 {
        let square = receive(looper, &answers, "an answer of the worker")?;
        say!("   the worker answers: {number} x {number} = {square}");
        check(square == number * number, "the right answer")?;
    }

    worker.quit_safely();
    let report = thread.join().map_err(|_| io::Error::other("the worker panicked"))??;
    say!("   the worker has quit: {} posts, {} run", report.posted, report.run);
    check((report.posted, report.run) == (3, 3), "three posts to the worker")
}

fn delay_messages(looper: &Looper) -> io::Result<()> {
    say!("2. Messages for later run when they are due: in that order, and never early.");
    let (sender, runs) = mpsc::channel();
    let start = looper.now();
    for delay in [150, 50, 100].map(Duration::from_millis) {
        let sender = sender.clone();
        looper.post_at(start + delay, move |looper| sender.send((delay, looper.now() - start)).unwrap())?;
    }
    for expected in [50, 100, 150].map(Duration::from_millis) {
        let (delay, ran) = receive(looper, &runs, "a message that was due")?;
        say!("   due after {delay:?}: {} us late", ran.saturating_sub(delay).as_micros());
        check(delay == expected && ran >= delay, "the messages in order, none early")?;
    }
    Ok(())
}

fn cancel_messages(looper: &Looper) -> io::Result<()> {
    say!("3. A message that is cancelled does not run.");
    let (sender, runs) = mpsc::channel();
    let post = |name, millis| {
        let sender = sender.clone();
        looper.post_delayed(Duration::from_millis(millis), move |_| sender.send(name).unwrap())
    };
    let cancelled = post("cancelled", 10)?;
    let guard = post("guarded", 20)?.guard();
    post("kept", 50)?;

    say!("   one of three is cancelled: {}", cancelled.cancel());
    drop(guard);
    say!("   another one's guard is dropped, which cancels it");
    let ran = receive(looper, &runs, "the message that was not cancelled")?;
    say!("   what ran: {ran}");
    check(ran == "kept", "no cancelled message to run")
}

fn repeat_a_message(looper: &Looper) -> io::Result<()> {
    say!("4. A repeating message does not drift: how late one run is does not delay the next.");
    let (sender, runs) = mpsc::channel();
    let start = looper.now();
    let mut left = 5;
    looper.post_every(Duration::from_millis(60), move |looper| {
        sender.send(looper.now() - start).unwrap();
        left -= 1;
        if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    for due in [60, 120, 180, 240, 300].map(Duration::from_millis) {
        let ran = receive(looper, &runs, "a run of the repeating message")?;
        say!("   due after {due:?}: {} us late", ran.saturating_sub(due).as_micros());
        check(ran >= due, "no run to be early")?;
    }
    Ok(())
}

/// How much each client sends: more than the buffers of its connection hold.
const ECHO: usize = 4 << 20;

fn serve_clients(looper: &Looper) -> io::Result<()> {
    say!("5. An echo server on the main looper serves clients of other threads.");
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let full = Arc::new(OnceLock::new());
    let on_full = full.clone();
    let listening = looper.add_fd(listener, Interest::INPUT, move |looper, listener, _| {
        // A client that cannot be served finds its connection closed, and tells.
        let _ = listener.accept().and_then(|(stream, _)| serve(looper, stream, on_full.clone()));
        FdNext::Keep
    })?;
    let _until_return = listening.guard();

    let (sender, results) = mpsc::channel();
    for seed in 1..=3 {
        let (sender, full, handle) = (sender.clone(), full.clone(), looper.handle());
        thread::spawn(move || {
            let _ = sender.send(check_echo(address, seed, &full));
            handle.wake()
        });
    }
    for _ in 0..3 {
        let bytes = receive(looper, &results, "the echo of a client")??;
        say!("   a client got back what it sent, {bytes} bytes");
    }
    say!("   a connection was full, so that the server waited for OUTPUT: {}", full.get().is_some());
    Ok(())
}

fn serve(looper: &Looper, stream: TcpStream, full: Arc<OnceLock<()>>) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    setsockopt(&stream, sockopt::SndBuf, &(64 * 1024))?;
    let mut unsent = Vec::new();
    looper.add_fd(stream, Interest::INPUT, move |_, stream, _| match echo(stream, &mut unsent) {
        Ok(false) => FdNext::Remove,
        Err(error) if error.kind() != ErrorKind::WouldBlock => FdNext::Remove,
        _ if unsent.is_empty() => FdNext::Interest(Interest::INPUT),
        _ => {
            let _ = full.set(());
            FdNext::Interest(Interest::OUTPUT)
        }
    })?;
    Ok(())
}

/// Reads once if all is sent, then sends what it can. `false` at the client's end, when nothing is unsent.
fn echo(stream: &mut TcpStream, unsent: &mut Vec<u8>) -> io::Result<bool> {
    if unsent.is_empty() {
        let mut buffer = [0; 64 * 1024];
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(false);
        }
        unsent.extend_from_slice(&buffer[..count]);
    }
    let sent = stream.write(unsent)?;
    unsent.drain(..sent);
    Ok(true)
}

/// A client, which reads nothing before a connection is full. Gives how many bytes came back, if all are what it sent.
fn check_echo(address: SocketAddr, seed: usize, full: &OnceLock<()>) -> io::Result<usize> {
    let sent: Vec<u8> = (0..ECHO).map(|n| (n * seed / 251) as u8).collect();
    let mut echoed = Vec::new();
    let stream = TcpStream::connect(address)?;
    thread::scope(|scope| {
        let writer = scope.spawn(|| (&stream).write_all(&sent).and_then(|()| stream.shutdown(Shutdown::Write)));
        full.wait();
        (&stream).read_to_end(&mut echoed)?;
        writer.join().expect("writing does not panic")
    })?;
    if echoed == sent { Ok(echoed.len()) } else { Err(io::Error::other("an echoed byte is not what was sent")) }
}

fn watch_a_folder(looper: &Looper) -> io::Result<()> {
    say!("6. Inotify tells what happens in a folder, as events of an fd.");
    let folder = env::temp_dir().join(format!("alooper-tour-{}", process::id()));
    fs::create_dir(&folder).map_err(|error| io::Error::other(format!("{}: {error}", folder.display())))?;
    let watched = write_a_postcard(looper, &folder);
    fs::remove_dir_all(&folder)?;
    watched
}

fn write_a_postcard(looper: &Looper, folder: &Path) -> io::Result<()> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(folder, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_CLOSE_WRITE)?;
    let (sender, events) = mpsc::channel();
    let watching = looper.add_fd(inotify, Interest::INPUT, move |_, inotify, _| {
        for event in inotify.read_events().unwrap_or_default() {
            sender.send((event.name.unwrap_or_default(), event.mask)).unwrap();
        }
        FdNext::Keep
    })?;
    let _until_return = watching.guard();

    fs::write(folder.join("postcard"), "greetings")?;
    for (mask, what) in [(AddWatchFlags::IN_CREATE, "was created"), (AddWatchFlags::IN_CLOSE_WRITE, "was written")] {
        let event = receive(looper, &events, "an event of the folder")?;
        check(event == ("postcard".into(), mask), "the postcard to be created, then written")?;
        say!("   the postcard in {} {what}", folder.display());
    }
    Ok(())
}

fn quit_safely(looper: &Looper) -> io::Result<()> {
    say!("7. To quit safely is to run what is due, to give up the rest, and to account for every message.");
    let (sender, runs) = mpsc::channel();
    for delay in [0, 0, 0, 3600, 7200].map(Duration::from_secs) {
        let sender = sender.clone();
        looper.post_delayed(delay, move |_| sender.send(delay).unwrap())?;
    }
    looper.quit_safely();
    let is_refused = looper.post(|_| ()).is_err();
    let report = looper.run()?;

    let ran = runs.try_iter().count();
    say!("   of 5 messages, {ran} were due and have run; one that is posted now is refused: {is_refused}");
    let (posted, run, removed, dropped) = (report.posted, report.run, report.removed, report.dropped);
    say!("   in all, {posted} posted = {run} run + {removed} cancelled + {dropped} given up, one of them the watchdog");
    check(is_refused && ran == 3, "three messages to run and no more")?;
    check((removed, dropped) == (2, 3), "two messages to be cancelled and three to be given up")?;
    check(posted == run + removed + dropped, "the sums to agree")
}
