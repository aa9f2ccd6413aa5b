//! What a client is told about limits: in the words of OpenAI's SDKs (`x-ratelimit-…-requests`), in those that most clients
//! know (`x-ratelimit-limit` and its like), and in those of the IETF (`RateLimit`, `RateLimit-Policy`:
//! draft-ietf-httpapi-ratelimit-headers).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use kt_domain::money::Money;

use super::{Claim, Denied, Grant, Left, Measure, Spending, Subject, Unit};
use crate::reply::{Refusal, X_SHOULD_RETRY};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// How many headers tell how limits stand.
const MOST_HEADERS: usize = 11;

/// The names of one measure's headers: limit, remaining, reset.
type Names = [HeaderName; 3];
/// Of whatever limit is nearest; the reset is a bare number of seconds.
const NEAREST: Names = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];
const REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

const CONCURRENT: Names = [
    HeaderName::from_static("x-ratelimit-limit-concurrent"),
    HeaderName::from_static("x-ratelimit-remaining-concurrent"),
    HeaderName::from_static("x-ratelimit-reset-concurrent"),
];
const BUDGET: Names = [
    HeaderName::from_static("x-ratelimit-limit-budget"),
    HeaderName::from_static("x-ratelimit-remaining-budget"),
    HeaderName::from_static("x-ratelimit-reset-budget"),
];

/// The refusal of a request while so many are under way that no more may be.
pub(crate) fn no_place(limit: u64, message: impl Into<Cow<'static, str>>, again: Duration) -> Refusal {
    let refusal = Refusal::rate_limit(429, "concurrency_limit", message)
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds(again).max(1)));
    with_nothing_left(refusal, CONCURRENT, limit.into(), again)
}

/// The same refusal, told that nothing is left until then.
fn with_nothing_left(refusal: Refusal, names: Names, limit: HeaderValue, reset: Duration) -> Refusal {
    let in_seconds = HeaderValue::from(seconds(reset));
    let with_unit =
        HeaderValue::from_str(&format!("{}s", seconds(reset))).unwrap_or_else(|_| in_seconds.clone());
    let of_measure = names.into_iter().zip([limit.clone(), 0.into(), with_unit]);
    let of_nearest = NEAREST.into_iter().zip([limit, 0.into(), in_seconds]);
    of_measure.chain(of_nearest).fold(refusal, |refusal, (name, value)| refusal.with_header(name, value))
}

impl Denied {
    /// Whose limit was reached, and of what, for the event.
    pub(crate) fn limited_by(&self) -> Option<String> {
        match self {
            Self::Limited { claim, .. } => Some(match &claim.measure {
                Measure::Spent(spending) => format!("budget {}", spending.budget),
                _ => format!("{} {}", claim.whose(), claim.what()),
            }),
            Self::Unknown => None,
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let Denied::Limited { claim, wait } = denied else {
            let message =
                "Limits cannot be counted at present, so that no request is let through. Try again later.";
            return Self::unavailable(503, "limits_unavailable", message);
        };
        let seconds = seconds(wait).max(1);
        if let Measure::Spent(spending) = &claim.measure {
            return used_up(spending, claim.limit, wait);
        }
        let who = match claim.subject {
            Subject::Everybody => "All clients together",
            Subject::Key(_) => "This key",
            Subject::Address(_) => "Your address",
            Subject::Group(_) => "Your group",
            Subject::Route(_) => "All clients of this path",
            Subject::User(_) => "You",
            Subject::Model(_) => "All clients of this model",
        };
        let limit = claim.limit;
        let again = format!("Try again in {seconds} s.");
        let refusal = match claim.measure {
            Measure::Requests => Self::rate_limit(
                429,
                "rate_limited",
                format!("{who} may make {limit} requests a minute. {again}"),
            ),
            Measure::Tokens => Self::rate_limit(
                429,
                "tokens_limited",
                format!("{who} may use {limit} tokens a minute. {again}"),
            ),
            Measure::Concurrent | Measure::Spent(_) => {
                let message = format!("{who} may have {limit} requests under way at once. {again}");
                return no_place(limit, message, wait);
            }
        };
        let refusal = refusal.with_header(header::RETRY_AFTER, HeaderValue::from(seconds));
        let nothing = Left { amount: 0, reset: wait };
        let mut headers = HeaderMap::new();
        tell(&[(&claim, &nothing)], &mut headers);
        headers.into_iter().fold(refusal, |refusal, (name, value)| match name {
            Some(name) => refusal.with_header(name, value),
            None => refusal,
        })
    }
}

/// A budget has nothing left. An SDK that tries again at once does so for nothing.
fn used_up(spending: &Spending, limit: u64, wait: Duration) -> Refusal {
    let budget = &spending.budget;
    let again = Timestamp::from_microsecond(spending.until)
        .map_or_else(|_| "later".to_owned(), |until| format!("at {until:.0}"));
    let message = format!(
        "The budget `{budget}` is used up. It begins anew {again}; ask whoever runs this gateway if you need more."
    );
    let refusal = Refusal::rate_limit(429, "budget_exceeded", message)
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds(wait).max(1)))
        .with_header(X_SHOULD_RETRY, HeaderValue::from_static("false"));
    let limit = match spending.unit {
        Unit::Tokens => limit.into(),
        Unit::Cost => {
            HeaderValue::from_str(&Money { micros: limit }.to_string()).unwrap_or_else(|_| limit.into())
        }
    };
    with_nothing_left(refusal, BUDGET, limit, wait)
}

