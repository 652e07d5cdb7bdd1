//! What few messages have besides, apart from them: so that the others need no room for it.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::queue::{
    capacity::{COMMON_LENGTH, is_roomy},
    details::Posting,
    labels::Token,
    message::Seq,
};

/// What a message may have besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extra {
    pub(crate) token: Option<Token>,
    /// When it was posted, and by whom, if somebody watched. A plain message has this with it: its time is when it was
    /// posted.
    pub(crate) posted: Option<Posting>,
}

/// All of it, by the posting order of the messages.
#[derive(Debug, Default)]
pub(crate) struct Extras(HashMap<Seq, Extra, BuildHasherDefault<SeqHasher>>);

impl Extras {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps what the message `seq` has, if it has anything.
    #[inline]
    pub(crate) fn keep(&mut self, seq: Seq, extra: Extra) {
        if extra.token.is_some() || extra.posted.is_some() {
            self.0.insert(seq, extra);
        }
    }

    /// Removes and gives what the message `seq` has.
    #[inline]
    pub(crate) fn take(&mut self, seq: Seq) -> Extra {
        if self.0.is_empty() { Extra::default() } else { self.0.remove(&seq).unwrap_or_default() }
    }

    pub(crate) fn token_of(&self, seq: Seq) -> Option<Token> {
        self.0.get(&seq).and_then(|extra| extra.token)
    }

    /// Whether there is room that a burst has left.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        is_roomy(self.0.len(), self.0.capacity())
    }

    pub(crate) fn give_back_room(&mut self) {
        self.0.shrink_to(COMMON_LENGTH);
    }
}

#[cfg(all(test, not(alooper_loom)))]
impl Extras {
    /// For how many there is room.
    pub(crate) fn room(&self) -> usize {
        self.0.capacity()
    }
}

/// Spreads posting orders, which are counted and nobody's choice: a tenth of what std's hasher takes, which defends
/// itself against chosen keys.
#[derive(Debug, Default)]
struct SeqHasher(u64);

impl Hasher for SeqHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_i64(i64::from(*byte)));
    }

    #[inline]
    fn write_i64(&mut self, number: i64) {
        // An odd number without pattern: 2^64 divided by the golden ratio.
        self.0 = (self.0 ^ number.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// The map looks at the lowest bits and at the highest: those in the middle are mixed best.
    #[inline]
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}
