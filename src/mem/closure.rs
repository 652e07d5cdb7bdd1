//! Closures by value: a small one needs no heap, and one that is not `Send` crosses threads unopened.
//!
//! A `Box<dyn FnOnce>` costs an allocation for each post, which is most of what a post costs. A [`Closure`] has room
//! for [`WORDS`] words in itself. What is larger is boxed by whoever posts it, before it is passed around (M12).
//!
//! The crate `smallbox` does that, too, and as fast. What it does not have would need `unsafe` around it all the same:
//! a closure that is not `Send` lies in a queue that all threads share. So all of it is here.

use std::{
    fmt::{self, Debug, Formatter},
    marker::PhantomData,
    mem::{self, MaybeUninit},
};

use crate::sys::sync::{Here, ThreadNumber};

/// How many words a closure may have that is not boxed: five captured references, or a `String` and two numbers.
const WORDS: usize = 5;

/// Pointers, so that those in the closure survive the move.
type Room = MaybeUninit<[*const (); WORDS]>;

/// A `FnOnce(&C)` of any type.
pub(crate) struct Closure<C: ?Sized + 'static> {
    /// `None` if there is nothing in it.
    methods: Option<&'static Methods<C>>,
    room: Room,
    /// The number of the only thread that may open it; zero if all may.
    home: u32,
    /// Whether there is such a thread. That a `bool` has values to spare keeps what has a closure or something else small.
    stays: bool,
}

struct Methods<C: ?Sized> {
    /// Takes the closure out of the room and calls it.
    call: unsafe fn(*const Room, &C),
    /// Takes the closure out of the room and drops it.
    drop: unsafe fn(*const Room),
}

// SAFETY: what is not `Send` is only ever moved with the bytes around it on other threads than its own; `home` keeps
// them from opening it.
#[allow(unsafe_code, reason = "closures by value: see docs/performance.md")]
unsafe impl<C: ?Sized + 'static> Send for Closure<C> {}

impl<C: ?Sized + 'static> Closure<C> {
    /// Keeps nothing.
    #[inline]
    pub(crate) fn none() -> Closure<C> {
        Closure { methods: None, room: Room::uninit(), home: 0, stays: false }
    }

    /// Whether an `F` has room. One that has not is to be boxed.
    pub(crate) const fn has_room_for<F>() -> bool {
        fits::<F>()
    }

    /// Keeps `closure` in place of nothing, for any thread to call or to drop. It is written where it is to lie: to
    /// make one and move it there costs as much as all the rest of posting it.
    #[inline(always)]
    pub(crate) fn fill<F: FnOnce(&C) + Send + 'static>(&mut self, closure: F) {
        self.keep(closure, 0);
    }

    /// As [`fill`](Closure::fill), for the calling thread alone to call or to drop.
    #[inline(always)]
    pub(crate) fn fill_local<F: FnOnce(&C) + 'static>(&mut self, closure: F, here: Here) {
        self.keep(closure, here.number().get());
    }

    #[inline(always)]
    fn keep<F: FnOnce(&C) + 'static>(&mut self, closure: F, home: u32) {
        debug_assert!(self.methods.is_none(), "there is nothing in it");
        put(closure, &mut self.room);
        self.methods = Some(Of::<F, C>::METHODS);
        (self.home, self.stays) = (home, home != 0);
    }

    /// Moves what is in it to `other`, which has nothing in it.
    ///
    /// Cheaper than to move the whole: only what has been written a while ago is read in large pieces, which a CPU does
    /// badly with what it has just written in small ones.
    #[inline(always)]
    pub(crate) fn move_to(&mut self, other: &mut Closure<C>) {
        debug_assert!(other.methods.is_none(), "there is nothing in it");
        other.room = self.room;
        (other.home, other.stays) = (self.home, self.stays);
        other.methods = self.methods.take();
    }

    /// Whether the calling thread may open it.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        !self.stays || ThreadNumber::is(self.home)
    }

    /// Takes it out and calls it; does nothing if it is out already.
    ///
    /// # Panics
    /// If it stays on another thread.
    #[inline(always)]
    pub(crate) fn call(&mut self, here: Here, context: &C) {
        assert!(!self.stays || self.home == here.number().get(), "a closure that is not Send is called on its thread");
        if let Some(methods) = self.methods.take() {
            // SAFETY: the methods are those of what is in the room, which is not used after this, since there is
            // nothing in it now. The thread may: it is the closure's home, or the closure is `Send`.
            #[allow(unsafe_code, reason = "closures by value: see docs/performance.md")]
            unsafe {
                (methods.call)(&raw const self.room, context);
            }
        }
    }
}

