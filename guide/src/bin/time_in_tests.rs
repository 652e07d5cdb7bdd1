//! cargo run -p alooper-guide --bin time_in_tests
//!
//! Chapter 9 of docs/guide: a peer is given up when it has been silent for too long, and the tests of that.
//! `cargo test -p alooper-guide --bin time_in_tests` runs them as tests.

use std::{
    cell::Cell,
    io,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    time::Duration,
};

use alooper::{Handler, Looper, testing::TestLooper};

// [code]
const PATIENCE: Duration = Duration::from_secs(30);

/// A peer that has to be heard of every 30 seconds.
struct Peer {
    end: Handler<()>,
}

impl Peer {
    fn new(looper: &Looper, mut on_end: impl FnMut(&Looper) + 'static) -> io::Result<Peer> {
        let peer = Peer { end: Handler::new(looper, move |looper, ()| on_end(looper)) };
        peer.is_heard()?;
        Ok(peer)
    }

    /// Begins the 30 seconds again.
    fn is_heard(&self) -> io::Result<()> {
        self.end.clear();
        self.end.send_delayed(PATIENCE, ())?;
        Ok(())
    }
}
// [/code]

// [test]
#[cfg_attr(test, test)]
fn a_peer_is_given_up_30_seconds_after_it_was_heard() {
    let looper = TestLooper::new().unwrap();
    let ended = Rc::new(Cell::new(false));
    let end = ended.clone();
    let peer = Peer::new(&looper, move |_| end.set(true)).unwrap();

    looper.advance(Duration::from_secs(29));
    peer.is_heard().unwrap();
    looper.advance(PATIENCE - Duration::from_nanos(1));
    assert!(!ended.get(), "a nanosecond too early");

    looper.advance(Duration::from_nanos(1));
    assert!(ended.get());
}
// [/test]

// [step]
#[cfg_attr(test, test)]
fn a_deadline_can_be_asked_for_and_gone_to() {
    let looper = TestLooper::new().unwrap();
    let start = looper.now();
    let _peer = Peer::new(&looper, |_| ()).unwrap();
    assert_eq!(looper.next_deadline(), Some(start + PATIENCE));

    looper.run_to_next();

    assert_eq!(looper.now(), start + PATIENCE);
    assert!(looper.is_empty());
}
// [/step]

// [forgets]
fn a_test_that_forgets_its_peer() {
    let looper = TestLooper::new().unwrap();
    let peer = Peer::new(&looper, |_| ()).unwrap();
    looper.advance(Duration::from_secs(1));
    peer.is_heard().unwrap();
}
// [/forgets]

fn main() {
    a_peer_is_given_up_30_seconds_after_it_was_heard();
    println!("ok: a peer is given up 30 seconds after it was heard");
    a_deadline_can_be_asked_for_and_gone_to();
    println!("ok: a deadline can be asked for and gone to");

    panic::set_hook(Box::new(|_| ()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(a_test_that_forgets_its_peer));
    let _ = panic::take_hook();
    let message = outcome.expect_err("it leaves something behind");
    println!("failed: {}", message.downcast_ref::<String>().expect("a message"));
}
