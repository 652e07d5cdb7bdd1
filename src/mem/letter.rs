//! Messages by value: a small one needs no heap, and whoever may open it proves that by its type.
//!
//! A handler's messages stand in a queue that all threads share and that knows nothing of their type. So a message goes
//! into a [`Letter`], sealed with the handler's [`Passport`], and only the same passport opens it. A `Passport<M>` may
//! cross threads exactly if an `M` may: so a message that is not `Send` is opened where it was sealed, or nowhere.

use std::{
    fmt::{self, Debug, Formatter},
    marker::PhantomData,
    mem::{self, MaybeUninit},
    num::NonZeroU64,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// How many words a message may have that is not boxed: a `String`, or an enum around two words.
const WORDS: usize = 3;

/// Pointers, so that those in the message survive the move.
type Room = MaybeUninit<[*const (); WORDS]>;

/// The right to seal letters with an `M` in them, and to open those that were sealed with it.
pub(crate) struct Passport<M> {
    id: NonZeroU64,
    /// `Send` and `Sync` exactly if `M` is `Send`.
    of: PhantomData<Mutex<M>>,
}

impl<M> Passport<M> {
    /// Makes one that is equal to no other.
    pub(crate) fn issue() -> Passport<M> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // Nobody counts to 2^64.
        let id = NonZeroU64::MIN.saturating_add(LAST.fetch_add(1, Ordering::Relaxed));
        Passport { id, of: PhantomData }
    }
}

impl<M> Clone for Passport<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Passport<M> {}

/// A message of any type, or none. What is in it when it is dropped is forgotten: open it.
pub(crate) struct Letter {
    /// The passport that it was sealed with; `None` if there is nothing in it.
    seal: Option<NonZeroU64>,
    room: Room,
}

// SAFETY: what is in it is only ever moved with the bytes around it, until a passport of its type opens it; and that is
// on another thread than the one that sealed it only if the type is `Send`, since the passport is not otherwise.
#[allow(unsafe_code, reason = "messages by value: see docs/performance.md")]
unsafe impl Send for Letter {}

impl Default for Letter {
    /// With nothing in it.
    fn default() -> Self {
        Letter { seal: None, room: Room::uninit() }
    }
}

impl Letter {
    /// Seals `message`.
    pub(crate) fn seal<M>(message: M, passport: Passport<M>) -> Letter {
        let mut letter = Letter::default();
        letter.fill(message, passport);
        letter
    }

    /// Seals a message that is in a box already: that stays its box if there is no room without one.
    pub(crate) fn seal_boxed<M>(message: Box<M>, passport: Passport<M>) -> Letter {
        let mut letter = Letter::default();
        if const { Letter::has_room_for::<M>() } {
            letter.fill(*message, passport);
        } else {
            letter.put(message);
            letter.seal = Some(passport.id);
        }
        letter
    }

    /// Seals `message` in a letter with nothing in it, where it lies.
    #[inline(always)]
    pub(crate) fn fill<M>(&mut self, message: M, passport: Passport<M>) {
        debug_assert!(self.seal.is_none(), "there is nothing in it");
        if const { Letter::has_room_for::<M>() } {
            self.put(message);
        } else {
            self.put(Box::new(message));
        }
        self.seal = Some(passport.id);
    }

    /// Whether an `M` has room without a box.
    #[inline(always)]
    pub(crate) const fn has_room_for<M>() -> bool {
        mem::size_of::<M>() <= mem::size_of::<Room>() && mem::align_of::<M>() <= mem::align_of::<Room>()
    }

    /// Takes the message out; `None` if it is out already, or if another passport sealed it.
    #[inline]
    pub(crate) fn open<M>(&mut self, passport: Passport<M>) -> Option<M> {
        if const { Letter::has_room_for::<M>() } {
            self.take::<M, M>(passport)
        } else {
            self.take::<M, Box<M>>(passport).map(|message| *message)
        }
    }

    /// As [`open`](Letter::open), in a box: without a copy on the stack if it lies in one.
    pub(crate) fn open_boxed<M>(&mut self, passport: Passport<M>) -> Option<Box<M>> {
        if const { Letter::has_room_for::<M>() } {
            self.take::<M, M>(passport).map(Box::new)
        } else {
            self.take::<M, Box<M>>(passport)
        }
    }

    /// Drops the message, without a copy on the stack if it lies in a box.
    pub(crate) fn discard<M>(&mut self, passport: Passport<M>) {
        if const { Letter::has_room_for::<M>() } {
            drop(self.take::<M, M>(passport));
        } else {
            drop(self.take::<M, Box<M>>(passport));
        }
    }

    /// Takes out what lies in it, an `M` or a box with one.
    #[inline(always)]
    fn take<M, V>(&mut self, passport: Passport<M>) -> Option<V> {
        if self.seal != Some(passport.id) {
            return None;
        }
        self.seal = None;
        // SAFETY: this passport sealed it, so there is an `M` in it, boxed if it does not fit, which is what both
        // callers ask for; it is taken out once, since the seal is broken now. The passport is on this thread, so an
        // `M` may be.
        #[allow(unsafe_code, reason = "messages by value: see docs/performance.md")]
        Some(unsafe { self.room.as_ptr().cast::<V>().read() })
    }

    /// Moves what is in it to `other`, which has nothing in it.
    #[inline(always)]
    pub(crate) fn move_to(&mut self, other: &mut Letter) {
        debug_assert!(other.seal.is_none(), "there is nothing in it");
        other.room = self.room;
        other.seal = self.seal.take();
    }

    #[inline(always)]
    fn put<V>(&mut self, value: V) {
        assert!(Letter::has_room_for::<V>(), "it has room");
        // SAFETY: the room is large enough for a `V`, and aligned for one.
        #[allow(unsafe_code, reason = "messages by value: see docs/performance.md")]
        unsafe {
            self.room.as_mut_ptr().cast::<V>().write(value);
        }
    }
}

impl Debug for Letter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter").field("seal", &self.seal).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Seals and opens `message`, and sees to it that nothing is left behind.
    fn there_and_back<M: PartialEq + Debug + Clone>(message: M) {
        let passport = Passport::issue();
        let mut letter = Letter::seal(message.clone(), passport);

        assert_eq!(letter.open(passport), Some(message));
        assert_eq!(letter.open(passport), None, "it is out");
    }

    #[test]
    fn m9_small_and_large_messages_come_out_as_they_went_in() {
        there_and_back(());
        there_and_back(7_u8);
        there_and_back("seven".to_owned());
        there_and_back([7_u64; 3]);
        there_and_back([7_u64; 4]);
        there_and_back([7_u128; 1]);
        there_and_back(Some(Box::new([1_u8; 100])));
    }

    #[test]
    fn m10_another_passport_of_the_same_type_does_not_open_it() {
        let value = Arc::new(());
        let passport = Passport::issue();
        let mut letter = Letter::seal(value.clone(), passport);

        assert_eq!(letter.open(Passport::issue()), None::<Arc<()>>);
        assert_eq!(letter.open(passport), Some(value.clone()));
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
