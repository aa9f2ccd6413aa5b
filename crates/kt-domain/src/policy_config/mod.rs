//! The gateway's configuration, `policy-config.yaml`: its shape, its defaults and its rules.
//!
//! The structures are the one description of the file: the JSON Schema, the reference page and the checks for unknown
//! keys, types and ranges follow from them and their comments. Each file of a section holds its structures and, below
//! them, the rules that a schema cannot say.
//!
//! A text becomes a configuration in steps: [`document`] makes a tree whose nodes know their place, later files are
//! laid over earlier ones, [`check`] compares the tree with the [`shape`], [`de`] makes the structures, and their rules
//! speak last. Whatever one step finds is set aside, so that the next still finds its own.

mod auth;
pub(crate) mod base_url;
mod budgets;
pub(crate) mod check;
mod circuit_breaker;
pub(crate) mod codes;
mod consumer_groups;
mod cors;
pub(crate) mod de;
mod document;
mod events;
pub(crate) mod finding;
mod ip_allowlist;
pub(crate) mod listener;
pub(crate) mod node;
mod pack;
mod policies;
mod prices;
mod providers;
mod rate_limits;
mod retry;
mod routes;
mod rules;
mod scalar;
pub(crate) mod shape;
mod size_limits;
mod suggest;
mod telemetry;
#[cfg(test)]
mod tests;
mod texts;
mod timeouts;
pub mod vendors;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::deployment_config;
pub use crate::span::Span;
pub use auth::{Auth, AuthMode, StaticKey};
pub use budgets::{Budget, Payer, Period};
pub use circuit_breaker::CircuitBreaker;
pub use codes::{CODES, Code};
pub use consumer_groups::ConsumerGroup;
pub use cors::Cors;
pub use document::MAX_BYTES;
pub use events::{Events, OnFailure};
pub use finding::{Finding, Severity};
pub use ip_allowlist::IpAllowlist;
pub use listener::Listener;
pub use pack::Pack;
pub use policies::{
    Action, AuditLogger, DataRouting, Dictionary, DlpFilter, Entity, INJECTION_RULES, POLICY_KINDS, Pattern,
    Phase, PiiDetector, Policies, PolicySettings, PromptInjection, RoutingRule, SafetyFilter, Unreadable,
};
pub use prices::{ModelPrice, Prices};
pub use providers::{Providers, SecretPlace, SecretRef, Target};
pub use rate_limits::{OnCountingFailure, RateLimits, Rates};
pub use retry::{FaultKind, Retry};
pub use routes::Route;
pub use shape::json_schema;
pub use size_limits::SizeLimits;
pub use telemetry::Telemetry;
pub use texts::Texts;
pub use timeouts::Timeouts;

use finding::{MOST_TOLD, Report};
use node::Node;

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
    /// Other rules for requests to some paths.
    pub routes: Vec<Route>,
    /// Other rules for the holders of some keys.
    pub consumer_groups: Vec<ConsumerGroup>,
    /// How much may be asked for, by whom.
    pub rate_limits: RateLimits,
    /// What tokens cost.
    pub prices: Prices,
    /// How much may be used in a day or a month, by whom.
    pub budgets: Vec<Budget>,
    /// How long each phase of a request may take.
    pub timeouts: Timeouts,
    /// What happens when a target gives no usable answer.
    pub retry: Retry,
    /// Leaving a target alone that fails again and again.
    pub circuit_breaker: CircuitBreaker,
    /// How events are recorded.
    pub events: Events,
    /// Traces and metrics for OpenTelemetry.
    pub telemetry: Telemetry,
}

/// A configuration to start from: one target that needs no key, and every control with its default and a comment.
pub const STARTER: &str = include_str!("starter.yaml");

/// The text of one configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What the file is called in findings.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// What a configuration is loaded for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Whether the gateway is connected to a control plane, which alone knows access keys.
    pub connected: bool,
    /// Whether the control plane keeps the configuration, so that it may name the credentials that are kept there.
    pub kept: bool,
}

impl PolicyConfig {
    /// The names of the control plane's credentials that it asks for.
    #[must_use]
    pub fn stored_credentials(&self) -> BTreeSet<&str> {
        let targets = self.providers.targets.iter().filter_map(|target| target.secret_key_ref.as_ref());
        let keys = self.auth.keys.iter().filter_map(|key| key.secret_key_ref.as_ref());
        let places = targets.chain(keys).chain(&self.telemetry.secret_key_ref).filter_map(SecretRef::place);
        places
            .filter_map(|place| match place {
                SecretPlace::Stored(name) => Some(name),
                SecretPlace::Environment(_) => None,
            })
            .collect()
    }
}

/// What came of loading a configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration; none when a finding is an error.
    pub config: Option<PolicyConfig>,
    /// What the sources say of themselves, also when an error stops the configuration; none when they cannot be read.
    pub outline: Option<Outline>,
    /// Everything there is to say, in the order of the files and their lines.
    pub findings: Vec<Finding>,
    /// The first 12 hexadecimal digits of the SHA-256 of the sources, each preceded by its length.
    pub version: String,
}

/// What a person or a program tells configurations apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The pack's name.
    pub pack: String,
    /// The policy chain as written, with kinds that there are not.
    pub chain: Vec<String>,
}

impl Loaded {
    /// The findings because of which there is no configuration.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error)
    }

    /// Whether there may be more errors, or warnings, than are told.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.errors().count() >= MOST_TOLD || self.warnings().count() >= MOST_TOLD
    }

    /// The findings that a person should know of, and that stop nothing.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Warning)
    }
}

/// The file beside a gateway's in which a whole deployment is configured.
const DEPLOYMENT: check::OtherFile = check::OtherFile {
    name: "`keeptrusts.yaml`, the deployment's configuration",
    shape: deployment_config::shape,
};

/// Reads the sources as one configuration: a later one overrides an earlier one key by key, and lists as a whole.
///
/// Every finding of every step is reported at once.
#[must_use]
pub fn load(sources: &[Source], options: LoadOptions) -> Loaded {
    let mut report = Report::new(sources);
    let config = parse_layers(sources, &mut report).and_then(|mut tree| {
        check::check(&mut tree, shape::root(), Some(DEPLOYMENT), &mut report);
        let config: PolicyConfig = de::from_tree(&tree, &mut report)?;
        rules::check(&config, &tree, options, &mut report);
        Some(config)
    });
    let findings = report.into_findings();
    let valid = findings.iter().all(|finding| finding.severity == Severity::Warning);
    let outline = config
        .as_ref()
        .map(|config| Outline { pack: config.pack.name.clone(), chain: config.policies.chain.clone() });
    Loaded { config: config.filter(|_| valid), outline, findings, version: version_of(sources) }
}

/// Parses every source and lays each over the one before. There is no tree if one of them could not be parsed.
pub(crate) fn parse_layers(sources: &[Source], report: &mut Report) -> Option<Node> {
    let layers: Vec<_> = sources
        .iter()
        .enumerate()
        .map(|(file, source)| document::parse(file, &source.text, report))
        .collect();
    layers.into_iter().try_fold(Node::empty(), |below, above| Some(below.overlaid_with(above?)))
}

fn version_of(sources: &[Source]) -> String {
    let mut hash = Sha256::new();
    for source in sources {
        hash.update((source.text.len() as u64).to_be_bytes());
        hash.update(&source.text);
    }
    hash.finalize().iter().take(6).fold(String::with_capacity(12), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
