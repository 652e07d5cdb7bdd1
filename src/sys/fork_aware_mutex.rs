//! A lock that a forked child never waits for.

use crate::sys::{
    fork::ForkGeneration,
    sync::{Mutex, MutexGuard},
};

/// A value behind a lock that a forked child does not take: a thread that the child does not have may hold it.
#[derive(Debug)]
pub(crate) struct ForkAwareMutex<T> {
    process: ForkGeneration,
    value: Mutex<T>,
}

impl<T> ForkAwareMutex<T> {
    pub(crate) fn new(value: T) -> ForkAwareMutex<T> {
        ForkAwareMutex { process: ForkGeneration::current(), value: Mutex::new(value) }
    }

    /// Locks the value; `None` in a process that has it by a fork.
    #[inline(always)]
    pub(crate) fn lock(&self) -> Option<MutexGuard<'_, T>> {
        if self.process.is_current() { Some(self.value.lock()) } else { None }
    }

    /// The value, for one who needs no lock, since nobody else has this.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}