impl Grant {
    /// Tells the client how its limits stand.
    pub(crate) fn tell_all(grants: &[Self], headers: &mut HeaderMap) {
        if !grants.is_empty() {
            headers.reserve(MOST_HEADERS);
            let standing: Vec<_> = grants.iter().flat_map(Self::standing).collect();
            tell(&standing, headers);
        }
    }
}

fn tell(standing: &[(&Claim, &Left)], headers: &mut HeaderMap) {
    let (mut policy, mut state) = (String::new(), String::new());
    let is_rate = |claim: &Claim| matches!(claim.measure, Measure::Requests | Measure::Tokens);
    for (claim, left) in standing.iter().filter(|(claim, _)| is_rate(claim)) {
        let separator = if policy.is_empty() { "" } else { ", " };
        let name = format!("{}-{}", claim.whose(), claim.what());
        // Writing to a string cannot fail.
        let _ = write!(policy, "{separator}\"{name}\";q={};w=60", claim.limit);
        let _ = write!(state, "{separator}\"{name}\";r={};t={}", left.amount, seconds(left.reset));
    }
    for (name, text) in [(POLICY, policy), (STANDING, state)] {
        if let Ok(value) = HeaderValue::from_str(&text)
            && !text.is_empty()
        {
            headers.insert(name, value);
        }
    }
    if let Some((claim, left)) = nearest(standing.iter().filter(|(claim, _)| is_rate(claim))) {
        let [limit, remaining, reset] = NEAREST;
        headers.insert(limit, claim.limit.into());
        headers.insert(remaining, left.amount.into());
        headers.insert(reset, seconds(left.reset).into());
    }
    for (measure, names) in [(Measure::Requests, REQUESTS), (Measure::Tokens, TOKENS)] {
        let of_measure = standing.iter().filter(|(claim, _)| claim.measure == measure);
        if let Some((claim, left)) = of_measure.min_by_key(|(_, left)| left.amount) {
            let [limit, remaining, reset] = names;
            headers.insert(limit, claim.limit.into());
            headers.insert(remaining, left.amount.into());
            if let Ok(value) = HeaderValue::from_str(&format!("{}s", seconds(left.reset))) {
                headers.insert(reset, value);
            }
        }
    }
}

/// Of which the smallest part is left.
fn nearest<'a>(
    standing: impl Iterator<Item = &'a (&'a Claim, &'a Left)>,
) -> Option<&'a (&'a Claim, &'a Left)> {
    standing.min_by(|(claim, left), (other, of_other)| {
        let parts = |left: &Left, whole: &Claim| u128::from(left.amount) * u128::from(whole.limit);
        parts(left, other).cmp(&parts(of_other, claim))
    })
}

impl Claim {
    fn whose(&self) -> &'static str {
        match self.subject {
            Subject::Everybody => "total",
            Subject::Key(_) => "key",
            Subject::Address(_) => "address",
            Subject::Group(_) => "group",
            Subject::Route(_) => "route",
            Subject::User(_) => "user",
            Subject::Model(_) => "model",
        }
    }

    fn what(&self) -> &'static str {
        match self.measure {
            Measure::Requests => "requests",
            Measure::Tokens => "tokens",
            Measure::Concurrent => "concurrent",
            Measure::Spent(_) => "budget",
        }
    }
}

fn seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}
