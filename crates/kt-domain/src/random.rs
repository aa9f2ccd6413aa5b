//! Randomness, as a value that is passed on: seeded from the operating system in production, from a number in tests.

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng, TryRng};

/// A cryptographically secure generator, seeded once from the operating system.
///
/// Not shared between threads: give each thread its own.
#[derive(Debug)]
pub struct Random(StdRng);

impl Random {
    /// A generator seeded by the operating system.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing secure can be done then.
    #[must_use]
    pub fn from_os() -> Self {
        let mut seed = [0_u8; 32];
        #[expect(clippy::expect_used, reason = "without randomness no secure operation is possible")]
        SysRng.try_fill_bytes(&mut seed).expect("the operating system gives randomness");
        Self(StdRng::from_seed(seed))
    }

    /// A generator whose whole sequence follows from `seed`. For tests.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.random()
    }

    /// The next `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_and_the_system_gives_another_each_time() {
        let draw = |mut random: Random| (random.next_u64(), random.bytes::<16>());
        assert_eq!(draw(Random::seeded(7)), draw(Random::seeded(7)));
        assert_ne!(draw(Random::seeded(7)), draw(Random::seeded(8)));
        assert_ne!(draw(Random::from_os()), draw(Random::from_os()));
    }
}
