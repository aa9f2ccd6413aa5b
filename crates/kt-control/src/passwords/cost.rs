//! How much one hash costs.

use argon2::Params;

/// The cost of one Argon2id hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost(Params);

/// The memory and passes that OWASP gives as equal in strength; less of both is refused.
const FLOORS: [(u32, u32); 2] = [(19 * 1024, 2), (46 * 1024, 1)];

impl Cost {
    /// `memory_kib` KiB of memory, gone over `passes` times, in `lanes` lanes; not below 19 MiB with two passes or
    /// 46 MiB with one.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, TooCheap> {
        let is_enough = FLOORS.iter().any(|&(memory, least)| memory_kib >= memory && passes >= least);
        let params = Params::new(memory_kib, passes, lanes, None);
        params.ok().filter(|_| is_enough).map(Self).ok_or(TooCheap { memory_kib, passes, lanes })
    }

    /// The least that is possible: a hash that protects nothing and takes no time. For tests; no configuration leads
    /// here.
    #[doc(hidden)]
    #[must_use]
    pub fn for_tests() -> Self {
        #[expect(clippy::expect_used, reason = "Argon2 takes these numbers")]
        Self(Params::new(Params::MIN_M_COST, 1, 1, None).expect("the least that Argon2 takes"))
    }

    pub(super) fn params(&self) -> &Params {
        &self.0
    }
}

/// 19 MiB, two passes, one lane: the first choice of the OWASP Password Storage Cheat Sheet.
impl Default for Cost {
    fn default() -> Self {
        Self(Params::default())
    }
}

/// A hash would be too cheap to protect a password, or its numbers are none that Argon2 takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{memory_kib} KiB of memory, {passes} passes and {lanes} lanes make no safe hash: \
     use at least 19456 KiB with 2 passes, or 47104 KiB with 1, and one lane for every 8 KiB at most"
)]
pub struct TooCheap {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_owasp_asks_for() {
        assert_eq!(Cost::default(), Cost::new(19456, 2, 1).unwrap());
    }

    #[test]
    fn a_cheap_hash_is_refused() {
        for (memory, passes, lanes) in [(19456, 2, 1), (47104, 1, 1), (65536, 3, 4)] {
            assert!(Cost::new(memory, passes, lanes).is_ok(), "{memory} {passes} {lanes}");
        }
        for (memory, passes, lanes) in [(19455, 2, 1), (47103, 1, 1), (65536, 0, 1), (19456, 2, 0), (8, 1, 1)]
        {
            let refusal = Cost::new(memory, passes, lanes).unwrap_err();
            assert_eq!(refusal, TooCheap { memory_kib: memory, passes, lanes });
        }
    }
}
