//! The locks, atomics and threads, exchangeable for those of the model checkers.

use std::{cell::Cell, marker::PhantomData, num::NonZeroU32};

#[cfg(all(feature = "async", not(all(test, alooper_loom))))]
pub(crate) use std::sync::atomic::{AtomicU8, fence};
#[cfg(not(all(test, alooper_loom)))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU32},
    thread::{ThreadId, current as current_thread, yield_now},
};
#[cfg(any(not(all(test, alooper_loom)), alooper_shuttle))]
pub(crate) use std_cell::UnsafeCell;

#[cfg(not(all(test, alooper_loom)))]
pub(crate) use crate::sys::lock::{Condvar, Mutex, MutexGuard};

#[cfg(all(test, alooper_loom, not(alooper_shuttle)))]
pub(crate) use loom::cell::UnsafeCell;
#[cfg(all(test, alooper_loom, feature = "async"))]
pub(crate) use loom::sync::atomic::AtomicU8;
#[cfg(all(test, alooper_loom))]
pub(crate) use loom::{
    sync::{
        MutexGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU32, fence},
    },
    thread::{ThreadId, current as current_thread, yield_now},
};
#[cfg(all(test, alooper_loom))]
pub(crate) use modelled::{Condvar, Mutex};

/// The proof of being on a thread, which is not asked again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here {
    number: ThreadNumber,
    /// It stays there.
    not_send: PhantomData<*const ()>,
}

impl Here {
    /// The number of the thread.
    #[inline]
    pub(crate) fn number(self) -> ThreadNumber {
        self.number
    }
}

/// What the looper's thread uses all the time and others now and then.
#[cfg(not(all(test, alooper_loom)))]
pub(crate) use crate::sys::owner_cell::{Guard, OwnerCell};
#[cfg(all(test, alooper_loom))]
pub(crate) use plain::{Guard, OwnerCell};

/// A lock in the form of an owner cell: the models of everything else have enough to interleave.
#[cfg(all(test, alooper_loom))]
mod plain {
    pub(crate) use super::MutexGuard as Guard;
    use super::{Here, Mutex, MutexGuard, ThreadNumber};

    #[derive(Debug)]
    pub(crate) struct OwnerCell<T> {
        owner: ThreadNumber,
        value: Mutex<T>,
    }

    impl<T> OwnerCell<T> {
        pub(crate) fn new(owner: ThreadNumber, value: T) -> OwnerCell<T> {
            OwnerCell { owner, value: Mutex::new(value) }
        }

        pub(crate) fn owner(&self) -> ThreadNumber {
            self.owner
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.value.lock()
        }

        pub(crate) fn lock_here(&self, _here: Here) -> MutexGuard<'_, T> {
            self.value.lock()
        }

        /// No model forks.
        pub(crate) fn lock_here_unless(&self, _here: Here, _is_shut: impl Fn() -> bool) -> Option<MutexGuard<'_, T>> {
            Some(self.value.lock())
        }

        pub(crate) fn shut(&self) {}
    }
}

/// The number of a thread; no other thread ever has it.
///
/// To compare it is the cheapest way to know on which thread one is, also while that thread's locals are destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadNumber(NonZeroU32);

/// The number that the next thread gets.
static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);

#[cfg(not(all(test, alooper_loom)))]
thread_local! {
    /// Zero as long as the thread has none.
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

#[cfg(all(test, alooper_loom))]
loom::thread_local! {
    static NUMBER: Cell<u32> = Cell::new(0);
}

impl ThreadNumber {
    /// The number of the calling thread, which it gets now if it has none yet. `None` after 2^32 threads.
    pub(crate) fn assign() -> Option<ThreadNumber> {
        use std::sync::atomic::Ordering::Relaxed;
        NUMBER.with(|number| {
            if number.get() == 0 {
                number.set(NEXT.fetch_update(Relaxed, Relaxed, |next| next.checked_add(1)).ok()?);
            }
            NonZeroU32::new(number.get()).map(ThreadNumber)
        })
    }

    /// Whether it is that of the calling thread.
    #[inline]
    pub(crate) fn is_here(self) -> bool {
        ThreadNumber::is(self.0.get())
    }

    /// The proof that it is that of the calling thread, if it is.
    #[inline]
    pub(crate) fn here(self) -> Option<Here> {
        if self.is_here() { Some(Here { number: self, not_send: PhantomData }) } else { None }
    }

    /// Whether `number`, which is not zero, is that of the calling thread.
    #[inline]
    pub(crate) fn is(number: u32) -> bool {
        NUMBER.with(|here| here.get() == number)
    }

    pub(crate) const fn get(self) -> u32 {
        self.0.get()
    }
}

/// std's cell in the form that loom's has.
#[cfg(any(not(all(test, alooper_loom)), alooper_shuttle))]
mod std_cell {
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> UnsafeCell<T> {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(crate) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
            look(self.0.get())
        }

        #[inline]
        pub(crate) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
            change(self.0.get())
        }
    }
}

/// loom's locks in the form that ours have.
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

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().expect("no thread panics while it holds a lock")
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
