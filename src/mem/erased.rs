//! Closures and messages by value: a small one needs no heap, and one that is not `Send` crosses threads unopened.
//!
//! A box costs an allocation for each post, which is most of what a post costs. An [`Erased`] has room for [`WORDS`]
//! words in itself. What is larger is boxed by whoever posts it, before it is passed around (M12).
//!
//! A closure is called by its looper. A message is taken out by whoever has the [`TypeToken`] of its handler, which may cross
//! threads exactly if the message may: so a message that is not `Send` is opened where it was sent, or nowhere.
//!
//! The crate `smallbox` does a part of this, and as fast. What it does not have would need `unsafe` around it all the
//! same: what is not `Send` lies in a queue that all threads share. So all of it is here.

use std::{
    any::TypeId,
    fmt::{self, Debug, Formatter},
    marker::PhantomData,
    mem::{self, MaybeUninit},
    ptr,
    sync::Mutex,
};

use crate::sys::sync::{Here, ThreadNumber};

/// How many words there is room for: five captured references, or a `String` and two numbers.
const WORDS: usize = 5;

/// Pointers, so that those in the value survive the move.
type Room = MaybeUninit<[*const (); WORDS]>;

/// The thread number for what any thread may open.
pub(crate) const ANYWHERE: u32 = 0;

/// A `FnOnce(&C)` or a message, of any type; or nothing.
pub(crate) struct Erased<C: ?Sized + 'static> {
    /// `None` if there is nothing in it.
    methods: Option<&'static Methods<C>>,
    room: Room,
    /// In the lower half the number of the only thread that may call or drop it, [`ANYWHERE`] if all may. In the upper
    /// half what is noted with it. One word, so that to keep a value clears the note with the store of the thread.
    marks: u64,
}

/// How far up the note stands.
const NOTE_SHIFT: u32 = 32;

struct Methods<C: ?Sized> {
    /// What is in the room.
    of: fn() -> TypeId,
    /// Takes it out of the room and calls it. A message is dropped.
    call: unsafe fn(*const Room, &C),
    /// Takes it out of the room and drops it.
    drop: unsafe fn(*const Room),
}

/// The right to open the messages of type `M` that one handler was sent. Whoever has it may have an `M` on this thread:
/// it is `Send` and `Sync` exactly if `M` is `Send`.
pub(crate) struct TypeToken<M>(PhantomData<Mutex<M>>);

impl<M> TypeToken<M> {
    pub(crate) const fn new() -> TypeToken<M> {
        TypeToken(PhantomData)
    }
}

impl<M> Clone for TypeToken<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for TypeToken<M> {}

// SAFETY: what is not `Send` is only ever moved with the bytes around it on other threads than its own: the thread in `marks` keeps
// them from calling and dropping it, and `TypeToken`, which is not `Send` then either, from opening it.
#[allow(unsafe_code, reason = "values of any type without a box: see docs/performance.md")]
unsafe impl<C: ?Sized + 'static> Send for Erased<C> {}

impl<C: ?Sized + 'static> Default for Erased<C> {
    /// Keeps nothing.
    #[inline]
    fn default() -> Self {
        Erased { methods: None, room: Room::uninit(), marks: ANYWHERE as u64 }
    }
}

