//! The locks, exchangeable for those of the model checker.

#[cfg(not(all(test, alooper_loom)))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(all(test, alooper_loom)))]
pub(crate) use std::{
    sync::atomic::AtomicI64,
    thread::{ThreadId, current as current_thread, yield_now},
};
#[cfg(not(all(test, alooper_loom)))]
pub(crate) use std_condvar::Condvar;

#[cfg(all(test, alooper_loom))]
pub(crate) use loom::{
    sync::{MutexGuard, atomic::AtomicI64},
    thread::{ThreadId, current as current_thread, yield_now},
};
#[cfg(all(test, alooper_loom))]
pub(crate) use modelled::{Condvar, Mutex};

/// parking_lot's condition variable in the form that loom's has.
#[cfg(not(all(test, alooper_loom)))]
mod std_condvar {
    use std::time::Instant;

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

        /// Waits until `deadline` at most; whether it has passed.
        pub(crate) fn wait_until<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            deadline: Option<Instant>,
        ) -> (MutexGuard<'a, T>, bool) {
            let Some(deadline) = deadline else {
                return (self.wait(guard), false);
            };
            let has_passed = self.0.wait_until(&mut guard, deadline).timed_out();
            (guard, has_passed)
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

        /// Waits without a deadline; one passes at once, since there is no time in a model.
        pub(crate) fn wait_until<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            deadline: Option<std::time::Instant>,
        ) -> (MutexGuard<'a, T>, bool) {
            match deadline {
                Some(_) => (guard, true),
                None => (self.wait(guard), false),
            }
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
