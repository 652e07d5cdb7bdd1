//! An observer that keeps what it is told.

use std::{cell::RefCell, rc::Rc, time::Duration};

use alooper::{DispatchInfo, Looper, Observer};

/// What an observer was told, in its order.
#[derive(Default)]
pub(crate) struct Recorder {
    seen: RefCell<Vec<(&'static str, DispatchInfo, Duration)>>,
    /// Messages write here, too.
    words: RefCell<Vec<&'static str>>,
}

impl Recorder {
    pub(crate) fn watch(looper: &Looper) -> Rc<Recorder> {
        let recorder = Rc::new(Recorder::default());
        looper.set_observer(Some(recorder.clone()));
        recorder
    }

    fn record(&self, word: &'static str, dispatch: &DispatchInfo, took: Duration) {
        self.words.borrow_mut().push(word);
        self.seen.borrow_mut().push((word, dispatch.clone(), took));
    }

    /// A message that says `word` when it runs.
    pub(crate) fn say(self: &Rc<Self>, word: &'static str) -> impl FnOnce(&Looper) + use<> {
        let recorder = self.clone();
        move |_| recorder.words.borrow_mut().push(word)
    }

    pub(crate) fn words(&self) -> Vec<&'static str> {
        self.words.take()
    }

    /// The messages of which it was told `word` since the last call.
    pub(crate) fn take(&self, word: &str) -> Vec<(DispatchInfo, Duration)> {
        let seen = self.seen.take().into_iter();
        seen.filter(|seen| seen.0 == word).map(|(_, dispatch, took)| (dispatch, took)).collect()
    }

    /// The only message that was begun since the last call.
    #[track_caller]
    pub(crate) fn only(&self) -> DispatchInfo {
        let seen = self.take("started");
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].0.clone()
    }
}

impl Observer for Recorder {
    fn started(&self, dispatch: &DispatchInfo) {
        self.record("started", dispatch, Duration::ZERO);
    }

    fn finished(&self, dispatch: &DispatchInfo, took: Duration) {
        self.record("finished", dispatch, took);
    }

    fn panicked(&self, dispatch: &DispatchInfo, took: Duration) {
        self.record("panicked", dispatch, took);
    }
}
