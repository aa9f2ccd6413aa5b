//! Whatever a provider answers as `Retry-After`, it is waited for at least as long as it asks, or not at all where that is
//! longer than anybody waits; and what it says in digits is meant so.
#![no_main]

use std::time::Duration;

use kt_domain::policy_config::Retry;
use kt_gateway::fuzzing::retry_after;
use libfuzzer_sys::fuzz_target;

/// A Sunday in March 2026.
const NOW: i64 = 1_773_584_551;

/// In which fields a provider says it, and what a number means there.
const FIELDS: [(&str, fn(u64) -> Duration); 2] =
    [("retry-after", Duration::from_secs), ("retry-after-ms", Duration::from_millis)];

fuzz_target!(|value: &[u8]| {
    let settings = Retry::default();
    let longest = settings.max_delay.0;
    for (name, unit) in FIELDS {
        let read = retry_after(name, value, NOW, &settings);
        if let Some((asked_for, waited)) = read {
            assert_eq!(waited.is_none(), asked_for > longest, "{asked_for:?}");
            assert!(waited.is_none_or(|waited| (asked_for..=longest).contains(&waited)), "{asked_for:?}");
        }
        let digits = str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(number) = digits.and_then(|digits| digits.parse().ok()) {
            assert_eq!(read.map(|(asked_for, _)| asked_for), Some(unit(number)));
        }
    }
});
