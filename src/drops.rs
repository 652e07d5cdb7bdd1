//! How user values are dropped.

use std::{
    mem,
    panic::{self, AssertUnwindSafe},
    thread,
};

/// Drops each of `values`, also when the `Drop` of some of them panic; then the first of those panics goes on.
///
/// Call it with no lock and no borrow held.
pub(crate) fn drop_each<T>(values: impl IntoIterator<Item = T>) {
    let mut first_panic = None;
    for value in values {
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| drop(value))) {
            // What a panic carries may panic in its turn when it is dropped: that of the later ones is not.
            if first_panic.is_none() {
                first_panic = Some(panic);
            } else {
                mem::forget(panic);
            }
        }
    }
    match first_panic {
        Some(panic) if !thread::panicking() => panic::resume_unwind(panic),
        panic => mem::forget(panic),
    }
}

/// Drops `value`; whether that panicked. The panic ends here, with all that it carries.
pub(crate) fn drop_quietly<T>(value: T) -> bool {
    let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(value)));
    let panicked = dropped.is_err();
    mem::forget(dropped);
    panicked
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;

    struct PanicsInDrop(Rc<Cell<u32>>);

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            panic!("payload {}", self.0.get());
        }
    }

    #[test]
    fn c61_all_are_dropped_though_several_panic_and_the_first_panic_goes_on() {
        let dropped = Rc::new(Cell::new(0));
        let values = [(); 3].map(|()| PanicsInDrop(dropped.clone()));

        let result = panic::catch_unwind(AssertUnwindSafe(|| drop_each(values)));

        assert_eq!(dropped.get(), 3);
        assert_eq!(result.unwrap_err().downcast_ref::<String>().unwrap(), "payload 1");
    }

    /// Panics with a payload that panics when it is dropped.
    struct PanicsWithMore;

    impl Drop for PanicsWithMore {
        fn drop(&mut self) {
            struct Payload;

            impl Drop for Payload {
                fn drop(&mut self) {
                    panic!("a payload's own");
                }
            }

            panic::panic_any(Payload);
        }
    }

    #[test]
    fn x3_what_later_panics_carry_is_not_dropped_where_it_could_abort() {
        let result = panic::catch_unwind(|| drop_each([PanicsWithMore, PanicsWithMore, PanicsWithMore]));

        mem::forget(result.unwrap_err());
        assert!(drop_quietly(PanicsWithMore));
        assert!(!drop_quietly(()));
    }
}
