//! A looper in virtual time whose messages take time, and places as the log has them.

use std::{rc::Rc, time::Duration};

use alooper::{
    Looper,
    testing::{TestClock, TestLooper},
};

/// A looper on a test's clock, and a second one by which its callbacks let time pass.
pub(crate) struct Timed {
    pub(crate) looper: TestLooper,
    pub(crate) second: Rc<TestLooper>,
}

impl Timed {
    pub(crate) fn new() -> Timed {
        let clock = TestClock::new();
        let looper = clock.build(Looper::builder().name("timed")).unwrap();
        Timed { looper, second: Rc::new(clock.build(Looper::builder()).unwrap()) }
    }

    /// A message that runs for as long.
    pub(crate) fn work(&self, duration: Duration) -> impl FnOnce(&Looper) + use<> {
        let second = self.second.clone();
        move |_| assert!(second.poll_once(duration).unwrap().timed_out)
    }

    /// Runs one message with this lateness after it was due.
    pub(crate) fn run_late(&self, lateness: Duration) {
        self.looper.post(|_| ()).unwrap();
        assert!(self.second.poll_once(lateness).unwrap().timed_out);
        assert_eq!(self.looper.poll_once(None).unwrap().messages, 1);
    }
}

/// A line of a test file, as it stands in the log.
pub(crate) fn line_of(file: &str, line: u32) -> String {
    format!("{file}:{line}")
}