impl<C: ?Sized + 'static> Erased<C> {
    /// Whether a `V` has room. One that has not is to be boxed.
    #[inline(always)]
    pub(crate) const fn has_room_for<V>() -> bool {
        mem::size_of::<V>() <= mem::size_of::<Room>() && mem::align_of::<V>() <= mem::align_of::<Room>()
    }

    /// Keeps `closure` in place of nothing, for any thread to call or to drop. It is written where it is to lie: to
    /// make one and move it there costs as much as all the rest of posting it.
    #[inline(always)]
    pub(crate) fn fill<F: FnOnce(&C) + Send + 'static>(&mut self, closure: F) {
        self.keep(closure, Closure::<F, C>::METHODS, ANYWHERE);
    }

    /// As [`fill`](Erased::fill), for the calling thread alone to call or to drop.
    #[inline(always)]
    pub(crate) fn fill_local<F: FnOnce(&C) + 'static>(&mut self, closure: F, here: Here) {
        self.keep(closure, Closure::<F, C>::METHODS, here.number().get());
    }

    /// Keeps `message` in place of nothing, in a box if it has no room without; for `thread` to drop, and for
    /// whoever has a `TypeToken<M>` to take out.
    #[inline(always)]
    pub(crate) fn fill_message<M: 'static>(&mut self, message: M, thread: u32) {
        if const { Self::has_room_for::<M>() } {
            self.keep(message, Message::<M, C>::METHODS, thread);
        } else {
            self.fill_boxed(Box::new(message), thread);
        }
    }

    /// As [`fill_message`](Erased::fill_message), of a message that is in a box already: that stays its box if there is
    /// no room without one.
    pub(crate) fn fill_boxed<M: 'static>(&mut self, message: Box<M>, thread: u32) {
        if const { Self::has_room_for::<M>() } {
            self.keep(*message, Message::<M, C>::METHODS, thread);
        } else {
            self.keep(message, Message::<Box<M>, C>::METHODS, thread);
        }
    }

    #[inline(always)]
    fn keep<V>(&mut self, value: V, methods: &'static Methods<C>, thread: u32) {
        debug_assert!(self.methods.is_none(), "there is nothing in it");
        assert!(Self::has_room_for::<V>(), "it has room");
        // SAFETY: the room is large enough for a `V`, and aligned for one.
        #[allow(unsafe_code, reason = "values of any type without a box: see docs/performance.md")]
        unsafe {
            self.room.as_mut_ptr().cast::<V>().write(value);
        }
        self.methods = Some(methods);
        self.marks = u64::from(thread);
    }

    /// Whether there is something in it.
    #[inline(always)]
    pub(crate) fn is_filled(&self) -> bool {
        self.methods.is_some()
    }

    #[inline(always)]
    fn thread(&self) -> u32 {
        self.marks as u32
    }

    /// What was noted with what is in it; zero if nothing was.
    #[inline]
    pub(crate) fn note(&self) -> u32 {
        (self.marks >> NOTE_SHIFT) as u32
    }

    /// Notes something with what is in it, in place of what was noted.
    #[inline]
    pub(crate) fn set_note(&mut self, note: u32) {
        self.marks = u64::from(note) << NOTE_SHIFT | u64::from(self.thread());
    }

    /// Drops what is in it.
    #[cfg(feature = "async")]
    #[inline]
    pub(crate) fn clear(&mut self) {
        *self = Erased::default();
    }

    /// Lets only `thread` call or drop it, or all if that is [`ANYWHERE`].
    #[inline]
    pub(crate) fn set_thread(&mut self, thread: u32) {
        self.marks = self.marks >> NOTE_SHIFT << NOTE_SHIFT | u64::from(thread);
    }

    /// Moves what is in it to `other`, which has nothing in it.
    ///
    /// Cheaper than to move the whole: only what has been written a while ago is read in large pieces, which a CPU does
    /// badly with what it has just written in small ones.
    #[inline(always)]
    pub(crate) fn move_to(&mut self, other: &mut Erased<C>) {
        debug_assert!(other.methods.is_none(), "there is nothing in it");
        other.room = self.room;
        other.marks = self.marks;
        other.methods = self.methods.take();
    }

    /// Whether the calling thread may call or drop it.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.thread() == ANYWHERE || ThreadNumber::is(self.thread())
    }

    /// Takes the closure out and calls it; does nothing if it is out already.
    ///
    /// # Panics
    /// If it stays on another thread.
    #[inline(always)]
    pub(crate) fn call(&mut self, here: Here, context: &C) {
        let may_call = self.thread() == here.number().get() || self.thread() == ANYWHERE;
        assert!(may_call, "a closure that is not Send is called on its thread");
        if let Some(methods) = self.methods.take() {
            // SAFETY: the methods are those of what is in the room, which is not used after this, since there is
            // nothing in it now. The thread may: it is the value's own, or the value is `Send`.
            #[allow(unsafe_code, reason = "values of any type without a box: see docs/performance.md")]
            unsafe {
                (methods.call)(&raw const self.room, context);
            }
        }
    }

    /// Takes the message out; `None` if it is out already, or of another type.
    #[inline(always)]
    pub(crate) fn open<M: 'static>(&mut self, of: TypeToken<M>) -> Option<M> {
        if const { Self::has_room_for::<M>() } {
            self.take::<M, M>(of)
        } else {
            self.take::<M, Box<M>>(of).map(|message| *message)
        }
    }

    /// As [`open`](Erased::open), in a box: without a copy on the stack if it lies in one.
    pub(crate) fn open_boxed<M: 'static>(&mut self, of: TypeToken<M>) -> Option<Box<M>> {
        if const { Self::has_room_for::<M>() } {
            self.take::<M, M>(of).map(Box::new)
        } else {
            self.take::<M, Box<M>>(of)
        }
    }

    /// Takes out what lies in it: an `M`, or a box with one.
    #[inline(always)]
    fn take<M: 'static, V: 'static>(&mut self, _: TypeToken<M>) -> Option<V> {
        let methods = self.methods?;
        // The address says so in all but odd cases, without a call.
        let of: fn() -> TypeId = type_of::<Message<V, C>>;
        if !ptr::fn_addr_eq(methods.of, of) && (methods.of)() != of() {
            return None;
        }
        self.methods = None;
        // SAFETY: there is a `V` in the room, sent as a message; it is taken out once, since there is nothing in it
        // now. An `TypeToken<M>` is on this thread, so an `M` may be.
        #[allow(unsafe_code, reason = "values of any type without a box: see docs/performance.md")]
        Some(unsafe { self.room.as_ptr().cast::<V>().read() })
    }
}

