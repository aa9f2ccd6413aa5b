//! Traffic in figures: what each event adds to the counts of its hour, and what such counts say.

use std::collections::BTreeMap;

use crate::events::{EventType, Verdict};
use crate::words;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Requests that went through.
    Allowed,
    /// Requests that a policy refused, or whose answer it refused.
    Blocked,
    /// Requests that went through with parts removed.
    Redacted,
    /// Requests that were handed to a person.
    Escalated,
    /// Requests refused for their address.
    IpDenied,
    /// Requests refused for want of a good key.
    AuthFailed,
    /// Requests refused by a limit.
    RateLimited,
    /// Requests refused for their size.
    TooLarge,
    /// Requests refused for anything else before a policy was asked: malformed, for an address that there is not, or come
    /// at a time when the gateway takes none.
    Unserved,
    /// Of all these, the ones that were answered with a failure of the gateway or of a provider.
    Failed,
    /// Events that a gateway could not keep.
    EventsLost,
    /// Tokens of prompts.
    InputTokens,
    /// Tokens of answers.
    OutputTokens,
    /// Requests by how long they took: one count for each [bucket](bucket_of).
    Duration,
}

words!(Measure {
    Allowed = "allowed",
    Blocked = "blocked",
    Redacted = "redacted",
    Escalated = "escalated",
    IpDenied = "ip_denied",
    AuthFailed = "auth_failed",
    RateLimited = "rate_limited",
    TooLarge = "too_large",
    Unserved = "unserved",
    Failed = "failed",
    EventsLost = "events_lost",
    InputTokens = "input_tokens",
    OutputTokens = "output_tokens",
    Duration = "duration",
});

/// What refuses a request before any policy is asked.
const REFUSALS: [Measure; 5] =
    [Measure::IpDenied, Measure::AuthFailed, Measure::RateLimited, Measure::TooLarge, Measure::Unserved];

/// What becomes of a request: each is exactly one of these.
const OUTCOMES: [Measure; 4] = [Measure::Allowed, Measure::Blocked, Measure::Redacted, Measure::Escalated];

/// What of an event is counted, besides what it reports and what was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many requests or events it stands for, when it stands for several.
    pub count: Option<u64>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Milliseconds that the request took.
    pub duration_ms: Option<u64>,
    /// Tokens of the prompt.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
    /// Whether a policy refused it.
    pub is_blocked_by_policy: bool,
}

/// The most that one event adds to a count: what it says of itself must not make sums overflow.
const MOST: u64 = 1_000_000_000_000;

/// Counts of a length of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<(Measure, u32), u64>);

impl Tally {
    /// Adds what an event tells.
    pub fn note(&mut self, event_type: EventType, verdict: Option<Verdict>, counted: Counted) {
        let count = counted.count.unwrap_or(1).min(MOST);
        let Some(measure) = measure_of(event_type, verdict, counted.is_blocked_by_policy) else { return };
        self.add(measure, 0, count);
        if counted.status.is_some_and(|status| status >= 500) {
            self.add(Measure::Failed, 0, count);
        }
        self.add(Measure::InputTokens, 0, counted.input_tokens.unwrap_or(0).min(MOST));
        self.add(Measure::OutputTokens, 0, counted.output_tokens.unwrap_or(0).min(MOST));
        if let (EventType::Decision, Some(milliseconds)) = (event_type, counted.duration_ms) {
            self.add(Measure::Duration, bucket_of(milliseconds), 1);
        }
    }

