//! Room for very many values that come and go: no value ever moves, and room that is not used can be given back.
//!
//! A [`Slots`](crate::mem::slots::Slots) keeps its room and moves its values when it grows; that is right for what is
//! registered, and wrong for a queue, which may hold a million messages once and ten after that.

/// How many values stand in one piece of memory.
const CHUNK: usize = 256;

/// How many chunks may be empty.
const COMMON_EMPTY: usize = 8;

/// How many chunks are not worth a thought.
const COMMON_CHUNKS: usize = 4;

/// No slot.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// What stands in an arena. While nobody uses it, it is kept as it is, and says which one is the next such.
pub(crate) trait Tenant {
    /// One that nobody uses.
    fn vacant() -> Self;
    fn is_vacant(&self) -> bool;
    /// Which one was given up before this one.
    fn next_vacant(&self) -> u32;
    /// Is used by nobody from now on. What it holds has been taken out of it.
    fn vacate(&mut self, next: u32);
}

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
    /// How many values there were at most since somebody [asked](Arena::take_peak), more or less.
    peak: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    entries: Box<[T; CHUNK]>,
    /// The first of the entries that nobody uses.
    vacant: u32,
    used: u32,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { chunks: Vec::new(), roomy: Vec::new(), empty: 0, len: 0, peak: 0 }
    }
}

impl<T: Tenant> Chunk<T> {
    fn new() -> Chunk<T> {
        let vacate = |position| {
            let mut entry = T::vacant();
            entry.vacate(if position + 1 < CHUNK { position as u32 + 1 } else { NOWHERE });
            entry
        };
        let entries: Vec<T> = (0..CHUNK).map(vacate).collect();
        let entries = entries.into_boxed_slice().try_into();
        let Ok(entries) = entries else { unreachable!("there are as many as there have to be") };
        Chunk { entries, vacant: 0, used: 0 }
    }
}

impl<T: Tenant> Arena<T> {
    /// Gives a slot that nobody uses, to be filled: where it lies, since to make a value and move it there would cost
    /// as much as all the rest.
    #[inline(always)]
    pub(crate) fn occupy(&mut self) -> (u32, &mut T) {
        let number = match self.roomy.last() {
            Some(number) => *number,
            None => self.add_chunk(),
        };
        let chunk = match &mut self.chunks[number as usize] {
            Some(chunk) => chunk,
            none => add_entries(none, &mut self.empty),
        };
        let position = chunk.vacant as usize % CHUNK;
        let entry = &mut chunk.entries[position];
        chunk.vacant = entry.next_vacant();
        self.empty -= usize::from(chunk.used == 0);
        chunk.used += 1;
        self.len += 1;
        if chunk.vacant == NOWHERE {
            self.roomy.pop();
            self.peak = self.peak.max(self.len);
        }
        (number * CHUNK as u32 + position as u32, entry)
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
        let entry = &self.chunks.get(number)?.as_ref()?.entries[position];
        (!entry.is_vacant()).then_some(entry)
    }

    /// The value in `slot`, for changing it.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (number, position) = split(slot);
        let entry = &mut self.chunks.get_mut(number)?.as_mut()?.entries[position];
        (!entry.is_vacant()).then_some(entry)
    }

    /// How many slots there are: each value is in one of these.
    pub(crate) fn slots(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    /// Vacates `slot`, after `take` has taken out of the value what there is in it.
    #[inline(always)]
    pub(crate) fn vacate<R>(&mut self, slot: u32, take: impl FnOnce(&mut T) -> R) -> Option<R> {
        let (number, position) = split(slot);
        let chunk = self.chunks.get_mut(number)?.as_mut()?;
        let entry = &mut chunk.entries[position];
        if entry.is_vacant() {
            return None;
        }
        let taken = take(entry);
        entry.vacate(chunk.vacant);
        if chunk.vacant == NOWHERE {
            self.roomy.push(number as u32);
        }
        chunk.vacant = position as u32;
        chunk.used -= 1;
        self.len -= 1;
        self.empty += usize::from(chunk.used == 0);
        Some(taken)
    }

    /// How many values there were at most since this was asked last: to within a chunk, and not less than there are.
    pub(crate) fn take_peak(&mut self) -> usize {
        std::mem::take(&mut self.peak).max(self.len)
    }

    /// Whether there is much room that is not used.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        self.empty > COMMON_EMPTY
    }

    /// Whether there never was much in it since it last gave back its room.
    #[inline]
    pub(crate) fn is_small(&self) -> bool {
        self.chunks.len() <= COMMON_CHUNKS
    }

    /// Gives back the room that is not used.
    pub(crate) fn trim(&mut self) {
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
fn add_entries<'a, T: Tenant>(chunk: &'a mut Option<Chunk<T>>, empty: &mut usize) -> &'a mut Chunk<T> {
    *empty += 1;
    chunk.insert(Chunk::new())
}

