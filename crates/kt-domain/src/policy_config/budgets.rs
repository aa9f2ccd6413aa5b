//! `budgets`: how much may be used in a day or a month, by whom.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::AuthMode;
use super::rules::Review;
use super::{PolicyConfig, codes};
use crate::money::Money;

/// How much may be used in a day or a month. A request has to keep within every budget that concerns it; one that is used
/// up refuses with 429 `budget_exceeded` until its next day or month begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The budget's name in events and answers; unique.
    #[schemars(length(min = 1, max = 200))]
    pub id: String,
    /// Who has it.
    pub per: Payer,
    /// Whom alone it concerns, each with a budget of its own: ids of keys, users or groups, or entries of `prices.models`.
    /// Without it, everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// When it begins anew.
    pub period: Period,
    /// Tokens of prompts and answers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub tokens: Option<u64>,
    /// Money, by `prices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// How many tokens an answer may have whose request says nothing of that. The provider is told so, and so much is
    /// claimed.
    #[serde(default = "usual_bound")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_output_tokens: u32,
    /// Leaves answers as long as their providers make them where requests do not bound them. One that is not streamed may
    /// then use more than was claimed for it, so that many at once overdraw the budget. `max_output_tokens` then says nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unbounded_answers: bool,
}

/// Longer than nearly every answer, and short enough that many under way leave room in a budget.
const fn usual_bound() -> u32 {
    4096
}

/// Who has a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Payer {
    /// Each key by itself.
    Key,
    /// Each person by themselves, with all of their access keys.
    User,
    /// Each of `consumer_groups` by itself.
    Group,
    /// Each entry of `prices.models` by itself; models without a price have one together.
    Model,
    /// Everybody together.
    Total,
}

/// When a budget begins anew, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// At midnight.
    Day,
    /// On the first day of each month.
    Month,
}

impl Period {
    /// The first moment that belongs to the next one.
    #[must_use]
    pub fn end(self, now: Timestamp) -> Timestamp {
        let today = now.to_zoned(TimeZone::UTC).date();
        let next: Result<Date, _> = match self {
            Self::Day => today.tomorrow(),
            Self::Month => today.first_of_month().checked_add(1.month()),
        };
        let midnight = next.and_then(|date| date.to_zoned(TimeZone::UTC));
        // The last day that there is never ends.
        midnight.map_or(Timestamp::MAX, |zoned| zoned.timestamp())
    }

    /// The first moment that belongs to this one.
    #[must_use]
    pub fn begin(self, now: Timestamp) -> Timestamp {
        let today = now.to_zoned(TimeZone::UTC).date();
        let first = match self {
            Self::Day => today,
            Self::Month => today.first_of_month(),
        };
        first.to_zoned(TimeZone::UTC).map_or(Timestamp::MIN, |zoned| zoned.timestamp())
    }

    /// What it is called in a sentence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

pub(super) fn review(config: &PolicyConfig, review: &mut Review) {
    let ids = config.budgets.iter().map(|budget| budget.id.as_str());
    review.unique(ids, |index| format!("budgets[{index}].id"), "give each budget a name of its own");
    for (index, budget) in config.budgets.iter().enumerate() {
        let path = format!("budgets[{index}]");
        budget.review(&path, config, review);
        if !budget.is_bounded(config) {
            let message = "requests that bound no answer and ask for no stream may use more of this budget than they claim";
            let suggestion =
                "write `max_output_tokens` with the longest answer that such a request may get in its place";
            review.say(&codes::UNBOUNDED_BUDGET, &format!("{path}.unbounded_answers"), message, suggestion);
        }
        for (at, name) in budget.only.iter().enumerate() {
            if !budget.may_concern(name, config) {
                let message =
                    format!("nobody whom the budget `{}` could concern is called `{name}`", budget.id);
                let suggestion =
                    "name a key of `auth.keys`, a group or an entry of `prices.models` as it stands there";
                review.say(&codes::UNKNOWN_NAME, &format!("{path}.only[{at}]"), message, suggestion);
            }
        }
    }
}

impl Budget {
    /// How many tokens an answer may have whose request says nothing of that; `None` for any number.
    #[must_use]
    pub fn bound(&self) -> Option<u32> {
        (!self.unbounded_answers).then_some(self.max_output_tokens)
    }

