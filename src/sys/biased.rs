//! A lock that is cheap for one thread: the owner's way in and out is a few plain loads and stores.
//!
//! The looper's queue is locked for each post and each message by the looper's own thread, and by others now and then.
//! An ordinary lock costs its owner two atomic read-modify-writes each time; this one costs the others more instead:
//! they take an ordinary lock, the *door*, say that they want in, and wait until the owner is not inside.
//!
//! | owner | everybody else, one at a time behind the door |
//! |---|---|
//! | `inside = true` | `others += 1` |
//! | *light fence* | *heavy fence* |
//! | `others == 0`? then it is in; else it steps back and goes through the door | `inside == false`? then it is in; else it sleeps until the owner leaves |
//! | .. | .. |
//! | `inside = false`, *light fence*, `others != 0`? then tells those who sleep | `others -= 1` |
//!
//! Each side writes its word before it reads the other's, and between the two stands a fence, so at least one of the
//! two sees the other. A full fence on both sides would do; but since the owner's comes so often, it is only one for
//! the compiler, and the others let the kernel put a full one into whatever the owner's CPU executes just then:
//! `membarrier(2)`. Where the kernel does not have that, or a sandbox forbids it, the owner always goes through the
//! door, so that this is an ordinary lock.
//!
//! What one side did inside is seen by the other through the words: who reads `inside == false` has acquired what the
//! owner released with it, and the owner who reads `others == 0` what the last of the others did. `src/models/` checks
//! this with full fences; `docs/performance.md` has what the lock wins. With `--cfg alooper_plain_lock` an ordinary
//! lock takes its place.

use std::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    sync::atomic::{
        Ordering::{Acquire, Relaxed, Release, SeqCst},
        compiler_fence,
    },
};

use crate::{
    planted::{self, Bug},
    sys::{
        membarrier,
        sync::{AtomicBool, AtomicU32, Condvar, Here, Mutex, MutexGuard, ThreadNumber, UnsafeCell, fence},
    },
};

#[derive(Debug)]
pub(crate) struct Biased<T> {
    owner: ThreadNumber,
    /// The owner is inside and did not come through the door. Written by the owner alone.
    inside: AtomicBool,
    /// How many of the others are inside or sleep until they may be. Written behind the door.
    others: AtomicU32,
    /// Whether the kernel makes fences: if not, the owner never goes the short way, and none are needed.
    has_membarrier: bool,
    door: Mutex<()>,
    /// The owner has left, and others were waiting for that.
    left: Condvar,
    value: UnsafeCell<T>,
}

// SAFETY: `lock` gives out one guard at a time, so a reference to the lock is a way to a `&mut T` on any thread, and no
// more: this is what a mutex asks for.
#[allow(unsafe_code, reason = "the queue's lock: see docs/performance.md")]
unsafe impl<T: Send> Sync for Biased<T> {}

impl<T> Biased<T> {
    /// Makes a lock that is cheap for `owner`.
    pub(crate) fn new(owner: ThreadNumber, value: T) -> Biased<T> {
        Biased::with(owner, value, membarrier::register())
    }

    /// As [`new`](Biased::new), if the kernel makes fences or does not.
    pub(crate) fn with(owner: ThreadNumber, value: T, has_membarrier: bool) -> Biased<T> {
        Biased {
            owner,
            inside: AtomicBool::new(false),
            // One who is not there keeps the owner from ever going the short way, if the kernel makes no fences.
            others: AtomicU32::new(u32::from(!has_membarrier)),
            has_membarrier,
            door: Mutex::new(()),
            left: Condvar::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits until nobody is inside, and goes in.
    ///
    /// # Panics
    /// If the owner is inside already.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        if self.owner.is_here() { self.enter().map_or_else(|guard| guard, Guard::from) } else { self.enter_from_afar() }
    }

    /// As [`lock`](Biased::lock), on the owner's thread: by the short way, or, if others came, through the door.
    #[inline(always)]
    pub(crate) fn lock_here(&self, here: Here) -> Result<ShortGuard<'_, T>, Guard<'_, T>> {
        assert!(here.number() == self.owner, "it is the owner's thread");
        self.enter()
    }

    /// What is locked, for one who needs no lock, since nobody else has this.
    #[allow(unsafe_code, reason = "the queue's lock: see docs/performance.md")]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        // SAFETY: this is borrowed mutably, so that there is no guard, for as long as the value is.
        self.value.with_mut(|value| unsafe { &mut *value })
    }

