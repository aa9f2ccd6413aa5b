//! When a figure is out of the ordinary.

/// Fewer than this are never unusual.
const FEW: i64 = 10;

/// By which factor the usual must be exceeded.
const FACTOR: i64 = 3;

/// Whether something happened so often within a day that somebody should look: ten times at least, and three times as
/// often as on the days `before` on average. Without such days ten are enough.
#[must_use]
pub fn is_unusual(within_a_day: i64, before: &[i64]) -> bool {
    let days = i64::try_from(before.len()).unwrap_or(i64::MAX).max(1);
    let sum: i64 = before.iter().sum();
    within_a_day >= FEW && within_a_day.saturating_mul(days) >= sum.saturating_mul(FACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_are_unusual_unless_they_are_usual() {
        let table: [(i64, &[i64], bool); 8] = [
            (9, &[], false),
            (10, &[], true),
            (9, &[0, 0, 0], false),
            (10, &[0, 0, 0], true),
            (10, &[4, 4, 4], false),
            (12, &[4, 4, 4], true),
            (100, &[50, 0, 50], true),
            (99, &[50, 0, 50], false),
        ];
        for (within_a_day, before, expected) in table {
            assert_eq!(is_unusual(within_a_day, before), expected, "{within_a_day} after {before:?}");
        }
    }
}
