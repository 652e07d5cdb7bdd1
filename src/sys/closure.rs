//! Closures by value: a small one needs no heap, and one that is not `Send` crosses threads unopened.
//!
//! A `Box<dyn FnOnce>` costs an allocation for each post, which is most of what a post costs. A [`Closure`] has room
//! for [`WORDS`] words in itself and boxes only what is larger. This is `smallbox` in as far as that goes; but that one
//! needs a word more, a second indirect call to drop what was called, and an `Option` around each closure: see
//! `docs/performance.md`.

use std::{
    any::TypeId,
    fmt::{self, Debug, Formatter},
    marker::PhantomData,
    mem::{self, ManuallyDrop, MaybeUninit},
};

use crate::sys::sync::ThreadNumber;

/// How many words a closure may have that is not boxed: five captured references, or a `String` and two numbers.
const WORDS: usize = 5;

/// Pointers, so that those in the closure survive the move.
type Room = MaybeUninit<[*const (); WORDS]>;

/// A `FnOnce(&C)` of any type, and a `tag`.
pub(crate) struct Closure<C: ?Sized + 'static, T> {
    methods: &'static Methods<C>,
    room: Room,
    /// The number of the only thread that may open it; zero if all may.
    home: u32,
    pub(crate) tag: T,
}

struct Methods<C: ?Sized> {
    /// Takes the closure out of the room and calls it.
    call: unsafe fn(*const Room, &C),
    /// Takes the closure out of the room and drops it.
    drop: unsafe fn(*const Room),
    type_id: fn() -> TypeId,
}

// SAFETY: what is not `Send` is only ever moved with the bytes around it on other threads than its own; `home` keeps
// them from opening it.
#[allow(unsafe_code, reason = "closures by value: see docs/performance.md")]
unsafe impl<C: ?Sized + 'static, T: Send> Send for Closure<C, T> {}

impl<C: ?Sized + 'static, T> Closure<C, T> {
    /// Keeps `closure`, for any thread to call or to drop.
    #[inline]
    pub(crate) fn new<F: FnOnce(&C) + Send + 'static>(closure: F, tag: T) -> Closure<C, T> {
        Closure::keep(closure, 0, tag)
    }

    /// Keeps `closure`, for the calling thread alone to call or to drop, whose number is `home`.
    ///
    /// # Panics
    /// If it is not.
    #[inline]
    pub(crate) fn local<F: FnOnce(&C) + 'static>(closure: F, home: ThreadNumber, tag: T) -> Closure<C, T> {
        assert!(home.is_here(), "a closure that is not Send stays on its thread");
        Closure::keep(closure, home.get(), tag)
    }

    #[inline]
    fn keep<F: FnOnce(&C) + 'static>(closure: F, home: u32, tag: T) -> Closure<C, T> {
        if fits::<F>() {
            Closure { methods: Of::<F, C>::METHODS, room: put(closure), home, tag }
        } else {
            Closure { methods: Of::<Box<F>, C>::METHODS, room: put(Box::new(closure)), home, tag }
        }
    }

    /// Whether the calling thread may open it.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.home == 0 || ThreadNumber::is(self.home)
    }

    /// Calls it.
    ///
    /// # Panics
    /// If it stays on another thread.
    #[inline]
    pub(crate) fn call(self, context: &C) {
        assert!(self.is_here(), "a closure that is not Send is called on its thread");
        let this = ManuallyDrop::new(self);
        // SAFETY: the methods are those of what is in the room, which is not used after this. The thread may: it is
        // the closure's home, or the closure is `Send`.
        #[allow(unsafe_code, reason = "closures by value: see docs/performance.md")]
        unsafe {
            (this.methods.call)(&raw const this.room, context);
        }
    }

    /// Gives it back as what it was when it was kept, if it was an `F`.
    #[cold]
    pub(crate) fn into_inner<F: FnOnce(&C) + 'static>(self) -> Result<F, Closure<C, T>> {
        let is_meant = |type_id| (self.methods.type_id)() == type_id && self.is_here();
        if fits::<F>() && is_meant(TypeId::of::<F>()) {
            let this = ManuallyDrop::new(self);
            // SAFETY: there is an `F` in the room, which is not used after this.
            #[allow(unsafe_code, reason = "closures by value: see docs/performance.md")]
            Ok(unsafe { take::<F>(&raw const this.room) })
        } else if is_meant(TypeId::of::<Box<F>>()) {
            let this = ManuallyDrop::new(self);
            // SAFETY: there is a `Box<F>` in the room, which is not used after this.
            #[allow(unsafe_code, reason = "closures by value: see docs/performance.md")]
            Ok(*unsafe { take::<Box<F>>(&raw const this.room) })
        } else {
            Err(self)
        }
    }
}

impl<C: ?Sized + 'static, T> Drop for Closure<C, T> {
    /// Forgets what must not be dropped here.
    fn drop(&mut self) {
        if self.is_here() {
            // SAFETY: the methods are those of what is in the room, which is not used after this.
            #[allow(unsafe_code, reason = "closures by value: see docs/performance.md")]
            unsafe {
                (self.methods.drop)(&raw const self.room);
            }
        }
    }
}

impl<C: ?Sized + 'static, T> Debug for Closure<C, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closure").finish_non_exhaustive()
    }
}

