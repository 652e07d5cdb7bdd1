//! A chat by TCP: what a client says goes to all others. Each client has two tasks, and a bounded queue of what to write.
//! `cargo run --example chat_async --features async,futures-io,signals -- [ADDRESS [IDLE_MILLISECONDS]]`, then
//! `nc 127.0.0.1 7777` in two terminals.

use std::{cell::RefCell, collections::BTreeMap, env, io, io::Read, net, rc::Rc, time::Duration};

use alooper::{Looper, LooperHandle, source::Signal, task::AsyncFd};
use futures_util::AsyncWriteExt;
use tokio::sync::mpsc;

/// How many messages may wait for a client. Who says more waits.
const QUEUE: usize = 16;
type Said = Rc<[u8]>;
type Room = Rc<RefCell<BTreeMap<u64, mpsc::Sender<Said>>>>;
type Stream = Rc<AsyncFd<net::TcpStream>>;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:7777".into());
    let idle = env::args().nth(2).map_or(Ok(600_000), |text| text.parse()).map_err(io::Error::other)?;

    let looper = Looper::prepare()?;
    looper.quit_on(&[Signal::INT, Signal::TERM])?;
    let listener = AsyncFd::new(&looper, net::TcpListener::bind(&address)?)?;
    println!("listening on {}", listener.get_ref().local_addr()?);
    looper.spawn(accept(looper.handle(), listener, Duration::from_millis(idle)))?;
    looper.run()?;
    println!("ended by a signal");
    Ok(())
}

async fn accept(looper: LooperHandle, listener: AsyncFd<net::TcpListener>, idle: Duration) {
    let room = Room::default();
    for id in 0.. {
        let accepted = listener.read_with(|listener| listener.accept()).await;
        if let Err(error) = accepted.and_then(|(stream, _)| join(&looper, &room, id, stream, idle)) {
            // Mostly because too many files are open. Without a rest, this would spin.
            eprintln!("cannot accept a client now, and tries again: {error}");
            looper.sleep(Duration::from_millis(100)).await;
        }
    }
}

fn join(handle: &LooperHandle, room: &Room, id: u64, stream: net::TcpStream, idle: Duration) -> io::Result<()> {
    let looper = Looper::current().ok_or(io::ErrorKind::NotFound)?;
    let stream = Rc::new(AsyncFd::new(&looper, stream)?);
    let (sender, queue) = mpsc::channel(QUEUE);
    looper.spawn(write(handle.clone(), stream.clone(), queue, idle))?;
    looper.spawn(read(handle.clone(), stream, room.clone(), id, idle))?;
    room.borrow_mut().insert(id, sender);
    Ok(())
}

/// Sends what the client says to all others, until it leaves, or says nothing for too long.
async fn read(looper: LooperHandle, stream: Stream, room: Room, id: u64, idle: Duration) {
    let mut buffer = [0; 1024];
    loop {
        let read = stream.read_with(|mut stream| stream.read(&mut buffer));
        let Ok(Ok(count @ 1..)) = looper.timeout(idle, read).await else { break };
        let said: Said = buffer[..count].into();
        let others: Vec<_> = room.borrow().iter().filter(|(to, _)| **to != id).map(|to| to.1.clone()).collect();
        for other in others {
            _ = other.send(said.clone()).await;
        }
    }
    // With its sender gone, the writer ends when it has written what is queued.
    room.borrow_mut().remove(&id);
}

/// Writes what the others say, until the client has left, or takes nothing for too long.
async fn write(looper: LooperHandle, stream: Stream, mut queue: mpsc::Receiver<Said>, idle: Duration) {
    while let Some(said) = queue.recv().await {
        if !matches!(looper.timeout(idle, (&*stream).write_all(&said)).await, Ok(Ok(()))) {
            break;
        }
    }
    _ = stream.get_ref().shutdown(net::Shutdown::Both);
}
