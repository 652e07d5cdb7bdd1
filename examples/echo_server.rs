//! cargo run --example echo_server -- [ADDRESS]
//!
//! Sends back what each client sends, for any number of clients on one thread. A client that does not read is not read
//! from either, so that no buffer grows. SIGINT (Ctrl-C) and SIGTERM end it, and close the connections that are open.

use std::{
    env,
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    process::ExitCode,
    rc::Rc,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper};
use nix::sys::{
    signal::Signal,
    signalfd::{SfdFlags, SignalFd},
};

fn main() -> ExitCode {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    match run(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_server on {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str) -> io::Result<()> {
    let ends = Signal::SIGINT | Signal::SIGTERM;
    ends.thread_block()?;
    let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let looper = Looper::prepare()?;
    looper.add_fd(signals, Interest::INPUT, |looper, _, _| {
        looper.quit();
        FdNext::Remove
    })?;
    listen(&looper, Rc::new(listener))?;
    looper.run()?;
    eprintln!("ended by a signal");
    Ok(())
}

fn listen(looper: &Looper, listener: Rc<TcpListener>) -> io::Result<()> {
    looper.add_fd(listener, Interest::INPUT, |looper, listener, _| match listener.accept() {
        Ok((stream, peer)) => {
            if let Err(error) = serve(looper, stream) {
                eprintln!("{peer}: {error}");
            }
            FdNext::Keep
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => FdNext::Keep,
        Err(error) => {
            // Mostly because too many files are open. The client waits on: without a rest, this would spin.
            eprintln!("cannot accept a client now, and tries again: {error}");
            let listener = listener.clone();
            let again = |looper: &Looper| listen(looper, listener).expect("it was listened to before");
            let _ = looper.post_delayed(Duration::from_millis(100), again);
            FdNext::Remove
        }
    })?;
    Ok(())
}

fn serve(looper: &Looper, stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let mut unsent = Vec::new();
    looper.add_fd(stream, Interest::INPUT, move |_, stream, _| match echo(stream, &mut unsent) {
        Ok(false) => FdNext::Remove,
        Err(error) if error.kind() != ErrorKind::WouldBlock => FdNext::Remove,
        _ if unsent.is_empty() => FdNext::Interest(Interest::INPUT),
        _ => FdNext::Interest(Interest::OUTPUT),
    })?;
    Ok(())
}

/// Reads once if all is sent, then sends what it can. `false` at the client's end, when nothing is unsent.
fn echo(stream: &mut TcpStream, unsent: &mut Vec<u8>) -> io::Result<bool> {
    if unsent.is_empty() {
        let mut buffer = [0; 16 * 1024];
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