#[inline]
fn split(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK, slot as usize % CHUNK)
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;

    impl Tenant for Result<usize, u32> {
        fn vacant() -> Self {
            Err(NOWHERE)
        }

        fn is_vacant(&self) -> bool {
            self.is_err()
        }

        fn next_vacant(&self) -> u32 {
            self.expect_err("it is vacant")
        }

        fn vacate(&mut self, next: u32) {
            *self = Err(next);
        }
    }

    impl Arena<Result<usize, u32>> {
        fn insert(&mut self, value: usize) -> u32 {
            let (slot, place) = self.occupy();
            *place = Ok(value);
            slot
        }

        fn remove(&mut self, slot: u32) -> Option<usize> {
            self.vacate(slot, |entry| entry.ok())?
        }

        fn value(&self, slot: u32) -> Option<usize> {
            self.get(slot)?.ok()
        }
    }

    fn chunks_in_use<T>(arena: &Arena<T>) -> usize {
        arena.chunks.iter().flatten().count()
    }

    #[test]
    fn values_are_found_by_their_slots_until_they_are_taken() {
        let mut arena = Arena::default();
        let slots: Vec<u32> = (0..1000).map(|value| arena.insert(value)).collect();

        for (value, slot) in slots.iter().enumerate().filter(|(value, _)| value % 3 == 0) {
            assert_eq!(arena.remove(*slot), Some(value));
            assert_eq!(arena.remove(*slot), None);
            assert_eq!(arena.value(*slot), None);
        }

        for (value, slot) in slots.iter().enumerate() {
            assert_eq!(arena.value(*slot), (value % 3 != 0).then_some(value));
            assert_eq!(arena.get_mut(*slot).is_some(), value % 3 != 0);
        }
        assert_eq!(arena.len(), 666);
        assert_eq!((arena.value(1_000_000), arena.value(NOWHERE)), (None, None));
    }

    #[test]
    fn slots_are_used_again() {
        let mut arena = Arena::default();
        let slots: Vec<u32> = (0..1000).map(|value| arena.insert(value)).collect();
        slots.iter().for_each(|slot| _ = arena.remove(*slot));

        let highest = (0..1000).map(|value| arena.insert(value)).max();

        assert_eq!(highest, slots.iter().max().copied(), "no room was added");
        assert_eq!(arena.len(), 1000);
    }

    #[test]
    fn room_that_is_empty_is_given_back_though_some_values_stay() {
        let mut arena = Arena::default();
        let slots: Vec<u32> = (0..100_000).map(|value| arena.insert(value)).collect();
        let kept = slots[50_000];

        slots.iter().filter(|slot| **slot != kept).for_each(|slot| _ = arena.remove(*slot));
        arena.trim();

        assert_eq!((arena.value(kept), arena.len()), (Some(50_000), 1));
        assert_eq!(chunks_in_use(&arena), 1, "the one that is used");
        let slots: Vec<u32> = (0..100_000).map(|value| arena.insert(value)).collect();
        assert!(slots.iter().enumerate().all(|(value, slot)| arena.value(*slot) == Some(value)));
        slots.into_iter().chain([kept]).for_each(|slot| _ = arena.remove(slot));
        arena.trim();
        assert!(arena.chunks.is_empty(), "nothing is left");
    }

    /// Whoever asks for room to give back asks this first.
    #[test]
    fn c44_it_is_known_how_much_is_empty_and_how_many_there_were() {
        let mut arena = Arena::default();
        let slots: Vec<u32> = (0..9 * CHUNK).map(|value| arena.insert(value)).collect();
        assert!(!arena.is_roomy() && !arena.is_small());
        let (first, others) = slots.split_at(CHUNK);

        others.iter().for_each(|slot| _ = arena.remove(*slot));
        assert!(!arena.is_roomy(), "eight chunks");
        first.iter().for_each(|slot| _ = arena.remove(*slot));
        assert!(arena.is_roomy(), "nine chunks");

        assert_eq!((arena.take_peak(), arena.take_peak()), (9 * CHUNK, 0));
        arena.insert(0);
        assert!(!arena.is_roomy(), "one of them is used again");
        assert_eq!(arena.take_peak(), 1, "not less than there are");
        arena.trim();
        assert_eq!((arena.empty, chunks_in_use(&arena)), (0, 1));
    }

    #[test]
    fn c44_four_chunks_are_small_and_so_is_one_that_has_given_back_its_room() {
        let mut arena = Arena::default();
        let slots: Vec<u32> = (0..4 * CHUNK).map(|value| arena.insert(value)).collect();
        assert!(arena.is_small());
        let one_more = arena.insert(0);
        assert!(!arena.is_small());

        slots.into_iter().chain([one_more]).for_each(|slot| _ = arena.remove(slot));
        arena.trim();

        assert!(arena.is_small());
    }

    #[test]
    fn all_values_are_listed_with_their_slots() {
        let mut arena = Arena::default();
        let slots: Vec<u32> = (0..2 * CHUNK).map(|value| arena.insert(value)).collect();
        slots.iter().step_by(2).for_each(|slot| _ = arena.remove(*slot));

        let listed = (0..arena.slots()).filter_map(|slot| Some((slot, arena.value(slot)?))).collect::<Vec<_>>();

        let expected: Vec<(u32, usize)> = slots.into_iter().zip(0..).skip(1).step_by(2).collect();
        assert_eq!(listed, expected);
    }
}
