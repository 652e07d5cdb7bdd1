//! Values that belong to a looper, one of each type.

use std::{
    any::{Any, TypeId},
    cell::RefCell,
    collections::HashMap,
    mem,
    rc::Rc,
};

#[derive(Default)]
pub(crate) struct Storage {
    values: RefCell<HashMap<TypeId, Rc<dyn Any>>>,
}

impl Storage {
    /// The value of this type, if there is one.
    pub(crate) fn get<T: 'static>(&self) -> Option<Rc<T>> {
        let value = self.values.borrow().get(&TypeId::of::<T>()).cloned();
        value.and_then(|value| value.downcast().ok())
    }

    /// Keeps `value`, in place of what there was of its type: that is given to be dropped.
    pub(crate) fn insert<T: 'static>(&self, value: Rc<T>) -> Option<Rc<dyn Any>> {
        self.values.borrow_mut().insert(TypeId::of::<T>(), value)
    }

    /// Takes out everything, to drop it.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = Rc<dyn Any>> + use<> {
        mem::take(&mut *self.values.borrow_mut()).into_values()
    }
}
