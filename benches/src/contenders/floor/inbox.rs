//! What the floor has for posts from other threads: a mutexed `Vec` that is swapped out whole, and an eventfd that is
//! written only when the loop's thread is asleep.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use nix::sys::eventfd::EventFd;

use crate::contenders::common::plain_eventfd;

pub struct Inbox<T> {
    state: Mutex<State<T>>,
    pub wake: Arc<EventFd>,
}

struct State<T> {
    items: Vec<T>,
    /// Set by the loop's thread when it finds nothing; taken by the thread that then writes the eventfd.
    asleep: bool,
}

impl<T> Inbox<T> {
    pub fn new() -> Inbox<T> {
        Inbox { state: Mutex::new(State { items: Vec::new(), asleep: false }), wake: Arc::new(plain_eventfd()) }
    }

    pub fn post(&self, item: T) {
        let was_asleep = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.items.push(item);
            mem::take(&mut state.asleep)
        };
        if was_asleep {
            self.wake.write(1).expect("an eventfd is written");
        }
    }

    /// Swaps what was posted into `batch`, which is empty. If that is nothing, the loop's thread sleeps from now on.
    pub fn collect(&self, batch: &mut Vec<T>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut state.items, batch);
        state.asleep = batch.is_empty();
    }
}
