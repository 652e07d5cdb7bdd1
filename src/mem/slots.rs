//! Slab plus generation: a key that outlived its entry finds nothing.

use slab::Slab;

/// Names one entry of a [`Slots`], for ever: no later entry has the same key.
///
/// The generation stands in the upper half of the bits, the position in the lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

impl Key {
    /// No entry's.
    pub(crate) const NONE: Key = Key(u64::MAX);

    fn new(index: u32, generation: u32) -> Key {
        Key(u64::from(generation) << 32 | u64::from(index))
    }

    /// Its position. Another entry may have the same, after this one has gone.
    #[inline]
    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The key as the 64 bits that epoll carries. Bits whose lower half is all ones are no key's, since [`Slots`] never
    /// hands out that index: they are free for marks of the poller's own.
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// Whether this is the key of a later entry in the same slot than `other`.
    pub(crate) fn succeeds(self, other: Key) -> bool {
        self.index() == other.index() && self.generation() > other.generation()
    }

    /// The key that [`Key::to_bits`] made these bits from.
    pub(crate) fn from_bits(bits: u64) -> Key {
        Key(bits)
    }
}

/// Entries with keys that are never used again.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    /// `None` marks a slot whose generations are used up: it stays occupied, so that it is never handed out again.
    entries: Slab<Option<T>>,
    /// The generation of each slot's present entry, or of its next one when it is vacant.
    generations: Vec<u32>,
    /// The generation of the first entry in a slot that is new. It only grows.
    first_generation: u32,
    /// How many entries are live: occupied slots without the used-up ones.
    len: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { entries: Slab::new(), generations: Vec::new(), first_generation: 0, len: 0 }
    }
}

impl<T> Slots<T> {
    /// Stores `value` under a fresh key.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    /// Stores what `make` makes, which may have its own key in it.
    #[inline]
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let key = self.next_key();
        let position = key.index() as usize;
        if position == self.generations.len() {
            self.generations.push(self.first_generation);
        }
        self.entries.insert(Some(make(key)));
        self.len += 1;
        key
    }

    /// The key that the next entry will have.
    #[inline]
    pub(crate) fn next_key(&self) -> Key {
        let position = self.entries.vacant_key();
        let index = u32::try_from(position).ok().filter(|index| *index < u32::MAX);
        let index = index.expect("memory ends before 2^32 entries do");
        Key::new(index, self.generations.get(position).copied().unwrap_or(self.first_generation))
    }

    /// The entry at a position.
    pub(crate) fn at(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)?.as_ref()
    }

    /// The entry at a position, for changing it.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// The entry of `key`, if it is still there.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        if !self.is_current(key) {
            return None;
        }
        self.entries.get(key.index() as usize)?.as_ref()
    }

    /// The entry of `key`, if it is still there, for changing it.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        if !self.is_current(key) {
            return None;
        }
        self.entries.get_mut(key.index() as usize)?.as_mut()
    }

    /// Takes out the entry of `key`, if it is still there.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        if !self.is_current(key) {
            return None;
        }
        let position = key.index() as usize;
        let value = match key.generation().checked_add(1) {
            Some(next) => {
                let value = self.entries.try_remove(position)?;
                self.generations[position] = next;
                value?
            }
            // The slot is retired.
            None => self.entries.get_mut(position)?.take()?,
        };
        self.len -= 1;
        Some(value)
    }

    /// Gives the entry of `key` another key: its own is never used again. `None` if it is not there any more, or if there is
    /// no other key for its slot: then it keeps its own.
    #[cfg(feature = "async")]
    #[inline]
    pub(crate) fn renew(&mut self, key: Key) -> Option<Key> {
        let generation = self.generations.get_mut(key.index() as usize)?;
        if *generation != key.generation() {
            return None;
        }
        *generation = generation.checked_add(1)?;
        Some(Key::new(key.index(), *generation))
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// For how many entries there is room.
    #[cfg(feature = "async")]
    pub(crate) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// Gives back the slots behind the last entry. Looks at each.
    #[cfg(feature = "async")]
    pub(crate) fn shrink_to_fit(&mut self) {
        let end = self.entries.iter().next_back().map_or(0, |(position, _)| position + 1);
        self.entries.shrink_to_fit();
        // What is new there later begins where these have ended, so that no key comes again. Not for ever: a slot needs
        // generations that are left.
        let highest = self.generations[end..].iter().copied().max().unwrap_or(0);
        if highest <= u32::MAX / 2 {
            self.first_generation = self.first_generation.max(highest);
            self.generations.truncate(end);
            self.generations.shrink_to_fit();
        }
    }

    /// All entries with their keys, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().filter_map(|(position, value)| {
            let key = Key::new(position as u32, self.generations[position]);
            value.as_ref().map(|value| (key, value))
        })
    }

    /// Takes out all entries. Their keys stay used.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        let keys: Vec<Key> = self.iter().map(|(key, _)| key).collect();
        keys.into_iter().filter_map(|key| self.remove(key)).collect()
    }

    fn is_current(&self, key: Key) -> bool {
        self.generations.get(key.index() as usize) == Some(&key.generation())
    }
}

