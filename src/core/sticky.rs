//! A value that stays where it is, and a handle to it that may go anywhere.
//!
//! `?` makes an `anyhow::Error` or a `Box<dyn Error + Send + Sync>` only of an error that is `Send` and `Sync`, and a
//! closure that was refused often is neither. So it stays on its thread, in a store of the thread's own, and the error
//! has its key. What is `Send` goes along with the error. `fragile::Sticky` does the part for what is not `Send`.

use std::{
    any::Any,
    cell::RefCell,
    mem::{self, ManuallyDrop},
    sync::Arc,
};

use crate::{
    mem::{
        drop::{drop_each, drop_quietly},
        log,
        slots::{Key, Slots},
    },
    sys::{
        fork::ForkGeneration,
        lock::{Mutex, MutexGuard},
    },
};

/// A value that can be taken out where it may be used. The handle is `Send` and `Sync`, whatever the value is.
pub(crate) struct Sticky(Value);

enum Value {
    /// It is not `Send`, or not known to be: it lies in the store of the thread that has this list.
    Stays(Arc<LeftBehind>, Key),
    /// It is `Send`. The lock makes it `Sync` and is never taken.
    Comes(Mutex<Option<Box<dyn Any + Send>>>),
    /// There is none, or it was taken out.
    None,
}

impl Sticky {
    /// Without a value.
    pub(crate) fn none() -> Sticky {
        Sticky(Value::None)
    }

    /// For a value that stays on the calling thread.
    pub(crate) fn local(value: Box<dyn Any>) -> Sticky {
        let (list, key) = keep_here(value);
        Sticky(Value::Stays(list, key))
    }

    /// For a value that is `Send`, and goes where the error goes.
    pub(crate) fn send(value: Box<dyn Any + Send>) -> Sticky {
        Sticky(Value::Comes(Mutex::new(Some(value))))
    }

    /// Gives the value, if it is a `T` and this is its thread. On another one it stays behind.
    pub(crate) fn into_inner<T: 'static>(mut self) -> Option<T> {
        let value = self.take()?;
        self.0 = Value::None;
        debug_assert!(value.is::<T>(), "it comes out as what went in");
        value.downcast().ok().map(|value| *value)
    }

    /// Takes the value out; `None` if this is not its thread, or if that has ended.
    fn take(&mut self) -> Option<Box<dyn Any>> {
        match &mut self.0 {
            Value::Stays(list, key) => take_here(list, *key),
            Value::Comes(value) => value.get_mut().take().map(|value| value as Box<dyn Any>),
            Value::None => None,
        }
    }
}

impl Drop for Sticky {
    /// Drops the value on its thread; on another one it leaves that for later.
    fn drop(&mut self) {
        match (self.take(), &self.0) {
            (None, Value::Stays(list, key)) => list.add(*key),
            (value, _) => drop_each(value),
        }
    }
}

thread_local! {
    /// `None` while nothing stays on this thread. It has no destructor of its own, so that those of other thread-locals
    /// can use it to the end.
    static STORE: ManuallyDrop<RefCell<Option<Store>>> = const { ManuallyDrop::new(RefCell::new(None)) };
    /// Empties the store when the thread ends.
    static END: End = const { End };
}

/// What stays on a thread. No user code runs while it is borrowed.
#[derive(Default)]
struct Store {
    values: Slots<Box<dyn Any>>,
    left_behind: Arc<LeftBehind>,
}

/// The values of a store whose handles were dropped on other threads.
struct LeftBehind {
    /// A forked child does not lock it: a thread that it does not have may have it locked.
    process: ForkGeneration,
    keys: Mutex<Vec<Key>>,
}

impl Default for LeftBehind {
    fn default() -> Self {
        LeftBehind { process: ForkGeneration::current(), keys: Mutex::default() }
    }
}

impl LeftBehind {
    fn lock(&self) -> Option<MutexGuard<'_, Vec<Key>>> {
        if self.process.is_current() { Some(self.keys.lock()) } else { None }
    }

    fn add(&self, key: Key) {
        if let Some(mut keys) = self.lock() {
            keys.push(key);
        }
    }

    fn take(&self) -> Vec<Key> {
        self.lock().map_or_else(Vec::new, |mut keys| mem::take(&mut *keys))
    }
}

/// Puts `value` into the store of the calling thread, and drops what was left behind there.
fn keep_here(value: Box<dyn Any>) -> (Arc<LeftBehind>, Key) {
    // In a destructor that runs after this one's, what is left behind is never dropped.
    let _ = END.try_with(|_| ());
    let (list, key, left) = STORE.with(|store| {
        let mut store = store.borrow_mut();
        let Store { values, left_behind } = store.get_or_insert_default();
        let left: Vec<_> = left_behind.take().into_iter().filter_map(|key| values.remove(key)).collect();
        (left_behind.clone(), values.insert(value), left)
    });
    drop_left(left);
    (list, key)
}

/// Takes a value out of the store of the calling thread, if that is the one with this `list`.
fn take_here(list: &Arc<LeftBehind>, key: Key) -> Option<Box<dyn Any>> {
    STORE.with(|store| {
        let mut store = store.borrow_mut();
        let mine = store.as_mut().filter(|mine| Arc::ptr_eq(&mine.left_behind, list))?;
        let value = mine.values.remove(key);
        store.take_if(|store| store.values.len() == 0);
        value
    })
}

struct End;

impl Drop for End {
    fn drop(&mut self) {
        let store = STORE.with(|store| store.take());
        drop_left(store.map_or_else(Vec::new, |mut store| store.values.take_all()));
    }
}

/// Drops what was left behind. A panic must not hit whoever is refused something next, nor the end of the thread (X3).
fn drop_left(values: Vec<Box<dyn Any>>) {
    let panicked = values.into_iter().map(drop_quietly).filter(|panicked| *panicked).count();
    if panicked > 0 {
        log::error!("what was refused, and left behind on its thread, panicked when it was dropped");
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{rc::Rc, sync::mpsc, thread, time::Duration};

    use super::*;

    /// X2: a thread that a forked child does not have may have had it locked.
    #[test]
    fn c71_what_a_parents_thread_left_behind_is_not_locked() {
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let list = Arc::new(LeftBehind { process: ForkGeneration::parent(), keys: Mutex::default() });
            let left_behind = list.clone();
            STORE.with(|store| store.replace(Some(Store { values: Slots::default(), left_behind })));
            let _locked = list.keys.lock();
            let value = Rc::new(());
            let own = Sticky::local(Box::new(value.clone()));
            let others = Sticky(Value::Stays(list.clone(), Key::from_bits(7)));

            thread::spawn(move || drop(others)).join().unwrap();

            assert!(own.into_inner::<Rc<()>>().is_some());
            done.send(()).unwrap();
        });

        is_done.recv_timeout(Duration::from_secs(10)).expect("it waits for nobody");
    }

    #[test]
    fn e1_a_store_that_is_empty_is_given_back() {
        let value = Sticky::local(Box::new(Rc::new(7)));
        assert!(STORE.with(|store| store.borrow().is_some()));

        assert_eq!(value.into_inner::<Rc<i32>>(), Some(Rc::new(7)));

        assert!(STORE.with(|store| store.borrow().is_none()));
    }
}