    fn review(&self, path: &str, config: &PolicyConfig, review: &mut Review) {
        let mode = config.auth.mode_in_force(review.options.connected);
        let says_how_much =
            ["tokens", "cost"].iter().any(|key| review.is_set_aside(&format!("{path}.{key}")));
        let mut wrong = |key: &str, message: &str, suggestion: &str| {
            review.say(&codes::BAD_BUDGET, &format!("{path}.{key}"), message, suggestion);
        };
        match (self.tokens, self.cost) {
            (None, None) if !says_how_much => {
                wrong("id", "the budget says neither `tokens` nor `cost`", "say how much may be used");
            }
            (_, Some(cost)) if cost.micros == 0 => {
                wrong("cost", "a budget of nothing refuses everybody", "write an amount, such as `20`");
            }
            (_, Some(_)) if !config.prices.models.iter().any(|price| price.model == "*") => {
                let message =
                    "`prices.models` has no entry `*`: what models without a price use costs nothing";
                wrong("cost", message, "end `prices.models` with an entry for `*`");
            }
            _ => {}
        }
        match self.per {
            Payer::Key if mode == AuthMode::None => {
                wrong("per", "nobody shows a key while `auth.mode` is `none`", "write `per: total`");
            }
            Payer::User if mode != AuthMode::AccessKeys => {
                let message = "only access keys belong to users, and `auth.mode` is another";
                wrong("per", message, "write `per: key`");
            }
            Payer::Group if config.consumer_groups.is_empty() => {
                wrong("per", "there are no `consumer_groups`", "add groups, or write `per: key`");
            }
            Payer::Total if !self.only.is_empty() => {
                wrong("only", "a budget of everybody together cannot concern some alone", "remove `only`");
            }
            _ => {}
        }
    }

    /// Whether every request that it concerns gets a bound, by it or by one of everybody together.
    fn is_bounded(&self, config: &PolicyConfig) -> bool {
        let of_all = config.budgets.iter().filter(|budget| budget.per == Payer::Total);
        of_all.chain([self]).any(|budget| budget.bound().is_some())
    }

    fn may_concern(&self, name: &str, config: &PolicyConfig) -> bool {
        match self.per {
            // Those of a control plane are not known here.
            Payer::Key => config.auth.keys.is_empty() || config.auth.keys.iter().any(|key| key.id == name),
            Payer::User | Payer::Total => true,
            Payer::Group => config.consumer_groups.iter().any(|group| group.id == name),
            Payer::Model => config.prices.models.iter().any(|price| price.model == name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_end_at_midnight_in_utc() {
        for (now, day, month) in [
            ("2026-03-15T14:22:31Z", "2026-03-16T00:00:00Z", "2026-04-01T00:00:00Z"),
            ("2026-03-31T23:59:59.999999Z", "2026-04-01T00:00:00Z", "2026-04-01T00:00:00Z"),
            ("2026-04-01T00:00:00Z", "2026-04-02T00:00:00Z", "2026-05-01T00:00:00Z"),
            ("2026-12-31T12:00:00Z", "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2028-02-28T12:00:00Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
        ] {
            let now: Timestamp = now.parse().unwrap();
            assert_eq!([Period::Day, Period::Month].map(|period| period.end(now).to_string()), [day, month]);
        }
        assert!(Period::Month.end(Timestamp::MAX) >= Timestamp::MAX);
    }

    #[test]
    fn each_begins_where_the_one_before_ends() {
        for now in [
            "2026-03-15T14:22:31Z",
            "2026-03-01T00:00:00Z",
            "2026-12-31T23:59:59.999999Z",
            "2028-02-29T12:00:00Z",
        ] {
            let now: Timestamp = now.parse().unwrap();
            for period in [Period::Day, Period::Month] {
                let begin = period.begin(now);
                let moment_before = begin - jiff::SignedDuration::from_micros(1);
                assert!(begin <= now, "{period:?} {now}");
                assert_eq!(
                    (period.begin(begin), period.end(moment_before)),
                    (begin, begin),
                    "{period:?} {now}"
                );
            }
        }
    }
}