    #[inline(always)]
    fn enter(&self) -> Result<ShortGuard<'_, T>, Guard<'_, T>> {
        // Only the owner writes it, so this is what it wrote last.
        assert!(!self.inside.load(Relaxed), "a looper's lock is not taken twice");
        self.inside.store(true, Relaxed);
        light_fence();
        // Acquires what the last of the others did.
        let acquire = if planted::is(Bug::EnterUnacquired) { Relaxed } else { Acquire };
        if self.others.load(acquire) != 0 && !planted::is(Bug::StepInAnyway) {
            return Err(self.enter_through_the_door());
        }
        Ok(ShortGuard { lock: self, not_send: PhantomData })
    }

    #[cold]
    fn enter_through_the_door(&self) -> Guard<'_, T> {
        // Those who have seen the owner inside sleep until this is told.
        self.inside.store(false, Release);
        let door = self.door.lock();
        self.notify();
        // Nobody looks at it while the door is closed, but the owner, who must not come in twice.
        self.inside.store(true, Relaxed);
        Guard { lock: self, way: Way::Door(door), not_send: PhantomData }
    }

    #[cold]
    fn enter_from_afar(&self) -> Guard<'_, T> {
        let mut door = self.door.lock();
        // Behind the door, so that nobody else counts meanwhile.
        self.others.store(self.others.load(Relaxed) + 1, Relaxed);
        if self.has_membarrier {
            heavy_fence();
        }
        // Acquires what the owner did inside.
        while self.inside.load(Acquire) && !planted::is(Bug::EnterUnseen) {
            door = self.left.wait(door);
        }
        Guard { lock: self, way: Way::FromAfar(door), not_send: PhantomData }
    }

    #[inline(always)]
    fn leave(&self) {
        // Releases what the owner did inside.
        self.inside.store(false, if planted::is(Bug::LeaveUnreleased) { Relaxed } else { Release });
        light_fence();
        if self.others.load(Relaxed) != 0 && !planted::is(Bug::LeaveSilently) {
            self.tell();
        }
    }

    /// Tells those who sleep, behind the door, that the owner does not come in the short way.
    fn notify(&self) {
        if !planted::is(Bug::StepBackSilently) {
            self.left.notify_all();
        }
    }

    /// Tells those who sleep that the owner has left. They look again behind the door.
    #[cold]
    fn tell(&self) {
        let _door = self.door.lock();
        self.left.notify_all();
    }
}

/// The owner's fence: the models have no kernel to make it a full one.
#[inline(always)]
fn light_fence() {
    if planted::is(Bug::BiasedWithoutFence) {
        return;
    }
    if cfg!(all(test, alooper_loom)) {
        fence(SeqCst);
    } else {
        compiler_fence(SeqCst);
    }
}

fn heavy_fence() {
    if planted::is(Bug::OthersWithoutFence) {
        return;
    }
    fence(SeqCst);
    membarrier::issue();
}

/// The way in, which is also the way out.
#[derive(Debug)]
enum Way<'a> {
    Short,
    Door(#[expect(dead_code, reason = "is held")] MutexGuard<'a, ()>),
    FromAfar(#[expect(dead_code, reason = "is held")] MutexGuard<'a, ()>),
}

/// What its owner has locked by the short way: costs less to drop than a [`Guard`].
#[derive(Debug)]
pub(crate) struct ShortGuard<'a, T> {
    lock: &'a Biased<T>,
    /// It has to be dropped on the thread that it was made on.
    not_send: PhantomData<*const ()>,
}