impl<C: ?Sized + 'static> Drop for Erased<C> {
    /// Forgets what must not be dropped here.
    #[inline]
    fn drop(&mut self) {
        if let Some(methods) = self.methods
            && self.is_here()
        {
            // SAFETY: the methods are those of what is in the room, which is not used after this.
            #[allow(unsafe_code, reason = "values of any type without a box: see docs/performance.md")]
            unsafe {
                (methods.drop)(&raw const self.room);
            }
        }
    }
}

impl<C: ?Sized + 'static> Debug for Erased<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Erased").finish_non_exhaustive()
    }
}

/// What `TypeId::of` says. Not inlined, so that there is one of it for each type in a crate, whose address tells.
#[inline(never)]
fn type_of<T: 'static>() -> TypeId {
    TypeId::of::<T>()
}

/// Takes an `F` out of a room and calls it.
///
/// # Safety
/// There has to be one in it, which nobody may take out again.
#[allow(unsafe_code, reason = "values of any type without a box: see docs/performance.md")]
unsafe fn call<F: FnOnce(&C), C: ?Sized>(room: *const Room, context: &C) {
    // SAFETY: as the caller says.
    let closure = unsafe { room.cast::<F>().read() };
    closure(context);
}

/// Takes a `V` out of a room and drops it.
///
/// # Safety
/// There has to be one in it, which nobody may take out again.
#[allow(unsafe_code, reason = "values of any type without a box: see docs/performance.md")]
unsafe fn discard<V>(room: *const Room) {
    // SAFETY: as the caller says.
    drop(unsafe { room.cast::<V>().read() });
}

/// As [`discard`], in place of a call: a message cannot be called.
///
/// # Safety
/// As there.
#[allow(unsafe_code, reason = "values of any type without a box: see docs/performance.md")]
unsafe fn discard_called<V, C: ?Sized>(room: *const Room, _: &C) {
    // SAFETY: as the caller says.
    unsafe { discard::<V>(room) }
}

