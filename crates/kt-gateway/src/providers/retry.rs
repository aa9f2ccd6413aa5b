//! When a request that failed is sent once more, and after how long.

use std::time::Duration;

use http::{HeaderMap, header};
use jiff::Timestamp;
use kt_domain::policy_config::Retry;

/// How long to wait before the repetition number `nth`, from 0: somewhere between nothing and a limit that doubles each
/// time ("full jitter": clients that failed together do not come back together), and no shorter than the target asked
/// for. `None` when the target asked for more than anybody waits.
pub(crate) fn delay(
    settings: &Retry,
    nth: u32,
    retry_after: Option<Duration>,
    random: u64,
) -> Option<Duration> {
    let most = settings.max_delay.0;
    let limit = settings.base_delay.0.saturating_mul(2_u32.saturating_pow(nth)).min(most);
    let limit = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX - 1);
    let jittered = Duration::from_micros(random % (limit + 1));
    let asked_for = retry_after.unwrap_or_default();
    (asked_for <= most).then(|| jittered.max(asked_for))
}

/// How long an answer asks to be left alone: `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3), or in
/// milliseconds as OpenAI has it.
pub(crate) fn retry_after(headers: &HeaderMap, now: impl FnOnce() -> Timestamp) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|text| text.parse().ok()) {
        return Some(Duration::from_millis(millis));
    }
    let text = text(header::RETRY_AFTER.as_str())?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now())).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use kt_domain::span::Span;
    use proptest::prelude::*;

    use super::*;

    fn settings(base: u64, max: u64) -> Retry {
        let span = |millis| Span(Duration::from_millis(millis));
        Retry { base_delay: span(base), max_delay: span(max), ..Retry::default() }
    }

    #[test]
    fn the_wait_doubles_up_to_a_limit() {
        let settings = settings(100, 1000);
        let longest = |nth| {
            let draws = [0, 50_000, 99_999, 100_000, 200_000, 400_000, 800_000, 1_000_000];
            draws.into_iter().filter_map(|random| delay(&settings, nth, None, random)).max()
        };
        for (nth, millis) in [(0, 100), (1, 200), (2, 400), (3, 800), (4, 1000), (99, 1000)] {
            assert_eq!(longest(nth), Some(Duration::from_millis(millis)), "{nth}");
        }
    }

    #[test]
    fn what_the_target_asks_for_is_waited_for_unless_it_is_too_long() {
        let settings = settings(100, 1000);
        let asked = |millis| delay(&settings, 0, Some(Duration::from_millis(millis)), 7);
        assert_eq!(asked(1000), Some(Duration::from_secs(1)));
        assert_eq!(asked(1001), None);
        assert_eq!(asked(0), Some(Duration::from_micros(7)));
    }

    #[test]
    fn every_way_to_say_it_is_read() {
        let now = "2026-03-15T14:22:31Z".parse().unwrap();
        let read = |name: &'static str, value: &'static str| {
            retry_after(&HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]), || now)
        };
        assert_eq!(read("retry-after", "3"), Some(Duration::from_secs(3)));
        assert_eq!(read("retry-after", "Sun, 15 Mar 2026 14:22:41 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(read("retry-after", "Sun, 15 Mar 2026 14:22:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        for nonsense in ["-1", "soon", "", "1.5.1", "99999999999999999999"] {
            assert_eq!(read("retry-after", nonsense), None, "{nonsense}");
        }
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_longest(
            base in 1_u64..10_000, more in 0_u64..10_000, nth in 0_u32..200,
            asked in proptest::option::of(0_u64..30_000), random: u64,
        ) {
            let settings = settings(base, base + more);
            if let Some(wait) = delay(&settings, nth, asked.map(Duration::from_millis), random) {
                prop_assert!(wait <= settings.max_delay.0);
                prop_assert!(wait >= Duration::from_millis(asked.unwrap_or(0)));
            } else {
                prop_assert!(asked.is_some_and(|asked| asked > base + more));
            }
        }
    }
}