/// Whether an `F` has room in a closure without a box.
const fn fits<F>() -> bool {
    mem::size_of::<F>() <= mem::size_of::<Room>() && mem::align_of::<F>() <= mem::align_of::<Room>()
}

/// Puts `value`, which has to fit, into a room.
#[inline]
fn put<V>(value: V) -> Room {
    const { assert!(mem::size_of::<Box<()>>() <= mem::size_of::<Room>()) }
    assert!(fits::<V>(), "it has room");
    let mut room = Room::uninit();
    // SAFETY: the room is large enough for a `V`, and aligned for one.
    #[allow(unsafe_code, reason = "closures by value: see docs/performance.md")]
    unsafe {
        room.as_mut_ptr().cast::<V>().write(value);
    }
    room
}

/// Takes a `V` out of a room.
///
/// # Safety
/// There has to be one in it, put there by [`put`], and nobody may take it out again.
#[inline]
#[allow(unsafe_code, reason = "closures by value: see docs/performance.md")]
unsafe fn take<V>(room: *const Room) -> V {
    // SAFETY: as the caller says.
    unsafe { room.cast::<V>().read() }
}

/// The methods of an `F` that is in a room.
struct Of<F, C: ?Sized>(PhantomData<F>, PhantomData<C>);

impl<F: FnOnce(&C) + 'static, C: ?Sized + 'static> Of<F, C> {
    #[allow(unsafe_code, reason = "closures by value: see docs/performance.md")]
    const METHODS: &'static Methods<C> = &Methods {
        // SAFETY: these are the methods of an `F`; the caller sees to the rest.
        call: |room, context| unsafe { take::<F>(room) }(context),
        // SAFETY: as above.
        drop: |room| drop(unsafe { take::<F>(room) }),
        type_id: TypeId::of::<F>,
    };
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{cell::Cell, rc::Rc, sync::Arc, thread};

    use super::*;

    type Adding = Closure<Cell<u64>, ()>;

    fn add<const N: usize>(numbers: [u64; N], kept: Arc<()>) -> impl FnOnce(&Cell<u64>) + Send + 'static {
        move |sum: &Cell<u64>| {
            let _kept = kept;
            sum.set(sum.get() + numbers.iter().sum::<u64>());
        }
    }

    #[test]
    fn m9_small_and_large_ones_are_called_once_and_dropped() {
        let kept = Arc::new(());
        let sum = Cell::new(0);

        Adding::new(add([1; 4], kept.clone()), ()).call(&sum);
        Adding::new(add([10; 5], kept.clone()), ()).call(&sum);
        Adding::new(|sum: &Cell<u64>| sum.set(sum.get() + 100), ()).call(&sum);

        assert_eq!((sum.get(), Arc::strong_count(&kept)), (154, 1));
    }

    #[test]
    fn m9_ones_that_are_not_called_are_dropped_once() {
        let kept = Arc::new(());

        drop(Adding::new(add([1; 4], kept.clone()), ()));
        drop(Adding::new(add([1; 50], kept.clone()), ()));

        assert_eq!(Arc::strong_count(&kept), 1);
    }

    #[test]
    fn m9_one_that_is_aligned_like_no_word_is_boxed() {
        #[repr(align(64))]
        struct Aligned(u64);

        let aligned = Aligned(7);
        let sum = Cell::new(0);
        let closure = move |sum: &Cell<u64>| {
            let aligned = aligned;
            assert_eq!((&raw const aligned).addr() % 64, 0);
            sum.set(aligned.0);
        };
        Adding::new(closure, ()).call(&sum);

        assert_eq!(sum.get(), 7);
    }

    #[test]
    fn q2_one_that_was_refused_comes_back_as_what_it_was() {
        fn back<F: FnOnce(&Cell<u64>) + Send + 'static>(closure: F) -> F {
            Adding::new(closure, ()).into_inner::<F>().expect("it is one")
        }
        let kept = Arc::new(());
        let sum = Cell::new(0);

        back(add([1; 4], kept.clone()))(&sum);
        back(add([1; 50], kept.clone()))(&sum);

        assert_eq!((sum.get(), Arc::strong_count(&kept)), (54, 1));
        let other = Adding::new(|_: &Cell<u64>| (), ()).into_inner::<fn(&Cell<u64>)>();
        assert!(other.is_err(), "it is another closure");
    }

    #[test]
    fn m10_one_that_is_not_send_opens_on_its_thread_alone() {
        let home = ThreadNumber::assign().unwrap();
        let value = Rc::new(Cell::new(0));
        let held = value.clone();
        let closure = Adding::local(move |_: &Cell<u64>| held.set(7), home, ());

        let back = thread::spawn(move || {
            assert!(!closure.is_here());
            closure
        });
        back.join().unwrap().call(&Cell::new(0));

        assert_eq!((value.get(), Rc::strong_count(&value)), (7, 1));
    }

    #[test]
    fn m10_one_that_is_not_send_is_not_called_elsewhere() {
        let home = ThreadNumber::assign().unwrap();
        let value = Rc::new(());
        let held = value.clone();
        let closure = Adding::local(move |_: &Cell<u64>| drop(held), home, ());

        let refused = thread::spawn(move || closure.call(&Cell::new(0)));

        assert!(refused.join().is_err());
        assert_eq!(Rc::strong_count(&value), 2, "and not dropped there either");
    }
}