/// The methods of a closure that is in a room.
struct Closure<F, C: ?Sized>(PhantomData<(F, *const C)>);

impl<F: FnOnce(&C) + 'static, C: ?Sized + 'static> Closure<F, C> {
    const METHODS: &'static Methods<C> =
        &Methods { of: type_of::<Closure<F, C>>, call: call::<F, C>, drop: discard::<F> };
}

/// The methods of a message that is in a room, as it is or in a box.
struct Message<V, C: ?Sized>(PhantomData<(V, *const C)>);

impl<V: 'static, C: ?Sized + 'static> Message<V, C> {
    const METHODS: &'static Methods<C> =
        &Methods { of: type_of::<Message<V, C>>, call: discard_called::<V, C>, drop: discard::<V> };
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{
        cell::Cell,
        rc::Rc,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        thread,
    };

    use super::*;

    type Adding = Erased<Cell<u64>>;

    fn kept<F: FnOnce(&Cell<u64>) + Send + 'static>(closure: F) -> Adding {
        let mut kept = Adding::default();
        kept.fill(closure);
        kept
    }

    fn here() -> Here {
        ThreadNumber::assign().unwrap().here().unwrap()
    }

    fn kept_here<F: FnOnce(&Cell<u64>) + 'static>(closure: F) -> Adding {
        let mut kept = Adding::default();
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

    /// Sends and opens `message`, and sees to it that nothing is left behind.
    fn there_and_back<M: PartialEq + Debug + Clone + 'static>(message: M) {
        let mut erased = Adding::default();
        erased.fill_message(message.clone(), ANYWHERE);

        assert_eq!(erased.open(TypeToken::<M>::new()), Some(message.clone()));
        assert_eq!(erased.open(TypeToken::<M>::new()), None, "it is out");

        erased.fill_boxed(Box::new(message.clone()), ANYWHERE);
        assert_eq!(erased.open_boxed(TypeToken::<M>::new()), Some(Box::new(message)));
    }

    #[test]
    fn m9_small_and_large_messages_come_out_as_they_went_in() {
        there_and_back(());
        there_and_back(7_u8);
        there_and_back("seven".to_owned());
        there_and_back([7_u64; 5]);
        there_and_back([7_u64; 6]);
        there_and_back([7_u128; 1]);
        there_and_back(Some(Box::new([1_u8; 100])));
    }

    #[test]
    fn m10_a_message_does_not_open_as_another_type_nor_as_a_closure() {
        let value = Arc::new(());
        let mut erased = Adding::default();
        erased.fill_message(value.clone(), ANYWHERE);

        assert_eq!(erased.open(TypeToken::<Rc<()>>::new()), None);
        assert_eq!(erased.open(TypeToken::<Box<Arc<()>>>::new()), None);
        assert_eq!(erased.open(TypeToken::<Arc<()>>::new()), Some(value.clone()));
        assert_eq!(Arc::strong_count(&value), 1);

        fn closure(_: &Cell<u64>) {}
        let mut erased = kept(closure as fn(&Cell<u64>));
        assert!(erased.open(TypeToken::<fn(&Cell<u64>)>::new()).is_none());
    }

    #[test]
    fn m10_a_message_is_dropped_where_it_may_be() {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        // Owns nothing, so that nothing leaks where it is forgotten.
        struct Message;
        impl Drop for Message {
            fn drop(&mut self) {
                DROPS.fetch_add(1, Ordering::Relaxed);
            }
        }
        let message = || {
            let mut erased = Adding::default();
            erased.fill_message(Message, here().number().get());
            erased
        };

        let elsewhere = message();
        thread::spawn(move || drop(elsewhere)).join().unwrap();
        assert_eq!(DROPS.load(Ordering::Relaxed), 0, "it is forgotten");

        drop(message());
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
    }
}
