//! What ran in virtual time, and when.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use alooper::{
    Looper,
    testing::{TestClock, TestLooper},
};

/// What ran, and when on the looper's clock.
#[derive(Clone)]
pub(crate) struct Diary {
    pub(crate) start: Instant,
    pub(crate) entries: Rc<RefCell<Vec<(&'static str, Duration)>>>,
}

impl Diary {
    pub(crate) fn new(looper: &Looper) -> Diary {
        Diary { start: looper.now(), entries: Rc::default() }
    }

    /// A message that writes down when it runs.
    pub(crate) fn note(&self, word: &'static str) -> impl FnOnce(&Looper) + use<> {
        let diary = self.clone();
        move |looper| diary.entries.borrow_mut().push((word, looper.now() - diary.start))
    }

    pub(crate) fn take(&self) -> Vec<(&'static str, Duration)> {
        self.entries.take()
    }
}

pub(crate) fn two_on_one_clock() -> (TestClock, TestLooper, TestLooper) {
    let clock = TestClock::new();
    let build = |name: &str| clock.build(Looper::builder().name(name)).unwrap();
    (clock.clone(), build("first"), build("second"))
}
