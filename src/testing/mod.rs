//! Virtual time for tests: loopers on a clock that moves only when told.
//!
//! A [`TestLooper`] derefs to a real [`Looper`] with real fds; only its clock is virtual. Nothing sleeps: a test of a day
//! takes microseconds. The code under test needs no change, as long as it asks the looper for the time ([`Looper::now`]).
//! Add the feature for your tests only, with `cargo add --dev alooper --features testing`.
//!
//! ```
//! use alooper::testing::TestLooper;
//! use std::{cell::Cell, rc::Rc, time::Duration};
//!
//! # fn main() -> std::io::Result<()> {
//! let looper = TestLooper::new()?;
//! let rung = Rc::new(Cell::new(false));
//! looper.post_delayed(Duration::from_secs(3600), {
//!     let rung = rung.clone();
//!     move |_| rung.set(true)
//! })?;
//!
//! looper.advance(Duration::from_secs(3599));
//! assert!(!rung.get());
//! looper.advance(Duration::from_secs(1));
//! assert!(rung.get());
//! # Ok(())
//! # }
//! ```
//!
//! | a test wants to | method |
//! |---|---|
//! | let time pass | [`TestLooper::advance`] |
//! | run what is due now | [`TestLooper::run_until_idle`] |
//! | run the next message, whenever it is due | [`TestLooper::run_one`] |
//! | run everything that is pending | [`TestLooper::run_to_end`] |
//! | wait for another thread or an fd | [`TestLooper::wait_for_others`] |
//! | see what is queued | [`TestLooper::pending`], [`TestLooper::next_deadline`] |
//! | drive several loopers by one clock | [`TestClock::build`] |
//! | give code the thread's own looper | [`TestLooper::prepare`] |
//!
//! [`Looper::run`] and [`Looper::poll_once`] do not sleep on this clock either: when there is nothing to do, they move it to
//! the next deadline. Without a deadline they wait for an fd or another thread. A pending deadline therefore comes before
//! anything that a real thread takes time for; wait for such a thread by [`TestLooper::wait_for_others`], which leaves the
//! clock where it is.

#[cfg(alooper_fuzz)]
#[doc(hidden)]
pub mod fuzzing;

mod clock;
mod looper;

use std::{fmt::Write, time::Instant};

pub use self::{clock::TestClock, looper::TestLooper};
use crate::looper::{Looper, dump::Pending};

pub(crate) fn pending_of(looper: &Looper) -> Vec<Pending> {
    let (pending, ()) = looper.shared().pending_with(Pending::new, |_| ());
    pending.into_iter().map(|(_, pending)| pending).collect()
}

/// One line for each message.
fn list(pending: impl IntoIterator<Item = Pending>, now: Instant) -> String {
    let mut text = String::new();
    for pending in pending {
        let when = match pending.due {
            None => "at front".to_owned(),
            Some(due) if due > now => format!("due in {:?}", due - now),
            Some(_) => "due".to_owned(),
        };
        let _ = write!(text, "\n  {when}: {pending}");
    }
    text
}