    /// Adds to one count.
    pub fn add(&mut self, measure: Measure, bucket: u32, count: u64) {
        if count > 0 {
            let sum = self.0.entry((measure, bucket)).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// Adds all counts of another.
    pub fn absorb(&mut self, other: &Self) {
        for (&(measure, bucket), &count) in &other.0 {
            self.add(measure, bucket, count);
        }
    }

    /// Every count that is not zero, in order: the measure, its bucket, the count.
    pub fn counts(&self) -> impl Iterator<Item = (Measure, u32, u64)> {
        self.0.iter().map(|(&(measure, bucket), &count)| (measure, bucket, count))
    }

    /// The count of a measure.
    #[must_use]
    pub fn of(&self, measure: Measure) -> u64 {
        self.0.range((measure, 0)..=(measure, u32::MAX)).map(|(_, count)| count).sum()
    }

    /// Requests that were refused before any policy was asked.
    #[must_use]
    pub fn refused(&self) -> u64 {
        REFUSALS.into_iter().map(|measure| self.of(measure)).sum()
    }

    /// All requests, whatever became of them.
    #[must_use]
    pub fn requests(&self) -> u64 {
        OUTCOMES.into_iter().map(|measure| self.of(measure)).sum::<u64>() + self.refused()
    }

    /// The milliseconds within which this part of the requests, in percent, was answered; to an eighth. `None` where
    /// there were none.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.of(Measure::Duration) * percent).div_ceil(100);
        let mut seen = 0;
        let buckets = self.0.range((Measure::Duration, 0)..=(Measure::Duration, u32::MAX));
        for (&(_, bucket), count) in buckets {
            seen += count;
            if seen >= rank {
                return Some(middle_of(bucket));
            }
        }
        None
    }
}

fn measure_of(
    event_type: EventType,
    verdict: Option<Verdict>,
    is_blocked_by_policy: bool,
) -> Option<Measure> {
    Some(match event_type {
        EventType::AuthFailed => Measure::AuthFailed,
        EventType::EventsLost => Measure::EventsLost,
        EventType::IpDenied => Measure::IpDenied,
        EventType::RateLimited => Measure::RateLimited,
        EventType::RequestTooLarge => Measure::TooLarge,
        EventType::Decision => match verdict? {
            Verdict::Allow => Measure::Allowed,
            Verdict::Block if is_blocked_by_policy => Measure::Blocked,
            Verdict::Block => Measure::Unserved,
            Verdict::Redact => Measure::Redacted,
            Verdict::Escalate => Measure::Escalated,
        },
    })
}

/// The bucket of so many milliseconds. Buckets grow with what they hold: below 4 ms each has its own, above, four of equal
/// width lie between a power of two and the next, so that none is wider than a quarter of where it begins.
#[must_use]
pub fn bucket_of(milliseconds: u64) -> u32 {
    let Some(power) = milliseconds.checked_ilog2().filter(|power| *power >= 2) else {
        return u32::try_from(milliseconds).unwrap_or(0);
    };
    let quarter = u32::try_from((milliseconds >> (power - 2)) & 3).unwrap_or(0);
    (power - 1) * 4 + quarter
}

/// The milliseconds in the middle of a bucket.
fn middle_of(bucket: u32) -> u64 {
    let (power, quarter) = (bucket / 4 + 1, u64::from(bucket % 4));
    if power < 2 {
        return u64::from(bucket);
    }
    // What a store holds that this code did not write must not overflow.
    let width = 1_u64.checked_shl(power - 2).unwrap_or(u64::MAX);
    (4 + quarter).saturating_mul(width).saturating_add(width / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_their_middle_is_near_everything_in_them() {
        let mut last = 0;
        for milliseconds in (0..5000).chain((5000..10_000_000).step_by(997)) {
            let bucket = bucket_of(milliseconds);
            assert!(bucket >= last, "{milliseconds}");
            last = bucket;
            assert!(middle_of(bucket).abs_diff(milliseconds) * 8 <= milliseconds, "{milliseconds}");
        }
        assert!(middle_of(bucket_of(u64::MAX)) > 1 << 62);
    }

    #[test]
    fn each_event_is_counted_as_what_became_of_its_request() {
        let plain = Counted::default();
        let blocked = Counted { is_blocked_by_policy: true, ..plain };
        let table = [
            (EventType::Decision, Some(Verdict::Allow), plain, (1, 0), Measure::Allowed),
            (EventType::Decision, Some(Verdict::Block), blocked, (1, 0), Measure::Blocked),
            (EventType::Decision, Some(Verdict::Block), plain, (1, 1), Measure::Unserved),
            (EventType::Decision, Some(Verdict::Redact), plain, (1, 0), Measure::Redacted),
            (EventType::Decision, Some(Verdict::Escalate), plain, (1, 0), Measure::Escalated),
            (EventType::IpDenied, None, Counted { count: Some(7), ..plain }, (7, 7), Measure::IpDenied),
            (EventType::AuthFailed, None, plain, (1, 1), Measure::AuthFailed),
            (EventType::RateLimited, None, plain, (1, 1), Measure::RateLimited),
            (EventType::RequestTooLarge, None, plain, (1, 1), Measure::TooLarge),
            (EventType::EventsLost, None, Counted { count: Some(3), ..plain }, (0, 0), Measure::EventsLost),
        ];
        for (event_type, verdict, counted, (requests, refused), measure) in table {
            let mut tally = Tally::default();
            tally.note(event_type, verdict, counted);
            assert_eq!((tally.requests(), tally.refused()), (requests, refused), "{event_type:?}");
            assert_eq!(tally.of(measure), counted.count.unwrap_or(1), "{event_type:?}");
            assert_eq!(tally.counts().count(), 1, "{event_type:?}");
        }
        let mut tally = Tally::default();
        tally.note(EventType::IpDenied, None, Counted { count: Some(u64::MAX), ..plain });
        assert_eq!(tally.refused(), MOST);
        let mut tally = Tally::default();
        tally.note(EventType::Decision, None, plain);
        assert_eq!(tally, Tally::default(), "without a verdict nothing was decided");
    }

    #[test]
    fn failures_tokens_and_durations_are_counted_beside() {
        let mut tally = Tally::default();
        for milliseconds in 1..=100 {
            let counted = Counted {
                status: Some(if milliseconds == 100 { 502 } else { 200 }),
                duration_ms: Some(milliseconds * 10),
                input_tokens: Some(3),
                output_tokens: Some(4),
                ..Counted::default()
            };
            tally.note(EventType::Decision, Some(Verdict::Allow), counted);
        }
        let mut twice = tally.clone();
        twice.absorb(&tally);
        assert_eq!((tally.requests(), twice.requests()), (100, 200));
        assert_eq!((tally.of(Measure::Failed), tally.of(Measure::InputTokens)), (1, 300));
        assert_eq!(twice.of(Measure::OutputTokens), 800);
        for (percent, exact) in [(50, 500), (95, 950)] {
            let told = tally.percentile(percent).unwrap();
            assert!(told.abs_diff(exact) * 8 <= exact, "{told} for {exact}");
            assert_eq!(twice.percentile(percent), Some(told));
        }
        assert_eq!(Tally::default().percentile(50), None);
    }
}