impl<C: ?Sized + 'static> Drop for Closure<C> {
    /// Forgets what must not be dropped here.
    fn drop(&mut self) {
        if let Some(methods) = self.methods
            && self.is_here()
        {
            // SAFETY: the methods are those of what is in the room, which is not used after this.
            #[allow(unsafe_code, reason = "closures by value: see docs/performance.md")]
            unsafe {
                (methods.drop)(&raw const self.room);
            }
        }
    }
}

impl<C: ?Sized + 'static> Debug for Closure<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closure").finish_non_exhaustive()
    }
}

/// Whether an `F` has room in a closure without a box.
const fn fits<F>() -> bool {
    mem::size_of::<F>() <= mem::size_of::<Room>() && mem::align_of::<F>() <= mem::align_of::<Room>()
}

/// Puts `value`, which has to fit, into a room.
#[inline(always)]
fn put<V>(value: V, room: &mut Room) {
    assert!(fits::<V>(), "it has room");
    // SAFETY: the room is large enough for a `V`, and aligned for one.
    #[allow(unsafe_code, reason = "closures by value: see docs/performance.md")]
    unsafe {
        room.as_mut_ptr().cast::<V>().write(value);
    }
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
    };
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{cell::Cell, rc::Rc, sync::Arc, thread};

    use super::*;

    type Adding = Closure<Cell<u64>>;

    fn kept<F: FnOnce(&Cell<u64>) + Send + 'static>(closure: F) -> Adding {
        let mut kept = Adding::none();
        kept.fill(closure);
        kept
    }

    fn here() -> Here {
        ThreadNumber::assign().unwrap().here().unwrap()
    }

    fn kept_here<F: FnOnce(&Cell<u64>) + 'static>(closure: F) -> Adding {
        let mut kept = Adding::none();
        kept.fill_local(closure, here());
        kept
    }

    fn add<const N: usize>(numbers: [u64; N], kept: Arc<()>) -> impl FnOnce(&Cell<u64>) + Send + 'static {
        move |sum: &Cell<u64>| {
            let _kept = kept;
            sum.set(sum.get() + numbers.iter().sum::<u64>());
        }
    }

    #[test]
    fn m9_small_ones_and_boxes_are_called_once_and_dropped() {
        let held = Arc::new(());
        let sum = Cell::new(0);

        kept(add([1; 4], held.clone())).call(here(), &sum);
        kept(Box::new(add([10; 5], held.clone()))).call(here(), &sum);
        kept(|sum: &Cell<u64>| sum.set(sum.get() + 100)).call(here(), &sum);

        assert_eq!((sum.get(), Arc::strong_count(&held)), (154, 1));
    }

    #[test]
    fn m9_ones_that_are_not_called_are_dropped_once() {
        let held = Arc::new(());

        drop(kept(add([1; 4], held.clone())));
        drop(kept(Box::new(add([1; 50], held.clone()))));

        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn m12_what_is_large_or_aligned_like_no_word_has_no_room() {
        #[repr(align(64))]
        struct Aligned;

        assert!(Adding::has_room_for::<[usize; WORDS]>() && Adding::has_room_for::<Box<Aligned>>());
        assert!(!Adding::has_room_for::<[usize; WORDS + 1]>() && !Adding::has_room_for::<Aligned>());
    }

    #[test]
    fn m10_one_that_is_not_send_opens_on_its_thread_alone() {
        let value = Rc::new(Cell::new(0));
        let held = value.clone();
        let closure = kept_here(move |_: &Cell<u64>| held.set(7));

        let back = thread::spawn(move || {
            assert!(!closure.is_here());
            closure
        });
        back.join().unwrap().call(here(), &Cell::new(0));

        assert_eq!((value.get(), Rc::strong_count(&value)), (7, 1));
    }

    #[test]
    fn m10_one_that_is_not_send_is_not_called_elsewhere() {
        let value = Rc::new(());
        let held = value.clone();
        let mut closure = kept_here(move |_: &Cell<u64>| drop(held));

        let refused = thread::spawn(move || closure.call(here(), &Cell::new(0)));

        assert!(refused.join().is_err());
        assert_eq!(Rc::strong_count(&value), 2, "and not dropped there either");
    }
}
