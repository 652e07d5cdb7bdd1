//! cargo run -p alooper-guide --example host_calloop
//!
//! docs/guide/how-to/embed.md: a looper as an event source of calloop.

use std::{io, time::Duration};

use calloop::{EventLoop, Interest, Mode, PostAction, generic::Generic};

mod hosted;

fn main() -> io::Result<()> {
    let (looper, stream) = hosted::looper_with_work()?;

    // [host]
    let mut event_loop: EventLoop<'_, ()> = EventLoop::try_new()?;
    let signal = event_loop.get_signal();
    let looper = Generic::new(looper, Interest::READ, Mode::Level);
    let added = event_loop.handle().insert_source(looper, move |_, looper, ()| {
        if looper.poll_once(Duration::ZERO)?.quit {
            signal.stop();
            return Ok(PostAction::Remove);
        }
        Ok(PostAction::Continue)
    });
    added.map_err(|refused| refused.error)?;
    // [/host]

    let stream = Generic::new(stream, Interest::READ, Mode::Level);
    let added = event_loop.handle().insert_source(stream, |_, stream, ()| {
        hosted::answer(stream)?;
        Ok(PostAction::Continue)
    });
    added.map_err(|refused| refused.error)?;
    // [run]
    event_loop.run(None, &mut (), |()| ())?;
    // [/run]
    println!("host: the looper has quit");
    Ok(())
}
