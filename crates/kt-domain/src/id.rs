//! Identifiers that sort by the time they were made.

use std::fmt;

use uuid::{Builder, Uuid};

use crate::random::Random;

/// A version 7 UUID (RFC 9562 section 5.7): 48 bits of Unix milliseconds, then 74 random bits.
///
/// It shows when it was made, so it names things and never guards them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// A new identifier for the moment `now_micros` (microseconds since the Unix epoch).
    #[must_use]
    pub fn new(now_micros: i64, random: &mut Random) -> Self {
        Self(uuid_v7(now_micros, random))
    }

    /// Writes the hyphenated lower-case form, 36 ASCII characters, into `buffer`.
    pub fn encode(self, buffer: &mut [u8; 36]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A new event identifier: `evt_` and the 32 hexadecimal digits of a version 7 UUID; sorts by time.
#[must_use]
pub fn event_id(now_micros: i64, random: &mut Random) -> String {
    let mut buffer = [0_u8; 32];
    let digits = uuid_v7(now_micros, random).simple().encode_lower(&mut buffer);
    let mut id = String::with_capacity(36);
    id.push_str("evt_");
    id.push_str(digits);
    id
}

fn uuid_v7(now_micros: i64, random: &mut Random) -> Uuid {
    let millis = u64::try_from(now_micros / 1000).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &random.bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_version_7_and_carry_the_time() {
        let id = RequestId::new(1_773_584_551_000_000, &mut Random::seeded(1));
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(id.0.get_timestamp().map(|t| t.to_unix().0), Some(1_773_584_551));
        assert_eq!(id.encode(&mut [0; 36]), id.to_string());
    }

    #[test]
    fn event_ids_sort_by_time() {
        let mut random = Random::seeded(1);
        let ids: Vec<String> = (0..50).map(|n| event_id(n * 1000, &mut random)).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.starts_with("evt_") && id.len() == 36));
    }
}
