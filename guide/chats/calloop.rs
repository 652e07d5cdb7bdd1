//! cargo run -p alooper-guide --example chat_calloop -- [ADDRESS [IDLE_MILLISECONDS]]
//!
//! docs/guide/how-to/tasks.md: the chat of examples/chat.rs with calloop.

use std::{collections::BTreeMap, env, io, io::prelude::*, net::*, rc::Rc, time::Duration};

use calloop::{
    EventLoop, Interest, LoopHandle, LoopSignal, Mode, PostAction, RegistrationToken,
    generic::Generic,
    signals::{Signal, Signals},
    timer::{TimeoutAction, Timer},
};

/// While more bytes than this wait for some client, none is read: who says more waits.
const QUEUE: usize = 16 * 1024;

struct Client {
    stream: Rc<TcpStream>,
    /// What waits to be written.
    queue: Vec<u8>,
    reads: RegistrationToken,
    /// Disabled while nothing waits. An fd can be in the set only once, so it watches a duplicate.
    writes: RegistrationToken,
    timeout: RegistrationToken,
}

struct Chat {
    handle: LoopHandle<'static, Chat>,
    signal: LoopSignal,
    idle: Duration,
    room: BTreeMap<u64, Client>,
    next_id: u64,
    /// Nobody is read.
    is_full: bool,
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:7777".into());
    let idle = env::args().nth(2).map_or(Ok(600_000), |text| text.parse()).map_err(io::Error::other)?;
    let mut event_loop: EventLoop<'_, Chat> = EventLoop::try_new()?;
    let (handle, signal) = (event_loop.handle(), event_loop.get_signal());
    let signals = Signals::new(&[Signal::SIGINT, Signal::SIGTERM])?;
    handle.insert_source(signals, |_, (), chat: &mut Chat| chat.signal.stop()).map_err(|refused| refused.error)?;
    let listener = TcpListener::bind(&address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);
    let listener = Generic::new(listener, Interest::READ, Mode::Level);
    handle.insert_source(listener, accept).map_err(|refused| refused.error)?;
    let idle = Duration::from_millis(idle);
    let mut chat = Chat { handle, signal, idle, room: BTreeMap::new(), next_id: 0, is_full: false };
    event_loop.run(None, &mut chat, |_| ())?;
    println!("ended by a signal");
    Ok(())
}

fn accept(
    _: calloop::Readiness,
    listener: &mut calloop::generic::NoIoDrop<TcpListener>,
    chat: &mut Chat,
) -> io::Result<PostAction> {
    if let Err(error) = listener.accept().and_then(|(stream, _)| chat.join(stream)) {
        // Mostly because too many files are open. It comes again at once: a thread that is held up spins less.
        eprintln!("cannot accept a client now, and tries again: {error}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(PostAction::Continue)
}

impl Chat {
    fn join(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let (id, stream) = (self.next_id, Rc::new(stream));
        self.next_id += 1;
        let writes = Generic::new(stream.try_clone()?, Interest::WRITE, Mode::Level);
        let reads = Generic::new(stream.clone(), Interest::READ, Mode::Level);
        let served = move |_: calloop::Readiness, _: &mut _, chat: &mut Chat| {
            chat.end_if(id, Chat::read);
            Ok(PostAction::Continue)
        };
        let flushed = move |_: calloop::Readiness, _: &mut _, chat: &mut Chat| {
            chat.end_if(id, Chat::write);
            Ok(PostAction::Continue)
        };
        let reads = self.handle.insert_source(reads, served).map_err(|refused| refused.error)?;
        let writes = self.handle.insert_source(writes, flushed).map_err(|refused| refused.error)?;
        self.handle.disable(&writes)?;
        let timeout = self.begin_timeout(id)?;
        self.room.insert(id, Client { stream, queue: Vec::new(), reads, writes, timeout });
        Ok(())
    }

    fn begin_timeout(&self, id: u64) -> io::Result<RegistrationToken> {
        let end = move |_, (): &mut (), chat: &mut Chat| {
            chat.leave(id);
            TimeoutAction::Drop
        };
        Ok(self.handle.insert_source(Timer::from_duration(self.idle), end).map_err(|refused| refused.error)?)
    }

    /// Lets a client leave if `serve` fails.
    fn end_if(&mut self, id: u64, serve: fn(&mut Chat, u64) -> io::Result<()>) {
        let served = serve(self, id);
        if served.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
            self.leave(id);
        }
        self.hold_back();
    }

    fn leave(&mut self, id: u64) {
        if let Some(client) = self.room.remove(&id) {
            [client.reads, client.writes, client.timeout].into_iter().for_each(|token| self.handle.remove(token));
        }
    }

    /// Sends what the client says to all others.
    fn read(&mut self, id: u64) -> io::Result<()> {
        let mut buffer = [0; 1024];
        let timeout = self.begin_timeout(id)?;
        let client = self.room.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        self.handle.remove(std::mem::replace(&mut client.timeout, timeout));
        let said = (&*client.stream).read(&mut buffer).map(|count| &buffer[..count])?;
        for (_, other) in self.room.iter_mut().filter(|(to, _)| **to != id && !said.is_empty()) {
            // What fails here does so again when the rest is written.
            let taken = if other.queue.is_empty() { (&*other.stream).write(said).unwrap_or(0) } else { 0 };
            if taken < said.len() && other.queue.is_empty() {
                self.handle.enable(&other.writes)?;
            }
            other.queue.extend(&said[taken..]);
        }
        if said.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Writes what waits for the client.
    fn write(&mut self, id: u64) -> io::Result<()> {
        let client = self.room.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let taken = (&*client.stream).write(&client.queue)?;
        client.queue.drain(..taken);
        if client.queue.is_empty() {
            self.handle.disable(&client.writes)?;
        }
        Ok(())
    }

    /// Reads nobody while too much waits for somebody.
    fn hold_back(&mut self) {
        let is_full = self.room.values().any(|client| client.queue.len() > QUEUE);
        if std::mem::replace(&mut self.is_full, is_full) != is_full {
            for client in self.room.values() {
                let reads = &client.reads;
                _ = if is_full { self.handle.disable(reads) } else { self.handle.enable(reads) };
            }
        }
    }
}
