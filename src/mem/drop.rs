//! How user values are dropped: each may panic, also while another panic unwinds, and none of that aborts (X3); and
//! each may own the next one, however many they are (X4).

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem::{self, ManuallyDrop},
    ops::{Deref, DerefMut},
    panic::{self, AssertUnwindSafe},
    thread,
};

/// How many rounds of dropping are nested at most on a thread. One takes up to 7 KiB of stack, unoptimized,
/// where a looper goes in it.
const DEEPEST: usize = 8;

thread_local! {
    /// How many rounds are under way on this thread.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// What was given up in the deepest round, for that to drop. Has no destructor, so that it is there in those of
    /// other thread-locals, too; nor needs one, since it is empty and has no room when no round is under way.
    static PUT_OFF: ManuallyDrop<RefCell<PutOff>> = const { ManuallyDrop::new(RefCell::new(VecDeque::new())) };
}

/// Values of any type.
type PutOff = VecDeque<Box<dyn Any>>;

/// Drops each of `values`, also when the `Drop` of some of them panic; then the first of those panics goes on.
///
/// What drops may give up more, and that again: so rounds nest. In the deepest one, what is given up is put off until
/// the value that gave it up is gone, lest a chain of values use up the stack.
///
/// Call it with no lock and no borrow held.
pub(crate) fn drop_each<T: 'static>(values: impl IntoIterator<Item = T>) {
    let Some(round) = Round::begin() else {
        return put_off(values);
    };
    let mut first_panic = FirstPanic::default();
    let mut values = values.into_iter();
    // To find the next one may drop something, too.
    while let Some(()) = first_panic.note(|| values.next().map(drop)).unwrap_or(Some(())) {
        round.drop_put_off(&mut first_panic);
    }
    drop(round);
    first_panic.go_on();
}

#[cold]
fn put_off<T: 'static>(values: impl IntoIterator<Item = T>) {
    // All of them first: to find them may put off something, too.
    let values: Vec<Box<dyn Any>> = values.into_iter().map(|value| Box::new(value) as Box<dyn Any>).collect();
    PUT_OFF.with(|list| list.borrow_mut().extend(values));
}

/// A round of dropping that is under way.
struct Round {
    depth: usize,
}

impl Round {
    /// `None` if it would be too deep.
    fn begin() -> Option<Round> {
        let depth = DEPTH.get() + 1;
        (depth <= DEEPEST).then(|| {
            DEPTH.set(depth);
            Round { depth }
        })
    }

    /// Drops what was put off, if this is the round that has to.
    fn drop_put_off(&self, first_panic: &mut FirstPanic) {
        if self.depth == DEEPEST {
            let next = || PUT_OFF.with(|list| list.borrow_mut().pop_front());
            while let Some(value) = next() {
                first_panic.note(|| drop(value));
            }
            PUT_OFF.with(|list| list.take());
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        DEPTH.set(self.depth - 1);
    }
}

/// Drops `value`; whether that panicked. The panic ends here, with all that it carries.
pub(crate) fn drop_quietly<T>(value: T) -> bool {
    caught(|| drop(value)).is_none()
}

/// What `run` gives; `None` if it panicked. The panic ends here, with all that it carries.
pub(crate) fn caught<R>(run: impl FnOnce() -> R) -> Option<R> {
    panic::catch_unwind(AssertUnwindSafe(run)).map_err(mem::forget).ok()
}

/// Gives what some user code came to, after `end`: of two panics, that of the user code goes on.
pub(crate) fn after<R>(outcome: thread::Result<R>, end: impl FnOnce()) -> R {
    match outcome {
        Ok(value) => {
            let value = Shielded::new(value);
            end();
            value.into_inner()
        }
        Err(panic) => {
            caught(end);
            panic::resume_unwind(panic)
        }
    }
}

/// The first of several panics. What the later ones carry may panic in its turn when it is dropped, and is not.
#[derive(Default)]
pub(crate) struct FirstPanic(Option<Box<dyn Any + Send>>);

impl FirstPanic {
    /// What `run` gives; `None` if it panicked.
    pub(crate) fn note<R>(&mut self, run: impl FnOnce() -> R) -> Option<R> {
        let note = |panic| match self.0 {
            None => self.0 = Some(panic),
            Some(_) => mem::forget(panic),
        };
        panic::catch_unwind(AssertUnwindSafe(run)).map_err(note).ok()
    }

    /// Goes on with it, unless another panic unwinds already.
    pub(crate) fn go_on(self) {
        match self.0 {
            Some(panic) if !thread::panicking() => panic::resume_unwind(panic),
            panic => mem::forget(panic),
        }
    }
}

/// A value of a user's that may be dropped while a panic unwinds. If it panics in its turn, that ends there.
pub(crate) struct Shielded<T> {
    /// `None` once it is out, and then this is gone.
    value: Option<T>,
}

impl<T> Shielded<T> {
    pub(crate) fn new(value: T) -> Shielded<T> {
        Shielded { value: Some(value) }
    }

    pub(crate) fn into_inner(mut self) -> T {
        self.value.take().expect("only this takes it out")
    }
}

impl<T> Deref for Shielded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("it is out only when this is gone")
    }
}

impl<T> DerefMut for Shielded<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("it is out only when this is gone")
    }
}

impl<T> Drop for Shielded<T> {
    fn drop(&mut self) {
        let mut panic = FirstPanic::default();
        panic.note(|| drop(self.value.take()));
        panic.go_on();
    }
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

    #[test]
    fn x3_a_panic_on_the_way_to_the_next_value_leaves_none_undropped() {
        let dropped = Rc::new(Cell::new(0));
        let values = [(); 3].map(|()| PanicsInDrop(dropped.clone()));
        let half = values.into_iter().enumerate().filter_map(|(at, value)| (at != 1).then_some(value));

        let result = panic::catch_unwind(AssertUnwindSafe(|| drop_each(half)));

        assert_eq!(dropped.get(), 3);
        assert!(result.is_err());
    }

    #[test]
    fn x3_of_user_code_and_its_end_that_both_panic_the_first_panic_goes_on() {
        let dropped = Rc::new(Cell::new(0));
        let value = || PanicsInDrop(dropped.clone());

        let both = panic::catch_unwind(AssertUnwindSafe(|| after::<()>(Err(Box::new("first")), || drop(value()))));
        assert_eq!(both.unwrap_err().downcast_ref(), Some(&"first"));
        let end = panic::catch_unwind(AssertUnwindSafe(|| after(Ok(value()), || panic!("end"))));
        assert_eq!(end.map(mem::forget).unwrap_err().downcast_ref(), Some(&"end"));

        assert_eq!(dropped.get(), 2);
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
