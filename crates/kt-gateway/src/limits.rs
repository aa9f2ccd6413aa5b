//! Limits that are kept in this process's memory.

use std::sync::atomic::{AtomicI64, Ordering};

/// How often one key may be used, by the generic cell rate algorithm: requests may come in a burst of a whole minute's
/// worth, and then at the rate at which a minute's worth is spread evenly.
#[derive(Debug)]
pub(crate) struct KeyLimiter {
    per_minute: u32,
    /// The moment, in microseconds, at which the key would be unused again.
    unused_from: AtomicI64,
}

const MINUTE_MICROS: i64 = 60_000_000;

impl KeyLimiter {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute.max(1), unused_from: AtomicI64::new(i64::MIN) }
    }

    pub(crate) fn per_minute(&self) -> u32 {
        self.per_minute
    }

    /// Takes one use at `now` (microseconds); else says after how many seconds it will be possible.
    pub(crate) fn take(&self, now: i64) -> Result<(), u64> {
        let cost = MINUTE_MICROS / i64::from(self.per_minute);
        let taken = self.unused_from.fetch_update(Ordering::AcqRel, Ordering::Acquire, |unused_from| {
            let next = unused_from.max(now) + cost;
            (next - now <= MINUTE_MICROS).then_some(next)
        });
        match taken {
            Ok(_) => Ok(()),
            Err(unused_from) => {
                let wait = unused_from + cost - MINUTE_MICROS - now;
                Err(u64::try_from(wait).unwrap_or(0).div_ceil(1_000_000).max(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_passes_at_once_and_then_one_at_a_time() {
        let limiter = KeyLimiter::new(60);
        let start = 1_000_000_000;
        assert!((0..60).all(|_| limiter.take(start).is_ok()));
        assert_eq!(limiter.take(start), Err(1));
        assert_eq!(limiter.take(start + 1_000_000), Ok(()));
        assert_eq!(limiter.take(start + 1_000_000), Err(1));
        assert!((0..60).all(|_| limiter.take(start + 120_000_000).is_ok()));
    }

    #[test]
    fn a_thousand_at_once_get_no_more_than_the_limit() {
        let limiter = KeyLimiter::new(100);
        let taken: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..10)
                .map(|_| scope.spawn(|| (0..100).filter(|_| limiter.take(0).is_ok()).count()))
                .collect();
            tries.into_iter().map(|tries| tries.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
    }
}
