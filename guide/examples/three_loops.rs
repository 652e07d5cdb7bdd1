//! cargo run -p alooper-guide --example three_loops
//!
//! docs/guide/how-to/choosing.md: the same small job with alooper, with calloop and with tokio: a message from another
//! thread, then a timer, then a socket.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper};
use calloop::{
    EventLoop, LoopHandle, LoopSignal, Mode, PostAction, channel,
    generic::Generic,
    timer::{TimeoutAction, Timer},
};
use tokio::{runtime, sync::mpsc, time};

const DELAY: Duration = Duration::from_millis(20);

fn main() -> io::Result<()> {
    with_alooper()?;
    with_calloop()?;
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(with_tokio())
}

// [alooper]
fn with_alooper() -> io::Result<()> {
    let looper = Looper::new()?;
    let (near, mut far) = UnixStream::pair()?;
    looper.add_fd(near, Interest::INPUT, |looper, _, _| {
        println!("alooper: the socket");
        looper.quit();
        FdNext::Remove
    })?;

    let handle = looper.handle();
    let thread = thread::spawn(move || {
        handle.post(move |looper| {
            println!("alooper: the message");
            let write = move |_: &Looper| {
                println!("alooper: the timer");
                far.write_all(b"x").expect("one byte fits");
            };
            looper.post_delayed(DELAY, write).expect("it has not quit");
        })
    });
    looper.run()?;
    assert!(thread.join().expect("it does not panic").is_ok());
    Ok(())
}
// [/alooper]

// [calloop]
struct State {
    handle: LoopHandle<'static, State>,
    signal: LoopSignal,
    far: UnixStream,
}

fn with_calloop() -> io::Result<()> {
    let mut event_loop: EventLoop<'_, State> = EventLoop::try_new()?;
    let handle = event_loop.handle();
    let (near, far) = UnixStream::pair()?;
    let near = Generic::new(near, calloop::Interest::READ, Mode::Level);
    let added = handle.insert_source(near, |_, _, state| {
        println!("calloop: the socket");
        state.signal.stop();
        Ok(PostAction::Remove)
    });
    added.map_err(|refused| refused.error)?;

    let (sender, messages) = channel::channel();
    let added = handle.insert_source(messages, |event, _, state: &mut State| {
        let channel::Event::Msg(()) = event else { return };
        println!("calloop: the message");
        let added = state.handle.insert_source(Timer::from_duration(DELAY), |_, _, state| {
            println!("calloop: the timer");
            state.far.write_all(b"x").expect("one byte fits");
            TimeoutAction::Drop
        });
        added.expect("there is room for a timer");
    });
    added.map_err(|refused| refused.error)?;
    let thread = thread::spawn(move || sender.send(()));

    let mut state = State { handle, signal: event_loop.get_signal(), far };
    event_loop.run(None, &mut state, |_| ())?;
    assert!(thread.join().expect("it does not panic").is_ok());
    Ok(())
}
// [/calloop]

// [tokio]
async fn with_tokio() -> io::Result<()> {
    let (sender, mut messages) = mpsc::unbounded_channel();
    let thread = thread::spawn(move || sender.send(()));
    let (near, far) = tokio::net::UnixStream::pair()?;

    messages.recv().await;
    println!("tokio: the message");
    time::sleep(DELAY).await;
    println!("tokio: the timer");
    far.writable().await?;
    far.try_write(b"x")?;
    near.readable().await?;
    println!("tokio: the socket");
    assert!(thread.join().expect("it does not panic").is_ok());
    Ok(())
}
// [/tokio]
