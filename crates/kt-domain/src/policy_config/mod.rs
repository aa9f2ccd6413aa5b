//! The gateway's configuration, `policy-config.yaml`: its shape, its defaults and its rules.
//!
//! The structures below are the one description of the file: the JSON Schema, the reference page and the checks for
//! unknown keys, types and ranges follow from them and their comments.

pub mod vendors;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One gateway configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Who made this configuration and whether it is in force.
    pub pack: Pack,
    /// Where requests are forwarded to.
    pub providers: Providers,
    /// Which policies judge a request, in order.
    pub policies: Policies,
    /// The settings of each policy, by kind.
    pub policy: PolicySettings,
    /// Which browser origins may call the gateway.
    pub cors: Cors,
    /// Which source addresses may call the gateway.
    pub ip_allowlist: IpAllowlist,
    /// How large a body may be.
    pub size_limits: SizeLimits,
    /// How a caller proves who it is.
    pub auth: Auth,
    /// How connections are taken.
    pub listener: Listener,
    /// How long each phase of a request may take.
    pub timeouts: Timeouts,
    /// How events are recorded.
    pub events: Events,
}

/// The name, version and state of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pack {
    /// A name for people, 1 to 200 characters.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// The configuration's version, by Semantic Versioning 2.0.0.
    pub version: String,
    /// Whether the gateway answers at all; `false` answers every request 503 `pack_disabled`.
    pub enabled: bool,
}

impl Default for Pack {
    fn default() -> Self {
        Self { name: "unnamed".into(), version: "0.0.0".into(), enabled: true }
    }
}

/// The providers that requests can be forwarded to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Providers {
    /// The targets. A request goes to a target that names the request's model, else to one that names no model, else
    /// to any; among those to the lowest `priority`, shared out by `weight`.
    pub targets: Vec<Target>,
}

/// One place to forward to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The target's name in events and metrics; unique.
    #[schemars(length(min = 1, max = 200))]
    pub id: String,
    /// `vendor` or `vendor:surface:model`, such as `openai:chat:gpt-4o`, `anthropic` or `echo`.
    pub provider: String,
    /// The model this target serves; the same as the third part of `provider`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Where the vendor's API is, with its version segment, as the vendor's SDKs take it: `https://host/v1`.
    /// Needed for a vendor whose address is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Where the provider's key is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretRef>,
    /// Headers added to every request to this target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// This target's share among targets of the same priority.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
    /// Targets with a lower number are asked first.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: u32,
}

fn one() -> u32 {
    1
}

/// Where a secret is read from. The secret itself never stands in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// The environment variable that holds it.
    #[schemars(length(min = 1))]
    pub env: String,
}

/// The policy chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policies {
    /// The kinds of policy that judge each request, in this order.
    pub chain: Vec<String>,
}

/// The settings of each policy kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySettings {
    /// Settings of `audit-logger`.
    #[serde(rename = "audit-logger", skip_serializing_if = "Option::is_none")]
    pub audit_logger: Option<AuditLogger>,
}

/// `audit-logger`: keeps a record of what passed, for a stated time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditLogger {
    /// Whether no interface may edit or delete an event before its retention ends.
    pub immutable: bool,
    /// For how many days events are kept.
    #[schemars(range(min = 1, max = 36500))]
    pub retention_days: u32,
    /// Whether every request is recorded; `false` records only those that were not allowed or failed.
    pub log_all_access: bool,
}

impl Default for AuditLogger {
    fn default() -> Self {
        Self { immutable: true, retention_days: 365, log_all_access: true }
    }
}

/// Cross-Origin Resource Sharing: which browser origins may read the gateway's answers. It is no access control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Whether `Access-Control-*` headers are sent and preflights answered.
    pub enabled: bool,
    /// The permitted origins, as browsers write them (`https://app.example.com`), or `*` for any.
    pub allow_origins: Vec<String>,
    /// The methods that a browser may use.
    pub allow_methods: Vec<String>,
    /// The request headers that a browser may send; `*` permits those it asks for.
    pub allow_headers: Vec<String>,
    /// The response headers that a browser's scripts may read.
    pub expose_headers: Vec<String>,
    /// Whether a browser may send credentials; must be false when `allow_origins` holds `*`.
    pub allow_credentials: bool,
    /// For how many seconds a browser may remember a preflight's answer.
    #[schemars(range(max = 4_294_967_295_u64))]
    pub max_age_seconds: u64,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            enabled: false,
            allow_origins: Vec::new(),
            allow_methods: ["GET", "POST", "OPTIONS"].map(String::from).to_vec(),
            allow_headers: ["Content-Type", "Authorization"].map(String::from).to_vec(),
            expose_headers: Vec::new(),
            allow_credentials: false,
            max_age_seconds: 86_400,
        }
    }
}

/// Which source addresses may call the gateway, and where the source address is read from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IpAllowlist {
    /// Whether source addresses are checked.
    pub enabled: bool,
    /// The ranges (CIDR) that may call. Enabled with an empty list refuses everybody.
    pub allow: Vec<String>,
    /// The ranges (CIDR) that may not, even if `allow` holds them.
    pub deny: Vec<String>,
    /// Whether the source address is read from `ip_header` instead of the TCP connection.
    pub trust_proxy_headers: bool,
    /// The header that the forwarding layer sets: `X-Forwarded-For`, `Forwarded`, `X-Real-IP`, `CF-Connecting-IP`.
    pub ip_header: String,
    /// The ranges (CIDR) of the forwarding layer. When given, the right-most address that is in none of them is the
    /// client's, and a peer outside them is itself the client.
    pub trusted_proxies: Vec<String>,
    /// Without `trusted_proxies`: how many entries from the right of the header the client's address stands.
    #[schemars(range(min = 1, max = 32))]
    pub trusted_hops: u32,
}

