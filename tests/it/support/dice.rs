//! Numbers that look random and are the same in each run.

/// A xorshift generator, started from any number but zero.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number from zero up to, without, `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
