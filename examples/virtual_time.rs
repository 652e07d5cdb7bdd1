//! cargo run --example virtual_time
//!
//! Code that depends on time, and its test, which takes none: on a looper whose clock moves only when told. The same
//! code runs for real after that. `cargo test --example virtual_time` runs the test as a test.

use std::{cell::Cell, io, rc::Rc, time::Duration};

use alooper::{Handler, Looper, testing::TestLooper};

/// Ends when nothing has happened in it for a while.
struct Session {
    end: Handler<()>,
    patience: Duration,
}

impl Session {
    /// It needs no clock of its own, and does not know whose clock the looper follows.
    fn start(looper: &Looper, patience: Duration, mut on_end: impl FnMut(&Looper) + 'static) -> io::Result<Session> {
        let session = Session { end: Handler::new(looper, move |looper, ()| on_end(looper)), patience };
        session.touch()?;
        Ok(session)
    }

    /// Something has happened.
    fn touch(&self) -> io::Result<()> {
        self.end.clear();
        self.end.send_delayed(self.patience, ())?;
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_secs(30 * 60);

#[cfg_attr(test, test)]
fn a_session_ends_half_an_hour_after_the_last_touch() {
    let looper = TestLooper::new().unwrap();
    let ended = Rc::new(Cell::new(false));
    let end = ended.clone();
    let session = Session::start(&looper, PATIENCE, move |_| end.set(true)).unwrap();

    for _ in 0..8 {
        looper.advance(Duration::from_secs(20 * 60));
        session.touch().unwrap();
    }
    looper.advance(PATIENCE - Duration::from_nanos(1));
    assert!(!ended.get(), "a nanosecond too early");
    looper.advance(Duration::from_nanos(1));
    assert!(ended.get());
}

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let start = looper.now();
    a_session_ends_half_an_hour_after_the_last_touch();
    println!("virtual: a session of 190 minutes was right to the nanosecond, checked in {:?}", looper.now() - start);

    let start = looper.now();
    let session = Session::start(&looper, Duration::from_millis(100), |looper| looper.quit())?;
    looper.post_delayed(Duration::from_millis(60), move |_| session.touch().unwrap())?;
    looper.run()?;
    println!("real: a session of 160 ms ended after {} ms", (looper.now() - start).as_millis());
    Ok(())
}
