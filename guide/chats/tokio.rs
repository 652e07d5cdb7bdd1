//! cargo run -p alooper-guide --example chat_tokio -- [ADDRESS [IDLE_MILLISECONDS]]
//!
//! docs/guide/how-to/tasks.md: the chat of examples/chat_async.rs with tokio, on one thread.

use std::{cell::RefCell, collections::BTreeMap, env, io, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime, select,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::{AbortHandle, LocalSet, spawn_local},
    time,
};

/// How many messages may wait for a client. Who says more waits.
const QUEUE: usize = 16;
type Said = Rc<[u8]>;
type Room = Rc<RefCell<BTreeMap<u64, mpsc::Sender<Said>>>>;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:7777".into());
    let idle = env::args().nth(2).map_or(Ok(600_000), |text| text.parse()).map_err(io::Error::other)?;

    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let listener = TcpListener::bind(&address).await?;
        println!("listening on {}", listener.local_addr()?);
        spawn_local(accept(listener, Duration::from_millis(idle)));
        select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        println!("ended by a signal");
        Ok(())
    })
}

async fn accept(listener: TcpListener, idle: Duration) {
    let room = Room::default();
    for id in 0.. {
        match listener.accept().await {
            Ok((stream, _)) => join(&room, id, stream, idle),
            Err(error) => {
                // Mostly because too many files are open. Without a rest, this would spin.
                eprintln!("cannot accept a client now, and tries again: {error}");
                time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn join(room: &Room, id: u64, stream: TcpStream, idle: Duration) {
    let (near, far) = stream.into_split();
    let (sender, queue) = mpsc::channel(QUEUE);
    room.borrow_mut().insert(id, sender);
    let reader = spawn_local(read(near, room.clone(), id, idle)).abort_handle();
    let room = room.clone();
    spawn_local(async move {
        write(far, queue, idle, reader).await;
        room.borrow_mut().remove(&id);
    });
}

/// Sends what the client says to all others, until it leaves, or says nothing for too long.
async fn read(mut stream: OwnedReadHalf, room: Room, id: u64, idle: Duration) {
    let mut buffer = [0; 1024];
    while let Ok(Ok(count @ 1..)) = time::timeout(idle, stream.read(&mut buffer)).await {
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
async fn write(mut stream: OwnedWriteHalf, mut queue: mpsc::Receiver<Said>, idle: Duration, reader: AbortHandle) {
    while let Some(said) = queue.recv().await {
        if !matches!(time::timeout(idle, stream.write_all(&said)).await, Ok(Ok(()))) {
            break;
        }
    }
    reader.abort();
}