impl Default for IpAllowlist {
    fn default() -> Self {
        Self {
            enabled: false,
            allow: Vec::new(),
            deny: Vec::new(),
            trust_proxy_headers: false,
            ip_header: "X-Forwarded-For".into(),
            trusted_proxies: Vec::new(),
            trusted_hops: 1,
        }
    }
}

/// How large bodies may be, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SizeLimits {
    /// The largest request body, also after decompression; a larger one is answered 413.
    #[schemars(range(min = 1))]
    pub max_request_body_bytes: u64,
    /// The largest response body that is held in memory; a larger one is answered 502. Streams have no such limit.
    #[schemars(range(min = 1))]
    pub max_response_body_bytes: u64,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self { max_request_body_bytes: 10_485_760, max_response_body_bytes: 33_554_432 }
    }
}

/// How a caller proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// `none`, `static` or `access_keys`; by default `none` for a gateway that stands alone, else `access_keys`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<AuthMode>,
    /// The keys of mode `static`.
    pub keys: Vec<StaticKey>,
}

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Nobody is asked.
    None,
    /// The keys of this configuration.
    Static,
    /// The access keys of the control plane.
    AccessKeys,
}

/// One key of mode `static`. Exactly one of `sha256` and `secret_key_ref` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticKey {
    /// The key's name in events; unique.
    #[schemars(length(min = 1, max = 200))]
    pub id: String,
    /// The SHA-256 of the key, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Where the key is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretRef>,
    /// The ranges (CIDR) from which the key may be used; empty means from anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_ranges: Vec<String>,
    /// How many requests a minute the key may make; without it, any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub requests_per_minute: Option<u32>,
}

/// How connections are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listener {
    /// Whether each connection begins with a PROXY protocol header (v1 or v2); taken from
    /// `ip_allowlist.trusted_proxies` only.
    pub proxy_protocol: bool,
    /// The names under which clients may address the gateway (`Host`); empty means any. Others are answered 421.
    pub hosts: Vec<String>,
    /// How many connections may be open at once.
    #[schemars(range(min = 1))]
    pub max_connections: u32,
}

impl Default for Listener {
    fn default() -> Self {
        Self { proxy_protocol: false, hosts: Vec::new(), max_connections: 16_384 }
    }
}

/// How long each phase of a request may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a request's line and headers to arrive.
    pub request_header: Span,
    /// Between two pieces of a request's body.
    pub request_body_idle: Span,
    /// For the next request on an open connection.
    pub keep_alive: Span,
    /// For the connection to a provider, TLS included.
    pub connect: Span,
    /// For the head of a provider's answer.
    pub first_byte: Span,
    /// Between two pieces of a provider's answer.
    pub upstream_idle: Span,
    /// For a client to take the next piece of its answer.
    pub response_idle: Span,
    /// For live requests to finish after a termination signal.
    pub drain: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = |n| Span(Duration::from_secs(n));
        Self {
            request_header: seconds(10),
            request_body_idle: seconds(30),
            keep_alive: seconds(75),
            connect: seconds(5),
            first_byte: seconds(300),
            upstream_idle: seconds(120),
            response_idle: seconds(60),
            drain: seconds(30),
        }
    }
}

/// How events are recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// What happens to requests while events cannot be recorded: `refuse` answers them 503, `allow` lets them through
    /// and records how many were lost as soon as that is possible.
    pub on_failure: OnFailure,
    /// A file, best on another disk or machine, that always holds the newest signed checkpoint; a store that was set
    /// back or cut is recognised by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor_file: Option<String>,
    /// How many refusals a second of one source address are recorded one by one, after a first burst of ten times as
    /// many; a counted event stands for the rest.
    #[schemars(range(min = 1))]
    pub refusals_per_second: u32,
}

impl Default for Events {
    fn default() -> Self {
        Self { on_failure: OnFailure::Refuse, anchor_file: None, refusals_per_second: 100 }
    }
}

/// What happens to requests while events cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// They are answered 503 `events_unavailable`.
    Refuse,
    /// They go through unrecorded, and are counted.
    Allow,
}

/// A length of time, written as a number and a unit: `500ms`, `30s`, `2m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

mod span {
    //! How a [`Span`](super::Span) is written and read.

    use std::borrow::Cow;
    use std::fmt;
    use std::str::FromStr;
    use std::time::Duration;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::Span;

    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

    impl FromStr for Span {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let number: Option<u64> = text[..digits].parse().ok();
            let unit = UNITS.iter().find(|(name, _)| *name == &text[digits..]);
            match number.zip(unit).and_then(|(number, (_, millis))| number.checked_mul(*millis)) {
                Some(millis @ 1..=86_400_000) => Ok(Self(Duration::from_millis(millis))),
                _ => Err(format!(
                    "`{text}` is no length of time: write a number and `ms`, `s`, `m` or `h`, such as `30s` (at most 24h)"
                )),
            }
        }
    }

    impl fmt::Display for Span {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let millis = self.0.as_millis();
            let (unit, factor) = UNITS
                .iter()
                .rev()
                .find(|(_, factor)| millis.is_multiple_of(u128::from(*factor)))
                .unwrap_or(&UNITS[0]);
            write!(f, "{}{unit}", millis / u128::from(*factor))
        }
    }

    impl Serialize for Span {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Span {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        }
    }

    impl JsonSchema for Span {
        fn schema_name() -> Cow<'static, str> {
            "Span".into()
        }

        fn inline_schema() -> bool {
            true
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "string", "format": "duration-text", "pattern": "^[0-9]+(ms|s|m|h)$" })
        }
    }
}
