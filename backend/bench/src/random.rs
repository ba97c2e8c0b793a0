//! Randomness that can be repeated: the same seed makes the same run.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// A small generator (splitmix64): good enough for choosing places and moments.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The generator with this seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed nobody chose.
    pub(crate) fn any_seed() -> u64 {
        // The keys of the standard hasher are drawn from the system.
        RandomState::new().build_hasher().finish() >> 32
    }

    /// Another generator, independent of what this one does later.
    #[must_use]
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// Any number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A duration between two others.
    pub(crate) fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = to.saturating_sub(from).as_micros() as u64;
        from + Duration::from_micros(self.below(span.max(1)))
    }

    /// A client id as Yjs draws them: 32 bits, never zero.
    pub(crate) fn client_id(&mut self) -> u64 {
        (self.next() >> 32).max(1)
    }
}
