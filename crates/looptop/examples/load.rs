//! cargo run -p looptop --example load -- PATH
//!
//! A program with a known load, to look into: the looper `idle` ticks, and `stuck` waits for the end of the standard input in one
//! of its four messages.

use std::{env, io, ops::ControlFlow, time::Duration};

use alooper::{HandlerThread, Looper, inspect::Inspector};

fn main() -> io::Result<()> {
    let path = env::args().nth(1).ok_or_else(|| io::Error::other("say where to serve"))?;
    let idle = HandlerThread::spawn("idle")?;
    idle.handle().post_every(Duration::from_millis(20), |_| ControlFlow::Continue(()))?;
    let stuck = Looper::builder().name("stuck").prepare()?;
    stuck.post(|looper| {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        looper.quit();
    })?;
    for _ in 0..3 {
        stuck.post(|_| ())?;
    }
    let _inspector = Inspector::builder().path(path).spawn()?;
    stuck.run().map(drop)
}