/// Values that belong to the entries of a [`Slots`] and are kept elsewhere, by the same keys.
///
/// Updates may come out of order: it may still hold the value of an entry that was removed, or be given one too late.
#[derive(Debug)]
pub(crate) struct SecondaryMap<T> {
    entries: Vec<Option<(Key, T)>>,
}

impl<T> Default for SecondaryMap<T> {
    fn default() -> Self {
        SecondaryMap { entries: Vec::new() }
    }
}

impl<T> SecondaryMap<T> {
    /// Keeps `value` under `key`. Gives what has to go for that: what an older key of the same slot has left, or, if it
    /// is itself late, the value.
    #[must_use = "it has to be dropped, with nothing borrowed"]
    pub(crate) fn insert(&mut self, key: Key, value: T) -> Option<T> {
        let index = key.index() as usize;
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        let slot = &mut self.entries[index];
        if slot.as_ref().is_some_and(|(present, _)| present.succeeds(key)) {
            return Some(value);
        }
        slot.replace((key, value)).map(|(_, value)| value)
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let (present, value) = self.entries.get(key.index() as usize)?.as_ref()?;
        (*present == key).then_some(value)
    }

    /// The value of `key`, for changing it.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (present, value) = self.entries.get_mut(key.index() as usize)?.as_mut()?;
        (*present == key).then_some(value)
    }

    /// Takes out the value of `key`.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.index() as usize)?;
        entry.take_if(|(present, _)| *present == key).map(|(_, value)| value)
    }

    /// Takes out everything.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.entries).into_iter().flatten().map(|(_, value)| value)
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;

    #[test]
    fn f6_a_key_that_outlived_its_entry_finds_nothing() {
        let mut slots = Slots::default();
        let old = slots.insert('a');
        slots.remove(old);

        let new = slots.insert('b');

        assert_eq!(new.index(), old.index(), "the slot is used again");
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.get(new), Some(&'b'));
    }

    /// C17: no generation comes again.
    #[test]
    fn c17_a_slot_whose_generations_are_used_up_is_retired() {
        let mut slots = Slots::default();
        let first = slots.insert('a');
        slots.generations[0] = u32::MAX;
        let last = Key::new(first.index(), u32::MAX);

        assert_eq!(slots.remove(last), Some('a'));

        assert_eq!(slots.get(last), None);
        assert_eq!(slots.remove(last), None);
        assert_eq!(slots.len(), 0);
        assert_ne!(slots.insert('b').index(), first.index(), "no later entry can have the same key");
    }

    #[cfg(feature = "async")]
    impl<T> Slots<T> {
        /// Gives the entry of `key` the last key that its slot has.
        pub(crate) fn use_up(&mut self, key: Key) -> Key {
            self.generations[key.index() as usize] = u32::MAX;
            Key::new(key.index(), u32::MAX)
        }
    }

    /// C17.
    #[cfg(feature = "async")]
    #[test]
    fn c17_an_entry_that_gets_another_key_is_not_found_by_its_own_again() {
        let mut slots = Slots::default();
        let first = slots.insert('a');

        let second = slots.renew(first).unwrap();

        assert_eq!(slots.get(first), None);
        assert_eq!((slots.remove(first), slots.renew(first)), (None, None));
        assert_eq!((slots.get(second), slots.len()), (Some(&'a'), 1));
        assert!(second.succeeds(first));
        assert_eq!(slots.remove(second), Some('a'));
        assert!(slots.insert('b').succeeds(second));

        let last = slots.use_up(Key::new(0, 0));
        assert_eq!(slots.renew(last), None);
        assert_eq!((slots.get(last), slots.len()), (Some(&'b'), 1));
        assert_eq!(slots.renew(Key::new(7, 0)), None);
    }

    /// C17.
    #[cfg(feature = "async")]
    #[test]
    fn c17_no_key_comes_again_after_room_was_given_back() {
        let mut slots = Slots::default();
        let kept = slots.insert('a');
        let gone = ['b', 'c'].map(|value| slots.insert(value));
        for key in gone {
            slots.remove(key);
        }
        let again = slots.insert('d');
        slots.remove(again);

        slots.shrink_to_fit();

        assert_eq!((slots.get(kept), slots.generations.len()), (Some(&'a'), 1));
        let new = ['e', 'f', 'g'].map(|value| slots.insert(value));
        assert!(new.iter().all(|key| !gone.contains(key) && *key != again && *key != kept));
        assert_eq!(gone.map(|key| slots.get(key)), [None, None]);
        assert_eq!(new.map(|key| slots.get(key)), [Some(&'e'), Some(&'f'), Some(&'g')]);
    }

    /// C17.
    #[cfg(feature = "async")]
    #[test]
    fn c17_slots_are_not_used_up_by_giving_room_back() {
        let mut slots = Slots::default();
        let first = slots.insert('a');
        slots.generations[0] = u32::MAX - 1;
        assert_eq!(slots.remove(Key::new(first.index(), u32::MAX - 1)), Some('a'));

        slots.shrink_to_fit();

        let used: Vec<Key> = (0..1000)
            .map(|_| {
                let key = slots.insert('b');
                assert_eq!(slots.remove(key), Some('b'));
                key
            })
            .collect();
        assert!(slots.entries.len() < 3, "each of few slots is used again");
        assert_eq!(used.iter().collect::<std::collections::HashSet<_>>().len(), 1000);
    }

    #[test]
    fn c17_keys_survive_the_way_through_epoll_and_are_never_the_reserved_ones() {
        let key = Key::new(7, u32::MAX);

        assert_eq!(Key::from_bits(key.to_bits()), key);
        let largest = Key::new(u32::MAX - 1, u32::MAX);
        assert_ne!(largest.to_bits() as u32, u32::MAX);
    }

    #[test]
    fn c16_a_secondary_map_finds_nothing_by_an_older_or_a_later_key_of_the_same_slot() {
        let mut slots = Slots::default();
        let old = slots.insert(());
        slots.remove(old);
        let new = slots.insert(());
        let mut map = SecondaryMap::default();
        assert_eq!(map.insert(old, "old"), None);

        assert_eq!(map.get(new), None);
        assert_eq!(map.get_mut(new), None);
        assert_eq!(map.remove(new), None);
        assert_eq!(map.get(old), Some(&"old"));

        assert_eq!(map.insert(new, "new"), Some("old"), "what an older key has left goes");
        assert_eq!(map.get(old), None);
        assert_eq!(map.get_mut(old), None);
        assert_eq!(map.remove(old), None);
        assert_eq!(map.insert(old, "late"), Some("late"), "what comes late goes itself");
        assert_eq!(map.take_all().collect::<Vec<_>>(), ["new"]);
    }
}
