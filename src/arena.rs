//! Room for very many values that come and go: no value ever moves, and room that is not used can be given back.
//!
//! A [`Slots`](crate::slots::Slots) keeps its room and moves its values when it grows; that is right for what is
//! registered, and wrong for a queue, which may hold a million messages once and ten after that.

/// How many values stand in one piece of memory.
const CHUNK: usize = 256;

/// No slot.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Values by slot. A slot is used again as soon as its value is gone: who keeps one has to know which value it was.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    /// `None` for one that was given back.
    chunks: Vec<Option<Chunk<T>>>,
    /// The chunks that have room, also those that were given back.
    roomy: Vec<u32>,
    /// How many of the chunks are empty and were not given back.
    empty: usize,
    len: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    entries: Box<[Entry<T>; CHUNK]>,
    /// The first of the entries that are free.
    free: u32,
    used: u32,
}

#[derive(Debug)]
enum Entry<T> {
    Used(T),
    /// The next one that is free.
    Free(u32),
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { chunks: Vec::new(), roomy: Vec::new(), empty: 0, len: 0 }
    }
}

impl<T> Chunk<T> {
    fn new() -> Chunk<T> {
        let next_of = |position: usize| if position + 1 < CHUNK { position as u32 + 1 } else { NOWHERE };
        let entries: Vec<Entry<T>> = (0..CHUNK).map(|position| Entry::Free(next_of(position))).collect();
        let entries = entries.into_boxed_slice().try_into();
        let Ok(entries) = entries else { unreachable!("there are as many as there have to be") };
        Chunk { entries, free: 0, used: 0 }
    }
}

impl<T> Arena<T> {
    /// Puts `value` into a slot; gives the slot, and the value where it lies.
    #[inline(always)]
    pub(crate) fn insert(&mut self, value: T) -> (u32, &mut T) {
        let number = match self.roomy.last() {
            Some(number) => *number,
            None => self.add_chunk(),
        };
        let chunk = match &mut self.chunks[number as usize] {
            Some(chunk) => chunk,
            none => add_entries(none, &mut self.empty),
        };
        let position = chunk.free as usize % CHUNK;
        let entry = &mut chunk.entries[position];
        let Entry::Free(next) = *entry else { unreachable!("what is in the list of the free ones is free") };
        *entry = Entry::Used(value);
        chunk.free = next;
        self.empty -= usize::from(chunk.used == 0);
        chunk.used += 1;
        self.len += 1;
        if next == NOWHERE {
            self.roomy.pop();
        }
        let Entry::Used(value) = entry else { unreachable!("it was put there") };
        (number * CHUNK as u32 + position as u32, value)
    }

    #[cold]
    fn add_chunk(&mut self) -> u32 {
        let number = u32::try_from(self.chunks.len()).ok().filter(|number| *number < NOWHERE / CHUNK as u32);
        let number = number.expect("memory ends before 2^32 messages do");
        self.chunks.push(None);
        self.roomy.push(number);
        number
    }

    /// The value in `slot`.
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        let (number, position) = split(slot);
        match &self.chunks.get(number)?.as_ref()?.entries[position] {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        }
    }

    /// The value in `slot`, for changing it.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (number, position) = split(slot);
        match &mut self.chunks.get_mut(number)?.as_mut()?.entries[position] {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        }
    }

    /// Frees `slot`, after `take` has taken out of the value what it wants of it.
    #[inline(always)]
    pub(crate) fn remove_with<R>(&mut self, slot: u32, take: impl FnOnce(&mut T) -> R) -> Option<R> {
        let (number, position) = split(slot);
        let chunk = self.chunks.get_mut(number)?.as_mut()?;
        let entry = &mut chunk.entries[position];
        let Entry::Used(value) = entry else {
            return None;
        };
        let taken = take(value);
        *entry = Entry::Free(chunk.free);
        if chunk.free == NOWHERE {
            self.roomy.push(number as u32);
        }
        chunk.free = position as u32;
        chunk.used -= 1;
        self.len -= 1;
        self.empty += usize::from(chunk.used == 0);
        Some(taken)
    }

    /// Gives back the room that is not used, but for one chunk.
    pub(crate) fn trim(&mut self) {
        if self.empty > 1 {
            self.give_back();
        }
    }

    #[cold]
    fn give_back(&mut self) {
        if self.len == 0 {
            *self = Arena::default();
            return;
        }
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.as_ref().is_some_and(|chunk| chunk.used == 0)) {
            *chunk = None;
        }
        self.empty = 0;
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Gives a chunk its entries, which it did not have yet or has given back.
#[cold]
fn add_entries<'a, T>(chunk: &'a mut Option<Chunk<T>>, empty: &mut usize) -> &'a mut Chunk<T> {
    *empty += 1;
    chunk.insert(Chunk::new())
}

#[inline]
fn split(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK, slot as usize % CHUNK)
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::mem;

    use super::*;

    impl<T: Default> Arena<T> {
        fn remove(&mut self, slot: u32) -> Option<T> {
            self.remove_with(slot, mem::take)
        }
    }

    fn chunks_in_use<T>(arena: &Arena<T>) -> usize {
        arena.chunks.iter().flatten().count()
    }

    #[test]
    fn values_are_found_by_their_slots_until_they_are_taken() {
        let mut arena = Arena::default();
        let slots: Vec<u32> = (0..1000).map(|value| arena.insert(value).0).collect();

        for (value, slot) in slots.iter().enumerate().filter(|(value, _)| value % 3 == 0) {
            assert_eq!(arena.remove(*slot), Some(value));
            assert_eq!(arena.remove(*slot), None);
            assert_eq!(arena.get(*slot), None);
        }

        for (value, slot) in slots.iter().enumerate() {
            assert_eq!(arena.get(*slot).copied(), (value % 3 != 0).then_some(value));
            assert_eq!(arena.get_mut(*slot).copied(), (value % 3 != 0).then_some(value));
        }
        assert_eq!(arena.len(), 666);
        assert_eq!((arena.get(1_000_000), arena.get(NOWHERE)), (None, None));
    }

    #[test]
    fn slots_are_used_again() {
        let mut arena = Arena::default();
        let slots: Vec<u32> = (0..1000).map(|value| arena.insert(value).0).collect();
        slots.iter().for_each(|slot| _ = arena.remove(*slot));

        let highest = (0..1000).map(|value| arena.insert(value).0).max();

        assert_eq!(highest, slots.iter().max().copied(), "no room was added");
        assert_eq!(arena.len(), 1000);
    }

    #[test]
    fn room_that_is_empty_is_given_back_though_some_values_stay() {
        let mut arena = Arena::default();
        let slots: Vec<u32> = (0..100_000).map(|value| arena.insert(value).0).collect();
        let kept = slots[50_000];

        slots.iter().filter(|slot| **slot != kept).for_each(|slot| _ = arena.remove(*slot));
        arena.trim();

        assert_eq!((arena.get(kept), arena.len()), (Some(&50_000), 1));
        assert_eq!(chunks_in_use(&arena), 1, "the one that is used");
        let slots: Vec<u32> = (0..100_000).map(|value| arena.insert(value).0).collect();
        assert!(slots.iter().enumerate().all(|(value, slot)| arena.get(*slot) == Some(&value)));
        slots.into_iter().chain([kept]).for_each(|slot| _ = arena.remove(slot));
        arena.trim();
        assert!(arena.chunks.is_empty(), "nothing is left");
    }
}
