//! The same on both sides in the four programs of docs/guide/how-to/embed.md: what the looper has to do, and what its
//! host has to do besides.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper};

/// A looper with something of each kind to do, and the host's end of a connection to it.
///
/// Each step begins the next one: a message from another thread, a message for later, a question to the host, and the
/// host's answer, with which the looper quits.
pub fn looper_with_work() -> io::Result<(Rc<Looper>, UnixStream)> {
    let looper = Looper::new()?;
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    let question = near.try_clone()?;

    looper.add_fd(near, Interest::INPUT, |looper, near, _| match near.read(&mut [0; 16]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => FdNext::Keep,
        read => {
            println!("looper: its fd: {} bytes are the answer", read.unwrap_or(0));
            looper.quit();
            FdNext::Remove
        }
    })?;
    let handle = looper.handle();
    let later = move |_: &Looper| {
        println!("looper: the message for later; asks the host");
        (&question).write_all(b"question?").expect("so few bytes fit");
    };
    thread::spawn(move || {
        handle.post(move |looper| {
            println!("looper: a message from another thread");
            looper.post_delayed(Duration::from_millis(20), later).expect("it has not quit");
        })
    });
    Ok((Rc::new(looper), far))
}

/// The host's own work: answers what has come, if something has.
pub fn answer(mut stream: &UnixStream) -> io::Result<()> {
    loop {
        match stream.read(&mut [0; 16]) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                println!("host: {count} bytes, and answers");
                stream.write_all(b"answer")?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
