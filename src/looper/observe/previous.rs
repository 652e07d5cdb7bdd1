//! The observer that a looper had before another one took its place, which tells it what it was told.

use std::rc::Rc;

use crate::looper::{
    Looper,
    observe::{observer::Observer, wants::Wants},
};

pub(super) struct PreviousObserver {
    pub(super) observer: Option<Rc<dyn Observer>>,
    pub(super) wants: Wants,
}

impl PreviousObserver {
    /// The present observer of `looper`.
    pub(super) fn of(looper: &Looper) -> PreviousObserver {
        let (observer, wants) = looper.observer();
        PreviousObserver { observer, wants }
    }

    /// The observer, if it wants to know of what `wants` is for.
    pub(super) fn told(&self, wants: Wants) -> Option<&dyn Observer> {
        self.observer.as_deref().filter(|_| self.wants.intersects(wants))
    }
}