impl<T> Deref for ShortGuard<'_, T> {
    type Target = T;

    #[inline]
    #[allow(unsafe_code, reason = "the queue's lock: see docs/performance.md")]
    fn deref(&self) -> &T {
        // SAFETY: there is one guard at a time, and this borrows it.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for ShortGuard<'_, T> {
    #[inline]
    #[allow(unsafe_code, reason = "the queue's lock: see docs/performance.md")]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: there is one guard at a time, and this borrows it for as long as the value is.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T> Drop for ShortGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.leave();
    }
}

impl<'a, T> From<ShortGuard<'a, T>> for Guard<'a, T> {
    fn from(short: ShortGuard<'a, T>) -> Self {
        // It is this one that leaves.
        let ShortGuard { lock, .. } = *ManuallyDrop::new(short);
        Guard { lock, way: Way::Short, not_send: PhantomData }
    }
}

/// What is locked, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Guard<'a, T> {
    lock: &'a Biased<T>,
    way: Way<'a>,
    /// It has to be dropped on the thread that it was made on.
    not_send: PhantomData<*const ()>,
}

#[cfg(all(test, alooper_loom))]
impl<T> Guard<'_, T> {
    /// Whether its owner did not have to go through the door.
    pub(crate) fn is_short(&self) -> bool {
        matches!(self.way, Way::Short)
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    #[allow(unsafe_code, reason = "the queue's lock: see docs/performance.md")]
    fn deref(&self) -> &T {
        // SAFETY: there is one guard at a time, and this borrows it.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    #[allow(unsafe_code, reason = "the queue's lock: see docs/performance.md")]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: there is one guard at a time, and this borrows it for as long as the value is.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        match self.way {
            Way::Short => self.lock.leave(),
            Way::Door(_) => {
                self.lock.inside.store(false, Release);
                self.lock.notify();
            }
            Way::FromAfar(_) if planted::is(Bug::StayCounted) => {}
            // Still behind the door, which closes after this. Releases what was done inside.
            Way::FromAfar(_) => self.lock.others.store(self.lock.others.load(Relaxed) - 1, Release),
        }
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        thread,
    };

    use super::*;

    /// A second guard would be a second `&mut` to the same.
    #[test]
    fn m9_the_owner_is_not_let_in_twice_by_whichever_way_it_came() {
        let lock = Biased::new(ThreadNumber::assign().unwrap(), 0);

        for first in [Biased::lock, Biased::enter_through_the_door] {
            let first = first(&lock);
            assert!(catch_unwind(AssertUnwindSafe(|| drop(lock.lock()))).is_err());
            drop(first);
            drop(lock.lock());
        }
    }

    /// Also where the kernel makes no fences.
    #[test]
    fn m9_one_at_a_time_is_inside_whoever_comes() {
        const EACH: u64 = 100_000;
        for has_membarrier in [true, false] {
            let has_membarrier = has_membarrier && membarrier::register();
            let lock = Biased::with(ThreadNumber::assign().unwrap(), [0_u64; 2], has_membarrier);
            let count = |lock: &Biased<[u64; 2]>| {
                let mut guard = lock.lock();
                let [first, second] = *guard;
                assert_eq!(first, second);
                guard[0] = first + 1;
                std::hint::spin_loop();
                guard[1] = second + 1;
            };

            let mut own = 0;
            thread::scope(|scope| {
                let others: Vec<_> = (0..2).map(|_| scope.spawn(|| (0..EACH).for_each(|_| count(&lock)))).collect();
                while others.iter().any(|other| !other.is_finished()) {
                    count(&lock);
                    own += 1;
                }
                // Before the next lock takes this one's place: that their scope waits for them, the thread sanitizer
                // does not see.
                others.into_iter().for_each(|other| other.join().unwrap());
            });

            assert_eq!(*lock.lock(), [own + 2 * EACH; 2]);
        }
    }
}
