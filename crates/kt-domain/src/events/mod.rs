//! What the gateway records of every request, and the form in which it is proven.

mod canonical;
mod chain;
mod hash;
mod statements;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::policy_config::Phase;
use crate::words;
pub use canonical::{NotCanonical, canonical};
pub use chain::{Entry, Head, Kind, NotARecord, Record};
pub(crate) use hash::unhex;
pub use hash::{Hash, InvalidHex, KeyId, PublicKey};
pub use statements::{Checkpoint, Excerpt, Removal, RemovalReason, SegmentStart};

/// What an event reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// A request was refused because no key, or not the right one, came with it.
    AuthFailed,
    /// A request was judged, whatever came of it: answered, blocked, failed upstream, malformed.
    Decision,
    /// Events were lost because the store could not take them; `count` says how many.
    EventsLost,
    /// A request was refused because of its source address.
    IpDenied,
    /// A request was refused because a limit was reached; `limited_by` says which.
    RateLimited,
    /// A request was refused because its body is larger than allowed.
    RequestTooLarge,
}

words!(EventType {
    AuthFailed = "auth_failed",
    Decision = "decision",
    EventsLost = "events_lost",
    IpDenied = "ip_denied",
    RateLimited = "rate_limited",
    RequestTooLarge = "request_too_large",
});

/// What the gateway decided about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It went through.
    Allow,
    /// It was refused.
    Block,
    /// It went through with parts removed.
    Redact,
    /// It was handed to a person.
    Escalate,
}

// As it stands in `X-KT-Policy-Action` too.
words!(Verdict { Allow = "allow", Block = "block", Redact = "redact", Escalate = "escalate" });

/// Which rule of the IP allowlist refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchedRule {
    /// A `deny` range holds the address.
    Deny,
    /// No `allow` range holds the address.
    NotAllowed,
    /// The address could not be told.
    UnresolvedSource,
}

/// One policy of the chain and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyEvaluation {
    /// Whether its verdict was recorded and had no effect.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub dry_run: bool,
    /// The policy's kind, as in `policies.chain`.
    pub kind: Arc<str>,
    /// Whether there was content that it could not read.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub not_scanned: bool,
    /// What it judged; an evaluation that does not say so is of the request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub phase: Option<Phase>,
    /// The names of its rules that found something, in the order of their names. Never what they found.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub rules: Vec<Arc<str>>,
    /// The points of those rules, from a policy that weighs them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub score: Option<u32>,
    /// What it decided.
    pub verdict: Verdict,
}

impl PolicyEvaluation {
    /// A policy of this kind judged a request, and said this of it.
    #[must_use]
    pub fn new(kind: Arc<str>, verdict: Verdict) -> Self {
        Self {
            dry_run: false,
            kind,
            not_scanned: false,
            phase: None,
            rules: Vec::new(),
            score: None,
            verdict,
        }
    }

    /// Whether its verdict alone kept the request or its answer from going on. A request can be refused without any such
    /// evaluation, for being malformed for example.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.verdict == Verdict::Block && !self.dry_run
    }
}

/// A target that gave no usable answer, before another one or a repetition did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// What went wrong, by the code that a client would have been given.
    pub reason_code: Arc<str>,
    /// The target that was asked.
    pub target_id: Arc<str>,
}

/// One event, flat.
///
/// The fields stand in the order of their names: written as JSON without spaces this is the canonical form of
/// RFC 8785 (all values are strings, integers, booleans, or arrays of such or of objects of such; integers are written out in full, also
/// beyond 2^53), over which the chain's hashes are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Version of the configuration that decided: the first 12 hexadecimal digits of its SHA-256.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config_version: Option<Arc<str>>,
    /// The group that the key belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub consumer_group: Option<Arc<str>>,
    /// What the tokens cost by `prices`, in millionths of `currency`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost_micros: Option<u64>,
    /// How many requests or events this one stands for, when it stands for several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u64>,
    /// What `cost_micros` is in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub currency: Option<Arc<str>>,
    /// The `deny` range that matched, as configured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deny_range: Option<Arc<str>>,
    /// Milliseconds from the first byte of the request to the last of the response.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_ms: Option<u64>,
    /// What it reports.
    pub event_type: EventType,
    /// The targets that were asked in vain before `target_id` was, in order.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failed_attempts: Option<Vec<FailedAttempt>>,
    /// The gateway that recorded it.
    pub gateway_id: Arc<str>,
    /// `evt_` and 32 hexadecimal digits; sorts by time.
    pub id: String,
    /// Tokens of the prompt, as the provider counted them; see `usage_estimated`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input_tokens: Option<u64>,
    /// The key that was used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_id: Option<Arc<str>>,
    /// Whose limit was reached, and of what, such as `key requests`; or which budget, such as `budget research`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limited_by: Option<Arc<str>>,
    /// The rule that refused an address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub matched_rule: Option<MatchedRule>,
    /// The request's method.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub method: Option<String>,
    /// The model that the request named.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    /// Tokens of the answer, as the provider counted them; see `usage_estimated`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_tokens: Option<u64>,
    /// The address of the other end of the TCP connection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer_ip: Option<IpAddr>,
    /// The chain's policies that were asked, in order.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policies_evaluated: Option<Vec<PolicyEvaluation>>,
    /// The vendor that was asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<Arc<str>>,
    /// The `code` of the answer's error body, or `ok`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason_code: Option<Arc<str>>,
    /// The request's identifier, as in `X-KT-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
    /// The request's path, without its query.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_path: Option<String>,
    /// The route of the configuration that the path belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub route: Option<Arc<str>>,
    /// When the first of the `count` requests came, RFC 3339 in UTC.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<String>,
    /// The address that the rules saw.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_ip: Option<IpAddr>,
    /// The status of the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// Whether the answer was a stream.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stream: Option<bool>,
    /// The target that was asked, last if there were several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_id: Option<Arc<str>>,
    /// When it happened: RFC 3339 in UTC, with `Z`, to the millisecond.
    pub timestamp: String,
    /// Milliseconds from sending the request upstream to the head of its answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream_ms: Option<u64>,
    /// Whether the provider did not tell all tokens, so that some are estimated: it tells none, or the answer was cut off.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usage_estimated: Option<bool>,
    /// Who asked, where a person did so in the console's workspaces.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<Arc<str>>,
    /// What was decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<Verdict>,
}

impl Event {
    /// An event of `event_type` with nothing but its place and time.
    #[must_use]
    pub fn new(event_type: EventType, id: String, timestamp: String, gateway_id: Arc<str>) -> Self {
        Self {
            config_version: None,
            consumer_group: None,
            cost_micros: None,
            count: None,
            currency: None,
            deny_range: None,
            duration_ms: None,
            event_type,
            failed_attempts: None,
            gateway_id,
            id,
            input_tokens: None,
            key_id: None,
            limited_by: None,
            matched_rule: None,
            method: None,
            model: None,
            output_tokens: None,
            peer_ip: None,
            policies_evaluated: None,
            provider: None,
            reason_code: None,
            request_id: None,
            request_path: None,
            route: None,
            since: None,
            source_ip: None,
            status: None,
            stream: None,
            target_id: None,
            timestamp,
            upstream_ms: None,
            usage_estimated: None,
            user_id: None,
            verdict: None,
        }
    }
}
