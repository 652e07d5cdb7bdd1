//! cargo run -p alooper-guide --example end_of_stream
//!
//! docs/guide/how-to/end-of-stream.md: a peer that writes and closes at once, and one that closes half of a socket.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
};

use alooper::{Events, FdNext, Interest, Looper};

// [read]
fn on_event(looper: &Looper, stream: &mut UnixStream, events: Events) -> FdNext {
    let mut piece = [0; 4];
    match stream.read(&mut piece) {
        Ok(0) => {
            println!("{events:?}: the end");
            // The other direction may still be open.
            let _ = stream.write_all(b"goodbye");
            looper.quit();
            FdNext::Remove
        }
        Ok(count) => {
            println!("{events:?}: {:?}", String::from_utf8_lossy(&piece[..count]));
            FdNext::Keep
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => FdNext::Keep,
        Err(error) => {
            println!("{events:?}: {error}");
            looper.quit();
            FdNext::Remove
        }
    }
}
// [/read]

fn read_from(near: UnixStream) -> io::Result<()> {
    let looper = Looper::new()?;
    near.set_nonblocking(true)?;
    looper.add_fd(near, Interest::INPUT, on_event)?;
    looper.run()?;
    Ok(())
}

fn main() -> io::Result<()> {
    // [closed]
    let (near, mut far) = UnixStream::pair()?;
    far.write_all(b"all is well")?;
    drop(far);
    read_from(near)?;
    // [/closed]

    // [half]
    let (near, mut far) = UnixStream::pair()?;
    far.write_all(b"ask")?;
    far.shutdown(Shutdown::Write)?;
    read_from(near)?;
    let mut answer = String::new();
    far.read_to_string(&mut answer)?;
    println!("the answer: {answer}");
    // [/half]
    Ok(())
}
