//! Which registration there is of each fd number.

use std::os::fd::RawFd;

use crate::mem::slots::Key;

/// Room that stays, whatever the highest number is.
const COMMON_COUNT: usize = 1024;

/// A key for each fd number, at its place: the kernel gives the lowest number that is free. So this is as long as the
/// highest number that is watched says, eight bytes for each, as the kernel's own table is.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    keys: Vec<Key>,
}

impl Numbers {
    #[inline]
    pub(super) fn get(&self, fd: RawFd) -> Option<Key> {
        self.keys.get(place(fd)).copied().filter(|key| *key != Key::NONE)
    }

    #[inline]
    pub(super) fn insert(&mut self, fd: RawFd, key: Key) {
        let place = place(fd);
        if place >= self.keys.len() {
            self.keys.resize(place + 1, Key::NONE);
        }
        self.keys[place] = key;
    }

    #[inline]
    pub(super) fn remove(&mut self, fd: RawFd) {
        if let Some(key) = self.keys.get_mut(place(fd)) {
            *key = Key::NONE;
        }
        while self.keys.pop_if(|last| *last == Key::NONE).is_some() {}
        if self.keys.capacity() > 2 * COMMON_COUNT && self.keys.len() < self.keys.capacity() / 4 {
            self.keys.shrink_to(COMMON_COUNT.max(2 * self.keys.len()));
        }
    }

    pub(super) fn clear(&mut self) {
        self.keys = Vec::new();
    }
}

fn place(fd: RawFd) -> usize {
    usize::try_from(fd).expect("an fd has a number that is not negative")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::slots::Slots;

    /// F6: a number names what was watched last under it, and nothing after that.
    #[test]
    fn f6_a_number_has_the_key_that_was_put_there_last() {
        let mut slots = Slots::default();
        let [first, second] = [(), ()].map(|()| slots.insert(()));
        let mut numbers = Numbers::default();

        numbers.insert(5, first);
        numbers.insert(5, second);

        assert_eq!([4, 5, 6].map(|fd| numbers.get(fd)), [None, Some(second), None]);
        numbers.remove(5);
        numbers.remove(6);
        assert_eq!(numbers.get(5), None);
    }

    #[test]
    fn f6_a_high_number_takes_room_only_as_long_as_it_is_watched() {
        let key = Slots::default().insert(());
        let mut numbers = Numbers::default();
        numbers.insert(3, key);
        numbers.insert(100_000, key);

        numbers.remove(100_000);

        assert!(numbers.keys.capacity() <= 2 * COMMON_COUNT && numbers.get(3) == Some(key));
    }
}
