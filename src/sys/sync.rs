//! The locks, exchangeable for those of the model checker.

#[cfg(not(all(test, alooper_loom)))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(all(test, alooper_loom)))]
pub(crate) use std::{
    sync::atomic::AtomicI64,
    thread::{ThreadId, current as current_thread},
};
#[cfg(all(test, not(alooper_loom)))]
pub(crate) use std_condvar::Condvar;

#[cfg(all(test, alooper_loom))]
pub(crate) use loom::{
    sync::{MutexGuard, atomic::AtomicI64},
    thread::{ThreadId, current as current_thread},
};
#[cfg(all(test, alooper_loom))]
pub(crate) use modelled::{Condvar, Mutex};

/// parking_lot's condition variable in the form that loom's has.
#[cfg(all(test, not(alooper_loom)))]
mod std_condvar {
    use super::MutexGuard;

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Condvar {
            Condvar::default()
        }

        pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(&mut guard);
            guard
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

/// loom's locks in the form that parking_lot's have.
#[cfg(all(test, alooper_loom))]
mod modelled {
    use super::MutexGuard;

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no thread panics while it holds a lock")
        }
    }

    #[derive(Debug)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Condvar {
            Condvar(loom::sync::Condvar::new())
        }

        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).expect("no thread panics while it holds a lock")
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
