//! What the floor has for a thread that posts to itself: a deque.

use std::{cell::RefCell, collections::VecDeque};

/// A queue; what it runs may post to it.
pub struct Queue<T>(RefCell<VecDeque<T>>);

impl<T> Queue<T> {
    pub fn new() -> Queue<T> {
        Queue(RefCell::default())
    }

    pub fn post(&self, item: T) {
        self.0.borrow_mut().push_back(item);
    }

    pub fn take(&self) -> Option<T> {
        self.0.borrow_mut().pop_front()
    }
}

/// A posted closure.
pub struct Callback(Box<Posted>);

type Posted = dyn FnOnce(&Queue<Callback>);

impl Callback {
    pub fn new(callback: impl FnOnce(&Queue<Callback>) + 'static) -> Callback {
        Callback(Box::new(callback))
    }

    pub fn run(self, queue: &Queue<Callback>) {
        (self.0)(queue);
    }
}
