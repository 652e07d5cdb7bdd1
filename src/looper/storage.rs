//! Values that belong to a looper and die with it.

use std::rc::Rc;

use crate::looper::Looper;

/// **Values that belong to the looper.**
impl Looper {
    /// The value of type `T` that belongs to this looper, made by [`Default`] when it is first asked for.
    ///
    /// A library that is called with a looper keeps there what it needs once per looper: a cache, a connection, a list
    /// of what it watches. `T` need not be `Send`. To change the value, put a `Cell` or `RefCell` into it. Use a type
    /// of your own, so that no other code shares it.
    ///
    /// # Panics
    /// Goes on with a panic of `T`'s default; nothing is kept then.
    ///
    /// # Guarantees
    /// There is one of each type for each looper, unless `T`'s default asks for it, too: then the first to be made stays.
    /// It is dropped with the looper, on its thread, after all callbacks; one that is asked for after that is nobody's but
    /// the caller's.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::cell::Cell;
    /// # fn main() -> std::io::Result<()> {
    /// #[derive(Default)]
    /// struct Requests(Cell<u32>);
    ///
    /// let looper = Looper::new()?;
    /// for _ in 0..3 {
    ///     looper.post(|looper| {
    ///         let requests = looper.local::<Requests>();
    ///         requests.0.set(requests.0.get() + 1);
    ///     })?;
    /// }
    /// looper.poll_once(None)?;
    ///
    /// assert_eq!(looper.local::<Requests>().0.get(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// There is none: a `ThreadLocal`, which outlives the looper.
    pub fn local<T: Default + 'static>(&self) -> Rc<T> {
        let storage = &self.local_state().storage;
        if let Some(value) = storage.get() {
            return value;
        }
        let value = Rc::new(T::default());
        // Its default may have asked for it.
        if let Some(first) = storage.get() {
            return first;
        }
        if !self.core.has_ended.get() {
            let displaced = storage.insert(value.clone());
            debug_assert!(displaced.is_none(), "there was none just before");
        }
        value
    }
}
