//! cargo run -p alooper-guide --example connect
//!
//! docs/guide/how-to/connect.md: a TCP connection is made while the loop goes on, with a time limit.

use std::{
    io::{self, ErrorKind, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsRawFd,
    time::Duration,
};

use alooper::{FdNext, Handler, Interest, Looper};
use nix::{
    errno::Errno,
    sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn},
};

// [connect]
/// Connects, and sends the stream or the error to `done`, within `limit`.
fn connect(looper: &Looper, to: SocketAddrV4, limit: Duration, done: Handler<io::Result<TcpStream>>) -> io::Result<()> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = TcpStream::from(socket::socket(AddressFamily::Inet, SockType::Stream, flags, None)?);
    match socket::connect(stream.as_raw_fd(), &SockaddrIn::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let late = done.clone();
    let source = looper.add_fd(stream, Interest::OUTPUT, move |_, stream, _| {
        let outcome = match stream.take_error() {
            Ok(Some(error)) | Err(error) => Err(error),
            Ok(None) => stream.try_clone(),
        };
        // Refused only if the looper has quit.
        let _ = done.send(outcome);
        FdNext::Remove
    })?;
    looper.post_delayed(limit, move |_| {
        // When the outcome is there, the registration has ended, and this does nothing.
        if source.remove().is_some() {
            let _ = late.send(Err(ErrorKind::TimedOut.into()));
        }
    })?;
    Ok(())
}
// [/connect]

fn try_to_connect(to: SocketAddrV4) -> io::Result<()> {
    let looper = Looper::new()?;
    // [use]
    let done = Handler::new(&looper, |looper, outcome: io::Result<TcpStream>| {
        match outcome.and_then(|mut stream| stream.write(b"hello")) {
            Ok(count) => println!("connected, {count} bytes written"),
            Err(error) => println!("not connected: {:?}", error.kind()),
        }
        looper.quit();
    });
    if let Err(error) = connect(&looper, to, Duration::from_secs(5), done.clone()) {
        done.send(Err(error))?;
    }
    looper.run()?;
    // [/use]
    Ok(())
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let SocketAddr::V4(address) = listener.local_addr()? else { return Err(ErrorKind::Unsupported.into()) };
    try_to_connect(address)?;
    drop(listener);
    try_to_connect(address)
}
