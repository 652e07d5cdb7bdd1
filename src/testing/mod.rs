//! Virtual time for tests: loopers on a clock that moves only when told.
//!
//! With the feature `testing`. A [`TestLooper`] is a [`Looper`] like any other, but for its clock: the code under test
//! is the same, given that it asks the looper for the time ([`Looper::now`]) and not the system. Nothing sleeps, and a
//! test that takes a day of looper time takes microseconds.
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
//! A looper on this clock that is told to wait, by [`Looper::run`] or a [`Looper::poll_once`] with a timeout, does not
//! sleep either: with nothing to do, it moves the clock to its next deadline. Only when there is none does it wait, for
//! an fd or another thread.
//!
//! So a deadline that is pending comes before whatever a real thread takes its time for. A test that is about such a
//! thread waits for it by [`TestLooper::wait_for_others`], which leaves the clock where it is.

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
