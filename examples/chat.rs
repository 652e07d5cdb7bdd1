//! The chat of chat_async.rs on callbacks: what a client says goes to all others. Each has a queue of what to write.
//! `cargo run --example chat --features signals -- [ADDRESS [IDLE_MS]]`, then `nc 127.0.0.1 7777` in two terminals.

use std::{cell::RefCell, collections::BTreeMap, env, io, io::prelude::*, net::*, rc::Rc, time::Duration};

use alooper::{FdGuard, FdNext, Interest, Looper, PostedGuard, source::Signal};

/// While more bytes than this wait for some client, none is read: who says more waits.
const QUEUE: usize = 16 * 1024;
type Room = Rc<RefCell<BTreeMap<u64, Client>>>;

struct Client {
    stream: Rc<TcpStream>,
    fd: FdGuard<Rc<TcpStream>>,
    /// What waits to be written. Until it is, the client is not read.
    queue: Vec<u8>,
    /// Ends it. What it says puts this off.
    timeout: PostedGuard,
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:7777".into());
    let idle = env::args().nth(2).map_or(Ok(600_000), |text| text.parse()).map_err(io::Error::other)?;
    let (looper, room, mut ids) = (Looper::new()?, Room::default(), 0..);
    looper.quit_on(&[Signal::INT, Signal::TERM])?;
    let listener = TcpListener::bind(&address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);
    looper.add_fd(listener, Interest::INPUT, move |looper, listener, _| {
        let join = |(stream, _)| join(looper, &room, ids.next().unwrap_or(0), stream, Duration::from_millis(idle));
        let Err(error) = listener.accept().and_then(join) else { return FdNext::Keep };
        // Mostly because too many files are open. Without a rest, this would spin.
        eprintln!("cannot accept a client now, and tries again: {error}");
        let again = looper.current_fd().map(|fd| move |_: &Looper| _ = fd.set_interest(Interest::INPUT));
        _ = again.map(|again| looper.post_delayed(Duration::from_millis(100), again));
        FdNext::Interest(Interest::empty())
    })?;
    looper.run().map(|_| println!("ended by a signal"))
}

fn join(looper: &Looper, room: &Room, id: u64, stream: TcpStream, idle: Duration) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let (stream, here, there) = (Rc::new(stream), room.clone(), room.clone());
    let timeout = looper.post_delayed(idle, move |_| watch(&there, id, Err(io::ErrorKind::TimedOut.into())))?.guard();
    let fd = looper.add_fd(stream.clone(), Interest::INPUT, move |_, _, _| {
        watch(&here, id, serve(&here, id, idle));
        FdNext::Keep
    })?;
    room.borrow_mut().insert(id, Client { stream, fd: fd.guard(), queue: Vec::new(), timeout });
    Ok(())
}

/// Writes what waits for the client, or sends what it says to all others.
fn serve(room: &Room, id: u64, idle: Duration) -> io::Result<()> {
    let (mut room, mut buffer) = (room.borrow_mut(), [0; 1024]);
    let client = room.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
    if !client.queue.is_empty() {
        return (&*client.stream).write(&client.queue).map(|taken| _ = client.queue.drain(..taken));
    }
    let said = (&*client.stream).read(&mut buffer).map(|count| &buffer[..count])?;
    client.timeout.posted().reschedule(idle);
    for (_, other) in room.iter_mut().filter(|(to, _)| **to != id && !said.is_empty()) {
        // What fails here does so again when the rest is written.
        let taken = if other.queue.is_empty() { (&*other.stream).write(said).unwrap_or(0) } else { 0 };
        other.queue.extend(&said[taken..]);
    }
    if said.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Waits for what each client is to do next. The one that was served leaves if that has failed.
fn watch(room: &Room, id: u64, served: io::Result<()>) {
    let has_left = served.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock);
    let _left = has_left.then(|| room.borrow_mut().remove(&id));
    let is_full = room.borrow().values().any(|client| client.queue.len() > QUEUE);
    let says = if is_full { Interest::empty() } else { Interest::INPUT };
    for Client { fd, queue, .. } in room.borrow().values() {
        _ = fd.source().set_interest(if queue.is_empty() { says } else { Interest::OUTPUT });
    }
}
