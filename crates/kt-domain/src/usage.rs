//! Usage: what requests that reached a provider used and cost, and what sums of it are told apart by.

use crate::events::EventType;
use crate::words;

/// What requests used together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// How many there were.
    pub requests: u64,
    /// Of these, the ones whose tokens are estimated in part, because their provider did not tell them all.
    pub estimated: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// What they cost, in millionths of the currency.
    pub cost_micros: u64,
}

/// What a sum is told apart by, beside the currency: amounts in two currencies have no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grouping {
    /// The day, in UTC.
    Day,
    /// The person who answers for the key.
    Member,
    /// The key.
    Key,
    /// The model that was asked for.
    Model,
}

words!(Grouping { Day = "day", Member = "member", Key = "key", Model = "model" });

/// The most that one event adds to a sum: what it says of itself must not make sums overflow.
const MOST: u64 = 1_000_000_000_000;

impl Used {
    /// What an event tells: nothing, unless it is of a request that a target was asked for.
    #[must_use]
    pub fn by(
        event_type: EventType,
        target_id: Option<&str>,
        tokens: [Option<u64>; 2],
        cost_micros: Option<u64>,
        is_estimated: bool,
    ) -> Option<Self> {
        let told = |value: Option<u64>| value.unwrap_or(0).min(MOST);
        (event_type == EventType::Decision && target_id.is_some()).then(|| Self {
            requests: 1,
            estimated: u64::from(is_estimated),
            input_tokens: told(tokens[0]),
            output_tokens: told(tokens[1]),
            cost_micros: told(cost_micros),
        })
    }

    /// Adds what others used.
    pub fn add(&mut self, other: Self) {
        let Self { requests, estimated, input_tokens, output_tokens, cost_micros } = self;
        for (sum, more) in [
            (requests, other.requests),
            (estimated, other.estimated),
            (input_tokens, other.input_tokens),
            (output_tokens, other.output_tokens),
            (cost_micros, other.cost_micros),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// Tokens of prompts and answers together.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_target_was_asked_is_usage() {
        let by = |event_type, target| Used::by(event_type, target, [Some(3), None], Some(7), true);
        let used = Used { requests: 1, estimated: 1, input_tokens: 3, output_tokens: 0, cost_micros: 7 };
        assert_eq!(by(EventType::Decision, Some("t")), Some(used));
        assert_eq!(by(EventType::Decision, None), None, "a policy blocked it");
        assert_eq!(by(EventType::RateLimited, Some("t")), None);
    }

    #[test]
    fn no_event_makes_a_sum_overflow() {
        let largest = [Some(u64::MAX); 2];
        let one =
            Used::by(EventType::Decision, Some("t"), largest, Some(u64::MAX), false).unwrap_or_default();
        assert_eq!((one.tokens(), one.cost_micros), (2 * MOST, MOST));
        let mut sum = Used { cost_micros: u64::MAX, ..one };
        sum.add(one);
        assert_eq!((sum.requests, sum.input_tokens, sum.cost_micros), (2, 2 * MOST, u64::MAX));
    }
}
