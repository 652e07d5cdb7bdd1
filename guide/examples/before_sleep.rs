//! cargo run -p alooper-guide --example before_sleep
//!
//! docs/guide/how-to/before-sleep.md: a connection that buffers its requests is written to before the looper sleeps.
//! The clock is a test's: nobody waits.

use std::{
    cell::RefCell,
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    time::Duration,
};

use alooper::{FdNext, FdSource, Interest, Looper, Wait, testing::TestLooper};

// [connection]
/// As Wayland's and X11's libraries have it: requests are collected, and written together.
struct Connection {
    fd: FdSource<Rc<UnixStream>>,
    socket: Rc<UnixStream>,
    requests: RefCell<Vec<u8>>,
}

impl Connection {
    fn request(&self, request: &str) {
        self.requests.borrow_mut().extend_from_slice(request.as_bytes());
    }

    /// Writes what it can. If that is not everything, the looper says when there is room for more.
    fn flush(&self) -> io::Result<()> {
        let mut requests = self.requests.borrow_mut();
        while !requests.is_empty() {
            match (&*self.socket).write(&requests) {
                Ok(count) => {
                    println!("wrote {:?}", String::from_utf8_lossy(&requests[..count]));
                    requests.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let rest = if requests.is_empty() { Interest::empty() } else { Interest::OUTPUT };
        self.fd.set_interest(Interest::INPUT | rest)
    }
}
// [/connection]

// [hook]
fn connect(looper: &Looper, socket: UnixStream) -> io::Result<Rc<Connection>> {
    socket.set_nonblocking(true)?;
    let socket = Rc::new(socket);
    let fd = looper.add_fd(socket.clone(), Interest::INPUT, |_, socket, events| {
        let mut buffer = [0; 64];
        if events.contains(alooper::Events::INPUT) {
            match (&**socket).read(&mut buffer) {
                Ok(0) | Err(_) => return FdNext::Remove,
                Ok(count) => println!("read {:?}", String::from_utf8_lossy(&buffer[..count])),
            }
        }
        // With room for more, the turn ends, and the hook writes.
        FdNext::Keep
    })?;
    let connection = Rc::new(Connection { fd, socket, requests: RefCell::default() });
    let flushed = connection.clone();
    looper.before_wait(move |looper| {
        if let Err(error) = flushed.flush() {
            println!("the connection is lost: {error}");
            looper.quit();
        }
        Wait::MayBlock
    })?;
    Ok(connection)
}
// [/hook]

fn main() -> io::Result<()> {
    let looper = TestLooper::new()?;
    let (near, mut far) = UnixStream::pair()?;
    // [use]
    let connection = connect(&looper, near)?;
    for part in ["create", "draw", "show"] {
        let connection = connection.clone();
        looper.post(move |_| connection.request(&format!("{part};")))?;
    }
    let moving = connection.clone();
    looper.post_delayed(Duration::from_secs(1), move |_| moving.request("move;"))?;

    looper.run_until_idle();
    println!("a second later");
    looper.advance(Duration::from_secs(1));
    far.write_all(b"moved;")?;
    looper.run_until_idle();
    // [/use]

    drop(far);
    connection.request("close;");
    looper.run()?;
    Ok(())
}
