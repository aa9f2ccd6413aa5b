//! What of an event it is found by, and whose key it tells of.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use jiff::Timestamp;
use kt_domain::events::{EventType, Head, PolicyEvaluation, Verdict};
use kt_domain::id::ApiKeyId;
use kt_domain::network::cidr::canonical;
use kt_domain::traffic::Counted;
use kt_domain::usage::Used;
use kt_store::events::NewEvent;
use kt_store::usage::NewUsage;
use serde::Deserialize;

use super::LONGEST_NAME;

/// The longest identifier of an event.
const LONGEST_ID: usize = 64;

/// How many characters of a model's name, or of another, are told apart in sums.
const MOST_CHARACTERS: usize = 200;

/// What is read of an event. Newer gateways may say more.
#[derive(Deserialize)]
struct Facts {
    id: String,
    event_type: EventType,
    timestamp: Timestamp,
    gateway_id: String,
    source_ip: Option<IpAddr>,
    request_id: Option<String>,
    verdict: Option<Verdict>,
    key_id: Option<String>,
    count: Option<u64>,
    status: Option<u16>,
    duration_ms: Option<u64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    target_id: Option<String>,
    model: Option<String>,
    user_id: Option<String>,
    cost_micros: Option<u64>,
    currency: Option<String>,
    #[serde(default)]
    usage_estimated: bool,
    #[serde(default)]
    policies_evaluated: Vec<PolicyEvaluation>,
}

impl Facts {
    /// Refuses names that are longer than what PostgreSQL keeps in an index.
    fn check(&self) -> Result<(), String> {
        let request_id = self.request_id.as_deref().unwrap_or_default();
        for (field, text, shortest, longest) in [
            ("id", self.id.as_str(), 1, LONGEST_ID),
            ("gateway_id", &self.gateway_id, 1, LONGEST_NAME),
            ("request_id", request_id, 0, LONGEST_NAME),
        ] {
            if !(shortest..=longest).contains(&text.len()) {
                return Err(format!("its `{field}` has not {shortest} to {longest} bytes"));
            }
        }
        Ok(())
    }

    /// What the request used. Names that clients choose are cut to what a table takes.
    fn usage(&self) -> Option<NewUsage> {
        let tokens = [self.input_tokens, self.output_tokens];
        let target = self.target_id.as_deref();
        let used = Used::by(self.event_type, target, tokens, self.cost_micros, self.usage_estimated)?;
        let name = |text: &Option<String>| {
            let plain = text.iter().flat_map(|text| text.chars()).filter(|c| !c.is_control());
            plain.take(MOST_CHARACTERS).collect::<String>()
        };
        Some(NewUsage {
            user: self.user_id.as_deref().and_then(|user| user.parse().ok()),
            key: name(&self.key_id),
            model: name(&self.model),
            currency: name(&self.currency),
            used,
        })
    }
}

/// Events as they are stored, and what they tell of keys.
#[derive(Default)]
pub(super) struct Events {
    pub(super) all: Vec<NewEvent>,
    /// The last use of each key that they name: when, and from where.
    pub(super) key_uses: BTreeMap<ApiKeyId, (Timestamp, Option<IpAddr>)>,
    ids: HashSet<String>,
}

impl Events {
    /// Adds the event with this canonical JSON text. `false`, and nothing added, for one that is there already.
    pub(super) fn add(&mut self, body: String, head: Option<Head>) -> Result<bool, String> {
        let facts: Facts = serde_json::from_str(&body).map_err(|why| why.to_string())?;
        facts.check()?;
        if !self.ids.insert(facts.id.clone()) {
            return Ok(false);
        }
        let usage = facts.usage();
        if let Some(key) = facts.key_id.and_then(|id| id.parse().ok()) {
            let latest = self.key_uses.entry(key).or_insert((facts.timestamp, facts.source_ip));
            if latest.0 < facts.timestamp {
                *latest = (facts.timestamp, facts.source_ip);
            }
        }
        self.all.push(NewEvent {
            gateway_id: facts.gateway_id,
            head,
            id: facts.id,
            occurred_at: facts.timestamp,
            event_type: facts.event_type,
            source_ip: facts.source_ip.map(canonical),
            request_id: facts.request_id,
            verdict: facts.verdict,
            counted: Counted {
                count: facts.count,
                status: facts.status,
                duration_ms: facts.duration_ms,
                input_tokens: facts.input_tokens,
                output_tokens: facts.output_tokens,
                is_blocked_by_policy: facts.policies_evaluated.iter().any(PolicyEvaluation::blocks),
            },
            usage,
            body,
        });
        Ok(true)
    }
}
